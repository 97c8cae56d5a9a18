"""How good predictions are: the scores that are usual for numbers, and those for classes.

How each is made, in words: docs/how-numbers-are-made.md. Why: docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from .missing import is_missing
from .names import CLASSES, TARGETS, UNIT_FREE, UNPREDICTED

Array = Any
Score = Callable[[Array, Array, Array | None], float]
Scores = dict[str, Any]


def scores_of(
    task: str,
    y: Array,
    y_pred: Array,
    proba: Array | None = None,
    classes: Array | None = None,
    *,
    targets: Sequence[str] | None = None,
    of_classes: bool = False,
    decision: Array | None = None,
    weights: Array | None = None,
) -> Scores:
    """Return every score that is defined for these samples.

    Parameters
    ----------
    task : str
        `regression` or `classification`.
    y, y_pred : arrays of shape (n_samples,) or (n_samples, n_targets)
        A sample whose y is missing for a target (NaN, or an empty text beside others) does not count for that target.
    proba : array of shape (n_samples, n_classes), optional
        The probabilities of `classes`, for one target.
    classes : array of shape (n_classes,), optional
    targets : sequence of str, optional
        The names of several targets; by default `y1`, `y2`, ...
    of_classes : bool
        Also give the precision, recall, f1 and support of each class, under `classes`.
    decision : array of shape (n_samples,) or (n_samples, n_classes), optional
        Of classifiers without probabilities what their `decision_function` gives for `classes`, of one target.
    weights : array of shape (n_samples,), optional
        What each sample counts, as scikit-learn's `sample_weight`; by default all count alike.

    Returns
    -------
    dict
        With e = predicted - reference, for regression: `rmse` (root of the mean of e²), `mae` (mean of the size of e),
        `r2` (1 - SS/SST), `bias` (mean of e), `sep` (standard deviation of e, with n - 1), `rpd` (standard deviation of
        the reference, with n - 1, over rmse), `rpiq` (interquartile range of the reference over rmse), `slope` (of the
        line of the reference on the predicted), `n` (the number of samples). For classes: `accuracy`,
        `balanced_accuracy`, `f1` (the mean of the classes' own), `mcc` (Matthews' correlation coefficient), `roc_auc`
        (of two classes that of the second, of several the mean of each against the rest), `log_loss` and `n`.

        One that is not defined is left out: a share of the variance where y does not vary, a curve where a class is
        missing, `rpiq` of samples with weights. Where the model predicts NaN, the scores of the other samples would
        look better than it is: `n_unpredicted` says of how many, and nothing else is defined but `n`.

        Of several targets, each has its scores under its name in `targets`. Beside them are the means over
        targets of what has no unit; but `accuracy` and `f1` of several labels, each 0 or 1, are scikit-learn's, for
        which a sample counts if all its labels are right.
    """
    y, y_pred = np.asarray(y), np.asarray(y_pred)
    if y.ndim == 1:
        scores = _scores_of_one(task, y, y_pred, proba, classes, decision, weights)
        return scores | {CLASSES: class_scores(y, y_pred, weights)} if of_classes and task != "regression" else scores
    if weights is not None:
        y, y_pred, weights = (values[np.asarray(weights) > 0] for values in (y, y_pred, np.asarray(weights)))
    own = {}
    for target, rows in enumerate(~is_missing(y).T):
        name = targets[target] if targets else f"y{target + 1}"
        counts = None if weights is None else weights[rows]
        own[name] = _scores_of_one(task, y[rows, target], y_pred[rows, target], weights=counts)
    found = means(list(own.values()), unit_free=task == "regression") | {"n": len(y), TARGETS: own}
    if task == "classification" and len(y) and _are_labels(y) and _are_labels(y_pred):
        accuracy = metrics.accuracy_score(y, y_pred, sample_weight=weights)
        found |= {"accuracy": float(accuracy), "f1": _f1(y, y_pred, weights)}
    unpredicted = int(np.sum((is_missing(y_pred) & ~is_missing(y)).any(axis=1)))
    return found | ({UNPREDICTED: unpredicted} if unpredicted else {})


def _are_labels(y: Array) -> bool:
    """Tell whether each column says yes or no to one label."""
    return bool(y.dtype.kind in "biuf" and np.isin(y, (0, 1)).all())


def means(scores: Sequence[Scores], *, unit_free: bool = False) -> Scores:
    """Return the mean of each number that all of these have; with `unit_free`, of those without a unit."""
    common = [name for name in scores[0] if all(name in other for other in scores)]
    kept = [name for name in common if not isinstance(scores[0][name], dict) and (name in UNIT_FREE or not unit_free)]
    return {name: float(np.mean([own[name] for own in scores])) for name in kept}


def over_repeats(scores: Sequence[Scores]) -> Scores:
    """Return the scores of a cross-validation that was repeated: the mean of the repeats' own, and their spread.

    Parameters
    ----------
    scores : sequence of dict
        What `scores_of` gives for each repeat.

    Returns
    -------
    dict
        Of one repeat, its scores. Of several, the mean of each score, its standard deviation (with n - 1) as `rmse_sd`
        and so on, and `n_repeats`; `n` is the number of samples of one repeat.
    """
    if len(scores) == 1:
        return dict(scores[0])
    found = {name: value for name, value in means(scores).items() if name not in ("n", UNPREDICTED)}
    spread = {f"{name}_sd": float(np.std([own[name] for own in scores], ddof=1)) for name in found}
    found |= spread | {"n": scores[0]["n"], "n_repeats": len(scores)}
    unpredicted = max(own.get(UNPREDICTED, 0) for own in scores)
    found |= {UNPREDICTED: unpredicted} if unpredicted else {}
    for name in (TARGETS, CLASSES):
        if name in scores[0]:
            parts = [own[name] for own in scores]
            common = [key for key in parts[0] if all(key in part for part in parts)]
            combine = over_repeats if name == TARGETS else means
            found[name] = {key: combine([part[key] for part in parts]) for key in common}
    return found


def class_scores(y: Array, y_pred: Array, weights: Array | None = None) -> dict[str, Scores]:
    """Return precision, recall, f1 and support (the number of samples, or their weight) of each class, by its name."""
    classes, codes = np.unique(np.concatenate([y, y_pred]), return_inverse=True)
    names = [str(name).replace("\0", "\N{SYMBOL FOR NULL}") for name in classes]  # No JSON is stored with a NUL.
    parts = metrics.precision_recall_fscore_support(
        codes[: len(y)],
        codes[len(y) :],
        labels=np.arange(len(classes)),
        zero_division=0.0,
        sample_weight=weights,
    )
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": n.item()}
        for name, p, r, f, n in zip(names, *parts, strict=True)
    }


def score_of(
    metric: str, y: Array, y_pred: Array, proba: Array | None = None, weights: Array | None = None
) -> float | None:
    """Return one score of one target, computed from arrays; None if it is not defined for them.

    Parameters
    ----------
    metric : str
        One of those in `NAMES`.
    y, y_pred : arrays of shape (n_samples,)
    proba : array of shape (n_samples, n_classes), optional
        Its columns are taken for the classes that occur, in their order; if they are as many.
    weights : array of shape (n_samples,), optional

    Returns
    -------
    float or None
        NaN if the model predicts NaN of a sample.
    """
    y, y_pred = np.asarray(y), np.asarray(y_pred)
    if metric in (*REGRESSION, "n") and (y.dtype.kind not in "biuf" or y_pred.dtype.kind not in "biuf"):
        return None
    task = "regression" if metric in (*REGRESSION, "n") else "classification"
    classes = np.unique(np.concatenate([y, y_pred]))
    classes = classes[~is_missing(classes)]
    fits = proba is not None and np.ndim(proba) == 2 and np.shape(proba)[1] == len(classes)
    found = _scores_of_one(task, y, y_pred, proba if fits else None, classes, weights=weights, only=metric)
    return np.nan if UNPREDICTED in found and metric != "n" else found.get(metric)


def _scores_of_one(
    task: str,
    y: Array,
    y_pred: Array,
    proba: Array | None = None,
    classes: Array | None = None,
    decision: Array | None = None,
    weights: Array | None = None,
    only: str | None = None,
) -> Scores:
    """Return the scores of one target; with `only`, no other ones but `n`."""
    y, y_pred, classes = _codes(y, y_pred, classes)
    counts = ~is_missing(y) if weights is None else ~is_missing(y) & (np.asarray(weights) > 0)
    if not counts.all():
        y, y_pred = y[counts], y_pred[counts]
        proba, decision, weights = (None if of is None else np.asarray(of)[counts] for of in (proba, decision, weights))
    if is_missing(y_pred).any():
        return {UNPREDICTED: int(np.sum(is_missing(y_pred))), "n": len(y)}
    if not len(y):
        return {"n": 0}
    functions = REGRESSION if task == "regression" else CLASSIFICATION
    if only is not None:
        functions = {name: score for name, score in functions.items() if name == only}
    if task == "regression":
        y, y_pred = y.astype(float), y_pred.astype(float)  # The difference of two uint8 is one, too.
    with np.errstate(over="ignore", invalid="ignore"):  # What is too far from y has no score.
        found = {name: score(y, y_pred, weights) for name, score in functions.items()}
    if classes is not None and only not in functions and (proba is not None or decision is not None):
        found |= _scores_of_probabilities(y, proba, classes, decision, weights)
    return {name: value for name, value in found.items() if np.isfinite(value)} | {"n": len(y)}


def _codes(y: Array, y_pred: Array, classes: Array | None) -> tuple[Array, Array, Array | None]:
    """Return labels that are objects as whole numbers, in their order.

    They are texts that end in NUL, of which scikit-learn's scores make texts of NumPy's, which lose it.
    """
    if y.dtype.kind != "O":
        return y, y_pred, classes
    parts = [y, y_pred, [] if classes is None else classes]
    names = np.unique(np.concatenate(parts))
    y, y_pred, columns = (np.searchsorted(names, part) for part in parts)
    return y, y_pred, None if classes is None else columns


def _sd(values: Array, weights: Array | None) -> float:
    """Return the standard deviation, with n - 1; of weights, NumPy's for weights whose scale does not matter."""
    return float(np.std(values, ddof=1) if weights is None else np.sqrt(np.cov(values, aweights=weights)))


