"""How fitted objects turn X into y. Needs numpy alone: exported scripts carry this very file and `probabilities`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .probabilities import PredictionError, as_columns, class_shares, is_choice, mean_probabilities, vote_probabilities

# Objects of these packages do not change themselves when they transform or predict, and write to no
# array that says it is not theirs. Everything else is copied before it is used, and gets X as a copy.
PURE_PACKAGES = ("sklearn", "numpy", "scipy", "builtins")

AXES = ("wavelengths", "x_axis")
"""What parameters for the wavelengths are called; the second by chemotools."""

Labelled = tuple[str, Any]
"""A name for messages and a fitted object."""
Look = Callable[[Any, Any], None] | None


class OutputError(PredictionError):
    """A fitted object gave something else than one row for each row that it got, or no y."""


class _Operator:
    """A fitted object that changes neither itself nor the X that others work on, too."""

    def __init__(self, label: str, fitted: Any) -> None:
        self.label = label
        parts = parts_of(fitted)
        inside = [type(part).__name__ for part in parts if hasattr(part, "transform") and takes_wavelengths(part)]
        if inside:
            raise PredictionError(
                f"{label} has {inside[0]} inside, which would get no wavelengths there; save it as a step of its own"
            )
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
        """Call a method with X, or with a copy of it where it writes to what it gets.

        Raises
        ------
        OutputError
            It gives more rows than it got, or fewer, as a filter of outliers does: nobody could tell whose they are.
        """
        found = self._call(getattr(self.fitted, name), X, options)
        check_rows(self.label, found, _shapes(X)[0][0])
        return found

    def _call(self, method: Any, X: Any, options: dict[str, Any]) -> Any:
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
    votes : bool
        Let several folds vote, since what their models predict is not their likeliest class.

    Raises
    ------
    PredictionError
        An object has something inside that would not work there.
    """

    # On the class, too: estimators were pickled, with their operators, before there was such an attribute.
    _votes = False

    def __init__(self, shared: list[Labelled], folds: dict[str, list[Labelled]], *, votes: bool = False) -> None:
        self._votes = votes
        self._shared = [_Operator(*entry) for entry in shared]
        self._folds = [
            [_Operator(f"{label} of fold {name}", fitted) for label, fitted in fold] for name, fold in folds.items()
        ]

    def predict(self, X: Any, wavelengths: Any = None) -> Any:
        """Predict; see `predict` of this module."""
        return self.predict_and_look(X, wavelengths)[0]

    def transform(self, X: Any, wavelengths: Any = None) -> Any:
        """Return X after what all folds share."""
        X = X if hasattr(X, "columns") or hasattr(X, "tocsr") else _run("the chain", contiguous, X)
        return _transform([operator.ready() for operator in self._shared], X, wavelengths)

    def predict_and_look(self, X: Any, wavelengths: Any = None, look: Look = None) -> tuple[Any, list[Any]]:
        """Return predictions, and the numbers that each fold predicts; `look` gets the first fold's model and its X."""
        models, outputs = self._outputs(X, wavelengths, look)
        kinds = {_kind(model, output) for model, output in zip(models, outputs, strict=True)}
        if len(kinds) > 1:
            raise PredictionError(f"the folds' models are of different kinds: {sorted(kinds)}")
        if kinds == {"labels"}:
            shares = class_shares(models, outputs)
            columns = [classes[np.argmax(share, axis=1)] for classes, share in shares]
            return (columns[0] if len(columns) == 1 else np.stack(columns, axis=1)), []
        if kinds == {"clusters"} and len(outputs) > 1:
            raise PredictionError(
                "the folds' models number their clusters each in its own way; save a chain for each fold"
            )
        columns = [as_columns(y) for y in outputs]
        if len({y.shape for y in columns}) > 1 or any(y.dtype.kind not in "biuf" for y in columns):
            found = [f"{y.dtype} of shape {y.shape}" for y in columns]
            raise PredictionError(f"the folds' models do not fit together: they give {found}")
        y = columns[0] if len(columns) == 1 else np.mean(columns, axis=0)
        y = y[:, 0] if y.shape[1] == 1 else y
        # What a model hands through is X, which is the caller's.
        return (y if y.flags.writeable else y.copy()), columns

    def predict_proba(self, X: Any, wavelengths: Any = None) -> Any:
        """Return class probabilities; parameters and errors as for `predict` of this module.

        One fold gives what its model gives; several the mean of theirs, each class with itself. Where a model has no
        `predict_proba`, each class has its share of the votes.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or as the models give those of several targets or labels
        """
        models, each = self._ready(X, wavelengths)
        if all(hasattr(model, "predict_proba") for model in models):
            return mean_probabilities(models, each(_probabilities))
        return vote_probabilities(models, each(_predict))

    def decision_function(self, X: Any, wavelengths: Any = None) -> Any:
        """Return the mean of what the models' `decision_function` gives; all must have seen the same classes."""
        _, each = self._ready(X, wavelengths)
        return np.mean(each(lambda model, own: np.asarray(model.apply("decision_function", own))), axis=0)

    def _outputs(self, X: Any, wavelengths: Any, look: Look) -> tuple[list[Any], list[Any]]:
        """Return the folds' models, and what each gave: a list with the probabilities of each target, or an array."""
        models, each = self._ready(X, wavelengths, look)
        if has_proba(models) and not self._votes and not votes(models):
            probabilities = each(_choices)
            if all(found is not None for found in probabilities):
                return models, probabilities
        return models, each(_predict)

    def _ready(self, X: Any, wavelengths: Any, look: Look = None) -> tuple[list[Any], Callable[[Any], list[Any]]]:
        """Return the folds' models, and what calls a function with each of them and the X that it gets."""
        X = self.transform(X, wavelengths)
        operators = [[operator.ready() for operator in fold] for fold in self._folds]

        def each(function: Any) -> list[Any]:
            found = []
            for place, (*transformers, model) in enumerate(operators):
                seen = _transform(transformers, X, wavelengths)
                found.append(function(model, seen))
                if look is not None and place == 0:  # What the model refuses has raised.
                    look(model.fitted, seen)
            return found

        return [fold[-1].fitted for fold in operators], each


