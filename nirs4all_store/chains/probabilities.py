"""Classes and their probabilities, of one target or several, of one model or several: in the shapes that models give.

Needs numpy alone: exported scripts carry this very file.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class PredictionError(ValueError):
    """A fitted object refused its input, or lacks something that it needs.

    Attributes
    ----------
    row : int or None
        The first row that had a NaN when it was refused, counted from 0.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def all_classes(models: list[Any]) -> Any:
    """Return the sorted classes that any of the models has seen, as `classes_` of one has them.

    That is an array, or a list of one for each target.
    """
    if any(getattr(model, "classes_", None) is None for model in models):
        raise AttributeError("a model of this chain does not tell its classes; use predict")
    seen = [model.classes_ for model in models]
    if len({isinstance(own, list) for own in seen}) > 1:
        raise PredictionError("the folds' models do not fit together: some have one target, others several")
    if len(models) == 1:
        return seen[0]
    classes = union([target_classes(model) for model in models])
    return classes if isinstance(seen[0], list) else classes[0]


def union(seen: list[list[Any]]) -> list[Any]:
    """Return, for each target, the sorted classes of several models."""
    if len({len(own) for own in seen}) > 1:
        raise PredictionError(f"the folds' models predict different numbers of targets: {[len(o) for o in seen]}")
    targets = list(zip(*seen, strict=True))
    if any(len({own.dtype.kind in "OUST" for own in target}) > 1 for target in targets):
        raise PredictionError("the folds' models do not fit together: classes are text in one fold, numbers in another")
    try:
        return [np.unique(np.concatenate(target)) for target in targets]
    except TypeError as error:  # Classes of several types, which have no order.
        raise PredictionError(f"the folds' models do not fit together: {error}") from error


def target_classes(model: Any) -> list[Any]:
    """Return a model's classes for each target."""
    classes = model.classes_
    return [np.asarray(own) for own in classes] if isinstance(classes, list) else [np.asarray(classes)]


def as_columns(y: Any) -> Any:
    """Return what was predicted as a column for each target."""
    y = np.asarray(y)
    return y.reshape(-1, 1) if y.ndim == 1 else y


def is_choice(found: Any, classes: Any) -> bool:
    """Tell whether probabilities are those of each target's classes, of which a sample has one."""
    if isinstance(found, list):
        return isinstance(classes, list) and len(found) == len(classes) and all(map(is_choice, found, classes))
    return not isinstance(classes, list) and found.ndim == 2 and found.shape[1] == len(classes)


def on_classes(found: Any, own: Any, classes: Any) -> Any:
    """Return a model's probabilities with a column for each of all classes: none for one that it has not seen.

    Parameters
    ----------
    found : ndarray, or list of ndarray of shape (n_samples, n_classes) for several targets
    own, classes : array, or list of such for several targets
        The model's `classes_`, and those of all models.

    Returns
    -------
    ndarray or list of ndarray, or None
        None: it does not tell which class a number is of, and others have seen other classes.
    """
    if isinstance(found, list):
        targets = [on_classes(*target) for target in zip(found, own, classes, strict=True)]
        return None if any(target is None for target in targets) else targets
    if is_choice(found, own):
        wide = np.zeros((len(found), len(classes)))
        wide[:, np.searchsorted(classes, own)] = found
        return wide
    own, classes = (value if isinstance(value, list) else [value] for value in (own, classes))
    return found if all(map(np.array_equal, own, classes)) else None


def mean_probabilities(models: list[Any], outputs: list[Any]) -> Any:
    """Return the mean of what models give as probabilities; of one model, what it gives.

    Parameters
    ----------
    models : list
    outputs : list of (ndarray or list of ndarray)
        A list has an array for each target.
    """
    if len(models) == 1:
        return outputs[0]
    classes = all_classes(models)
    wide = [on_classes(found, model.classes_, classes) for found, model in zip(outputs, models, strict=True)]
    parts = [found if isinstance(found, list) else [found] for found in wide]
    if any(found is None for found in wide) or len({tuple(map(np.shape, part)) for part in parts}) > 1:
        raise PredictionError(
            "the folds' models do not fit together: what they give as probabilities has no column for each class, and "
            "they have seen different classes"
        )
    means = [np.mean(target, axis=0) for target in zip(*parts, strict=True)]
    return means if isinstance(wide[0], list) else means[0]


def vote_probabilities(models: list[Any], outputs: list[Any]) -> Any:
    """Return the share of the votes that each class has, in the shape that probabilities of these classes have.

    Of models that say yes or no to each of their classes, it is the share of those that say yes.
    """
    classes = all_classes(models)
    if not isinstance(classes, list) and all(y.ndim == 2 and y.shape[1] == len(classes) > 1 for y in outputs):
        return np.mean(outputs, axis=0)
    shares = [share for _, share in class_shares(models, outputs)]
    return shares if isinstance(classes, list) else shares[0]


def class_shares(models: list[Any], outputs: list[Any]) -> list[tuple[Any, Any]]:
    """Return, for each target, the sorted classes and the models' mean share of each.

    A share is a probability, where the outputs are lists with an array for each target; or where a model gives labels
    the fraction of the votes. A model that has not seen a class gives it nothing.
    """
    voting = not all(isinstance(output, list) for output in outputs)
    seen = [_classes_of(model, output) for model, output in zip(models, outputs, strict=True)]
    try:
        return [_shares_of_target(target, classes, seen, outputs, voting) for target, classes in enumerate(union(seen))]
    except TypeError as error:
        raise PredictionError(f"the folds' models do not fit together: {error}") from error


def _shares_of_target(
    target: int, classes: Any, seen: list[list[Any]], outputs: list[Any], voting: bool
) -> tuple[Any, Any]:
    own = [as_columns(output)[:, target] if voting else output[target] for output in outputs]
    shares = np.zeros((len(own), len(own[0]), len(classes)))
    for share, values, own_targets in zip(shares, own, seen, strict=True):
        own_classes = own_targets[target]
        share[:, np.searchsorted(classes, own_classes)] = values[:, None] == own_classes[None, :] if voting else values
    return classes, shares.mean(axis=0)


def _classes_of(model: Any, output: Any) -> list[Any]:
    """Return the classes of each target that a model chose among, or where that cannot be known, those it gave."""
    if isinstance(output, list):
        return target_classes(model)
    columns = as_columns(output)
    classes = target_classes(model) if getattr(model, "classes_", None) is not None else []
    return classes if len(classes) == columns.shape[1] else [np.unique(column) for column in columns.T]
