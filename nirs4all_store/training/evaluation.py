"""Predicts with trained models, as their stored chains will, and scores the predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..artifacts import codecs
from ..chains import all_classes, as_columns, inference, is_choice, on_classes
from ..datasets import AVERAGE, TrainingData
from ..metrics import MAIN, MAIN_OF_SEVERAL, Scores, scores_of
from .pipeline_config import Step

Array = Any
Folds = list[tuple[Array, Array]]
"""Of each fold the places in X to train on, and those to validate with."""


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
    """

    y: Array | None
    y_pred: Array
    proba: Array | None
    rows: Array


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
    task : str
        `regression` or `classification`.
    metric : str
        The score that it is ranked by.
    parts : dict
        Fold (`"0"`, ..., `"avg"`) and partition (`train`, `val`, `test`) to predictions.
    scores : dict
        Fold to partition to what `scores_of` gives.
    """

    step: Step
    shared: list[Fitted]
    folds: list[list[Fitted]]
    task: str = ""
    metric: str = ""
    parts: dict[str, dict[str, PartitionPredictions]] = field(default_factory=dict)
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)


def judge(model: TrainedModel, data: TrainingData, folds: Folds) -> None:
    """Predict with each fold and with all together, as the stored chain will, and fill `parts` and `scores`."""
    alone = [_Predictor(model, [fold]) for fold in model.folds]
    together = _Predictor(model, model.folds)
    model.task = together.task
    model.metric = (MAIN if data.y.ndim == 1 else MAIN_OF_SEVERAL)[model.task]
    for name, (predictor, split) in enumerate(zip(alone, folds, strict=True)):
        parts = {
            partition: predictor.part(data.X[rows], data.y[rows], data.rows[rows], data.wavelengths)
            for partition, rows in zip(("train", "val"), split, strict=True)
        }
        model.parts[str(name)] = parts | _of_test(predictor, data)
    together.gives_proba = together.gives_proba and all(
        _goes_with_others(model.parts[str(name)]["val"], predictor, together) for name, predictor in enumerate(alone)
    )
    model.parts[AVERAGE] = {
        partition: _average([model.parts[str(name)][partition] for name in range(len(folds))], alone, together, data)
        for partition in ("train", "val")
    } | _of_test(together, data)
    for fold, parts in model.parts.items():
        predictor = together if fold == AVERAGE else alone[int(fold)]
        model.scores[fold] = {
            partition: predictor.scores(part, data.target_names, of_classes=fold == AVERAGE)
            for partition, part in parts.items()
            if part.y is not None and len(part.y)
        }


def _goes_with_others(part: PartitionPredictions, predictor: _Predictor, together: _Predictor) -> bool:
    """Tell whether a fold's probabilities can be compared, row by row, with those of folds that saw other classes."""
    found = on_classes(part.proba, predictor.classes, together.classes)
    return isinstance(found, list) or (found is not None and len(found) == len(part.rows))


class _Predictor:
    """Some folds of a model, which predict as the stored chain does with them."""

    def __init__(self, model: TrainedModel, folds: list[list[Fitted]]) -> None:
        def labelled(entries: list[Fitted]) -> list[inference.Labelled]:
            return [(entry.step.where, entry.operator) for entry in entries]

        models = [fold[-1].operator for fold in folds]
        self._operators = inference.Operators(
            labelled(model.shared), {str(number): labelled(fold) for number, fold in enumerate(folds)}
        )
        self.votes = inference.votes(models)
        self.task = "classification" if all(map(inference.is_classifier, models)) else "regression"
        self.gives_proba = inference.has_proba(models)
        self.classes: Any = all_classes(models) if self.gives_proba else None

    def part(self, X: Array, y: Array | None, rows: Array, wavelengths: Array | None) -> PartitionPredictions:
        """Predict one partition."""
        y_pred = self._operators.predict(X, wavelengths)
        proba = self._operators.predict_proba(X, wavelengths) if self.gives_proba else None
        return PartitionPredictions(y, y_pred, proba, rows)

    def scores(self, part: PartitionPredictions, targets: list[str] | None, *, of_classes: bool) -> Scores:
        """Return how good the predictions of one partition are; probabilities count where there is one target."""
        counts = part.y is not None and part.y.ndim == 1 and self.chooses(part)
        proba, classes = (part.proba, self.classes) if counts else (None, None)
        return scores_of(self.task, part.y, part.y_pred, proba, classes, targets=targets, of_classes=of_classes)

    def chooses(self, part: PartitionPredictions) -> bool:
        """Tell whether the probabilities are those of each target's classes, not of several labels of a sample."""
        if part.proba is None or not is_choice(part.proba, self.classes):
            return False
        targets = len(part.proba) if isinstance(part.proba, list) else 1
        return bool(as_columns(part.y_pred).shape[1] == targets)


def _of_test(predictor: _Predictor, data: TrainingData) -> dict[str, PartitionPredictions]:
    if data.X_test is None:
        return {}
    return {"test": predictor.part(data.X_test, data.y_test, data.test_rows, data.wavelengths)}


def _average(
    parts: list[PartitionPredictions], alone: list[_Predictor], together: _Predictor, data: TrainingData
) -> PartitionPredictions:
    """Combine what the folds predict of each row that they have, as replaying combines folds.

    Numbers become their mean; classes the one with the highest mean probability, or with the most votes.
    """
    rows = np.unique(np.concatenate([part.rows for part in parts]))
    y = data.y[data.places(rows)]
    places = [np.searchsorted(rows, part.rows) for part in parts]
    if together.task == "regression":
        return PartitionPredictions(y, _means(places, [part.y_pred for part in parts], len(rows)), None, rows)
    proba = _average_proba(places, parts, alone, together, len(rows))
    shape = (len(rows), *parts[0].y_pred.shape[1:])
    if proba is not None and not together.votes and all(map(_Predictor.chooses, alone, parts)):
        targets = zip(proba, together.classes, strict=True) if isinstance(proba, list) else [(proba, together.classes)]
        columns = [classes[np.argmax(shares, axis=1)] for shares, classes in targets]
        return PartitionPredictions(y, np.stack(columns, axis=1).reshape(shape), proba, rows)
    columns = []
    for labels in zip(*(part.y_pred.reshape(len(part.rows), -1).T for part in parts), strict=True):
        classes = np.unique(np.concatenate(labels))
        votes = _means(places, [own[:, None] == classes[None, :] for own in labels], len(rows))
        columns.append(classes[np.argmax(votes, axis=1)])
    return PartitionPredictions(y, np.stack(columns, axis=1).reshape(shape), proba, rows)


def _average_proba(
    places: list[Array], parts: list[PartitionPredictions], alone: list[_Predictor], together: _Predictor, length: int
) -> Any:
    """Return the mean probabilities of each row; None if there are none that can be compared."""
    if not together.gives_proba:
        return None
    wide = [on_classes(part.proba, own.classes, together.classes) for part, own in zip(parts, alone, strict=True)]
    if isinstance(wide[0], list):
        return [_means(places, list(target), length) for target in zip(*wide, strict=True)]
    return _means(places, wide, length)


def _means(places: list[Array], values: list[Array], length: int) -> Array:
    """Return for each row the mean of the values that there are of it."""
    total = np.zeros((length, *values[0].shape[1:]))
    count = np.zeros((length, *[1] * (values[0].ndim - 1)))
    for place, own in zip(places, values, strict=True):
        total[place] += own
        count[place] += 1
    return total / count
