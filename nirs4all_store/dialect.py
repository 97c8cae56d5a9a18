"""SQLAlchemy's way to DuckDB: duckdb-engine's dialect, without what it asks the engine for again and again."""

from __future__ import annotations

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


registry.register(DRIVER.replace("+", "."), __name__, CachingDialect.__name__)


def wrapped(connection: DuckDBPyConnection) -> ConnectionWrapper:
    """Return a DuckDB connection as the dialect wants it."""
    return ConnectionWrapper(connection)
