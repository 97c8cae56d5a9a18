"""How fitted objects turn X into y. Needs numpy alone: exported scripts carry this very file."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

# Objects of these packages do not change themselves when they transform or predict, and write to no
# array that says it is not theirs. Everything else is copied before it is used, and gets X as a copy.
PURE_PACKAGES = ("sklearn", "numpy", "scipy", "builtins")

Labelled = tuple[str, Any]
"""A name for messages and a fitted object."""


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


class _Operator:
    """A fitted object that changes neither itself nor the X that others work on, too."""

    def __init__(self, label: str, fitted: Any) -> None:
        self.label = label
        parts = _parts(fitted)
        inside = [type(part).__name__ for part in parts if hasattr(part, "transform") and takes_wavelengths(part)]
        if inside:
            raise PredictionError(f"{label} has {inside[0]} inside, which would get no wavelengths there; "
                                  "save it as a step of its own")  # fmt: skip
        self.fitted = fitted
        self._is_pure = all(_is_from_pure_package(part) for part in (fitted, *parts))

    def ready(self) -> _Operator:
        """Return what may be used once: this one, or a copy that nobody sees change."""
        if self._is_pure:
            return self
        twin = copy.copy(self)
        try:
            twin.fitted = copy.deepcopy(self.fitted)
        except Exception as error:
            raise PredictionError(
                f"{self.label} cannot be copied, which keeps it from being changed: {error}"
            ) from error
        return twin

    def apply(self, name: str, X: Any, **options: Any) -> Any:
        """Call a method with X, or with a copy of it where it writes to what it gets."""
        method = getattr(self.fitted, name)
        if self._is_pure and isinstance(X, np.ndarray):
            view = X.view()
            view.flags.writeable = False
            try:
                return method(view, **options)
            except Exception:  # noqa: S110  # Even scikit-learn's operators work in place where they are told to.
                pass
        return _run(self.label, method, _run(self.label, copy.deepcopy, X), **options)


class Operators:
    """The fitted objects of a chain, looked at once and ready to predict any number of times.

    Parameters
    ----------
    shared : list of (str, object)
        Fitted transformers that all folds have in common, in order.
    folds : dict of str to list of (str, object)
        For each fold its own fitted transformers, in order, the model last.

    Raises
    ------
    PredictionError
        An object has something inside that would not work there.
    """

    def __init__(self, shared: list[Labelled], folds: dict[str, list[Labelled]]) -> None:
        self._shared = [_Operator(*entry) for entry in shared]
        self._folds = [
            [_Operator(f"{label} of fold {name}", fitted) for label, fitted in fold] for name, fold in folds.items()
        ]

    def predict(self, X: Any, wavelengths: Any = None) -> Any:
        """Predict; see `predict` of this module."""
        folds_models, outputs = self._outputs(X, wavelengths, may_vote=True)
        kinds = {_kind(model, output) for model, output in zip(folds_models, outputs, strict=True)}
        if len(kinds) > 1:
            raise PredictionError(f"the folds' models are of different kinds: {sorted(kinds)}")
        if kinds == {"labels"}:
            shares = _class_shares(folds_models, outputs)
            columns = [classes[np.argmax(share, axis=1)] for classes, share in shares]
            return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
        if kinds == {"clusters"} and len(outputs) > 1:
            raise PredictionError(
                "the folds' models number their clusters each in its own way; save a chain for each fold"
            )
        columns = [_as_columns(y) for y in outputs]
        if len({y.shape for y in columns}) > 1 or any(y.dtype.kind not in "biuf" for y in columns):
            found = [f"{y.dtype} of shape {y.shape}" for y in columns]
            raise PredictionError(f"the folds' models do not fit together: they give {found}")
        y = columns[0] if len(columns) == 1 else np.mean(columns, axis=0)
        y = y[:, 0] if y.shape[1] == 1 else y
        return y if y.flags.writeable else y.copy()  # What a model hands through is X, which is the caller's.

    def predict_proba(self, X: Any, wavelengths: Any = None) -> Any:
        """Return the folds' mean class probabilities; parameters and errors as for `predict` of this module.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or a list of such for several targets
        """
        shares = [share for _, share in _class_shares(*self._outputs(X, wavelengths, may_vote=False))]
        return shares[0] if len(shares) == 1 else shares

    def _outputs(self, X: Any, wavelengths: Any, *, may_vote: bool) -> tuple[list[Any], list[Any]]:
        """Return the folds' models, and what each gave: a list with the probabilities of each target, or an array."""
        is_array = not (hasattr(X, "columns") or hasattr(X, "tocsr"))
        X = _run("the chain", contiguous, X) if is_array else X
        X = _transform([operator.ready() for operator in self._shared], X, wavelengths)
        operators = [[operator.ready() for operator in fold] for fold in self._folds]
        models = [fold[-1].fitted for fold in operators]

        def each(method: Any) -> list[Any]:
            return [method(model, _transform(transformers, X, wavelengths)) for *transformers, model in operators]

        if has_proba(models) and not (may_vote and votes(models)):
            probabilities = each(_probabilities)
            if all(found is not None for found in probabilities):
                return models, probabilities
        return models, each(_predict)


