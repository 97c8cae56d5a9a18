"""Where the rows live: the engine, columnar inserts and frames out.

This is the only file that knows one database from another.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from duckdb_engine import ConnectionWrapper, Dialect
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Double,
    Engine,
    Integer,
    Select,
    String,
    Table,
    create_engine,
    text,
)
from sqlalchemy.dialects import registry
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from .errors import OutputPathError, WorkspaceBusyError, WorkspaceCorruptError
from .values import json_text

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

ENGINE_ERRORS = (SQLAlchemyError, duckdb.Error)

# Nothing is fetched, loaded or read because a workspace asks for it, and no statement can undo that.
SAFE_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
}
# At its end DuckDB folds the log in and removes it by name, also when the name belongs to another
# file by then: `close` does it instead, after a look.
AFTER_CONNECTING = "PRAGMA disable_checkpoint_on_shutdown; SET lock_configuration = true"
POOLED_CONNECTIONS = 16

_arrow_names = itertools.count()


class Database:
    """One DuckDB file, open in this process.

    One connection stays open as long as the database does, since reopening the file for every
    transaction costs tens of milliseconds; each session has a connection of its own beside it.

    Parameters
    ----------
    path : Path
        The database file.
    read_only : bool
        Refuse writes, and share the file with other readers.
    memory_limit : int, optional
        How many bytes the engine may take before it puts what it works on to the disk; most of the
        machine's memory by default.
    create : bool
        Create the file.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, memory_limit: int | None = None, create: bool = False
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._memory_limit = memory_limit
        self.open(create=create)

    def open(self, *, create: bool = False) -> None:
        """Connect; see the class for the parameter.

        Raises
        ------
        WorkspaceBusyError
            Another program has the file open.
        WorkspaceCorruptError
            The file is not there, is damaged, or is no DuckDB database.
        """
        if not create and not self.path.exists():
            raise WorkspaceCorruptError(f"{self.path} is not there any more; restore it from a backup")
        self._anchor = connect(self.path, read_only=self.read_only, memory_limit=self._memory_limit)
        self._file = _identity(self.path)
        self.engine = _engine(self._anchor)

    def check_file(self) -> None:
        """Make sure that what is written here goes to the file that has the name.

        Raises
        ------
        WorkspaceCorruptError
            The file was removed or replaced while it was open; what is written now would be lost.
        """
        if not self.is_in_place:
            raise WorkspaceCorruptError(
                f"{self.path} was removed or replaced while it was open; nothing was written: close the store, "
                "restore the file, and open it again"
            )

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is the one that has the name."""
        return _identity(self.path) == self._file

    def session(self) -> Session:
        """Return a new session on a connection of its own; it begins at its first statement."""
        return Session(self.engine)

    def close(self) -> None:
        """Fold the log in, close every connection and release the file."""
        self.engine.dispose()
        if not self.read_only and self.is_in_place and wal_of(self.path).exists():
            # Without room for it the log stays as it is: nothing is lost, and the next opening tries again.
            with contextlib.suppress(duckdb.Error):
                self._anchor.execute("CHECKPOINT")
        self._anchor.close()
        del self.engine, self._anchor


def connect(path: Path, *, read_only: bool = False, memory_limit: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, safely configured; see `Database` for the parameters and `Database.open` for the errors."""
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=SAFE_CONFIG | _memory(memory_limit))
        connection.execute(AFTER_CONNECTING)
        return connection
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise WorkspaceBusyError(f"another program has {path} open: {error}; close it and try again") from error
        raise _corrupt(path, error) from error
    except duckdb.Error as error:
        raise _corrupt(path, error) from error


def _memory(limit: int | None) -> dict[str, str | bool | int | float | list[str]]:
    return {} if limit is None else {"memory_limit": f"{limit}B"}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _corrupt(path: Path, error: Exception) -> WorkspaceCorruptError:
    return WorkspaceCorruptError(
        f"{path} cannot be opened as a DuckDB database: {error}; nothing was changed: restore it from a backup"
    )


class CachingDialect(Dialect):
    """duckdb-engine's dialect with compiled statements kept: compiling one costs more than running it."""

    supports_statement_cache = True


registry.register("duckdb.caching", __name__, "CachingDialect")


def _engine(anchor: duckdb.DuckDBPyConnection) -> Engine:
    return create_engine(
        "duckdb+caching://",
        creator=lambda: ConnectionWrapper(anchor.cursor()),
        poolclass=QueuePool,
        pool_size=POOLED_CONNECTIONS,
        max_overflow=-1,
        json_serializer=lambda value: json_text(value, "a JSON value"),
    )


def raw_connection(session: Session) -> Any:
    """Return the DuckDB connection under a session, inside its transaction."""
    connection: Any = session.connection().connection.driver_connection
    connection.complete()  # A result that was read in part would block what comes next.
    return connection


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
    compiled = query.compile(session.get_bind(), compile_kwargs={"render_postcompile": True})
    names = getattr(compiled, "positiontup", None) or []
    parameters = [compiled.params[name] for name in names]
    rows = raw_connection(session).sql(str(compiled), params=parameters).to_arrow_table()
    return cast(pl.DataFrame, pl.from_arrow(rows))


