"""Opens a workspace: creates it when absent, or joins the one that this process has open already.

Only this module chooses a back end by the address: files, or memory (docs/decisions/0021).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ..artifacts import ArtifactFiles, MemoryBlobs
from ..engine import ENGINE_ERRORS, not_found, refuse_misread
from ..errors import ReadOnlyError, StoreError, WorkspaceCorruptError, WorkspaceNotFoundError
from ..filesystem import make_folder
from ..storage import UnitOfWork, seconds_until
from .addresses import is_in_memory
from .database_file import open_database
from .layout import blobs_of
from .leased_database import LeasedDatabase
from .memory import MemoryAccess
from .network_mounts import warn_if_remote
from .registry import close_if_unusable, close_stale, close_workspace, locked_entry
from .scheduler import Workspace


def open_workspace(address: Path, store: object, *, read_only: bool, upgrade: bool, timeout: float) -> Workspace:
    """Open the workspace at an address, or join the one that is open; end its use with `close_workspace`.

    Parameters
    ----------
    address : Path
        A folder, or `memory:NAME`. A folder and its database are created when absent, unless `read_only`.
    store : object
        The user of the workspace, as a `WorkspaceStore`. A folder is closed when its last user has ended its use.
    read_only : bool
    upgrade : bool
        Upgrade a database of an older revision, after a copy of it was made.
    timeout : float
        Seconds to wait for other processes and threads.

    Returns
    -------
    Workspace

    Raises
    ------
    WorkspaceError
        One of its subclasses: the workspace cannot be opened, and nothing was changed.
    ReadOnlyError
        This user may not write to the folder, and `read_only` is False.
    InvalidInputError
        DuckDB would misread the path; see `refuse_misread`.
    """
    deadline = time.monotonic() + timeout
    if not is_in_memory(address):
        address = _folder(address, read_only=read_only)
    close_stale(address, deadline)
    with locked_entry(address, deadline) as entry:
        close_if_unusable(entry, deadline)  # It may have been opened by another path.
        if entry.workspace is None:
            make = _workspace_in_memory if is_in_memory(address) else _workspace_of_folder
            entry.workspace = make(address, read_only=read_only)
        workspace = entry.workspace
        entry.stores[store] = not read_only
    try:
        is_new = workspace.open(seconds_until(deadline), write=not read_only, upgrade=upgrade)
        if not read_only:
            if not is_in_memory(address):
                blobs_of(address).make_root()
            # If this process has the workspace open already, do not wait for a thread that writes.
            interrupt_lost_runs(workspace, seconds_until(deadline) if is_new else 0)
    except BaseException:
        close_workspace(workspace, store, seconds_until(deadline))
        raise
    return workspace


def _folder(path: Path, *, read_only: bool) -> Path:
    """Return the folder of a workspace without links, since a link may be removed while it is open.

    The folder is created when absent, unless `read_only`.
    """
    refuse_misread(path)
    if read_only and not path.is_dir():
        raise not_found(path)
    try:
        if not read_only:
            make_folder(path)
    except OSError as error:
        if path.exists() and not path.is_dir():
            raise WorkspaceCorruptError(f"{path} is a file, not a folder; give another path") from error
        raise ReadOnlyError(f"cannot create the workspace {path}: {error}; give a folder you may write to") from error
    return path.resolve()


def _workspace_of_folder(folder: Path, *, read_only: bool) -> Workspace:
    warn_if_remote(folder)
    access = LeasedDatabase(folder, open_database, read_only=read_only)
    return Workspace(folder, access, ArtifactFiles(blobs_of(folder)))


def _workspace_in_memory(address: Path, *, read_only: bool) -> Workspace:
    if read_only:
        raise WorkspaceNotFoundError(
            f"there is no workspace {address} in this process; open it without read_only to make it"
        )
    return Workspace(address, MemoryAccess(address), ArtifactFiles(MemoryBlobs(str(address))))


def interrupt_lost_runs(workspace: Workspace, timeout: float) -> None:
    """Give runs whose processes have ended the status `interrupted`; errors are ignored.

    If it fails, as on a full disk, the workspace can still be used. See docs/decisions/0011.
    """
    with contextlib.suppress(StoreError, *ENGINE_ERRORS), UnitOfWork(workspace, timeout=timeout) as uow:
        if uow.runs.interrupt_lost():
            uow.commit()
