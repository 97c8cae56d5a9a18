"""Copies of a whole workspace, and its database compacted."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

from ..artifacts import FolderBlobs
from ..engine import Database, copy_compacted, logs_of, refuse_misread, refuse_more_at, remove_database
from ..errors import OutputPathError, StoreError
from ..filesystem import fsync_file, fsync_folder, make_folder, output_errors, share_alike, share_copy, temporary_beside
from ..storage import ArtifactRepo, Tables, write_down
from .layout import ARTIFACTS_NAME, DATABASE_NAME
from .scheduler import Workspace


class VacuumResult(NamedTuple):
    """How many bytes the database file had before `vacuum()`, and after."""

    before: int
    after: int


def vacuum(workspace: Workspace, timeout: float) -> VacuumResult:
    """Replace the database file by a copy without free space, if that is smaller, while nobody uses it.

    A crash leaves the old file or the new one under the name.
    """
    path = workspace.path / DATABASE_NAME
    compact = path.with_name(f".compacting-{DATABASE_NAME}")
    with workspace.exclusive(timeout), output_errors(path):
        if logs_of(path):
            raise StoreError(f"{path} could not fold its log in; free some disk space, open it again and repeat")
        remove_database(compact)
        before = path.stat().st_size
        try:
            _copy_tables(path, compact)
            if compact.stat().st_size < path.stat().st_size:
                share_alike(compact, path.stat())
                share_copy(compact, path.parent)
                fsync_file(compact)
                compact.replace(path)
        finally:
            remove_database(compact)
        fsync_folder(workspace.path)
        return VacuumResult(before, path.stat().st_size)


def backup(workspace: Workspace, target: Path, timeout: float) -> Path:
    """Copy rows and artifacts, as they are at one moment, to a new folder; others wait meanwhile.

    Raises
    ------
    OutputPathError
        `target` is there already and not an empty folder, is below `artifacts/`, or cannot be written.
    """
    workspace.blobs.refuse_inside(target)
    refuse_misread(target, OutputPathError)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputPathError(f"cannot back up to {target}: it is not empty; give a new folder")
    with output_errors(target):
        make_folder(target.parent)
        unfinished = temporary_beside(target)
        unfinished.mkdir()
        try:
            with workspace.exclusive(timeout):
                missing = copy_into(workspace, unfinished)
            unfinished.replace(target)
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        fsync_folder(target.parent)
    if missing:
        warnings.warn(f"the backup {target} lacks artifact files that are missing here: {missing}", stacklevel=4)
    return target


def copy_into(workspace: Workspace, folder: Path) -> list[str]:
    """Copy the rows of a workspace that nobody uses, and the files that they name; return those that are missing."""
    _copy_tables(workspace.path / DATABASE_NAME, folder / DATABASE_NAME)
    fsync_file(folder / DATABASE_NAME)
    copied = Database(folder / DATABASE_NAME, read_only=True)
    try:
        with copied.session() as session:
            paths = ArtifactRepo(Tables(session)).paths()
        write_down(copied)
    finally:
        copied.close()
    blobs = FolderBlobs(folder / ARTIFACTS_NAME)
    blobs.make_root()
    return workspace.blobs.copy_to(blobs, paths)


def _copy_tables(source: Path, target: Path) -> None:
    """Copy a database, unless it has more than tables: a reader may have opened it all the same."""
    refuse_more_at(source)
    copy_compacted(source, target)
