"""Trains the pipelines of a configuration on one dataset, and stores what comes of each as soon as it is there."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .chain_builder import ChainBuilder
from .dataset import Dataset, read_dataset
from .errors import InvalidInputError, StoreError, TrainingFailedError, UnitOfWorkError
from .library import PipelineLibrary
from .operators import name_of
from .pipeline_config import Pipeline, Step, pipelines_of, read_config
from .scores import MAIN
from .store import WorkspaceStore
from .trace import ExecutionStep, ExecutionTrace, StepArtifacts
from .training import AVERAGE, FORMATS, Folds, Trained, TrainedModel, blas_threads, check_fit, content_of, splits, train
from .values import checked_int, json_text

PARTITIONS = ("val", "test", "train")


class PipelineRunner:
    """Trains pipelines and stores all of it.

    Every step is fitted on each fold's own training samples, so that nothing of the samples it is judged by has been
    seen. Each pipeline is stored in one transaction as soon as it is trained: one that fails is recorded with its
    traceback and the others go on; after Ctrl-C the run is `interrupted`, and what was finished is there.

    Parameters
    ----------
    workspace : str, Path or WorkspaceStore
        The folder, created when absent, or a store that is open, and stays so.
    n_jobs : int
        How many pipelines are trained side by side, in processes of their own; -1 for as many as there are cores. With
        1 the surrounding `joblib.parallel_config` decides, which also says where else they may run. This process alone
        writes to the store.
    progress : bool
        Show a bar with the time that is left, where the output is a terminal.

    Examples
    --------
    >>> runner = PipelineRunner("workspace")  # doctest: +SKIP
    >>> runner.run([StandardScaler(), PLSRegression(5)], (X, y))  # doctest: +SKIP
    """

    def __init__(
        self, workspace: str | os.PathLike[str] | WorkspaceStore, *, n_jobs: int = 1, progress: bool = True
    ) -> None:
        self._workspace = workspace
        self._n_jobs = checked_int(n_jobs, "n_jobs", 32)
        if not self._n_jobs:
            raise InvalidInputError("n_jobs is how many pipelines are trained side by side, -1 for all cores, not 0")
        self._progress = progress

    def run(
        self, config: Any, dataset: Any, *, name: str | None = None, target: Any = None, resume: bool = False
    ) -> pl.DataFrame:
        """Train every pipeline of a configuration and store what comes of it.

        Parameters
        ----------
        config : list, dict, str or Path
            The steps, see `pipeline_config.pipelines_of`; or JSON or YAML, as text or as a file's path; or the name
            of a template in the workspace's library.
        dataset : object
            `(X, y)` and more, a table, or a file's path; see `dataset.read_dataset`.
        name : str, optional
            The run's name; by default the dataset's.
        target : str or list of str, optional
            The column of y, where the dataset is a table.
        resume : bool
            Leave out pipelines that the workspace has already, completed, with the same configuration and data.

        Returns
        -------
        polars.DataFrame
            The predictions as `query_predictions` gives them, also of pipelines that were left out: those of the
            best model first, and of each model those of all folds together (`avg`) before each fold's own.

        Raises
        ------
        InvalidInputError
            The configuration or the dataset is wrong, one does not fit the other, or joblib's backend cannot do this;
            nothing was trained.
        UnitOfWorkError
            It was called inside a transaction, which would stay open as long as the training takes.
        NotFoundError
            There is no such template.
        TrainingFailedError
            Every pipeline failed.
        """
        with self._store() as store:
            if store.is_in_transaction:
                raise UnitOfWorkError("a run commits each pipeline as it goes; call it outside of transaction()")
            pipelines = pipelines_of(_config(config, store))
            data = read_dataset(dataset, target)
            folds: dict[str, Folds] = {}  # Without a seed, a cross-validator would give each pipeline other ones.
            for pipeline in pipelines:
                check_fit(pipeline, data)
                if pipeline.folds_key not in folds:
                    folds[pipeline.folds_key] = splits(pipeline, data)
            _parallel(self._n_jobs)
            done = _done(store, data) if resume else {}
            left = [pipeline for pipeline in pipelines if _key(pipeline) not in done]
            found = [done[key] for key in dict.fromkeys(map(_key, pipelines)) if key in done]
            if left:
                run = _Run(store, data, folds, name or data.name, len(pipelines) - len(left))
                found += run.train(left, self._n_jobs, is_shown=self._progress)
            return _ranked(store, found)

    @contextmanager
    def _store(self) -> Iterator[WorkspaceStore]:
        if isinstance(self._workspace, WorkspaceStore):
            yield self._workspace
        else:
            with WorkspaceStore(self._workspace) as store:
                yield store


def _config(given: Any, store: WorkspaceStore) -> Any:
    config = read_config(given)
    return PipelineLibrary(store.workspace_path).load_template(config) if isinstance(config, str) else config


def _key(pipeline: Pipeline) -> str:
    """Return what two pipelines have in common if they are the same, whoever wrote them."""
    return json.dumps(json.loads(json_text(pipeline.config, "a configuration") or "null"), sort_keys=True)


def _done(store: WorkspaceStore, data: Dataset) -> dict[str, str]:
    """Return the completed pipelines that were trained on the same data: configuration to id."""
    rows = store.list_pipelines().filter(
        (pl.col("status") == "completed") & (pl.col("dataset_hash") == data.content_hash)
    )
    pairs = rows.select("expanded_config", "pipeline_id").iter_rows()
    return {json.dumps(json.loads(config), sort_keys=True): pipeline_id for config, pipeline_id in pairs}


@dataclass(frozen=True)
class _Failed:
    """The traceback of a pipeline that could not be trained."""

    traceback: str


def _parallel(n_jobs: int) -> Parallel:
    """Return what trains side by side, or refuse a backend of joblib's that gives nothing before all is done."""
    try:
        return Parallel(None if n_jobs == 1 else n_jobs, return_as="generator_unordered")
    except ValueError as error:
        raise InvalidInputError(f"{error}; use loky, threading or dask in parallel_config") from error


