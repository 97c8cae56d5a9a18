"""The repository of what happens: how far a run is, what was logged since, and with what a chain was made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Select, bindparam, case, func, select, tuple_

from ...errors import NotFoundError
from ...identifiers import time_of, utc_now
from ...metrics import directions
from ...validation import checked_text
from ..columns import refuse_other_columns, table_of
from ..models import Log, Pipeline, Run
from ..table_gateway import Repository

RUNS, PIPELINES, LOGS = table_of(Run), table_of(Pipeline), table_of(Log)
PLANNED = "n_pipelines"
"""Under this name the configuration of a run says how many pipelines it is to have."""
ENDED = ("completed", "failed")
TRACEBACK = "Traceback (most recent call last):"
NAMES_ERROR = re.compile(r"[\w.]*(Error|Exception)(:|$)")
OF_FAILURES = {"cause": pl.String, "pipelines": pl.Int64, "pipeline_id": pl.String}


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes
    ----------
    run_id, name, status : str
    planned : int or None
        How many pipelines it is to have; None: nobody said.
    counts : dict of str to int
        How many pipelines have each status.
    failures : polars.DataFrame
        `cause` (the line of the error that says why), `pipelines` (how many failed so, whatever its numbers are) and
        `pipeline_id` (the first of them); most come first.
    seconds_left : float or None
        If the rest goes as what is done went; None where nobody can tell, 0 for a run that has ended.
    best : dict or None
        The row of `rank_chains` that is first; None where there is none, or nobody knows what is better.
    """

    run_id: str
    name: str
    status: str
    planned: int | None
    counts: dict[str, int]
    failures: pl.DataFrame
    seconds_left: float | None
    best: dict[str, Any] | None


