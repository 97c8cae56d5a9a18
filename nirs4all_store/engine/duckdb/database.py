"""`DuckDBDatabase`, an open DuckDB database with its connections and sessions.

`FileDatabase` and `MemoryDatabase` are the two kinds of it.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import duckdb
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.util import LRUCache

from ...validation import json_text
from ..base import Answer, FlushingSession, Question
from ..findings import Differences
from .connection import catalog_name
from .revisions import HEAD, printed_schema
from .row_io import DuckDBRows
from .schema import differences_from
from .settings import quoted_name

IDLE_CONNECTIONS = 16
COMPILED: LRUCache[Any, Any] = LRUCache(500)
"""What SQLAlchemy has compiled for any database of this process; an engine's own cache would end with the engine."""


class DuckDBDatabase:
    """A DuckDB database that this process has open; see `engine.base.Database`.

    One connection, the anchor, stays open as long as the database does, since opening a file for every transaction
    costs tens of milliseconds. Each session has its own connection beside it.

    Parameters
    ----------
    anchor : DuckDBPyConnection

    Attributes
    ----------
    engine : Engine
        SQLAlchemy's engine for this database.
    new_keys : int
        How many rows were inserted since the database was opened.
    """

    def __init__(self, anchor: duckdb.DuckDBPyConnection) -> None:
        self.new_keys = 0
        self._connections: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._anchor = anchor
        try:
            self._note_opened()
            self._name = catalog_name(anchor)
            from .dialect import DRIVER, Connections  # Not at the top: it takes half as long as all other imports.

            self._idle = Connections(self.cursor, IDLE_CONNECTIONS)
            self.engine = create_engine(
                f"{DRIVER}://",
                creator=self._idle.take,
                poolclass=NullPool,
                pool_reset_on_return=None,  # A session ends its transaction itself; a second rollback is a round trip.
                json_serializer=lambda value: json_text(value, "a JSON value"),
                execution_options={"compiled_cache": COMPILED},
            )
        except BaseException:  # Ctrl-C may come at any moment, and nobody has what could be closed.
            anchor.close()
            raise

    def _note_opened(self) -> None:
        """Remember which file was opened; a subclass with a file overrides this."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine still answers: after some errors, as of the disk, it does not until it is opened again."""
        try:
            with contextlib.closing(self._anchor.cursor()) as connection:
                connection.execute("SELECT 1").fetchall()
        except duckdb.Error:
            return False
        return True

    def session(self) -> FlushingSession:
        """Return a new session on its own connection; its transaction begins with its first statement."""
        return FlushingSession(self.engine)

    def adopt(self, session: Session) -> None:
        """Connect a session with this database that was made before the database was closed and opened again."""
        session.close()
        session.bind = self.engine

    def row_io(self, session: Session) -> DuckDBRows:
        """Return the `DuckDBRows` of a session of this database."""
        return DuckDBRows(session, self._count_keys)

    def _count_keys(self, number: int) -> None:
        self.new_keys += number

    def before_commit(self) -> None:
        """Do nothing: a database in memory cannot be removed or replaced; `FileDatabase` checks its file here."""

    def after_commit(self) -> None:
        """Do nothing: a database in memory has no log that could be lost; `FileDatabase` checks its log here."""

    def interrupt(self) -> None:
        """Stop the statements that run on any connection of this database; each raises an error."""
        for connection in list(self._connections):
            connection.interrupt()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection.

        On it, the name of a function means DuckDB's own one, even if the file has a macro of that name.
        """
        connection = self._anchor.cursor()
        self._connections.add(connection)
        connection.execute(f"SET search_path = 'system.main,{quoted_name(self._name)}.main'")
        return connection

    def ask(self, question: Question) -> Answer:
        """Start a query that a user has written; see `engine.base.Database.ask`."""
        from .readonly_sql import ReadOnlyQuery  # Not at the top: most programs run no such query.

        asked = ReadOnlyQuery(question)
        try:
            asked.submit(self.cursor)
        except BaseException:
            asked.close()
            raise
        return asked

    def differences(self, session: Session) -> Differences:
        """Return how the schema differs from that of the newest revision."""
        return differences_from(session, printed_schema(HEAD))

    def other_contents(self, session: Session) -> list[str]:
        """Return an empty list: only beside a file are hashes of the tables stored."""
        return []
