"""`WorkspaceStore`, the facade: all that a user of a workspace can call, each method one short delegation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy.typing as npt
import polars as pl
from polars import selectors

from .artifacts import checked_hash, codecs, sha256
from .call_boundary import all_public
from .chains import ChainLoader, artifact_ids
from .datasets import read_dataset
from .engine import Question
from .errors import (
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    OutputPathError,
    StoreClosedError,
    UnitOfWorkError,
)
from .filesystem import atomic_write, checked_path, with_suffix_added, write_atomic
from .queries import Queries, stored_predictions
from .storage import Base, Call, ChainRecord, LogRecord, PredictionRecord, UnitOfWork
from .validation import checked_text, checked_texts, checked_timeout, file_text
from .workspace import (
    Workspace,
    backup,
    checked_address,
    checked_folder,
    close_workspace,
    deletion,
    is_in_memory,
    kept_datasets,
    open_workspace,
    pruning,
)

if TYPE_CHECKING:
    from .chains import ChainClassifier, ChainRegressor, FittedChain, FoldIntervals, PredictionTable
    from .exchange import ImportedBundle, ImportReport, VerifyReport
    from .workspace import CheckReport, PruneReport, RepairReport

Row = dict[str, Any]


@all_public
class WorkspaceStore(Queries):
    """A workspace: runs, datasets, pipelines, chains, predictions, arrays, logs and fitted objects.

    A run has pipelines; a pipeline is one configuration, trained on one dataset. A chain is what a pipeline has fitted:
    the steps that lead from spectra X to a prediction of y. A chain names artifacts, each a fitted object in a file.

    Any number of threads may use one store. A call outside `transaction()` is one transaction:
    when it returns, the data survives the end of the process.

    Parameters
    ----------
    workspace_path : path-like
        The folder. `store.duckdb` and `artifacts/` are created in it when absent. Or `memory:NAME`: a workspace in the
        memory of this process, which lasts as long as the process, closed or not.
    read_only : bool
        Change nothing, and share the workspace with other readers.
    upgrade : bool
        Bring a workspace of an older version to this one's schema; a copy of the database is made before.
    timeout : float
        How many seconds a call waits: for other processes, and for other threads that write, fork, or open, close,
        upgrade or hand over the database; infinity: without a limit. For a thread that opens, closes, upgrades or
        hands over, it waits for at least half a second. The work of the call itself is not limited.

    Raises
    ------
    WorkspaceBusyError
        Another process holds it; the message names that process.
    WorkspaceOutdatedError, WorkspaceTooNewError, WorkspaceCorruptError, WorkspaceNotFoundError
        It cannot be opened as it is; nothing was changed.
    ReadOnlyError
        The folder cannot be written to, and `read_only` is False.
    InvalidInputError
        No folder can have this path, or `timeout` is not a number of seconds.

    Examples
    --------
    >>> with WorkspaceStore("workspace") as store:  # doctest: +SKIP
    ...     run_id = store.begin_run("wheat", config={}, datasets=[{"name": "wheat"}])
    """

    def __init__(
        self,
        workspace_path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        upgrade: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self._path = checked_address(workspace_path, "workspace_path")
        self._timeout = checked_timeout(timeout)
        self._read_only = read_only
        self._closed = False
        self._opened: dict[int, _Opened] = {}
        self._connect(upgrade=upgrade)

    def _connect(self, *, upgrade: bool = False) -> _Opened:
        ticket = object()
        workspace = open_workspace(
            self._path, ticket, read_only=self._read_only, upgrade=upgrade, timeout=self._timeout
        )
        mine = _Opened(workspace, ticket, ChainLoader(workspace.blobs))
        first = self._opened.setdefault(os.getpid(), mine)
        if first is not mine:  # Another thread was faster.
            close_workspace(workspace, ticket, self._timeout)
        return first

    def __getstate__(self) -> dict[str, Any]:
        # It travels to another process as its path and options, and opens there when it is used.
        self._check_open()
        if is_in_memory(self._path):
            raise InvalidInputError(
                f"{self._path} is in the memory of this process, and cannot be sent to another: "
                "keep what both need in a folder"
            )
        return {"_path": self._path, "_timeout": self._timeout, "_read_only": self._read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _closed=False, _opened={})

    # -- life ---------------------------------------------------------------------------------

    @property
    def workspace_path(self) -> Path:
        """The absolute path of the folder, or the address of a workspace in memory."""
        return self._path

    def close(self) -> None:
        """Release the workspace; every later call raises `StoreClosedError`, but closing twice is fine."""
        opened = self._opened.get(os.getpid())
        if not self._closed and opened is not None:
            close_workspace(opened.workspace, opened.ticket, self._timeout)
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"WorkspaceStore({str(self._path)!r}{', closed' if self._closed else ''})"

    @property
    def _here(self) -> _Opened:
        self._check_open()
        return self._opened.get(os.getpid()) or self._connect()  # It may have come from another process.

    @property
    def _workspace(self) -> Workspace:
        return self._here.workspace

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"the store on {self._path} is closed; open a new WorkspaceStore")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all calls in a block one transaction.

        Nested use joins the outer block, and so do the calls of other stores on the same folder in the same
        thread and asyncio task. An exception that leaves the block undoes everything in it. A task or thread that is
        started inside the block does not join it, and reads what is committed. If it writes, a thread waits for the
        end of the block; a task of the same thread would wait for ever, and gets a `UnitOfWorkError`.

        Raises
        ------
        UnitOfWorkError
            Another asyncio task of this thread has a transaction open.
        TransactionAbortedError
            At the end of the block: an error of the database occurred in it and your code caught it there.
            Nothing of the block is kept.
        """
        with self._writing(is_block=True):
            yield

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is inside `transaction()` or a unit of work, which its calls join."""
        return self._workspace.current is not None

    def unit_of_work(self) -> UnitOfWork:
        """Return a unit of work, on which this class is built: six repositories and an explicit commit.

        Use it in a `with` block; calls of this store inside the block join its transaction. Without `commit()`, the
        end of the block rolls back.

        Examples
        --------
        >>> with store.unit_of_work() as uow:  # doctest: +SKIP
        ...     uow.runs.add("wheat")
        ...     uow.commit()
        """
        return UnitOfWork(self._workspace, timeout=self._timeout, read_only=self._read_only)

    def _writing(self, *, is_block: bool = False) -> Call:
        """Give a unit of work to write in: the open one of this thread, or a new one that is committed.

        Calls inside a block join it; no other call is in the middle of anything when one begins.
        """
        workspace = self._workspace
        workspace.check_writable(read_only=self._read_only)
        current = workspace.current
        new = current or UnitOfWork(workspace, timeout=self._timeout)
        return Call(new, is_joined=current is not None, is_block=is_block)

    def _reading(self) -> Call:
        """Give a unit of work to read in: the open one of this thread, or a new one."""
        workspace = self._workspace
        current = workspace.current
        new = current or UnitOfWork(workspace, timeout=self._timeout, write=False)
        return Call(new, is_joined=current is not None)

    # -- runs ---------------------------------------------------------------------------------

    def begin_run(
        self, name: str, config: Mapping[str, Any] | None = None, datasets: Sequence[Mapping[str, Any]] | None = None
    ) -> str:
        """Begin a run, with status `running`.

        Parameters
        ----------
        name : str
        config : dict
        datasets : list of dict
            Each with at least `name`. What it tells beside, such as `hash`, `n_samples` and `origin`, describes the
            dataset in `list_datasets`. One with the `dataset_id` of `save_dataset` is that dataset; without, two are
            one if name and hash agree.

        Returns
        -------
        str
            The run's id.

        Raises
        ------
        InvalidInputError
            A value cannot be stored; nothing was.
        """
        with self._writing() as uow:
            return uow.runs.add(name, config, datasets)

    def complete_run(self, run_id: str, summary: Mapping[str, Any] | None = None) -> None:
        """Mark a run completed. An unknown id raises `NotFoundError`."""
        with self._writing() as uow:
            uow.runs.complete(run_id, summary)

    def fail_run(self, run_id: str, error: str) -> None:
        """Mark a run and its running pipelines failed; what they saved stays. An unknown id raises `NotFoundError`."""
        with self._writing() as uow:
            uow.runs.fail(run_id, error)

    def resume_run(self, run_id: str) -> pl.DataFrame:
        """Make a failed or interrupted run `running` again, in this process, and return its pipelines.

        A run becomes `interrupted`, with the pipelines that it was running, when somebody opens the workspace for
        writing and the run's process no longer exists. Those pipelines stay interrupted, since their results may be
        incomplete: delete them or add to them, and begin new ones for the rest. Whether a process on another host or
        in another container still runs cannot be known here, nor for runs that do not record their process: make sure
        that it has ended before you resume such a run.

        Parameters
        ----------
        run_id : str

        Returns
        -------
        polars.DataFrame
            A row a pipeline, oldest first: the columns of `list_pipelines`, `chain_count`, `prediction_count`.

        Raises
        ------
        NotFoundError
            There is no such run.
        RunInUseError
            Another process of this machine is running it; the message names that process.
        InvalidInputError
            It is completed.
        """
        with self._writing() as uow:
            return uow.runs.resume(run_id)

    def get_run(self, run_id: str) -> Row | None:
        """Return a run with its JSON decoded, or None."""
        with self._reading() as uow:
            return uow.runs.get(run_id)

    def list_runs(
        self, status: str | None = None, dataset: str | None = None, limit: int | None = 100, offset: int = 0
    ) -> pl.DataFrame:
        """Return runs, newest first.

        Parameters
        ----------
        status : str, optional
            `running`, `completed`, `failed` or `interrupted`.
        dataset : str, optional
            The exact name of one of the run's datasets.
        limit, offset : int
            How many rows, after how many.
        """
        with self._reading() as uow:
            return uow.runs.list(status, dataset, limit, offset)

    def delete_run(self, run_id: str, delete_artifacts: bool = True) -> int:
        """Delete a run and all below it in one transaction.

        With its last pipeline goes a dataset, and the samples and spectra that are kept of it.

        Parameters
        ----------
        run_id : str
        delete_artifacts : bool
            Also delete the artifacts that nothing else uses, rows and files.

        Returns
        -------
        int
            How many rows were deleted, in all tables; 0 for an unknown run.
        """
        with self._writing() as uow:
            return deletion.delete_run(uow, run_id, delete_artifacts)

    def prune(self, run_id: str, keep_best: int, *, dry_run: bool = False) -> PruneReport:
        """Remove the fitted objects of all chains of a run but the best; their scores and predictions stay.

        Chains are ranked by what all folds together predict of samples that were held out, apart for each dataset and
        metric. A chain without such a score keeps its objects. A pruned chain cannot predict any more.

        Parameters
        ----------
        run_id : str
        keep_best : int
            How many of the best chains keep their objects; of each dataset and metric, if there are several.
        dry_run : bool
            Only report what would be pruned, and change nothing.

        Returns
        -------
        PruneReport
            Which chains were pruned, and how many files and bytes that gave back to the disk.

        Raises
        ------
        NotFoundError
            There is no such run.
        InvalidInputError
            `keep_best` is less than 1, or it is not known whether a lower value of a metric is better.
        ChainReplayError
            One of the best is damaged and cannot predict, so that the others are still needed; nothing was removed.
        """
        with self._reading() if dry_run else self._writing() as uow:
            return pruning.prune(uow, run_id, keep_best, dry_run=dry_run)

    # -- pipelines ----------------------------------------------------------------------------

    def begin_pipeline(
        self,
        run_id: str,
        name: str,
        expanded_config: Any = None,
        generator_choices: Any = None,
        dataset_name: str = "",
        dataset_hash: str | None = None,
        original_template: Any = None,
        judged_by: Mapping[str, Any] | None = None,
        dataset_id: str | None = None,
    ) -> str:
        """Begin a pipeline in a run, with status `running`.

        Parameters
        ----------
        run_id : str
        name : str
        expanded_config : dict or list
            The pipeline's configuration, with one value chosen for each alternative.
        generator_choices : list
            The values that were chosen.
        dataset_name, dataset_hash : str
            The dataset that it is trained on. A SHA-256 of all that it is trained on, as 64 hexadecimal digits, tells
            datasets of one name apart when predictions are ranked.
        original_template : list or dict, optional
            The configuration as its author wrote it, with all its alternatives.
        judged_by : dict, optional
            How its predictions are judged: what has other `folds` (such as a hash of them) is never ranked with it.
            The runner also stores `splitter`, `n_repeats`, `coverage` and `targets`.
        dataset_id : str, optional
            The same, from `save_dataset`; by default it is found by name and hash, and added if it is absent.

        Returns
        -------
        str
            The pipeline's id.

        Raises
        ------
        NotFoundError
            There is no such run, or no such dataset.
        """
        with self._writing() as uow:
            return uow.runs.add_pipeline(
                run_id,
                name,
                expanded_config,
                generator_choices,
                dataset_name,
                dataset_hash,
                original_template=original_template,
                judged_by=judged_by,
                dataset_id=dataset_id,
            )

    def complete_pipeline(
        self,
        pipeline_id: str,
        best_val: float | None = None,
        best_test: float | None = None,
        metric: str | None = None,
        duration_ms: float | None = None,
    ) -> None:
        """Mark a pipeline completed, with its best scores. An unknown id raises `NotFoundError`."""
        with self._writing() as uow:
            uow.runs.complete_pipeline(pipeline_id, best_val, best_test, metric, duration_ms)

    def fail_pipeline(self, pipeline_id: str, error: str) -> None:
        """Mark a pipeline failed and delete its chains, predictions and arrays; its log stays."""
        with self._writing() as uow:
            uow.runs.fail_pipeline(pipeline_id, error)
            deletion.delete_results(uow, [pipeline_id])

    def get_pipeline(self, pipeline_id: str) -> Row | None:
        """Return a pipeline with its JSON decoded, or None."""
        with self._reading() as uow:
            return uow.runs.get_pipeline(pipeline_id)

    def list_pipelines(
        self, run_id: str | None = None, dataset_name: str | None = None, *, pipeline_ids: Iterable[str] | None = None
    ) -> pl.DataFrame:
        """Return pipelines, newest first: of one run or dataset, those with these ids as far as they exist, or all."""
        with self._reading() as uow:
            return uow.runs.list_pipelines(run_id, dataset_name, pipeline_ids)

    def delete_pipeline(self, pipeline_id: str) -> int:
        """Delete a pipeline and all below it, as `delete_run` does; return how many rows, 0 for an unknown one."""
        with self._writing() as uow:
            return deletion.delete_pipelines(uow, [pipeline_id], True)

    # -- datasets -----------------------------------------------------------------------------

    def save_dataset(
        self, dataset: Any, target: Any = None, *, task_type: str | None = None, keep_spectra: bool = False
    ) -> str:
        """Save what a dataset is: what describes it, and its samples with names, groups, weights and references.

        The runner does so for each dataset that it trains on. The same data with the same names of targets are one
        dataset, whatever its name; it keeps what it says of itself, and gets what it lacked.

        Parameters
        ----------
        dataset : object
            As for `PipelineRunner.run`: `(X, y)` and more, a table, or a file's path.
        target : str or list of str, optional
            The column of y, where the dataset is a table.
        task_type : str, optional
            `regression` or `classification`, where y does not tell it.
        keep_spectra : bool
            Keep the spectra, too; once for all datasets that have the same.

        Returns
        -------
        str
            The dataset's id.

        Raises
        ------
        InvalidInputError
            It is no dataset, or a value cannot be stored.
        """
        self._workspace.check_writable(read_only=self._read_only)
        data = read_dataset(dataset, target)
        with self._writing() as uow:
            return kept_datasets.save(uow, data, task_type, keep_spectra=keep_spectra)

    def list_datasets(self) -> pl.DataFrame:
        """Return all datasets, newest first; JSON columns are text."""
        with self._reading() as uow:
            return uow.datasets.list()

    def get_dataset(self, dataset_id: str) -> Row | None:
        """Return what describes a dataset, with its JSON decoded, or None."""
        with self._reading() as uow:
            return uow.datasets.get(dataset_id)

    def load_dataset(self, dataset_id: str) -> pl.DataFrame:
        """Return the samples of a dataset, and their spectra where they are kept.

        Parameters
        ----------
        dataset_id : str

        Returns
        -------
        polars.DataFrame
            A row for each sample, those to train on first, then those to test with. `row` is its row in the dataset as
            it was given, counted from 0, by which the `sample_indices` of predictions name it; `partition` is `train`,
            `test`, or `val` for rows that are there to validate with. `sample`, `group` and `weight` are there where
            they are known; then comes the metadata, then the references under the names of the targets (`y` without a
            name), then the spectra, a column for each variable.

        Raises
        ------
        NotFoundError
            There is no such dataset, or only a description of it.
        ArtifactLoadError
            A file of it is missing or damaged.
        """
        with self._reading() as uow:
            row = uow.datasets.require(dataset_id)
        return kept_datasets.load(row, self.load_artifact)

    def attach_dataset(self, dataset: Any, target: Any = None, *, dataset_id: str | None = None) -> str:
        """Keep the spectra of a dataset that was saved without them; a hash tells whether they are the same.

        Parameters
        ----------
        dataset : object
            The file, or the arrays, as they were given when it was trained on; see `save_dataset`. It is read once: the
            spectra are kept in the workspace.
        target : str or list of str, optional
            The column of y; by default the targets of the datasets here are tried.
        dataset_id : str, optional
            The dataset that it must be; by default it is any with these spectra.

        Returns
        -------
        str
            The dataset's id.

        Raises
        ------
        NotFoundError
            There is no such dataset.
        InvalidInputError
            It cannot be read, or no dataset has these spectra.
        """
        self._workspace.check_writable(read_only=self._read_only)
        with self._reading() as uow:
            rows = uow.datasets.all() if dataset_id is None else [uow.datasets.require(dataset_id)]
        found, data = kept_datasets.find(rows, dataset, target)
        with self._writing() as uow:
            kept_datasets.attach(uow, found, data)
        return found

    def update_dataset(self, dataset_id: str, **descriptions: Any) -> None:
        """Correct what a dataset says of itself; nothing that was computed of it changes.

        Parameters
        ----------
        dataset_id : str
        **descriptions
            `name`; `unit` of its target, or a list of those of all in their order, or `units`, a dict by target;
            `task_type`, `n_samples`, `n_features`, `wavelengths`, `wavelength_unit`, `origin` (the name of a file),
            `metadata_columns`, `split`. None: it is not known.

        Raises
        ------
        NotFoundError
            There is no such dataset.
        InvalidInputError
            It has no such description, or the value does not fit.
        """
        with self._writing() as uow:
            uow.datasets.describe(dataset_id, descriptions)

    # -- chains -------------------------------------------------------------------------------

    def save_chain(
        self,
        pipeline_id: str,
        steps: Sequence[Mapping[str, Any]],
        model_step_idx: int,
        model_class: str,
        preprocessings: str | None = "",
        fold_strategy: str | None = "per_fold",
        fold_artifacts: Mapping[str, Any] | None = None,
        shared_artifacts: Mapping[str, Any] | None = None,
        branch_path: Sequence[int] | None = None,
        source_index: int | None = None,
        attachments: Mapping[str, str] | None = None,
        predict_fold: str | None = None,
        refit_of: str | None = None,
        verification: Mapping[str, Any] | None = None,
    ) -> str:
        """Save a chain: the steps that lead from X to y, with the ids of the objects that each step has fitted.

        Parameters
        ----------
        pipeline_id : str
        steps : list of dict
            Each with `step_idx, operator_class, params, artifact_id, stateless`; `applies_to="y"`, `ways` and `members`
            say what is no line of transformers: see the page on chains.
        model_step_idx : int
            The `step_idx` of the model.
        model_class : str
        preprocessings : str
            A short name of the steps before the model, for people.
        fold_strategy : str
        fold_artifacts : dict of str to (str or list of str)
            Fold id to the model's artifact id, or to the ordered list of what was fitted on that
            fold, the model last. From the first step that is fitted per fold on, everything that
            transforms X is in the fold's list.
        shared_artifacts : dict of str to (str or list of str)
            Step index as text to one artifact id or an ordered list; under `_source_map` the step index to the
            artifacts of each source of spectra.
        branch_path : list of int, optional
        source_index : int, optional
        attachments : dict of str to str, optional
            Role, such as `domain`, to the id of an artifact that belongs to the chain and is not applied by a replay.
        predict_fold : str, optional
            The key of `fold_artifacts` whose model predicts alone, such as that of a final model that was fitted on
            all samples of the calibration. By default the models of all folds predict together.
        refit_of : str, optional
            The id of the chain of which this one is a refit.
        verification : dict, optional
            What a comparison of stored and replayed predictions found: verdict, difference, versions and time.

        Returns
        -------
        str
            The chain's id.

        Raises
        ------
        NotFoundError
            The pipeline, an artifact that the chain names, or the chain `refit_of` does not exist.
        InvalidInputError
            The chain does not have this form, or its replay would apply the steps in another order.
        """
        record = ChainRecord(
            pipeline_id=pipeline_id,
            steps=steps,
            model_step_idx=model_step_idx,
            model_class=model_class,
            preprocessings=preprocessings,
            fold_strategy=fold_strategy,
            fold_artifacts=fold_artifacts,
            shared_artifacts=shared_artifacts,
            branch_path=branch_path,
            source_index=source_index,
            attachments=attachments,
            predict_fold=predict_fold,
            refit_of=refit_of,
            verification=verification,
        )
        with self._writing() as uow:
            if refit_of is not None:
                uow.chains.require(refit_of)
            chain_id = uow.chains.add(record)
            uow.artifacts.claim(uow.chains.artifact_ids(chain_id), chain_id)
            return chain_id

    def get_chain(self, chain_id: str) -> Row | None:
        """Return a chain with its JSON decoded, or None."""
        with self._reading() as uow:
            return uow.chains.get(chain_id)

    def get_chains_for_pipeline(self, pipeline_id: str) -> pl.DataFrame:
        """Return a pipeline's chains, oldest first."""
        with self._reading() as uow:
            return uow.chains.list(pipeline_id)

    def replay_chain(
        self,
        chain_id: str,
        X: Any,
        wavelengths: Any = None,
        folds: str | None = None,
        *,
        resample: bool = False,
    ) -> npt.NDArray[Any]:
        """Predict with a stored chain.

        The objects that all folds share are applied once, in the order of the steps, then each fold's own. A chain with
        a `predict_fold` predicts with the model of this one. Else the results of the folds are combined: the mean for
        regression; for classification the class with the highest mean probability, or the majority vote where a model
        has no `predict_proba`.

        Parameters
        ----------
        chain_id : str
        X : array of shape (n_samples, n_features), or frame
            It is not modified. In a pandas or polars frame, the columns of training are found by their names or
            wavelengths, if the chain has them, as chains that the runner trained do; other columns are left out.
        wavelengths : array of shape (n_features,), optional
            Of the columns of X, in the unit of training: by them the columns of training are found, if the chain has
            those, and wavelength-aware operators get them. Not needed for a frame whose columns are named by them.
        folds : str, optional
            Which models predict. "mean": those of all folds together, without that of `predict_fold`. The name of a
            fold, such as "final", "0" or, as in the chain's `fold_artifacts`, "fold_0": this one alone. By default
            `predict_fold`, or all where the chain has none.
        resample : bool
            Interpolate spectra of other wavelengths linearly to those of training, where their range covers these.
            By default other wavelengths are refused, unless they differ by rounding: at most 0.15 of the step.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_targets) for several targets

        Raises
        ------
        NotFoundError
            There is no such chain.
        InvalidInputError
            The chain has no such folds.
        ChainReplayError
            The chain lacks a model or a fitted step, or a step or the model returns another number of rows than it was
            given; `ChainInputError` where an object refuses X, or X lacks columns of training.
        ArtifactLoadError
            An artifact's file is missing, damaged, or cannot be loaded here.
        """
        y: npt.NDArray[Any] = self._fitted(chain_id, folds).predict(X, wavelengths, resample=resample)
        return y

    def predict_table(
        self,
        chain_id: str,
        data: Any,
        *,
        keep: str = "ids",
        resample: bool = False,
        folds: str | None = None,
        average: str | None = None,
        interval: float | None = None,
    ) -> PredictionTable:
        """Predict each row of a table of new spectra, and say how good that is where the references are known.

        Parameters
        ----------
        chain_id : str
        data : path-like or frame
            A file of spectra, or a pandas or polars frame. Rows with a missing value are predicted if the chain can.
        keep : str
            Which columns of the data stand before the predictions. `ids`: those that are no spectra, such as the names
            of samples and metadata. `all`: the spectra that predict, too. `none`: none of them.
        resample, folds
            As for `replay_chain`.
        average : str, optional
            The column of the data that says of which sample each row is a scan; `sample` may also stand for the one
            that did so in training. What the scans of a sample say together
            stands beside what each says: the mean, of classes the most frequent one.
        interval : float, optional
            As for `predict_frame`; the bounds are called `protein_lower` and `protein_upper`.

        Returns
        -------
        PredictionTable
            `frame`: for each row of the data the columns that are kept, and the prediction of each target, as
            `protein_predicted`. If the data have a column with the name of a target, its values are references:
            `scores` has how good the predictions of this target are, by its name, and `worst` the largest errors;
            `scores_by_sample` how good the averages are.

        Raises
        ------
        NotFoundError, ChainReplayError, ArtifactLoadError
            As for `replay_chain`.
        InvalidInputError
            The data cannot be read, lack columns of training, or have a missing value in each row; `keep` is none of
            these; the chain has no such folds; it has no intervals (the message says why).
        """
        from .chains import predict_table, with_word_of_calibration

        fitted, intervals = self._fitted(chain_id, folds), self._intervals(chain_id, interval)
        found = predict_table(fitted, data, keep=keep, resample=resample, average=average, intervals=intervals)
        if not found.scores:
            return found
        with self._reading() as uow:
            return with_word_of_calibration(found, uow.predictions.of_chain(chain_id))

    def chain_samples(self, chain_id: str, partition: str | None = None, *, average: str | None = None) -> pl.DataFrame:
        """Return the stored predictions of a chain by sample: one frame, a row for each sample of each prediction.

        Parameters
        ----------
        chain_id : str
        partition : str, optional
            `train`, `val` or `test`; by default all of them.
        average : str, optional
            `sample`, where the rows are scans of samples whose names are known, or another column that says which rows
            belong together: what the scans of a sample say together stands beside what each says.

        Returns
        -------
        polars.DataFrame
            `row` is the sample's row in the dataset as it was given (the first is 0), null where it was not stored.
            Then what is known of it: `sample` (its name), `group`, and the metadata. `fold_id`, `repeat` and
            `partition` say which prediction it is; `fold_id="avg"` has those of all folds together, of a repeated
            cross-validation the means over its repeats, which look better than those of any. Then for each
            target the reference, the prediction, and for classes the probabilities: `protein`, `protein_predicted`;
            `grade`, `grade_predicted`, `grade_probability_high`. A target without a name has `y_true`, `y_pred` and
            `probability_high`; several have `y1`, `y1_predicted`, and so on. `weight` is there if samples had weights.
            Averages are called `protein_predicted_by_sample`; `n_scans` counts what is averaged.

        Raises
        ------
        NotFoundError
            There is no such chain.
        InvalidInputError
            There is no such column to average by.
        """
        from .chains import sample_frame

        return sample_frame(*self._predictions_of(chain_id, partition), average)

    def chain_scores(self, chain_id: str, partition: str | None = None, *, average: str | None = None) -> pl.DataFrame:
        """Return the scores of a chain's stored predictions, made anew of the arrays: by scan, and by sample.

        Parameters and errors are those of `chain_samples`.

        Returns
        -------
        polars.DataFrame
            A row for each prediction (`fold_id`, `repeat`, `partition`) and `target`, where `by` is `scan`; if they
            are averaged another one, where `by` is the column. `n` counts scans or samples; then `rmse` and the others,
            see `docs/how-numbers-are-made.md`. Of a repeated cross-validation, `avg` has the mean of the repeats' own
            (`rmse_sd` is their standard deviation): the mean over the repeats' predictions would look better. Weights
            of samples count if they do in the stored scores (`weighted_scores`).
        """
        from .chains import score_frame

        predictions, targets, samples = self._predictions_of(chain_id, partition)
        with self._reading() as uow:
            weighted = bool(predictions) and uow.runs.has_weighted_scores(predictions[0]["pipeline_id"])
        return score_frame(predictions, targets, samples, average, weighted=weighted)

    def _predictions_of(
        self, chain_id: str, partition: str | None
    ) -> tuple[list[Row], list[str] | None, pl.DataFrame | None]:
        """Return the predictions of a chain with arrays, the names of its targets, and what is known of its samples."""
        from .chains import TrainedOn

        with self._reading() as uow:
            chain, predictions, artifact_id = stored_predictions(uow, chain_id, partition)
        samples = None if artifact_id is None else self.load_artifact(artifact_id)
        return predictions, TrainedOn.of(chain).target_names, samples

    def predict_frame(
        self,
        chain_id: str,
        X: Any,
        wavelengths: Any = None,
        *,
        spread: bool = False,
        resample: bool = False,
        interval: float | None = None,
    ) -> pl.DataFrame:
        """Predict with a stored chain, and say of each sample how far its prediction can be believed.

        Parameters
        ----------
        chain_id, X, wavelengths, resample
            As for `replay_chain`.
        spread : bool
            Let the models of all folds predict, too, and give the standard deviation of what they say. Where they
            predict together, that is given anyway.
        interval : float, optional
            Give the bounds of an interval that is to cover this share of new samples of the same population, such as
            0.9: by CV+ (Barber et al. 2021) from the chain's stored predictions of the samples that its folds held
            out, one score a group. For 0.9 it covers usually 90 %, and at least 80 %; see docs/decisions/0028. Of one
            split into calibration and validation it is split conformal.

        Returns
        -------
        polars.DataFrame
            A row for each sample. `predicted` and `spread`, in the unit of y, with a number behind for each of several
            targets, and so the bounds of the interval, `lower` and `upper`. `leverage`, if the model is a PLS; of folds
            that predict together that in the first. If the chain knows what its calibration covers: Hotelling's `t2`
            and the residual `q` of what the model sees, `outside_envelope`, at how many of its columns that is below
            the least or above the greatest value of the calibration, and `outside_x`, whether T² or Q is beyond its
            limit, as by chance 2 % of spectra like those of the calibration are. `outside_y`, for numbers: whether the
            prediction is outside the calibration's range, of several targets whether one of them is. Without T² and Q
            nothing tells which spectra are unlike. See docs/decisions/0026.

        Raises
        ------
        StoreError
            As for `replay_chain`.
        InvalidInputError
            There are no such intervals: the chain predicts classes; the models of its folds or the arrays of their
            predictions are not kept; its folds do not hold out each sample once, as those of time series do not, or
            they part a group.
        """
        intervals = self._intervals(chain_id, interval)
        frame = self._fitted(chain_id, None).predict_frame(X, wavelengths, resample=resample)
        if spread and not any(name.startswith("spread") for name in frame.columns):
            of_folds = self._fitted(chain_id, "mean").predict_frame(X, wavelengths, resample=resample)
            frame = frame.with_columns(of_folds.select(selectors.starts_with("spread")))
        return frame if intervals is None else intervals.beside(frame, X, wavelengths, resample=resample)

    def _intervals(self, chain_id: str, level: float | None) -> FoldIntervals | None:
        """Return what makes intervals of a level around the predictions of a chain; None if none are asked for."""
        from .chains import intervals_of

        if level is None:
            return None
        folds = self._fitted(chain_id, "mean")
        if folds.residuals is None:
            folds = replace(folds, residuals=self._residuals_of(chain_id))
        return intervals_of(folds, level)

    def _residuals_of(self, chain_id: str) -> Row:
        """Return how wrong the folds of a chain were for the samples that each held out, if that has a meaning."""
        from .chains import held_out_residuals

        predictions, _, samples = self._predictions_of(chain_id, None)
        return held_out_residuals(f"chain {chain_id}", predictions, samples)

    def _fitted(self, chain_id: str, folds: str | None) -> FittedChain:
        """Return a chain's fitted objects, those that were kept if there are such."""
        epoch = self._workspace.epoch
        name = checked_text(chain_id, "chain_id"), None if folds is None else checked_text(folds, "folds")
        fitted = self._here.loader.kept(name, epoch)
        if fitted is None:
            chain, artifacts = self._chain_and_artifacts(chain_id)
            fitted = self._here.loader.fitted(chain, artifacts, fresh=False, folds=folds)
            self._here.loader.keep(fitted, name, epoch, chain, artifacts)
        return fitted

    def load_chain(self, chain_id: str, folds: str | None = None) -> ChainRegressor | ChainClassifier:
        """Return a stored chain as a fitted scikit-learn estimator that no longer needs the workspace.

        Parameters and errors are those of `replay_chain`: the estimator has the models of those folds that predict.
        """
        from .chains import as_estimator

        chain, artifacts = self._chain_and_artifacts(chain_id)
        return as_estimator(self._here.loader.fitted(chain, artifacts, fresh=True, folds=folds))

    def _chain_and_artifacts(self, chain_id: str) -> tuple[Row, dict[str, Row]]:
        with self._reading() as uow:
            chain = uow.chains.get(chain_id)
            if chain is None:
                raise NotFoundError(f"there is no chain {chain_id!r}; see get_chains_for_pipeline()")
            if not artifact_ids(chain):
                chain["refits"] = uow.chains.refits_of(chain_id)
            return chain, uow.artifacts.get_many(artifact_ids(chain))

    # -- predictions --------------------------------------------------------------------------

    def save_prediction(
        self,
        pipeline_id: str,
        chain_id: str | None,
        dataset_name: str,
        model_name: str,
        model_class: str,
        fold_id: str,
        partition: str,
        val_score: float | None,
        test_score: float | None,
        train_score: float | None,
        metric: str,
        task_type: str,
        n_samples: int | None,
        n_features: int | None,
        scores: Mapping[str, Any] | None,
        best_params: Mapping[str, Any] | None,
        branch_id: int | None,
        branch_name: str | None,
        exclusion_count: int | None,
        exclusion_rate: float | None,
        preprocessings: str | None = "",
        prediction_id: str | None = None,
        refit_context: str | None = None,
        repeat: int | None = None,
    ) -> str:
        """Save the scores of one model on one partition of one fold.

        Parameters
        ----------
        pipeline_id : str
        chain_id : str or None
        dataset_name, model_name, model_class : str
        fold_id, partition : str
            Such as `"0"` or `"avg"`, and `"train"`, `"val"` or `"test"`.
        val_score, test_score, train_score : float or None
            Values of `metric`.
        metric, task_type : str
            Such as `"rmse"` and `"regression"`.
        n_samples, n_features : int or None
        scores : dict
            All scores, by partition and metric.
        best_params : dict
        branch_id, branch_name : int, str, or None
        exclusion_count, exclusion_rate : int, float, or None
            How many samples were left out, and which share of all.
        preprocessings : str
        prediction_id : str, optional
            An id of your own; by default a new one is made.
        refit_context : str, optional
            The kind of final refit that the model comes from; None for a model of a fold.
        repeat : int, optional
            The repeat of a repeated cross-validation that the fold belongs to, counted from 0. By default there is one
            only, or it is not known.

        Returns
        -------
        str
            The prediction's id.

        Raises
        ------
        NotFoundError
            The pipeline or the chain does not exist.
        DuplicateError
            There is a prediction with this id.
        InvalidInputError
            A value cannot be stored.
        """
        record = PredictionRecord(
            prediction_id=prediction_id,
            pipeline_id=pipeline_id,
            chain_id=chain_id,
            dataset_name=dataset_name,
            model_name=model_name,
            model_class=model_class,
            fold_id=fold_id,
            partition=partition,
            val_score=val_score,
            test_score=test_score,
            train_score=train_score,
            metric=metric,
            task_type=task_type,
            n_samples=n_samples,
            n_features=n_features,
            scores=scores,
            best_params=best_params,
            preprocessings=preprocessings,
            branch_id=branch_id,
            branch_name=branch_name,
            exclusion_count=exclusion_count,
            exclusion_rate=exclusion_rate,
            refit_context=refit_context,
            repeat=repeat,
        )
        with self._writing() as uow:
            return uow.predictions.add(record)

    def save_prediction_arrays(
        self,
        prediction_id: str,
        y_true: Any,
        y_pred: Any,
        y_proba: Any = None,
        sample_indices: Any = None,
        weights: Any = None,
        classes: Any = None,
    ) -> None:
        """Save the arrays of a prediction; they replace those that it has.

        What comes back equals what went in: values, shape and dtype.

        Parameters
        ----------
        prediction_id : str
        y_true, y_pred : array of shape (n_samples,) or (n_samples, n_targets), or None
        y_proba : array of shape (n_samples, n_classes), optional
            For several targets or labels: a list with such an array for each, or one array of up to three dimensions,
            as the model's `predict_proba` returns it.
        sample_indices : array of shape (n_samples,), optional
        weights : array, optional
            One per sample, or one per fold of the prediction's chain.
        classes : list, or list of lists for several targets, optional
            What the columns of `y_proba` are called: the classes, in order.

        Raises
        ------
        NotFoundError
            The prediction does not exist.
        InvalidInputError
            The arrays differ in length, are ragged, or hold objects other than numbers, bools and text.
        """
        with self._writing() as uow:
            uow.predictions.add_arrays(prediction_id, y_true, y_pred, y_proba, sample_indices, weights, classes)

    def save_predictions(self, pipeline_id: str, records: Iterable[Mapping[str, Any]] | pl.DataFrame) -> list[str]:
        """Save many predictions of one pipeline with their arrays, all of them or none.

        Parameters
        ----------
        pipeline_id : str
        records : iterable of dict, or polars.DataFrame
            Each with the parameters of `save_prediction` and `save_prediction_arrays` by name; what is left out is
            None. In a frame, arrays are columns of lists, and `scores` and `best_params` JSON text or structs.

        Returns
        -------
        list of str
            The predictions' ids, in order.

        Raises
        ------
        NotFoundError, DuplicateError, InvalidInputError
            As for `save_prediction` and `save_prediction_arrays`; the message begins with the number of the record,
            counted from 0.
        """
        with self._writing() as uow:
            return uow.predictions.add_many(pipeline_id, records)

    def get_prediction(self, prediction_id: str, load_arrays: bool = False) -> Row | None:
        """Return a prediction with its JSON decoded, or None.

        With `load_arrays` also `y_true, y_pred, y_proba, sample_indices, weights, classes`; None for each that was not
        saved.
        """
        with self._reading() as uow:
            return uow.predictions.get(prediction_id, load_arrays)

    def query_predictions(
        self,
        dataset_name: str | Iterable[str] | None = None,
        model_class: str | Iterable[str] | None = None,
        partition: str | Iterable[str] | None = None,
        fold_id: str | Iterable[str] | None = None,
        branch_id: int | Iterable[int] | None = None,
        pipeline_id: str | Iterable[str] | None = None,
        run_id: str | Iterable[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
        *,
        chain_id: str | Iterable[str] | None = None,
        metric: str | Iterable[str] | None = None,
        task_type: str | Iterable[str] | None = None,
        refit_context: str | Iterable[str] | None = None,
        model_name: str | Iterable[str] | None = None,
        preprocessings: str | Iterable[str] | None = None,
        dataset_id: str | Iterable[str] | None = None,
    ) -> pl.DataFrame:
        """Return the predictions that match every given filter, oldest first.

        Parameters
        ----------
        model_class : str or list of str, optional
            May hold `%` (any text) and `_` (any character), as in SQL's LIKE.
        dataset_name, partition, fold_id, branch_id, pipeline_id, run_id : one value or a list of values, optional
        chain_id, metric, task_type, refit_context, model_name, preprocessings, dataset_id : str or list, optional
            Match exactly; of several values, one must match.
        limit, offset : int
            How many rows, after how many.
        """
        with self._reading() as uow:
            return uow.predictions.query(
                limit,
                offset,
                dataset_name=dataset_name,
                model_class=model_class,
                partition=partition,
                fold_id=fold_id,
                branch_id=branch_id,
                pipeline_id=pipeline_id,
                run_id=run_id,
                chain_id=chain_id,
                metric=metric,
                task_type=task_type,
                refit_context=refit_context,
                model_name=model_name,
                preprocessings=preprocessings,
                dataset_id=dataset_id,
            )

    def top_predictions(
        self,
        n: int,
        metric: str = "val_score",
        ascending: bool | None = None,
        partition: str | None = "val",
        dataset_name: str | None = None,
        group_by: str | None = None,
        *,
        score_metric: str | None = None,
        task_type: str | None = None,
        run_id: str | None = None,
        fold_id: str | Sequence[str] | None = None,
        target: str | None = None,
        once: bool = False,
    ) -> pl.DataFrame:
        """Return the best predictions, best first; rows without a score are never ranked, NaN comes last.

        What was judged by other data, folds, tasks or metrics is ranked apart: such rows follow one another, those of
        the newest first, and `rank` begins anew. With `ascending`, tasks and metrics are ranked together.

        Parameters
        ----------
        n : int
            How many rows; per group with `group_by`, and of each ranking if there are several.
        metric : str
            The score to rank by: `val_score`, `test_score` or `train_score`, as the rows have them. Or the name of a
            metric, which ranks each row by that score of its own partition: `rmse`, `mae`, `r2`, `bias` (nearest to 0),
            `sep`, `rpd`, `rpiq`, `slope` (nearest to 1); `accuracy`, `balanced_accuracy`, `f1`, `mcc`, `roc_auc`,
            `log_loss`. It is computed from the stored arrays where the workspace does not know how a stored score was
            made. Or `rmsec`, `rmsecv`, `rmsep`: the `rmse` of the partition train, val or test.
        ascending : bool, optional
            True: lower is better. By default the metric of the rows decides: lower for `rmse`, higher for `r2`.
        partition, dataset_name : str, optional
            Keep these rows.
        group_by : str, optional
            A column of the predictions.
        score_metric : str, optional
            Keep the rows that were scored by this metric, such as `"rmse"`.
        task_type, run_id : str, optional
            Keep these rows.
        fold_id : str or list of str, optional
            Keep these rows; of a list, those of the first fold that the chain has: `["final", "avg"]`.
        target : str, optional
            Rank by the scores of this target, where models predict several. By default by the mean over the targets
            of what has no unit.
        once : bool
            Of models of the same configuration that were trained several times on the same data, keep the best.

        Returns
        -------
        polars.DataFrame
            The columns of `query_predictions`, `score` (what the row was ranked by) and `rank`, from 1.

        Raises
        ------
        InvalidInputError
            `metric` is not one of these, `group_by` is not a column, nothing predicts `target`, a mean over targets
            would have no unit, or `ascending` is None and the rows have metrics that are unknown, or of which some are
            better when higher and others when lower.
        """
        with self._reading() as uow:
            return uow.predictions.top(
                n,
                metric,
                ascending,
                partition,
                dataset_name,
                group_by,
                score_metric,
                task_type,
                run_id,
                fold_id,
                target,
                once,
            )

    def delete_prediction(self, prediction_id: str) -> bool:
        """Delete a prediction and its arrays; return whether it was there."""
        with self._writing() as uow:
            uow.results.delete_of_prediction(prediction_id)
            return uow.predictions.delete(prediction_id)

    # -- results ------------------------------------------------------------------------------

    def save_result(
        self,
        kind: str,
        name: str | None,
        document: str | Mapping[str, Any] | Sequence[Any],
        *,
        run_id: str | None = None,
        pipeline_id: str | None = None,
        chain_id: str | None = None,
        prediction_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Save a document about a run, a pipeline, a chain or a prediction, such as a search of parameters.

        It is deleted with what it is about.

        Parameters
        ----------
        kind : str
            What it is, in a word: "calibration", "tuning".
        name : str or None
        document : str, or what JSON can hold
            Text is kept as it is, character by character. Other values become JSON text with sorted keys.
        run_id, pipeline_id, chain_id, prediction_id : str, optional
            What it is about.
        details : dict, optional
            More values, to find it by in `sql()`.

        Returns
        -------
        str
            Its id. The same document of the same kind, name and owner is one result.

        Raises
        ------
        NotFoundError
            A row that it is about does not exist.
        InvalidInputError
            A value cannot be stored.
        """
        links = {
            "run_id": run_id,
            "pipeline_id": pipeline_id,
            "chain_id": chain_id,
            "prediction_id": prediction_id,
        }
        with self._writing() as uow:
            return uow.results.add(kind, name, document, links, details)

    # -- artifacts ----------------------------------------------------------------------------

    def save_artifact(self, obj: Any, operator_class: str, artifact_type: str, format: str = "joblib") -> str:
        """Save a fitted object as a file; the same bytes are stored once, however often they are saved.

        Parameters
        ----------
        obj : object
        operator_class : str
            Such as `"sklearn.cross_decomposition.PLSRegression"`.
        artifact_type : str
            Such as `"model"` or `"transformer"`.
        format : str
            `joblib`, `pickle`, `cloudpickle`, `skops`, `npz` for a dict of arrays, or `parquet` for a polars frame.

        Returns
        -------
        str
            The artifact's id; the same for the same bytes in the same format.

        Raises
        ------
        InvalidInputError
            The format is unknown or cannot hold the object.
        """
        for name, value in {"operator_class": operator_class, "artifact_type": artifact_type}.items():
            checked_text(value, name)  # Before the file is made: a refused call leaves none behind.
        is_dumped = isinstance(obj, codecs.Dumped)  # By a runner, in the process that trained it.
        content = obj.content if is_dumped else codecs.dump(obj, format)
        content_hash = sha256(content)
        with self._writing() as uow:
            known = uow.artifacts.path_of(content_hash, format)
            path = uow.blobs.put(content, content_hash, codecs.codec(format).extension, known)
            provenance = None if known else obj.versions if is_dumped else codecs.versions_of(obj, format)
            return uow.artifacts.add(
                path, content_hash, operator_class, artifact_type, format, len(content), provenance
            )

    def load_artifact(self, artifact_id: str) -> Any:
        """Return a fitted object, a new one each time, after its SHA-256 was checked.

        Raises
        ------
        NotFoundError
            There is no such artifact.
        ArtifactLoadError
            Its file is missing, damaged, or cannot be loaded here.
        """
        return self._here.loader.load(self._artifact(artifact_id))

    def get_artifact_path(self, artifact_id: str) -> Path:
        """Return the path of an artifact's file; read it, but never write to it. An unknown id raises."""
        return self._workspace.blobs.path_of(self._artifact(artifact_id)["artifact_path"])

    def _artifact(self, artifact_id: str) -> Row:
        with self._reading() as uow:
            row = uow.artifacts.get(artifact_id)
        if row is None:
            raise NotFoundError(f"there is no artifact {artifact_id!r}; ids come from save_artifact()")
        return row

    def register_existing_artifact(
        self,
        artifact_id: str,
        path: str | os.PathLike[str],
        content_hash: str,
        operator_class: str,
        artifact_type: str,
        format: str,
        size_bytes: int | None,
    ) -> str:
        """Make an artifact of a file that is already below `artifacts/`, with an id of your own.

        A file that came with a bundle is trusted no more than the bundle; see `import_bundle`.

        Parameters
        ----------
        artifact_id : str
            If there is an artifact with this id, nothing is changed.
        path : path-like
            Absolute, or relative to `artifacts/`.
        content_hash : str
            The SHA-256 of the file; a leading `sha256:` is accepted.
        operator_class, artifact_type, format : str
            As for `save_artifact`.
        size_bytes : int

        Raises
        ------
        InvalidInputError
            The path is not a file below `artifacts/`, the hash is not a SHA-256, or the format is unknown.
        ArtifactCorruptError
            The file has another SHA-256.
        """
        codecs.codec(format)
        content_hash, path = checked_hash(content_hash), checked_path(path, "path")
        with self._writing() as uow:
            if uow.artifacts.get(artifact_id) is not None:  # Its file may have moved since.
                return artifact_id
            relative = uow.blobs.name_of(path)
            uow.blobs.read(relative, content_hash)
            return uow.artifacts.adopt(
                artifact_id, relative, content_hash, operator_class, artifact_type, format, size_bytes
            )

    def gc_artifacts(self, *, grace: timedelta = timedelta(days=1)) -> int:
        """Remove artifacts that nothing needs, and never one that a stored chain or a dataset names.

        A dataset that no pipeline was trained on is removed with its files once it is as old as `grace`.
        If the row of a chain is damaged, every id that occurs in its text counts as named.

        Parameters
        ----------
        grace : timedelta
            How old an artifact must be that no chain has named yet, or a file without a row. The time by which the
            clock was put forward since the machine was started is added; with 0 no clock is looked at.

        Returns
        -------
        int
            How many files were removed.
        """
        with self._writing() as uow:
            return deletion.collect(uow, grace)

    def plan_gc(self, *, grace: timedelta = timedelta(days=1)) -> pl.DataFrame:
        """Return what `gc_artifacts(grace=grace)` would remove, and remove nothing.

        Returns
        -------
        polars.DataFrame
            One row for each file: `path` below `artifacts/`, `artifact_id` (null for a file that no artifact names),
            `size_bytes`, `reason`.
        """
        with self._reading() as uow:
            return deletion.plan_collection(uow, grace)

    # -- logs ---------------------------------------------------------------------------------

    def log_step(
        self,
        pipeline_id: str,
        step_idx: int,
        operator_class: str | None,
        event: str,
        duration_ms: float | None = None,
        message: str | None = None,
        details: Any = None,
        level: str = "info",
    ) -> None:
        """Log one event of one step of a pipeline.

        Parameters
        ----------
        pipeline_id : str
        step_idx : int
        operator_class : str or None
        event : str
            Such as `"start"`, `"end"`, `"output"`.
        duration_ms : float, optional
            Milliseconds; whole ones are kept.
        message : str, optional
        details : JSON value, optional
        level : str
            `info`, `warning` or `error`.

        Raises
        ------
        NotFoundError
            There is no such pipeline.
        """
        record = LogRecord(
            pipeline_id=pipeline_id,
            step_idx=step_idx,
            operator_class=operator_class,
            event=event,
            duration_ms=duration_ms,
            message=message,
            details=details,
            level=level,
        )
        with self._writing() as uow:
            uow.runs.add_log(record)

    def get_pipeline_log(self, pipeline_id: str) -> pl.DataFrame:
        """Return a pipeline's events, by step and time."""
        with self._reading() as uow:
            return uow.runs.pipeline_log(pipeline_id)

    def get_run_log_summary(self, run_id: str) -> pl.DataFrame:
        """Return one row per pipeline of a run.

        Columns: `pipeline_id, pipeline_name, pipeline_status, log_count, total_duration_ms` (of `end`
        events, milliseconds)`, warning_count, error_count`.
        """
        with self._reading() as uow:
            return uow.runs.log_summary(run_id)

    # -- export -------------------------------------------------------------------------------

    def export_chain(self, chain_id: str, output_path: str | os.PathLike[str], format: str = "n4a") -> Path:
        """Write a chain and all it needs to one file.

        Parameters
        ----------
        chain_id : str
        output_path : path-like
            The extension is appended when missing; missing folders are created.
        format : str
            `n4a`: a ZIP for `load_bundle`. `n4a.py`: a script that predicts from a CSV or NPY.

        Returns
        -------
        Path
            The file, whole and on the disk.

        Raises
        ------
        NotFoundError
            There is no such chain.
        ArtifactLoadError
            An artifact's file is missing or damaged.
        UntrustedArtifactError
            The format is `n4a.py`, which unpickles, and the chain was imported and is not trusted.
        InvalidInputError
            An object's class is defined in a script, or in a module beside one, and was saved by its name only: the
            export could not be loaded anywhere else.
        OutputPathError
            The path cannot be written to.
        """
        from .exchange import FORMATS, ExportedChain, check_loads_elsewhere

        format = checked_text(format, "format")
        if format not in FORMATS:
            raise InvalidInputError(f"format {format!r} is unknown; use one of {', '.join(FORMATS)}")
        path = self._output(output_path, f".{format}")
        chain, artifacts = self._chain_and_artifacts(chain_id)
        missing = [item for item in artifact_ids(chain) if item not in artifacts]
        if missing:
            raise NotFoundError(f"chain {chain_id} names artifacts that are not registered: {missing}")
        contents = {
            row["content_hash"]: self._workspace.blobs.read(row["artifact_path"], row["content_hash"])
            for row in artifacts.values()
        }
        check_loads_elsewhere(list(artifacts.values()), contents)
        with self._reading() as uow:
            results = {
                "pipeline": uow.runs.get_pipeline(chain["pipeline_id"]),
                "predictions": uow.predictions.of_chain(chain_id),
            }
        residuals = partial(self._residuals_of, chain_id)
        return FORMATS[format](ExportedChain(chain, list(artifacts.values()), contents, results, residuals), path)

    def import_bundle(self, path: str | os.PathLike[str], trusted: Any = False) -> ImportedBundle:
        """Bring a `.n4a` into the workspace as a run of its own, with its pipeline, chain, scores and objects.

        It ranks, replays and exports like any other. Importing it again adds nothing, unless its chain was changed or
        deleted here.

        Parameters
        ----------
        path : path-like
            Written by this package, or by nirs4all 0.7 to 1.4.
        trusted : bool or list of types
            Unpickling runs code that the file names. True: you trust whoever made the file. A list of types, or of
            their full names: its objects may import these and nothing else. False: its objects are stored, and not
            loaded until `trust_chain` allows it; types that skops trusts by itself need nothing. Trust that was given
            to the same objects before is kept: True stays True, and lists are joined. `trust_chain` takes it back.

        Returns
        -------
        ImportedBundle
            The ids, whether anything was added, and whether the file had hashes.

        Raises
        ------
        BundleError
            The file is not a bundle, is damaged, has a newer format, or contains something that a bundle does not.
            Nothing was imported.
        """
        from .exchange import import_bundle, read_bundle

        self._workspace.check_writable(read_only=self._read_only)
        trust = codecs.checked_trust(trusted)
        bundle = read_bundle(checked_path(path, "path"))
        with self._writing() as uow:
            return import_bundle(uow, bundle, trust)

    def import_workspace(
        self,
        path: str | os.PathLike[str],
        *,
        trusted: Any = False,
        spectra: Mapping[str, Any] | None = None,
        timezone: str | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> ImportReport:
        """Bring a workspace of nirs4all 0.8 to 1.4 into this one: each of its runs becomes a run here.

        Ids of runs, pipelines, chains and predictions are kept, so that importing again adds only what is new. Each
        run is one transaction. The source is only read.

        Parameters
        ----------
        path : path-like
            The folder that nirs4all calls its workspace. One of 0.7 is upgraded instead; see `upgrade_workspace`.
        trusted : bool or list of types
            Whether fitted objects may be loaded, as for `import_bundle`. `verify` takes it, too, later.
        spectra : dict, optional
            For each dataset (by its name, its hash, or the id of a run) an array of shape (n_samples, n_features), a
            file, or a list of these, one below the other: the calibration first, then the test set, as nirs4all
            counts samples. With `trusted`, each chain is compared with what its training stored.
        timezone : str, optional
            Where the computer stood on which nirs4all 0.8 wrote local times, as "Europe/Paris"; by default here.
        dry_run : bool
            Tell what would come, and change nothing.
        progress : callable, optional
            Is told what is done, how many runs are done, and of how many.

        Returns
        -------
        ImportReport
            Rows by table, what is known of each chain's replay, and what has not come along.

        Raises
        ------
        WorkspaceNotFoundError
            There is no database of nirs4all.
        InvalidInputError
            It is a workspace of this package, or of nirs4all 0.7, or there is no such time zone.
        WorkspaceCorruptError
            Its database or a file of arrays cannot be read.
        """
        from .exchange import import_workspace

        self._workspace.check_writable(read_only=self._read_only)
        start = partial(
            import_workspace,
            path=checked_path(path, "path"),
            target=self._workspace.blobs.folder and self._workspace.blobs.folder.parent,
            trust=codecs.checked_trust(trusted),
            spectra=spectra or {},
            timezone=timezone,
            dry_run=dry_run,
            progress=progress or (lambda what, done, total: None),
        )
        if not dry_run:
            return start(self._writing)
        with self.unit_of_work() as uow:  # Without a commit nothing of it is kept.
            return start(lambda: nullcontext(uow))

    def verify(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        trusted: Any = False,
        spectra: Mapping[str, Any] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> VerifyReport:
        """Compare what chains predict with what their training stored, and keep what is found with each chain.

        It checks what `import_workspace` could not, for want of trust, spectra or packages; and it tells of any chain
        whether it still predicts what it did, as after an upgrade of scikit-learn. Each chain is one transaction. What
        cannot be compared this time changes nothing that was found before.

        Parameters
        ----------
        ids : str or iterable of str, optional
            Chains, or runs: all their chains. By default those that `import_workspace` brought and that are not
            verified.
        trusted : bool or list of types
            What imported objects may import when they are loaded, as for `import_bundle`, from now on. False: what was
            trusted before is loaded.
        spectra : dict, optional
            As for `import_workspace`. A dataset that was trained on here needs none: its spectra are those that the
            workspace keeps; see `attach_dataset`.
        progress : callable, optional
            Is told what is done, how many chains are done, and of how many.

        Returns
        -------
        VerifyReport
            What was found of each chain, and whether none has changed what it predicts.

        Raises
        ------
        NotFoundError
            There is no such chain or run.
        InvalidInputError
            The spectra are no arrays or files of one width.
        """
        from .exchange import verify

        self._workspace.check_writable(read_only=self._read_only)
        wanted = None if ids is None else checked_texts([ids] if isinstance(ids, str) else ids, "ids")
        return verify(
            self._writing,
            wanted,
            codecs.checked_trust(trusted),
            spectra or {},
            progress or (lambda what, done, total: None),
        )

    def trust_chain(self, chain_id: str, trusted: Any) -> None:
        """Set what the imported objects of a chain may import when they are loaded.

        Parameters
        ----------
        chain_id : str
        trusted : bool or list of types
            As for `import_bundle`. It replaces what was set before, also for other chains that share the objects.
            Objects that this workspace saved itself are not affected.

        Raises
        ------
        NotFoundError
            There is no such chain.
        """
        trust = codecs.checked_trust(trusted)
        with self._writing() as uow:
            if uow.chains.get(chain_id) is None:
                raise NotFoundError(f"there is no chain {chain_id!r}; see get_chains_for_pipeline()")
            uow.artifacts.trust(uow.chains.artifact_ids(chain_id), trust)
        self._workspace.cache.invalidate()

    def export_pipeline_config(self, pipeline_id: str, output_path: str | os.PathLike[str]) -> Path:
        """Write a pipeline's expanded configuration as JSON; an unknown id raises `NotFoundError`.

        JSON has no NaN and no infinities: they are written as `{"_float_": "nan"}`, `"inf"` or `"-inf"`, which
        `PipelineRunner.run`, the library and the command line read back.
        """
        path = self._output(output_path, ".json")
        pipeline = self.get_pipeline(pipeline_id)
        if pipeline is None:
            raise NotFoundError(f"there is no pipeline {pipeline_id!r}; see list_pipelines()")
        return write_atomic(path, file_text(pipeline["expanded_config"]).encode())

    def export_run(self, run_id: str, output_path: str | os.PathLike[str]) -> Path:
        """Write a run with its pipelines and chains as YAML; an unknown id raises `NotFoundError`."""
        from .exchange import to_yaml

        path = self._output(output_path, ".yaml")
        with self._reading() as uow:
            run = uow.runs.get(run_id)
            if run is None:
                raise NotFoundError(f"there is no run {run_id!r}; see list_runs()")
            del run["owner"]  # Which machine it was says nothing elsewhere.
            pipelines, chains = uow.runs.pipelines_of(run_id), uow.chains.of_run(run_id)
        # `run_id` and `pipelines` are where readers of nirs4all 0.7's files look for them.
        told = {"run_id": run_id, "run": run, "pipelines": pipelines, "chains": chains}
        return write_atomic(path, to_yaml(told).encode())

    def export_predictions_parquet(self, output_path: str | os.PathLike[str], **filters: Any) -> Path:
        """Write the rows of `query_predictions(**filters)` as Parquet; another filter raises `InvalidTypeError`."""
        path = self._output(output_path, ".parquet")
        known = [name for name in signature(WorkspaceStore.query_predictions).parameters if name != "self"]
        unknown = [name for name in filters if name not in known]
        if unknown:
            raise InvalidTypeError(f"there is no filter {', '.join(unknown)}; use some of {', '.join(known)}")
        with self._reading() as uow, atomic_write(path) as temporary:
            uow.predictions.write_parquet(temporary, **filters)
        return path

    def _output(self, path: str | os.PathLike[str], suffix: str) -> Path:
        """Return where to write: with its extension, and not below `artifacts/`."""
        return self._workspace.blobs.refuse_inside(with_suffix_added(path, suffix))

    # -- queries ------------------------------------------------------------------------------

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        max_rows: int = 1_000_000,
        max_bytes: int = 500_000_000,
        timeout: float = 60.0,
    ) -> pl.DataFrame:
        """Run one SELECT of your own over the tables, on what is committed; nothing can be changed.

        A query that only compares, calculates, groups, sorts, and joins by numbers and names, runs in this process
        within 400 MB. A query with anything else (windows, lists, patterns, PIVOT, most functions) runs in a process of
        its own, on a copy of the tables that it names; that takes up to a second and the time to copy them. DuckDB
        cannot interrupt all of its functions, but a process can be killed.

        Parameters
        ----------
        query : str
            One SELECT in DuckDB's dialect. It does not see what an open `transaction()` has not committed.
        params : list or dict, optional
            The values of `?`, or of `$name`: plain values, numpy's scalars and arrays, lists and dicts of them.
        max_rows, max_bytes : int
            More rows, or more bytes in memory, are an error.
        timeout : float
            Seconds after which it is stopped; infinity: never. Ctrl-C, and an exception that a signal handler raises,
            stops it at once.

        Returns
        -------
        polars.DataFrame
            A second column with the same name is `name_1`. Sums of integers are `Int64`, or `Int128` where one does not
            fit.

        Raises
        ------
        QueryError
            It is not one SELECT, does more than read tables, fails, returns more than the limits, needs more than a
            gigabyte, or returns a value that Python cannot represent (the time 24:00:00).
        QueryTimeoutError
            It took longer than `timeout`.
        """
        with self._reading():
            question = Question(query, params, max_rows, max_bytes, timeout, Base.metadata)
            answer = self._workspace.database.ask(question)
        with closing(answer):
            return answer.result()

    # -- upkeep -------------------------------------------------------------------------------

    def find_ids(self, beginning: str) -> list[tuple[str, str]]:
        """Return the table and the whole id of everything whose id begins with a text.

        Parameters
        ----------
        beginning : str
            The first characters of the id of a run, dataset, pipeline, chain, prediction or artifact. A whole id finds
            only itself.

        Returns
        -------
        list of (str, str)
            As `("runs", "01a2...")`, in the order of their ids.
        """
        found = self.find(beginning).select("kind", "id").rows()
        return sorted((row for row in found if row[1].startswith(beginning)), key=lambda row: (row[1], row[0]))

    def find(self, text: str) -> pl.DataFrame:
        """Return everything whose id begins or ends with a text, and the runs and datasets of this name.

        Parameters
        ----------
        text : str
            Some first or last characters of the id of a run, dataset, pipeline, chain, prediction or artifact; a
            name. A whole id finds only itself.

        Returns
        -------
        polars.DataFrame
            Newest first: `kind` (as "runs"), `id`, `name` (of a chain its model) and `created_at`.
        """
        with self._reading() as uow:
            return uow.ids.find(text)

    def shorten_ids(self, ids: Iterable[str], least: int = 8) -> dict[str, str]:
        """Return for each id its shortest ending that no other id of its kind has.

        The first characters of an id are the time at which it was made, the last ones are random.

        Parameters
        ----------
        ids : iterable of str
            Of runs, datasets, pipelines, chains, predictions and artifacts; others are left out.
        least : int
            How many characters it has at least.
        """
        with self._reading() as uow:
            return uow.ids.shortened(ids, least)

    def check(self, deep: bool = False) -> CheckReport:
        """Check that rows, and rows and files, belong together, and change nothing.

        It does not stop at the first fault: each is reported, with what `repair` would do about it.

        Parameters
        ----------
        deep : bool
            Also read every value, and compute the SHA-256 of every artifact.

        Returns
        -------
        CheckReport
            Its `findings` are empty if all is well. A file that no row names is reported once it is a day old.
        """
        from .workspace import check

        with self._looking("check()") as uow:
            return check.check(uow, deep=deep)

    def _looking(self, call: str) -> UnitOfWork:
        """Give a unit of work of its own to look at everything: while nothing changes, where that can be had."""
        if self._workspace.current is not None:
            raise UnitOfWorkError(f"{call} cannot be called inside a unit of work or transaction(); leave it first")
        write = not (self._read_only or self._workspace.read_only)
        return UnitOfWork(self._workspace, timeout=self._timeout, write=write)

    def repair(self, dry_run: bool = True, *, deep: bool = False) -> RepairReport:
        """Repair what `check` says can be repaired; no file of an artifact is deleted.

        Rows without their parent are removed, predictions whose chain is gone refer to no chain any more, reference
        counts are corrected; files that no row names, and damaged files, are moved to `artifacts/.quarantine`.

        Parameters
        ----------
        dry_run : bool
            Only report what would be done, which a store that is open for reading only can do, too.
        deep : bool
            As for `check`.

        Returns
        -------
        RepairReport
            What was done, and the faults that cannot be repaired here.
        """
        from .workspace import check, repair

        if not dry_run:
            self._workspace.check_writable(read_only=self._read_only)
        with self._looking("repair()") as uow:
            return repair.repair(uow, check.check(uow, deep=deep), dry_run=dry_run)

    def vacuum(self) -> backup.VacuumResult:
        """Rewrite the database without the space of deleted rows; other threads and processes wait meanwhile.

        Returns
        -------
        VacuumResult
            A tuple: the size of the database in bytes `before` and `after`. In memory nothing is freed, and both are
            the same: deleted rows keep their memory until the process ends.

        Raises
        ------
        UnitOfWorkError
            It is called inside `transaction()`.
        WorkspaceBusyError
            Other threads or processes used the workspace for longer than the timeout.
        """
        self._workspace.check_writable(read_only=self._read_only)
        return backup.vacuum(self._workspace, self._timeout)

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Copy the workspace, rows and artifacts as they are at one moment, to a new folder.

        Returns
        -------
        Path
            The folder; it opens as a workspace.

        Raises
        ------
        OutputPathError
            `path` exists already, lies below `artifacts/`, or cannot be written to.
        UnitOfWorkError
            It is called inside `transaction()`.
        """
        target = checked_folder(path, "path", OutputPathError)
        return backup.backup(self._workspace, target, self._timeout)


class _Opened(NamedTuple):
    """What a store has open in one process."""

    workspace: Workspace
    ticket: object
    loader: ChainLoader