def _outcome(
    pipeline_id: str, pipeline: Pipeline, data: Dataset, folds: Folds, threads: int
) -> tuple[str, Pipeline, Trained | _Failed, float]:
    """Train one pipeline, in whatever process this is."""
    began = time.perf_counter()
    try:
        result: Trained | _Failed = train(pipeline, data, folds, threads)
    except Exception:
        result = _Failed(traceback.format_exc())
    return pipeline_id, pipeline, result, time.perf_counter() - began


class _Run:
    """One run: its pipelines are begun, trained elsewhere, and stored here."""

    def __init__(self, store: WorkspaceStore, data: Dataset, folds: dict[str, Folds], name: str, skipped: int) -> None:
        self._store = store
        self._data = data
        self._folds = folds
        self._skipped = skipped
        self._threads = blas_threads()  # Here is where the chains will be replayed.
        self._begun: dict[str, Pipeline] = {}
        self._completed: list[str] = []
        self._failed: list[str] = []
        self._problem: Exception | None = None
        self._run_id = store.begin_run(name, {"runner": "PipelineRunner"}, [data.summary])

    def train(self, pipelines: list[Pipeline], n_jobs: int, *, is_shown: bool) -> list[str]:
        """Train and store them; return the ids of those that succeeded."""
        began = time.perf_counter()
        try:
            with _bar(len(pipelines), is_shown=is_shown) as advance:
                left = iter(pipelines)
                while not self._train_until_a_worker_dies(left, n_jobs, advance):
                    pass
            if self._problem is not None:
                raise self._problem
        except BaseException:
            # If that fails, too, whoever opens the workspace after the end of this process marks it.
            with contextlib.suppress(StoreError), self._store.unit_of_work() as uow:
                uow.runs.interrupt(self._run_id)
                uow.commit()
            raise
        summary = {
            "total_pipelines": len(pipelines) + self._skipped, "completed_pipelines": len(self._completed),
            "failed_pipelines": len(self._failed), "skipped_pipelines": self._skipped,
            "duration_ms": round(1000 * (time.perf_counter() - began)),
        }  # fmt: skip
        if not self._completed:
            problem = self._failed[0].strip().splitlines()[-1]
            self._store.fail_run(self._run_id, f"all {len(pipelines)} pipelines failed, the first with {problem}")
            raise TrainingFailedError(
                f"all {len(pipelines)} pipelines of run {self._run_id} failed, the first with {problem}; "
                "the traceback of each is in list_pipelines(run_id), or `nirs4all-store show PIPELINE`"
            )
        self._store.complete_run(self._run_id, summary)
        return self._completed

    def _train_until_a_worker_dies(self, left: Iterator[Pipeline], n_jobs: int, advance: Callable[[], object]) -> bool:
        """Train what is left; return False once the system has ended a process that did.

        Which pipeline was to blame, and which were done and waited for being stored, cannot be known then: each that
        was begun is trained again, alone.
        """
        try:
            for outcome in _parallel(n_jobs)(self._tasks(left)):
                self._keep(*outcome)
                advance()
        except BrokenExecutor:
            for pipeline_id, pipeline in list(self._begun.items()):
                self._train_alone(pipeline_id, pipeline, n_jobs)
                advance()
            return False
        return True

    def _train_alone(self, pipeline_id: str, pipeline: Pipeline, n_jobs: int) -> None:
        try:
            for outcome in _parallel(n_jobs)([self._task(pipeline_id, pipeline)]):
                self._keep(*outcome)
        except BrokenExecutor as error:
            self._fail(pipeline_id, f"the process that trained it was ended from outside: {error}")

    def _tasks(self, pipelines: Iterator[Pipeline]) -> Iterator[Any]:
        """Begin one pipeline after the other, each as soon as somebody has time for it."""
        for pipeline in pipelines:
            try:
                pipeline_id = self._store.begin_pipeline(
                    self._run_id, pipeline.name, pipeline.config, pipeline.choices, self._data.name,
                    self._data.content_hash,
                )  # fmt: skip
            except Exception as problem:  # joblib asks for tasks in threads of its own, and would wait for ever.
                self._problem = problem
                return
            self._begun[pipeline_id] = pipeline
            yield self._task(pipeline_id, pipeline)

    def _task(self, pipeline_id: str, pipeline: Pipeline) -> Any:
        folds = self._folds[pipeline.folds_key]
        return delayed(_outcome)(pipeline_id, pipeline, self._data, folds, self._threads)

    def _keep(self, pipeline_id: str, pipeline: Pipeline, result: Trained | _Failed, seconds: float) -> None:
        if isinstance(result, _Failed):
            self._fail(pipeline_id, result.traceback)
            return
        try:
            with self._store.transaction():
                self._save(pipeline_id, pipeline, result, seconds)
        except Exception as error:
            # What is wrong with the workspace would be wrong with every other pipeline.
            if isinstance(error, StoreError) and not isinstance(error, InvalidInputError):
                raise
            self._fail(pipeline_id, traceback.format_exc())
            return
        del self._begun[pipeline_id]
        self._completed.append(pipeline_id)

    def _fail(self, pipeline_id: str, problem: str) -> None:
        del self._begun[pipeline_id]
        self._failed.append(problem)
        self._store.fail_pipeline(pipeline_id, problem)

    def _save(self, pipeline_id: str, pipeline: Pipeline, trained: Trained, seconds: float) -> None:
        store = self._store
        trace = _trace(store, pipeline, trained, self._data)
        bests = []
        for model, chain in zip(trained.models, ChainBuilder(trace).build_all(), strict=True):
            chain_id = store.save_chain(pipeline_id, **chain)
            store.save_predictions(pipeline_id, _records(model, chain_id, pipeline, self._data))
            bests.append(_main_scores(model, AVERAGE))
        for position, (step, took) in enumerate(zip(pipeline.steps, trained.seconds, strict=True)):
            store.log_step(pipeline_id, position, step.name, "end", round(1000 * took))
        task = trained.models[0].task
        bests = [scores for scores in bests if "val" in scores]
        if not bests:
            raise ValueError(f"what it predicts of the samples held out has no {MAIN[task]}: it is too far from y")
        best = (max if task == "classification" else min)(bests, key=lambda scores: scores["val"])
        store.complete_pipeline(pipeline_id, best["val"], best.get("test"), MAIN[task], round(1000 * seconds))


