"""Fits one step of a pipeline as scikit-learn's `Pipeline` does, and gives it the wavelengths that it needs.

Why: docs/decisions/0024.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import cloudpickle
import numpy as np
import sklearn
from sklearn.base import TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import FeatureUnion
from sklearn.pipeline import Pipeline as SklearnPipeline
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object

from ..artifacts import SCRIPTS, codecs
from ..chains import as_columns, inference, probabilities
from ..datasets import TrainingData
from ..errors import InvalidInputError
from ..metrics import is_missing
from .evaluation import Array, Fitted
from .operators import name_of
from .pipeline_config import Step

POSITIONS = ("start", "end", "point", "features")
"""Parameters that are wavelengths if the operator knows those of X, and places of columns if it does not."""


@dataclass(frozen=True)
class Samples:
    """What the steps of a pipeline are fitted on.

    Attributes
    ----------
    y : ndarray
    groups, weights : ndarray of shape (n_samples,), or None
    wavelengths : ndarray of shape (n_features,), or None
        Of the columns of the dataset.
    is_partial : bool
        Whether rows of the dataset miss some of several targets, so that a model is fitted on each target apart.
    """

    y: Array
    groups: Array | None
    weights: Array | None
    wavelengths: Array | None
    is_partial: bool = False

    @classmethod
    def of(cls, data: TrainingData, rows: Array) -> Samples:
        """Return some rows of a dataset."""
        groups, weights = (None if of is None else of[rows] for of in (data.groups, data.weights))
        return cls(data.y[rows], groups, weights, data.wavelengths, data.is_partial)

    def of_target(self, target: int, rows: Array) -> Samples:
        """Return some rows with one target alone."""
        groups, weights = (None if of is None else of[rows] for of in (self.groups, self.weights))
        return Samples(self.y[rows, target], groups, weights, self.wavelengths)

    @property
    def with_none(self) -> Samples:
        """The same, with None for a text that is missing, so that no transformer takes it for a class."""
        if not self.is_partial or self.y.dtype.kind == "f":
            return self
        return replace(self, y=np.where(is_missing(self.y), None, self.y))

    @property
    def metadata(self) -> dict[str, Any]:
        """What scikit-learn's metadata routing can hand to an operator, by the names that are usual."""
        found = {"groups": self.groups, "sample_weight": self.weights}
        found |= dict.fromkeys(inference.AXES, self.wavelengths)
        return {name: value for name, value in found.items() if value is not None}


def fit_transformer(step: Step, X: Any, samples: Samples, wavelengths: Array | None) -> tuple[Any, Any]:
    """Fit a transformer; return it, and X after it.

    As in a `Pipeline`, that is what its own `fit_transform` gives, which need not be what `transform` gives of the same
    samples: an encoder of targets would hand y on to the model.

    Parameters
    ----------
    step : Step
    X : array of shape (n_samples, n_features)
    samples : Samples
    wavelengths : ndarray of shape (n_features,), or None
        Of the columns of X as they come to this step, where they are known.

    Raises
    ------
    InvalidInputError
        It cannot be fitted where rows miss some of several targets.
    """
    operator, found = fit_operator(step, X, samples, wavelengths)
    return operator, found if transforms_while_fitting(operator) else transformed(step, operator, X, samples)


def fit_operator(step: Step, X: Any, samples: Samples, wavelengths: Array | None) -> tuple[Any, Any]:
    """Fit a transformer; return it, and what its method gave: X after it if it `transforms_while_fitting`."""
    operator = clone(step.operator, safe=False)
    give_wavelengths(operator, step.where, wavelengths, samples.wavelengths)
    X = deepcopy(X)  # A copy: some write to what they are fitted on.
    is_whole = transforms_while_fitting(operator)
    with _telling_of_gaps(step.where, samples.y):
        found = _fit(operator.fit_transform if is_whole else operator.fit, operator, X, samples.with_none)
    if is_whole:
        inference.check_rows(step.where, found, len(samples.y))
    return operator, found


def transformed(step: Step, operator: Any, X: Any, samples: Samples) -> Any:
    """Return X after a fitted transformer, which gets a copy of it."""
    axis = inference.axis_of(operator.transform)
    found = operator.transform(deepcopy(X), **({axis: samples.wavelengths} if axis else {}))
    inference.check_rows(step.where, found, len(samples.y))
    return found


def transforms_while_fitting(operator: Any) -> bool:
    """Tell whether a transformer is fitted by a `fit_transform` of its own.

    The mixin's is fit and transform, and takes for granted that fit returns the operator.
    """
    whole = getattr(operator, "fit_transform", None)
    if whole is None or getattr(whole, "__func__", whole) is TransformerMixin.fit_transform:
        return False
    axis = inference.axis_of(operator.transform) or inference.axis_of(operator.fit)
    return axis in (None, inference.axis_of(whole))


