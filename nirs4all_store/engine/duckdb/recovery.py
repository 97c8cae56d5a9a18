"""A database whose write-ahead log is damaged opens again, with all that stands before the damage.

The database file is not touched: only the damaged log is replaced, in one rename, by as much of it
as DuckDB can read. So whatever happens on the way, the workspace is as it was or opens, and it stands
at the revision it stood at.

See docs/decisions/0013.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

from ...errors import RecoveryFailedError, StoreError, WorkspaceCorruptError
from ...failpoints import Failpoint, hit
from ...filesystem import content_of, fsync_file, fsync_folder, open_without_following, share_copy
from ..findings import Finding
from . import migrator
from .file_copies import copies_of, copy_database, keep_backup, remove_database, restore_command
from .file_database import FileDatabase
from .files import commit_ends, is_out_of_memory, log_names, logs_of, read_every_value
from .posix_lock import held_alone


@dataclass(frozen=True)
class RecoveryReport:
    """What a recovery found and did, or would do.

    Attributes
    ----------
    database : Path
    problem : str
        Why it did not open, in DuckDB's words; empty: it opens, and nothing was done.
    revision : str
        Which it stands at, before and after.
    rows : dict of str to int
        Rows per table that are there now; in a dry run, that would be.
    log : Path or None
        The log that is damaged.
    size, used : int
        Bytes that it had, and how many from its beginning are used.
    commits, lost_commits : int
        Commits that are in what is used, and those of which the rest still shows the end. More may be
        lost: a part that was overwritten with zeros shows nothing.
    copy : Path or None
        The database as it was, byte for byte, its logs beside it; None: nothing was changed.
    findings : list of Finding or None
        What `check` says of the recovered workspace; None: it was not asked, since nothing was changed
        or the workspace is of another version.
    """

    database: Path
    problem: str
    revision: str
    rows: dict[str, int]
    log: Path | None = None
    size: int = 0
    used: int = 0
    commits: int = 0
    lost_commits: int = 0
    copy: Path | None = None
    findings: list[Finding] | None = None

    @property
    def way_back(self) -> str:
        """The shell command that puts the damaged log, and the database it belongs to, back in their places."""
        return restore_command(self.copy, self.database) if self.copy else ""


def recover_database(database: Path, *, dry_run: bool) -> RecoveryReport:
    """Replace a damaged log by as much of it as can be read; the caller holds the lease and nobody has it open.

    How much that is, is found by opening a copy with shorter and longer parts of the log: a part that
    DuckDB can read does not become unreadable by being made shorter, so that as many openings do as the
    log's size has binary digits, and a handful more. It takes the memory of the log, and on the disk the
    size of the database and its logs, twice while the originals are kept.

    Raises
    ------
    WorkspaceCorruptError
        The database is damaged itself, or is no workspace's.
    RecoveryFailedError
        Something went wrong; the workspace is as it was.
    WorkspaceBusyError, ReadOnlyError
        A program has it open, or it cannot be written to; nothing was changed.
    """
    problem = _problem(database)
    if not problem:
        migrator.refuse_more_at(database)
        return RecoveryReport(database, "", migrator.revision_at(database), migrator.rows_of(database))
    if not logs_of(database):
        raise _beyond_help(database, problem)
    scratch = database.with_name(f".recovering-{database.name}")
    with _nothing_changed(database), _removed_after(scratch):
        hit(Failpoint.RECOVERY_BEGINS)
        with held_alone(database) as stream:
            copy_database(stream, scratch)
            log, content, used = _longest_part(scratch, database)
            report = _read_all(scratch, database, problem, log, content, used)
            hit(Failpoint.PREFIX_IS_FOUND)
            if dry_run:
                return report
            remove_database(scratch)
            stream.seek(0)
            kept = keep_backup(stream, database, "recovery", scratch, lambda done: None)
            hit(Failpoint.DAMAGED_LOG_IS_KEPT)
            with FileIO(log, opener=open_without_following) as log_stream:
                copy_database(log_stream, scratch)
            os.truncate(scratch, used)
            share_copy(scratch, database.parent)
            fsync_file(scratch)
            scratch.replace(log)
            hit(Failpoint.PREFIX_HAS_THE_NAME)
    try:
        fsync_folder(database.parent)
    except OSError as error:
        raise RecoveryFailedError(f"{database} is recovered, but the disk did not take it: {error}") from error
    return replace(report, copy=kept)


@contextmanager
def _nothing_changed(database: Path) -> Iterator[None]:
    """Turn what the system raises into an error that says how the workspace is."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:  # A full disk, most of all.
        raise RecoveryFailedError(f"{database} could not be recovered: {error}; it is as it was") from error


