"""What the tables of a backup hold, written down beside it: a check finds blocks that were swapped or put back.

DuckDB's own checksums say that a block is one that it has written, not that it is the one that belongs there.
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
    """Write down, beside a database, what it holds that is whole now, and the header of its file."""
    told = {"duckdb": ENGINE_VERSION, "header": header, "tables": content_hashes(session)}
    write_atomic(database.with_name(NAME), json.dumps(told, indent=1).encode())


def differing(database: Path, header: str | None, session: Session) -> list[str]:
    """Return the tables of an open database that hold something else than was written down.

    None where that cannot be told: nothing was written down, or another DuckDB did it, or the database was written to
    since, which the header of its file shows; a header that is None says so, too.
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
