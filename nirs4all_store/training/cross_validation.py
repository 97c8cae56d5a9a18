"""Fits one pipeline on the folds of one dataset. It does not use the store, so that it can run in any process."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline as SklearnPipeline
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_info, threadpool_limits

from ..chains import inference
from ..datasets import TrainingData
from ..errors import InvalidInputError, TrainingFailedError
from ..metrics import is_missing
from .domains import add_domains
from .evaluation import Array, Fitted, TrainedModel, judge
from .fitting import (
    Samples,
    fit_model,
    fitted_step,
    give_wavelengths,
    is_router,
    is_routing,
    needs_groups,
    splits_by_groups,
    takes_requested_weights,
    wavelengths_after,
)
from .pipeline_config import PipelineSpec, Step
from .repeats import Folds
from .transformer_cache import Cache, OneFit

FOLDS = 5
Told = tuple[type[Warning], str]
"""The kind of a warning, and what it says."""


@dataclass(frozen=True)
class TrainingResult:
    """One pipeline, trained.

    Attributes
    ----------
    models : list of TrainedModel
    seconds : list of float
        How long each step of the pipeline took to fit and apply, on all folds and for the final model together.
    computer : str
        See `Cache`, as of the next ones.
    kept : dict of str to Fitted
    reused : dict of int to int
    """

    models: list[TrainedModel]
    seconds: list[float]
    computer: str = ""
    kept: dict[str, Fitted] = field(default_factory=dict)
    reused: dict[int, int] = field(default_factory=dict)


def check_fit(pipeline: PipelineSpec, data: TrainingData) -> None:
    """Raise if a pipeline cannot be trained on a dataset, before anything is trained.

    Raises
    ------
    InvalidInputError
        The message names the step.
    """
    kind = data.y.dtype.kind
    for step in pipeline.steps:
        if step.kind in ("transformer", "model"):
            if data.groups is None and splits_by_groups(step.operator):
                raise _without_groups(step.where, data)
            give_wavelengths(clone(step.operator, safe=False), step.where, data.wavelengths, data.wavelengths)
        if step.kind == "transformer" and data.wavelengths is None and inference.takes_wavelengths(step.operator):
            raise InvalidInputError(f"{step.where} needs wavelengths, and {data.name} has none; give them beside X")
    for step in pipeline.models:
        if data.weights is not None and not _takes_weights(step.operator):
            raise InvalidInputError(
                f"{step.where} takes no weights of samples; leave them or the model out, or give the steps that it has "
                "inside as steps of their own"
            )
        if not pipeline.is_classification and kind in "OUb":
            raise InvalidInputError(
                f"{step.where} predicts numbers, and y of {data.name} has {_no_number(data)}; correct it, leave it "
                "empty, or give a classifier"
            )
        if pipeline.is_classification and any(type_of_target(y).startswith("continuous") for y in _known_of(data)):
            raise InvalidInputError(
                f"{step.where} predicts classes, and y of {data.name} is numbers with decimals; give a regressor"
            )


def _known_of(data: TrainingData) -> list[Array]:
    """Return y; if rows miss some targets, what is known of each."""
    if not data.is_partial:
        return [data.y]
    return [column[rows] for column, rows in zip(data.y.T, ~is_missing(data.y).T, strict=True)]


def _without_groups(where: str, data: TrainingData) -> InvalidInputError:
    return InvalidInputError(
        f"{where} splits by groups, and {data.name} has none; say of which group each sample is: give groups beside X "
        "and y"
    )


def _no_number(data: TrainingData) -> str:
    """Return a value of y that is no number, and its row."""
    for row, values in zip(data.rows, data.y.reshape(len(data.y), -1), strict=True):
        for value in values.tolist():
            try:
                float(value if isinstance(value, str) else "")
            except ValueError:
                return f"{value!r} in row {row} (the first is 0)"
    return "texts"


def _takes_weights(model: Any) -> bool:
    """Tell whether a model can be given weights of samples, or hands them to models inside that can."""
    if is_routing() and is_router(model):
        return takes_requested_weights(model)
    if isinstance(model, SklearnPipeline):  # It takes weights by the names of its steps.
        return False
    if has_fit_parameter(model, "sample_weight"):
        return True
    params = model.get_params() if hasattr(model, "get_params") else {}
    inside = [value for value in params.values() if hasattr(value, "predict")]
    taken = inspect.signature(model.fit).parameters.values()
    hands_on = any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in taken)
    return hands_on and bool(inside) and all(map(_takes_weights, inside))


def splits(pipeline: PipelineSpec, data: TrainingData) -> Folds:
    """Return the folds of a pipeline's cross-validation.

    A dataset that says which samples validate has one fold. Else, without a cross-validator in the pipeline, there are
    five: by `StratifiedKFold` for classes and `KFold` for numbers; if the dataset has groups, by `StratifiedGroupKFold`
    and `GroupKFold`, as many as there are groups if these are fewer.

    Raises
    ------
    InvalidInputError
        The cross-validator cannot split these samples; the message names the step.
    """
    where = next((step.where for step in pipeline.steps if step.kind == "splitter"), "the pipeline")
    splitter = pipeline.only("splitter")
    if splitter is not None and needs_groups(splitter) and data.groups is None:
        raise _without_groups(where, data)
    if data.groups is not None and (splitter is None or needs_groups(splitter)) and len(np.unique(data.groups)) == 1:
        raise InvalidInputError(
            f"all samples of {data.name} are of one group, {data.groups.tolist()[0]!r}, so that none could be "
            "predicted by a model that has not seen its group; add samples of other groups"
        )
    if splitter is not None and data.validates is not None:
        raise InvalidInputError(
            f"{data.name} says which samples validate, and {where} splits them in another way; leave out one of them"
        )
    splitter = splitter_of(pipeline, data)
    try:
        parts = list(splitter.split(data.X, data.y, data.groups))
    except Exception as error:  # A cross-validator may be anybody's.
        raise InvalidInputError(
            f"{where} cannot split {data.name}: {error}; give a cross-validator that can, as "
            f"{'KFold' if data.groups is None else 'GroupKFold'}(3)"
        ) from error
    folds = [(np.asarray(rows), np.asarray(held_out)) for rows, held_out in parts]
    if not folds or not all(len(rows) and len(held_out) for rows, held_out in folds):
        raise InvalidInputError(f"{where} gives {data.name} no folds, or one without samples")
    if max(int(np.max(part)) for fold in folds for part in fold) >= len(data.X):
        raise InvalidInputError(
            f"{where} names samples that {data.name} has not, with {data.excluded} left out for a missing value; make "
            "it for the others"
        )
    return folds


def splitter_of(pipeline: PipelineSpec, data: TrainingData) -> Any:
    """Return a pipeline's cross-validator, or the one that `splits` takes where there is none."""
    splitter = pipeline.only("splitter")
    if data.validates is not None:
        splitter = PredefinedSplit(np.where(data.validates, 0, -1))
    elif splitter is None and data.groups is not None:
        splitter = _of_groups(data, is_stratified=pipeline.is_classification and data.y.ndim == 1)
    elif splitter is None:
        kind = StratifiedKFold if pipeline.is_classification and data.y.ndim == 1 else KFold
        splitter = kind(FOLDS, shuffle=True, random_state=0)
    return splitter


