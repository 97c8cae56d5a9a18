"""Rows as people and programs read them: which, in what order, short, decoded, in local time. No printing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from polars import selectors
from sqlalchemy import DateTime

from ..engine import Finding
from ..errors import InvalidInputError, WorkspaceCorruptError
from ..metrics import UNPREDICTED, label
from ..storage import Base, Json, cause_of
from ..store import WorkspaceStore
from ..validation import did_you_mean, parse_json, printable

if TYPE_CHECKING:
    from ..chains import PredictionTable

LONGEST_LIST = 20
LONGEST_VALUE = 60
NUMBER_OF_DIGITS = 4
COLUMNS = [column for table in Base.metadata.sorted_tables for column in table.c]
JSON_COLUMNS = {column.name for column in COLUMNS if column.type is Json}
TIMES = {column.name for column in COLUMNS if isinstance(column.type, DateTime)}
IDS = ("run_id", "dataset_id", "pipeline_id", "chain_id", "prediction_id", "artifact_id")
LISTED_RUNS = ("run_id", "name", "status", "pipelines", "failed", "best", "data", "created_at", "took")
LISTED_DATASETS = ("dataset_id", "name", "targets", "task_type", "n_samples", "n_features", "origin", "created_at")
LISTED_PIPELINES = ("pipeline_id", "name", "status", "metric", "best_val", "best_test", "duration_ms", "error")
OF_SOME_PIPELINES = ("metric", "best_val", "best_test", "duration_ms", "error")
LISTED_PREDICTIONS = ("prediction_id", "fold_id", "partition", "metric", "score", "name")
LISTED_LOG = ("step_idx", "operator_class", "event", "level", "duration_ms", "created_at", "message")
OF_A_STEP = ("step_idx", "operator_class", "duration_ms")
"""What is told of each step in a log, whatever it is."""
LISTED_TEMPLATES = ("name", "category", "description", "tags")
COLUMNS_OF_WORST = ("row", "target", "reference", "predicted", "error")
SCORES_OF_NEW = {"rmse": "RMSEP", "sep": "SEP", "bias": "bias", "slope": "slope", "r2": "R²"}
SCORES_OF_NEW |= {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "F1", "mcc": "MCC"}
"""The scores that are shown of predictions of new spectra, and what the field calls them."""
SCORES_OF_CHAINS = {
    "rmsecv": "RMSECV",
    "rmsecv_se": "standard error of RMSECV",
    "rmsecv_sd": "sd over repeats",
    "val_score": "score of cross-validation",
    "rmsep": "RMSEP",
    "rmsec": "RMSEC",
    "r2": "R²",
    "rpd": "RPD",
    "bias": "bias",
    "accuracy": "accuracy",
    "mcc": "MCC",
}
"""What is told of each chain, and what the field calls it."""
ISO = "%Y-%m-%dT%H:%M:%S%.6f%:z"


@dataclass(frozen=True)
class Listing:
    """The rows of a listing.

    Attributes
    ----------
    rows : polars.DataFrame
        All columns, for programs.
    table : polars.DataFrame
        The columns that people look at, in their order.
    notes : list of str
        What is said below the table.
    """

    rows: pl.DataFrame
    table: pl.DataFrame
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, rows: pl.DataFrame, columns: Sequence[str] | None = None) -> Listing:
        """Return a listing of which people see some columns, None: all."""
        return cls(rows, rows if columns is None else rows.select(columns))

    @classmethod
    def together(cls, listings: Sequence[Listing]) -> Listing:
        """Return the rows of several listings, for programs, as one."""
        return cls.of(pl.concat([one.rows for one in listings], how="diagonal_relaxed"))

    @property
    def ids(self) -> list[str]:
        """The ids in the table, which a reader wants as short as may be."""
        # What a query calls an id may be a number.
        columns = [name for name in self.table.columns if name in IDS and self.table.schema[name] == pl.String]
        return [value for name in columns for value in self.table[name]]


def list_runs(store: WorkspaceStore, status: str | None, dataset: str | None, limit: int) -> Listing:
    """Return the runs, newest first; see `WorkspaceStore.run_summaries`.

    Raises
    ------
    InvalidInputError
        No dataset has this name.
    """
    rows = store.run_summaries(status, dataset, limit)
    if dataset is not None and rows.is_empty():
        known = [name for name in store.list_datasets()["name"].unique().sort() if name is not None]
        if dataset not in known:
            raise InvalidInputError(
                f"no dataset here is called {dataset!r}{did_you_mean(dataset, known)}; `datasets` lists them"
            )
    table = rows.with_columns(
        data=pl.Series([_names(text) for text in rows["datasets"]], dtype=pl.String),
        took=pl.Series([_duration(seconds) for seconds in rows["seconds"]], dtype=pl.String),
        best=pl.Series([*map(score_text, rows["metric"], rows["best"])], dtype=pl.String),
    )
    return Listing(rows, table.select(LISTED_RUNS))


def _names(datasets: str | None) -> str:
    """Return the names of a run's datasets, whose row may be damaged."""
    told = from_json(datasets, "datasets")
    names = [dict_of(one).get("name") for one in told] if isinstance(told, list) else []
    return ", ".join(name for name in names if isinstance(name, str))