def _over_rmse(spread: float, y: Array, y_pred: Array, weights: Array | None) -> float:
    error = _rmse(y, y_pred, weights)
    return spread / error if 0 < error < np.inf else np.nan


# To the bit what scikit-learn's own functions return. Their checks take so much longer than the sums that to score a
# small model took as long as to fit it.


def _rmse(y: Array, y_pred: Array, weights: Array | None) -> float:
    return float(np.sqrt(np.average((y - y_pred) ** 2, weights=weights)))


def _mae(y: Array, y_pred: Array, weights: Array | None) -> float:
    return float(np.average(np.abs(y - y_pred), weights=weights))


def _r2(y: Array, y_pred: Array, weights: Array | None) -> float:
    if len(y) < 2 or np.ptp(y) == 0:
        return np.nan
    counts = 1.0 if weights is None else weights
    unexplained, total = (counts * part**2 for part in (y - y_pred, y - np.average(y, weights=weights)))
    return float(1 - np.sum(unexplained) / np.sum(total))


def _rpd(y: Array, y_pred: Array, weights: Array | None) -> float:
    return _over_rmse(_sd(y, weights), y, y_pred, weights) if len(y) > 1 else np.nan


def _rpiq(y: Array, y_pred: Array, weights: Array | None) -> float:
    if len(y) < 2 or weights is not None:  # Nobody has agreed on quartiles of samples with weights.
        return np.nan
    return _over_rmse(float(np.subtract(*np.percentile(y, [75, 25]))), y, y_pred, None)


