"""The workspaces that this process has open, by folder; it closes them before a fork and at exit.

Why a forked child must not use its parent's database: docs/decisions/0012, "Forks".
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StoreClosedError, StoreError, WorkspaceBusyError
from ..storage import is_owned, locked, seconds_until
from .addresses import is_in_memory
from .file_lock import Lease
from .scheduler import Workspace

SECONDS_TO_CLOSE_AT_EXIT = 5.0


@dataclass
class _Entry:
    """A folder (or address in memory), the workspace that this process has open there, and the stores that use it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    workspace: Workspace | None = None
    stores: dict[object, bool] = field(default_factory=dict)
    """The users of the workspace, and whether each of them may write."""


Key = tuple[int, int] | str
"""Device and inode of a folder, so that two paths of one folder have one entry; or `memory:NAME`."""

_entries: dict[Key, _Entry] = {}
_fork_lock = threading.RLock()
# For each fork that is going on, the workspaces that it has closed; a signal handler may fork during a fork.
_forking: list[list[Workspace]] = []
# In a forked child: workspaces that its parent was using. They are never released, since to close them would destroy
# the parent's database.
_inherited: dict[Key, Workspace] = {}


def close_workspace(workspace: Workspace, store: object, timeout: float) -> None:
    """End the use of a workspace by a store; when its last user does so, the workspace of a folder is closed.

    A second call does nothing. A workspace in memory stays until the process ends.
    """
    deadline = time.monotonic() + timeout
    # Not found by its folder, which may have been removed.
    for entry in entries_with(lambda opened: opened is workspace):
        with locked(entry.lock, deadline, workspace.path):
            if entry.workspace is workspace and entry.stores.keys() == {store}:
                if is_in_memory(workspace.path):  # It stays open; wait until no unit of work is open.
                    with workspace.exclusive(seconds_until(deadline)):
                        pass
                else:
                    workspace.close(seconds_until(deadline))
                    entry.workspace = None
            if entry.stores.pop(store, False) and not any(entry.stores.values()):
                workspace.read_from_now_on()


def close_stale(path: Path, deadline: float) -> None:
    """Close the workspace of a path if its folder or database was removed, moved or replaced.

    Otherwise DuckDB would find the old database by its path, and new rows would go to a file that nobody finds.
    """
    for entry in entries_with(lambda opened: opened.path == path and not opened.is_usable):
        with locked(entry.lock, deadline, path):
            close_if_unusable(entry, deadline)


def close_if_unusable(entry: _Entry, deadline: float) -> None:
    """Close the workspace of an entry if its folder or database was removed, moved or replaced."""
    if entry.workspace is not None and not entry.workspace.is_usable:
        entry.workspace.close(seconds_until(deadline))
        entry.workspace = None
        entry.stores.clear()


def entries_with(wanted: Callable[[Workspace], bool]) -> list[_Entry]:
    """Return the entries whose workspaces are wanted, without waiting for a thread that is opening one."""
    return [entry for entry in list(_entries.values()) if entry.workspace is not None and wanted(entry.workspace)]


@contextmanager
def locked_entry(path: Path, deadline: float) -> Iterator[_Entry]:
    """Lock the entry of an address for a `with` block, so that no other thread opens or closes the workspace.

    Raises
    ------
    StoreClosedError
        This process was forked while its parent was using the workspace.
    WorkspaceBusyError
        Another thread has it locked until the deadline; see `locked`.
    """
    key = _key_of(path)
    if key in _inherited and is_in_memory(path):
        raise StoreClosedError(
            f"{path} is in the memory of the process from which this one was forked, and not in this one's: keep what "
            "both need in a folder"
        )
    if key in _inherited:
        raise StoreClosedError(
            f"this process was forked while its parent was at work on {path}, so it can never open it safely: "
            "fork before or after a transaction, or start processes with the spawn or forkserver method"
        )
    entry = _entries.setdefault(key, _Entry())
    with locked(entry.lock, deadline, path):
        yield entry


@contextmanager
def lease_of_closed(folder: Path, *, shared: bool, deadline: float) -> Iterator[None]:
    """Hold the lease of a folder that this process has not open, for a `with` block.

    Raises
    ------
    WorkspaceBusyError
        This or another process has it open.
    """
    with locked_entry(folder, deadline) as entry:
        if entry.workspace is not None:
            raise WorkspaceBusyError(f"this process has {folder} open; nothing was changed: close its stores first")
        lease = Lease(folder, shared=shared, timeout=seconds_until(deadline))
        try:
            yield
        finally:
            lease.release()


def _key_of(address: Path) -> Key:
    if is_in_memory(address):
        return str(address)
    status = address.stat()
    return status.st_dev, status.st_ino


@atexit.register
def _close_all() -> None:
    """Close the workspaces that the program left open: a thread inside DuckDB at the interpreter's end aborts it."""
    for entry in list(_entries.values()):
        workspace = entry.workspace
        if workspace is not None:
            try:
                workspace.close(SECONDS_TO_CLOSE_AT_EXIT)
            except StoreError:  # A thread is still using it: it is stopped, and its transaction is rolled back.
                workspace.interrupt()
                with contextlib.suppress(StoreError):
                    workspace.close(SECONDS_TO_CLOSE_AT_EXIT)


def _close_before_fork() -> None:
    _fork_lock.acquire()
    _forking.append([])
    for entry in list(_entries.values()):
        if entry.workspace is not None:
            _forking[-1].append(entry.workspace)  # Before it is closed, since Ctrl-C may come in between.
            entry.workspace.close_before_fork()


def _go_on_after_fork() -> None:
    if is_owned(_fork_lock):  # Ctrl-C may have come before it was taken.
        for workspace in _forking.pop() if _forking else []:
            workspace.after_fork()
        _fork_lock.release()


def _start_anew_after_fork() -> None:
    """Empty the registry of a forked child, so that it opens workspaces anew and uses no connection of its parent."""
    global _fork_lock
    _fork_lock = threading.RLock()
    for key, entry in _entries.items():
        if entry.workspace is not None and entry.workspace.is_open:
            _inherited[key] = entry.workspace
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(entry.workspace))  # Else it would be released at exit.
    _forking.clear()
    _entries.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_close_before_fork, after_in_parent=_go_on_after_fork, after_in_child=_start_anew_after_fork
    )
