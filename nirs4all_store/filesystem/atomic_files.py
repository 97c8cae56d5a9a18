"""Files that appear whole or not at all, and survive a power cut once they are there.

Write to a temporary name in the same folder, flush it to the disk, rename, flush the folder: the
order that the rename(2) and fsync(2) manual pages ask for.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InvalidInputError, InvalidTypeError, OutputPathError, StoreError
from .file_types import FILE, kind_of, open_at_once, refuse_odd
from .permissions import share_in_workspace

TEMPORARY_PREFIX = ".writing-"
# In bytes: what a file system allows for one name.
LONGEST_NAME = 255


def checked_path(value: object, where: str, error: type[StoreError] = InvalidInputError) -> Path:
    """Return `value` as a path that a file or folder could have, whether there is one or not; `~` is the home folder.

    Parameters
    ----------
    value : object
        What was given.
    where : str
        The name of the parameter, for the message.
    error : type
        What to raise if nothing could have this path.

    Raises
    ------
    InvalidTypeError
        `value` is neither a `str` nor path-like.
    StoreError
        It holds a NUL character, a name that is too long, or the home folder of nobody.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidTypeError(f"{where} must be a path, not {value!r:.60}; give a str or a pathlib.Path")
    path = Path(os.path.expanduser(text))  # noqa: PTH111  # A Path no longer knows `./~` from `~`.
    if text.startswith("~") and str(path).startswith("~"):
        raise error(f"{where} {text!r:.200}: there is no such user here; for a name that begins so, give ./~...")
    shown = text if len(text) < 200 else f"{text[:200]}..."
    try:
        path.stat()
        too_long = False
    except ValueError as problem:  # A NUL, or text that no file system can encode.
        raise error(f"{where} {shown!r} cannot be a path: {problem}; give another") from None
    except OSError as problem:
        too_long = problem.errno == errno.ENAMETOOLONG
    if too_long or max(map(len, map(os.fsencode, path.parts)), default=0) > LONGEST_NAME:
        raise error(f"{where} {shown!r} cannot be a path: a name in it is too long; give a shorter one")
    return path


def refuse_below(path: Path, folder: Path) -> None:
    """Refuse an output path that leads into a workspace's `artifacts/`, directly or by links.

    Raises
    ------
    OutputPathError
        It does.
    WorkspaceCorruptError
        It is below the workspace, and on the way there is a link, as `exports`.
    """
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise OutputPathError(
            f"cannot write {path}: it is below {folder}, where gc_artifacts() removes what is no artifact; "
            "give a path elsewhere"
        )
    workspace, parents = file_id(folder.parent), list(path.absolute().parents)
    places = [file_id(parent) for parent in parents]
    if workspace in places:
        refuse_odd(*parents[: places.index(workspace)])


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the system raises while a block writes `path` into `OutputPathError`."""
    try:
        yield
    except StoreError:  # Some of them are OSErrors too.
        raise
    except OSError as error:
        advice = "give a path that you may write to, on a disk that has room"
        if isinstance(error, PermissionError):
            there = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
            advice = f"ask for the right to write in {there}, or give a path that you may write to"
        raise OutputPathError(f"cannot write {path}: {error}; {advice}") from error


def file_id(path: Path | int) -> tuple[int, int] | None:
    """Return what tells a file or folder, by its path or descriptor, from another one that has its name later.

    None if it is not there.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  # a Path has no way to ask for a descriptor
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_state(path: Path) -> tuple[int, int, int, int] | None:
    """Return what is another one once a path has another file, or its file was written to; None if it is not there.

    Raises
    ------
    OSError
        One may not look.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = open_at_once(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents, each name durable in its own parent.

    A file in the place of one raises `OutputPathError`.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        try:
            path.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise OutputPathError(
                f"cannot write below {path}: it is no folder; move it away or give another path"
            ) from error
        share_in_workspace(path)
        fsync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


@contextmanager
def atomic_write(path: Path, *, sync_name: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block ends well.

    Parameters
    ----------
    path : Path
        The file to appear, replacing what had its name. Missing parents are created.
    sync_name : bool
        False: who writes many files makes their names durable afterwards, by an `fsync_folder` for each folder.

    Yields
    ------
    Path
        The empty temporary file to write to. Its bytes and its name are on the disk when the
        block has ended; after an exception it is gone and `path` is as it was.

    Raises
    ------
    OutputPathError
        `path` is a folder, a link, a pipe, a socket or a device, its folder cannot be written to, or its disk is full.
    """
    refuse_no_file(path)
    with output_errors(path):
        make_folder(path.parent)
        temporary = temporary_beside(path)
        temporary.touch(exist_ok=False)
        share_in_workspace(temporary)
        try:
            yield temporary
            fsync_file(temporary)
            refuse_no_file(path)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync_name:
            fsync_folder(path.parent)


def refuse_no_file(path: Path) -> None:
    """Raise `OutputPathError` if a path is a folder, a link or anything else but a file, or can be no file's."""
    try:
        kind = kind_of(path)
    except (OSError, ValueError) as error:  # A name that is too long, or holds a NUL.
        raise OutputPathError(f"cannot write {str(path)[:200]!r}: {error}; give another name") from error
    if kind not in (None, FILE):
        raise OutputPathError(
            f"cannot write {path}: it is {kind}, which is neither followed nor replaced; give the path of a file"
        )


def write_atomic(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, whole and durable or not at all; see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_exclusive(path: Path, content: bytes) -> bool:
    """Write a file whole under a name that nobody has; of several who do so at once, one is told True."""
    written = write_atomic(temporary_beside(path), content)
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    except OSError:  # A file system without links: who looked whether the name is free must do.
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return True


def with_suffix_added(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return `path` with as much of `suffix` appended as is missing: `m.n4a` becomes `m.n4a.py`."""
    path = checked_path(path, "the output path", OutputPathError)
    refuse_no_file(path)
    name = path.name.lower()
    starts = (i for i in range(len(suffix), -1, -1) if suffix[i:].startswith(".") or i == len(suffix))
    present = next((i for i in starts if i and name.endswith(suffix[:i])), 0)
    return path.with_name(path.name + suffix[present:])