@contextmanager
def _telling_of_gaps(where: str, y: Array) -> Iterator[None]:
    """Say what to do where a transformer fails beside rows that miss some of several targets."""
    try:
        yield
    except Exception as error:  # It may be anybody's.
        if not is_missing(y).any():
            raise
        raise InvalidInputError(
            f"{where} could not be fitted: some rows miss some of the targets, and a step that uses y needs all; "
            "train each target alone (target=, in a shell --target), or leave out the rows that miss one. It said: "
            f"{error}"
        ) from error


def fitted_step(step: Step, operator: Any) -> Fitted:
    """Return a fitted object with its bytes."""
    return Fitted(step, name_of(type(operator)), dumped(operator))


def dumped(fitted: Any) -> codecs.Dumped:
    """Return a fitted object as bytes, in a format that another process can load.

    The format is joblib. It is cloudpickle for an object with a class or function of a script or notebook, of which
    joblib would store only the name, or of a module that was given to `cloudpickle.register_pickle_by_value`.

    Raises
    ------
    InvalidInputError
        No format can hold the object.
    """
    with suppress(InvalidInputError):
        content = codecs.dump(fitted, "joblib")
        if not any(name.encode() in content for name in (*SCRIPTS, *cloudpickle.list_registry_pickle_by_value())):
            return codecs.Dumped(content, "joblib", codecs.versions_of(fitted, "joblib"))
    content = codecs.dump(fitted, "cloudpickle")
    return codecs.Dumped(content, "cloudpickle", codecs.versions_of(fitted, "cloudpickle"))


def fit_model(step: Step, target: Any, X: Any, samples: Samples, wavelengths: Array | None) -> Any:
    """Return a fitted model; `target`, a transformer of y, is fitted with it, and only the model sees y transformed.

    Where rows miss some of several targets, it is scikit-learn's `MultiOutputRegressor`, or `MultiOutputClassifier`, of
    one model for each target, fitted on the rows that have it.
    """
    if samples.is_partial:
        parts = [(rows, samples.of_target(column, rows)) for column, rows in enumerate(~is_missing(samples.y).T)]
        return _of_targets([fit_model(step, target, X[rows], part, wavelengths) for rows, part in parts])
    model = clone(step.operator, safe=False)
    give_wavelengths(model, step.where, wavelengths, samples.wavelengths)
    if target is not None:
        if is_routing() and samples.weights is not None and hasattr(model, "set_fit_request"):
            model.set_fit_request(sample_weight=True)
        model = TransformedTargetRegressor(model, transformer=clone(target))
    weights = (
        {} if samples.weights is None or (is_routing() and is_router(model)) else {"sample_weight": samples.weights}
    )
    _fit(model.fit, model, deepcopy(X), samples, **weights)
    if samples.y.dtype.kind == "O" and getattr(model, "classes_", None) is not None:
        _check_labels(model, step.where, samples.y)
    return model


def _check_labels(model: Any, where: str, y: Array) -> None:
    """Refuse a model that makes NumPy's own texts of labels that end in NUL, as some of scikit-learn's do.

    Raises
    ------
    InvalidInputError
    """
    columns = as_columns(y).T
    lost = [
        own
        for own, classes in zip(columns, probabilities.target_classes(model), strict=True)
        if not np.isin(own, classes).all()
    ]
    if lost:
        label = next(text for text in lost[0] if text.endswith("\0"))
        raise InvalidInputError(
            f"{where} loses the NUL character at the end of the label {label!r}, so that two classes may become one; "
            "write the label in another way, or give a classifier that keeps it, such as a random forest"
        )


def _of_targets(models: list[Any]) -> Any:
    """Return fitted models, one for each target, as scikit-learn's own, which itself fits all on the same rows."""
    is_classes = inference.is_classifier(models[0])
    together = (MultiOutputClassifier if is_classes else MultiOutputRegressor)(clone(models[0]))
    together.estimators_ = models
    if is_classes:
        together.classes_ = [model.classes_ for model in models]
    if hasattr(models[0], "n_features_in_"):
        together.n_features_in_ = models[0].n_features_in_
    return together


def _fit(method: Any, operator: Any, X: Any, samples: Samples, **options: Any) -> Any:
    """Call a method that fits with y by its place, and with what the operator asks for by its name."""
    y = (deepcopy(samples.y),) if _takes_y(operator.fit) else ()
    axis = inference.axis_of(method)
    if axis is not None:
        options[axis] = samples.wavelengths
    if is_routing():
        options |= _requested(operator, "fit", samples.metadata)
    elif samples.groups is not None and splits_by_groups(operator):
        options["groups"] = samples.groups
        # A search hands weights on by itself; where there are none, routing finds it wherever it stands.
        with sklearn.config_context(enable_metadata_routing=samples.weights is None):
            return method(X, *y, **options)
    return method(X, *y, **options)


