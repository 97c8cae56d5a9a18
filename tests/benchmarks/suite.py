"""The rows of the table, in order."""

from __future__ import annotations

from collections.abc import Callable

from . import asking, listing, models, reading, whole, writing
from .cases import Case
from .world import Worlds

CASES: dict[str, Callable[[Worlds], Case]] = {
    "1": writing.one_at_a_time,
    "2": writing.in_a_transaction,
    "3": writing.among_many,
    "4a": reading.top,
    "4b": reading.top_by_model,
    "5": reading.query,
    "6": reading.one,
    "7": models.warm_replay,
    "8": models.cold_replay,
    "9a": models.new_artifact,
    "9b": models.known_artifact,
    "10a": whole.open_empty,
    "10b": whole.open_large,
    "11a": whole.importing,
    "11b": whole.importing_the_store,
    "12": writing.deleting,
    "13": reading.export,
    "14": whole.creating,
    "15a": reading.file,
    "15b": reading.dataset,
    **asking.CASES,
    **listing.CASES,
}

CURVE = ("1", "2", "4a", "4b", "10b")
"""The rows whose cost may grow with the number of predictions."""
SIZES = (10_000, 100_000, 1_000_000, 3_000_000)
