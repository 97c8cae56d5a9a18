"""Stores a trained pipeline: its fitted objects, chains, predictions, and how long each step took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..chains import DOMAIN, ChainBuilder, ExecutionStep, ExecutionTrace, StepArtifacts
from ..datasets import AVERAGE, FINAL, TrainingData
from ..errors import InvalidInputError
from ..metrics import UNPREDICTED, distance_from_best
from ..storage import ARTIFACT_KEY
from ..store import WorkspaceStore
from .cross_validation import TrainingResult
from .evaluation import Fitted, TrainedModel
from .operators import describe
from .pipeline_config import PipelineSpec, Step
from .transformer_cache import COMPUTER

FINAL_KEY = f"fold_{FINAL}"
"""The key of a final model among the artifacts of a chain's folds, as nirs4all names it."""
REFIT_CONTEXT = "standalone"
"""What nirs4all writes beside the predictions of a final model that is not part of a stack."""
KEPT = ("all", FINAL, "folds")
"""Whose fitted objects may be kept."""


def checked_keep(keep: str, *, refit: bool) -> str:
    """Return what is kept; without a final model that is the folds."""
    if keep not in KEPT:
        raise InvalidInputError(f"keep is {keep!r}; give one of {', '.join(map(repr, KEPT))}")
    if not refit and keep == FINAL:
        raise InvalidInputError("keep='final' keeps a final model, and refit=False makes none; leave one of them out")
    return keep if refit else "folds"


def record_result(
    store: WorkspaceStore,
    pipeline_id: str,
    pipeline: PipelineSpec,
    data: TrainingData,
    trained: TrainingResult,
    seconds: float,
    *,
    keeps_folds: bool,
) -> None:
    """Store a trained pipeline, and mark it completed.

    Parameters
    ----------
    store : WorkspaceStore
        With a transaction open, so that all of it is stored or nothing.
    pipeline_id : str
    pipeline : PipelineSpec
    data : TrainingData
    trained : TrainingResult
    seconds : float
        How long the training took.
    keeps_folds : bool
        Whether the fitted objects of the folds are stored, too, where there is a final model.

    Raises
    ------
    StoreError
        A value or object cannot be stored.
    ValueError
        No model has a validation score.
    """
    trace, ids = _trace(store, pipeline, trained, data, keeps_folds=keeps_folds)
    for key, fitted in trained.kept.items():
        if fitted.dumped.content in ids:  # What this run does not keep, nobody can take over.
            store.save_result(ARTIFACT_KEY, key, ids[fitted.dumped.content], details={COMPUTER: trained.computer})
    bests, domains = [], {model.domain.content: "" for model in trained.models if model.domain is not None}
    for model, chain in zip(trained.models, ChainBuilder(trace).build_all(), strict=True):
        chain["preprocessings"] = pipeline.preprocessings(model.step)
        if model.domain is not None:
            content = model.domain.content
            domains[content] = domains[content] or store.save_artifact(model.domain, "Domain", DOMAIN, "npz")
            chain["attachments"] = {DOMAIN: domains[content]}
        chain_id = store.save_chain(pipeline_id, **chain, predict_fold=None if model.final is None else FINAL_KEY)
        store.save_predictions(pipeline_id, _records(model, chain_id, pipeline, data))
        bests.append(_best(model))
    for position, (step, took) in enumerate(zip(pipeline.steps, trained.seconds, strict=True)):
        reused = trained.reused.get(position)
        told = None if reused is None else f"{reused} of its fits taken over from before"
        store.log_step(pipeline_id, position, step.name, "end", round(1000 * took), told)
    metric = trained.models[0].metric
    bests = [scores for scores in bests if "val" in scores]
    if not bests:
        raise ValueError(f"what it predicts of the samples held out has no {metric}: it is too far from y")
    best = min(bests, key=lambda scores: (np.isnan(scores["val"]), distance_from_best(metric, scores["val"])))
    store.complete_pipeline(pipeline_id, best["val"], best.get("test"), metric, round(1000 * seconds))


