"""One thing that a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be.

    Attributes
    ----------
    code : str
        Its kind: `orphan`, `chain-gone`, `other-pipeline`, `artifact-gone`, `bad-chain`, `wrong-count`, `bad-format`,
        `bad-hash`, `bad-path`, `missing-file`, `unreadable-file`, `damaged-file`, `wrong-size`, `unlisted-file`,
        `link`, `no-file`, `unreadable-value`, `unreadable`, `not-ours`,
        `other-content`, `other-column`.
    subject : str
        The table and id, or the path below `artifacts/` or the workspace.
    message : str
    repair : str or None
        What `repair` would do; None: nothing, the message says what you can.
    """

    code: str
    subject: str
    message: str
    repair: str | None = None