def _trace(store: WorkspaceStore, pipeline: Pipeline, trained: Trained, data: Dataset) -> ExecutionTrace:
    """Save what was fitted, once each, and tell what happened in the shape that `ChainBuilder` reads."""
    kept: dict[int, StepArtifacts] = {}
    ids: dict[Any, str] = {}

    def save(step: Step, fitted: Any) -> str:
        # Once each: a chain takes over one save of what it names, however often it does.
        content = content_of(fitted)
        if content not in ids:
            ids[content] = _saved(store, fitted, step.kind)
        return ids[content]

    for model in trained.models:
        for step, fitted in model.shared:
            kept[id(step)] = StepArtifacts([save(step, fitted)])
        for entries in zip(*model.folds, strict=True):
            of_folds = {str(fold): save(step, fitted) for fold, (step, fitted) in enumerate(entries)}
            kept[id(entries[0][0])] = StepArtifacts(fold_artifact_ids=of_folds)
    # By these names new spectra are known, whatever the order in which they come.
    columns = {} if data.columns is None else {"columns": data.columns}
    steps = [
        ExecutionStep(
            i, step.name, step.config | columns if step.kind == "model" else step.params,
            artifacts=kept.get(id(step), StepArtifacts()),
        )
        for i, step in enumerate(pipeline.steps)
    ]  # fmt: skip
    return ExecutionTrace(steps, preprocessing_chain=pipeline.preprocessings)


