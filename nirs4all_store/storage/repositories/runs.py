"""The repository of runs, their pipelines, and the log lines of pipelines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Select, func, select, update

from ...errors import InvalidInputError, InvalidTypeError, RunInUseError
from ...identifiers import new_id, utc_now
from ...metrics import WEIGHTED
from ...validation import checked_float, checked_page, checked_text, checked_texts, parse_json
from ..columns import table_of
from ..models import Chain, Dataset, Log, Pipeline, Prediction, Run
from ..process_identity import is_alive, is_gone, is_same, this_process
from ..records import LogRecord
from ..table_gateway import Repository
from .datasets import DatasetRepo

RUNS, PIPELINES, LOGS = table_of(Run), table_of(Pipeline), table_of(Log)
CHAINS, PREDICTIONS = table_of(Chain), table_of(Prediction)


class RunRepo(Repository):
    """Reads and writes runs, pipelines and logs inside one unit of work."""

    def add(self, name: str, config: Any = None, datasets: Any = None, run_id: str | None = None) -> str:
        """Add a run with the status `running`, whose owner is this process; return its id.

        Parameters
        ----------
        name : str
        config : dict or None
        datasets : list of dict or None
            Each with at least a `name`. One with the `dataset_id` of a dataset is that one; others are added as
            `DatasetRepo.add_told` says.
        run_id : str, optional
            The id to use; by default a new one is made.

        Raises
        ------
        DuplicateError
            There is a run with this id.
        InvalidInputError
            A value cannot be stored.
        """
        row = {
            "run_id": run_id or new_id(),
            "name": name,
            "config": config,
            "status": "running",
            "datasets": _checked_datasets(datasets),
            "created_at": utc_now(),
            "owner": this_process(),
        }
        self._tables.add(Run, row)
        for told in row["datasets"] or []:
            known = told.get("dataset_id")
            if not (isinstance(known, str) and self._tables.exists(Dataset, known)):
                DatasetRepo(self._tables).add_told(told)
        return str(row["run_id"])

    def get(self, run_id: str) -> dict[str, Any] | None:
        """Return a run as a dict, or None if there is none with this id."""
        return self._tables.row(Run, run_id)

    def list(
        self, status: str | None = None, dataset: str | None = None, limit: int | None = 100, offset: int = 0
    ) -> pl.DataFrame:
        """Return runs as a frame, newest first; see `WorkspaceStore.list_runs`.

        Parameters
        ----------
        status : str, optional
        dataset : str, optional
            The exact name of one of a run's datasets.
        limit, offset : int
            How many runs to return at most (None: all), and how many to leave out before.
        """
        limit, offset = checked_page(limit, offset)
        query = select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
        if status is not None:
            query = query.where(RUNS.c.status == checked_text(status, "status"))
        if dataset is None:
            return self._tables.frame(query.limit(limit).offset(offset))
        dataset = checked_text(dataset, "dataset")
        frame = self._tables.frame(query)
        named = [dataset in _names(parse_json(text or "[]", "datasets")) for text in frame["datasets"].to_list()]
        return frame.filter(pl.Series(named, dtype=pl.Boolean)).slice(offset, limit)

    def complete(self, run_id: str, summary: Any = None) -> None:
        """Give a run the status `completed`."""
        run_id = self._tables.require(Run, run_id)
        self._tables.update(Run, run_id, status="completed", summary=summary, completed_at=utc_now())

    def fail(self, run_id: str, error: str) -> None:
        """Give a run and its running pipelines the status `failed`; what they saved stays."""
        run_id = self._tables.require(Run, run_id)
        error = checked_text(error, "error")
        now = utc_now()
        self._tables.update(Run, run_id, status="failed", error=error, completed_at=now)
        running = (PIPELINES.c.run_id == run_id) & (PIPELINES.c.status == "running")
        self._tables.execute(update(PIPELINES).where(running).values(status="failed", error=error, completed_at=now))

    def interrupt(self, run_id: str) -> None:
        """Give a run and its running pipelines the status `interrupted`; what they saved stays, for `resume`."""
        self._tables.update(Run, self._tables.require(Run, run_id), status="interrupted")
        self._interrupt_pipelines([run_id])

    def interrupt_lost(self) -> bool:
        """Give running runs whose process has certainly ended the status `interrupted`, and their running pipelines.

        What they saved stays. Return whether there were any. How a process is known to have ended: docs/decisions/0011.
        """
        owned = (RUNS.c.status == "running") & RUNS.c.owner.is_not(None)
        rows = self._tables.rows(select(RUNS.c.run_id, RUNS.c.owner).where(owned))
        here = this_process() if rows else {}
        lost = [row["run_id"] for row in rows if is_gone(row["owner"], here)]
        if lost:
            self._tables.execute(update(RUNS).where(RUNS.c.run_id.in_(lost)).values(status="interrupted"))
            self._interrupt_pipelines(lost)
        return bool(lost)

    def in_progress(self) -> Any:
        """Return `run_id` and `owner` of each run that another process is certainly running, as a list of dicts."""
        owned = (RUNS.c.status == "running") & RUNS.c.owner.is_not(None)
        rows = self._tables.rows(select(RUNS.c.run_id, RUNS.c.owner).where(owned))
        here = this_process() if rows else {}
        return [row for row in rows if is_alive(row["owner"], here) and not is_same(row["owner"], here)]

    def _interrupt_pipelines(self, run_ids: Sequence[str]) -> None:
        running = PIPELINES.c.run_id.in_(run_ids) & (PIPELINES.c.status == "running")
        self._tables.execute(update(PIPELINES).where(running).values(status="interrupted"))

    def resume(self, run_id: str) -> pl.DataFrame:
        """Make this process the owner of a run that is not completed; see `WorkspaceStore.resume_run`.

        Returns
        -------
        polars.DataFrame
            The run's pipelines, oldest first, with the number of their chains and predictions.

        Raises
        ------
        NotFoundError
            There is no run with this id.
        RunInUseError
            Another process is certainly running it.
        InvalidInputError
            It is completed.
        """
        (row,) = self._tables.rows_of(Run, [self._tables.require(Run, run_id)])
        here = this_process()
        if row["status"] == "completed":
            raise InvalidInputError(f"run {run_id} is completed; begin a new one with begin_run()")
        if not is_same(row["owner"], here):
            if row["status"] == "running" and is_alive(row["owner"], here):
                raise RunInUseError(
                    f"run {run_id} is being run by process {row['owner']['pid']} on {row['owner'].get('host')}; "
                    "wait for it or end it, or begin a new run with begin_run()"
                )
            self._interrupt_pipelines([run_id])
        self._tables.update(Run, run_id, status="running", error=None, completed_at=None, owner=here)
        return self._tables.frame(_with_counts(run_id))

    def delete(self, run_id: str) -> int:
        """Delete the row of a run; return how many rows there were. Its pipelines must be deleted before."""
        return self._tables.delete(Run, RUNS.c.run_id, [run_id])

    def add_pipeline(
        self,
        run_id: str,
        name: str,
        expanded_config: Any = None,
        generator_choices: Any = None,
        dataset_name: str = "",
        dataset_hash: str | None = None,
        pipeline_id: str | None = None,
        original_template: Any = None,
        judged_by: Any = None,
        dataset_id: str | None = None,
    ) -> str:
        """Add a pipeline with the status `running` to a run; return its id, which is a new one by default.

        Without `dataset_id`, it is trained on the dataset with this name and hash, which is added if it is absent.

        Raises
        ------
        NotFoundError
            There is no run, or no dataset, with this id.
        InvalidInputError
            A value cannot be stored, or there is a pipeline with this id.
        """
        run_id = self._tables.require(Run, run_id)
        if dataset_id is not None:
            dataset_id = self._tables.require(Dataset, dataset_id)
        else:
            told = dataset_hash if dataset_hash is None else checked_text(dataset_hash, "pipelines.dataset_hash")
            dataset_id = DatasetRepo(self._tables).of_name(checked_text(dataset_name, "pipelines.dataset_name"), told)
        row = {
            "pipeline_id": pipeline_id or new_id(),
            "run_id": run_id,
            "name": name,
            "expanded_config": expanded_config,
            "generator_choices": generator_choices,
            "dataset_name": dataset_name,
            "dataset_hash": dataset_hash,
            "status": "running",
            "created_at": utc_now(),
            "original_template": original_template,
            "judged_by": judged_by,
            "dataset_id": dataset_id,
        }
        self._tables.add(Pipeline, row)
        return str(row["pipeline_id"])

    def get_pipeline(self, pipeline_id: str) -> dict[str, Any] | None:
        """Return a pipeline as a dict, or None if there is none with this id."""
        return self._tables.row(Pipeline, pipeline_id)

    def get_pipelines(self, pipeline_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of these pipelines by id, as far as they exist."""
        return {row["pipeline_id"]: row for row in self._tables.rows_of(Pipeline, pipeline_ids)}

    def has_weighted_scores(self, pipeline_id: str) -> bool:
        """Tell whether the weights of samples count in the scores of a pipeline."""
        judged_by = (self.get_pipeline(pipeline_id) or {}).get("judged_by")
        return isinstance(judged_by, dict) and bool(judged_by.get(WEIGHTED))

    def list_pipelines(
        self, run_id: str | None = None, dataset_name: str | None = None, pipeline_ids: Iterable[str] | None = None
    ) -> pl.DataFrame:
        """Return the pipelines of a run, of a dataset, with some ids, or all, as a frame, newest first."""
        query = select(PIPELINES).order_by(PIPELINES.c.created_at.desc(), PIPELINES.c.pipeline_id.desc())
        if run_id is not None:
            query = query.where(PIPELINES.c.run_id == checked_text(run_id, "run_id"))
        if dataset_name is not None:
            query = query.where(PIPELINES.c.dataset_name == checked_text(dataset_name, "dataset_name"))
        if pipeline_ids is not None:
            query = query.where(PIPELINES.c.pipeline_id.in_(checked_texts(pipeline_ids, "pipeline_ids")))
        return self._tables.frame(query)

    def pipelines_of(self, run_id: str) -> Any:
        """Return the pipelines of a run as a list of dicts, oldest first."""
        order = (PIPELINES.c.created_at, PIPELINES.c.pipeline_id)
        of_run = PIPELINES.c.run_id == checked_text(run_id, "run_id")
        return self._tables.rows(select(PIPELINES).where(of_run).order_by(*order))

    def tell_judged_by(self, pipeline_id: str, judged_by: Any) -> None:
        """Store by what a pipeline was judged, which was not known when it was begun."""
        self._tables.update(Pipeline, self._tables.require(Pipeline, pipeline_id), judged_by=judged_by)

    def complete_pipeline(
        self,
        pipeline_id: str,
        best_val: float | None,
        best_test: float | None,
        metric: str | None,
        duration_ms: float | None,
    ) -> None:
        """Give a pipeline the status `completed`, its best scores, and how long it took, in milliseconds."""
        pipeline_id = self._tables.require(Pipeline, pipeline_id)
        self._tables.update(
            Pipeline,
            pipeline_id,
            status="completed",
            best_val=best_val,
            best_test=best_test,
            metric=metric,
            duration_ms=_rounded(duration_ms),
            completed_at=utc_now(),
        )

    def fail_pipeline(self, pipeline_id: str, error: str) -> None:
        """Give a pipeline the status `failed`."""
        pipeline_id = self._tables.require(Pipeline, pipeline_id)
        error = checked_text(error, "error")
        self._tables.update(Pipeline, pipeline_id, status="failed", error=error, completed_at=utc_now())

    def delete_pipeline(self, *pipeline_ids: str) -> int:
        """Delete the rows of pipelines and their log lines; return how many rows there were."""
        logs = self._tables.delete(Log, LOGS.c.pipeline_id, pipeline_ids)
        return logs + self._tables.delete(Pipeline, PIPELINES.c.pipeline_id, pipeline_ids)

    def add_log(self, record: LogRecord) -> None:
        """Add a log line: one event of one step. Its duration is rounded to milliseconds."""
        self._tables.add_new(
            Log,
            record.row()
            | {
                "log_id": new_id(),
                "pipeline_id": self._tables.require(Pipeline, record.pipeline_id),
                "duration_ms": _rounded(record.duration_ms),
                "created_at": utc_now(),
            },
        )

    def pipeline_log(self, pipeline_id: str) -> pl.DataFrame:
        """Return the log lines of a pipeline as a frame, by step and time."""
        pipeline_id = checked_text(pipeline_id, "pipeline_id")
        order = (LOGS.c.step_idx, LOGS.c.created_at, LOGS.c.log_id)
        return self._tables.frame(select(LOGS).where(LOGS.c.pipeline_id == pipeline_id).order_by(*order))

    def log_summary(self, run_id: str) -> pl.DataFrame:
        """Return a frame with one row for each pipeline of a run, oldest first: counts of log lines and durations."""
        run_id = checked_text(run_id, "run_id")
        ended = func.sum(LOGS.c.duration_ms).filter(LOGS.c.event == "end")
        count = func.count
        query = (
            select(
                PIPELINES.c.pipeline_id,
                PIPELINES.c.name.label("pipeline_name"),
                PIPELINES.c.status.label("pipeline_status"),
                count(LOGS.c.log_id).label("log_count"),
                func.coalesce(ended, 0).cast(PIPELINES.c.duration_ms.type).label("total_duration_ms"),
                count(LOGS.c.log_id).filter(LOGS.c.level == "warning").label("warning_count"),
                count(LOGS.c.log_id).filter(LOGS.c.level == "error").label("error_count"),
            )
            .select_from(PIPELINES.outerjoin(LOGS, LOGS.c.pipeline_id == PIPELINES.c.pipeline_id))
            .where(PIPELINES.c.run_id == run_id)
            .group_by(PIPELINES.c.pipeline_id, PIPELINES.c.name, PIPELINES.c.status, PIPELINES.c.created_at)
            .order_by(PIPELINES.c.created_at, PIPELINES.c.pipeline_id)
        )
        return self._tables.frame(query)


