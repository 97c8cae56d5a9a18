"""What is done to a workspace without opening it: look into it, and bring it up to date."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import migrate
from .blobs import Blobs
from .copies import copies_of
from .duckdb_files import logs_of
from .errors import WorkspaceBusyError
from .files import checked_path
from .lease import Lease
from .opening import check_is_duckdb, not_found, place_of
from .upgrade import Progress, UpgradeReport, plan_upgrade, rows_of, upgrade
from .values import checked_timeout
from .workspace import ARTIFACTS_NAME, DATABASE_NAME


def upgrade_workspace(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 600.0,
    progress: Progress = lambda *_: None,
    migrations: migrate.Migrations = migrate.run_migrations,
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
        It could not be upgraded and is as it was.
    WorkspaceBusyError, WorkspaceNotFoundError, WorkspaceCorruptError, WorkspaceTooNewError, ReadOnlyError
        It cannot be upgraded; nothing was changed.
    """
    path = checked_path(path, "path").absolute()
    database = path / DATABASE_NAME
    with _looking_at(path, shared=dry_run, timeout=checked_timeout(timeout)):
        plan = plan_upgrade(database)
        if dry_run or not plan.steps:
            return UpgradeReport(plan, None, database.stat().st_size, 0.0)
        return upgrade(plan, migrations, progress)


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
        What upgrades have kept of the database as it was.
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
        files, size = Blobs(path / ARTIFACTS_NAME).usage()
        return WorkspaceInfo(
            path, migrate.revision_at(database), migrate.HEAD, rows_of(database), database.stat().st_size,
            sum(log.stat().st_size for log in logs_of(database)), size, files, copies_of(database),
        )  # fmt: skip


@contextmanager
def _looking_at(path: Path, *, shared: bool, timeout: float) -> Iterator[None]:
    """Hold the lease of a workspace that this process has not open, for the length of a block."""
    if not (path / DATABASE_NAME).exists():
        raise not_found(path)
    with place_of(path) as place:
        if place.workspace is not None:
            raise WorkspaceBusyError(f"this process has {path} open; close its stores first")
        lease = Lease(path, shared=shared, timeout=checked_timeout(timeout))
        try:
            check_is_duckdb(path / DATABASE_NAME)
            yield
        finally:
            lease.release()
