"""`MemoryDatabase`, a DuckDB database in memory, for tests and for data that may end with the process.

Why there is one: docs/decisions/0021.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial
from pathlib import Path

import duckdb

from ...errors import OutputPathError
from ...filesystem import fsync_file
from .connection import connect_memory
from .database import DuckDBDatabase
from .file_database import FileDatabase
from .files import is_out_of_memory
from .migrator import create, create_in
from .settings import quoted_name
from .worker_thread import WorkerThread

COPY_BATCH_ROWS = 10_000


class MemoryDatabase(DuckDBDatabase):
    """A database with the tables of a workspace, in the memory of this process; also its own `Upkeep`."""

    def __init__(self) -> None:
        super().__init__(connect_memory())
        create_in(self)
        self._commits = 0

    def after_commit(self) -> None:
        """Count what was committed, so that it is seen that something was."""
        self._commits += 1

    def change_token(self) -> str:
        """Return how many transactions were committed."""
        return str(self._commits)

    def vacuum(self) -> tuple[int, int]:
        """Free nothing; return how many bytes of memory the database takes, twice.

        Only a checkpoint would free memory; why there is none: `connect_memory`.
        """
        with contextlib.closing(self.cursor()) as connection:
            size = connection.execute("SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()").fetchall()[0][0]
        return size, size

    def copy_to(self, path: Path) -> None:
        """Write all rows to a new DuckDB file; no unit of work may be open. For the errors see `Upkeep`."""
        create(path)
        with contextlib.closing(self.cursor()) as source:
            try:
                written = FileDatabase(path)
                with contextlib.closing(written), contextlib.closing(written.cursor()) as target:
                    work = partial(_copy_tables, source, target)
                    WorkerThread(work, target.interrupt, math.inf).result()
            except duckdb.Error as error:
                advice = "close what takes memory" if is_out_of_memory(error) else "make room there"
                raise OutputPathError(f"cannot write {path}: {error}; {advice} and try again") from error
        fsync_file(path)


def _copy_tables(source: duckdb.DuckDBPyConnection, target: duckdb.DuckDBPyConnection) -> None:
    for table in _table_names(target):
        names = ", ".join(quoted_name(name) for name in target.table(table).columns)
        rows = source.sql(f"SELECT {names} FROM {quoted_name(table)}").to_arrow_reader(COPY_BATCH_ROWS)  # noqa: S608
        target.from_arrow(rows).insert_into(table)


def _table_names(database: duckdb.DuckDBPyConnection) -> list[str]:
    query = "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND table_name <> 'alembic_version' ORDER BY ALL"
    return [name for (name,) in database.execute(query).fetchall()]