def _bias(y: Array, y_pred: Array, weights: Array | None) -> float:
    return float(np.average(y_pred - y, weights=weights))


def _sep(y: Array, y_pred: Array, weights: Array | None) -> float:
    return _sd(y_pred - y, weights) if len(y) > 1 else np.nan


def _slope(y: Array, y_pred: Array, weights: Array | None) -> float:
    if len(y) < 2 or np.ptp(y_pred) == 0:
        return np.nan
    together = np.cov(y_pred, y, aweights=weights)
    return float(together[0, 1] / together[0, 0]) if together[0, 0] > 0 else np.nan


def _accuracy(y: Array, y_pred: Array, weights: Array | None) -> float:
    return float(metrics.accuracy_score(y, y_pred, sample_weight=weights))


def _balanced_accuracy(y: Array, y_pred: Array, weights: Array | None) -> float:
    # scikit-learn's own warns of predicted classes that do not occur, as they do in a small fold.
    return float(metrics.recall_score(y, y_pred, labels=np.unique(y), average="macro", sample_weight=weights))


def _f1(y: Array, y_pred: Array, weights: Array | None) -> float:
    return float(metrics.f1_score(y, y_pred, average="macro", zero_division=0.0, sample_weight=weights))


def _mcc(y: Array, y_pred: Array, weights: Array | None) -> float:
    if len(np.unique(np.concatenate([y, y_pred]))) < 2:
        return np.nan  # With one class only it is 0/0, and scikit-learn warns.
    return float(metrics.matthews_corrcoef(y, y_pred, sample_weight=weights))


REGRESSION: dict[str, Score] = {
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "bias": _bias,
    "sep": _sep,
    "rpd": _rpd,
    "rpiq": _rpiq,
    "slope": _slope,
}
CLASSIFICATION: dict[str, Score] = {
    "balanced_accuracy": _balanced_accuracy,
    "accuracy": _accuracy,
    "f1": _f1,
    "mcc": _mcc,
}


def _scores_of_probabilities(
    y: Array, proba: Array | None, classes: Array, decision: Array | None, weights: Array | None
) -> dict[str, float]:
    """Return the scores that need more than labels; a class that no fold has seen has none."""
    truth = y[:, None] == classes[None, :]
    values: Any = decision if proba is None else proba
    if len(classes) < 2 or not truth.any(axis=1).all() or not np.isfinite(values).all():
        return {}
    found = {}
    if proba is not None:
        found["log_loss"] = float(metrics.log_loss(y, proba, labels=classes, sample_weight=weights))
    if truth.any(axis=0).all():
        found["roc_auc"] = _area(truth, values, weights)
    return found


def _area(truth: Array, values: Any, weights: Array | None) -> float:
    if truth.shape[1] == 2:
        own = values if values.ndim == 1 else values[:, 1]
        return float(metrics.roc_auc_score(truth[:, 1], own, sample_weight=weights))
    columns = zip(truth.T, values.T, strict=True)
    return float(np.mean([metrics.roc_auc_score(*column, sample_weight=weights) for column in columns]))
