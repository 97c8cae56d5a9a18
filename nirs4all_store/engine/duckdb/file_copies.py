"""Copies a database file that nobody has open, byte for byte: to work on the copy, or to keep it as a backup."""

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
    """Keep a copy of a database and its logs as `store.duckdb.before-<what>`; return the path of the database's copy.

    A copy that is there already is never replaced: if its bytes differ, the new copy gets a number (`-2`). The folder's
    group may use the copies, as all new files of a workspace, unless no group may use the database.

    Parameters
    ----------
    stream : BinaryIO
        The database file, open for reading; see `posix_lock.held_alone`.
    database : Path
    what : str
        The revision of the database, or the operation that comes next.
    unfinished : Path
        The path of the copy until it is complete.
    copied : callable
        Called with the number of bytes that are copied so far.

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
        # Equal logs without a database were left by a program that was killed between the renames below.
        if not kept.exists() and all(_same(log, new) for log, new in _pairs(kept, unfinished)[1:] if log.exists()):
            break
    else:
        raise FileExistsError(f"there are {MOST_COPIES} copies of older databases; move some away")
    for target, new in reversed(_pairs(kept, unfinished)):  # The database last: once it is there, the copy is complete.
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
    """Return the copies of a database that upgrades and recoveries have kept, without the logs, sorted by name."""
    found = database.parent.glob(f"{database.name}.before-*")
    return sorted(path for path in found if not path.name.endswith(LOG_ENDINGS))


def restore_command(kept: Path, database: Path) -> str:
    """Return the shell command that replaces a database and its logs by a kept copy and its logs."""
    names = [database, *log_names(database)]
    copies = [f"cp {quote(str(old))} {quote(str(name))}" for old, name in _pairs(kept, database) if old.exists()]
    return " && ".join([f"rm -f {' '.join(quote(str(name)) for name in names[1:])}", *copies])


def size_of(database: Path) -> int:
    """Return the size of a database and its logs, in bytes."""
    return sum(path.stat().st_size for path in (database, *logs_of(database)))


def copy_database(source: BinaryIO, target: Path, copied: Callable[[int], None] = lambda done: None) -> None:
    """Copy a file to `target` and sync it to the disk; only those who may read the source may read the copy."""
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
    """Remove an unfinished database, its logs and DuckDB's temporary files beside it."""
    refuse_odd_database(database)
    for path in (database, *log_names(database), temporary_of(database)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
