"""An older database becomes an up-to-date one, whole or not at all.

A byte-for-byte copy is kept. The migrations run on a second copy, under another name; only when it
was compared with the first does it take the database's name, in one rename. So whatever happens on
the way, the name is the old database's or the new one's.

See docs/decisions/0007.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from ...errors import StoreError, UpgradeFailedError, WorkspaceBusyError
from ...failpoints import Failpoint, hit
from ...filesystem import fsync_file, fsync_folder, share_copy
from . import migrator
from .file_copies import copy_database, keep_backup, remove_database, restore_command, size_of
from .file_database import FileDatabase
from .files import Comparison, is_out_of_memory, logs_of
from .posix_lock import held_alone
from .revisions import HEAD, KEYS

DISK_FACTOR = 4
"""Measured: the kept copy is one size of the database, its rewriting takes up to three."""
MEMORY = 150 * 2**20
MEMORY_PER_ROW = 200
"""Measured: the keys of new tables are built in memory, most else moves to the disk."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much: bytes while copying, else rows."""


@dataclass(frozen=True)
class UpgradePlan:
    """What an upgrade would do.

    Attributes
    ----------
    database : Path
        The file.
    found, target : str
        The revisions it stands at and would stand at.
    steps : list of tuple of str
        Revision and title of what would run, in order; empty for an up-to-date database.
    rows : dict of str to int
        Rows per table.
    size, needed, free : int
        Bytes: of the file and its log; that the upgrade takes on its way; that the disk has.
    """

    database: Path
    found: str
    target: str
    steps: list[tuple[str, str]]
    rows: dict[str, int]
    size: int
    needed: int
    free: int


@dataclass(frozen=True)
class UpgradeReport:
    """What an upgrade did.

    Attributes
    ----------
    plan : UpgradePlan
        What it found.
    copy : Path or None
        The old database, byte for byte, its log beside it if there was one; None: nothing was done.
    size : int
        Bytes of the database now.
    seconds : float
        How long it took.
    """

    plan: UpgradePlan
    copy: Path | None
    size: int
    seconds: float

    @property
    def way_back(self) -> str:
        """The shell command that puts the old database in the place of the new one."""
        return restore_command(self.copy, self.plan.database) if self.copy else ""


def plan_upgrade(database: Path) -> UpgradePlan:
    """Look at a database, without changing a byte, and say what an upgrade would do.

    Raises
    ------
    WorkspaceCorruptError, WorkspaceTooNewError
        It cannot be upgraded, or has more than a workspace of its revision, or other columns.
    WorkspaceBusyError
        A program is writing to it.
    """
    found = migrator.revision_at(database)
    migrator.check_revision(found, database, upgrade=True)
    migrator.refuse_more_at(database, changed=True)
    rows = migrator.rows_of(database)
    steps = [(script.revision, script.doc.rstrip(".")) for script in migrator.missing(found)]
    size = size_of(database)
    needed = DISK_FACTOR * size if steps else 0
    free = shutil.disk_usage(database.parent).free
    return UpgradePlan(database, found, HEAD, steps, rows, size, needed, free)


def upgrade_database(
    plan: UpgradePlan, migrations: migrator.Migrations = migrator.run_migrations, progress: Progress = lambda *_: None
) -> UpgradeReport:
    """Do what a plan says; the caller holds the lease and nobody has the database open.

    Parameters
    ----------
    plan : UpgradePlan
    migrations : callable
        Runs them on a connection.
    progress : callable

    Raises
    ------
    UpgradeFailedError
        Something went wrong, or the result is not the same data; the database holds what it held. Its log may be
        folded in by then, and a copy of both, as they were to the byte, lies beside it.
    WorkspaceBusyError, ReadOnlyError
        A program has it open, or it cannot be written to; the database holds what it held.
    """
    began = time.monotonic()
    database = plan.database
    unfinished = database.with_name(f".upgrading-{database.name}")
    try:
        remove_database(unfinished)
        hit(Failpoint.UPGRADE_BEGINS)
        if plan.needed > plan.free:
            raise UpgradeFailedError(
                f"the upgrade takes up to {plan.needed:,} bytes on the disk of {database}, which "
                f"has {plan.free:,} free; nothing was changed: make room"
            )
        with held_alone(database) as stream:
            kept = keep_backup(
                stream, database, plan.found, unfinished, lambda done: progress("copying", done, plan.size)
            )
        hit(Failpoint.COPY_IS_WHOLE)
        _fold_log(database)
        hit(Failpoint.LOG_IS_FOLDED)
        with held_alone(database) as stream:
            _check_logs_are_folded(database)
            _build(stream, unfinished, kept, plan, migrations, progress)
            hit(Failpoint.UPGRADE_IS_COMPARED)
            share_copy(unfinished, database.parent)
            fsync_file(unfinished)
            unfinished.replace(database)
        hit(Failpoint.UPGRADE_HAS_THE_NAME)
    except StoreError:
        raise
    except Exception as error:  # A full disk, a migration that meets what it does not expect: anything may come.
        raise UpgradeFailedError(
            f"{database} could not be upgraded from revision {plan.found}: {error}; it holds what it held"
        ) from error
    finally:
        remove_database(unfinished)
    try:
        fsync_folder(database.parent)
    except OSError as error:
        raise UpgradeFailedError(f"{database} is upgraded, but the disk did not take its name: {error}") from error
    return UpgradeReport(plan, kept, database.stat().st_size, time.monotonic() - began)


