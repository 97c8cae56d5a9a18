"""Makes records for `save_predictions` from dicts, or from the rows of a polars frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from ..errors import InvalidInputError, InvalidTypeError
from .array_columns import ARRAY_NAMES, checked_array

JSON_NAMES = ("scores", "best_params")


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
