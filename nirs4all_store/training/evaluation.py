"""Predicts with trained models, as their stored chains will, and scores the predictions.

How folds are combined: docs/decisions/0024.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..artifacts import codecs
from ..chains import all_classes, as_columns, inference, is_choice, on_classes
from ..datasets import AVERAGE, FINAL, TrainingData
from ..metrics import COVERAGE, MAIN, MAIN_OF_SEVERAL, Scores, is_missing, over_repeats, repeats_of, scores_of
from .pipeline_config import Step
from .repeats import Folds, coverage_of

Array = Any


@dataclass(frozen=True)
class PartitionPredictions:
    """The predictions of one partition.

    Attributes
    ----------
    y, y_pred : ndarray
        `y` is None where it is not known.
    proba : ndarray of shape (n_samples, n_classes), as the model gives it for several targets, or None
    rows : ndarray of int
        Which rows of the dataset, as it was given, were predicted.
    classes : ndarray, or list of ndarray for several targets, or None
        What the columns of `proba` are called; None where they are no classes.
    decision : ndarray of shape (n_samples,) or (n_samples, n_classes), or None
        Of classifiers without probabilities what their `decision_function` gives. It is scored, and not stored.
    """

    y: Array | None
    y_pred: Array
    proba: Array | None
    rows: Array
    classes: Any = None
    decision: Array | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted object as the bytes that are stored: made once, before anything is predicted with it.

    Attributes
    ----------
    step : Step
    class_name : str
        Of the object.
    dumped : Dumped
    """

    step: Step
    class_name: str
    dumped: codecs.Dumped

    @cached_property
    def operator(self) -> Any:
        """The object as it is loaded from the store; its arrays may have another order in memory."""
        return codecs.load(self.dumped.content, self.dumped.format, self.dumped.versions)

    def __getstate__(self) -> dict[str, Any]:
        return {"step": self.step, "class_name": self.class_name, "dumped": self.dumped}  # The bytes are enough.


@dataclass
class TrainedModel:
    """One model of a pipeline with the fitted steps before it, in every fold.

    Attributes
    ----------
    step : Step
    shared : list of Fitted
        The fitted steps that are equal in all folds, since they do not depend on the samples.
    folds : list of list of Fitted
        The other fitted steps of each fold, the model last.
    final : list of Fitted, or None
        Those of the final model, which was fitted on all samples; None if there is none.
    task : str
        `regression` or `classification`.
    metric : str
        The score that it is ranked by.
    parts : dict
        Fold (`"0"`, ..., `"avg"`, `"final"`) and partition (`train`, `val`, `test`) to predictions.
    scores : dict
        Fold to partition to what `scores_of` gives; of `val` of all folds together, what `over_repeats` gives.
    repeats : dict of str to int
        The repeat, from 0, that each fold belongs to, where there are several.
    votes : bool
        Whether `predict` of a fold's model is not its likeliest class, so that the folds together vote.
    domain : Dumped, or None
        What the calibration covers, as `fit_domain` returns it; None if it cannot be told.
    """

    step: Step
    shared: list[Fitted]
    folds: list[list[Fitted]]
    final: list[Fitted] | None
    task: str = ""
    metric: str = ""
    parts: dict[str, dict[str, PartitionPredictions]] = field(default_factory=dict)
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    votes: bool = False
    domain: codecs.Dumped | None = None