class Progress(Repository):
    """Tells what happens, inside one unit of work that only reads."""

    def of_run(self, run_id: str, best: dict[str, Any] | None) -> RunProgress:
        """Return how far a run is; see `WorkspaceStore.run_progress`."""
        run = self._tables.row(Run, run_id)
        if run is None:
            raise _no_run(run_id)
        refuse_other_columns(RUNS, pl.DataFrame({"created_at": [run["created_at"]]}))
        of_run = PIPELINES.c.run_id == run_id
        grouped = select(PIPELINES.c.status, func.count().label("n")).where(of_run).group_by(PIPELINES.c.status)
        counts = dict(self._tables.frame(grouped).sort("status").iter_rows())
        config = run["config"] if isinstance(run["config"], dict) else {}
        planned = config.get(PLANNED)
        planned = planned if isinstance(planned, int) else None
        done = sum(counts.get(status, 0) for status in ENDED)
        left = None if planned is None or not done else max(0, planned - done)
        spent = (utc_now() - run["created_at"]).total_seconds()
        seconds = 0.0 if run["status"] != "running" else None if left is None else left * spent / done
        failures = self._failures(run_id) if "failed" in counts else pl.DataFrame(schema=OF_FAILURES)
        return RunProgress(run_id, run["name"], run["status"], planned, counts, failures, seconds, best)

    def _failures(self, run_id: str) -> pl.DataFrame:
        failed = select(PIPELINES.c.pipeline_id, PIPELINES.c.error).where(
            PIPELINES.c.run_id == run_id, PIPELINES.c.status == "failed", PIPELINES.c.error.is_not(None)
        )
        rows = self._tables.frame(failed.order_by(PIPELINES.c.created_at, PIPELINES.c.pipeline_id))
        causes = [cause_of(error) for error in rows["error"]]
        kinds = [re.sub(r"[0-9]+", "#", cause) for cause in causes]
        told = rows.select("pipeline_id").with_columns(
            cause=pl.Series(causes, dtype=pl.String), kind=pl.Series(kinds, dtype=pl.String)
        )
        found = told.group_by("kind", maintain_order=True).agg(
            pl.col("cause").first(), pl.len().cast(pl.Int64).alias("pipelines"), pl.col("pipeline_id").first()
        )
        return found.drop("kind").sort("pipelines", descending=True, maintain_order=True)

    def of_runs(self, runs: pl.DataFrame) -> pl.DataFrame:
        """Return rows of runs with what their pipelines come to; see `WorkspaceStore.run_summaries`."""
        refuse_other_columns(RUNS, runs)
        totals = self._tables.frame(_totals(), {"run_ids": runs["run_id"].to_list()})
        found = runs.join(totals, on="run_id", how="left", maintain_order="left")
        lower, higher, *_ = directions({*found["metric"]} - {None})
        value = pl.when(pl.col("metric").is_in(lower)).then("least").when(pl.col("metric").is_in(higher)).then("most")
        seconds = (pl.col("completed_at") - pl.col("created_at")).dt.total_milliseconds() / 1000
        return found.select(
            *runs.columns, pl.col("pipelines", "failed").fill_null(0), "metric", best=value, seconds=seconds
        )

    def logs_since(self, run_id: str, log_id: str | None, limit: int) -> pl.DataFrame:
        """Return log lines of a run that came after another one; see `WorkspaceStore.logs_since`."""
        run_id = checked_text(run_id, "run_id")
        query = select(LOGS, PIPELINES.c.name.label("pipeline_name")).join(
            PIPELINES, PIPELINES.c.pipeline_id == LOGS.c.pipeline_id
        )
        query = query.where(PIPELINES.c.run_id == run_id)
        if log_id is not None:
            query = query.where(*self._after(checked_text(log_id, "log_id")))
        found = self._tables.frame(query.order_by(LOGS.c.created_at, LOGS.c.log_id).limit(limit))
        if found.is_empty() and not self._tables.exists(Run, run_id):
            raise _no_run(run_id)
        return found

    def _after(self, log_id: str) -> list[ColumnElement[bool]]:
        """Return the conditions of log lines that came after one; if it is gone, after the time that its id tells."""
        last = self._tables.row(Log, log_id)
        if last is not None:
            return [tuple_(LOGS.c.created_at, LOGS.c.log_id) > tuple_(last["created_at"], log_id)]
        time = time_of(log_id)
        return [] if time is None else [LOGS.c.created_at >= time]


def _no_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"there is no run {run_id!r}; see list_runs()")


@cache
def _totals() -> Select[Any]:
    """Return the SELECT of what the pipelines of some runs come to."""
    status, best, metric = PIPELINES.c.status, PIPELINES.c.best_val, PIPELINES.c.metric
    query = select(
        PIPELINES.c.run_id,
        func.count().label("pipelines"),
        func.count().filter(status == "failed").label("failed"),
        func.min(best).label("least"),
        func.max(best).label("most"),
        case((func.min(metric) == func.max(metric), func.min(metric))).label("metric"),
    )
    of_runs = PIPELINES.c.run_id.in_(bindparam("run_ids", expanding=True))
    return query.where(of_runs).group_by(PIPELINES.c.run_id)


def cause_of(error: str) -> str:
    """Return the line of an error or a traceback that says why.

    Of a traceback it is the line that names the last exception, as `ValueError: Input X contains NaN.`: what follows is
    advice, or notes. Of any other text it is the last line that names an error, or else the last line.
    """
    # A damaged workspace may have a number in the place of an error.
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line == TRACEBACK]
    if starts:
        # The lines of calls are indented, so the first line that is not is the exception's.
        found = [place for place in range(starts[-1] + 1, len(lines)) if not lines[place][0].isspace()]
    else:
        found = [place for place, line in enumerate(lines) if NAMES_ERROR.match(line)][-1:]
    if not found:
        return lines[-1].strip() if lines else ""
    first = lines[found[0]]
    # A message may begin on the line after the name.
    return " ".join([first, *map(str.strip, lines[found[0] + 1 :][:1])]) if first.endswith(":") else first
