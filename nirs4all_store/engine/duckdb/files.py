"""What DuckDB has on the disk: a database, its logs, another database to compare it with."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from io import FileIO
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import duckdb

from ...errors import (
    InvalidInputError,
    OutputPathError,
    ReadOnlyError,
    StoreError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
)
from ...failpoints import Failpoint, hit
from ...filesystem import open_at_once, open_without_following, refuse_odd
from .posix_lock import refuse_if_open_here
from .settings import NO_EXTENSIONS, NO_PROGRESS_BAR, Config, quoted_name
from .worker_thread import WorkerThread

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MISREAD = {"?": "a question mark in the name", "\\": "a backslash in the name"}
# In bytes, below the folder of a workspace.
LONGEST_BELOW = 150
NOT_WAITING = getattr(os, "O_NONBLOCK", 0)
# The file's own header, and two that checkpoints take turns to write.
HEADER_BYTES = 3 * 4096
LOG_ENDINGS = (".wal", ".wal.checkpoint", ".wal.recovery")
# Measured of 1.4 and 2.0: each commit ends with an entry of five bytes, after its length and its checksum.
COMMIT = re.compile(rb"\x05\0{7}.{8}\x64\0\x64\xff\xff", re.DOTALL)


def refuse_misread(folder: Path, error: type[StoreError] = InvalidInputError) -> None:
    """Refuse a folder in which the engine would take the path of a database for another one's.

    It puts the name of a log before the first `?`, as in an address on the web; takes a backslash for a slash; and
    takes no text but UTF-8. It also makes longer names than we do: a folder has to leave room for them.

    Parameters
    ----------
    folder : Path
        Whether it is there or not.
    error : type
        What to raise.
    """
    text = os.path.realpath(folder)  # As the engine spells it, also where a link leads there.
    misread = [shown for mark, shown in MISREAD.items() if mark in text]
    try:
        text.encode()
        os.lstat(f"{text}/{'x' * LONGEST_BELOW}")
    except UnicodeEncodeError:
        misread.append("what is no UTF-8")
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            misread.append("so long a path")
    if misread and os.name == "posix":
        raise error(
            f"{text!r:.300} cannot hold a database: the engine takes {' and '.join(misread)} for something else; "
            "nothing was made or changed: give a folder with another name, or rename the one that has it"
        )


def is_locked(path: Path, *, shared: bool) -> bool:
    """Tell whether another program keeps a database file to itself, by asking for the lock that DuckDB takes.

    Parameters
    ----------
    path : Path
        This process must not have it open: its own locks would vanish.
    shared : bool
        Whether one wants to read only, beside others who do.
    """
    try:
        with path.open("rb" if shared else "r+b") as stream:
            if fcntl is not None:
                fcntl.lockf(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # Without fcntl, the system itself keeps others out of a file that is open for writing.
        return fcntl is None and path.exists()
    return False


def logs_of(path: Path) -> list[Path]:
    """Return the write-ahead logs that lie beside a database: what was committed and is not in it yet.

    DuckDB 2.0 writes to a second one while it folds the first one in.
    """
    return [log for log in log_names(path) if log.exists()]


@lru_cache
def log_names(path: Path) -> tuple[Path, ...]:
    """Return the names that the logs of a database have when they are there."""
    return tuple(path.with_name(f"{path.name}{ending}") for ending in LOG_ENDINGS)


def refuse_odd_database(path: Path) -> None:
    """Refuse a database beside which DuckDB would write or read something else than files; see `refuse_odd`.

    It opens them by their names, when it first needs them: so this comes right before it is let to.
    """
    refuse_odd(path, *log_names(path), temporary_of(path))


def header_of(path: Path) -> str:
    """Return a hash of the first bytes of a file that this process has not open: they count its checkpoints."""
    try:
        # A pipe in its place, which is refused next, may keep nobody waiting.
        with open(path, "rb", opener=lambda name, flags: open_at_once(name, flags | NOT_WAITING)) as stream:
            return hashlib.sha256(stream.read(HEADER_BYTES)).hexdigest()
    except OSError:  # There is none yet, or connecting says why it cannot be read.
        return ""


def commit_ends(log: bytes) -> list[int]:
    """Return where in a write-ahead log, or in a part of one, the commits end that it shows."""
    return [commit.end() for commit in COMMIT.finditer(log)]


def read_every_value(path: Path) -> dict[str, int]:
    """Read all of a database that nobody has open, and of its logs; return how many rows each table has.

    Raises
    ------
    WorkspaceCorruptError
        Something of it cannot be read.
    """
    refuse_odd_database(path)
    connection = duckdb.connect(config=NO_EXTENSIONS | {"temp_directory": str(temporary_of(path))})
    try:
        connection.execute(NO_PROGRESS_BAR)
        connection.execute(f"ATTACH '{_quoted(path)}' AS source (READ_ONLY)")
        connection.execute("SET enable_external_access = false")
        names = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'source' AND schema_name = 'main'"
        rows = {}
        for (name,) in connection.execute(f"{names} ORDER BY ALL").fetchall():
            columns = f"bit_xor(hash(COLUMNS(*))), count(*) AS number FROM source.main.{quoted_name(name)}"
            rows[name] = int(connection.execute(f"SELECT {columns}").fetchall()[0][-1])
        return rows
    except duckdb.Error as error:
        raise corrupt(path, error) from error
    finally:
        connection.close()


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether the engine gave up because of its memory limit."""
    return isinstance(getattr(error, "orig", error), duckdb.OutOfMemoryException)