def _with_counts(run_id: str) -> Select[Any]:
    """Return the SELECT of a run's pipelines, oldest first, with the number of their chains and predictions."""
    counts = [
        select(func.count()).where(table.c.pipeline_id == PIPELINES.c.pipeline_id).scalar_subquery().label(name)
        for table, name in ((CHAINS, "chain_count"), (PREDICTIONS, "prediction_count"))
    ]
    order = (PIPELINES.c.created_at, PIPELINES.c.pipeline_id)
    return select(PIPELINES, *counts).where(PIPELINES.c.run_id == run_id).order_by(*order)


def _rounded(duration_ms: float | None) -> int | None:
    """Return a duration as whole milliseconds, as the column stores them."""
    if duration_ms is None:
        return None
    milliseconds = checked_float(duration_ms, "duration_ms")
    if not math.isfinite(milliseconds):
        raise InvalidInputError(f"duration_ms is {duration_ms}; give milliseconds, or None")
    return round(milliseconds)


def _names(datasets: Any) -> list[Any]:
    """Return the names of the datasets in a run's row, whose value may be damaged."""
    return [item.get("name") for item in datasets if isinstance(item, dict)] if isinstance(datasets, list) else []


def _checked_datasets(datasets: Any) -> Any:
    if datasets is None:
        return None
    if not isinstance(datasets, list | tuple):
        raise InvalidTypeError("datasets must be a list of dicts, each with at least 'name'")
    for position, dataset in enumerate(datasets):
        if not isinstance(dataset, dict):
            raise InvalidTypeError(f"datasets[{position}] must be a dict with at least 'name'")
        if "name" not in dataset:
            raise InvalidInputError(f"datasets[{position}] has no 'name'; add it")
        checked_text(dataset["name"], f"datasets[{position}]['name']")
    return list(datasets)
