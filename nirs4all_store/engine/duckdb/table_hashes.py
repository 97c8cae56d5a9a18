"""Stores hashes of all tables beside a backup, so that a check finds blocks that were swapped or replaced by old ones.

DuckDB's own checksums tell that it has written a block, but not that the block belongs at this place.
"""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy.orm import Session

from ...filesystem import write_atomic
from .connection import ENGINE_VERSION
from .schema import content_hashes

NAME = "store.duckdb.contents"


def write_down(database: Path, header: str, session: Session) -> None:
    """Store hashes of all tables beside a database, with the version of DuckDB and the hash of the file's headers.

    Parameters
    ----------
    database : Path
    header : str
        See `FileDatabase`.
    session : Session
        Of this database.

    Raises
    ------
    OutputPathError
        The file cannot be written.
    """
    told = {"duckdb": ENGINE_VERSION, "header": header, "tables": content_hashes(session)}
    write_atomic(database.with_name(NAME), json.dumps(told, indent=1).encode())


def differing(database: Path, header: str | None, session: Session) -> list[str]:
    """Return the names of the tables of an open database whose rows differ from the stored hashes.

    The list is empty if that cannot be told: there are no hashes, another version of DuckDB made them, or the database
    was written to since.

    Parameters
    ----------
    database : Path
    header : str or None
        The hash of the file's headers now (see `FileDatabase`); None: the database was written to.
    session : Session
        Of this database.
    """
    path = database.with_name(NAME)
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        is_comparable = told["duckdb"] == ENGINE_VERSION and told["header"] == header and told["tables"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return [NAME]
    if not is_comparable:
        return []
    found = content_hashes(session)
    return sorted(name for name, content in told["tables"].items() if found.get(name) != content)
