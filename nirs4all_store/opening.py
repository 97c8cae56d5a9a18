"""Opening a workspace folder: create, check, or join the one that this process uses already."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from . import migrate
from . import upgrade as upgrading
from .database import WORKING_MEMORY, Database
from .duckdb_files import logs_of, refuse_misread
from .errors import (
    ReadOnlyError,
    StoreClosedError,
    StoreError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
)
from .files import make_folder
from .kinds import opened
from .layout import refuse_no_folder, refuse_odd_places
from .lease import refuse_if_open_here
from .maintenance import interrupt_lost_runs
from .mounts import warn_if_remote
from .rights import refuse_missing, share_alike
from .turns import is_owned, seconds_until, taken
from .workspace import DATABASE_NAME, Workspace

MAGIC = b"DUCK"
MAGIC_OFFSET = 8
SECONDS_TO_CLOSE_AT_EXIT = 5.0


@dataclass
class _Place:
    """One folder, the workspace that this process has open there, and the stores that use it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    workspace: Workspace | None = None
    stores: dict[object, bool] = field(default_factory=dict)
    """Those that use it, and whether they write."""


# By device and inode of the folder, so that two spellings of one path share one engine.
_places: dict[tuple[int, int], _Place] = {}
_one_fork_at_a_time = threading.RLock()
# Of each fork that goes on, the workspaces that it keeps others out of; a signal handler may fork in the middle of one.
_forking: list[list[Workspace]] = []
# What a forked child has of databases that its parent was at work on: kept for ever, since closing them would harm.
_inherited: dict[tuple[int, int], Workspace] = {}


def open_workspace(path: Path, store: object, *, read_only: bool, upgrade: bool, timeout: float) -> Workspace:
    """Return the open workspace of a folder; give it back with `close_workspace`.

    Parameters
    ----------
    path : Path
        The folder. It and its database are created when absent, unless `read_only`.
    store : object
        Stands for the one who asks; the workspace stays open until the last of them has given it back.
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
    refuse_misread(path)
    if not read_only:
        _make_workspace_folder(path)
    elif not path.is_dir():
        raise not_found(path)
    path, deadline = path.resolve(), time.monotonic() + timeout  # A link may be gone before those who came by it.
    _close_what_was_here(path, deadline)
    with place_of(path, deadline) as place:
        _clear(place, deadline)  # It may have come here by another name.
        if place.workspace is None:
            warn_if_remote(path)
            place.workspace = Workspace(path, _open_database, read_only=read_only)
        workspace = place.workspace
        place.stores[store] = not read_only
    try:
        is_new = workspace.open(seconds_until(deadline), write=not read_only, upgrade=upgrade)
        if not read_only:
            workspace.blobs.make_root()
            # A store that this process has open keeps nobody waiting for it.
            interrupt_lost_runs(workspace, seconds_until(deadline) if is_new else 0)
    except BaseException:
        close_workspace(workspace, store, seconds_until(deadline))
        raise
    return workspace


def close_workspace(workspace: Workspace, store: object, timeout: float) -> None:
    """Give back what `open_workspace` returned; the last one to do so closes it. Twice is fine."""
    deadline = time.monotonic() + timeout
    # Not by the folder's identity: the folder may be gone by now.
    for place in _places_with(lambda opened: opened is workspace):
        with taken(place.lock, deadline, workspace.path):
            if place.workspace is workspace and place.stores.keys() == {store}:
                workspace.close(seconds_until(deadline))
                place.workspace = None
            if place.stores.pop(store, False) and not any(place.stores.values()):
                workspace.read_from_now_on()


def _close_what_was_here(path: Path, deadline: float) -> None:
    """Close what is still open of a folder or database that was removed, moved or replaced.

    DuckDB would join it by the path, and what is written then would go where nobody finds it.
    """
    for place in _places_with(lambda opened: opened.path == path and not opened.is_usable):
        with taken(place.lock, deadline, path):
            _clear(place, deadline)


def _clear(place: _Place, deadline: float) -> None:
    """Close what is open at a place, if its folder or database was removed, moved or replaced."""
    if place.workspace is not None and not place.workspace.is_usable:
        place.workspace.close(seconds_until(deadline))
        place.workspace = None
        place.stores.clear()


def _places_with(wanted: Callable[[Workspace], bool]) -> list[_Place]:
    """Return the places of wanted workspaces, without waiting for those in which somebody is opening one."""
    return [place for place in list(_places.values()) if place.workspace is not None and wanted(place.workspace)]


@contextmanager
def place_of(path: Path, deadline: float) -> Iterator[_Place]:
    """Give the place of a folder, which nobody else opens or closes for the length of the block; see `taken`."""
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key in _inherited:
        raise StoreClosedError(
            f"this process was forked while its parent was at work on {path}, so it can never open it safely: "
            "fork before or after a transaction, or start processes with the spawn or forkserver method"
        )
    place = _places.setdefault(key, _Place())
    with taken(place.lock, deadline, path):
        yield place


def _make_workspace_folder(path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        if path.exists() and not path.is_dir():
            raise WorkspaceCorruptError(f"{path} is a file, not a folder; give another path") from error
        raise ReadOnlyError(f"cannot create the workspace {path}: {error}; give a folder you may write to") from error


def _open_database(folder: Path, *, read_only: bool, create: bool, upgrade: bool) -> Database:
    """Return a workspace's database, open and up to date, or raise; see `Opener`."""
    path = folder / DATABASE_NAME
    refuse_odd_places(folder)
    if not read_only:
        refuse_no_folder(folder)
    if os.path.lexists(path) or not create:
        check_is_duckdb(path)
    else:
        for log in logs_of(path):
            raise WorkspaceCorruptError(
                f"{log} is there without {path.name}, which it belongs to; nothing was changed: "
                "put the database back, or move the log away to start anew"
            )
        migrate.create(path)
    if not read_only:
        for log in logs_of(path):  # Who made it may have been killed before it was given to the group.
            share_alike(log, path.stat())
    refuse_missing(*([] if read_only else [folder]), path, *logs_of(path), write=not read_only)
    # Opening it for writing folds its log in, which must not happen to a database of another version, nor to one that
    # has what may act by itself.
    as_reader = read_only or bool(logs_of(path))
    opened = Database(path, read_only=as_reader, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):
        revision = migrate.revision_of(opened)
        migrate.check_revision(revision, path, upgrade=upgrade and not read_only)
        if revision == migrate.HEAD and not read_only:
            migrate.refuse_more(opened, revision, macros=create)
    if revision == migrate.HEAD and as_reader == read_only:
        return opened
    opened.close()
    if revision != migrate.HEAD:
        upgrading.upgrade(upgrading.plan_upgrade(path))
    opened = Database(path, read_only=read_only, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):  # A program that knows nothing of leases may have been faster.
        migrate.refuse_more(opened, macros=False)
    return opened


