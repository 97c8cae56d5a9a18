"""The files and folders of a workspace, and checks that none of them is a link or another special file.

Links are never followed: one could lead to files of somebody else. See docs/security.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..artifacts import QUARANTINE, FolderBlobs
from ..engine import log_names
from ..errors import OutputPathError, WorkspaceCorruptError
from ..filesystem import FILE, FOLDER, PLAIN, kind_of, refuse_odd
from .file_lock import LOCK_FILE, QUEUE_FILE

DATABASE_NAME = "store.duckdb"
ARTIFACTS_NAME = "artifacts"
TEMPLATES = ("library", "library/templates")
FOLDERS = (ARTIFACTS_NAME, f"{ARTIFACTS_NAME}/{QUARANTINE}", *TEMPLATES, "exports")


def refuse_odd_places(folder: Path) -> None:
    """Raise if something that the store uses in a workspace is a link, a pipe, a socket or a device.

    Raises
    ------
    WorkspaceCorruptError
        The message names the first one; nothing was changed.
    """
    refuse_odd(*_places(folder))
    for log in log_names(folder / DATABASE_NAME):
        if kind_of(log) == FOLDER:
            raise WorkspaceCorruptError(f"{log} is a folder, where a log has its place; move it away")


def blobs_of(folder: Path) -> FolderBlobs:
    """Return where the artifacts of a workspace are, whether they are there yet or not."""
    return FolderBlobs(folder / ARTIFACTS_NAME)


def refuse_no_folder(folder: Path) -> None:
    """Raise if a workspace has a file with the name of the folder `artifacts`.

    Called before a database is opened for writing, which folds its log in.

    Raises
    ------
    OutputPathError
        There is such a file; nothing was changed.
    """
    artifacts = folder / ARTIFACTS_NAME
    if kind_of(artifacts) == FILE:
        raise OutputPathError(f"cannot write below {artifacts}: it is no folder; nothing was changed: move it away")


def odd_places(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the paths that `refuse_odd_places` would refuse, and also templates, but nothing below `artifacts/`.

    Yields
    ------
    str
        The path below the folder.
    str
        Its kind, such as `a link`.
    """
    templates = folder / TEMPLATES[-1]
    below = sorted(templates.iterdir()) if kind_of(templates) == FOLDER else []
    for path in (*_places(folder), *below):
        name, kind = path.relative_to(folder).as_posix(), kind_of(path)
        if kind not in PLAIN and not name.startswith(f"{ARTIFACTS_NAME}/"):
            yield name, str(kind)


def _places(folder: Path) -> list[Path]:
    """Return the paths that the store may use, also those of logs, copies and unfinished files."""
    names = sorted(os.listdir(folder))  # noqa: PTH208  # A Path for each of many files takes long.
    files = [folder / name for name in names if DATABASE_NAME in name or name in (LOCK_FILE, QUEUE_FILE)]
    # A folder that this user may not enter is skipped: whoever uses it gets an error that says so.
    return files + [folder / name for name in FOLDERS if os.access((folder / name).parent, os.X_OK)]