def predict(
    shared: list[Labelled], folds: dict[str, list[Labelled]], X: Any, wavelengths: Any = None, *, votes: bool = False
) -> Any:
    """Predict with a whole chain.

    Regression gives the mean of the folds. Classification gives the class with the highest mean
    probability, or the majority of votes where a model has no `predict_proba`, a threshold of its own, or predicted
    in training something else than its likeliest class; a tie goes to the class that sorts first. One fold alone
    predicts what its model predicts.

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
    votes : bool
        Let several folds vote; the chain's training tells.

    Returns
    -------
    ndarray of shape (n_samples,), or (n_samples, n_targets) for several targets

    Raises
    ------
    PredictionError
        An object refused its input or needs wavelengths; the message names the object and the fold.
    """
    return Operators(shared, folds, votes=votes).predict(X, wavelengths)


def check_rows(label: str, found: Any, rows: int) -> None:
    """Refuse what has not a row for each row of X.

    Raises
    ------
    OutputError
        It has more or fewer.
    """
    shapes = _shapes(found)
    # A row of each target, or of each sample those of its targets.
    if not all(shape[:1] == (rows,) or (len(shape) == 3 and shape[1] == rows) for shape in shapes):
        raise OutputError(
            f"{label} gave an array of shape {' and '.join(map(str, shapes))} for {rows} rows of X; a chain "
            "predicts each row, so leave this step out of it, or give an operator that keeps the rows"
        )


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


def _predict(model: _Operator, X: Any) -> Any:
    if not hasattr(model.fitted, "predict"):
        raise PredictionError(f"{model.label} is a {type(model.fitted).__name__}, which predicts nothing")
    found = model.apply("predict", X)
    try:
        y = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    except ValueError as error:
        raise OutputError(f"{model.label} predicted what is no array: {error}") from error
    if y.ndim > 2 or y.shape[1:] == (0,):
        raise OutputError(
            f"{model.label} predicted a y of shape {y.shape}; a chain needs (n_samples,) or "
            "(n_samples, n_targets) of its model"
        )
    return y


def _probabilities(model: _Operator, X: Any) -> Any:
    """Return what a model gives as probabilities: an array, or a list with one for each target."""
    found = model.apply("predict_proba", X)
    if isinstance(found, list):
        return [np.array(target) for target in found]
    return np.array(found)  # A copy: what a model hands through is X, which is the caller's.


def _choices(model: _Operator, X: Any) -> list[Any] | None:
    """Return a model's class probabilities for each target; None if they are no choice among the classes of each.

    A model that says yes or no to each class of a sample, or has them for several targets in one array, gives
    numbers that look alike; how many columns it predicts tells.
    """
    found, classes = _probabilities(model, X), model.fitted.classes_
    targets = found if isinstance(found, list) else [found]
    fits = is_choice(found, classes) and as_columns(_predict(model, X[:1])).shape[1] == len(targets)
    return targets if fits else None


def _transform(transformers: list[_Operator], X: Any, wavelengths: Any) -> Any:
    for operator in transformers:
        if not hasattr(operator.fitted, "transform"):
            raise PredictionError(f"{operator.label} is a {type(operator.fitted).__name__}, which transforms nothing")
        axis = axis_of(operator.fitted.transform)
        if axis is None:
            X = operator.apply("transform", X)
        elif wavelengths is None:
            raise PredictionError(f"{operator.label} needs wavelengths; give wavelengths=, one per column of X")
        else:
            X = operator.apply("transform", X, **{axis: np.array(wavelengths)})
    return X


def takes_wavelengths(operator: Any) -> bool:
    """Tell whether a transformer's `transform` is given the wavelengths, too."""
    return axis_of(operator.transform) is not None


def axis_of(method: Any) -> str | None:
    """Return the name of the parameter by which a method takes the wavelengths, if it has one."""
    taken = inspect.signature(method).parameters
    return next((name for name in AXES if name in taken), None)


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


def _shapes(found: Any) -> list[tuple[int, ...]]:
    """Return the shape of an array, or of each in a list that has one for each target."""
    if isinstance(found, list) and found and all(len(getattr(target, "shape", ())) == 2 for target in found):
        return [target.shape for target in found]
    try:
        return [found.shape if hasattr(found, "shape") else np.shape(found)]
    except ValueError:  # A ragged list is no array.
        return [()]


def _gaps(X: Any) -> list[int]:
    """Return which rows have a NaN, as a flat spectrum has once it was divided by its deviation."""
    if not (isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.ndim == 2):
        return []
    rows: list[int] = np.flatnonzero(np.isnan(X).any(axis=1)).tolist()
    return rows


def parts_of(fitted: Any) -> list[Any]:
    """Return what an object was made from, at any depth: the steps of a pipeline, a search's estimator."""
    return [*fitted.get_params(deep=True).values()] if hasattr(fitted, "get_params") else []


def _is_from_pure_package(value: Any) -> bool:
    module = getattr(value, "__module__", None) if inspect.isroutine(value) else type(value).__module__
    return hasattr(type(value), "changes_nothing") or str(module or "builtins").split(".")[0] in PURE_PACKAGES
