"""An open DuckDB database: its connections and sessions. `file_database` and `memory_database` are the two kinds."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from ...validation import json_text
from ..base import FlushingSession
from ..findings import Differences
from .connection import catalog_name
from .revisions import HEAD, printed_schema
from .row_io import DuckDBRows
from .schema import differences_from
from .settings import NO_PROGRESS_BAR, quoted_name

if TYPE_CHECKING:
    from .dialect import Connections
    from .readonly_sql import ReadOnlyQuery

IDLE_CONNECTIONS = 16


class DuckDBDatabase:
    """A DuckDB database, open in this process; see `engine.base.Database`.

    One connection, the anchor, stays open as long as the database does, since opening a file for every transaction
    costs tens of milliseconds; each session has a connection of its own beside it.

    Parameters
    ----------
    anchor : DuckDBPyConnection

    Attributes
    ----------
    new_keys : int
        How many rows were inserted since it was opened.
    """

    def __init__(self, anchor: duckdb.DuckDBPyConnection) -> None:
        self.new_keys = 0
        self._connections: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._anchor = anchor
        try:
            self._note_opened()
            self._name = catalog_name(anchor)
            self._idle, self.engine = _engine(self.cursor)
        except BaseException:  # Ctrl-C may come at any moment, and nobody has what could be closed.
            anchor.close()
            raise

    def _note_opened(self) -> None:
        """Remember what was opened."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine still answers: some errors, of the disk among them, leave it dead until it is opened."""
        try:
            with contextlib.closing(self._anchor.cursor()) as connection:
                connection.execute("SELECT 1").fetchall()
        except duckdb.Error:
            return False
        return True

    def session(self) -> Session:
        """Return a new session on a connection of its own; it begins at its first statement."""
        return FlushingSession(self.engine)

    def adopt(self, session: Session) -> None:
        """Let a session go on here that began on this database before it was opened anew."""
        session.close()
        session.bind = self.engine

    def row_io(self, session: Session) -> DuckDBRows:
        """Return what reads and writes the rows of one of its sessions."""
        return DuckDBRows(session, self._count_keys)

    def _count_keys(self, number: int) -> None:
        self.new_keys += number

    def before_commit(self) -> None:
        """Do nothing: nothing can happen to it that a commit would not notice."""

    def after_commit(self) -> None:
        """Do nothing: what was committed lasts as long as the database does."""

    def interrupt(self) -> None:
        """Stop the statements that run on any of its connections; they raise."""
        for connection in list(self._connections):
            connection.interrupt()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection, on which a name means the engine's own function, whatever macros the file has."""
        connection = self._anchor.cursor()
        self._connections.add(connection)
        connection.execute(NO_PROGRESS_BAR)
        connection.execute(f"SET search_path = 'system.main,{quoted_name(self._name)}.main'")
        return connection

    def ask(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None,
        max_rows: int,
        max_bytes: int,
        timeout: float,
        metadata: MetaData,
    ) -> ReadOnlyQuery:
        """Ask a question of a user's own, which only reads; see `ReadOnlyQuery`."""
        from .readonly_sql import ReadOnlyQuery  # Not at the top: who asks nothing need not wait for it.

        asked = ReadOnlyQuery(query, params, max_rows, max_bytes, timeout, metadata)
        try:
            asked.submit(self.cursor)
        except BaseException:
            asked.close()
            raise
        return asked

    def differences(self, session: Session) -> Differences:
        """Return in what the schema differs from the newest revision's."""
        return differences_from(session, printed_schema(HEAD))

    def other_contents(self, session: Session) -> list[str]:
        """Return nothing: beside what is no file, nothing is written down."""
        return []


def _engine(connect: Callable[[], duckdb.DuckDBPyConnection]) -> tuple[Connections, Engine]:
    from .dialect import DRIVER, Connections  # Not at the top: it takes as long to import as half of all else.

    connections = Connections(connect, IDLE_CONNECTIONS)
    return connections, create_engine(
        f"{DRIVER}://",
        creator=connections.take,
        poolclass=NullPool,
        pool_reset_on_return=None,  # A session ends its transaction itself; a second rollback is a round trip.
        json_serializer=lambda value: json_text(value, "a JSON value"),
    )
