"""Reads the tables of a database that another program wrote: a DuckDB or an SQLite file. Not a byte of it changes.

A copy is read: the log beside a database has rows that are not in its file yet, and whoever opens it folds these in.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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

COLUMNS_OF_SQLITE = (
    "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
    "WHERE tables.type = 'table' ORDER BY tables.rowid, columns.cid"
)
COLUMNS_OF_DUCKDB = (
    "SELECT table_name, column_name FROM duckdb_columns() "
    "JOIN duckdb_tables() USING (database_name, table_name) ORDER BY column_index"
)

Row = dict[str, Any]


class ForeignDatabase:
    """A database of another program, opened for reading.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection or sqlite3.Connection
    columns : iterable of (str, str)
        The names of the tables, each with the name of a column, in order.
    """

    def __init__(self, connection: Any, columns: Iterable[tuple[str, str]]) -> None:
        self._connection = connection
        self.columns: dict[str, list[str]] = {}
        """The names of the columns of each table."""
        for table, column in columns:
            self.columns.setdefault(table, []).append(column)

    def rows(self, table: str, column: str | None = None, value: str | None = None) -> Iterator[Row]:
        """Give the rows of a table, or those that have a value in a column; none of a table that is not there."""
        if table not in self.columns:
            return
        query = f"SELECT * FROM {quoted_name(table)}"  # noqa: S608  # A quoted name cannot end the query.
        where = "" if column is None else f" WHERE {quoted_name(column)} = ?"
        cursor = self._connection.cursor().execute(query + where, [] if column is None else [value])
        names = [told[0] for told in cursor.description]
        while rows := cursor.fetchmany(FETCHED):
            yield from (dict(zip(names, row, strict=True)) for row in rows)


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
            yield ForeignDatabase(connection, connection.execute(COLUMNS_OF_SQLITE))
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
        yield ForeignDatabase(connection, connection.execute(COLUMNS_OF_DUCKDB).fetchall())
