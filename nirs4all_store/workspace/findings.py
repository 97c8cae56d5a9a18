"""The reports of `check` and `repair`."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import Finding


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes
    ----------
    deep : bool
        Whether every value was read, and the SHA-256 of every file computed.
    findings : list of Finding
        The problems.
    rows : dict of str to int
        The number of rows of each table.
    files : int
        The number of artifacts, each of which has a file.
    """

    deep: bool
    findings: list[Finding]
    rows: dict[str, int]
    files: int

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.findings


@dataclass(frozen=True)
class RepairReport:
    """The result of a repair.

    Attributes
    ----------
    dry_run : bool
        True: nothing was changed.
    repaired : list of Finding
        The problems that were repaired, or would be in a dry run.
    left : list of Finding
        The problems that `repair` can do nothing about.
    """

    dry_run: bool
    repaired: list[Finding]
    left: list[Finding]
