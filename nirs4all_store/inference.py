"""How fitted objects turn X into y. Needs numpy alone: exported scripts carry this very file."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

# Objects of these packages do not change themselves when they transform or predict. Everything else
# is copied before it is used, so that one prediction can never change the next.
PURE_PACKAGES = ("sklearn", "numpy", "scipy", "builtins")

Labelled = tuple[str, Any]
"""A name for messages and a fitted object."""


class PredictionError(ValueError):
    """A fitted object refused its input, or lacks something that it needs."""


def predict(shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any = None) -> Any:
    """Predict with a whole chain.

    Regression gives the mean of the folds. Classification gives the class with the highest mean
    probability, or the majority of votes where a model has no `predict_proba`; a tie goes to the
    class that sorts first.

    Parameters
    ----------
    shared : list of (str, object)
        Fitted transformers that all folds have in common, in order.
    folds : dict of str to list of (str, object)
        For each fold its own fitted transformers, in order, the model last.
    X : array of shape (n_samples, n_features)
        It is not modified.
    wavelengths : array of shape (n_features,), optional
        Handed to wavelength-aware operators, in the unit they were trained with.

    Returns
    -------
    ndarray of shape (n_samples,), or (n_samples, n_targets) for several targets

    Raises
    ------
    PredictionError
        An object refused its input or needs wavelengths; the message names the object and the fold.
    """
    models, outputs = _fold_outputs(shared, folds, X, wavelengths)
    if all(is_classifier(model, output) for model, output in zip(models, outputs, strict=True)):
        shares = _class_shares(models, outputs)
        columns = [classes[np.argmax(share, axis=1)] for classes, share in shares]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    columns = [_as_columns(y) for y in outputs]
    if len({y.shape for y in columns}) > 1 or any(y.dtype.kind not in "biuf" for y in columns):
        raise PredictionError(f"the folds' models do not fit together: they give {[y.shape for y in columns]}")
    mean = np.mean(columns, axis=0)
    return mean[:, 0] if mean.shape[1] == 1 else mean


def predict_proba(shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any = None) -> Any:
    """Return the folds' mean class probabilities; parameters and errors as for `predict`.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), or a list of such for several targets
    """
    shares = [share for _, share in _class_shares(*_fold_outputs(shared, folds, X, wavelengths))]
    return shares[0] if len(shares) == 1 else shares


def is_classifier(model: Any, output: Any = None) -> bool:
    """Tell whether a fitted model predicts classes: it has them, says so, or gives text."""
    if getattr(model, "classes_", None) is not None:
        return True
    says_so = getattr(model, "_estimator_type", None)
    if says_so is None and hasattr(model, "__sklearn_tags__"):
        says_so = model.__sklearn_tags__().estimator_type
    return says_so == "classifier" or np.asarray(output).dtype.kind in "US"


def has_proba(models: list[Any]) -> bool:
    """Tell whether every model gives class probabilities."""
    return all(getattr(m, "classes_", None) is not None and hasattr(m, "predict_proba") for m in models)


def all_classes(models: list[Any]) -> list[Any]:
    """Return, for each target, the sorted classes that any of the models has seen."""
    if any(getattr(model, "classes_", None) is None for model in models):
        raise AttributeError("a model of this chain does not tell its classes; use predict")
    return _union([_target_classes(model) for model in models])


def _union(seen: list[list[Any]]) -> list[Any]:
    return [np.unique(np.concatenate(target)) for target in zip(*seen, strict=True)]


def _class_shares(models: list[Any], outputs: list[Any]) -> list[tuple[Any, Any]]:
    """Return, for each target, the sorted classes and the models' mean share of each.

    A share is a probability, or where a model gives labels the fraction of the votes. A model that
    has not seen a class gives it nothing.
    """
    voting = not has_proba(models)
    seen = [_target_classes(model, output) for model, output in zip(models, outputs, strict=True)]
    if len({len(own) for own in seen}) > 1:
        raise PredictionError(f"the folds' models predict different numbers of targets: {[len(own) for own in seen]}")
    result = []
    for target, classes in enumerate(_union(seen)):
        shares = np.zeros((len(outputs), len(_of_target(outputs[0], target, voting)), len(classes)))
        for share, own_targets, output in zip(shares, seen, outputs, strict=True):
            own, own_classes = _of_target(output, target, voting), own_targets[target]
            if voting:
                own = own[:, None] == own_classes[None, :]
            share[:, np.searchsorted(classes, own_classes)] = own
        result.append((classes, shares.mean(axis=0)))
    return result


def _of_target(output: Any, target: int, voting: bool) -> Any:
    """Return the labels, or the probabilities, that one model gave for one of its targets."""
    if voting:
        return _as_columns(output)[:, target]
    return np.asarray(output[target] if isinstance(output, list) else output)


def _target_classes(model: Any, labels: Any = None) -> list[Any]:
    """Return a model's classes for each target; those it gave, where it does not tell what it has seen."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return [np.unique(column) for column in _as_columns(labels).T]
    return [np.asarray(c) for c in classes] if isinstance(classes, list) else [np.asarray(classes)]


