"""Which workspaces this process has open, by folder; what becomes of them at a fork and at exit."""

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

from ..errors import StoreClosedError, StoreError
from ..storage import is_owned, locked, seconds_until
from .addresses import is_in_memory
from .scheduler import Workspace

SECONDS_TO_CLOSE_AT_EXIT = 5.0


@dataclass
class _Entry:
    """One folder, the workspace that this process has open there, and the stores that use it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    workspace: Workspace | None = None
    stores: dict[object, bool] = field(default_factory=dict)
    """Those that use it, and whether they write."""


Key = tuple[int, int] | str
"""Device and inode of a folder, so that two spellings of one path share one engine; or `memory:NAME`."""

_entries: dict[Key, _Entry] = {}
_fork_lock = threading.RLock()
# Of each fork that goes on, the workspaces that it keeps others out of; a signal handler may fork in the middle of one.
_forking: list[list[Workspace]] = []
# What a forked child has of databases that its parent was at work on: kept for ever, since closing them would harm.
_inherited: dict[Key, Workspace] = {}


def close_workspace(workspace: Workspace, store: object, timeout: float) -> None:
    """Give back what `open_workspace` returned; the last one to do so closes a folder's. Twice is fine."""
    deadline = time.monotonic() + timeout
    # Not by the folder's identity: the folder may be gone by now.
    for entry in entries_with(lambda opened: opened is workspace):
        with locked(entry.lock, deadline, workspace.path):
            if entry.workspace is workspace and entry.stores.keys() == {store}:
                if is_in_memory(workspace.path):  # It stays until the process ends, and whoever is inside ends now.
                    with workspace.exclusive(seconds_until(deadline)):
                        pass
                else:
                    workspace.close(seconds_until(deadline))
                    entry.workspace = None
            if entry.stores.pop(store, False) and not any(entry.stores.values()):
                workspace.read_from_now_on()


def close_stale(path: Path, deadline: float) -> None:
    """Close what is still open of a folder or database that was removed, moved or replaced.

    DuckDB would join it by the path, and what is written then would go where nobody finds it.
    """
    for entry in entries_with(lambda opened: opened.path == path and not opened.is_usable):
        with locked(entry.lock, deadline, path):
            close_if_unusable(entry, deadline)


def close_if_unusable(entry: _Entry, deadline: float) -> None:
    """Close what is open at a place, if its folder or database was removed, moved or replaced."""
    if entry.workspace is not None and not entry.workspace.is_usable:
        entry.workspace.close(seconds_until(deadline))
        entry.workspace = None
        entry.stores.clear()


def entries_with(wanted: Callable[[Workspace], bool]) -> list[_Entry]:
    """Return the places of wanted workspaces, without waiting for those in which somebody is opening one."""
    return [entry for entry in list(_entries.values()) if entry.workspace is not None and wanted(entry.workspace)]


@contextmanager
def locked_entry(path: Path, deadline: float) -> Iterator[_Entry]:
    """Yield the entry of a folder, which nobody else opens or closes for the length of the block; see `locked`."""
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


def _key_of(address: Path) -> Key:
    if is_in_memory(address):
        return str(address)
    status = address.stat()
    return status.st_dev, status.st_ino


@atexit.register
def _close_all() -> None:
    """Close what the program left open: a thread inside DuckDB while the interpreter ends aborts it."""
    for entry in list(_entries.values()):
        workspace = entry.workspace
        if workspace is not None:
            try:
                workspace.close(SECONDS_TO_CLOSE_AT_EXIT)
            except StoreError:  # A thread is still at work: it is stopped, and its transaction is rolled back.
                workspace.interrupt()
                with contextlib.suppress(StoreError):
                    workspace.close(SECONDS_TO_CLOSE_AT_EXIT)


def _close_before_fork() -> None:
    _fork_lock.acquire()
    _forking.append([])
    for entry in list(_entries.values()):
        if entry.workspace is not None:
            _forking[-1].append(entry.workspace)  # First: Ctrl-C may come before all of it is done.
            entry.workspace.close_before_fork()


def _go_on_after_fork() -> None:
    if is_owned(_fork_lock):  # Ctrl-C may have come before it was, or right after.
        for workspace in _forking.pop() if _forking else []:
            workspace.after_fork()
        _fork_lock.release()


def _start_anew_after_fork() -> None:
    """Let a forked child open workspaces of its own; the parent's connections must never run here."""
    global _fork_lock
    _fork_lock = threading.RLock()
    for key, entry in _entries.items():
        if entry.workspace is not None and entry.workspace.is_open:
            _inherited[key] = entry.workspace
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(entry.workspace))  # The interpreter's end drops all but this.
    _forking.clear()
    _entries.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_close_before_fork, after_in_parent=_go_on_after_fork, after_in_child=_start_anew_after_fork
    )
