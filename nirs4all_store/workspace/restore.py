"""A backup takes the place of a workspace; what was there is kept beside it.

The restored workspace appears with one rename, of its database: all that it names is there by then, and what was
there has been kept. So whatever happens on the way, the workspace is as it was or restored.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ..artifacts import ArtifactFiles, FolderBlobs
from ..engine import (
    HEAD,
    FileDatabase,
    check_is_duckdb,
    copy_database,
    held_alone,
    logs_of,
    migrator,
    not_found,
    refuse_odd_database,
)
from ..errors import InvalidInputError, RunInUseError, StoreError, WorkspaceBusyError, WorkspaceCorruptError
from ..failpoints import Failpoint, hit
from ..filesystem import (
    fsync_folder,
    make_folder,
    output_errors,
    refuse_below,
    refuse_odd,
    share,
    share_alike,
    share_copy,
)
from ..storage import RunRepo, Tables, UnitOfWork
from ..validation import checked_timeout
from . import check
from .addresses import checked_folder
from .backup import copy_into
from .file_lock import Lease
from .layout import ARTIFACTS_NAME, DATABASE_NAME, refuse_no_folder
from .opening import open_workspace
from .registry import close_workspace, locked_entry
from .scheduler import Workspace

KEPT = "before-restore"
UNFINISHED = ".restoring"
MAX_RUNS_LISTED = 3
HARMLESS = ("unlisted-file", "link", "no-file")
"""What of a check of the backup is not restored, and so harms nobody."""


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes
    ----------
    backup, workspace : Path
    rows : dict of str to int
        Rows per table that are there now.
    files : int
        Files of artifacts that they name.
    kept : Path or None
        The workspace as it was, a folder in it that opens as a workspace if it did before; None: there was none.
    """

    backup: Path
    workspace: Path
    rows: dict[str, int]
    files: int
    kept: Path | None

    @property
    def way_back(self) -> str:
        """The shell command that restores what was there before."""
        return f"nirs4all-store restore {quote(str(self.kept))} {quote(str(self.workspace))}" if self.kept else ""


def restore_workspace(
    backup_path: str | os.PathLike[str], workspace_path: str | os.PathLike[str], *, timeout: float = 600.0
) -> RestoreReport:
    """Put a backup in the place of a workspace, whole or not at all; what was there is kept as `before-restore`.

    All of the backup is read and checked first. It stays as it is, and so does what is in the folder besides a
    workspace. The kept files of artifacts take no room of their own where the file system has hard links.

    Parameters
    ----------
    backup_path : path-like
        What `WorkspaceStore.backup` made, or another workspace of this version.
    workspace_path : path-like
        The folder; it is made when absent, and need not open as a workspace.
    timeout : float
        Seconds to wait for others that use either of them.

    Returns
    -------
    RestoreReport

    Raises
    ------
    WorkspaceCorruptError
        The backup is damaged; nothing was changed.
    WorkspaceBusyError, RunInUseError
        Others have the workspace, or another process is in the middle of a run in it; nothing was changed.
    WorkspaceNotFoundError, WorkspaceOutdatedError, WorkspaceTooNewError, ReadOnlyError, InvalidInputError
        It cannot be restored from there; nothing was changed.
    OutputPathError
        The workspace cannot be written to, or its disk is full; it holds what it held, and a copy of it may lie in it.
    """
    source = checked_folder(backup_path, "backup_path")
    target = checked_folder(workspace_path, "workspace_path")
    timeout = checked_timeout(timeout)
    if source.resolve() == target.resolve():
        raise InvalidInputError(f"{source} is the workspace itself, not a backup of it; give two folders")
    if not (source / DATABASE_NAME).exists():
        raise not_found(source)
    refuse_below(target, source / ARTIFACTS_NAME)
    reader = object()
    backup = open_workspace(source, reader, read_only=True, upgrade=False, timeout=timeout)
    try:
        rows = _checked(backup, timeout)
        with output_errors(target), _alone_in(target, timeout):
            _refuse_what_runs(target)
            kept, files = _replace(backup, target, timeout)
        return RestoreReport(source, target, rows, files, kept)
    finally:
        close_workspace(backup, reader, timeout)


