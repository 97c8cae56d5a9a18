"""Finds the columns of a table, and checks values against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, cast

import polars as pl
from sqlalchemy import JSON, BigInteger, Column, DateTime, Double, Integer, String, Table

from ..errors import InvalidInputError, InvalidTypeError, WorkspaceCorruptError
from ..validation import checked_float, checked_int, checked_text, json_text
from .models import (
    Artifact,
    Base,
    Chain,
    Dataset,
    Label,
    LabelLink,
    Log,
    Pipeline,
    Prediction,
    PredictionArrays,
    Result,
    Run,
)

Model = type[Base]
Row = tuple[Model, str]
"""A row, by its mapped class and its primary key."""
Check = tuple[Callable[[Any, str], Any], str]
"""A function that checks a value of a column and returns it as it is stored, and how messages name the column."""

KINDS: tuple[tuple[Any, str, Callable[[Any], bool]], ...] = (
    (Integer | Double, "numbers", lambda found: found.is_numeric()),
    (DateTime, "times", lambda found: found in (pl.Datetime, pl.Date)),
    (String, "text", lambda found: found == pl.String),
)
"""The types of columns, what they hold, and which types of polars that is."""

PARENTS_FIRST: tuple[Model, ...] = (
    Run,
    Artifact,
    Dataset,
    Label,
    Pipeline,
    Chain,
    Prediction,
    PredictionArrays,
    Log,
    LabelLink,
    Result,
)


def table_of(model: Model) -> Table:
    """Return the SQLAlchemy table of a mapped class."""
    return cast(Table, model.__table__)  # No class here maps a join.


@cache
def key_of(model: Model) -> Column[Any]:
    """Return the primary key column of a mapped class; each class has just one."""
    return table_of(model).primary_key.columns[0]


def checked_row(model: Model, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as its table stores it, with None (NULL) for each column that it does not name.

    Raises
    ------
    InvalidInputError
        A value does not fit its column, or the table has no such column.
    InvalidTypeError
        A value has another type than its column, or a column that may not be NULL has no value.
    """
    checks = _checks(model)
    if not row.keys() <= checks.keys():
        unknown = sorted(row.keys() - checks.keys())
        raise InvalidInputError(f"{table_of(model).name} has no column {unknown}; it has {list(checks)}")
    checked: dict[str, Any] = dict.fromkeys(checks)
    for name, value in row.items():
        if value is not None:
            check, where = checks[name]
            checked[name] = check(value, where)
    for column in _required(model):
        if checked[column.name] is None:
            checked_value(column, None)
    return checked


def checked_value(column: Column[Any], value: Any) -> Any:
    """Return a value as its column stores it.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        The value does not fit the column; the message names the column.
    """
    check, where = _check_of(column)
    if value is not None:
        return check(value, where)
    if not column.nullable:
        raise InvalidTypeError(f"{where} must not be None; give a value")
    return None


def refuse_other_columns(table: Table, rows: pl.DataFrame) -> None:
    """Refuse to calculate with rows whose column is another one, as in a damaged workspace that is opened to be read.

    Parameters
    ----------
    table : Table
    rows : polars.DataFrame
        Columns of the table, all or some.

    Raises
    ------
    WorkspaceCorruptError
        A column of numbers, times or text holds something else.
    """
    for name, found in rows.schema.items():
        for kind, word, fits in KINDS:
            if name in table.c and isinstance(table.c[name].type, kind) and not fits(found):
                raise WorkspaceCorruptError(
                    f"column {table.name}.{name} holds {found}, and not {word}; see check(), and restore the workspace "
                    "from a backup"
                )


@cache
def _checks(model: Model) -> dict[str, Check]:
    return {column.name: _check_of(column) for column in table_of(model).columns}


@cache
def _required(model: Model) -> list[Column[Any]]:
    return [column for column in table_of(model).columns if not column.nullable]


@cache
def _check_of(column: Column[Any]) -> Check:
    where = f"{column.table.name}.{column.name}"
    return next((check for kind, check in CHECKS if isinstance(column.type, kind)), lambda value, where: value), where


CHECKS: tuple[tuple[type, Callable[[Any, str], Any]], ...] = (
    (String, checked_text),
    (JSON, json_text),
    (BigInteger, partial(checked_int, bits=64)),
    (Integer, partial(checked_int, bits=32)),
    (Double, checked_float),
)
