"""What is known of chains: whether each predicts what its training stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

VERIFIED, DIFFERS, NO_FILES = "verified", "differs", "no files"
NOT_CHECKED, DOUBTFUL, FAILS, NEEDS = "not checked", "doubtful", "fails", "needs"
UNDECIDED = (NOT_CHECKED, DOUBTFUL)
"""What is told of a chain that nobody could compare."""
WRONG = (DIFFERS, FAILS, NEEDS)


class Verdicts:
    """What is told of each chain, in a report that has more or less beside it."""

    chains: dict[str, dict[str, object]]

    @property
    def verdicts(self) -> dict[str, int]:
        """How many chains have each verdict."""
        return dict(Counter(str(told["verdict"]) for told in self.chains.values()))

    def frame(self) -> pl.DataFrame:
        """Return one row for each chain: `chain_id`, `verdict`, `difference` (relative), `reason`."""
        rows = [
            (chain_id, told["verdict"], told.get("difference"), told.get("reason"))
            for chain_id, told in self.chains.items()
        ]
        schema = {"chain_id": pl.String, "verdict": pl.String, "difference": pl.Float64, "reason": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")


@dataclass
class VerifyReport(Verdicts):
    """What `verify` has found.

    Attributes
    ----------
    chains : dict of str to dict
        For each chain its `verdict`, and what belongs to it, as in `ImportReport`. What was compared has
        `checked_at` (UTC) and `versions`, too.
    """

    chains: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether no chain predicts otherwise than at its training, or no longer, though its objects are there."""
        return not any(verdict.startswith(WRONG) for verdict in self.verdicts)

    def as_dict(self) -> dict[str, object]:
        """Return all of it as JSON can hold it."""
        return {"is_sound": self.is_sound, "verdicts": self.verdicts, "chains": self.chains}
