"""Says which transformers of nirs4all stand side by side: nirs4all lists all those of a step in one row.

What each form means was found by giving the stored predictions again, for 1.0 and 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ChainReplayError

Row = dict[str, Any]
Ids = list[str]

AUGMENTATION, CONCATENATION, BRANCH, MERGE = "feature_augmentation", "concat_transform", "branch", "merge"
FEATURES, PREDICTIONS, ALL = "features", "predictions", "all"


class Views:
    """Several transformed copies of X, which later steps transform one by one, and which the model gets side by side.

    Attributes
    ----------
    ways : list of list of str
        The transformers of each copy, in order; one without any is X.
    """

    def __init__(self, ways: list[Ids]) -> None:
        self.ways = ways

    @classmethod
    def augmented(cls, groups: list[Ids], before: Views | None) -> Views:
        """Return the copies that there are, and beside them each of some transformers, applied to the first copy.

        That X itself stays is so for each `action`, whatever its name says: with `replace`, later steps leave it alone.
        """
        ways = [[]] if before is None else before.ways
        return cls([*ways, *([*ways[0], *group] for group in groups)])

    def takes(self, ids: Ids) -> bool:
        """Tell whether a step has one transformer for each copy, or for each but the first ones."""
        return 1 < len(ids) <= len(self.ways)

    def transform(self, ids: Ids) -> None:
        """Apply one transformer to each of the last copies."""
        first = len(self.ways) - len(ids)
        self.ways = [*self.ways[:first], *([*way, item] for way, item in zip(self.ways[first:], ids, strict=True))]

    def as_ways(self) -> list[Row]:
        """Return them as a step of a chain has them."""
        return [{"artifacts": way} for way in self.ways]


def param_of(steps: Sequence[Row], name: str) -> Any:
    """Return a parameter of the first of some steps that has it, or None."""
    found = (step["params"][name] for step in steps if isinstance(step.get("params"), dict) and name in step["params"])
    return next(found, None)


def groups_of(operators: Any, ids: Ids) -> list[Ids] | None:
    """Return the transformers of each of some operators, of which some are lists; None if they do not fit."""
    lengths = [len(one) if isinstance(one, list) else 1 for one in operators] if isinstance(operators, list) else []
    if sum(lengths) != len(ids):
        return None
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return [ids[start : start + length] for start, length in zip(starts, lengths, strict=True)]


def branches_of(config: Any, step_idx: int, ids: Ids, *, without_models: bool = False) -> list[Ids] | None:
    """Return the transformers of each branch of a step, as the configuration of its pipeline tells; None: it does not.

    Parameters
    ----------
    config : object
        The expanded configuration: a list of steps, or a dict that has one.
    step_idx : int
        Counted from 1.
    ids : list of str
        All transformers of the step.
    without_models : bool
        Whether branches end in models, which are not among these.
    """
    steps = config.get("steps") if isinstance(config, Mapping) else config
    step = steps[step_idx - 1] if isinstance(steps, list) and 0 < step_idx <= len(steps) else None
    branches = step.get(BRANCH) if isinstance(step, dict) else None
    if isinstance(branches, dict):
        branches = [*branches.values()]
    if without_models and isinstance(branches, list):
        branches = [[one for one in branch if not _is_model(one)] for branch in branches if isinstance(branch, list)]
    return groups_of(branches, ids)


def _is_model(step: Any) -> bool:
    return isinstance(step, dict) and "model" in step


def merged(chain: Row) -> tuple[Any, Any]:
    """Return of which branches a chain merges the features, and of which the predictions: "all", a list, or None.

    Raises
    ------
    ChainReplayError
        It merges in a way that nobody has seen yet.
    """
    told = param_of(chain["steps"], MERGE)
    if told is None:
        return None, None
    if isinstance(told, str):
        told = {"all": {FEATURES: ALL, PREDICTIONS: ALL}}.get(told, {told: ALL})
    parts = (told.get(FEATURES), told.get(PREDICTIONS)) if isinstance(told, dict) else (told, None)
    if not all(part in (None, ALL) or _is_of_numbers(part) for part in parts):
        raise ChainReplayError(f"chain {chain.get('chain_id')} merges {told!r:.200}, which is not understood")
    return parts


def _is_of_numbers(part: Any) -> bool:
    return isinstance(part, list) and all(type(number) is int for number in part)


def chosen(items: Sequence[Any], part: Any) -> list[Any]:
    """Return those of the branches that are merged."""
    return [*items] if part == ALL else [items[number] for number in part if number < len(items)]
