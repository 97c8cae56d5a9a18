"""What a check found, and in what a database differs from its revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


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


@dataclass(frozen=True)
class Extra:
    """One thing that no workspace of the revision has.

    Attributes
    ----------
    what : str
        Its kind and name.
    drop : str
        The statement that removes it.
    """

    what: str
    drop: str

    def __str__(self) -> str:
        return f"{self.what} (to remove it: {self.drop})"


@dataclass(frozen=True)
class Changed:
    """A column of the revision that is not there, or is of another type.

    Attributes
    ----------
    column : str
        It and its table.
    wanted : str
        The type that it has in the revision.
    here : str
        What is there; empty: nothing.
    """

    column: str
    wanted: str
    here: str

    def __str__(self) -> str:
        return f"column {self.column} is to be {self.wanted}, and is {self.here or 'not there'}"


class Differences(NamedTuple):
    """In what a database differs from its revision."""

    more: list[Extra]
    changed: list[Changed]
