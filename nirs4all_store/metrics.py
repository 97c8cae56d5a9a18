"""How good predictions are: the scores that are usual for numbers, and those for classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn import metrics

Array = Any
Score = Callable[[Array, Array], float]

MAIN = {"regression": "rmse", "classification": "balanced_accuracy"}
"""By which score the pipelines of a task are ranked."""


def scores_of(task: str, y: Array, y_pred: Array, proba: Array | None = None, classes: Array | None = None) -> Scores:
    """Return every score that is defined for these samples.

    Parameters
    ----------
    task : str
        `regression` or `classification`.
    y, y_pred : arrays of shape (n_samples,) or (n_samples, n_targets)
        Scores of several targets are the means over them.
    proba : array of shape (n_samples, n_classes), optional
        The probabilities of `classes`, for one target.
    classes : array of shape (n_classes,), optional

    Returns
    -------
    dict of str to float
        For regression `rmse`, `mae`, `r2`, `rpd` (the standard deviation of y over the rmse) and `bias` (the mean of
        predicted minus true); for classes `accuracy`, `balanced_accuracy`, `f1` (the mean of the classes' own),
        `roc_auc` (the mean of each class against the rest) and `log_loss`. One that is not defined is left out:
        a share of the variance where y does not vary, a curve where a class is missing.
    """
    functions = REGRESSION if task == "regression" else CLASSIFICATION
    columns = list(zip(_columns(y), _columns(y_pred), strict=True))
    found = {name: float(np.mean([score(*column) for column in columns])) for name, score in functions.items()}
    if proba is not None and classes is not None:
        found |= _scores_of_probabilities(np.asarray(y), proba, classes)
    return {name: value for name, value in found.items() if np.isfinite(value)}


Scores = dict[str, float]


def _columns(y: Array) -> list[Array]:
    y = np.asarray(y)
    return [y] if y.ndim == 1 else list(y.T)


def _rpd(y: Array, y_pred: Array) -> float:
    error = metrics.root_mean_squared_error(y, y_pred)
    return float(np.std(y, ddof=1) / error) if len(y) > 1 and error > 0 else np.nan


def _r2(y: Array, y_pred: Array) -> float:
    return float(metrics.r2_score(y, y_pred)) if len(y) > 1 and np.ptp(y) > 0 else np.nan


def _bias(y: Array, y_pred: Array) -> float:
    return float(np.mean(y_pred - y))


def _balanced_accuracy(y: Array, y_pred: Array) -> float:
    # scikit-learn's own warns of predicted classes that do not occur, as they do in a small fold.
    return float(metrics.recall_score(y, y_pred, labels=np.unique(y), average="macro"))


def _f1(y: Array, y_pred: Array) -> float:
    return float(metrics.f1_score(y, y_pred, average="macro", zero_division=0.0))


REGRESSION: Mapping[str, Score] = {
    "rmse": metrics.root_mean_squared_error,
    "mae": metrics.mean_absolute_error,
    "r2": _r2,
    "rpd": _rpd,
    "bias": _bias,
}
CLASSIFICATION: Mapping[str, Score] = {
    "balanced_accuracy": _balanced_accuracy,
    "accuracy": metrics.accuracy_score,
    "f1": _f1,
}


def _scores_of_probabilities(y: Array, proba: Array, classes: Array) -> Scores:
    """Return the scores that need probabilities; a class that no fold has seen has none."""
    truth = y[:, None] == classes[None, :]
    if not truth.any(axis=1).all():
        return {}
    chosen = np.clip(proba[truth], np.finfo(float).eps, 1.0)
    found = {"log_loss": float(-np.mean(np.log(chosen)))}
    if truth.any(axis=0).all() and len(classes) > 1:
        areas = [metrics.roc_auc_score(truth[:, i], proba[:, i]) for i in range(len(classes))]
        found["roc_auc"] = float(np.mean(areas))
    return found
