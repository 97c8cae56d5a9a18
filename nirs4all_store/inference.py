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
    if all(is_classifier(model) for model in models):
        shares = _class_shares(models, outputs)
        columns = [classes[np.argmax(share, axis=1)] for classes, share in shares]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    mean = np.mean([_as_columns(y) for y in outputs], axis=0)
    return mean[:, 0] if mean.shape[1] == 1 else mean


def predict_proba(shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any = None) -> Any:
    """Return the folds' mean class probabilities; parameters and errors as for `predict`.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), or a list of such for several targets
    """
    shares = [share for _, share in _class_shares(*_fold_outputs(shared, folds, X, wavelengths))]
    return shares[0] if len(shares) == 1 else shares


def is_classifier(model: Any) -> bool:
    """Tell whether a fitted model predicts classes: only those have `classes_`."""
    return getattr(model, "classes_", None) is not None


def has_proba(models: list[Any]) -> bool:
    """Tell whether every model gives class probabilities."""
    return all(is_classifier(model) and hasattr(model, "predict_proba") for model in models)


def all_classes(models: list[Any]) -> list[Any]:
    """Return, for each target, the sorted classes that any of the models has seen."""
    seen = [_target_classes(model) for model in models]
    return [np.unique(np.concatenate(target)) for target in zip(*seen, strict=True)]


def _class_shares(models: list[Any], outputs: list[Any]) -> list[tuple[Any, Any]]:
    """Return, for each target, the sorted classes and the models' mean share of each.

    A share is a probability, or where a model gives labels the fraction of the votes. A model that
    has not seen a class gives it nothing.
    """
    voting = not has_proba(models)
    result = []
    for target, classes in enumerate(all_classes(models)):
        shares = np.zeros((len(outputs), len(_of_target(outputs[0], target, voting)), len(classes)))
        for share, model, output in zip(shares, models, outputs, strict=True):
            own = _of_target(output, target, voting)
            own_classes = _target_classes(model)[target]
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


def _target_classes(model: Any) -> list[Any]:
    classes = model.classes_
    return [np.asarray(c) for c in classes] if isinstance(classes, list) else [np.asarray(classes)]


def _as_columns(y: Any) -> Any:
    y = np.asarray(y)
    return y.reshape(-1, 1) if y.ndim == 1 else y


def _fold_outputs(
    shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any
) -> tuple[list[Any], list[Any]]:
    """Return the folds' models, and the probabilities, or else predictions, that they gave."""
    X = _run("the chain", copy.deepcopy if hasattr(X, "columns") else np.array, X)
    models = [_safe_to_use(*fold[-1]) for fold in folds.values()]
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