def _is_multilabel(model: Any) -> bool:
    """Tell whether a classifier says yes or no to each of its classes, as scikit-learn's do."""
    binarizer = getattr(model, "label_binarizer_", None) or getattr(model, "_label_binarizer", None)
    return str(getattr(binarizer, "y_type_", "")).startswith("multilabel")


def _as_columns(y: Any) -> Any:
    y = np.asarray(y)
    return y.reshape(-1, 1) if y.ndim == 1 else y


def _fold_outputs(
    shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any
) -> tuple[list[Any], list[Any]]:
    """Return the folds' models, and the probabilities, or else predictions, that they gave."""
    X = _run("the chain", copy.deepcopy if hasattr(X, "columns") else np.array, X)
    models = [_safe_to_use(*fold[-1]) for fold in folds.values()]
    if any(_is_multilabel(model) for model in models):
        raise PredictionError("its models give several labels to one sample, which cannot be combined; wrap the model "
                              "in sklearn.multioutput.MultiOutputClassifier")  # fmt: skip
    method = "predict_proba" if has_proba(models) else "predict"
    X = _transform(shared, X, wavelengths)
    outputs = []
    for (name, fold), model in zip(folds.items(), models, strict=True):
        labelled = [(f"{label} of fold {name}", fitted) for label, fitted in fold]
        # Each fold owns its X: even scikit-learn's operators work in place where they are told to.
        own_X = X if len(folds) == 1 else copy.deepcopy(X)
        own_X = _transform(labelled[:-1], own_X, wavelengths)
        outputs.append(_run(labelled[-1][0], getattr(model, method), own_X))
    return models, outputs


def _transform(transformers: list[Labelled], X: Any, wavelengths: Any) -> Any:
    for label, fitted in transformers:
        operator = _safe_to_use(label, fitted)
        if not hasattr(operator, "transform"):
            raise PredictionError(f"{label} is a {type(operator).__name__}, which transforms nothing")
        if "wavelengths" not in inspect.signature(operator.transform).parameters:
            X = _run(label, operator.transform, X)
        elif wavelengths is None:
            raise PredictionError(f"{label} needs wavelengths; give wavelengths=, one per column of X")
        else:
            X = _run(label, operator.transform, X, wavelengths=wavelengths)
    return X


def _run(label: str, method: Any, X: Any, **options: Any) -> Any:
    try:
        return method(X, **options)
    except Exception as error:
        raise PredictionError(f"{label} refused X of shape {getattr(X, 'shape', None)}: {error}") from error


def _safe_to_use(label: str, fitted: Any) -> Any:
    if is_pure(fitted):
        return fitted
    try:
        return copy.deepcopy(fitted)
    except Exception as error:
        raise PredictionError(f"{label} cannot be copied, which keeps it from being changed: {error}") from error


def is_pure(fitted: Any) -> bool:
    """Tell whether an object, and all it was made from, come from packages known to be pure."""
    if not _is_from_pure_package(fitted):
        return False
    parts = fitted.get_params(deep=True).values() if hasattr(fitted, "get_params") else ()
    return all(_is_from_pure_package(part) for part in parts)


def _is_from_pure_package(value: Any) -> bool:
    module = value.__module__ if inspect.isroutine(value) else type(value).__module__
    return str(module or "builtins").split(".")[0] in PURE_PACKAGES
