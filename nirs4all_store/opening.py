"""Opening a workspace folder: create, check, or join the one that this process has open already."""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from . import migrate
from .database import Database
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
            raise WorkspaceNotFoundError(f"there is no workspace at {path}; open it without read_only to create one")
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
    if database.exists():
        _check_is_duckdb(database)
        revision = _look(database)
        if upgrade and not read_only and revision < migrate.HEAD:
            migrate.upgrade(database, revision)
        else:
            migrate.check_revision(revision, database)
    elif read_only:
        raise WorkspaceNotFoundError(f"there is no workspace at {path}; open it without read_only to create one")
    else:
        migrate.create(database)
    if not read_only:
        make_folder(path / ARTIFACTS_NAME)


def _look(path: Path) -> str:
    """Return the revision without changing a byte: opening for writing would fold a log into the file."""
    database = Database(path, read_only=True)
    try:
        return migrate.revision_of(database)
    finally:
        database.close()


def _check_is_duckdb(path: Path) -> None:
    """Tell files of other programs from damaged ones; nobody has the file open while we read it."""
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
