"""Upgrades a database of an older revision; after a crash at any moment it is the old database or the new one.

A byte-for-byte copy is kept. The migrations run on a second copy, under another name. That copy is compared with the
first, and then takes the name of the database in one rename.

Why the database itself is not migrated: docs/decisions/0007.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import closing
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
"""Disk space of an upgrade, in sizes of the database. Measured: one for the kept copy, up to three for the new one."""
MEMORY = 150 * 2**20
MEMORY_PER_ROW = 200
"""In bytes, measured: the keys of new tables are built in memory; most other data can move to temporary files."""
Progress = Callable[[str, int, int], None]
"""A function that is called with the current step, how much of it is done, and how much there is.

The two numbers are bytes while files are copied, and rows otherwise.
"""


@dataclass(frozen=True)
class UpgradePlan:
    """What an upgrade would do.

    Attributes
    ----------
    database : Path
        The file.
    found, target : str
        The revision of the database now, and after the upgrade.
    steps : list of tuple of str
        Revision and title of each migration that would run, in order; empty if the database is up to date.
    rows : dict of str to int
        The number of rows of each table.
    size, needed, free : int
        In bytes: the size of the database and its logs, the disk space that the upgrade needs, and the free space.
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
        The plan that it followed.
    copy : Path or None
        A byte-for-byte copy of the old database, with its logs beside it; None: nothing was done.
    size : int
        The size of the database after the upgrade, in bytes.
    seconds : float
        How long it took.
    """

    plan: UpgradePlan
    copy: Path | None
    size: int
    seconds: float

    @property
    def way_back(self) -> str:
        """The shell command that puts the old database in the place of the new one; empty without a copy."""
        return restore_command(self.copy, self.plan.database) if self.copy else ""


def plan_upgrade(database: Path) -> UpgradePlan:
    """Return what an upgrade of a database would do; no byte of the database is changed.

    Raises
    ------
    WorkspaceTooNewError
        The database has a newer revision than this version knows.
    WorkspaceCorruptError
        It cannot be read, has more than its revision (as a trigger), or has other columns.
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
    """Upgrade a database as planned; the caller holds the lease, and nobody has the database open.

    Parameters
    ----------
    plan : UpgradePlan
    migrations : callable
        See `Migrations`.
    progress : callable
        See `Progress`.

    Raises
    ------
    UpgradeFailedError
        The upgrade failed, or the new database would not have the same data. The database has the same rows as before.
        Its log may be folded into the file by then; a byte-for-byte copy of both lies beside it.
    WorkspaceBusyError, ReadOnlyError
        A program has the database open, or this user may not write to it; it has the same rows as before.
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
        if logs_of(database):  # DuckDB puts what stands there into the file: one rename can then replace all of it.
            FileDatabase(database).close()
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
    except Exception as error:  # A full disk, a migration that meets unexpected data: any error may come.
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
    """Make the new database under its temporary name, with little memory; if that is not enough, without a limit.

    How much memory DuckDB needs depends on the length of the longest arrays, which is not known before.
    """
    for memory in (MEMORY + MEMORY_PER_ROW * sum(plan.rows.values()), None):
        remove_database(unfinished)
        stream.seek(0)
        copy_database(stream, unfinished)
        try:
            _migrate(unfinished, plan, migrations, progress, memory)
            _compare(kept, unfinished, plan, progress, memory)
            return
        except Exception as error:  # Any error ends the upgrade, unless more memory may help.
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
    """Check that the new database has every row and every value, but for columns that a migration rewrites on purpose.

    Raises
    ------
    UpgradeFailedError
        A row or value differs.
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
    with closing(Comparison(kept, unfinished, memory)) as comparison:
        # `KEYS` has the tables whose key somebody may have dropped.
        keys = KEYS | comparison.tables()
        total = sum(plan.rows[table] for table in keys)
        for table, key in keys.items():
            progress(f"comparing {table}", compared, total)
            compared += plan.rows[table]
            if table != "alembic_version":
                problems += _lost(comparison, table, key, rewritten.get(table, set()))
        progress("comparing", total, total)
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
