"""Reads and sets the schema of a database: its tables, the revision that is stamped in it, hashes of its rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import duckdb
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from ...errors import WorkspaceCorruptError
from ..findings import Differences
from .catalog import differences
from .connection import catalog_name, raw_connection
from .settings import quoted_name
from .worker_thread import WorkerThread


def stamped_revision(session: Session, tables: Iterable[str]) -> str | None:
    """Return the revision of a database that has all these tables; None if that is not certain.

    To name the tables in a statement takes a tenth of the time of a query to the catalog.

    Raises
    ------
    WorkspaceCorruptError
        One of the tables is a view.
    """
    connection = raw_connection(session)
    try:
        views = [name for name in ("alembic_version", *tables) if connection.table(name).type != "TABLE_RELATION"]
        if views:
            raise WorkspaceCorruptError(f"{', '.join(views)} in this database are views, which no workspace has")
        connection.execute(f"SELECT 1 FROM alembic_version, {', '.join(tables)} LIMIT 0")  # noqa: S608  # our names
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except duckdb.CatalogException:
        return None
    return str(versions[0][0]) if len(versions) == 1 else None


def schema_revision(session: Session) -> str | None:
    """Return the revision that is stamped in the database; None if it has no table `alembic_version`."""
    if "alembic_version" not in table_names(session):
        return None
    versions = session.execute(text("SELECT version_num FROM alembic_version ORDER BY ALL")).scalars()
    return ", ".join(map(str, versions))


def table_names(session: Session) -> list[str]:
    """Return the names of the tables in the database's main schema."""
    names = text("SELECT table_name FROM duckdb_tables() WHERE NOT internal AND schema_name = 'main' ORDER BY ALL")
    return list(session.execute(names).scalars())


def make_tables_in(connection: Connection) -> None:
    """Make `CREATE TABLE name` create the table in the database, as migrations need it; see docs/decisions/0010."""
    connection.execute(text("RESET search_path"))


def differences_from(session: Session, printed: str, *, macros: bool = True) -> Differences:
    """Return how the database differs from a revision; see `catalog.differences`. Call it before `make_tables_in`."""
    connection = raw_connection(session)
    return differences(connection, catalog_name(connection), printed, macros=macros)


def stamp(connection: Connection, revision: str) -> None:
    """Stamp a revision in a database that has no table `alembic_version`, as Alembic does."""
    connection.execute(text("CREATE TABLE alembic_version(version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})


def row_counts(session: Session) -> dict[str, int]:
    """Return the number of rows of each table in the main schema."""
    names = table_names(session)
    connection = raw_connection(session)
    return {name: connection.execute(f"SELECT count(*) FROM {quoted_name(name)}").fetchone()[0] for name in names}  # noqa: S608


def content_hashes(session: Session) -> dict[str, str]:
    """Return, for each table in the main schema, its number of rows and a hash of all rows, as one text.

    The hash does not depend on the order of the rows.
    """
    connection = raw_connection(session)
    found = {}
    for name in table_names(session):
        query = f"SELECT concat(count(*), ' ', bit_xor(hash(row))) FROM {quoted_name(name)} AS row"  # noqa: S608
        found[name] = str(WorkerThread(partial(_value, connection, query), connection.interrupt, math.inf).result())
    return found


def _value(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchone()[0]