def predict(shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any = None) -> Any:
    """Predict with a whole chain.

    Regression gives the mean of the folds. Classification gives the class with the highest mean
    probability, or the majority of votes where a model has no `predict_proba` or a threshold of its own; a tie goes
    to the class that sorts first. One fold alone predicts what its model predicts.

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
    return Operators(shared, folds).predict(X, wavelengths)


def transform(operators: list[Labelled], X: Any, wavelengths: Any = None) -> Any:
    """Return X after fitted transformers, one after the other; parameters and errors as for `predict`."""
    return _transform([_Operator(*entry).ready() for entry in operators], X, wavelengths)


def contiguous(X: Any) -> Any:
    """Return an array that lies in memory as a whole, by rows or by columns, as it comes out of another process.

    Sums depend on how an array lies there; a part of one would give other last digits than its copy.
    """
    X = np.asarray(X)
    return X if X.flags.c_contiguous or X.flags.f_contiguous else np.ascontiguousarray(X)


def is_classifier(model: Any) -> bool:
    """Tell whether a fitted model predicts classes: it has them, or says so."""
    return getattr(model, "classes_", None) is not None or estimator_type(model) == "classifier"


def estimator_type(model: Any) -> str | None:
    """Return what a model says that it is; None where it says nothing."""
    said: str | None = getattr(model, "_estimator_type", None)
    if said is None and hasattr(model, "__sklearn_tags__"):
        try:
            said = model.__sklearn_tags__().estimator_type
        except AttributeError:  # A mixin of scikit-learn's without its BaseEstimator.
            return None
    return said


def _kind(model: Any, output: Any) -> str:
    """Return what a model predicts: labels, which are voted on, the numbers of clusters, or numbers."""
    said = estimator_type(model)
    if is_classifier(model) or said == "outlier_detector":
        return "labels"
    if said == "clusterer":
        return "clusters"
    # Text is never a number; a model that does not say what it is and gives whole numbers gives labels.
    kind = np.asarray(output).dtype.kind
    return "labels" if kind in "USb" or (said is None and kind in "iu") else "numbers"


def has_proba(models: list[Any]) -> bool:
    """Tell whether every model gives class probabilities."""
    return all(getattr(m, "classes_", None) is not None and hasattr(m, "predict_proba") for m in models)


def votes(models: list[Any]) -> bool:
    """Tell whether models choose a class by what they predict, not by the mean of their probabilities.

    One alone does, and so do classifiers with a threshold of their own, for which the likelier class need not be it.
    """
    return len(models) == 1 or any(map(_has_threshold, models))


def _has_threshold(model: Any) -> bool:
    """Tell whether a model, or what it leaves predicting to (the last step of a pipeline, a search's best) has one."""
    if any(kind.__name__ == "BaseThresholdClassifier" for kind in type(model).__mro__):
        return True
    steps = getattr(model, "steps", None)
    inner = steps[-1][1] if steps else getattr(model, "best_estimator_", None)
    return inner is not None and inner is not model and _has_threshold(inner)


def all_classes(models: list[Any]) -> list[Any]:
    """Return, for each target, the sorted classes that any of the models has seen."""
    if any(getattr(model, "classes_", None) is None for model in models):
        raise AttributeError("a model of this chain does not tell its classes; use predict")
    return _union([_target_classes(model) for model in models])


def _union(seen: list[list[Any]]) -> list[Any]:
    targets = list(zip(*seen, strict=True))
    if any(len({own.dtype.kind in "OUST" for own in target}) > 1 for target in targets):
        raise PredictionError("the folds' models do not fit together: classes are text in one fold, numbers in another")
    return [np.unique(np.concatenate(target)) for target in targets]


def _class_shares(models: list[Any], outputs: list[Any]) -> list[tuple[Any, Any]]:
    """Return, for each target, the sorted classes and the models' mean share of each.

    A share is a probability, or where a model gives labels the fraction of the votes. A model that
    has not seen a class gives it nothing.
    """
    voting = not all(isinstance(output, list) for output in outputs)
    try:
        seen = [_classes_of(model, output) for model, output in zip(models, outputs, strict=True)]
        if len({len(own) for own in seen}) > 1:
            raise PredictionError(f"the folds' models predict different numbers of targets: {[len(o) for o in seen]}")
        return [
            _shares_of_target(target, classes, seen, outputs, voting) for target, classes in enumerate(_union(seen))
        ]
    except TypeError as error:  # Classes of several types, which have no order.
        raise PredictionError(f"the folds' models do not fit together: {error}") from error


def _shares_of_target(
    target: int, classes: Any, seen: list[list[Any]], outputs: list[Any], voting: bool
) -> tuple[Any, Any]:
    own = [_as_columns(output)[:, target] if voting else output[target] for output in outputs]
    shares = np.zeros((len(own), len(own[0]), len(classes)))
    for share, values, own_targets in zip(shares, own, seen, strict=True):
        own_classes = own_targets[target]
        share[:, np.searchsorted(classes, own_classes)] = values[:, None] == own_classes[None, :] if voting else values
    return classes, shares.mean(axis=0)


def _predict(model: _Operator, X: Any) -> Any:
    if not hasattr(model.fitted, "predict"):
        raise PredictionError(f"{model.label} is a {type(model.fitted).__name__}, which predicts nothing")
    return np.asarray(model.apply("predict", X))


def _probabilities(model: _Operator, X: Any) -> list[Any] | None:
    """Return a model's class probabilities; None if they are no choice among the classes of each target.

    A model that says yes or no to each class of a sample, or has them for several targets in one array, gives
    numbers that look alike; how many columns it predicts tells.
    """
    found = model.apply("predict_proba", X)
    targets = [np.asarray(proba) for proba in found] if isinstance(found, list) else [np.asarray(found)]
    classes = _target_classes(model.fitted)
    columns = _as_columns(_predict(model, X[:1])).shape[1]
    fits = len(targets) == len(classes) == columns and all(
        proba.ndim == 2 and proba.shape[1] == len(own) for proba, own in zip(targets, classes, strict=True)
    )
    return targets if fits else None


def _classes_of(model: Any, output: Any) -> list[Any]:
    """Return the classes of each target that a model chose among, or where that cannot be known, those it gave."""
    if isinstance(output, list):
        return _target_classes(model)
    columns = _as_columns(output)
    classes = _target_classes(model) if getattr(model, "classes_", None) is not None else []
    return classes if len(classes) == columns.shape[1] else [np.unique(column) for column in columns.T]


def _target_classes(model: Any) -> list[Any]:
    """Return a model's classes for each target."""
    classes = model.classes_
    return [np.asarray(own) for own in classes] if isinstance(classes, list) else [np.asarray(classes)]


def _as_columns(y: Any) -> Any:
    y = np.asarray(y)
    return y.reshape(-1, 1) if y.ndim == 1 else y


def _transform(transformers: list[_Operator], X: Any, wavelengths: Any) -> Any:
    for operator in transformers:
        if not hasattr(operator.fitted, "transform"):
            raise PredictionError(f"{operator.label} is a {type(operator.fitted).__name__}, which transforms nothing")
        if not takes_wavelengths(operator.fitted):
            X = operator.apply("transform", X)
        elif wavelengths is None:
            raise PredictionError(f"{operator.label} needs wavelengths; give wavelengths=, one per column of X")
        else:
            X = operator.apply("transform", X, wavelengths=np.array(wavelengths))
    return X


def takes_wavelengths(operator: Any) -> bool:
    """Tell whether a transformer's `transform` is given the wavelengths, too."""
    return "wavelengths" in inspect.signature(operator.transform).parameters


def _run(label: str, method: Any, X: Any, **options: Any) -> Any:
    try:
        return method(X, **options)
    except Exception as error:
        reason, rows = str(error).partition("\n")[0], _gaps(X)
        refused = f"{label} refused X of shape {getattr(X, 'shape', None)}"
        if not rows:
            raise PredictionError(f"{refused}: {reason}") from error
        named = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows, the first of them {rows[0]}"
        raise PredictionError(f"{refused} with NaN in {named} (counted from 0): {reason}", rows[0]) from error


def _gaps(X: Any) -> list[int]:
    """Return which rows have a NaN, as a flat spectrum has once it was divided by its deviation."""
    if not (isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.ndim == 2):
        return []
    rows: list[int] = np.flatnonzero(np.isnan(X).any(axis=1)).tolist()
    return rows


def _parts(fitted: Any) -> list[Any]:
    """Return what an object was made from, at any depth: the steps of a pipeline, a search's estimator."""
    return [*fitted.get_params(deep=True).values()] if hasattr(fitted, "get_params") else []


def _is_from_pure_package(value: Any) -> bool:
    module = getattr(value, "__module__", None) if inspect.isroutine(value) else type(value).__module__
    return str(module or "builtins").split(".")[0] in PURE_PACKAGES
