"""Recovers a database whose write-ahead log is damaged: it opens again, with all commits before the damage.

The database file is not changed. Only the damaged log is replaced, in one rename, by as much of its beginning as DuckDB
can read. So after a crash at any moment, the workspace is as it was or it is recovered. Its revision stays the same.

Why the log is replaced and not the database: docs/decisions/0013.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    """The result of a recovery, or of a dry run of one.

    Attributes
    ----------
    database : Path
    problem : str
        Why the database did not open, in DuckDB's words; empty: it opens, and nothing was done.
    revision : str
        The revision of the database. A recovery does not change it.
    rows : dict of str to int
        The number of rows of each table after the recovery; in a dry run, after the recovery that would be made.
    log : Path or None
        The log that is damaged.
    size, used : int
        The size of the damaged log, and how much of its beginning is kept, in bytes.
    commits, lost_commits : int
        The number of commits in the part that is kept, and of those whose end can be seen in the rest. More may be
        lost: a part that was overwritten with zeros shows no end.
    copy : Path or None
        A byte-for-byte copy of the database as it was, with its logs beside it; None: nothing was changed.
    findings : list of Finding or None
        The problems that `check` finds in the recovered workspace. None: `check` was not run, since nothing was changed
        or the workspace is of another revision.
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
        """The shell command that puts the database and its damaged log back as they were; empty without a copy."""
        return restore_command(self.copy, self.database) if self.copy else ""


def recover_database(database: Path, *, dry_run: bool) -> RecoveryReport:
    """Replace a damaged log by as much of its beginning as can be read.

    The caller holds the lease, and nobody has the database open. How much can be read is found by a binary search, in
    which a copy of the database is opened with shorter and longer parts of the log: if DuckDB can read a part, it can
    read every shorter one. The log is read into memory. On the disk, the recovery takes as much as the database and its
    logs, and once more the damaged log.

    Parameters
    ----------
    database : Path
    dry_run : bool
        Find out what a recovery would do, and change nothing.

    Raises
    ------
    WorkspaceCorruptError
        The database itself is damaged, or is not the database of a workspace.
    RecoveryFailedError
        The recovery failed; the message says how the workspace is.
    WorkspaceBusyError, ReadOnlyError
        A program has the database open, or this user may not write to it; nothing was changed.
    """
    problem = _problem(database)
    if not problem:
        migrator.refuse_more_at(database)
        return RecoveryReport(database, "", migrator.revision_at(database), migrator.rows_of(database))
    if not logs_of(database):
        raise _beyond_help(database, problem)
    scratch = database.with_name(f".recovering-{database.name}")
    with _nothing_changed(database), ExitStack() as stack:
        remove_database(scratch)
        stack.callback(remove_database, scratch)
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
    """Turn an `OSError` in a `with` block into an error which says that the workspace is unchanged."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:  # A full disk, most of all.
        raise RecoveryFailedError(f"{database} could not be recovered: {error}; it is as it was") from error


def _problem(database: Path) -> str:
    """Return why a database and its logs do not open, in DuckDB's words; empty if they do."""
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
    """Find the damaged log of a database, and how many bytes of its beginning can be read.

    Parameters
    ----------
    scratch : Path
        A copy of the database. Afterwards the logs are beside it, the damaged one as far as it can be read.
    database : Path

    Returns
    -------
    log : Path
        The damaged log.
    content : bytes
        Its whole content.
    used : int
        How many bytes of it can be read.
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
    """Return how many bytes of a log can be read, to the end of a commit, and leave just these in `beside`."""
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
    beside.write_bytes(content[:readable])  # The log has another form than we know: keep all that DuckDB reads.
    return readable


def _read_all(scratch: Path, database: Path, problem: str, log: Path, content: bytes, used: int) -> RecoveryReport:
    """Read every value of the recovered copy, and return the report."""
    migrator.refuse_more_at(scratch, shown=database)
    try:
        revision, rows = migrator.revision_at(scratch), read_every_value(scratch)
    except WorkspaceCorruptError as error:
        reason = str(error.__cause__ or error).replace(str(scratch), str(database))
        raise _beyond_help(database, reason) from error
    commits, lost = len(commit_ends(content[:used])), len(commit_ends(content[used:]))
    return RecoveryReport(database, problem, revision, rows, log, len(content), used, commits, lost)
