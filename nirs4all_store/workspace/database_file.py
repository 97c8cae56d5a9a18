"""Opens the database file of a workspace: creates it when absent, checks it before, and upgrades it if wanted.

Why a database with a trigger is refused: docs/decisions/0015.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..engine import (
    HEAD,
    WORKING_MEMORY,
    FileDatabase,
    check_is_duckdb,
    logs_of,
    migrator,
    plan_upgrade,
    upgrade_database,
)
from ..errors import WorkspaceCorruptError, WorkspaceError
from ..filesystem import refuse_missing, share_alike
from .layout import DATABASE_NAME, refuse_no_folder, refuse_odd_places

SQLITE = "store.sqlite"
"""The database of nirs4all from 0.8.4 on."""


def refuse_beside_sqlite(folder: Path) -> None:
    """Refuse to begin a workspace in one of nirs4all's: each would remove objects of the other from `artifacts/`.

    Raises
    ------
    WorkspaceError
        The folder has nirs4all's database.
    """
    if (folder / SQLITE).exists():
        raise WorkspaceError(
            f"{folder} is a workspace of nirs4all, which has {SQLITE}; give another folder, and bring what is in this "
            f"one with nirs4all-store import {folder} --workspace OTHER"
        )


def open_database(folder: Path, *, read_only: bool, create: bool, upgrade: bool) -> FileDatabase:
    """Open the database of a workspace whose lease this process holds; see `leased_database.Opener`.

    Parameters
    ----------
    folder : Path
    read_only : bool
    create : bool
        Create the database when absent.
    upgrade : bool
        Upgrade a database of an older revision.

    Raises
    ------
    WorkspaceError
        One of its subclasses; nothing was changed.
    ReadOnlyError, OutputPathError
        This user may not write to the folder or to a file in it, or a file has the name of a folder.
    """
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
        refuse_beside_sqlite(folder)
        migrator.create(path)
    else:
        check_is_duckdb(path)
    logs = logs_of(path)
    if not read_only:
        for log in logs:  # The process that made it may have been killed before it shared it with the group.
            share_alike(log, path.stat())
    refuse_missing(*([] if read_only else [folder]), path, *logs, write=not read_only)
    # To open it for writing folds its log in. This must not happen to a database of another revision, nor to one with a
    # trigger or the like. So it is opened read-only first if it has a log.
    as_reader = read_only or bool(logs)
    opened = FileDatabase(path, read_only=as_reader, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):
        if is_new:
            opened.found_no_macros()  # The migrations make none.
        revision = migrator.revision_of(opened)
        migrator.check_revision(revision, path, upgrade=upgrade and not read_only)
        if revision == HEAD and not read_only:
            migrator.refuse_more(opened, revision, macros=create)
    if revision == HEAD and as_reader == read_only:
        return opened
    opened.close()
    if revision != HEAD:
        upgrade_database(plan_upgrade(path))
    opened = FileDatabase(path, read_only=read_only, memory_limit=WORKING_MEMORY)
    with _closed_after_errors(opened):  # A program without our lease may have changed it since.
        migrator.refuse_more(opened, macros=False)
    return opened


@contextmanager
def _closed_after_errors(opened: FileDatabase) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise
