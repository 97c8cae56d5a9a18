"""Opening a workspace folder: create, check, or join the one that this process has open already."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import migrate
from . import upgrade as upgrading
from .blobs import Blobs
from .database import wal_of
from .errors import (
    ReadOnlyError,
    StoreError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
)
from .files import make_folder
from .lease import Lease
from .workspace import ARTIFACTS_NAME, DATABASE_NAME, Workspace

MAGIC = b"DUCK"
MAGIC_OFFSET = 8
SECONDS_TO_CLOSE_AT_EXIT = 5.0


@dataclass
class _Opened:
    workspace: Workspace
    stores: int


# By device and inode of the folder, so that two spellings of one path share one engine.
_opened: dict[tuple[int, int], _Opened] = {}
_registry = threading.Lock()
_inherited: list[Workspace] = []


def open_workspace(path: Path, *, read_only: bool, upgrade: bool, timeout: float) -> Workspace:
    """Return the open workspace of a folder; give it back with `close_workspace`.

    Parameters
    ----------
    path : Path
        The folder. It and its database are created when absent, unless `read_only`.
    read_only : bool
    upgrade : bool
        Bring an older database to the newest revision, after a copy of it was made.
    timeout : float
        Seconds to wait for other processes.

    Raises
    ------
    WorkspaceError
        It cannot be opened: see its subclasses. Nothing was changed.
    ReadOnlyError
        The folder cannot be written to, and `read_only` is False.
    """
    with _registry:
        if not read_only:
            _make_workspace_folder(path)
        elif not path.is_dir():
            raise _not_found(path)
        known = _opened.get(_identity(path))
        if known is None:
            known = _opened[_identity(path)] = _Opened(_open(path, read_only, upgrade, timeout), 0)
        elif known.workspace.read_only and not read_only:
            raise WorkspaceBusyError(f"this process has {path} open for reading only; close that store first")
        known.stores += 1
        return known.workspace


def close_workspace(workspace: Workspace, timeout: float) -> None:
    """Give back what `open_workspace` returned; the last one to do so closes it."""
    with _registry:
        # Not by the folder's identity: the folder may be gone by now.
        for key, known in list(_opened.items()):
            if known.workspace is workspace:
                if known.stores == 1:
                    workspace.close(timeout)
                    del _opened[key]
                known.stores -= 1


def _make_workspace_folder(path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        if path.exists() and not path.is_dir():
            raise WorkspaceCorruptError(f"{path} is a file, not a folder; give another path") from error
        raise ReadOnlyError(f"cannot create the workspace {path}: {error}; give a folder you may write to") from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _open(path: Path, read_only: bool, upgrade: bool, timeout: float) -> Workspace:
    lease = Lease(path, shared=read_only, timeout=timeout)
    try:
        _make_ready(path, read_only, upgrade)
        return Workspace(path, lease, read_only=read_only)
    except BaseException:
        lease.release()
        raise


def _make_ready(path: Path, read_only: bool, upgrade: bool) -> None:
    """Leave an up-to-date database in the folder, or raise."""
    database = path / DATABASE_NAME
    if not database.exists() and not read_only:
        migrate.create(database)
    else:
        _check_is_duckdb(database)
        revision = migrate.revision_at(database)
        migrate.check_revision(revision, database, upgrade=upgrade and not read_only)
        if revision != migrate.HEAD:
            upgrading.upgrade(upgrading.plan_upgrade(database))
    if not read_only:
        make_folder(path / ARTIFACTS_NAME)


def upgrade_workspace(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 30.0,
    progress: upgrading.Progress = lambda *_: None,
    migrations: migrate.Migrations = migrate.run_migrations,
) -> upgrading.UpgradeReport:
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
    path = Path(path).absolute()
    database = path / DATABASE_NAME
    with _looking_at(path, shared=dry_run, timeout=timeout):
        plan = upgrading.plan_upgrade(database)
        if dry_run or not plan.steps:
            return upgrading.UpgradeReport(plan, None, database.stat().st_size, 0.0)
        return upgrading.upgrade(plan, migrations, progress)


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
    path = Path(path).absolute()
    database = path / DATABASE_NAME
    with _looking_at(path, shared=True, timeout=timeout):
        files, size = Blobs(path / ARTIFACTS_NAME).usage()
        log = wal_of(database)
        return WorkspaceInfo(
            path, migrate.revision_at(database), migrate.HEAD, upgrading.rows_of(database), database.stat().st_size,
            log.stat().st_size if log.exists() else 0, size, files, upgrading.copies_of(database),
        )  # fmt: skip


@contextmanager
def _looking_at(path: Path, *, shared: bool, timeout: float) -> Iterator[None]:
    """Hold the lease of a workspace that this process has not open, for the length of a block."""
    with _registry:
        if not path.is_dir():
            raise _not_found(path)
        if _identity(path) in _opened:
            raise WorkspaceBusyError(f"this process has {path} open; close its stores first")
        lease = Lease(path, shared=shared, timeout=timeout)
        try:
            _check_is_duckdb(path / DATABASE_NAME)
            yield
        finally:
            lease.release()


def _not_found(path: Path) -> WorkspaceNotFoundError:
    return WorkspaceNotFoundError(
        f"there is no workspace at {path}; give another folder, or create one with WorkspaceStore({str(path)!r})"
    )


def _check_is_duckdb(path: Path) -> None:
    """Tell files of other programs from damaged ones; nobody has the file open while we read it."""
    if not path.exists():
        raise _not_found(path.parent)
    if not path.is_file():
        raise WorkspaceCorruptError(f"{path} is not a file; move it away or give another folder")
    with path.open("rb") as stream:
        head = stream.read(MAGIC_OFFSET + len(MAGIC))
    if not head:
        raise WorkspaceCorruptError(f"{path} is empty: it was never a workspace's database; move it away to start anew")
    if head[MAGIC_OFFSET:] != MAGIC:
        raise WorkspaceCorruptError(f"{path} is no DuckDB database; nothing was changed: give another folder")


@atexit.register
def _close_all() -> None:
    """Close what the program left open: a thread inside DuckDB while the interpreter ends aborts it."""
    with _registry:
        for known in _opened.values():
            try:
                known.workspace.close(SECONDS_TO_CLOSE_AT_EXIT)
            except StoreError:  # A thread is still at work: its last transaction is rolled back by the end.
                continue
        _opened.clear()


def _start_anew_after_fork() -> None:
    """Let a forked child open workspaces of its own; the parent's connections must never run here."""
    global _registry
    _registry = threading.Lock()
    for known in _opened.values():
        known.workspace.abandon()
        _inherited.append(known.workspace)
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
