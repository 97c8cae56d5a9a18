"""Opening a workspace: create, check, or join the one that this process uses already."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ..artifacts import ArtifactFiles, FolderBlobs, MemoryBlobs
from ..engine import ENGINE_ERRORS, not_found, refuse_misread
from ..errors import ReadOnlyError, StoreError, WorkspaceCorruptError, WorkspaceNotFoundError
from ..filesystem import make_folder
from ..storage import UnitOfWork, seconds_until
from .addresses import is_in_memory
from .database_file import open_database
from .layout import ARTIFACTS_NAME
from .leased_database import LeasedDatabase
from .memory import MemoryAccess
from .network_mounts import warn_if_remote
from .registry import close_if_unusable, close_stale, close_workspace, locked_entry
from .scheduler import Workspace


def open_workspace(address: Path, store: object, *, read_only: bool, upgrade: bool, timeout: float) -> Workspace:
    """Return the open workspace of an address; give it back with `close_workspace`.

    Parameters
    ----------
    address : Path
        A folder, which is created with its database when absent, unless `read_only`; or `memory:NAME`.
    store : object
        Stands for the one who asks; a folder stays open until the last of them has given it back.
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
    InvalidInputError
        The engine would take its path for another one's.
    """
    deadline = time.monotonic() + timeout
    if not is_in_memory(address):
        address = _folder(address, read_only=read_only)
    close_stale(address, deadline)
    with locked_entry(address, deadline) as entry:
        close_if_unusable(entry, deadline)  # It may have come here by another name.
        if entry.workspace is None:
            make = _workspace_in_memory if is_in_memory(address) else _workspace_of_folder
            entry.workspace = make(address, read_only=read_only)
        workspace = entry.workspace
        entry.stores[store] = not read_only
    try:
        is_new = workspace.open(seconds_until(deadline), write=not read_only, upgrade=upgrade)
        if not read_only:
            if not is_in_memory(address):
                FolderBlobs(address / ARTIFACTS_NAME).make_root()
            # A store that this process has open keeps nobody waiting for it.
            interrupt_lost_runs(workspace, seconds_until(deadline) if is_new else 0)
    except BaseException:
        close_workspace(workspace, store, seconds_until(deadline))
        raise
    return workspace


def _folder(path: Path, *, read_only: bool) -> Path:
    """Return the folder of a workspace, which is made when absent; a link to it may be gone before who came by it."""
    refuse_misread(path)
    if not read_only:
        _make_folder(path)
    elif not path.is_dir():
        raise not_found(path)
    return path.resolve()


def _make_folder(path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        if path.exists() and not path.is_dir():
            raise WorkspaceCorruptError(f"{path} is a file, not a folder; give another path") from error
        raise ReadOnlyError(f"cannot create the workspace {path}: {error}; give a folder you may write to") from error


def _workspace_of_folder(folder: Path, *, read_only: bool) -> Workspace:
    warn_if_remote(folder)
    access = LeasedDatabase(folder, open_database, read_only=read_only)
    return Workspace(folder, access, ArtifactFiles(FolderBlobs(folder / ARTIFACTS_NAME)))


def _workspace_in_memory(address: Path, *, read_only: bool) -> Workspace:
    if read_only:
        raise WorkspaceNotFoundError(
            f"there is no workspace {address} in this process; open it without read_only to make it"
        )
    return Workspace(address, MemoryAccess(address), ArtifactFiles(MemoryBlobs(str(address))))


def interrupt_lost_runs(workspace: Workspace, timeout: float) -> None:
    """Mark the runs interrupted whose processes are gone; where that fails, the workspace can be used all the same."""
    with contextlib.suppress(StoreError, *ENGINE_ERRORS), UnitOfWork(workspace, timeout=timeout) as uow:
        if uow.runs.interrupt_lost():
            uow.commit()
