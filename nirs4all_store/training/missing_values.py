"""Tells whether a pipeline takes samples whose X misses a value; if not, they are left out, and counted.

Why it is tried instead of asked: docs/decisions/0024.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import get_tags

from ..chains import inference
from ..datasets import TrainingData
from .evaluation import Array
from .fitting import Samples, fit_model, fit_transformer, wavelengths_after
from .pipeline_config import PipelineSpec


def takes_gaps(pipeline: PipelineSpec, data: TrainingData) -> bool:
    """Tell whether the steps of a pipeline fill what X misses, or predict with it.

    They are fitted on all samples to find out, until nothing is missing any more or one refuses.
    """
    X, X_test = data.X, data.X_test
    if not _gaps(X).any() and not _gaps(X_test).any():
        return True
    samples, wavelengths = Samples.of(data, np.arange(len(X))), data.wavelengths
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What it warns of, it will again when it is trained.
            for step in pipeline.steps:
                if step.kind == "transformer":
                    before = X
                    operator, X = fit_transformer(step, X, samples, wavelengths)
                    wavelengths = wavelengths_after(operator, before, X, wavelengths)
                    if (_gaps(X) & ~_gaps(before)).any():
                        return False  # It spreads what is missing to other samples.
                    if X_test is not None:
                        X_test = inference.transform([(step.where, operator)], X_test, data.wavelengths)
                    if not _gaps(X).any() and not _gaps(X_test).any():
                        return True
                elif step.kind == "model" and (said := _said(step.operator)) is not True:
                    if said is False:
                        return False
                    model = fit_model(step, pipeline.only("target"), X, samples, wavelengths)
                    for rows in (X, X_test):
                        if rows is not None and _gaps(np.reshape(model.predict(rows), (len(rows), -1))).any():
                            return False
    except Exception:  # It refuses them, or cannot be trained at all, which training will tell.
        return False
    return True


def _gaps(X: Any) -> Array:
    """Tell which rows miss a value."""
    if X is None:
        return np.zeros(0, dtype=bool)
    X = np.asarray(X)
    return np.isnan(X).any(axis=1) if X.dtype.kind == "f" else np.zeros(len(X), dtype=bool)


def _said(model: Any) -> bool | None:
    """Return what scikit-learn says of its own models; None of what has others inside, and of anybody else's."""
    inside = any(hasattr(part, "fit") for part in inference.parts_of(model))
    if inside or not type(model).__module__.startswith("sklearn."):
        return None
    tags = get_tags(model)
    return bool(tags.input_tags.allow_nan or tags.no_validation)  # A dummy does not look at X.