def judge(model: TrainedModel, data: TrainingData, folds: Folds, *, weighted: bool = False) -> None:
    """Predict with each fold and with all together, as the stored chain will; fill `parts`, `scores` and `votes`.

    With `weighted`, the weights of samples count in the scores; those of test data have none.
    """
    alone = [_Predictor(model, [fold], data.y) for fold in model.folds]
    for name, (predictor, split) in enumerate(zip(alone, folds, strict=True)):
        parts = {
            partition: predictor.part(data.X[rows], data.y[rows], data.rows[rows], data.wavelengths)
            for partition, rows in zip(("train", "val"), split, strict=True)
        }
        model.parts[str(name)] = parts | _of_test(predictor, data)
    of_folds = [model.parts[str(name)] for name in range(len(folds))]
    model.votes = len(folds) > 1 and not all(map(_chooses_the_likeliest, alone, of_folds))
    together = _Predictor(model, model.folds, data.y)
    model.task = together.task
    model.metric = (MAIN if data.y.ndim == 1 else MAIN_OF_SEVERAL)[model.task]
    together.gives_proba = together.gives_proba and all(
        _goes_with_others(parts["val"], predictor, together) for parts, predictor in zip(of_folds, alone, strict=True)
    )
    model.parts[AVERAGE] = {
        partition: _average([parts[partition] for parts in of_folds], together, data) for partition in ("train", "val")
    } | _of_test(together, data)
    for fold, parts in model.parts.items():
        predictor = together if fold == AVERAGE else alone[int(fold)]
        model.scores[fold] = _scores(predictor, parts, data, of_classes=fold == AVERAGE, weighted=weighted)
    repeats = repeats_of([held_out for _, held_out in folds], len(data.X))
    if len(repeats) > 1:
        model.repeats = {str(name): number for number, repeat in enumerate(repeats) for name in repeat}
    held_out = [parts["val"] for parts in of_folds]
    pooled = [_average([held_out[name] for name in repeat], together, data) for repeat in repeats]
    pooled = pooled or [_joined([_average([part], together, data) for part in held_out])]
    weights = [_weights(part, data) if weighted else None for part in pooled]
    scores = [
        together.scores(part, data.target_names, of_classes=True, weights=own)
        for part, own in zip(pooled, weights, strict=True)
    ]
    coverage = coverage_of(folds, len(data.X))
    model.scores[AVERAGE]["val"] = over_repeats(scores) | ({} if coverage is None else {COVERAGE: coverage})
    if model.final is not None:
        final = _Predictor(model, [model.final], data.y)
        # No sample is held out from it: what is told of its training and of the test data alone says how good it is.
        parts = {"train": final.part(data.X, data.y, data.rows, data.wavelengths)} | _of_test(final, data)
        scores_of_final = _scores(final, parts, data, of_classes=True, weighted=weighted)
        model.parts[FINAL], model.scores[FINAL] = parts, scores_of_final


def _weights(part: PartitionPredictions, data: TrainingData) -> Array | None:
    """Return what each row of X that was predicted counts."""
    return None if data.weights is None else data.weights[data.places(part.rows)]


def _scores(
    predictor: _Predictor,
    parts: dict[str, PartitionPredictions],
    data: TrainingData,
    *,
    of_classes: bool,
    weighted: bool,
) -> dict[str, Scores]:
    """Return how good the predictions of each partition are, where y is known."""
    return {
        partition: predictor.scores(
            part,
            data.target_names,
            of_classes=of_classes,
            weights=_weights(part, data) if weighted and partition != "test" else None,
        )
        for partition, part in parts.items()
        if part.y is not None and len(part.y)
    }


def _chooses_the_likeliest(predictor: _Predictor, parts: dict[str, PartitionPredictions]) -> bool:
    """Tell whether a model predicts of its training samples the class of the highest probability, if it has any."""
    part = parts["train"]
    return not predictor.chooses(part) or bool(np.array_equal(_likeliest(part.proba, part), part.y_pred))


def _likeliest(proba: Any, part: PartitionPredictions) -> Array:
    """Return the class with the highest probability, for each target in the shape in which the model predicts."""
    targets = zip(proba, part.classes, strict=True) if isinstance(proba, list) else [(proba, part.classes)]
    columns = [classes[np.argmax(shares, axis=1)] for shares, classes in targets]
    return np.stack(columns, axis=1).reshape(-1, *part.y_pred.shape[1:])


def _goes_with_others(part: PartitionPredictions, predictor: _Predictor, together: _Predictor) -> bool:
    """Tell whether a fold's probabilities can be compared, row by row, with those of folds that saw other classes."""
    if part.classes is not None:
        return True
    same = all(map(np.array_equal, _as_list(predictor.seen), _as_list(together.seen)))
    return same and not isinstance(part.proba, list) and part.proba is not None and len(part.proba) == len(part.rows)


