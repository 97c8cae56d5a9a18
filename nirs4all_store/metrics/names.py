"""What metrics are called, and which values of them are better.

It does without scikit-learn, which takes long to load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..errors import WorkspaceCorruptError

Array = Any

NAMES = {
    "regression": ("rmse", "mae", "r2", "bias", "sep", "rpd", "rpiq", "slope"),
    "classification": ("balanced_accuracy", "accuracy", "f1", "mcc", "roc_auc", "log_loss"),
}
"""The metrics of each task that are computed here, and that models can be ranked by."""
MAIN = {"regression": "rmse", "classification": "balanced_accuracy"}
"""By which score the models of one target are ranked, by task."""
MAIN_OF_SEVERAL = MAIN | {"regression": "r2"}
"""By which score the models of several targets are ranked: a mean over targets must have no unit."""
UNIT_FREE = ("r2", "rpd", "rpiq", "slope")
"""The scores of numbers that have no unit, so that their mean over several targets means something."""
TARGETS, CLASSES = "targets", "classes"
"""Under these names stand the scores of each target, and of each class."""
COVERAGE = "coverage"
"""Under this name stands how many samples were held out `never`, and how many `several` times."""
UNPREDICTED = "n_unpredicted"
"""Under this name stands of how many samples a model predicts NaN."""
WEIGHTED = "weighted"
"""So `pipelines.judged_by` says that the weights of samples count in the scores."""
FIELD_NAMES = {"rmsec": ("rmse", "train"), "rmsecv": ("rmse", "val"), "rmsep": ("rmse", "test")}
"""The names of the field that say of which partition a score is."""
LOWER_IS_BETTER = frozenset(
    {
        "rmse",
        "rmsec",
        "rmsecv",
        "rmsep",
        "mse",
        "mae",
        "mape",
        "medae",
        "max_error",
        "sep",
        "sec",
        "secv",
        "nrmse",
        "rmsle",
        "msle",
        "log_loss",
        "logloss",
        "brier",
        "hinge",
        "error_rate",
    }
)
HIGHER_IS_BETTER = frozenset(
    {
        "r2",
        "rpd",
        "rpiq",
        "q2",
        "explained_variance",
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
        "precision_macro",
        "recall_macro",
        "precision_weighted",
        "recall_weighted",
        "roc_auc",
        "auc",
        "average_precision",
        "mcc",
        "matthews_corrcoef",
        "kappa",
        "cohen_kappa",
        "specificity",
        "sensitivity",
        "jaccard",
    }
)
BEST_VALUE = {"bias": 0.0, "slope": 1.0}
"""The metrics of which neither the lowest nor the highest value is best, but the one nearest to this."""


def lower_is_better(metric: str) -> bool | None:
    """Tell whether a lower value of a metric is better; None if it is not known, or neither is.

    Raises
    ------
    WorkspaceCorruptError
        It is no text, as in a damaged workspace that is opened to be read.
    """
    if not isinstance(metric, str):
        raise WorkspaceCorruptError(
            f"a stored metric is {metric!r:.60}, and no name; see check(), and restore the workspace from a backup"
        )
    name = metric.lower().replace("-", "_").replace(" ", "_")
    if name.startswith("neg_") or name in HIGHER_IS_BETTER:
        return False
    return True if name in LOWER_IS_BETTER else None


class Directions(NamedTuple):
    """Metrics, by which of their values is best: the lowest, the highest, or the nearest to that of `BEST_VALUE`."""

    lower: list[str]
    higher: list[str]
    nearest: list[str]
    unknown: list[str]


def directions(metrics: Iterable[str]) -> Directions:
    """Tell of each metric which of its values is best, as far as it is known."""
    found = Directions([], [], [], [])
    for metric in metrics:
        if metric in BEST_VALUE:
            found.nearest.append(metric)
        else:
            {True: found.lower, False: found.higher, None: found.unknown}[lower_is_better(metric)].append(metric)
    return found


def distance_from_best(metric: str, values: Array) -> Array:
    """Return numbers that are the lower, the better the values of a metric are; to sort by."""
    values = np.asarray(values, dtype=float)
    if metric in BEST_VALUE:
        return np.abs(values - BEST_VALUE[metric])
    return values if lower_is_better(metric) else -values


def label(metric: str, partition: str) -> str:
    """Return what the field calls a score of a partition: `rmse` of `val` is RMSECV."""
    names = {pair: name.upper() for name, pair in FIELD_NAMES.items()}
    return names.get((metric, partition), f"{metric} {partition}")
