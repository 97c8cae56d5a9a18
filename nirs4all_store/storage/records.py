"""Records to store: a prediction, a chain, a log line. Each field is a column of its table.

The repositories take records, and bundles take the names of their fields from here. So a field that is added here is
exported and imported, too. Its default must be None, since older callers and bundles do not have it. The whole way of a
new column: docs/how-to/add-a-column.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import polars as pl

from ..errors import InvalidInputError, InvalidTypeError
from .array_columns import ARRAY_NAMES, checked_array

JSON_NAMES = ("scores", "best_params")


@dataclass
class Record:
    """The base of the records. They are not frozen, since that would make a save a tenth slower."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return a record with these values by name; the other fields are None."""
        return cls(**{**dict.fromkeys(cls.__dataclass_fields__), **values})

    def row(self) -> dict[str, Any]:
        """Return the values of the record as a dict by name."""
        return vars(self).copy()


@dataclass(kw_only=True)
class PredictionRecord(Record):
    """A row of `predictions`; `WorkspaceStore.save_prediction` explains its fields."""

    prediction_id: str | None = None
    pipeline_id: str
    chain_id: str | None
    dataset_name: str
    model_name: str
    model_class: str
    fold_id: str
    partition: str
    val_score: float | None
    test_score: float | None
    train_score: float | None
    metric: str
    task_type: str
    n_samples: int | None
    n_features: int | None
    scores: Mapping[str, Any] | None
    best_params: Mapping[str, Any] | None
    preprocessings: str | None
    branch_id: int | None
    branch_name: str | None
    exclusion_count: int | None
    exclusion_rate: float | None
    refit_context: str | None
    repeat: int | None = None


@dataclass(kw_only=True)
class ChainRecord(Record):
    """A row of `chains`; `WorkspaceStore.save_chain` explains its fields."""

    chain_id: str | None = None
    pipeline_id: str
    steps: Sequence[Mapping[str, Any]]
    model_step_idx: int
    model_class: str
    preprocessings: str | None
    fold_strategy: str | None
    fold_artifacts: Mapping[str, Any] | None
    shared_artifacts: Mapping[str, Any] | None
    branch_path: Sequence[int] | None
    source_index: int | None
    attachments: Mapping[str, str] | None = None
    predict_fold: str | None = None
    refit_of: str | None = None
    verification: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class LogRecord(Record):
    """A row of `logs`; `WorkspaceStore.log_step` explains its fields."""

    pipeline_id: str
    step_idx: int
    operator_class: str | None
    event: str
    duration_ms: float | None
    message: str | None
    details: Any
    level: str


def as_records(given: Any) -> Iterable[Mapping[str, Any]]:
    """Return predictions as an iterable of dicts.

    Parameters
    ----------
    given : iterable of mappings, or polars.DataFrame
        A frame has arrays in columns of lists, and `scores` and `best_params` as JSON text or in columns of structs.

    Returns
    -------
    iterable of mapping
        `given` itself, or one dict for each row of the frame, made as the caller iterates.

    Raises
    ------
    InvalidTypeError
        It is neither.
    """
    if isinstance(given, pl.DataFrame):
        return _rows_of(given)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"records must be a list of dicts or a polars.DataFrame, not a {type(given).__name__}")
    return given


def _rows_of(frame: pl.DataFrame) -> Iterator[Mapping[str, Any]]:
    arrays = [name for name in frame.columns if name in ARRAY_NAMES]
    for number, row in enumerate(frame.drop(arrays).iter_rows(named=True)):
        for name in JSON_NAMES:
            if isinstance(row.get(name), str):
                row[name] = _decoded(row[name], f"record {number}: {name}")
        yield row | {name: _array_of(frame[name][number], f"record {number}: {name}") for name in arrays}


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{where} is no JSON: {error}; give JSON text, or a column of structs") from error


def _array_of(value: Any, where: str) -> Any:
    """Return a list of lists of equal length as a 2-D array of the same dtype, and any other value as it is."""
    if not isinstance(value, pl.Series) or not isinstance(value.dtype, pl.List | pl.Array):
        return value
    rows = value.cast(pl.List(value.dtype.inner))
    if rows.list.len().n_unique() != 1:
        raise InvalidInputError(f"{where} is ragged; give rows of equal length")
    return checked_array(rows.explode(), where).reshape(len(rows), -1)
