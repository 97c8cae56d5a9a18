"""Byte-for-byte copies of a database that nobody has open: one to work on, one to keep."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from ...filesystem import fsync_file, fsync_folder, open_without_following, refuse_odd, share_copy
from .files import LOG_ENDINGS, log_names, logs_of, refuse_odd_database, temporary_of

CHUNK = 2**20
MOST_COPIES = 1000


def keep_backup(stream: BinaryIO, database: Path, what: str, unfinished: Path, copied: Callable[[int], None]) -> Path:
    """Copy a database and its logs to names of their own, `store.duckdb.before-<what>`; return the database's.

    The copies are for the folder's group, as all that is new in a workspace, unless the database is for no group.

    Parameters
    ----------
    stream : BinaryIO
        The database, see `posix_lock.held_alone`.
    database : Path
    what : str
        The revision that it stands at, or what comes next.
    unfinished : Path
        A name to copy to until the copy is whole.
    copied : callable
        Called with how many bytes there are already.

    Raises
    ------
    FileExistsError
        There are too many copies.
    """
    copy_database(stream, unfinished, copied)
    for log, target in zip(log_names(database), log_names(unfinished), strict=True):
        if log.exists():
            with FileIO(log, opener=open_without_following) as log_stream:
                copy_database(log_stream, target)
    for number in range(1, MOST_COPIES):
        kept = database.with_name(f"{database.name}.before-{what}{f'-{number}' if number > 1 else ''}")
        if kept.exists() and all(_same(*pair) for pair in _pairs(kept, unfinished)):
            return kept
        # Logs without their database are of a program that was killed here, if they are the same.
        if not kept.exists() and all(_same(log, new) for log, new in _pairs(kept, unfinished)[1:] if log.exists()):
            break
    else:
        raise FileExistsError(f"there are {MOST_COPIES} copies of older databases; move some away")
    for target, new in reversed(_pairs(kept, unfinished)):  # The database last: with its name the copy is whole.
        if new.exists():
            share_copy(new, database.parent)
            new.replace(target)
    fsync_folder(kept.parent)
    return kept


def _pairs(kept: Path, unfinished: Path) -> list[tuple[Path, Path]]:
    return list(zip([kept, *log_names(kept)], [unfinished, *log_names(unfinished)], strict=True))


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return one.exists() == other.exists()
    refuse_odd(one, other)
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


def copies_of(database: Path) -> list[Path]:
    """Return what upgrades and recoveries have kept of a database, without the logs, oldest revision first."""
    found = database.parent.glob(f"{database.name}.before-*")
    return sorted(path for path in found if not path.name.endswith(LOG_ENDINGS))


def restore_command(kept: Path, database: Path) -> str:
    """Return the shell command that puts a kept copy and its logs in the place of a database and its logs."""
    names = [database, *log_names(database)]
    copies = [f"cp {quote(str(old))} {quote(str(name))}" for old, name in _pairs(kept, database) if old.exists()]
    return " && ".join([f"rm -f {' '.join(quote(str(name)) for name in names[1:])}", *copies])


def size_of(database: Path) -> int:
    """Return the bytes of a database and its logs."""
    return sum(path.stat().st_size for path in (database, *logs_of(database)))


def copy_database(source: BinaryIO, target: Path, copied: Callable[[int], None] = lambda done: None) -> None:
    """Copy a file's bytes to the disk, for nobody to read who may not read the source."""
    status = os.fstat(source.fileno())
    with open(target, "wb", opener=partial(open_without_following, mode=0o600)) as stream:
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.chown(target, status.st_uid, status.st_gid)
        target.chmod(stat.S_IMODE(status.st_mode))
        while chunk := source.read(CHUNK):
            stream.write(chunk)
            copied(stream.tell())
    fsync_file(target)


def remove_database(database: Path) -> None:
    """Remove an unfinished database and all that DuckDB has put beside it."""
    refuse_odd_database(database)
    for path in (database, *log_names(database), temporary_of(database)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