def _checked(backup: Workspace, timeout: float) -> dict[str, int]:
    """Read all of a backup; return how many rows its tables have."""
    with UnitOfWork(backup, timeout=timeout, write=False) as uow:
        report = check.check(uow, deep=True)
    damage = [f"{item.subject}: {item.message}" for item in report.findings if item.code not in HARMLESS]
    if damage:
        raise WorkspaceCorruptError(
            f"the backup {backup.path} is damaged, in {len(damage)} places: {'; '.join(damage[:MAX_RUNS_LISTED])}; "
            "nothing was changed: take another one, or make it sound with "
            f"`nirs4all-store repair {quote(str(backup.path))}`"
        )
    return report.rows


@contextmanager
def _alone_in(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lease of a folder that this process has not open, for the length of a block; make it when absent."""
    deadline = time.monotonic() + timeout
    make_folder(folder)
    with locked_entry(folder, deadline) as place:
        if place.workspace is not None:
            raise WorkspaceBusyError(f"this process has {folder} open; nothing was changed: close its stores first")
        lease = Lease(folder, shared=False, timeout=timeout)
        try:
            refuse_odd_database(folder / DATABASE_NAME)
            refuse_odd(folder / ARTIFACTS_NAME, folder / UNFINISHED)
            refuse_no_folder(folder)
            yield
        finally:
            lease.release()


def _refuse_what_runs(folder: Path) -> None:
    """Refuse a workspace in which another process is in the middle of a run; what does not open has none.

    An open store lets others in while it does nothing, so that nobody sees it.
    """
    path = folder / DATABASE_NAME
    with contextlib.suppress(WorkspaceCorruptError, FileNotFoundError):
        check_is_duckdb(path)
        if migrator.revision_at(path) != HEAD:
            return
        opened = FileDatabase(path, read_only=True)
        try:
            with opened.session() as session:
                rows = RunRepo(Tables(opened.row_io(session))).in_progress()
        finally:
            opened.close()
        for row in rows:
            raise RunInUseError(
                f"run {row['run_id']} of {folder} is being run by process {row['owner']['pid']}; nothing was changed: "
                "wait for its end, or end it with complete_run() or fail_run()"
            )


def _replace(backup: Workspace, folder: Path, timeout: float) -> tuple[Path | None, int]:
    """Copy the backup, keep what is there, and let the copy take its place; return what is kept and how many files."""
    database, unfinished = folder / DATABASE_NAME, folder / UNFINISHED
    _remove(unfinished)
    try:
        unfinished.mkdir()
        share(unfinished, folder)  # What is made in it is then for the same group.
        with backup.exclusive(timeout):
            copy_into(backup, unfinished)
        if database.exists():
            share_alike(unfinished / DATABASE_NAME, database.stat())
        share_copy(unfinished / DATABASE_NAME, folder)
        hit(Failpoint.BACKUP_IS_COPIED)
        kept = _keep(folder)
        hit(Failpoint.WORKSPACE_IS_KEPT)
        files = FolderBlobs(folder / ARTIFACTS_NAME).take(unfinished / ARTIFACTS_NAME)
        if logs_of(database):
            with contextlib.suppress(StoreError):  # One that does not open stays so until the new one has its name.
                FileDatabase(database).close()
        (unfinished / DATABASE_NAME).replace(database)
        hit(Failpoint.BACKUP_HAS_THE_NAME)
        for log in logs_of(database):
            log.unlink()
        fsync_folder(folder)
        return kept, files
    finally:
        _remove(unfinished)


def _keep(folder: Path) -> Path | None:
    """Copy a workspace, byte for byte, to a folder of its own in it; return that, or None if there is none."""
    database, unfinished = folder / DATABASE_NAME, folder / UNFINISHED / KEPT
    present = [path for path in (database, *logs_of(database)) if path.exists()]
    if not present:
        return None
    unfinished.mkdir()
    share(unfinished, folder)
    for path in present:
        with held_alone(path) if path == database else path.open("rb") as stream:
            copy_database(stream, unfinished / path.name)
        share_copy(unfinished / path.name, folder)
    blobs = FolderBlobs(folder / ARTIFACTS_NAME)
    blobs.link_to(unfinished / ARTIFACTS_NAME, [file.name for file in ArtifactFiles(blobs).files()])
    number, kept = 1, folder / KEPT
    while os.path.lexists(kept):
        number += 1
        kept = folder / f"{KEPT}-{number}"
    unfinished.replace(kept)
    fsync_folder(folder)
    return kept


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
