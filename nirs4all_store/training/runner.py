"""`PipelineRunner` trains the pipelines of a configuration on one dataset, and stores each as soon as it is trained.

Why it is built on the facade, and what `resume` may leave out: docs/decisions/0014.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pickle import PicklingError
from typing import Any

import polars as pl
import sklearn
from joblib import Parallel, delayed

from ..call_boundary import all_public
from ..datasets import FINAL, TrainingData, read_dataset, warn_of_known_tests
from ..errors import InvalidInputError, StoreError, TrainingFailedError, UnitOfWorkError
from ..storage import PLANNED
from ..store import WorkspaceStore
from ..validation import checked_int
from .config_files import find_config
from .cross_validation import (
    Told,
    TrainingResult,
    blas_threads,
    check_fit,
    check_repeats,
    outcome_of,
    splits,
    splitter_of,
)
from .missing_values import takes_gaps
from .operators import as_error
from .pipeline_config import PipelineSpec, pipelines_of, task_of, template_of
from .progress import progress_bar
from .ranked_results import ranked, warn_of_training, warn_of_unpredicted
from .recorder import checked_keep, record_result
from .repeats import Folds, judged_by
from .resume import CONFIG, completed_before, key_of, tell_judged_by
from .template_library import template_in
from .transformer_cache import TransformerCache


@all_public
class PipelineRunner:
    """Trains pipelines by cross-validation, and stores their fitted objects, predictions and scores.

    In each fold, every step is fitted on the training samples of the fold alone, so that no step has seen the samples
    that validate it. After that, every step is fitted once more on all samples of the calibration, which are all but
    those of the test: this final model is the one that predicts. Each pipeline is stored in one transaction as soon as
    it is trained. One that fails is recorded with its traceback, and the others go on. After Ctrl-C the run is
    `interrupted`, and the pipelines that were finished are stored.

    Parameters
    ----------
    workspace : str, Path or WorkspaceStore
        The folder, created when absent, or a store that is open, and stays so.
    n_jobs : int
        How many pipelines are trained at once, each in a process of its own; -1: one for each core. With 1,
        `joblib.parallel_config` around the call of `run` decides, which may also name a cluster. Only this process
        writes to the store.
    progress : bool
        Show a bar with the time that is left, if the output is a terminal.

    Attributes
    ----------
    run_id : str or None
        The run that the last call of `run` began; None if there was nothing to train.

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
        self.run_id: str | None = None

    def run(
        self,
        config: Any,
        dataset: Any,
        *,
        name: str | None = None,
        target: Any = None,
        resume: bool = False,
        refit: bool = True,
        keep: str = "all",
        keep_spectra: bool = False,
        weighted_scores: bool = False,
        cache: bool = True,
    ) -> pl.DataFrame:
        """Train every pipeline of a configuration, store the results, and return the predictions ranked.

        Parameters
        ----------
        config : list, dict, str or Path
            The steps, see `pipeline_config.pipelines_of`; or JSON or YAML, as text or as a file's path; or the name
            of a template in the workspace's library.
        dataset : object
            `(X, y)` and more, a table, or a file's path; see `datasets.read_dataset`.
        name : str, optional
            The run's name; by default the dataset's.
        target : str or list of str, optional
            The column of y, where the dataset is a table.
        resume : bool
            Do not train pipelines that a runner has completed in this workspace with the same configuration and data.
            Pipelines with a function or class of a script or notebook are trained again, since it may have changed; so
            are those with a parameter that JSON cannot describe, such as a random generator. Classes and functions of
            modules are compared by their names only: after you have changed one, train without `resume`. What was
            completed without a final model stays as it is.
        refit : bool
            Fit a final model on all samples of the calibration, which predicts. It costs as much as one fold more.
            False: the models of the folds predict, together.
        keep : str
            Whose fitted objects are stored. "all": those of the folds and of the final model. "final": those of the
            final model alone, which take a fraction of the disk; the folds' predictions and scores are stored as well.
            "folds": those of the folds; there is no final model, as with `refit=False`.
        keep_spectra : bool
            Keep the spectra in the workspace, so that `load_dataset` returns them; the samples are kept anyway.
        weighted_scores : bool
            Let the weights of samples count in the scores of train and val, too, as scikit-learn's `sample_weight`
            does. What was judged so is ranked apart.
        cache : bool
            Take over transformers that were fitted before, in this run or another one, to the same samples after the
            same steps. Only what takes long is, of installed packages, and with each `random_state` a whole number;
            the results are the same.

        Returns
        -------
        polars.DataFrame
            The columns of `query_predictions` and `score`, the row's own (`val_score` of a chain stands in each of its
            rows), also for pipelines that were not trained again. The best model comes first, but models that were
            judged by other folds or metrics are ranked apart; of each model, the predictions of all folds together
            (`avg`) come before those of each fold and of the final model (`final`), which has no `val_score`, since it
            has seen all samples.

        Warns
        -----
        DataWarning
            Models predict NaN for some samples, so that they have no score; these come last.
        Warning
            What the operators of a pipeline warned of, with the pipeline's name; the same of several pipelines once.

        Raises
        ------
        InvalidInputError
            The configuration or the dataset is wrong, they do not fit together, joblib's backend is not supported,
            `resume` is True and the cross-validator makes other folds each time, `keep` names nothing that is fitted,
            or there are no weights for `weighted_scores`. Nothing was trained.
        UnitOfWorkError
            It was called inside a transaction, which would stay open during the whole training.
        NotFoundError
            There is no such template.
        TrainingFailedError
            Every pipeline failed, and `resume` found none that was completed before.
        """
        self.run_id = None
        keep = checked_keep(keep, refit=refit)
        with self._store() as store:
            if store.is_in_transaction:
                raise UnitOfWorkError("a run commits each pipeline as it goes; call it outside of transaction()")
            config = find_config(config, partial(template_in, store.workspace_path))
            pipelines = pipelines_of(config)
            data = read_dataset(dataset, target)
            warn_of_known_tests(data)
            if weighted_scores and data.weights is None:
                raise InvalidInputError(
                    f"weighted_scores needs weights of samples, and {data.name} has none; give weights beside X, in a "
                    "shell --weights COLUMN"
                )
            pipelines = [
                replace(pipeline, takes_gaps=takes_gaps(pipeline, data), weighted_scores=weighted_scores)
                for pipeline in pipelines
            ]
            keys = [key_of(pipeline) for pipeline in pipelines]
            folds: dict[str, Folds] = {}  # Without a seed, a cross-validator would give each pipeline other ones.
            for pipeline in pipelines:
                with as_error(f"the pipeline {pipeline.name}"):
                    samples = pipeline.samples(data)
                    check_fit(pipeline, samples)
                    if pipeline.folds_key not in folds:
                        folds[pipeline.folds_key] = splits(pipeline, samples)
                        if resume:
                            check_repeats(pipeline, samples, folds[pipeline.folds_key])
            _parallel(self._n_jobs)
            done = completed_before(store, pipelines, data) if resume else {}
            for pipeline, key in zip(pipelines, keys, strict=True):
                if key in done:
                    tell_judged_by(store, done[key], pipeline, pipeline.samples(data), folds[pipeline.folds_key])
            left = [pipeline for pipeline, key in zip(pipelines, keys, strict=True) if key not in done]
            found = [done[key] for key in dict.fromkeys(keys) if key in done]
            if left:
                template, skipped = template_of(config, len(left)), len(pipelines) - len(left)
                with store.transaction():
                    dataset_id = store.save_dataset(data, task_type=task_of(pipelines), keep_spectra=keep_spectra)
                    run = _Run(
                        store, data, dataset_id, folds, name or data.name, skipped, template, keep, len(left), cache
                    )
                self.run_id = run.run_id
                found += run.train(left, self._n_jobs, is_shown=self._progress)
                warn_of_training(run.warnings)
            elif keep_spectra:
                store.save_dataset(data, task_type=task_of(pipelines), keep_spectra=True)
            predictions = ranked(store, found)
            warn_of_unpredicted(predictions)
            return predictions

    @contextmanager
    def _store(self) -> Iterator[WorkspaceStore]:
        if isinstance(self._workspace, WorkspaceStore):
            yield self._workspace
        else:
            with WorkspaceStore(self._workspace) as store:
                yield store


