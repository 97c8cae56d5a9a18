"""Keeps with each trained model what its calibration covers; see docs/decisions/0026."""

from __future__ import annotations

from ..artifacts import codecs
from ..chains import fit_domain, inference, parts_of
from ..datasets import TrainingData
from .evaluation import Fitted, TrainedModel
from .repeats import Folds


def add_domains(models: list[TrainedModel], data: TrainingData, folds: Folds) -> None:
    """Fill the `domain` of models: what the one that predicts sees of all samples, or else that of the first fold."""
    parts = parts_of(folds, len(data.X))
    known: dict[tuple[bytes, ...], codecs.Dumped | None] = {}
    for model in models:
        before = [*model.shared, *(model.final or model.folds[0])[:-1]]
        key = tuple(fitted.dumped.content for fitted in before)
        if key not in known:
            known[key] = _domain(before, data, parts)
        model.domain = known[key]


def _domain(before: list[Fitted], data: TrainingData, parts: object) -> codecs.Dumped | None:
    labelled = [(fitted.step.where, fitted.operator) for fitted in before]
    domain = fit_domain(inference.transform(labelled, data.X, data.wavelengths), parts)
    return None if domain is None else codecs.Dumped(codecs.dump(domain, "npz"), "npz", codecs.versions_of({}, "npz"))