def _fold_log(database: Path) -> None:
    """Let DuckDB put what stands in the logs into the file, so that one rename can replace all of them."""
    if logs_of(database):
        FileDatabase(database).close()


def _check_logs_are_folded(database: Path) -> None:
    if logs_of(database):
        raise WorkspaceBusyError(
            f"the log of {database} is not folded in, for another program has written to it, or the disk is full; "
            "close what uses it, make room, and try again"
        )


def _build(
    stream: BinaryIO,
    unfinished: Path,
    kept: Path,
    plan: UpgradePlan,
    migrations: migrator.Migrations,
    progress: Progress,
) -> None:
    """Make the new database under its other name: in little memory, or where that is too little in as much as it takes.

    How much the engine needs depends on how long the longest arrays are, which nobody knows beforehand.
    """
    for memory in (MEMORY + MEMORY_PER_ROW * sum(plan.rows.values()), None):
        remove_database(unfinished)
        stream.seek(0)
        copy_database(stream, unfinished)
        try:
            _migrate(unfinished, plan, migrations, progress, memory)
            _compare(kept, unfinished, plan, progress, memory)
            return
        except Exception as error:  # Whatever it is, it goes up, unless it can be helped.
            if memory is None or not is_out_of_memory(error):
                raise


def _migrate(
    unfinished: Path, plan: UpgradePlan, migrations: migrator.Migrations, progress: Progress, memory: int | None
) -> None:
    total, written = sum(plan.rows.values()), 0

    def before_statement(statement: str) -> None:
        nonlocal written
        filled = re.match(r'INSERT INTO "?(\w+?)(?:_new)?"?\W', statement)
        table = filled.group(1) if filled else ""
        if table in plan.rows:
            progress(f"rewriting {table}", written, total)
            written += plan.rows[table]

    migrator.run(
        unfinished,
        migrations,
        is_stamped="alembic_version" in plan.rows,
        memory_limit=memory,
        on_statement=before_statement,
    )
    if migrator.revision_at(unfinished) != plan.target:
        raise UpgradeFailedError(
            f"the migrations of {plan.database} did not lead to {plan.target}; it holds what it held"
        )


def _compare(kept: Path, unfinished: Path, plan: UpgradePlan, progress: Progress, memory: int | None) -> None:
    """Make sure that every row and every value that no revision says to rewrite is there as it was.

    Raises
    ------
    UpgradeFailedError
        Something is not, or the revision is not the one that was wanted.
    """
    rewritten: dict[str, set[str]] = {}
    for script in migrator.missing(plan.found):
        for table, columns in getattr(script.module, "rewrites", {}).items():
            rewritten.setdefault(table, set()).update(columns)
    counts: dict[str, int | None] = {
        **migrator.rows_of(unfinished),
        "alembic_version": plan.rows.get("alembic_version"),
    }
    problems = [
        f"{table} had {rows} rows and has {counts.get(table)}"
        for table, rows in plan.rows.items()
        if counts.get(table) != rows
    ]
    compared = 0
    comparison = Comparison(kept, unfinished, memory)
    try:
        # Even a table that somebody has built anew without its key.
        keys = KEYS | comparison.tables()
        total = sum(plan.rows[table] for table in keys)
        for table, key in keys.items():
            progress(f"comparing {table}", compared, total)
            compared += plan.rows[table]
            if table != "alembic_version":
                problems += _lost(comparison, table, key, rewritten.get(table, set()))
        progress("comparing", total, total)
    finally:
        comparison.close()
    if problems:
        raise UpgradeFailedError(
            f"the upgraded {plan.database} would not have the same data: {'; '.join(problems)}. It holds what it held: "
            "close every program that may write to it and try again; if that does not help, please report this "
            f"with what `nirs4all-store info {quote(str(plan.database.parent))}` prints"
        )


def _lost(comparison: Comparison, table: str, key: str, rewritten: set[str]) -> list[str]:
    before, after = comparison.columns("before", table), comparison.columns("after", table)
    wanted = [name for name in before if name not in rewritten]
    gone = [f"{table}.{name} is not there any more" for name in wanted if name not in after]
    return gone or comparison.lost(table, key, wanted)