def _trace(
    store: WorkspaceStore, pipeline: PipelineSpec, trained: TrainingResult, data: TrainingData, *, keeps_folds: bool
) -> tuple[ExecutionTrace, dict[bytes, str]]:
    """Save what was fitted, once each, and tell what happened in the shape that `ChainBuilder` reads.

    Beside it stand the ids of what was saved, by its bytes.
    """
    kept: dict[int, StepArtifacts] = {}
    ids: dict[bytes, str] = {}

    def save(fitted: Fitted) -> str:
        # Once each: a chain takes over one save of what it names, however often it does.
        content = fitted.dumped.content
        if content not in ids:
            ids[content] = store.save_artifact(fitted.dumped, fitted.class_name, fitted.step.kind, fitted.dumped.format)
        return ids[content]

    for model in trained.models:
        for fitted in model.shared:
            kept[id(fitted.step)] = StepArtifacts([save(fitted)])
        chosen = {str(fold): entries for fold, entries in enumerate(model.folds)} if keeps_folds else {}
        if model.final is not None:
            chosen[FINAL] = model.final
        for place, entry in enumerate(model.folds[0]):
            of_folds = {fold: save(entries[place]) for fold, entries in chosen.items()}
            kept[id(entry.step)] = StepArtifacts(fold_artifact_ids=of_folds)
    # By these new spectra are known, whatever the order in which they come, and predictions have their targets' names.
    known: dict[str, Any] = {} if data.columns is None else {"columns": data.columns}
    if data.wavelengths is not None:
        known["wavelengths"] = data.wavelengths.tolist()
    if data.target_names is not None:
        known["target_names"] = data.target_names
    if not pipeline.is_classification:
        columns = data.y.reshape(len(data.y), -1)
        known["y_range"] = np.transpose([np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)]).tolist()
    if data.sample_column is not None:
        known["sample_column"] = data.sample_column
    voting = {id(model.step) for model in trained.models if model.votes}
    steps = [
        ExecutionStep(
            i,
            step.name,
            _as_given(step) | known | ({"folds_vote": True} if id(step) in voting else {})
            if step.kind == "model"
            else step.params,
            artifacts=kept.get(id(step), StepArtifacts()),
        )
        for i, step in enumerate(pipeline.steps)
    ]
    return ExecutionTrace(steps), ids


def _as_given(step: Step) -> dict[str, Any]:
    """Return the configuration of a model with all parameters that were set, also those that are set to the default."""
    model = step.config["model"]
    return {"model": model | {"params": step.params} if isinstance(model, dict) and step.params else model}


def _best(model: TrainedModel) -> dict[str, float]:
    """Return what a pipeline is judged by: the samples that were held out, and the test of the model that predicts."""
    of_folds = _main_scores(model, AVERAGE)
    of_final = of_folds if model.final is None else _main_scores(model, FINAL)
    return {part: own[part] for part, own in (("val", of_folds), ("test", of_final)) if part in own}


def _main_scores(model: TrainedModel, fold: str) -> dict[str, float]:
    """Return the score that a model is ranked by, for each partition that has one; NaN where it predicts NaN."""
    scores = model.scores[fold].items()
    found = {partition: np.nan if UNPREDICTED in own else own.get(model.metric) for partition, own in scores}
    return {partition: score for partition, score in found.items() if score is not None}


def _records(
    model: TrainedModel, chain_id: str, pipeline: PipelineSpec, data: TrainingData
) -> Iterator[dict[str, Any]]:
    """Give every prediction of a model as `save_predictions` takes it."""
    for fold, parts in model.parts.items():
        main = _main_scores(model, fold)
        refit_context = REFIT_CONTEXT if fold == FINAL else None
        for partition, part in parts.items():
            weights = None if data.weights is None or partition == "test" else data.weights[data.places(part.rows)]
            is_test = partition == "test"
            excluded, rows = (data.excluded_test, len(data.test_rows)) if is_test else (data.excluded, len(data.rows))
            yield {
                "chain_id": chain_id,
                "dataset_name": data.name,
                "model_name": model.step.name,
                "model_class": model.step.name,
                "fold_id": fold,
                "partition": partition,
                "val_score": main.get("val"),
                "test_score": main.get("test"),
                "train_score": main.get("train"),
                "metric": model.metric,
                "task_type": model.task,
                "n_samples": len(part.rows),
                "n_features": data.X.shape[1],
                "scores": model.scores[fold],
                "best_params": _best_params(model, fold),
                "exclusion_count": excluded,
                "exclusion_rate": excluded / (excluded + rows),
                "preprocessings": pipeline.preprocessings(model.step),
                "y_true": part.y,
                "y_pred": part.y_pred,
                "y_proba": part.proba,
                "sample_indices": part.rows,
                "weights": weights,
                "classes": part.classes,
                "refit_context": refit_context,
                "repeat": model.repeats.get(fold),
            }


def _best_params(model: TrainedModel, fold: str) -> dict[str, Any]:
    """Return what a search chose in a fold, and in all together what it chose most often; else a model's parameters."""
    if model.final is not None and fold == FINAL:
        fitted = [model.final]
    else:
        fitted = model.folds if fold == AVERAGE else [model.folds[int(fold)]]
    searches = [_search_in(entries[-1].operator) for entries in fitted]
    chosen = [describe(search.best_params_) for search in searches if search is not None]
    if len(chosen) < len(searches):
        return model.step.params
    found: dict[str, Any] = max(chosen, key=chosen.count)
    return found


def _search_in(model: Any) -> Any:
    """Return the search that a fitted model is, or that predicts inside; None if there is none."""
    if hasattr(model, "best_params_"):
        return model
    inner = model.steps[-1][1] if hasattr(model, "steps") else getattr(model, "regressor_", None)
    return None if inner is None else _search_in(inner)