def score_text(metric: str | None, value: float | None) -> str | None:
    """Return a score of what folds held out, under the field's name."""
    return None if metric is None or value is None else f"{label(metric, 'val').removesuffix(' val')} {text_of(value)}"


def counted(number: int, word: str) -> str:
    """Return how many there are of something, as people say it."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float | None) -> str | None:
    """Return how long something took as people say it."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def list_datasets(store: WorkspaceStore, limit: int) -> Listing:
    """Return the datasets, newest first, with the unit of each target."""
    rows = store.list_datasets().head(limit)
    targets = [targets_text(decoded(row)) for row in rows.select("target_names", "units").to_dicts()]
    table = rows.with_columns(targets=pl.Series(targets, dtype=pl.String))
    return Listing(rows, table.select(LISTED_DATASETS))


def list_samples(store: WorkspaceStore, dataset_id: str, limit: int) -> Listing:
    """Return the first samples of a dataset; none if only a description of it is kept."""
    artifact_id = (store.get_dataset(dataset_id) or {}).get("samples_artifact")
    return Listing.of(pl.DataFrame() if artifact_id is None else store.load_artifact(artifact_id).head(limit))


def targets_text(dataset: Mapping[str, Any]) -> str:
    """Return the targets of a dataset with their units."""
    units = dict_of(dataset["units"])
    names = texts_of(dataset["target_names"]) or list(units)
    return ", ".join(f"{name} ({units[name]})" if name in units else f"{name}" for name in names)


def list_pipelines(store: WorkspaceStore, run_id: str | None, limit: int, status: str | None = None) -> Listing:
    """Return the pipelines of a run or of all, newest first, with the line of an error that says why."""
    rows = store.list_pipelines(run_id)
    rows = (rows if status is None else rows.filter(status=status)).head(limit)
    causes = [None if error is None else cause_of(error) for error in rows["error"]]
    table = rows.with_columns(error=pl.Series(causes, dtype=pl.String))
    return Listing(rows, table.select(_with_values(table, LISTED_PIPELINES)))


def list_log(store: WorkspaceStore, pipeline_id: str) -> Listing:
    """Return what each step of a pipeline did, a line for each; of what is the same in all, people see nothing."""
    rows = store.get_pipeline_log(pipeline_id)
    times = [text_of(time.replace(tzinfo=UTC)) for time in rows["created_at"]]
    table = rows.select(LISTED_LOG).with_columns(created_at=pl.Series(times, dtype=pl.String))
    same = [name for name in table.columns if name not in OF_A_STEP and table[name].n_unique() == 1]
    return Listing(rows, table.drop(same) if table.height > 1 else table)


def list_findings(findings: Sequence[Finding]) -> Listing:
    """Return what a check found."""
    columns = dict.fromkeys((field.name for field in fields(Finding)), pl.String)
    return Listing.of(pl.DataFrame([asdict(finding) for finding in findings], schema=columns))


def list_templates(entries: Sequence[Mapping[str, Any]]) -> Listing:
    """Return the templates of a library, as its `list_templates` gives them."""
    rows = [
        {name: entry.get(name) for name in LISTED_TEMPLATES} | {"tags": ", ".join(entry.get("tags") or [])}
        for entry in entries
    ]
    return Listing.of(pl.DataFrame(rows, schema=dict.fromkeys(LISTED_TEMPLATES, pl.String)))