def check_repeats(pipeline: PipelineSpec, data: TrainingData, folds: Folds) -> None:
    """Refuse folds that are others each time: what was judged by them cannot be ranked with what was before.

    Raises
    ------
    InvalidInputError
        The cross-validator gives other folds than these.
    """
    again = splits(pipeline, data)
    if len(again) != len(folds) or not all(
        np.array_equal(part, other)
        for pair in zip(folds, again, strict=True)
        for part, other in zip(*pair, strict=True)
    ):
        raise InvalidInputError(
            "the cross-validator makes other folds each time, so that pipelines that the workspace has were judged by "
            "others; give it a whole number as random_state, or leave resume out and train all of them"
        )


def _of_groups(data: TrainingData, *, is_stratified: bool) -> Any:
    """Return what splits by groups, and for classes lets each fold have as many of each as it can."""
    number = min(FOLDS, len(np.unique(np.asarray(data.groups))))
    stratified = StratifiedGroupKFold(number)
    try:
        parts = list(stratified.split(data.X, data.y, data.groups)) if is_stratified else []
    except ValueError:  # Each class has fewer samples than there are folds.
        parts = []
    # It may put all groups into other folds, and leave one empty.
    return stratified if parts and all(len(held_out) for _, held_out in parts) else GroupKFold(number)


