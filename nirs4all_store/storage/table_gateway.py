"""`Tables` gives the repositories access to all tables inside one transaction, with a write buffer and a cache.

Repositories add rows, look up keys, and read rows. Rows that were added wait in a buffer, and are inserted with one
statement per table: before anything is read or changed through `session`, at the commit, and before they take too much
memory. A look-up of a key searches the waiting rows first, and inserts nothing.

Why rows wait: docs/decisions/0002. Why look-ups are cached: docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import JSON, Column, Delete, Select, Update, func, select

from ..engine import RowIO, Values, before_statements
from ..errors import DuplicateError, NotFoundError
from ..validation import checked_text, checked_texts
from .columns import Model, Row, checked_row, checked_value, key_of, table_of
from .lookup_cache import LookupCache, Lookups
from .models import PredictionArrays
from .write_buffer import WriteBuffer


class Tables:
    """All tables inside one transaction.

    Parameters
    ----------
    io : RowIO
        Reads and writes rows in the transaction.
    cache : LookupCache, optional
        Results of look-ups of earlier units of work. By default there are none.

    Attributes
    ----------
    session : Session
    changes : int
        How many rows were added and statements run so far.
    saved : set of str
        The ids of the artifacts that this transaction has saved, and that no chain has named since.
    lookups : Lookups
        The results of look-ups.
    """

    def __init__(self, io: RowIO, cache: LookupCache | None = None) -> None:
        self.session = io.session
        self.changes = 0
        self.saved: set[str] = set()
        self._io = io
        self._buffer = WriteBuffer()
        self.lookups = Lookups(cache)
        self._is_alive = False  # The last statement was a write that succeeded.
        self._last_new: Row | None = None
        before_statements(io.session, self.flush)

    def add(self, model: Model, row: Mapping[str, Any]) -> None:
        """Check a row and add it to the buffer.

        Parameters
        ----------
        model : type
            The mapped class.
        row : mapping
            Plain values by column name; a column that is not named is NULL.

        Raises
        ------
        DuplicateError
            A row has this key already.
        InvalidInputError
            A value does not fit its column.
        """
        table = table_of(model)
        key = checked_text(row[key_of(model).name], key_of(model).name)
        if self.exists(model, key):
            raise DuplicateError(f"{table.name} already has {key!r}; give another id, or none to have one made")
        self.add_new(model, row)

    def add_new(self, model: Model, row: Mapping[str, Any]) -> None:
        """Add a row whose key was just made, and so is not looked up; see `add`."""
        checked = checked_row(model, row)
        self.add_encoded(model, checked[key_of(model).name], checked)

    def add_encoded(self, model: Model, key: str, row: dict[str, Any]) -> None:
        """Add a row that is already checked, with values as they are stored; see `add_new`."""
        self._buffer.add(model, key, row)
        self.changes += 1
        if self._buffer.is_full:
            self.flush()

    def exists(self, model: Model, key: str) -> bool:
        """Tell whether a row exists, stored or waiting; nothing is inserted."""
        if self._buffer.has(model, key):
            return True
        known: bool | None = self.lookups.get((model.__tablename__, key))
        if known is None:
            self._is_alive = False
            known = self.is_stored(model, key)
            self.lookups.put((model.__tablename__, key), known)
        return known

    def disable_cache(self) -> None:
        """Keep no results of look-ups from now on, since a user may do anything with the session."""
        self.lookups.turn_off()
        self._is_alive = False

    def require(self, model: Model, key: Any) -> str:
        """Return `key` if a row has it.

        Raises
        ------
        NotFoundError
            No row has this key.
        """
        key = checked_text(key, key_of(model).name)
        if not self.exists(model, key):
            name = table_of(model).name
            raise NotFoundError(f"{name} has no {key!r}; see what is there with the list and query methods")
        return str(key)

    def is_pending(self, model: Model, key: str) -> bool:
        """Tell whether a row waits to be inserted; if so, adding it again replaces it."""
        return self._buffer.has(model, key)

    def flush(self) -> bool:
        """Insert all waiting rows, parents before children; return whether there were any."""
        self._is_alive = False
        if self._buffer.is_empty:
            return False
        for model, rows in self._buffer.tables():
            self._io.insert(table_of(model), list(rows.values()))
            for key in rows:
                self.lookups.put((model.__tablename__, key), True)
            if model is not PredictionArrays:  # Arrays may replace others, so that their key was there before.
                self._last_new = model, key
        return True

    @property
    def commit_probe(self) -> Row | None:
        """A row that exists only if this transaction was committed; None if no such row is known.

        If a commit fails, the unit of work looks for this row to find out whether the commit was kept.
        """
        return None if self.lookups.may_lack_rows else self._last_new

    def is_stored(self, model: Model, key: str) -> bool:
        """Tell whether a row is in the database, without the buffer and the cache."""
        return self._io.has_key(table_of(model), key)

    def flush_and_check(self) -> None:
        """Insert all waiting rows, and check that the transaction can still be committed.

        An error that somebody has caught may have invalidated it; an engine may report that its COMMIT succeeded.
        """
        is_alive = self._is_alive
        if not self.flush() and not is_alive:
            self._io.prove_alive()

    def committed(self) -> None:
        """Add the results of look-ups to the cache, after the transaction was committed."""
        self.lookups.commit()
        self.discard_pending()

    def discard_pending(self) -> None:
        """Drop the waiting rows and the own results of look-ups, since the transaction has ended."""
        self._buffer.clear()
        self.saved.clear()
        self._last_new = None
        self.lookups.roll_back()

    def frame(self, query: Select[Any], values: Values = None) -> pl.DataFrame:
        """Return the rows of a query as a frame; see `RowIO.frame`."""
        self.flush()
        return self._io.frame(query, values)

    def write_parquet(
        self, query: Select[Any], by: Column[Any], path: Path, limit: int | None = None, offset: int = 0
    ) -> None:
        """Write the rows of a query to a Parquet file; see `RowIO.write_parquet`."""
        self.flush()
        self._io.write_parquet(query, by, path, limit, offset)

    def rows(self, query: Select[Any], values: Values = None) -> list[dict[str, Any]]:
        """Return the rows of a query as dicts, with JSON decoded; see `RowIO.rows`."""
        self.flush()
        return self._io.rows(query, values)

    def row(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return the row with a key, with JSON decoded, or None."""
        self.flush()
        found = self._io.rows_by_key(table_of(model), [checked_text(key, key_of(model).name)])
        return found[0] if found else None

    def rows_of(self, model: Model, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Return the rows with these keys, as far as they exist, with JSON decoded, in any order."""
        self.flush()
        return self._io.rows_by_key(table_of(model), checked_texts(keys, key_of(model).name))

    def row_with_arrays(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return the row with a key, with JSON as text and lists as numpy arrays or lists of str, or None."""
        self.flush()
        frame = self._io.frame_by_key(table_of(model), key)
        return {name: _without_series(frame[name][0]) for name in frame.columns} if frame.height else None

    def rows_with_arrays(self, query: Select[Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query as dicts, with JSON as text, and lists as numpy arrays or lists of str."""
        frame = self.frame(query)
        for position in range(frame.height):
            yield {name: _without_series(frame[name][position]) for name in frame.columns}

    def execute(self, statement: Update | Delete) -> None:
        """Run an UPDATE or a DELETE."""
        self.changes += 1
        self.session.execute(statement, execution_options={"synchronize_session": False})
        self._is_alive = not self.lookups.is_off

    def execute_prepared(self, statement: Update, values: Mapping[str, Any]) -> None:
        """Run an UPDATE that is compiled once, with the values of its bound parameters; see `RowIO.run`."""
        self.flush()
        self.changes += 1
        self._io.run(statement, values)
        self._is_alive = not self.lookups.is_off

    def update(self, model: Model, key: str, **values: Any) -> None:
        """Set columns of the row with a key.

        Raises
        ------
        InvalidInputError
            A value does not fit its column.
        """
        table = table_of(model)
        for name, value in values.items():
            checked = checked_value(table.columns[name], value)
            if not isinstance(table.columns[name].type, JSON):  # SQLAlchemy encodes JSON here by itself.
                values[name] = checked
        self.execute(table.update().where(key_of(model) == key).values(values))

    def delete(self, model: Model, column: Column[Any], keys: Iterable[str] | Select[Any]) -> int:
        """Delete the rows whose `column` is one of `keys`; return how many rows there were."""
        table = table_of(model)
        keys = keys if isinstance(keys, Select) else checked_texts(keys, column.name)
        count = self.session.execute(select(func.count()).select_from(table).where(column.in_(keys))).scalar_one()
        if count:
            self.execute(table.delete().where(column.in_(keys)))
            self.lookups.invalidate()
        return int(count)


class Repository:
    """The base of the repositories: each reads and writes tables inside one unit of work.

    Parameters
    ----------
    tables : Tables
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables


def _without_series(value: Any) -> Any:
    """Return a list from a frame as an array, or as a list if it has text; any other value as it is."""
    if not isinstance(value, pl.Series):
        return value
    return value.to_list() if value.dtype == pl.String else value.to_numpy(writable=True)
