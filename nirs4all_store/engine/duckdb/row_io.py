"""`DuckDBRows` reads and writes rows with DuckDB: columnar inserts, frames, Parquet files, rows by their keys.

Why many rows go in as one Arrow table: docs/decisions/0002.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars as pl
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Integer,
    Select,
    String,
    Table,
    Update,
    func,
    literal_column,
    select,
)
from sqlalchemy.orm import Session

from ...validation import parse_json
from ..base import Values
from .connection import raw_connection
from .worker_thread import WorkerThread

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.types import TypeEngine

BATCH_ROWS = 100_000


class DuckDBRows:
    """Reads and writes the rows of one session; see `engine.base.RowIO`.

    Parameters
    ----------
    session : Session
    count_keys : callable
        Called with the number of rows after each insert.
    """

    def __init__(self, session: Session, count_keys: Callable[[int], None]) -> None:
        self.session = session
        self._count_keys = count_keys

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows in one statement; for the form of `rows` see `RowIO`."""
        connection = raw_connection(self.session)
        if len(rows) == 1:
            connection.execute(_insert_one(table), [rows[0][column.name] for column in table.columns])
        else:
            import pyarrow as pa  # Not at the top: a program that saves row by row never needs it.

            arrays = [_arrow_column(column.type, [row[column.name] for row in rows]) for column in table.columns]
            arrow = pa.Table.from_arrays(arrays, names=table.columns.keys())
            # The columns go in by position. Registered and inserted by name, DuckDB would keep the Arrow table in
            # memory until the transaction ends.
            connection.from_arrow(arrow.select(connection.table(table.name).columns)).insert_into(table.name)
        self._count_keys(len(rows))

    def frame(self, query: Select[Any], values: Values = None) -> pl.DataFrame:
        """Return the rows of a SELECT as a frame."""
        return self._frame(*self._text(query, values))

    def rows(self, query: Select[Any], values: Values = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dicts, with JSON decoded."""
        found = raw_connection(self.session).execute(*self._text(query, values)).fetchall()
        return _decoded(found, query.selected_columns)

    def run(self, statement: Update, values: Mapping[str, Any]) -> None:
        """Run an UPDATE that is compiled once, with the values of its bound parameters."""
        raw_connection(self.session).execute(*self._text(statement, values))

    def has_key(self, table: Table, key: str) -> bool:
        """Tell whether a table has a row with this primary key."""
        name = _key_name(table)
        found = raw_connection(self.session).execute(f"SELECT 1 FROM {table.name} WHERE {name} = ?", [key])  # noqa: S608  # ours
        return found.fetchone() is not None

    def rows_by_key(self, table: Table, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows with these primary keys, with JSON decoded.

        It is plain text and not an ORM query: to compile the query would take longer than to run it.
        """
        if not keys:
            return []
        found = raw_connection(self.session).execute(_select_by_key(table, len(keys)), keys).fetchall()
        return _decoded(found, table.columns)

    def frame_by_key(self, table: Table, key: str) -> pl.DataFrame:
        """Return the row with this primary key as a frame."""
        return self._frame(_select_by_key(table, 1), [key])

    def write_parquet(self, query: Select[Any], by: Column[Any], path: Path, limit: int | None, offset: int) -> None:
        """Write the rows of a SELECT to a Parquet file; each range of `by` is sorted and written by itself."""
        work = partial(self._write_parquet, query, by, path, limit, offset)
        WorkerThread(work, raw_connection(self.session).interrupt, math.inf).result()

    def prove_alive(self) -> None:
        """Raise if an error has invalidated the transaction; DuckDB would report that its COMMIT succeeded."""
        raw_connection(self.session).execute("SELECT 1")

    def _frame(self, statement: str, parameters: Sequence[Any]) -> pl.DataFrame:
        relation = raw_connection(self.session).sql(statement, params=parameters)
        try:
            # polars reads the rows itself: to import pyarrow for it takes a tenth of the time that a listing takes.
            return pl.DataFrame(relation)
        except pl.exceptions.ComputeError as error:  # What the engine raised while polars read.
            raise duckdb.Error(str(error)) from error

    def _text(self, statement: Select[Any] | Update, values: Values = None) -> tuple[str, list[Any]]:
        """Return the text of a statement, and its parameters."""
        dialect = self.session.get_bind().dialect
        compiled = statement.compile(dialect=dialect) if values is None else _compiled_once(statement, dialect)
        expanded = compiled.construct_expanded_state(values)  # With a parameter for each value of an IN.
        return expanded.statement, [*expanded.positional_parameters]

    def _write_parquet(self, query: Select[Any], by: Column[Any], path: Path, limit: int | None, offset: int) -> None:
        from pyarrow.parquet import ParquetWriter

        # A dictionary stores a repeated text once. For keys and numbers, to build it takes longer than all the rest.
        repeated = [
            column.name
            for column in query.selected_columns
            if isinstance(column.type, String | JSON) and not column.primary_key
        ]
        count = self.session.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()
        left = count - min(offset, count) if limit is None else limit
        with contextlib.ExitStack() as stack:
            writer = None
            for part in self._ranges(query, by, count):
                statement, parameters = self._text(part)
                relation = raw_connection(self.session).sql(statement, params=parameters)
                reader = relation.to_arrow_reader(2 * BATCH_ROWS)
                stack.callback(reader.close)  # One that is open in an error's traceback would block the rollback.
                if writer is None:
                    sink = stack.enter_context(path.open("wb"))  # pyarrow could take a path for an address (URI).
                    writer = stack.enter_context(
                        ParquetWriter(sink, reader.schema, compression="zstd", use_dictionary=repeated)
                    )
                for batch in reader:
                    wanted = batch.slice(min(offset, len(batch)), left)
                    offset -= min(offset, len(batch))
                    left -= len(wanted)
                    writer.write_batch(wanted)
                if left == 0:
                    return

    def _ranges(self, query: Select[Any], by: Column[Any], count: int) -> list[Select[Any]]:
        """Cut a SELECT of `count` rows into several of about `BATCH_ROWS` rows each, by ranges of the column `by`."""
        parts = -(-count // BATCH_ROWS)
        if parts < 2:
            return [query]
        shares: ColumnElement[Any] = literal_column(f"[{', '.join(str(i / parts) for i in range(1, parts))}]")
        values = query.order_by(None).with_only_columns(by.label("value")).subquery().c.value
        # The quantiles need not be exact: they only decide how large each part is.
        edges = sorted({*self.session.execute(select(func.approx_quantile(values, shares))).scalar_one()})
        middle = [query.where(by > low, by <= high) for low, high in itertools.pairwise(edges)]
        return [query.where(by <= edges[0]), *middle, query.where(by > edges[-1])]


def _arrow_column(kind: TypeEngine[Any], values: list[Any]) -> pa.Array:
    # polars makes the arrays: pyarrow would import pandas, if that is installed, to look at the values.
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


@lru_cache
def _compiled_once(statement: Select[Any] | Update, dialect: Dialect) -> Any:
    return statement.compile(dialect=dialect)


def _decoded(found: Iterable[tuple[Any, ...]], columns: Any) -> list[dict[str, Any]]:
    """Return rows as dicts by the names of their columns, with JSON decoded."""
    rows = [dict(zip(columns.keys(), row, strict=True)) for row in found]
    for name in [name for name, column in columns.items() if isinstance(column.type, JSON)]:
        for row in rows:
            row[name] = None if row[name] is None else parse_json(row[name], name)
    return rows


@lru_cache
def _insert_one(table: Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({marks})"  # noqa: S608  # our names


@lru_cache
def _select_by_key(table: Table, count: int) -> str:
    marks = ", ".join("?" * count)
    return f"SELECT {_columns(table)} FROM {table.name} WHERE {_key_name(table)} IN ({marks})"  # noqa: S608  # our names


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _key_name(table: Table) -> str:
    return table.primary_key.columns[0].name
