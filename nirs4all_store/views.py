"""Rows as people and programs read them: short, decoded, in local time. No printing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl
from sqlalchemy import DateTime

from .datasets import AVERAGE, PARTITIONS
from .engine import parse_json
from .errors import WorkspaceCorruptError
from .storage import Base
from .storage import Json as JsonType
from .store import WorkspaceStore

LONGEST_LIST = 20
COLUMNS = [column for table in Base.metadata.sorted_tables for column in table.c]
JSON_COLUMNS = {column.name for column in COLUMNS if column.type is JsonType}
TIMES = {column.name for column in COLUMNS if isinstance(column.type, DateTime)}


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
    return {name: _from_json(value, name) if name in JSON_COLUMNS else value for name, value in row.items()}


def _from_json(value: Any, name: str) -> Any:
    if isinstance(value, str):
        with suppress(WorkspaceCorruptError):  # A query may give a column's name to anything.
            return parse_json(value, name)
    return value


def local(time: datetime) -> datetime:
    """Return a time as the clock on the wall has it, if its zone is known."""
    return time.astimezone() if time.tzinfo else time


def with_zone(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose own times say that they are UTC."""
    return {
        name: value.replace(tzinfo=UTC) if name in TIMES and isinstance(value, datetime) else value
        for name, value in row.items()
    }


def predictions_of(store: WorkspaceStore, chain: dict[str, Any]) -> pl.DataFrame:
    """Return the predictions of a chain: those of all folds together first, and of these what was held out."""
    every = store.query_predictions(pipeline_id=chain["pipeline_id"]).filter(pl.col("chain_id") == chain["chain_id"])
    own = [pl.when(pl.col("partition") == name).then(pl.col(f"{name}_score")) for name in PARTITIONS]
    first = (pl.col("fold_id") != AVERAGE, pl.col("partition") != PARTITIONS[0])
    return every.with_columns(score=pl.coalesce(own)).sort(first, maintain_order=True)


def details_of(store: WorkspaceStore, kind: str, name: str) -> dict[str, Any]:
    """Return all that is stored of one thing: `kind` is the table, `name` the id."""
    if kind == "artifacts":
        row = store.sql("SELECT * FROM artifacts WHERE artifact_id = ?", [name]).row(0, named=True)
        return with_zone(decoded(row))
    get: dict[str, Callable[[str], dict[str, Any] | None]] = {
        "runs": store.get_run,
        "pipelines": store.get_pipeline,
        "chains": store.get_chain,
        "predictions": partial(store.get_prediction, load_arrays=True),
    }
    return with_zone(get[kind](name) or {})


def differences(one: Any, other: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Return the places in which two values differ, and what is there, down to what has no parts."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [row for key in keys for row in differences(one.get(key), other.get(key), f"{where}.{key}".strip("."))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [row for place, pair in pairs for row in differences(*pair, f"{where}[{place}]")]
    return [] if to_json(one) == to_json(other) else [(where, one, other)]
