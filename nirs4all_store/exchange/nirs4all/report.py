"""What an import of a workspace has done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..verdicts import Verdicts


@dataclass
class ImportReport(Verdicts):
    """What an import did, or would do.

    Attributes
    ----------
    source : Path
    is_dry_run : bool
    runs : list of str
        The runs that are new or have grown.
    rows : dict of str to int
        How many rows were added to each table.
    chains : dict of str to dict
        For each chain its `verdict`, and what belongs to it: `difference`, `reason`, `replaced`. `verified`: it gives
        what its training stored. `differs`: it does not. `no files`: nirs4all has not kept its fitted objects. `needs
        PACKAGE`: which is not installed here. `fails`: it cannot predict. `not checked`: nobody trusted its objects, or
        gave the spectra. `doubtful`: the same, and another chain names an object by the same id.
    not_carried : dict of str to int
        What has not come along, and how often.
    """

    source: Path
    is_dry_run: bool
    runs: list[str] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    chains: dict[str, dict[str, object]] = field(default_factory=dict)
    not_carried: Counter[str] = field(default_factory=Counter)

    def copy(self) -> ImportReport:
        """Return what is told so far."""
        counts = Counter(self.rows), dict(self.chains), Counter(self.not_carried)
        return ImportReport(self.source, self.is_dry_run, [*self.runs], *counts)

    def take_back(self, before: ImportReport) -> None:
        """Tell what was told before, since what came after it was rolled back."""
        self.runs, self.rows, self.chains, self.not_carried = (
            before.runs,
            before.rows,
            before.chains,
            before.not_carried,
        )

    def since(self, before: ImportReport) -> ImportReport:
        """Return what was told since."""
        chains = {chain_id: told for chain_id, told in self.chains.items() if before.chains.get(chain_id) != told}
        return ImportReport(
            self.source, self.is_dry_run, [], self.rows - before.rows, chains, self.not_carried - before.not_carried
        )

    def as_dict(self) -> dict[str, object]:
        """Return all of it as JSON can hold it."""
        return {
            "source": str(self.source),
            "is_dry_run": self.is_dry_run,
            "runs": self.runs,
            "rows": dict(self.rows),
            "verdicts": self.verdicts,
            "chains": self.chains,
            "not_carried": dict(self.not_carried),
        }