@lru_cache
def temporary_of(path: Path) -> Path:
    """Return the folder where DuckDB puts what it has no memory for, while it works on a database."""
    return path.with_name(f"{path.name}.tmp")


def memory_config(limit: int | None) -> Config:
    """Return the setting of a memory limit, in bytes; None: the engine's own."""
    return {} if limit is None else {"memory_limit": f"{limit}B"}


def corrupt(path: Path, error: Exception) -> WorkspaceCorruptError:
    """Return the error of a file that DuckDB cannot read."""
    advice = "restore it from a backup"
    if logs_of(path):
        advice = f"run `nirs4all-store recover {quote(str(path.parent))}` if it is its log that is damaged, or {advice}"
    return WorkspaceCorruptError(
        f"{path} cannot be opened as a DuckDB database: {error}; nothing was changed: {advice}"
    )


def copy_compacted(source: Path, target: Path) -> None:
    """Write the rows of a database that nobody has open to a new file, without its free space.

    Raises
    ------
    WorkspaceCorruptError
        `source` is damaged.
    OutputPathError
        `target` cannot be written.
    """
    refuse_odd_database(source)
    refuse_odd_database(target)
    steps = (
        (source, f"ATTACH '{_quoted(source)}' AS source (READ_ONLY)"),
        (target, f"ATTACH '{_quoted(target)}' AS target"),
        (None, "COPY FROM DATABASE source TO target"),
        (target, "DETACH target"),
    )
    connection = duckdb.connect(config=NO_EXTENSIONS)
    connection.execute(NO_PROGRESS_BAR)
    try:
        for about, statement in steps:
            hit(Failpoint.COMPACTING)
            try:
                WorkerThread(partial(connection.execute, statement), connection.interrupt, math.inf).result()
            except duckdb.Error as error:
                if about == source:
                    raise corrupt(source, error) from error
                if about is None and not is_out_of_memory(error):
                    connection.close()
                    read_every_value(source)  # Raises if it is the source that cannot be read.
                raise OutputPathError(f"cannot write {target}: {error}; make room there and try again") from error
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