def _parallel(n_jobs: int) -> Parallel:
    """Return what trains side by side, or refuse a backend of joblib's that gives nothing before all is done."""
    try:
        return Parallel(None if n_jobs == 1 else n_jobs, return_as="generator_unordered")
    except ValueError as error:
        raise InvalidInputError(f"{error}; use loky, threading or dask in parallel_config") from error


class _Run:
    """One run: its pipelines are begun, trained elsewhere, and stored here."""

    def __init__(
        self,
        store: WorkspaceStore,
        data: TrainingData,
        dataset_id: str,
        folds: dict[str, Folds],
        name: str,
        skipped: int,
        template: list[Any] | None,
        keep: str,
        n_pipelines: int,
        cache: bool,
    ) -> None:
        self._store = store
        self._data = data
        self._folds = folds
        self._skipped = skipped
        self._template = template
        self._settings = sklearn.get_config()
        self._cache = TransformerCache(store, self._settings, is_on=cache)
        self._kept = keep
        self._threads = blas_threads()  # Here is where the chains will be replayed.
        self._begun: dict[str, PipelineSpec] = {}
        self._completed: list[str] = []
        self._failed: dict[str, str] = {}
        self.warnings: dict[Told, list[str]] = {}
        self._problem: Exception | None = None
        self._dataset_id = dataset_id
        config = CONFIG | {PLANNED: n_pipelines}
        self.run_id = store.begin_run(name, config, [data.summary | {"dataset_id": dataset_id}])

    def train(self, pipelines: list[PipelineSpec], n_jobs: int, *, is_shown: bool) -> list[str]:
        """Train and store them; return the ids of those that succeeded."""
        began = time.perf_counter()
        try:
            with progress_bar(len(pipelines), is_shown=is_shown) as advance:
                left = iter(pipelines)
                while not self._train_until_a_worker_dies(left, n_jobs, advance):
                    pass
            if self._problem is not None:
                raise self._problem
        except BaseException:
            # If that fails, too, whoever opens the workspace after the end of this process marks it.
            with contextlib.suppress(StoreError), self._store.unit_of_work() as uow:
                uow.runs.interrupt(self.run_id)
                uow.commit()
            raise
        summary = {
            "total_pipelines": len(pipelines) + self._skipped,
            "completed_pipelines": len(self._completed),
            "failed_pipelines": len(self._failed),
            "skipped_pipelines": self._skipped,
            "duration_ms": round(1000 * (time.perf_counter() - began)),
        }
        if not self._completed and not self._skipped:
            first, problem = next(iter(self._failed.items()))
            problem = problem.strip().splitlines()[-1]
            self._store.fail_run(self.run_id, f"all {len(pipelines)} pipelines failed, the first with {problem}")
            raise TrainingFailedError(
                f"all {len(pipelines)} pipelines of run {self.run_id} failed, the first with {problem}; "
                f"the traceback of each is in list_pipelines(run_id), or `nirs4all-store show {first}`"
            )
        self._store.complete_run(self.run_id, summary)
        return self._completed

    def _train_until_a_worker_dies(
        self, left: Iterator[PipelineSpec], n_jobs: int, advance: Callable[[int], object]
    ) -> bool:
        """Train what is left; return False once the system has ended a process that did, or one was sent in vain.

        Which pipeline was to blame, and which were done and waited for being stored, cannot be known then: each that
        was begun is trained again, alone.
        """
        try:
            for outcome in _parallel(n_jobs)(self._tasks(left)):
                self._keep(*outcome)
                advance(len(self._failed))
        except (BrokenExecutor, PicklingError):
            for pipeline_id, pipeline in list(self._begun.items()):
                self._train_alone(pipeline_id, pipeline, n_jobs)
                advance(len(self._failed))
            return False
        return True

    def _train_alone(self, pipeline_id: str, pipeline: PipelineSpec, n_jobs: int) -> None:
        try:
            for outcome in _parallel(n_jobs)([self._task(pipeline_id, pipeline)]):
                self._keep(*outcome)
        except BrokenExecutor as error:
            self._fail(pipeline_id, f"the process that trained it was ended from outside: {error}")
        except PicklingError:
            self._fail(pipeline_id, traceback.format_exc())

    def _tasks(self, pipelines: Iterator[PipelineSpec]) -> Iterator[Any]:
        """Begin one pipeline after the other, each as soon as somebody has time for it."""
        for pipeline in pipelines:
            try:
                task = self._task(self._begin(pipeline), pipeline)
            except Exception as problem:  # joblib asks for tasks in threads of its own, and would wait for ever.
                self._problem = problem
                return
            yield task

    def _begin(self, pipeline: PipelineSpec) -> str:
        samples, folds = pipeline.samples(self._data), self._folds[pipeline.folds_key]
        pipeline_id = self._store.begin_pipeline(
            self.run_id,
            pipeline.name,
            pipeline.config,
            pipeline.choices,
            self._data.name,
            self._data.content_hash,
            self._template,
            judged_by(splitter_of(pipeline, samples), folds, samples, weighted=pipeline.weighted_scores),
            self._dataset_id,
        )
        self._begun[pipeline_id] = pipeline
        return pipeline_id

    def _task(self, pipeline_id: str, pipeline: PipelineSpec) -> Any:
        data, folds = pipeline.samples(self._data), self._folds[pipeline.folds_key]
        refit = self._kept != "folds"
        # The settings of scikit-learn here, such as metadata routing, are not those of other processes and threads.
        cache = self._cache.of(pipeline, data, folds)
        return delayed(outcome_of)(pipeline_id, pipeline, data, folds, self._threads, refit, self._settings, cache)

    def _keep(
        self, pipeline_id: str, pipeline: PipelineSpec, result: TrainingResult | str, seconds: float, told: list[Told]
    ) -> None:
        for warning in told:
            self.warnings.setdefault(warning, []).append(pipeline.name)
        if isinstance(result, str):
            self._fail(pipeline_id, result)
            return
        try:
            with self._store.transaction():
                data, keeps_folds = pipeline.samples(self._data), self._kept != FINAL
                record_result(self._store, pipeline_id, pipeline, data, result, seconds, keeps_folds=keeps_folds)
        except Exception as error:
            # What is wrong with the workspace would be wrong with every other pipeline.
            if isinstance(error, StoreError) and not isinstance(error, InvalidInputError):
                raise
            self._fail(pipeline_id, traceback.format_exc())
            return
        self._cache.add(result.kept)
        del self._begun[pipeline_id]
        self._completed.append(pipeline_id)

    def _fail(self, pipeline_id: str, problem: str) -> None:
        # Messages may hold whatever a file held that could not be read.
        problem = problem.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
        del self._begun[pipeline_id]
        self._failed[pipeline_id] = problem
        self._store.fail_pipeline(pipeline_id, problem)