def copy_compacted(source: Path, target: Path) -> None:
    """Write the rows of a database that nobody has open to a new file, without its free space.

    Raises
    ------
    WorkspaceCorruptError
        `source` is damaged.
    OutputPathError
        `target` cannot be written.
    """
    steps = (
        (source, f"ATTACH '{_quoted(source)}' AS source (READ_ONLY)"),
        (target, f"ATTACH '{_quoted(target)}' AS target"),
        (source, "COPY FROM DATABASE source TO target"),
        (target, "DETACH target"),
    )
    connection = duckdb.connect(":memory:")
    try:
        for about, statement in steps:
            try:
                connection.execute(statement)
            except duckdb.Error as error:
                if about == target or str(target) in str(error):
                    raise OutputPathError(f"cannot write {target}: {error}; make room there and try again") from error
                raise _corrupt(source, error) from error
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def checkpoint(session: Session) -> None:
    """Fold the write-ahead log into the file; the session must have no open transaction."""
    with session.get_bind().connect() as connection:  # type: ignore[union-attr]  # an Engine here
        connection.connection.driver_connection.execute("CHECKPOINT")  # type: ignore[union-attr]


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether the engine gave up because of its memory limit."""
    return isinstance(getattr(error, "orig", error), duckdb.OutOfMemoryException)


def wal_of(path: Path) -> Path:
    """Return where DuckDB keeps the write-ahead log of a database; it is there while it holds something."""
    return path.with_name(f"{path.name}.wal")


def temporary_of(path: Path) -> Path:
    """Return the folder where DuckDB puts what it has no memory for, while it works on a database."""
    return path.with_name(f"{path.name}.tmp")


def schema_revision(session: Session) -> str | None:
    """Return the revision that the database stands at; None where it has no table of revisions."""
    if "alembic_version" not in table_names(session):
        return None
    return ", ".join(session.execute(text("SELECT version_num FROM alembic_version ORDER BY ALL")).scalars())


def table_names(session: Session) -> list[str]:
    """Return the names of the tables in the database's main schema."""
    names = text("SELECT table_name FROM duckdb_tables() WHERE NOT internal AND schema_name = 'main' ORDER BY ALL")
    return list(session.execute(names).scalars())


def stamp(connection: Connection, revision: str) -> None:
    """Let a database that has no table of revisions stand at one."""
    connection.execute(text("CREATE TABLE alembic_version(version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})


def row_counts(session: Session) -> dict[str, int]:
    """Return how many rows each of these tables has."""
    names = table_names(session)
    connection = raw_connection(session)
    return {name: connection.execute(f"SELECT count(*) FROM {_named(name)}").fetchone()[0] for name in names}  # noqa: S608


def _named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_COMPARE = """
    SELECT (SELECT count(*) FROM before.main.{table}), (SELECT count(*) FROM after.main.{table}), count(*),
           count(*) FILTER (b.has_value AND b.hash IS DISTINCT FROM a.hash)
    FROM (SELECT {key} AS key, {column} IS NOT NULL AS has_value, hash(CAST({column} AS {type})) AS hash
          FROM before.main.{table}) b
    JOIN (SELECT {key} AS key, hash({column}) AS hash FROM after.main.{table}) a USING (key)
"""


class Comparison:
    """Two database files that nobody has open, side by side; `memory_limit` is that of `Database`."""

    def __init__(self, before: Path, after: Path, memory_limit: int | None) -> None:
        self._connection = duckdb.connect(config=_memory(memory_limit) | {"temp_directory": str(temporary_of(after))})
        for name, path in (("before", before), ("after", after)):
            self._connection.execute(f"ATTACH '{_quoted(path)}' AS {name} (READ_ONLY)")

    def close(self) -> None:
        """Release both files."""
        self._connection.close()

    def tables(self) -> dict[str, str]:
        """Return the tables of the first database that have a key of one column, and that column."""
        keys = self._all(
            "SELECT table_name, constraint_column_names[1] FROM duckdb_constraints() WHERE database_name = 'before' "
            "AND schema_name = 'main' AND constraint_type = 'PRIMARY KEY' AND len(constraint_column_names) = 1 "
            "ORDER BY ALL"
        )
        return dict(keys)

    def columns(self, database: Literal["before", "after"], table: str) -> dict[str, str]:
        """Return the type of each column of a table; nothing where there is no such table."""
        query = "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = ? AND table_name = ?"
        return dict(self._all(f"{query} AND schema_name = 'main' ORDER BY column_index", [database, table]))

    def lost(self, table: str, key: str, columns: Sequence[str]) -> list[str]:
        """Say, a sentence each, what of a table is not in the second database as it was.

        Rows are matched by their key; of `columns`, a value that was NULL may be another now.
        """
        types, found = self.columns("after", table), []
        # One column at a time: all of them at once take many times the memory.
        for name in columns:
            query = _COMPARE.format(table=_named(table), key=_named(key), column=_named(name), type=types[name])
            rows, rows_after, matched, different = self._all(query)[0]
            if not rows == rows_after == matched:
                return [f"{table} had {rows} rows and has {rows_after}, of which {matched} are the same"]
            if different:
                found.append(f"{table}.{name} differs in {different} rows")
        return found

    def _all(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(query, parameters).fetchall()
