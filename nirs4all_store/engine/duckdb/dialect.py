"""SQLAlchemy's dialect for DuckDB: that of duckdb-engine, without the queries that it repeats for each engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection
from duckdb_engine import ConnectionWrapper, Dialect, DuckDBIdentifierPreparer
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGIdentifierPreparer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from ..base import Pieces

DRIVER = "duckdb+caching"


OWN_WORDS = frozenset(
    ("describe", "lambda", "lateral", "pivot", "pivot_longer", "pivot_wider", "qualify", "show", "summarize", "unpivot")
)
"""What DuckDB reserves beside the words of PostgreSQL."""


class CachingPreparer(DuckDBIdentifierPreparer):
    """Quotes names; the reserved words are known.

    duckdb-engine asks duckdb's default connection for them, for each engine. A forked child that inherits the threads
    of that connection would die at its end, and to ask takes a twentieth of the time of a listing.
    """

    def __init__(self, dialect: Dialect, **kwargs: Any) -> None:
        PGIdentifierPreparer.__init__(self, dialect, **kwargs)
        self.reserved_words = {*PGIdentifierPreparer.reserved_words, *OWN_WORDS}


class CachingDialect(Dialect):
    """The dialect, with SQLAlchemy's cache of compiled statements: to compile one costs more than to run it.

    All its instances are equal, since they compile alike: what one workspace has compiled serves the next one.
    """

    supports_statement_cache = True
    preparer = CachingPreparer

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def initialize(self, connection: Connection) -> None:
        """Set what SQLAlchemy would ask the database for: for DuckDB it is always the same."""
        self.server_version_info = self._get_server_version_info(connection)
        self.default_schema_name = "main"

    def do_terminate(self, connection: Any) -> None:
        """Close a connection that an error has broken."""
        connection.terminate()

    def do_begin(self, connection: Any) -> None:
        """Begin a transaction; roll back one that the last user of the connection left open, as Ctrl-C can do."""
        try:
            connection.begin()
        except duckdb.TransactionException:
            connection.rollback()
            connection.begin()


@compiles(Pieces, "duckdb")
def _pieces(element: Pieces, compiler: SQLCompiler, **given: Any) -> str:
    return f"unnest(string_split({compiler.process(element.clauses, **given)}))"


registry.register(DRIVER.replace("+", "."), __name__, CachingDialect.__name__)


class Connections:
    """A pool of connections: to make a new one costs more than many statements.

    SQLAlchemy's own pools use a condition: Ctrl-C at the wrong moment can leave its lock taken, or give one connection
    to two sessions. A deque gives and takes a connection in one step.

    Parameters
    ----------
    connect : callable
        Makes a new connection.
    number : int
        How many idle connections to keep at most.

    Attributes
    ----------
    idle : deque of DuckDBPyConnection
    """

    def __init__(self, connect: Callable[[], DuckDBPyConnection], number: int) -> None:
        self._connect = connect
        self.idle: deque[DuckDBPyConnection] = deque(maxlen=number)

    def take(self) -> ConnectionWrapper:
        """Return a connection that nobody uses. When it is closed, it comes back to this pool."""
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = self._connect()
        return _Connection(connection, self)

    def close(self) -> None:
        """Close the idle connections; those in use are closed with the connection that they are cursors of."""
        while self.idle:
            self.idle.pop().close()


class _Connection(ConnectionWrapper):
    """A DuckDB connection as the dialect uses it, lent by a pool (`Connections`)."""

    def __init__(self, connection: DuckDBPyConnection, home: Connections) -> None:
        super().__init__(connection)
        self._connection: DuckDBPyConnection | None = connection
        self._home = home

    def close(self) -> None:
        """Give the connection back to the pool; a second call does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._home.idle.append(connection)

    def terminate(self) -> None:
        """Close the connection itself, so that nobody uses it again."""
        super().close()
