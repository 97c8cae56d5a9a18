"""What is drawn of a prediction: the values of each of its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets import AVERAGE, FINAL
from ..metrics import TARGETS, is_missing, label

Array = Any


@dataclass(frozen=True)
class Part:
    """One target of a prediction; samples whose value is not known, or not predicted, are left out.

    Attributes
    ----------
    name : str
        Of the target; empty if it has none.
    unit : str or None
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
        """What is measured, with its unit, as ` glucose (g/l)`."""
        return f" {self.name}" * bool(self.name) + (f" ({self.unit})" if self.unit else "")


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
    units, groups = prediction.get("units") or {}, prediction.get("groups")
    found = []
    for number, (name, (true, predicted, measured, is_predicted)) in enumerate(zip(names, columns, strict=True)):
        own = of_targets[number] if len(of_targets) == len(columns) else {}
        unit = units.get(name or "y")
        drawn = measured & is_predicted
        of_groups = None if groups is None else np.asarray(groups)[drawn]
        lacking = int(np.sum(measured & ~is_predicted))
        found.append(Part(name, unit, true[drawn], predicted[drawn], of_groups, own, lacking))
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


def are_classes(prediction: dict[str, Any]) -> bool:
    """Tell whether classes were predicted, whatever its writer calls that: nirs4all has `binary_classification`."""
    arrays = (np.asarray(prediction[name]) for name in ("y_true", "y_pred"))
    return "classification" in prediction["task_type"] or any(array.dtype.kind not in "biuf" for array in arrays)


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
