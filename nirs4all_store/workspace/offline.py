"""What is done to a workspace without opening it: look into it, bring it up to date, recover it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..artifacts import ArtifactFiles, FolderBlobs
from ..call_boundary import public
from ..engine import (
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
from ..errors import StoreError, WorkspaceBusyError
from ..filesystem import checked_path, refuse_missing
from ..storage import UnitOfWork, seconds_until
from ..validation import checked_timeout
from . import check
from .file_lock import Lease
from .layout import ARTIFACTS_NAME, DATABASE_NAME, refuse_odd_places
from .opening import open_workspace
from .registry import close_workspace, locked_entry


@public
def upgrade_workspace(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 600.0,
    progress: Progress = lambda *_: None,
    migrations: migrator.Migrations = migrator.run_migrations,
) -> UpgradeReport:
    """Bring a workspace of an older version to this one's schema, whole or not at all.

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
        Called with what is being done, and how much of how much.
    migrations : callable, optional
        Runs the migrations on a connection; Alembic's command line gives its own.

    Returns
    -------
    UpgradeReport
        `copy` is None if there was nothing to do, or nothing was done.

    Raises
    ------
    UpgradeFailedError
        It could not be upgraded and holds what it held; its log may be folded in, and a copy lies beside it.
    WorkspaceBusyError, WorkspaceNotFoundError, WorkspaceCorruptError, WorkspaceTooNewError, ReadOnlyError
        It cannot be upgraded; nothing was changed.
    """
    path = checked_path(path, "path").absolute()
    database = path / DATABASE_NAME
    with _looking_at(path, shared=dry_run, timeout=checked_timeout(timeout)):
        plan = plan_upgrade(database)
        if dry_run or not plan.steps:
            return UpgradeReport(plan, None, database.stat().st_size, 0.0)
        return upgrade_database(plan, migrations, progress)


@public
def recover_workspace(path: str | os.PathLike[str], *, dry_run: bool = False, timeout: float = 600.0) -> RecoveryReport:
    """Let a workspace open again whose write-ahead log is damaged, with all that stands before the damage.

    The database as it was is kept beside it, byte for byte and with its logs, as
    `store.duckdb.before-recovery`. The workspace stays at its revision, and nothing is deleted.

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
        Its `problem` is empty if the workspace opens as it is: nothing was done.

    Raises
    ------
    WorkspaceCorruptError
        It is not the log that is damaged, but the database itself: only a backup helps.
    RecoveryFailedError
        It could not be recovered and is as it was.
    WorkspaceBusyError, WorkspaceNotFoundError, ReadOnlyError
        It cannot be recovered; nothing was changed.
    """
    path = checked_path(path, "path").absolute()
    timeout = checked_timeout(timeout)
    deadline = time.monotonic() + timeout
    with _looking_at(path, shared=False, timeout=timeout):
        report = recover_database(path / DATABASE_NAME, dry_run=dry_run)
    if report.copy is None or report.revision != migrator.HEAD:
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
    """What is in a workspace, of whatever version.

    Attributes
    ----------
    path : Path
    revision : str
        Which its database stands at.
    newest : str
        The one that this version of the package writes.
    rows : dict of str to int
        Rows per table.
    database_bytes, log_bytes, artifact_bytes : int
    artifact_files : int
    copies : list of Path
        What upgrades and recoveries have kept of the database as it was.
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
    """Look into a workspace, also one of an older or newer version, without changing a byte.

    Parameters
    ----------
    path : path-like
    timeout : float
        Seconds to wait for another process that writes to it.

    Raises
    ------
    WorkspaceBusyError, WorkspaceNotFoundError, WorkspaceCorruptError
        It cannot be looked into.
    """
    path = checked_path(path, "path").absolute()
    database = path / DATABASE_NAME
    with _looking_at(path, shared=True, timeout=checked_timeout(timeout)):
        files, size = ArtifactFiles(FolderBlobs(path / ARTIFACTS_NAME)).usage()
        return WorkspaceInfo(
            path, migrator.revision_at(database), migrator.HEAD, migrator.rows_of(database), database.stat().st_size,
            sum(log.stat().st_size for log in logs_of(database)), size, files, copies_of(database),
        )  # fmt: skip


@contextmanager
def _looking_at(path: Path, *, shared: bool, timeout: float) -> Iterator[None]:
    """Hold the lease of a workspace that this process has not open, for the length of a block."""
    refuse_misread(path)
    if not (path / DATABASE_NAME).exists():
        raise not_found(path)
    deadline = time.monotonic() + timeout
    with locked_entry(path, deadline) as place:
        if place.workspace is not None:
            raise WorkspaceBusyError(f"this process has {path} open; close its stores first")
        lease = Lease(path, shared=shared, timeout=seconds_until(deadline))
        try:
            refuse_odd_places(path)
            check_is_duckdb(path / DATABASE_NAME)
            refuse_missing(path / DATABASE_NAME, *logs_of(path / DATABASE_NAME), write=not shared)
            yield
        finally:
            lease.release()
