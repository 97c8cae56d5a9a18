"""Where the rows live: the engine, columnar inserts and frames out.

This is the only file that knows one database from another.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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

from .duckdb_files import NO_EXTENSIONS, Config, corrupt, logs_of, memory_config, quoted_name
from .errors import WorkspaceBusyError, WorkspaceCorruptError
from .lease import held_alone
from .values import json_text

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

ENGINE_ERRORS = (SQLAlchemyError, duckdb.Error)

# Nothing is fetched, loaded or read because a workspace asks for it, and no statement can undo that.
SAFE_CONFIG: Config = NO_EXTENSIONS | {"enable_external_access": "false"}
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
        folded = self._fold()
        self._anchor.close()
        del self.engine, self._anchor
        if folded:
            _remove_folded(self.path, folded)

    def _fold(self) -> dict[Path, os.stat_result]:
        """Put what stands in the logs into the file; return what is left of them, which holds nothing any more."""
        if self.read_only or not self.is_in_place or not logs_of(self.path):
            return {}
        try:
            self._anchor.execute("CHECKPOINT")
        except duckdb.Error:  # Without room for it the log stays: nothing is lost, the next opening tries again.
            return {}
        return {log: log.stat() for log in logs_of(self.path)}


def _remove_folded(path: Path, folded: dict[Path, os.stat_result]) -> None:
    """Remove logs that DuckDB leaves behind, such as one whose only commit a kill has torn."""
    with contextlib.suppress(WorkspaceBusyError), held_alone(path):
        for log, status in folded.items():
            if log.exists() and (log.stat().st_mtime_ns, log.stat().st_size) == (status.st_mtime_ns, status.st_size):
                log.unlink()


def connect(path: Path, *, read_only: bool = False, memory_limit: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, safely configured; see `Database` for the parameters and `Database.open` for the errors."""
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=SAFE_CONFIG | memory_config(memory_limit))
        connection.execute(AFTER_CONNECTING)
        return connection
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise WorkspaceBusyError(f"another program has {path} open: {error}; close it and try again") from error
        raise corrupt(path, error) from error
    except duckdb.ConnectionException as error:
        raise WorkspaceBusyError(f"this process has {path} open through duckdb itself: {error}; close it") from error
    except duckdb.Error as error:
        raise corrupt(path, error) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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


def checkpoint(session: Session) -> None:
    """Fold the write-ahead log into the file; the session must have no open transaction."""
    with session.get_bind().connect() as connection:  # type: ignore[union-attr]  # an Engine here
        connection.connection.driver_connection.execute("CHECKPOINT")  # type: ignore[union-attr]


def schema_revision(session: Session) -> str | None:
    """Return the revision that the database stands at; None where it has no table of revisions."""
    if "alembic_version" not in table_names(session):
        return None
    versions = session.execute(text("SELECT version_num FROM alembic_version ORDER BY ALL")).scalars()
    return ", ".join(map(str, versions))


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
    return {name: connection.execute(f"SELECT count(*) FROM {quoted_name(name)}").fetchone()[0] for name in names}  # noqa: S608
