"""What a workspace folder has in it, and whether each name is that of a file or a folder, as it must be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..artifacts import QUARANTINE
from ..engine import log_names
from ..errors import OutputPathError, WorkspaceCorruptError
from ..filesystem import FILE, FOLDER, is_odd, kind_of, refuse_odd
from .file_lock import LOCK_FILE, QUEUE_FILE

DATABASE_NAME = "store.duckdb"
ARTIFACTS_NAME = "artifacts"
TEMPLATES = ("library", "library/templates")
FOLDERS = (ARTIFACTS_NAME, f"{ARTIFACTS_NAME}/{QUARANTINE}", *TEMPLATES, "exports")


def refuse_odd_places(folder: Path) -> None:
    """Refuse a workspace in which something that the store uses is a link, a pipe, a socket or a device.

    Raises
    ------
    WorkspaceCorruptError
        It names the first of them; nothing was changed.
    """
    refuse_odd(*_places(folder))
    for log in log_names(folder / DATABASE_NAME):
        if kind_of(log) == FOLDER:
            raise WorkspaceCorruptError(f"{log} is a folder, where a log has its place; move it away")


def refuse_no_folder(folder: Path) -> None:
    """Refuse to write to a workspace with a file in the place of `artifacts`, before its log is folded in.

    Raises
    ------
    OutputPathError
        It has; nothing was changed.
    """
    artifacts = folder / ARTIFACTS_NAME
    if kind_of(artifacts) == FILE:
        raise OutputPathError(f"cannot write below {artifacts}: it is no folder; nothing was changed: move it away")


def odd_places(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what `refuse_odd_places` would refuse, templates too, without what is below `artifacts/`.

    Yields
    ------
    str
        The path below the folder.
    str
        What it is.
    """
    templates = folder / TEMPLATES[-1]
    below = sorted(templates.iterdir()) if kind_of(templates) == FOLDER else []
    for path in (*_places(folder), *below):
        name, kind = path.relative_to(folder).as_posix(), kind_of(path)
        if is_odd(kind) and not name.startswith(f"{ARTIFACTS_NAME}/"):
            yield name, str(kind)


def _places(folder: Path) -> Iterator[Path]:
    """Yield where the store may have something: also logs, copies and unfinished files, whatever they are called."""
    for name in sorted(os.listdir(folder)):  # noqa: PTH208  # A Path for each of many files takes long.
        if DATABASE_NAME in name or name in (LOCK_FILE, QUEUE_FILE):
            yield folder / name
    for name in FOLDERS:
        # What is in a folder that one may not enter is not used either: whoever needs it is told of the right.
        if os.access((folder / name).parent, os.X_OK):
            yield folder / name
