"""What is drawn of a prediction: the values of each of its targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np

from ..datasets import AVERAGE, FINAL
from ..metrics import TARGETS, is_missing, label
from ..validation import printable

Array = Any
LONGEST_TARGET, LONGEST_UNIT = 36, 16
"""How many characters of a target's name, and of its unit, are shown."""
BEFORE_DIFFERENCE = 8
"""How many characters are shown before those that tell shortened names apart."""


@dataclass(frozen=True)
class Part:
    """One target of a prediction; samples whose value is not known, or not predicted, are left out.

    Attributes
    ----------
    name : str
        Of the target, of which a long one is shortened; empty if it has none.
    unit : str or None
        Shortened as well.
    y, y_pred : ndarray of shape (n_samples,)
        Measured and predicted.
    groups : ndarray of str, shape (n_samples,), or None
        By what the points are told apart, as `fold 0`.
    scores : dict of str to float
        As they are stored; empty if they are not.
    n_unpredicted : int
        How many samples whose value is known are left out, since the model predicts NaN or an infinite value of them.
    """

    name: str
    unit: str | None
    y: Array
    y_pred: Array
    groups: Array | None
    scores: dict[str, Any]
    n_unpredicted: int = 0

    @property
    def unpredicted(self) -> str:
        """How many samples have no prediction, in words; empty if each has one."""
        n = len(self.y) + self.n_unpredicted
        return f"{self.n_unpredicted:,} of {n:,} without a prediction" if self.n_unpredicted else ""

    @property
    def quantity(self) -> str:
        """What is measured, with its unit, as ` glucose (g/l)`; no line ends inside the unit."""
        unit = (self.unit or "").replace(" ", "\N{NO-BREAK SPACE}")
        return f" {self.name}" * bool(self.name) + f" ({unit})" * bool(unit)


def parts_of(prediction: dict[str, Any]) -> list[Part]:
    """Return the targets of a prediction that has its arrays; see `views.drawing_of` for what more it may have."""
    y, y_pred = np.asarray(prediction["y_true"]), np.asarray(prediction["y_pred"])
    scores = (prediction.get("scores") or {}).get(prediction.get("partition")) or {}
    if y.ndim == 1 or y.shape != y_pred.shape:
        y, y_pred, of_targets = np.ravel(y), np.ravel(y_pred), [scores]
        columns = [(y, y_pred, _are_known(y), _are_known(y_pred))]
    else:
        of_targets = [*(scores.get(TARGETS) or {}).values()] or [scores]
        columns = list(zip(y.T, y_pred.T, _are_known(y).T, _are_known(y_pred).T, strict=True))
    names = _names(prediction.get("target_names"), [*(scores.get(TARGETS) or {})], len(columns))
    shown = short_names(names, LONGEST_TARGET)
    units, groups = prediction.get("units") or {}, prediction.get("groups")
    found = []
    for number, (name, (true, predicted, measured, is_predicted)) in enumerate(zip(names, columns, strict=True)):
        own = of_targets[number] if len(of_targets) == len(columns) else {}
        unit = units.get(name or "y")
        unit = None if unit is None else short_names([unit], LONGEST_UNIT)[0]
        drawn = measured & is_predicted
        of_groups = None if groups is None else np.asarray(groups)[drawn]
        lacking = int(np.sum(measured & ~is_predicted))
        found.append(Part(shown[number], unit, true[drawn], predicted[drawn], of_groups, own, lacking))
    return found


def _are_known(values: Array) -> Array:
    """Tell which values are there, and not infinite."""
    return ~is_missing(values) & (np.isfinite(values) if values.dtype.kind == "f" else True)


def _names(named: Sequence[str] | None, scored: Sequence[str], count: int) -> list[str]:
    """Return the names of targets: the dataset's own, else those of their scores; of one that has none, nothing."""
    for names in (named, scored):
        if names and len(names) == count:
            return list(names)
    return [""] if count == 1 else [f"y{number + 1}" for number in range(count)]


def short_names(names: Iterable[Any], longest: int) -> list[str]:
    """Return names of which none is longer than this many characters, and which are different if the names are.

    A long name loses its middle, since the ends mostly tell names apart. Of names that would be alike then, the part
    is shown where they begin to differ; of those that are alike still, their place.
    """
    whole = [printable(str(name)) for name in names]
    half = (longest - 1) // 2
    short = [name if len(name) <= longest else f"{name[:half]}…{name[-half:]}" for name in whole]
    for alike in _alike(short):
        differ = len(commonprefix([whole[place] for place in alike]))  # noqa: RUF071 - they are no paths
        for place in alike:
            rest = whole[place][max(0, differ - BEFORE_DIFFERENCE) :].lstrip()
            found = f"{whole[place][: longest // 4]}…{rest}"
            short[place] = found if len(found) <= longest else f"{found[: longest - 1]}…"
    for alike in _alike(short):
        for place in alike:
            number = f"… ({place + 1})"
            short[place] = short[place][: longest - len(number)] + number
    return short


def _alike(names: Sequence[str]) -> list[list[int]]:
    """Return the places of each name that several have."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return [of_name for of_name in places.values() if len(of_name) > 1]


def confusion_of(part: Part) -> tuple[Array, Array]:
    """Return the classes, and how often each (a row) was predicted as which (a column)."""
    classes, codes = np.unique(np.concatenate([part.y, part.y_pred]), return_inverse=True)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (codes[: len(part.y)], codes[len(part.y) :]), 1)
    return classes, counts


def name_of_rmse(prediction: dict[str, Any]) -> str:
    """Return RMSEC, RMSECV or RMSEP for what the field calls so; for that of a single fold `RMSE`."""
    is_together = prediction.get("fold_id") in (AVERAGE, FINAL)
    return label("rmse", prediction["partition"]) if is_together else "RMSE"