def _saved(store: WorkspaceStore, fitted: Any, kind: str) -> str:
    name = name_of(type(fitted))
    try:
        return store.save_artifact(fitted, name, kind, FORMATS[0])
    except InvalidInputError:
        return store.save_artifact(fitted, name, kind, FORMATS[1])


def _main_scores(model: TrainedModel, fold: str) -> dict[str, float]:
    """Return the score that a model is ranked by, for each partition that has one."""
    metric = MAIN[model.task]
    return {partition: scores[metric] for partition, scores in model.scores[fold].items() if metric in scores}


def _records(model: TrainedModel, chain_id: str, pipeline: Pipeline, data: Dataset) -> Iterator[dict[str, Any]]:
    """Give every prediction of a model as `save_predictions` takes it."""
    for fold, parts in model.parts.items():
        main = _main_scores(model, fold)
        for partition, part in parts.items():
            weights = None if data.weights is None or partition == "test" else data.weights[data.places(part.rows)]
            yield {
                "chain_id": chain_id, "dataset_name": data.name, "model_name": model.step.name,
                "model_class": model.step.name, "fold_id": fold, "partition": partition,
                "val_score": main.get("val"), "test_score": main.get("test"), "train_score": main.get("train"),
                "metric": MAIN[model.task], "task_type": model.task, "n_samples": len(part.rows),
                "n_features": data.X.shape[1], "scores": model.scores[fold],
                "best_params": model.step.params, "branch_id": None,
                "branch_name": None, "exclusion_count": data.excluded, "exclusion_rate": data.exclusion_rate,
                "preprocessings": pipeline.preprocessings, "y_true": part.y, "y_pred": part.y_pred,
                "y_proba": part.proba, "sample_indices": part.rows, "weights": weights,
            }  # fmt: skip


def _ranked(store: WorkspaceStore, pipeline_ids: list[str]) -> pl.DataFrame:
    """Return the predictions of pipelines, those of the best chain first."""
    frame = pl.concat([store.query_predictions(pipeline_id=pipeline_id) for pipeline_id in pipeline_ids])
    lower = pl.col("task_type") == "regression"
    order = pl.when(lower).then(pl.col("val_score")).otherwise(-pl.col("val_score"))
    rank = frame.filter(pl.col("fold_id") == AVERAGE).group_by("chain_id").agg(rank=order.first())
    keys = [
        pl.col("task_type"), pl.col("rank"), pl.col("chain_id"), pl.col("fold_id") != AVERAGE,
        pl.col("fold_id").cast(pl.Int64, strict=False),
        pl.col("partition").replace_strict(PARTITIONS, range(len(PARTITIONS))),
    ]  # fmt: skip
    return frame.join(rank, on="chain_id", maintain_order="left").sort(keys, nulls_last=True).drop("rank")


@contextmanager
def _bar(total: int, *, is_shown: bool) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
