"""SQLAlchemy's way to DuckDB: duckdb-engine's dialect, without what it asks the engine for again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection
from duckdb_engine import ConnectionWrapper, Dialect, DuckDBIdentifierPreparer
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGIdentifierPreparer

DRIVER = "duckdb+caching"


@cache
def _reserved_words() -> frozenset[str]:
    # duckdb-engine asks the connection that duckdb keeps for all: a forked child that has it dies at its end.
    with duckdb.connect() as connection:
        words = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'")
        return frozenset(PGIdentifierPreparer.reserved_words).union(*words.fetchall())


class CachingPreparer(DuckDBIdentifierPreparer):
    """Quotes names, and asks for the reserved words once instead of for each engine."""

    def __init__(self, dialect: Dialect, **kwargs: Any) -> None:
        PGIdentifierPreparer.__init__(self, dialect, **kwargs)
        self.reserved_words = {*_reserved_words()}


class CachingDialect(Dialect):
    """Keeps compiled statements: compiling one costs more than running it."""

    supports_statement_cache = True
    preparer = CachingPreparer

    def initialize(self, connection: Connection) -> None:
        """Ask the engine for nothing: what is asked by default is known of DuckDB."""
        self.server_version_info = self._get_server_version_info(connection)
        self.default_schema_name = "main"

    def do_terminate(self, connection: Any) -> None:
        """Close a connection that an error has broken."""
        connection.terminate()

    def do_begin(self, connection: Any) -> None:
        """Begin a transaction, whatever the last user of the connection has left open: Ctrl-C comes at any moment."""
        try:
            connection.begin()
        except duckdb.TransactionException:
            connection.rollback()
            connection.begin()


registry.register(DRIVER.replace("+", "."), __name__, CachingDialect.__name__)


class Connections:
    """Connections that are used again, since making one costs more than many a statement.

    SQLAlchemy's pools that keep connections wait on a condition: Ctrl-C in the wrong moment leaves its lock taken, or
    gives one connection to two. A deque takes and gives in one step.

    Parameters
    ----------
    connect : callable
        Makes a new one.
    number : int
        How many to keep at most.
    """

    def __init__(self, connect: Callable[[], DuckDBPyConnection], number: int) -> None:
        self._connect = connect
        self.idle: deque[DuckDBPyConnection] = deque(maxlen=number)

    def take(self) -> ConnectionWrapper:
        """Return one that nobody uses; it comes back when it is closed."""
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = self._connect()
        return _Connection(connection, self)

    def close(self) -> None:
        """Close those that nobody uses, and keep none that comes back later."""
        idle, self.idle = self.idle, deque(maxlen=0)
        while idle:
            idle.pop().close()


class _Connection(ConnectionWrapper):
    """A DuckDB connection of `Connections` as the dialect wants it, for one who takes it."""

    def __init__(self, connection: DuckDBPyConnection, home: Connections) -> None:
        super().__init__(connection)
        self._connection: DuckDBPyConnection | None = connection
        self._home = home

    def close(self) -> None:
        """Give it back; twice is fine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._home.idle.append(connection)

    def terminate(self) -> None:
        """Close it: nobody will use it again."""
        super().close()