@contextmanager
def _closed_after_errors(opened: Database) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise


def not_found(path: Path) -> WorkspaceNotFoundError:
    """Return the error of a folder that is no workspace."""
    return WorkspaceNotFoundError(
        f"there is no workspace at {path}; give another folder, or create one with WorkspaceStore({str(path)!r}), in a "
        "shell with `nirs4all-store init`"
    )


def check_is_duckdb(path: Path) -> None:
    """Tell files of other programs from damaged ones; nobody has the file open while we read it."""
    if path.is_symlink():
        raise WorkspaceCorruptError(
            f"{path} is a link, beside which DuckDB would look for no log; nothing was changed: link the whole folder"
        )
    if not path.exists():
        raise not_found(path.parent)
    if not path.is_file():
        raise WorkspaceCorruptError(f"{path} is not a file; move it away or give another folder")
    refuse_if_open_here(path)
    try:
        with FileIO(path, opener=opened) as stream:
            head = stream.read(MAGIC_OFFSET + len(MAGIC))
    except OSError as error:
        raise ReadOnlyError(f"{path} cannot be read: {error}; ask for the right to read it") from error
    if not head:
        raise WorkspaceCorruptError(f"{path} is empty: it was never a workspace's database; move it away to start anew")
    if head[MAGIC_OFFSET:] != MAGIC:
        raise WorkspaceCorruptError(f"{path} is no DuckDB database; nothing was changed: give another folder")


@atexit.register
def _close_all() -> None:
    """Close what the program left open: a thread inside DuckDB while the interpreter ends aborts it."""
    for place in list(_places.values()):
        workspace = place.workspace
        if workspace is not None:
            try:
                workspace.close(SECONDS_TO_CLOSE_AT_EXIT)
            except StoreError:  # A thread is still at work: it is stopped, and its transaction is rolled back.
                workspace.interrupt()
                with contextlib.suppress(StoreError):
                    workspace.close(SECONDS_TO_CLOSE_AT_EXIT)


def _close_before_fork() -> None:
    _one_fork_at_a_time.acquire()
    _forking.append([])
    for place in list(_places.values()):
        if place.workspace is not None:
            _forking[-1].append(place.workspace)  # First: Ctrl-C may come before all of it is done.
            place.workspace.close_before_fork()


def _go_on_after_fork() -> None:
    if is_owned(_one_fork_at_a_time):  # Ctrl-C may have come before it was, or right after.
        for workspace in _forking.pop() if _forking else []:
            workspace.after_fork()
        _one_fork_at_a_time.release()


def _start_anew_after_fork() -> None:
    """Let a forked child open workspaces of its own; the parent's connections must never run here."""
    global _one_fork_at_a_time
    _one_fork_at_a_time = threading.RLock()
    for key, place in _places.items():
        if place.workspace is not None and place.workspace.is_open:
            _inherited[key] = place.workspace
    _forking.clear()
    _places.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_close_before_fork, after_in_parent=_go_on_after_fork, after_in_child=_start_anew_after_fork
    )
