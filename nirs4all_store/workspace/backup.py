"""Backs up a whole workspace, and compacts its database."""

from __future__ import annotations

import shutil
import warnings
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ..engine import FileDatabase, refuse_misread
from ..errors import OutputPathError
from ..filesystem import fsync_folder, make_folder, output_errors, temporary_beside
from ..storage import ArtifactRepo, Tables
from .layout import DATABASE_NAME, blobs_of
from .scheduler import Workspace


class VacuumResult(NamedTuple):
    """The size of the database file before and after `vacuum()`, in bytes."""

    before: int
    after: int


def vacuum(workspace: Workspace, timeout: float) -> VacuumResult:
    """Free unused space of the database, while no unit of work is open; see `Upkeep.vacuum`."""
    with workspace.exclusive(timeout):
        return VacuumResult(*workspace.upkeep.vacuum())


def backup(workspace: Workspace, target: Path, timeout: float) -> Path:
    """Copy the rows and artifacts of one moment to a new folder; return the folder.

    Other threads and processes wait meanwhile. A warning names the files of artifacts that are missing.

    Parameters
    ----------
    workspace : Workspace
    target : Path
    timeout : float
        Seconds to wait until no unit of work is open.

    Raises
    ------
    OutputPathError
        `target` exists and is not an empty folder, is below `artifacts/`, or cannot be written.
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
    """Copy the rows of a workspace that nobody uses, and the files that they name, to a folder.

    Returns
    -------
    list of str
        The files that the rows name and that are missing.
    """
    workspace.upkeep.copy_to(folder / DATABASE_NAME)
    with closing(FileDatabase(folder / DATABASE_NAME, read_only=True)) as copied:
        with copied.session() as session:
            paths = ArtifactRepo(Tables(copied.row_io(session))).paths()
        copied.write_down_contents()
    blobs = blobs_of(folder)
    blobs.make_root()
    return workspace.blobs.copy_to(blobs, paths)
