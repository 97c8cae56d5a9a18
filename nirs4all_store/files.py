"""Files that appear whole or not at all, and survive a power cut once they are there.

Write to a temporary name in the same folder, flush it to the disk, rename, flush the folder: the
order that the rename(2) and fsync(2) manual pages ask for.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputPathError

TEMPORARY_PREFIX = ".writing-"


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents, each name durable in its own parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        fsync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block ends well.

    Parameters
    ----------
    path : Path
        The file to appear, replacing what had its name. Missing parents are created.

    Yields
    ------
    Path
        The empty temporary file to write to. Its bytes and its name are on the disk when the
        block has ended; after an exception it is gone and `path` is as it was.

    Raises
    ------
    OutputPathError
        `path` is a folder, or its folder cannot be written to.
    """
    refuse_folder(path)
    try:
        make_folder(path.parent)
        temporary = temporary_beside(path)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OutputPathError(f"cannot write {path}: {error}; give a path in a folder that you may write to") from error
    try:
        yield temporary
        fsync_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def refuse_folder(path: Path) -> None:
    """Raise `OutputPathError` if a path is a folder, or can be no file's."""
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # A name that is too long, or holds a NUL.
        raise OutputPathError(f"cannot write {str(path)[:200]!r}: {error}; give another name") from error
    if is_folder:
        raise OutputPathError(f"cannot write {path}: it is a folder; give the name of a file")


def write_whole(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, whole and durable or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def with_suffix_added(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return `path` with as much of `suffix` appended as is missing: `m.n4a` becomes `m.n4a.py`."""
    path = Path(path)
    refuse_folder(path)
    name = path.name.lower()
    starts = (i for i in range(len(suffix), -1, -1) if suffix[i:].startswith(".") or i == len(suffix))
    present = next((i for i in starts if i and name.endswith(suffix[:i])), 0)
    return path.with_name(path.name + suffix[present:])