def _takes_y(method: Any) -> bool:
    """Tell whether a method has a second place, in which scikit-learn gives it y, whatever it is called there."""
    taken = [one for one in inspect.signature(method).parameters.values() if one.name not in inference.AXES]
    places = [one for one in taken if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 or any(one.kind == one.VAR_POSITIONAL for one in taken)


def is_routing() -> bool:
    """Tell whether scikit-learn's metadata routing is on: its user says which operator gets what."""
    return bool(sklearn.get_config()["enable_metadata_routing"])


def is_router(operator: Any) -> bool:
    """Tell whether an operator hands metadata on to others inside."""
    return isinstance(_routing_of(operator), MetadataRouter)


def takes_requested_weights(operator: Any) -> bool:
    """Tell whether weights of samples are asked for by metadata routing."""
    return bool(_requested(operator, "fit", {"sample_weight": None}))


def splits_by_groups(operator: Any) -> bool:
    """Tell whether an operator, or one inside, splits its samples by groups, as a search with GroupKFold does."""
    with sklearn.config_context(enable_metadata_routing=True):
        return bool(_requested(operator, "fit", {"groups": None}))


def needs_groups(splitter: Any) -> bool:
    """Tell whether a cross-validator splits by groups."""
    return bool(_requested(splitter, "split", {"groups": None}))


def _requested(operator: Any, method: str, metadata: dict[str, Any]) -> dict[str, Any]:
    inside = [part for part in inference.parts_of(operator) if is_router(part)]
    # Each is asked: a pipeline hands on what a selection inside has for its folds, and does not say so.
    routings = filter(None, map(_routing_of, (operator, *inside)))
    names = {name for routing in routings for name in routing.consumes(method, metadata.keys())}
    return {name: metadata[name] for name in names}


def _routing_of(operator: Any) -> Any:
    """Return what an operator says of the metadata that it takes; None where it cannot say."""
    try:
        return get_routing_for_object(operator)
    except (NotImplementedError, ValueError):  # It has no routing yet; or, as MultiTaskLasso, denies what it never had.
        return None


def give_wavelengths(operator: Any, where: str, wavelengths: Array | None, of_dataset: Array | None) -> None:
    """Set the wavelengths of operators that have a parameter for them, and that look for wavelengths.

    Parameters
    ----------
    operator : object
    where : str
    wavelengths : ndarray of shape (n_features,), or None
        Of the columns that it gets, where they are known.
    of_dataset : ndarray, or None

    Raises
    ------
    InvalidInputError
        It looks for wavelengths, and those of its columns are not known; or for some wavelengths and some places.
    """
    if of_dataset is None:
        return
    reached = [id(part) for part in _first_inside(operator)]
    for part in [operator, *inference.parts_of(operator)]:
        names = [name for name in inference.AXES if getattr(part, name, 0) is None and hasattr(part, "set_params")]
        if not names or not _looks_for_wavelengths(part, where, of_dataset):
            continue
        if wavelengths is None or id(part) not in reached:
            raise InvalidInputError(
                f"{where}: {type(part).__name__} needs wavelengths, and its columns are no longer those of the "
                "dataset; make it a step of its own, before the steps that change the columns"
            )
        part.set_params(**dict.fromkeys(names, np.array(wavelengths)))


def _first_inside(operator: Any) -> Iterator[Any]:
    """Give an operator, and those inside that get X as it does."""
    yield operator
    inside = [getattr(operator, name, None) for name in ("estimator", "regressor")]
    if isinstance(operator, SklearnPipeline):
        inside = [operator.steps[0][1]]
    if isinstance(operator, FeatureUnion):
        inside = [part for _, part in operator.transformer_list]
    for part in inside:
        if hasattr(part, "get_params"):
            yield from _first_inside(part)


def _looks_for_wavelengths(operator: Any, where: str, wavelengths: Array) -> bool:
    """Tell whether the positions that an operator looks for, if any, are wavelengths and no places of columns."""
    values = {name: np.ravel(np.asarray(getattr(operator, name, None))).tolist() for name in POSITIONS}
    asked = {name: found for name, found in values.items() if all(isinstance(value, Real) for value in found)}
    low, high = float(np.min(wavelengths)), float(np.max(wavelengths))
    inside = [low <= value <= high for found in asked.values() for value in found]
    if any(inside) and not all(inside):
        raise InvalidInputError(
            f"{where}: {', '.join(f'{name}={getattr(operator, name)}' for name in asked)} of {type(operator).__name__} "
            f"are not all among the wavelengths, {low:g} to {high:g}; give each as a wavelength, or each as the place "
            "of a column"
        )
    return all(inside)


def wavelengths_after(operator: Any, before: Any, after: Any, wavelengths: Array | None) -> Array | None:
    """Return the wavelengths of the columns that come out of a transformer, where they are known."""
    if wavelengths is None or np.shape(before)[1:] == np.shape(after)[1:]:
        return wavelengths
    support = operator.get_support() if hasattr(operator, "get_support") else None
    return wavelengths[support] if support is not None and np.shape(support) == wavelengths.shape else None