_COMPARE = """
    SELECT (SELECT count(*) FROM before.main.{table}), (SELECT count(*) FROM after.main.{table}), count(*),
           count(*) FILTER (b.has_value AND b.hash IS DISTINCT FROM a.hash)
    FROM (SELECT {key} AS key, {column} IS NOT NULL AS has_value, hash(CAST({column} AS {type})) AS hash
          FROM before.main.{table}) b
    JOIN (SELECT {key} AS key, hash({column}) AS hash FROM after.main.{table}) a USING (key)
"""


class Comparison:
    """Two database files that nobody has open, side by side; `memory_limit` is that of `FileDatabase`."""

    def __init__(self, before: Path, after: Path, memory_limit: int | None) -> None:
        config = NO_EXTENSIONS | memory_config(memory_limit) | {"temp_directory": str(temporary_of(after))}
        self._connection = duckdb.connect(config=config)
        self._connection.execute(NO_PROGRESS_BAR)
        for name, path in (("before", before), ("after", after)):
            refuse_odd_database(path)
            self._connection.execute(f"ATTACH '{_quoted(path)}' AS {name} (READ_ONLY)")

    def close(self) -> None:
        """Release both files."""
        self._connection.close()

    def tables(self) -> dict[str, str]:
        """Return the tables of the first database that have a key of one column, and that column."""
        keys = self._all(
            "SELECT table_name, constraint_column_names[1] FROM duckdb_constraints() WHERE database_name = 'before' "
            "AND schema_name = 'main' AND constraint_type = 'PRIMARY KEY' AND len(constraint_column_names) = 1 "
            "ORDER BY ALL"
        )
        return dict(keys)

    def columns(self, database: Literal["before", "after"], table: str) -> dict[str, str]:
        """Return the type of each column of a table; nothing where there is no such table."""
        query = "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = ? AND table_name = ?"
        return dict(self._all(f"{query} AND schema_name = 'main' ORDER BY column_index", [database, table]))

    def lost(self, table: str, key: str, columns: Sequence[str]) -> list[str]:
        """Say, a sentence each, what of a table is not in the second database as it was.

        Rows are matched by their key; of `columns`, a value that was NULL may be another now.
        """
        types, found = self.columns("after", table), []
        # One column at a time: all of them at once take many times the memory.
        for name in columns:
            query = _COMPARE.format(
                table=quoted_name(table), key=quoted_name(key), column=quoted_name(name), type=types[name]
            )
            rows, rows_after, matched, different = self._all(query)[0]
            if not rows == rows_after == matched:
                return [f"{table} had {rows} rows and has {rows_after}, of which {matched} are the same"]
            if different:
                found.append(f"{table}.{name} differs in {different} rows")
        return found

    def _all(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(query, parameters).fetchall()


MAGIC = b"DUCK"
MAGIC_OFFSET = 8


def not_found(path: Path) -> WorkspaceNotFoundError:
    """Return the error of a folder that is no workspace."""
    return WorkspaceNotFoundError(
        f"there is no workspace at {path}; give another folder, or create one with WorkspaceStore({str(path)!r}), in a "
        "shell with `nirs4all-store init`"
    )


def check_is_duckdb(path: Path) -> None:
    """Tell files of other programs from damaged ones; nobody has the file open while we read it."""
    if path.is_symlink():
        raise WorkspaceCorruptError(
            f"{path} is a link, beside which DuckDB would look for no log; nothing was changed: link the whole folder"
        )
    if not path.exists():
        raise not_found(path.parent)
    if not path.is_file():
        raise WorkspaceCorruptError(f"{path} is not a file; move it away or give another folder")
    refuse_if_open_here(path)
    try:
        with FileIO(path, opener=open_without_following) as stream:
            head = stream.read(MAGIC_OFFSET + len(MAGIC))
    except OSError as error:
        raise ReadOnlyError(f"{path} cannot be read: {error}; ask for the right to read it") from error
    if not head:
        raise WorkspaceCorruptError(f"{path} is empty: it was never a workspace's database; move it away to start anew")
    if head[MAGIC_OFFSET:] != MAGIC:
        raise WorkspaceCorruptError(f"{path} is no DuckDB database; nothing was changed: give another folder")
