"""Works on a workspace that is not open: `inspect_workspace`, `upgrade_workspace`, `recover_workspace`.

Why an upgrade and a recovery change a copy first: docs/decisions/0007 and 0013.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..artifacts import ArtifactFiles
from ..call_boundary import public
from ..engine import (
    HEAD,
    Finding,
    Progress,
    RecoveryReport,
    UpgradeReport,
    check_is_duckdb,
    copies_of,
    logs_of,
    migrator,
    not_found,
    plan_upgrade,
    recover_database,
    refuse_misread,
    upgrade_database,
)
from ..errors import StoreError
from ..filesystem import refuse_missing
from ..storage import UnitOfWork, seconds_until
from ..validation import checked_timeout
from . import check
from .addresses import checked_folder
from .layout import DATABASE_NAME, blobs_of, refuse_odd_places
from .opening import open_workspace
from .registry import close_workspace, lease_of_closed


@public
def upgrade_workspace(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 600.0,
    progress: Progress = lambda *_: None,
    migrations: migrator.Migrations = migrator.run_migrations,
) -> UpgradeReport:
    """Upgrade a workspace of an older version to the schema of this version, as a whole or not at all.

    A copy of the database is kept beside it, byte for byte, as `store.duckdb.before-<revision>`.

    Parameters
    ----------
    path : path-like
        The workspace.
    dry_run : bool
        Only say what would be done.
    timeout : float
        Seconds to wait for another process that holds the workspace.
    progress : callable, optional
        Called with the name of the current step, how much of it is done, and how much there is.
    migrations : callable, optional
        Runs the migrations on a connection; Alembic's command line gives its own.

    Returns
    -------
    UpgradeReport
        `copy` is None if there was nothing to do, or nothing was done.

    Raises
    ------
    UpgradeFailedError
        The upgrade failed. All rows are as before; the write-ahead log may have been merged into the database, and a
        copy is kept beside it.
    WorkspaceBusyError, WorkspaceNotFoundError, WorkspaceCorruptError, WorkspaceTooNewError, ReadOnlyError
        It cannot be upgraded as it is; nothing was changed.
    """
    path = checked_folder(path, "path")
    database = path / DATABASE_NAME
    with _looking_at(path, shared=dry_run, timeout=checked_timeout(timeout)):
        plan = plan_upgrade(database)
        if dry_run or not plan.steps:
            return UpgradeReport(plan, None, database.stat().st_size, 0.0)
        return upgrade_database(plan, migrations, progress)


@public
def recover_workspace(path: str | os.PathLike[str], *, dry_run: bool = False, timeout: float = 600.0) -> RecoveryReport:
    """Repair a workspace that does not open because its write-ahead log is damaged.

    All transactions that stand in the log before the damage are kept. A copy of the database and its logs, byte for
    byte, is kept beside it as `store.duckdb.before-recovery`. The schema's revision stays, and nothing is deleted.

    Parameters
    ----------
    path : path-like
        The workspace.
    dry_run : bool
        Only say what would be done.
    timeout : float
        Seconds to wait for another process that holds the workspace.

    Returns
    -------
    RecoveryReport
        Its `problem` is empty if the workspace opens without a recovery; then nothing was done.

    Raises
    ------
    WorkspaceCorruptError
        The database itself is damaged, and not the log: restore a backup.
    RecoveryFailedError
        The recovery failed, and the workspace is as it was.
    WorkspaceBusyError, WorkspaceNotFoundError, ReadOnlyError
        It cannot be recovered as it is; nothing was changed.
    """
    path = checked_folder(path, "path")
    timeout = checked_timeout(timeout)
    deadline = time.monotonic() + timeout
    with _looking_at(path, shared=False, timeout=timeout):
        report = recover_database(path / DATABASE_NAME, dry_run=dry_run)
    if report.copy is None or report.revision != HEAD:
        return report
    return replace(report, findings=_findings(path, seconds_until(deadline)))


def _findings(path: Path, timeout: float) -> list[Finding] | None:
    """Return what a check finds; None if the workspace cannot be opened now."""
    reader = object()
    try:
        workspace = open_workspace(path, reader, read_only=True, upgrade=False, timeout=timeout)
    except StoreError:  # Another process was faster; the recovery is done all the same.
        return None
    try:
        with UnitOfWork(workspace, timeout=timeout, write=False) as uow:
            return check.check(uow, deep=False).findings
    finally:
        close_workspace(workspace, reader, timeout)


@dataclass(frozen=True)
class WorkspaceInfo:
    """How much is in a workspace, of any version.

    Attributes
    ----------
    path : Path
    revision : str
        The revision of its schema.
    newest : str
        The revision that this version of the package writes.
    rows : dict of str to int
        Rows per table.
    database_bytes, log_bytes, artifact_bytes : int
    artifact_files : int
    copies : list of Path
        The copies of the database that upgrades and recoveries have kept.
    """

    path: Path
    revision: str
    newest: str
    rows: dict[str, int]
    database_bytes: int
    log_bytes: int
    artifact_bytes: int
    artifact_files: int
    copies: list[Path]


@public
def inspect_workspace(path: str | os.PathLike[str], *, timeout: float = 30.0) -> WorkspaceInfo:
    """Return how much is in a workspace, also one of an older or newer version, without changing a byte.

    Parameters
    ----------
    path : path-like
    timeout : float
        How many seconds to wait for another process that writes to it.

    Raises
    ------
    WorkspaceBusyError, WorkspaceNotFoundError, WorkspaceCorruptError
        It cannot be inspected.
    """
    path = checked_folder(path, "path")
    database = path / DATABASE_NAME
    with _looking_at(path, shared=True, timeout=checked_timeout(timeout)):
        files, size = ArtifactFiles(blobs_of(path)).usage()
        return WorkspaceInfo(
            path,
            migrator.revision_at(database),
            HEAD,
            migrator.rows_of(database),
            database.stat().st_size,
            sum(log.stat().st_size for log in logs_of(database)),
            size,
            files,
            copies_of(database),
        )


@contextmanager
def _looking_at(path: Path, *, shared: bool, timeout: float) -> Iterator[None]:
    """Hold the lease of a workspace that this process has not open, for the length of a block."""
    refuse_misread(path)
    if not (path / DATABASE_NAME).exists():
        raise not_found(path)
    with lease_of_closed(path, shared=shared, deadline=time.monotonic() + timeout):
        refuse_odd_places(path)
        check_is_duckdb(path / DATABASE_NAME)
        refuse_missing(path / DATABASE_NAME, *logs_of(path / DATABASE_NAME), write=not shared)
        yield
