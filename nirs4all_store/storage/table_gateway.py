"""The tables inside one transaction: rows wait here until they are inserted, many at a time.

Repositories add rows, ask whether a key is there, and read. Rows that were added go to the
database in one insert per table: before anything is read or changed through `session`, at the
commit, and before they take too much memory. Asking for a key looks among the waiting rows first
and inserts nothing.

See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Delete,
    Double,
    Integer,
    Select,
    String,
    Table,
    Update,
    func,
    select,
)
from sqlalchemy.orm import Session

from ..engine import (
    Values,
    before_statements,
    check_transaction,
    frame_by_key,
    has_key,
    insert_rows,
    read_frame,
    read_rows,
    rows_by_key,
    run_statement,
    write_parquet,
)
from ..errors import DuplicateError, InvalidInputError, InvalidTypeError, NotFoundError
from ..validation import checked_float, checked_int, checked_text, checked_texts, json_text
from .lookup_cache import MAX_CACHED, CacheKey, LookupCache
from .models import Artifact, Base, Chain, Log, Pipeline, Prediction, PredictionArrays, Run

Model = type[Base]
Row = tuple[Model, str]
"""Which row: its table's class and its key."""
Check = tuple[Callable[[Any, str], Any], str]
"""What checks a column's values, given with the column's name."""

PARENTS_FIRST: tuple[Model, ...] = (Run, Pipeline, Artifact, Chain, Prediction, PredictionArrays, Log)
MAX_WAITING_BYTES = 64 * 2**20
ROW_BYTES = 1024
"""What a waiting row takes beside its arrays, roughly."""