def _as_list(classes: Any) -> list[Array]:
    return classes if isinstance(classes, list) else [classes]


class _Predictor:
    """Some folds of a model, which predict as the stored chain does with them.

    Attributes
    ----------
    seen, classes : ndarray, or list of ndarray for several targets, or None
        The classes that the folds have seen, and all of the dataset, which have a column of the probabilities each.
    decides : bool
        Whether there are no probabilities, but a `decision_function` that has a value for each class of the dataset.
    """

    def __init__(self, model: TrainedModel, folds: list[list[Fitted]], y: Array) -> None:
        def labelled(entries: list[Fitted]) -> list[inference.Labelled]:
            return [(entry.step.where, entry.operator) for entry in entries]

        models = [fold[-1].operator for fold in folds]
        self._operators = inference.Operators(
            labelled(model.shared),
            {str(number): labelled(fold) for number, fold in enumerate(folds)},
            votes=model.votes,
        )
        self.votes = model.votes or inference.votes(models)
        self.task = "classification" if all(map(inference.is_classifier, models)) else "regression"
        self.gives_proba = inference.has_proba(models)
        self.seen: Any = all_classes(models) if self.gives_proba or _decide(models) else None
        self.classes = _with_all_classes(self.seen, y)
        knows_all = all(map(np.array_equal, _as_list(self.seen), _as_list(self.classes)))
        self.decides = not self.gives_proba and _decide(models) and knows_all

    def part(self, X: Array, y: Array | None, rows: Array, wavelengths: Array | None) -> PartitionPredictions:
        """Predict one partition."""
        y_pred = self._operators.predict(X, wavelengths)
        if not self.gives_proba:
            decision = self._operators.decision_function(X, wavelengths) if self.decides else None
            return PartitionPredictions(y, y_pred, None, rows, decision=decision)
        proba = self._operators.predict_proba(X, wavelengths)
        if not all(map(np.array_equal, _as_list(self.seen), _as_list(self.classes))):
            wide = on_classes(proba, self.seen, self.classes)
            proba = proba if wide is None else wide
        return PartitionPredictions(y, y_pred, proba, rows, self.classes if is_choice(proba, self.classes) else None)

    def scores(
        self,
        part: PartitionPredictions,
        targets: list[str] | None,
        *,
        of_classes: bool,
        weights: Array | None,
    ) -> Scores:
        """Return how good the predictions of one partition are; probabilities count where there is one target."""
        counts = part.y is not None and part.y.ndim == 1 and (part.decision is not None or self.chooses(part))
        classes = self.classes if counts else None
        return scores_of(
            self.task,
            part.y,
            part.y_pred,
            part.proba,
            classes,
            targets=targets,
            of_classes=of_classes,
            decision=part.decision,
            weights=weights,
        )

    def chooses(self, part: PartitionPredictions) -> bool:
        """Tell whether the probabilities are those of each target's classes, not of several labels of a sample."""
        if part.classes is None:
            return False
        targets = len(part.proba) if isinstance(part.proba, list) else 1
        return bool(as_columns(part.y_pred).shape[1] == targets)


def _with_all_classes(seen: Any, y: Array) -> Any:
    """Return all classes of each target, where those that a model has seen are of them; else what it has seen."""
    known = as_columns(~is_missing(y)).T
    targets = [np.unique(column[rows]) for column, rows in zip(as_columns(y).T, known, strict=True)]
    if seen is None or len(targets) != len(_as_list(seen)):
        return seen
    if not all(np.isin(own, classes).all() for own, classes in zip(_as_list(seen), targets, strict=True)):
        return seen
    return targets if isinstance(seen, list) else targets[0]


