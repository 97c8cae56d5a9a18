"""What `check` and `repair` report."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import Finding


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes
    ----------
    deep : bool
        Whether every value was read and every file's SHA-256 computed.
    findings : list of Finding
    rows : dict of str to int
        How many rows were looked at, by table.
    files : int
        How many artifacts' files.
    """

    deep: bool
    findings: list[Finding]
    rows: dict[str, int]
    files: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True)
class RepairReport:
    """What `repair` did, or would do.

    Attributes
    ----------
    dry_run : bool
        True: nothing was changed.
    repaired : list of Finding
    left : list of Finding
        What it can do nothing about.
    """

    dry_run: bool
    repaired: list[Finding]
    left: list[Finding]
