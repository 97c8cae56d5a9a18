"""Which chains are asked for, and by what they are ranked: the shape of the question, and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...datasets import PARTITIONS
from .prediction_filters import Shape, bound

VAL = PARTITIONS[0]
ESCAPE = "/"


class Asked(NamedTuple):
    """What a SELECT of chains depends on: all but the values of its bound parameters; see `WantedChains`."""

    filters: Shape
    words: int
    metric: str | None
    partition: str
    target: str | None
    ascending: bool | None
    is_computed: bool


@dataclass(frozen=True)
class WantedChains:
    """Which chains, and by what they are ranked.

    Attributes
    ----------
    filters : mapping
        See `prediction_filters.conditions`.
    search : str
        Words that must all occur in the names of model, dataset and run, the preprocessing or the parameters.
    metric : str or None
        A score of the partition; None: that by which a chain was judged.
    partition : str
        `val`: what the folds held out; `test`, `train`: of the final model where there is one.
    target : str or None
        By whose scores.
    ascending : bool or None
        Whether a lower score is better; None: the metric decides.
    computed : mapping
        Scores that were computed from arrays, by the ids of chains.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    search: str = ""
    metric: str | None = None
    partition: str = VAL
    target: str | None = None
    ascending: bool | None = None
    computed: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> Asked:
        """The shape of the question."""
        shape, _ = bound(self.filters)
        words = len(self.search.split())
        return Asked(shape, words, self.metric, self.partition, self.target, self.ascending, bool(self.computed))

    @property
    def values(self) -> dict[str, Any]:
        """The values of its bound parameters."""
        _, values = bound(self.filters)
        words = {f"word_{place}": _without_wildcards(word) for place, word in enumerate(self.search.split())}
        computed = {"computed_ids": [*self.computed], "computed_scores": [*self.computed.values()]}
        return values | words | (computed if self.computed else {})


def _without_wildcards(word: str) -> str:
    for sign in (ESCAPE, "%", "_"):
        word = word.replace(sign, ESCAPE + sign)
    return word