@contextmanager
def _removed_after(scratch: Path) -> Iterator[None]:
    remove_database(scratch)
    try:
        yield
    finally:
        remove_database(scratch)


def _problem(database: Path) -> str:
    """Return why a database does not open as it lies there, in DuckDB's words; empty: it does."""
    try:
        FileDatabase(database, read_only=True).close()
    except WorkspaceCorruptError as error:
        cause = error.__cause__
        if isinstance(cause, Exception) and is_out_of_memory(cause):
            raise RecoveryFailedError(
                f"there is too little memory to read the log of {database}; it is as it was: "
                "close other programs, or recover it on a larger machine"
            ) from error
        return str(cause or error)
    return ""


def _beyond_help(database: Path, problem: str) -> WorkspaceCorruptError:
    copies = ", ".join(path.name for path in copies_of(database))
    return WorkspaceCorruptError(
        f"{database} is damaged itself, not its log: {problem}; nothing was changed: restore it from a backup"
        + (f", or from what was kept beside it: {copies}" if copies else "")
    )


def _longest_part(scratch: Path, database: Path) -> tuple[Path, bytes, int]:
    """Find the damaged log of a database, and how many bytes from its beginning can be read.

    Parameters
    ----------
    scratch : Path
        A copy of the database; it has the logs beside it afterwards, the damaged one only so far as it is read.
    database : Path

    Returns
    -------
    log : Path
    content : bytes
        All of it.
    used : int
    """
    if problem := _problem(scratch):
        raise _beyond_help(database, problem)
    damaged: tuple[Path, bytes, int] | None = None
    for log, beside in zip(log_names(database), log_names(scratch), strict=True):
        if log.exists():
            content = content_of(log)
            beside.write_bytes(content)
            if damaged is None and _problem(scratch):
                damaged = log, content, _readable(scratch, beside, content)
    if damaged is None:
        raise RecoveryFailedError(f"a copy of {database} opens, with all its logs; it is as it was: try again")
    return damaged


def _readable(scratch: Path, beside: Path, content: bytes) -> int:
    """Return how much of a log can be read, to the end of its last commit, and leave so much of it there."""
    readable, unreadable = 0, len(content)
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        beside.write_bytes(content[:middle])
        if _problem(scratch):
            unreadable = middle
        else:
            readable = middle
    used = max(commit_ends(content[:readable]), default=0)
    beside.write_bytes(content[:readable])
    rows = migrator.rows_of(scratch)
    beside.write_bytes(content[:used])
    if migrator.rows_of(scratch) == rows:
        return used
    beside.write_bytes(content[:readable])  # A log of another form: believe what DuckDB reads.
    return readable


def _read_all(scratch: Path, database: Path, problem: str, log: Path, content: bytes, used: int) -> RecoveryReport:
    """Make sure that all of the recovered copy can be read, and say what was found."""
    migrator.refuse_more_at(scratch, shown=database)
    try:
        revision, rows = migrator.revision_at(scratch), read_every_value(scratch)
    except WorkspaceCorruptError as error:
        reason = str(error.__cause__ or error).replace(str(scratch), str(database))
        raise _beyond_help(database, reason) from error
    commits, lost = len(commit_ends(content[:used])), len(commit_ends(content[used:]))
    return RecoveryReport(database, problem, revision, rows, log, len(content), used, commits, lost)