class Tables:
    """The seven tables, seen from inside one session.

    Parameters
    ----------
    session : Session
        Its transaction is the one that everything here happens in.
    cache : LookupCache, optional
        What was looked up by the units of work before; nothing by default.
    """

    def __init__(self, session: Session, cache: LookupCache | None = None) -> None:
        self.session = session
        self.changes = 0
        self.inserted = 0
        self._waiting: dict[Model, dict[str, dict[str, Any]]] = {model: {} for model in PARENTS_FIRST}
        self._waiting_bytes = 0
        self._before = cache
        self._cache: dict[CacheKey, Any] = {}
        self._may_lack_rows = False
        self._cache_is_off = False
        self._is_alive = False  # The last statement was a write that succeeded.
        self._last_new: Row | None = None
        before_statements(session, self.flush)

    def add(self, model: Model, row: Mapping[str, Any]) -> None:
        """Check a row and let it wait for the next insert.

        Parameters
        ----------
        model : type
            The mapped class.
        row : mapping
            Plain values by column name; a column that is not named is NULL.

        Raises
        ------
        InvalidInputError
            A value does not fit its column, or the key is taken.
        """
        table = table_of(model)
        key = checked_text(row[key_of(model).name], key_of(model).name)
        if self.exists(model, key):
            raise DuplicateError(f"{table.name} already has {key!r}; give another id, or none to have one made")
        self.add_new(model, row)

    def add_new(self, model: Model, row: Mapping[str, Any]) -> None:
        """Like `add`, for a row whose key was just made here and so cannot be taken."""
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
        self.add_encoded(model, checked[key_of(model).name], checked)

    def add_encoded(self, model: Model, key: str, row: dict[str, Any]) -> None:
        """Like `add_new`, for a row that is already as the database keeps it."""
        self._waiting[model][key] = row
        self._waiting_bytes += _bytes_of(row)
        self.changes += 1
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()

    def exists(self, model: Model, key: str) -> bool:
        """Tell whether a row is there, without inserting what waits."""
        if key in self._waiting[model]:
            return True
        known: bool | None = self.get_cached((model.__tablename__, key))
        if known is None:
            self._is_alive = False
            known = self.is_stored(model, key)
            self.put_cached((model.__tablename__, key), known)
        return known

    def put_cached(self, key: CacheKey, value: Any) -> None:
        """Keep what was found, so that the database need not be asked again; False: there is no such row."""
        if self._cache_is_off:
            return
        if len(self._cache) >= MAX_CACHED:
            self._invalidate_cache()
        self._cache[key] = value

    def get_cached(self, key: CacheKey) -> Any:
        """Return what was found before; None if it was not looked up, or may not be true any more."""
        value = self._cache.get(key)
        if value is None and self._before is not None and not self._may_lack_rows:
            value = self._before.get(key)
        return value

    def _invalidate_cache(self) -> None:
        """Use no entry that was made so far: rows may have been deleted."""
        self._may_lack_rows = True
        self._cache.clear()

    def disable_cache(self) -> None:
        """Ask the database each time from now on: somebody else may use the session."""
        self._cache_is_off = True
        self._is_alive = False
        self._invalidate_cache()

    def require(self, model: Model, key: Any) -> str:
        """Return `key` if a row has it.

        Raises
        ------
        NotFoundError
            No row has it.
        """
        key = checked_text(key, key_of(model).name)
        if not self.exists(model, key):
            name = table_of(model).name
            raise NotFoundError(f"{name} has no {key!r}; see what is there with the list and query methods")
        return str(key)

    def is_pending(self, model: Model, key: str) -> bool:
        """Tell whether a row waits for its insert, so that adding it again replaces it."""
        return key in self._waiting[model]

    def flush(self) -> bool:
        """Insert every waiting row, parents first; tell whether there was one."""
        waited = self._waiting_bytes > 0
        self._is_alive = False
        for model, rows in self._waiting.items():
            if rows:
                insert_rows(self.session, table_of(model), list(rows.values()))
                self.inserted += len(rows)
                for key in rows:
                    self.put_cached((model.__tablename__, key), True)
                if model is not PredictionArrays:  # Those may take the place of others.
                    self._last_new = model, key
                rows.clear()
        self._waiting_bytes = 0
        return waited

    @property
    def commit_probe(self) -> Row | None:
        """A row that is there if this transaction is committed, and was not before; None if there is none for sure."""
        return None if self._may_lack_rows else self._last_new

    def is_stored(self, model: Model, key: str) -> bool:
        """Tell whether a row is in the database, whatever is known."""
        return has_key(self.session, table_of(model), key)

    def flush_and_check(self) -> None:
        """Insert what waits, and make sure that the transaction is alive.

        An error that somebody caught may have invalidated it, and DuckDB reports success for the COMMIT of such a one.
        """
        is_alive = self._is_alive
        if not self.flush() and not is_alive:
            check_transaction(self.session)

    def committed(self) -> None:
        """Keep what is known for the units of work to come: the transaction was committed."""
        if self._before is not None:
            if self._may_lack_rows:
                self._before.invalidate()
            self._before.put(self._cache)
        self.discard_pending()

    def discard_pending(self) -> None:
        """Drop what waits and what is known: the transaction has ended."""
        for rows in self._waiting.values():
            rows.clear()
        self._waiting_bytes = 0
        self._last_new = None
        self._cache.clear()
        self._may_lack_rows = self._cache_is_off

    def frame(self, query: Select[Any], values: Values = None) -> pl.DataFrame:
        """Return the rows of a query as a frame; see `bulk.read_frame`."""
        self.flush()
        return read_frame(self.session, query, values)

    def write_parquet(
        self, query: Select[Any], by: Column[Any], path: Path, limit: int | None = None, offset: int = 0
    ) -> None:
        """Write the rows of a query to a file; see `bulk.write_parquet`."""
        self.flush()
        write_parquet(self.session, query, by, path, limit, offset)

    def rows(self, query: Select[Any], values: Values = None) -> list[dict[str, Any]]:
        """Return the rows of a query as dicts, JSON decoded; see `bulk.read_frame`."""
        self.flush()
        return read_rows(self.session, query, values)

    def row(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return one row by its key, JSON decoded, or None."""
        found = self.rows_of(model, [key])
        return found[0] if found else None

    def rows_of(self, model: Model, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Return those of the rows with these keys that exist, JSON decoded, in any order."""
        self.flush()
        return rows_by_key(self.session, table_of(model), checked_texts(keys, key_of(model).name))

    def row_with_arrays(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return one row by its key with lists as numpy arrays and lists of str, or None."""
        self.flush()
        frame = frame_by_key(self.session, table_of(model), key)
        return {name: _without_series(frame[name][0]) for name in frame.columns} if frame.height else None

    def rows_with_arrays(self, query: Select[Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query as dicts, with JSON as text, and lists as numpy arrays and lists of str."""
        frame = self.frame(query)
        for position in range(frame.height):
            yield {name: _without_series(frame[name][position]) for name in frame.columns}

    def execute(self, statement: Update | Delete) -> None:
        """Run an UPDATE or a DELETE."""
        self.changes += 1
        self.session.execute(statement, execution_options={"synchronize_session": False})
        self._is_alive = not self._cache_is_off

    def execute_prepared(self, statement: Update, values: Mapping[str, Any]) -> None:
        """Run an UPDATE that is made once, with the values of its bound parameters."""
        self.flush()
        self.changes += 1
        run_statement(self.session, statement, values)
        self._is_alive = not self._cache_is_off

    def update(self, model: Model, key: str, **values: Any) -> None:
        """Set columns of one row.

        Raises
        ------
        InvalidInputError
            A value does not fit its column.
        """
        table = table_of(model)
        for name, value in values.items():
            checked = checked_value(table.columns[name], value)
            if not isinstance(table.columns[name].type, JSON):  # The engine encodes JSON by itself here.
                values[name] = checked
        self.execute(table.update().where(key_of(model) == key).values(values))

    def delete(self, model: Model, column: Column[Any], keys: Iterable[str] | Select[Any]) -> int:
        """Delete the rows whose `column` is one of `keys`; return how many there were."""
        table = table_of(model)
        keys = keys if isinstance(keys, Select) else checked_texts(keys, column.name)
        count = self.session.execute(select(func.count()).select_from(table).where(column.in_(keys))).scalar_one()
        if count:
            self.execute(table.delete().where(column.in_(keys)))
            self._invalidate_cache()
        return int(count)


def table_of(model: Model) -> Table:
    """Return the table of a mapped class."""
    return cast(Table, model.__table__)  # No class here maps a join.


@cache
def key_of(model: Model) -> Column[Any]:
    """Return the primary key column of a mapped class; each has one."""
    return table_of(model).primary_key.columns[0]


def checked_value(column: Column[Any], value: Any) -> Any:
    """Return a value as its column keeps it; a value that does not fit raises, naming the column."""
    check, where = _check_of(column)
    if value is not None:
        return check(value, where)
    if not column.nullable:
        raise InvalidTypeError(f"{where} must not be None; give a value")
    return None


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


def _bytes_of(row: Mapping[str, Any]) -> int:
    """Return roughly what a row takes while it waits."""
    size = ROW_BYTES
    for value in row.values():
        kind = type(value)
        if kind is str:
            size += len(value)
        elif kind is np.ndarray:
            size += value.nbytes
        elif kind is list:
            size += ROW_BYTES * len(value) // 16
    return size


def _without_series(value: Any) -> Any:
    """Return a list column's value as an array, or as a list where it holds text; anything else as it is."""
    if not isinstance(value, pl.Series):
        return value
    return value.to_list() if value.dtype == pl.String else value.to_numpy(writable=True)