def _with_values(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the columns without the scores, times and errors that no row has."""
    empty = {name for name in OF_SOME_PIPELINES if frame[name].is_null().all()}
    return [name for name in columns if name not in empty]


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows for JSON: decoded, with times that tell their zone."""
    return [decoded(row) for row in _told_in_full(frame).to_dicts()]


def csv_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows for CSV: what has parts as JSON, times as text with their zone."""
    frame = _told_in_full(frame)
    nested = [name for name, kind in frame.schema.items() if kind.is_nested() or kind == pl.Object]
    flat = [pl.Series(name, map(to_json, frame[name].to_list()), dtype=pl.String) for name in nested]
    times = selectors.datetime(time_zone="*").dt.to_string(ISO)
    spans = selectors.duration().dt.to_string("iso")
    return frame.with_columns(flat).with_columns(times, spans)


def lines_of_scores(table: PredictionTable) -> list[str]:
    """Return how good predictions are, as people read it: a line for each target, below it some of its worst rows."""
    lines = []
    for target, scores in table.scores.items():
        unread = f"; {table.unread[target]}" if target in table.unread else ""
        lines.append(f"{target}: {_scores_in_words(scores)}{unread}")
        if target in table.scores_by_sample:
            lines.append(f"{target}, by sample: {_scores_in_words(table.scores_by_sample[target])}")
        for row in table.worst.filter(pl.col("target") == target).to_dicts():
            error = "" if row.get("error") is None else f" ({row['error']:+.{NUMBER_OF_DIGITS}g})"
            about = [
                text_of(value) for name, value in row.items() if name not in COLUMNS_OF_WORST and value is not None
            ]
            named = f" ({clipped(', '.join(about))})" if about else ""
            predicted, reference = text_of(row["predicted"]), text_of(row["reference"])
            lines.append(f"  row {row['row']}{named}: {predicted} predicted, {reference} known{error}")
    return lines


def _scores_in_words(scores: Mapping[str, Any]) -> str:
    told = [f"{label} {text_of(scores[name])}" for name, label in SCORES_OF_NEW.items() if name in scores]
    if UNPREDICTED in scores:
        told.append(f"{scores[UNPREDICTED]:,} without a prediction (NaN), so that there are no scores")
    return ", ".join([f"n {scores['n']:,}", *told])


def cells(table: pl.DataFrame, short: Mapping[str, str]) -> list[list[str]]:
    """Return the plain text of each cell, with what is shown for an id; a page must escape it."""
    return [
        [text_of(short.get(value, value) if isinstance(value, str) else value) for value in row]
        for row in _told_in_full(table).iter_rows()
    ]


def _told_in_full(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with bytes as text, and times of the workspace's own columns as UTC; of others nobody knows."""
    ours = selectors.datetime(time_zone=None) & selectors.by_name(*TIMES, require_all=False)
    return frame.with_columns(selectors.binary().bin.encode("hex"), ours.dt.replace_time_zone("UTC"))


def way_of(preprocessings: str | None, model: str) -> str:
    """Return the way from a spectrum to a value: the preprocessing, if there is any, and the model."""
    return f"{preprocessings} > {model}" if preprocessings else model


def with_params(row: Mapping[str, Any]) -> str:
    """Return the model of a prediction with the parameters that its configuration sets."""
    params = ", ".join(f"{name}={clipped(repr(value))}" for name, value in dict_of(row["best_params"]).items())
    return str(row["model_name"]) + f" ({params})" * bool(params)


def text_of(value: Any) -> str:
    """Return a value as people read it, on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{NUMBER_OF_DIGITS}g}"
    if isinstance(value, datetime):
        return local(value).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return printable(value if isinstance(value, str) else to_json(value))


def clipped(text: str) -> str:
    """Return text of a length that a table has room for."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def to_json(value: Any, indent: int | None = None) -> str:
    """Return any value as JSON, which has no NaN and no infinity: they are null."""
    return json.dumps(_jsonable(value), indent=indent, ensure_ascii=False)


def brief(value: Any) -> Any:
    """Return a value with the middle of each long list left out."""
    if isinstance(value, dict):
        return {key: brief(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = value if len(value) <= LONGEST_LIST else [*value[:2], f"... {len(value) - 3} more ...", value[-1]]
    return [brief(item) for item in items]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):  # DuckDB's sums of whole numbers are such, too.
        value = float(value) if value % 1 else int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a listing, which has JSON as text, with that decoded."""
    return {name: from_json(value, name) if name in JSON_COLUMNS else value for name, value in row.items()}


def from_json(value: Any, name: str) -> Any:
    """Return a value that is JSON text decoded, and any other as it is."""
    if isinstance(value, str):
        with suppress(WorkspaceCorruptError):  # A query may give a column's name to anything.
            return parse_json(value, name)
    return value


def dict_of(value: Any, name: str = "") -> dict[str, Any]:
    """Return a value, or what its JSON text stands for, where that is a dict; of a damaged row there is none."""
    found = from_json(value, name)
    return found if isinstance(found, dict) else {}


def texts_of(value: Any) -> list[str]:
    """Return the texts of a list; of a damaged row there are none."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def local(time: datetime) -> datetime:
    """Return a time as the clock on the wall has it, if its zone is known."""
    return time.astimezone() if time.tzinfo else time


def with_zone(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose own times say that they are UTC."""
    return {
        name: value.replace(tzinfo=UTC) if name in TIMES and isinstance(value, datetime) else value
        for name, value in row.items()
    }
