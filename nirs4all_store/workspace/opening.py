"""Opening a workspace folder: create, check, or join the one that this process uses already."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..artifacts import FolderBlobs
from ..engine import (
    ENGINE_ERRORS,
    WORKING_MEMORY,
    Database,
    check_is_duckdb,
    logs_of,
    migrator,
    not_found,
    plan_upgrade,
    refuse_misread,
    upgrade_database,
)
from ..errors import ReadOnlyError, StoreError, WorkspaceCorruptError
from ..filesystem import make_folder, refuse_missing, share_alike
from ..storage import UnitOfWork, seconds_until
from .layout import ARTIFACTS_NAME, DATABASE_NAME, refuse_no_folder, refuse_odd_places
from .network_mounts import warn_if_remote
from .registry import close_if_unusable, close_stale, close_workspace, locked_entry
from .scheduler import Workspace


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
    close_stale(path, deadline)
    with locked_entry(path, deadline) as place:
        close_if_unusable(place, deadline)  # It may have come here by another name.
        if place.workspace is None:
            warn_if_remote(path)
            place.workspace = Workspace(path, _open_database, read_only=read_only)
        workspace = place.workspace
        place.stores[store] = not read_only
    try:
        is_new = workspace.open(seconds_until(deadline), write=not read_only, upgrade=upgrade)
        if not read_only:
            FolderBlobs(path / ARTIFACTS_NAME).make_root()
            # A store that this process has open keeps nobody waiting for it.
            interrupt_lost_runs(workspace, seconds_until(deadline) if is_new else 0)
    except BaseException:
        close_workspace(workspace, store, seconds_until(deadline))
        raise
    return workspace


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
    is_new = create and not os.path.lexists(path)
    if is_new:
        for log in logs_of(path):
            raise WorkspaceCorruptError(
                f"{log} is there without {path.name}, which it belongs to; nothing was changed: "
                "put the database back, or move the log away to start anew"
            )
        migrator.create(path)
    else:
        check_is_duckdb(path)
    if not read_only:
        for log in logs_of(path):  # Who made it may have been killed before it was given to the group.
            share_alike(log, path.stat())
    refuse_missing(*([] if read_only else [folder]), path, *logs_of(path), write=not read_only)
    # Opening it for writing folds its log in, which must not happen to a database of another version, nor to one that
    # has what may act by itself.
    as_reader = read_only or bool(logs_of(path))
    opened = Database(path, read_only=as_reader, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):
        if is_new:
            opened.found_no_macros()  # The migrations make none.
        revision = migrator.revision_of(opened)
        migrator.check_revision(revision, path, upgrade=upgrade and not read_only)
        if revision == migrator.HEAD and not read_only:
            migrator.refuse_more(opened, revision, macros=create)
    if revision == migrator.HEAD and as_reader == read_only:
        return opened
    opened.close()
    if revision != migrator.HEAD:
        upgrade_database(plan_upgrade(path))
    opened = Database(path, read_only=read_only, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):  # A program that knows nothing of leases may have been faster.
        migrator.refuse_more(opened, macros=False)
    return opened


@contextmanager
def _closed_after_errors(opened: Database) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise


def interrupt_lost_runs(workspace: Workspace, timeout: float) -> None:
    """Mark the runs interrupted whose processes are gone; where that fails, the workspace can be used all the same."""
    with contextlib.suppress(StoreError, *ENGINE_ERRORS), UnitOfWork(workspace, timeout=timeout) as uow:
        if uow.runs.interrupt_lost():
            uow.commit()
