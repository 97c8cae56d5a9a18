"""Rows in and out, many at a time: columnar inserts, frames, Parquet, rows by key."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Select,
    String,
    Table,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import Session

from .database import raw_connection

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.types import TypeEngine

ROWS_AT_ONCE = 100_000

_arrow_names = itertools.count()


def insert_rows(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows in one statement, inside the session's transaction.

    Parameters
    ----------
    session : Session
    table : Table
    rows : sequence of mappings
        One value per column of `table`: JSON as text, lists as 1-D numpy arrays or lists of str.
    """
    connection = raw_connection(session)
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    if len(rows) == 1:
        values = [rows[0][column.name] for column in table.columns]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", values)  # noqa: S608  # our names
        return
    import pyarrow as pa  # Not at the top: who saves row by row never needs it.

    # A registered name that is also a table's would silently read the table instead.
    name = f"arrow_rows_{next(_arrow_names)}"
    arrays = [_arrow_column(column.type, [row[column.name] for row in rows]) for column in table.columns]
    arrow = pa.Table.from_arrays(arrays, names=table.columns.keys())
    connection.register(name, arrow)
    try:
        connection.execute(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {name}")  # noqa: S608  # ours
    finally:
        connection.unregister(name)


def _arrow_column(kind: TypeEngine[Any], values: list[Any]) -> pa.Array:
    # polars makes the arrays: pyarrow would import pandas, wherever that is installed, to look at them.
    if not isinstance(kind, ARRAY):
        return pl.Series(values, dtype=_polars_type(kind)).to_arrow()
    lengths = [0 if value is None else len(value) for value in values]
    offsets = pl.Series(np.concatenate([[0], np.cumsum(lengths)]), dtype=pl.Int32).to_arrow()
    absent = pl.Series([value is None for value in values], dtype=pl.Boolean).to_arrow()
    present = [value for value in values if value is not None]
    item = _polars_type(kind.item_type)
    as_arrays = item != pl.String and present
    joined = np.concatenate(present) if as_arrays else list(itertools.chain.from_iterable(present))
    import pyarrow as pa

    return pa.ListArray.from_arrays(offsets, pl.Series(joined, dtype=item).to_arrow(), mask=absent)


def _polars_type(kind: TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, String | JSON):
        return pl.String()
    if isinstance(kind, BigInteger):
        return pl.Int64()
    if isinstance(kind, Integer):
        return pl.Int32()
    if isinstance(kind, Double):
        return pl.Float64()
    if isinstance(kind, DateTime):
        return pl.Datetime("us")
    raise NotImplementedError(f"no column of {kind!r} is known here: add it with the column")


def read_frame(session: Session, query: Select[Any]) -> pl.DataFrame:
    """Run a SELECT inside the session's transaction and return its rows as a polars frame."""
    return _frame(session, *_compiled(session, query))


def write_parquet(
    session: Session, query: Select[Any], by: Column[Any], path: Path, limit: int | None, offset: int
) -> None:
    """Run a SELECT inside the session's transaction and write its rows to a Parquet file.

    Few rows are in memory at a time: they are sorted and written range by range of `by`.

    Parameters
    ----------
    session : Session
    query : Select
        Ordered by the column `by` first, ascending.
    by : Column
    path : Path
        Replaced.
    limit, offset : int
        How many rows, after how many.
    """
    from pyarrow.parquet import ParquetWriter

    count = session.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    left = count - min(offset, count) if limit is None else limit
    with contextlib.ExitStack() as stack:
        writer = None
        for part in _ranges(session, query, by, count):
            reader = _relation(session, *_compiled(session, part)).to_arrow_reader(ROWS_AT_ONCE)
            if writer is None:
                writer = stack.enter_context(ParquetWriter(path, reader.schema, compression="zstd"))
            for batch in reader:
                wanted = batch.slice(min(offset, len(batch)), left)
                offset -= min(offset, len(batch))
                left -= len(wanted)
                writer.write_batch(wanted)
            if left == 0:
                return


def _ranges(session: Session, query: Select[Any], by: Column[Any], count: int) -> list[Select[Any]]:
    """Cut a SELECT of so many rows into such of about as many as may be in memory, in the order of a column."""
    parts = -(-count // ROWS_AT_ONCE)
    if parts < 2:
        return [query]
    shares: ColumnElement[Any] = literal_column(f"[{', '.join(str(i / parts) for i in range(1, parts))}]")
    values = query.order_by(None).with_only_columns(by.label("value")).subquery().c.value
    # Where exactly it is cut makes no difference to the rows.
    edges = sorted({*session.execute(select(func.approx_quantile(values, shares))).scalar_one()})
    middle = [query.where(by > low, by <= high) for low, high in itertools.pairwise(edges)]
    return [query.where(by <= edges[0]), *middle, query.where(or_(by > edges[-1], by.is_(None)))]


def _compiled(session: Session, query: Select[Any]) -> tuple[str, list[Any]]:
    """Return the text of a SELECT, and its parameters."""
    compiled = query.compile(session.get_bind(), compile_kwargs={"render_postcompile": True})
    names = getattr(compiled, "positiontup", None) or []
    return str(compiled), [compiled.params[name] for name in names]


def has_key(session: Session, table: Table, key: str) -> bool:
    """Tell whether a table has a row with this primary key, inside the session's transaction."""
    name = _key_name(table)
    found = raw_connection(session).execute(f"SELECT 1 FROM {table.name} WHERE {name} = ?", [key])  # noqa: S608  # ours
    return found.fetchone() is not None


def rows_by_key(session: Session, table: Table, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with these primary keys, JSON decoded, inside the session's transaction.

    A statement as short as this one runs in less time than it takes to compile and wrap it in an ORM.
    """
    if not keys:
        return []
    found = raw_connection(session).execute(_select_by_key(table, len(keys)), keys).fetchall()
    rows = [dict(zip(table.columns.keys(), row, strict=True)) for row in found]
    for name in (column.name for column in table.columns if isinstance(column.type, JSON)):
        for row in rows:
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def frame_by_key(session: Session, table: Table, key: str) -> pl.DataFrame:
    """Return the row with this primary key as a frame, inside the session's transaction."""
    return _frame(session, _select_by_key(table, 1), [key])


@lru_cache
def _select_by_key(table: Table, count: int) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join("?" * count)
    return f"SELECT {columns} FROM {table.name} WHERE {_key_name(table)} IN ({marks})"  # noqa: S608  # our names


def _key_name(table: Table) -> str:
    return table.primary_key.columns[0].name


def _frame(session: Session, statement: str, parameters: Sequence[Any]) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(_relation(session, statement, parameters).to_arrow_table()))


def _relation(session: Session, statement: str, parameters: Sequence[Any]) -> Any:
    return raw_connection(session).sql(statement, params=parameters)
