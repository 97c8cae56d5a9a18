"""Looks at DuckDB's files on the disk: a database, its write-ahead logs, two databases to compare.

Nobody may have the files open meanwhile. Facts about DuckDB's logs were measured: docs/decisions/0013.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Sequence
from contextlib import closing
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
from ...filesystem import NO_WAITING, open_at_once, open_without_following, refuse_odd
from .posix_lock import refuse_if_open_here
from .settings import NO_EXTENSIONS, NO_PROGRESS_BAR, Config, quoted_name
from .worker_thread import WorkerThread

MISREAD = {"?": "a question mark in the name", "\\": "a backslash in the name"}
# The longest path of a file below the folder of a workspace, in bytes.
LONGEST_BELOW = 150
# The file's own header and two more, which are written in turns by checkpoints.
HEADER_BYTES = 3 * 4096
LOG_ENDINGS = (".wal", ".wal.checkpoint", ".wal.recovery")
# Measured with DuckDB 1.4 and 2.0: a commit ends with an entry of five bytes, after its length and its checksum.
COMMIT = re.compile(rb"\x05\0{7}.{8}\x64\0\x64\xff\xff", re.DOTALL)


def refuse_misread(folder: Path, error: type[StoreError] = InvalidInputError) -> None:
    """Raise if DuckDB would misread the path of a database in this folder.

    DuckDB puts the ending of a log before the first `?`, as in an address on the web. It takes a backslash for a slash,
    and only UTF-8 for text. It also makes longer file names than we do, for which the path must be short enough.

    Parameters
    ----------
    folder : Path
        It need not exist.
    error : type
        The error to raise.
    """
    text = os.path.realpath(folder)  # As DuckDB spells it, also where a link leads there.
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


def logs_of(path: Path) -> list[Path]:
    """Return the write-ahead logs beside a database. They have what was committed and is not in the file yet.

    DuckDB 2.0 writes to a second log while it folds the first one into the file.
    """
    return list(filter(Path.exists, log_names(path)))


@lru_cache
def log_names(path: Path) -> tuple[Path, ...]:
    """Return the paths that the logs of a database have when they exist."""
    return tuple(path.with_name(f"{path.name}{ending}") for ending in LOG_ENDINGS)


def refuse_odd_database(path: Path) -> None:
    """Raise if the database, a log or the temporary folder is a link or no file or folder; see `refuse_odd`.

    DuckDB opens the logs and the folder by their names when it first needs them. So call this right before DuckDB may.
    """
    refuse_odd(path, *log_names(path), temporary_of(path))


def header_of(path: Path) -> str:
    """Return a hash of the headers of a file that this process does not have open; each checkpoint changes them.

    It is empty if the file cannot be read.
    """
    try:
        # Without NO_WAITING, opening a pipe in its place would block; the pipe itself is refused later.
        with open(path, "rb", opener=lambda name, flags: open_at_once(name, flags | NO_WAITING)) as stream:
            return hashlib.sha256(stream.read(HEADER_BYTES)).hexdigest()
    except OSError:  # There is no file yet, or the error comes again, with a message, when DuckDB connects.
        return ""


def commit_ends(log: bytes) -> list[int]:
    """Return the offsets at which commits end in a write-ahead log, or in a part of one, in bytes."""
    return [commit.end() for commit in COMMIT.finditer(log)]


def read_every_value(path: Path) -> dict[str, int]:
    """Read every value of a database that nobody has open, and of its logs; return the number of rows of each table.

    Raises
    ------
    WorkspaceCorruptError
        A value cannot be read.
    """
    refuse_odd_database(path)
    with closing(duckdb.connect(config=NO_EXTENSIONS | {"temp_directory": str(temporary_of(path))})) as connection:
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


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error of DuckDB, or of SQLAlchemy about it, says that the memory limit was reached."""
    return isinstance(getattr(error, "orig", error), duckdb.OutOfMemoryException)


@lru_cache
def temporary_of(path: Path) -> Path:
    """Return the folder for the temporary files that DuckDB writes when its memory is not enough."""
    return path.with_name(f"{path.name}.tmp")


def memory_config(limit: int | None) -> Config:
    """Return the setting of a memory limit, in bytes; None leaves DuckDB's default."""
    return {} if limit is None else {"memory_limit": f"{limit}B"}


def corrupt(path: Path, error: Exception) -> WorkspaceCorruptError:
    """Return the error to raise for a file that DuckDB cannot read."""
    advice = "restore it from a backup"
    if logs_of(path):
        advice = f"run `nirs4all-store recover {quote(str(path.parent))}` if it is its log that is damaged, or {advice}"
    return WorkspaceCorruptError(
        f"{path} cannot be opened as a DuckDB database: {error}; nothing was changed: {advice}"
    )


def copy_compacted(source: Path, target: Path) -> None:
    """Copy the tables of a database that nobody has open to a new file, without unused space.

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
    with closing(duckdb.connect(config=NO_EXTENSIONS)) as connection:
        connection.execute(NO_PROGRESS_BAR)
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
    """Compares the tables of two database files that nobody has open.

    Parameters
    ----------
    before, after : Path
    memory_limit : int or None
        In bytes; see `FileDatabase`.
    """

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
        """Return the tables of the first database whose primary key is one column, with the name of that column."""
        keys = self._all(
            "SELECT table_name, constraint_column_names[1] FROM duckdb_constraints() WHERE database_name = 'before' "
            "AND schema_name = 'main' AND constraint_type = 'PRIMARY KEY' AND len(constraint_column_names) = 1 "
            "ORDER BY ALL"
        )
        return dict(keys)

    def columns(self, database: Literal["before", "after"], table: str) -> dict[str, str]:
        """Return the type of each column of a table by name; an empty dict if there is no such table."""
        query = "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = ? AND table_name = ?"
        return dict(self._all(f"{query} AND schema_name = 'main' ORDER BY column_index", [database, table]))

    def lost(self, table: str, key: str, columns: Sequence[str]) -> list[str]:
        """Return the differences between a table of the first database and that of the second, one sentence each.

        Rows are matched by their key. A value that was NULL before may be anything now.

        Parameters
        ----------
        table : str
        key : str
            The column of its primary key.
        columns : sequence of str
            The columns to compare.
        """
        types, found = self.columns("after", table), []
        # One column at a time: all at once would take many times the memory.
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
    """Return the error to raise for a folder that is not a workspace."""
    return WorkspaceNotFoundError(
        f"there is no workspace at {path}; give another folder, or create one with WorkspaceStore({str(path)!r}), in a "
        "shell with `nirs4all-store init`"
    )


def check_is_duckdb(path: Path) -> None:
    """Raise if a file cannot be a DuckDB database: it is absent, empty, or has another format.

    The error tells a file of another program from a damaged database. This process must not have the file open. That
    it is a link was refused before, see `refuse_odd_database`: beside it DuckDB would look for no log.

    Raises
    ------
    WorkspaceNotFoundError, WorkspaceCorruptError, WorkspaceOpenHereError, ReadOnlyError
    """
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
