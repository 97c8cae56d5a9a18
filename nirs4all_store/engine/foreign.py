"""Reads the tables of a database that another program wrote: a DuckDB or an SQLite file. Not a byte of it changes.

A copy is read: the log beside a database has rows that are not in its file yet, and whoever opens it folds these in.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from ..errors import WorkspaceBusyError, WorkspaceCorruptError
from ..filesystem import refuse_odd
from .duckdb.connection import connect
from .duckdb.settings import quoted_name

SQLITE_HEADER = b"SQLite format 3\0"
ENDINGS = ("", "-wal", "-shm", ".wal")
"""What stands beside a database and has rows of it: the logs of SQLite, and of DuckDB."""
MOST_COPIES = 5
FETCHED = 1000
"""How many rows are read at once."""

Row = dict[str, Any]


class ForeignDatabase(Protocol):
    """A database of another program, opened for reading."""

    @property
    def columns(self) -> Mapping[str, list[str]]:
        """The names of the columns of each table."""

    def rows(self, table: str, column: str | None = None, value: str | None = None) -> Iterator[Row]:
        """Give the rows of a table, or those that have a value in a column; none of a table that is not there."""


@contextmanager
def foreign_database(path: Path) -> Iterator[ForeignDatabase]:
    """Open a copy of a database for reading, and remove it at the end.

    Raises
    ------
    WorkspaceBusyError
        Another program writes to it all the time, so that no whole copy can be taken.
    WorkspaceCorruptError
        It cannot be read.
    """
    with TemporaryDirectory(prefix="nirs4all-store-") as folder:
        copy = _copied(path, Path(folder))
        with copy.open("rb") as stream:
            is_sqlite = stream.read(len(SQLITE_HEADER)) == SQLITE_HEADER
        with _sqlite(path, copy) if is_sqlite else _duckdb(path, copy) as database:
            yield database


def _copied(path: Path, folder: Path) -> Path:
    """Copy a database with its logs, again if they changed meanwhile, and return the copy."""
    files = [path.with_name(path.name + ending) for ending in ENDINGS]
    for _ in range(MOST_COPIES):
        before = _states(files)
        for file in files:
            copy = folder / file.name
            copy.unlink(missing_ok=True)
            if file in before:
                refuse_odd(file)
                shutil.copyfile(file, copy)
        if _states(files) == before:
            return folder / path.name
    raise WorkspaceBusyError(f"another program writes to {path} all the time; wait until it has ended, and try again")


def _states(files: list[Path]) -> dict[Path, tuple[int, int, int]]:
    found = {file: file.stat() for file in files if file.exists()}
    return {file: (state.st_ino, state.st_size, state.st_mtime_ns) for file, state in found.items()}


@contextmanager
def _sqlite(path: Path, copy: Path) -> Iterator[ForeignDatabase]:
    try:
        with closing(sqlite3.connect(copy)) as connection:
            yield _SqliteDatabase(connection)
    except sqlite3.DatabaseError as error:
        raise WorkspaceCorruptError(f"{path} cannot be read: {error}; nothing was changed") from error


@contextmanager
def _duckdb(path: Path, copy: Path) -> Iterator[ForeignDatabase]:
    try:
        connection = connect(copy)
    except WorkspaceCorruptError as error:
        raise WorkspaceCorruptError(
            f"{path} cannot be read: {error.__cause__ or error}; nothing was changed"
        ) from error
    with closing(connection):
        yield _DuckdbDatabase(connection)


class _SqliteDatabase:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.columns = {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({quoted_name(table)})")]
            for table in tables
        }

    def rows(self, table: str, column: str | None = None, value: str | None = None) -> Iterator[Row]:
        if table in self.columns:
            yield from _dicts(self._connection.execute(*_query(table, column, value)))


class _DuckdbDatabase:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.columns: dict[str, list[str]] = {}
        found = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() "
            "JOIN duckdb_tables() USING (database_name, table_name) ORDER BY column_index"
        )
        for table, column in found.fetchall():
            self.columns.setdefault(table, []).append(column)

    def rows(self, table: str, column: str | None = None, value: str | None = None) -> Iterator[Row]:
        if table in self.columns:
            yield from _dicts(self._connection.cursor().execute(*_query(table, column, value)))


def _query(table: str, column: str | None, value: str | None) -> tuple[str, list[str | None]]:
    query = f"SELECT * FROM {quoted_name(table)}"  # noqa: S608  # A quoted name cannot end the query.
    return (query, []) if column is None else (f"{query} WHERE {quoted_name(column)} = ?", [value])


def _dicts(cursor: Any) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    while rows := cursor.fetchmany(FETCHED):
        yield from (dict(zip(names, row, strict=True)) for row in rows)
