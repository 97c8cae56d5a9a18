"""Restores a workspace from a backup; the workspace of before is kept in a folder inside it.

The last step is one rename, of the database. Before it, all files that the database names are in place, and the old
workspace is kept. So after a crash at any moment, the workspace is as it was or it is restored.
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

from ..artifacts import ArtifactFiles
from ..call_boundary import public
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
from ..errors import InvalidInputError, RunInUseError, StoreError, WorkspaceCorruptError
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
from .layout import ARTIFACTS_NAME, DATABASE_NAME, blobs_of, refuse_no_folder
from .opening import open_workspace
from .registry import close_workspace, lease_of_closed
from .scheduler import Workspace

KEPT = "before-restore"
UNFINISHED = ".restoring"
HARMLESS = ("unlisted-file", "link", "no-file")
"""Findings in a backup that do not prevent a restore, since what they are about is not restored."""


@dataclass(frozen=True)
class RestoreReport:
    """The result of a restore.

    Attributes
    ----------
    backup, workspace : Path
    rows : dict of str to int
        The number of rows of each table that were restored.
    files : int
        The number of files of artifacts that they name.
    kept : Path or None
        A folder inside the workspace that has the workspace of before; None if there was none. It can be opened if the
        old workspace could.
    """

    backup: Path
    workspace: Path
    rows: dict[str, int]
    files: int
    kept: Path | None

    @property
    def way_back(self) -> str:
        """The shell command that restores the workspace of before; empty if there was none."""
        return f"nirs4all-store restore {quote(str(self.kept))} {quote(str(self.workspace))}" if self.kept else ""


@public
def restore_workspace(
    backup_path: str | os.PathLike[str], workspace_path: str | os.PathLike[str], *, timeout: float = 600.0
) -> RestoreReport:
    """Replace a workspace by a backup, as a whole or not at all; the old workspace is kept as `before-restore`.

    All of the backup is read and checked first, and it is not changed. Other files in the folder of the workspace stay.
    The kept files of artifacts need no disk space if the file system has hard links.

    Parameters
    ----------
    backup_path : path-like
        A folder that `WorkspaceStore.backup` has made, or another workspace of this version.
    workspace_path : path-like
        The folder to restore to. It is created when absent. It may have a workspace that does not open.
    timeout : float
        Seconds to wait for other processes that use the backup or the workspace.

    Returns
    -------
    RestoreReport

    Raises
    ------
    WorkspaceCorruptError
        The backup is damaged; nothing was changed.
    WorkspaceBusyError, RunInUseError
        Another process holds the workspace, or is running a run in it; nothing was changed.
    WorkspaceNotFoundError, WorkspaceOutdatedError, WorkspaceTooNewError, ReadOnlyError, InvalidInputError
        The backup cannot be restored; nothing was changed.
    OutputPathError
        The workspace cannot be written to, or its disk is full. It has the same rows as before; a copy of it may be
        left in it.
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
    """Read and check all of a backup; return the number of rows of each table."""
    with UnitOfWork(backup, timeout=timeout, write=False) as uow:
        report = check.check(uow, deep=True)
    damage = [f"{item.subject}: {item.message}" for item in report.findings if item.code not in HARMLESS]
    if damage:
        raise WorkspaceCorruptError(
            f"the backup {backup.path} is damaged, in {len(damage)} places: {'; '.join(damage[:3])}; "
            "nothing was changed: take another one, or make it sound with "
            f"`nirs4all-store repair {quote(str(backup.path))}`"
        )
    return report.rows


@contextmanager
def _alone_in(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lease of a folder for a `with` block; create the folder when absent.

    Raises
    ------
    WorkspaceBusyError
        This or another process has it open.
    """
    make_folder(folder)
    with lease_of_closed(folder, shared=False, deadline=time.monotonic() + timeout):
        refuse_odd_database(folder / DATABASE_NAME)
        refuse_odd(folder / ARTIFACTS_NAME, folder / UNFINISHED)
        refuse_no_folder(folder)
        yield


def _refuse_what_runs(folder: Path) -> None:
    """Raise if another process is running a run in a workspace; one that does not open counts as having none.

    The lease does not tell that: an open store lets other processes in while it does nothing.
    """
    path = folder / DATABASE_NAME
    with contextlib.suppress(WorkspaceCorruptError, FileNotFoundError):
        check_is_duckdb(path)
        if migrator.revision_at(path) != HEAD:
            return
        with contextlib.closing(FileDatabase(path, read_only=True)) as opened, opened.session() as session:
            rows = RunRepo(Tables(opened.row_io(session))).in_progress()
        for row in rows:
            raise RunInUseError(
                f"run {row['run_id']} of {folder} is being run by process {row['owner']['pid']}; nothing was changed: "
                "wait for its end, or end it with complete_run() or fail_run()"
            )


def _replace(backup: Workspace, folder: Path, timeout: float) -> tuple[Path | None, int]:
    """Copy the backup into the folder, keep the old workspace, and rename the copy.

    Returns
    -------
    Path or None
        The folder that has the old workspace.
    int
        The number of restored files of artifacts.
    """
    database, unfinished = folder / DATABASE_NAME, folder / UNFINISHED
    _remove(unfinished)
    try:
        unfinished.mkdir()
        share(unfinished, folder)  # Files that are made in it then get the same group.
        with backup.exclusive(timeout):
            copy_into(backup, unfinished)
        if database.exists():
            share_alike(unfinished / DATABASE_NAME, database.stat())
        share_copy(unfinished / DATABASE_NAME, folder)
        hit(Failpoint.BACKUP_IS_COPIED)
        kept = _keep(folder)
        hit(Failpoint.WORKSPACE_IS_KEPT)
        files = blobs_of(folder).take(unfinished / ARTIFACTS_NAME)
        if logs_of(database):
            with contextlib.suppress(StoreError):  # A database that does not open is replaced with its log below.
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
    """Copy a workspace, byte for byte, to a new folder inside it; return that folder, or None without a database."""
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
    blobs = blobs_of(folder)
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