def _decide(models: list[Any]) -> bool:
    """Tell whether models have a value for each of the same classes of one target; of two, one for the second."""
    classes: list[Any] = [getattr(model, "classes_", None) for model in models]
    if not all(hasattr(model, "decision_function") for model in models) or classes[0] is None:
        return False
    # One against the other of each pair of classes is no value of a class, unless there is only one pair.
    pairs = len(classes[0]) > 2 and any("ovo" in _texts_of(model) for model in models)
    return not pairs and not isinstance(classes[0], list) and all(np.array_equal(classes[0], own) for own in classes)


def _texts_of(model: Any) -> list[str]:
    """Return the texts among the parameters of a model, and of those inside."""
    params = model.get_params().values() if hasattr(model, "get_params") else ()
    return [value for value in params if isinstance(value, str)]


def _of_test(predictor: _Predictor, data: TrainingData) -> dict[str, PartitionPredictions]:
    if data.X_test is None:
        return {}
    return {"test": predictor.part(data.X_test, data.y_test, data.test_rows, data.wavelengths)}


def _average(parts: list[PartitionPredictions], together: _Predictor, data: TrainingData) -> PartitionPredictions:
    """Combine what the folds predict of each row that they have, as replaying combines folds.

    Numbers become their mean; classes the one with the highest mean probability, or with the most votes. What one fold
    alone predicts stays as its model predicts it.
    """
    rows = np.unique(np.concatenate([part.rows for part in parts]))
    y = data.y[data.places(rows)]
    places: list[Array] = [np.searchsorted(rows, part.rows) for part in parts]
    if together.task == "regression":
        return PartitionPredictions(y, _means(places, [part.y_pred for part in parts], len(rows)), None, rows)
    decision = None
    if together.decides and all(part.decision is not None for part in parts):
        decision = _means(places, [part.decision for part in parts], len(rows))
    proba = _average_proba(places, [part.proba for part in parts], len(rows)) if together.gives_proba else None
    if proba is not None and not together.votes and all(map(together.chooses, parts)):
        y_pred = _likeliest(proba, parts[0])
    else:
        y_pred = _elected(places, parts, len(rows))
    counts = np.bincount(np.concatenate(places))
    for place, part in zip(places, parts, strict=True):
        is_alone = counts[place] == 1
        y_pred[place[is_alone]] = part.y_pred[is_alone]
    classes = parts[0].classes if proba is not None else None
    return PartitionPredictions(y, y_pred, proba, rows, classes, decision)


def _joined(parts: list[PartitionPredictions]) -> PartitionPredictions:
    """Return the predictions of several folds one after the other, a row as often as it was held out."""

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values):
            return None
        if isinstance(values[0], list):
            return [np.concatenate(target) for target in zip(*values, strict=True)]
        return np.concatenate(values)

    arrays = {name: joined(name) for name in ("y", "y_pred", "proba", "rows", "decision")}
    return PartitionPredictions(classes=parts[0].classes, **arrays)


def _elected(places: list[Array], parts: list[PartitionPredictions], length: int) -> Array:
    """Return the class of each row, for each target, that most folds predict; of several the one that sorts first."""
    columns = []
    for labels in zip(*(part.y_pred.reshape(len(part.rows), -1).T for part in parts), strict=True):
        classes = np.unique(np.concatenate(labels))
        votes = _means(places, [own[:, None] == classes[None, :] for own in labels], length)
        columns.append(classes[np.argmax(votes, axis=1)])
    return np.stack(columns, axis=1).reshape(length, *parts[0].y_pred.shape[1:])


def _average_proba(places: list[Array], found: list[Any], length: int) -> Any:
    """Return the mean probabilities of each row, of the dtype that the models give."""
    if isinstance(found[0], list):
        return [_average_proba(places, list(target), length) for target in zip(*found, strict=True)]
    return _means(places, found, length).astype(np.result_type(*found), copy=False)


def _means(places: list[Array], values: list[Array], length: int) -> Array:
    """Return for each row the mean of the values that there are of it."""
    total = np.zeros((length, *values[0].shape[1:]))
    count = np.zeros((length, *[1] * (values[0].ndim - 1)))
    for place, own in zip(places, values, strict=True):
        total[place] += own
        count[place] += 1
    return total / count
