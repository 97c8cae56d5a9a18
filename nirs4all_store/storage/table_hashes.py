"""What the tables of a backup hold, written down beside it: a check finds blocks that were swapped or put back.

DuckDB's own checksums say that a block is one that it has written, not that it is the one that belongs there.
"""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from ..engine import ENGINE_VERSION, Database, content_hashes
from ..filesystem import write_atomic

NAME = "store.duckdb.contents"


def write_down(database: Database) -> None:
    """Write down what an open database holds that is whole now, beside it."""
    with database.session() as session:
        tables = content_hashes(session)
    told = {"duckdb": ENGINE_VERSION, "header": database.header, "tables": tables}
    write_atomic(database.path.with_name(NAME), json.dumps(told, indent=1).encode())


def differing(database: Database, session: Session) -> list[str]:
    """Return the tables of an open database that hold something else than was written down.

    None where that cannot be told: nothing was written down, or another DuckDB did it, or the database was written to
    since, which the header of its file shows.
    """
    path = database.path.with_name(NAME)
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        is_comparable = (
            told["duckdb"] == ENGINE_VERSION and told["header"] == database.header and told["tables"].items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return [NAME]
    if database.has_changed or not is_comparable:
        return []
    found = content_hashes(session)
    return sorted(name for name, content in told["tables"].items() if found.get(name) != content)
