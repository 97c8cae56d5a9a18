"""The tables inside one transaction: rows wait here until they are inserted, many at a time.

Repositories add rows, ask whether a key is there, and read. Rows that were added go to the
database in one insert per table: before anything is read or changed through `session`, at the
commit, and before they take too much memory. Asking for a key looks among the waiting rows first
and inserts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

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
    event,
    func,
    select,
)
from sqlalchemy.orm import ORMExecuteState, Session

from .database import insert_rows, read_frame
from .errors import DuplicateError, InvalidInputError, InvalidTypeError, NotFoundError
from .models import Artifact, Base, Chain, Log, Pipeline, Prediction, PredictionArrays, Run
from .values import checked_float, checked_int, checked_text, checked_texts, json_text

Model = type[Base]

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
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changes = 0
        self._waiting: dict[Model, dict[str, dict[str, Any]]] = {model: {} for model in PARENTS_FIRST}
        self._waiting_bytes = 0
        self._known: set[tuple[Model, str]] = set()
        event.listen(session, "do_orm_execute", self._before_statement)

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
        table = table_of(model)
        unknown = row.keys() - table.columns.keys()
        if unknown:
            raise InvalidInputError(f"{table.name} has no column {sorted(unknown)}; it has {table.columns.keys()}")
        checked = {column.name: checked_value(column, row.get(column.name)) for column in table.columns}
        self.add_encoded(model, checked[key_of(model).name], checked)

    def add_encoded(self, model: Model, key: str, row: dict[str, Any]) -> None:
        """Like `add_new`, for a row that is already as the database keeps it."""
        self._waiting[model][key] = row
        self._waiting_bytes += ROW_BYTES + sum(map(_bytes_of, row.values()))
        self.changes += 1
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()

    def exists(self, model: Model, key: str) -> bool:
        """Tell whether a row is there, without inserting what waits."""
        if key in self._waiting[model] or (model, key) in self._known:
            return True
        column = key_of(model)
        query = select(column).where(column == key)
        found = bool(self.session.execute(query, execution_options={"without_flush": True}).all())
        if found:
            self._known.add((model, key))
        return found

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

    def waits(self, model: Model, key: str) -> bool:
        """Tell whether a row waits for its insert, so that adding it again replaces it."""
        return key in self._waiting[model]

    def flush(self) -> bool:
        """Insert every waiting row, parents first; tell whether there was one."""
        waited = self._waiting_bytes > 0
        for model, rows in self._waiting.items():
            if rows:
                insert_rows(self.session, table_of(model), list(rows.values()))
                self._known.update((model, key) for key in rows)
                rows.clear()
        self._waiting_bytes = 0
        return waited

    def forget(self) -> None:
        """Drop what waits and what is known: the transaction was rolled back or committed."""
        for rows in self._waiting.values():
            rows.clear()
        self._waiting_bytes = 0
        self._known.clear()

    def frame(self, query: Select[Any]) -> pl.DataFrame:
        """Return the rows of a query as a frame that has its columns and types even without rows."""
        self.flush()
        return read_frame(self.session, query)

    def rows(self, query: Select[Any]) -> list[dict[str, Any]]:
        """Return the rows of a query as dicts, JSON decoded."""
        return [dict(row) for row in self.session.execute(query).mappings()]

    def row(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return one row by its key, JSON decoded, or None."""
        key = checked_text(key, key_of(model).name)
        found = self.rows(select(table_of(model)).where(key_of(model) == key))
        return found[0] if found else None

    def row_with_lists(self, model: Model, key: str) -> dict[str, Any] | None:
        """Return one row by its key with lists as numpy arrays and lists of str, or None."""
        frame = self.frame(select(table_of(model)).where(key_of(model) == key))
        return {name: _without_series(frame[name][0]) for name in frame.columns} if frame.height else None

    def change(self, statement: Update | Delete) -> None:
        """Run an UPDATE or a DELETE."""
        self.changes += 1
        self.session.execute(statement, execution_options={"synchronize_session": False})

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
        self.change(table.update().where(key_of(model) == key).values(values))

    def delete(self, model: Model, column: Column[Any], keys: Iterable[str] | Select[Any]) -> int:
        """Delete the rows whose `column` is one of `keys`; return how many there were."""
        table = table_of(model)
        keys = keys if isinstance(keys, Select) else checked_texts(keys, column.name)
        count = self.session.execute(select(func.count()).select_from(table).where(column.in_(keys))).scalar_one()
        if count:
            self.change(table.delete().where(column.in_(keys)))
            self._known.clear()
        return int(count)

    def _before_statement(self, state: ORMExecuteState) -> None:
        if not state.execution_options.get("without_flush"):
            self.flush()


def table_of(model: Model) -> Table:
    """Return the table of a mapped class."""
    return cast(Table, model.__table__)  # No class here maps a join.


def key_of(model: Model) -> Column[Any]:
    """Return the primary key column of a mapped class; each has one."""
    return table_of(model).primary_key.columns[0]


def checked_value(column: Column[Any], value: Any) -> Any:
    """Return a value as its column keeps it; a value that does not fit raises, naming the column."""
    where = f"{column.table.name}.{column.name}"
    if value is None:
        if column.nullable:
            return None
        raise InvalidTypeError(f"{where} must not be None; give a value")
    kind = column.type
    if isinstance(kind, String):
        return checked_text(value, where)
    if isinstance(kind, JSON):
        return json_text(value, where)
    if isinstance(kind, BigInteger):
        return checked_int(value, where, 64)
    if isinstance(kind, Integer):
        return checked_int(value, where, 32)
    if isinstance(kind, Double):
        return checked_float(value, where)
    return value


def _bytes_of(value: Any) -> int:
    """Return roughly what a value takes while it waits."""
    if isinstance(value, list):
        return ROW_BYTES * len(value) // 16
    return len(value) if isinstance(value, str) else int(getattr(value, "nbytes", 0))


def _without_series(value: Any) -> Any:
    """Return a list column's value as an array, or as a list where it holds text; anything else as it is."""
    if not isinstance(value, pl.Series):
        return value
    return value.to_list() if value.dtype == pl.String else value.to_numpy(writable=True)