def blas_threads() -> int:
    """Return how many threads this process has for linear algebra: the last digits of its sums depend on it."""
    return max((info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"), default=1)


def outcome_of(
    pipeline_id: str,
    pipeline: PipelineSpec,
    data: TrainingData,
    folds: Folds,
    threads: int,
    refit: bool,
    settings: dict[str, Any],
    cache: Cache,
) -> tuple[str, PipelineSpec, TrainingResult | str, float, list[Told]]:
    """Train one pipeline, in whatever process this is, and return its warnings beside what came of it.

    In the place of a result there may be a traceback. It stands here and not beside the runner, since a process that is
    started for it imports the module in which it is.
    """
    began = time.perf_counter()
    with _recorded_warnings() as recorded:
        try:
            with sklearn.config_context(**settings):
                result: TrainingResult | str = train(pipeline, data, folds, threads, cache, refit=refit)
        except KeyboardInterrupt:
            raise
        except BaseException:  # Its code may leave the program; another pipeline's does not.
            result = traceback.format_exc()
    told = [*dict.fromkeys((warning.category, str(warning.message)) for warning in recorded)]
    if isinstance(result, TrainingResult) and (told or not _hears_warnings()):
        result.kept.clear()  # Who took a fit over would not be warned.
    return pipeline_id, pipeline, result, time.perf_counter() - began, told


@contextlib.contextmanager
def _recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect warnings instead of showing them; but not in a thread of several, which share what shows warnings."""
    if not _hears_warnings():
        yield []
        return
    with warnings.catch_warnings(record=True) as recorded:
        yield recorded


def _hears_warnings() -> bool:
    return threading.current_thread() is threading.main_thread()


def train(
    pipeline: PipelineSpec, data: TrainingData, folds: Folds, threads: int, cache: Cache, *, refit: bool
) -> TrainingResult:
    """Fit every step on the training samples of each fold, and predict with `threads` threads for linear algebra.

    With `refit`, fit all of it once more on all samples, for the final model; see docs/decisions/0025.

    Exceptions of the operators are not caught, other than those of the final model.

    Raises
    ------
    TrainingFailedError
        The folds could be fitted, and the final model could not.
    """
    seconds = [0.0] * len(pipeline.steps)
    fitted = [fit_steps(pipeline, data, rows, seconds, cache.of_fit(fold)) for fold, (rows, _) in enumerate(folds)]
    final = _fit_final(pipeline, data, seconds, cache) if refit else None
    models = [_model(step, fitted, final) for step in pipeline.models]
    with threadpool_limits(threads, user_api="blas"):
        for model in models:
            judge(model, data, folds, weighted=pipeline.weighted_scores)
        add_domains(models, data, folds)
    return TrainingResult(models, seconds, cache.computer if cache.kept else "", cache.kept, cache.reused)


def fit_steps(
    pipeline: PipelineSpec,
    data: TrainingData,
    rows: Array,
    seconds: list[float] | None = None,
    one_fit: OneFit | None = None,
) -> list[Fitted]:
    """Fit all steps on some rows alone; add to `seconds` how long each took.

    With `one_fit`, of a `Cache`, transformers are taken over that were fitted alike before.
    """
    seconds = [0.0] * len(pipeline.steps) if seconds is None else seconds
    one_fit = one_fit or Cache().of_fit()
    X, samples, wavelengths = data.X[rows], Samples.of(data, rows), data.wavelengths
    fitted: list[Fitted] = []
    for position, step in enumerate(pipeline.steps):
        began = time.perf_counter()
        if step.kind == "transformer":
            before = X
            entry, operator, X = one_fit.fit(position, step, X, samples, wavelengths)
            wavelengths = wavelengths_after(operator, before, X, wavelengths)
            fitted.append(entry)
        elif step.kind == "model":
            fitted.append(fitted_step(step, fit_model(step, pipeline.only("target"), X, samples, wavelengths)))
        seconds[position] += time.perf_counter() - began
    return fitted


def _fit_final(pipeline: PipelineSpec, data: TrainingData, seconds: list[float], cache: Cache) -> list[Fitted]:
    try:
        return fit_steps(pipeline, data, np.arange(len(data.X)), seconds, cache.of_fit())
    except Exception as error:
        raise TrainingFailedError(
            f"the final model could not be fitted on all {len(data.X)} samples, though those of the folds could: "
            f"{error}; correct it, or keep the folds' models alone with refit=False, in a shell with --no-refit"
        ) from error


def _model(step: Step, fitted: list[list[Fitted]], final: list[Fitted] | None) -> TrainedModel:
    """Part what leads to a model into what the folds and the final model share and what each has of its own."""
    chains = []
    for fold in fitted if final is None else [*fitted, final]:
        until = next(i for i, entry in enumerate(fold) if entry.step is step)
        chains.append([entry for entry in fold[:until] if entry.step.kind == "transformer"] + [fold[until]])
    common = 0
    while common < len(chains[0]) - 1 and len({chain[common].dumped.content for chain in chains}) == 1:
        common += 1
    own = [chain[common:] for chain in chains]
    return TrainedModel(step, chains[0][:common], own[: len(fitted)], None if final is None else own[-1])
