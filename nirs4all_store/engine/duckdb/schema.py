"""The schema of a database: its tables, its stamped revision, what it has besides."""

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


def checkpoint(session: Session) -> None:
    """Fold the write-ahead log into the file; the session must have no open transaction."""
    with session.get_bind().connect() as connection:  # type: ignore[union-attr]  # an Engine here
        raw: Any = connection.connection.driver_connection
        raw.execute(f"CHECKPOINT {quoted_name(catalog_name(raw))}")


def stamped_revision(session: Session, tables: Iterable[str]) -> str | None:
    """Return the revision of a database that has all these tables, or None where it takes a closer look.

    Naming the tables in a statement takes a tenth of the time that asking the catalog for them does.
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
    """Return the revision that the database stands at; None where it has no table of revisions."""
    if "alembic_version" not in table_names(session):
        return None
    versions = session.execute(text("SELECT version_num FROM alembic_version ORDER BY ALL")).scalars()
    return ", ".join(map(str, versions))


def table_names(session: Session) -> list[str]:
    """Return the names of the tables in the database's main schema."""
    names = text("SELECT table_name FROM duckdb_tables() WHERE NOT internal AND schema_name = 'main' ORDER BY ALL")
    return list(session.execute(names).scalars())


def make_tables_in(connection: Connection) -> None:
    """Let what is created without a schema go to the file, which migrations need."""
    connection.execute(text("RESET search_path"))


def differences_from(session: Session, printed: str, *, macros: bool = True) -> Differences:
    """Return in what the database differs from a revision, before `make_tables_in`; see `catalog.differences`."""
    connection = raw_connection(session)
    return differences(connection, catalog_name(connection), printed, macros=macros)


def stamp(connection: Connection, revision: str) -> None:
    """Let a database that has no table of revisions stand at one."""
    connection.execute(text("CREATE TABLE alembic_version(version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})


def row_counts(session: Session) -> dict[str, int]:
    """Return how many rows each of these tables has."""
    names = table_names(session)
    connection = raw_connection(session)
    return {name: connection.execute(f"SELECT count(*) FROM {quoted_name(name)}").fetchone()[0] for name in names}  # noqa: S608


def content_hashes(session: Session) -> dict[str, str]:
    """Return how many rows each of these tables has, and a hash of all of their values; no matter in which order."""
    connection = raw_connection(session)
    found = {}
    for name in table_names(session):
        query = f"SELECT concat(count(*), ' ', bit_xor(hash(row))) FROM {quoted_name(name)} AS row"  # noqa: S608
        found[name] = str(WorkerThread(partial(_value, connection, query), connection.interrupt, math.inf).result())
    return found


def _value(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchone()[0]
