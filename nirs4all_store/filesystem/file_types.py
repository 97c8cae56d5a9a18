"""What has a name: a regular file, a folder, or something else, which may lead elsewhere, hang or be no file's content.

Whatever the store opens, makes, walks or removes goes through here, right before it is used.
"""

from __future__ import annotations

import os
import stat
from functools import partial
from io import FileIO
from pathlib import Path

from ..errors import InvalidInputError, StoreError, WorkspaceCorruptError
from ..validation import nearest

FILE = "a file"
FOLDER = "a folder"
LINK = "a link"
NO_FILE = "no file"
KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: LINK,
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
PLAIN = (FILE, FOLDER, None)
"""What a place of a workspace may be: also nothing."""
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
# Opening a pipe waits for who writes to it, without this.
NO_WAITING = getattr(os, "O_NONBLOCK", 0)

AnyPath = str | os.PathLike[str]


def kind_of(path: AnyPath) -> str | None:
    """Return what has a name, `FILE`, `FOLDER` or another of `KINDS`, without following a link; None: nothing has it.

    Raises
    ------
    PermissionError
        One may not look.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return KINDS.get(stat.S_IFMT(mode), NO_FILE)


def kind_of_mode(mode: int) -> str:
    """Return what has a mode, as `lstat` tells it; see `kind_of`."""
    return KINDS.get(stat.S_IFMT(mode), NO_FILE)


def refuse_odd(*paths: AnyPath, error: type[StoreError] = WorkspaceCorruptError) -> None:
    """Refuse what is neither a file nor a folder, nor nothing: the places of what a workspace has.

    Raises
    ------
    StoreError
        One of them is a link, a pipe, a socket or a device. What it is, and leads to, was not changed.
    """
    for path in paths:  # Not by `kind_of`: each opening and each commit asks this of several names.
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _odd(path, kind_of_mode(mode), error)


def _odd(path: AnyPath, kind: str | None, error: type[StoreError]) -> StoreError:
    return error(
        f"{os.fspath(path)} is {kind}, and no workspace has one there; nothing was changed: remove it, or put a copy "
        "of what it leads to in its place (the folder of the workspace itself may be a link)"
    )


def open_without_following(
    path: AnyPath, flags: int, mode: int = 0o666, error: type[StoreError] = WorkspaceCorruptError
) -> int:
    """Open a file of a workspace, as an opener for `FileIO`; a pipe keeps nobody waiting, no link is followed.

    Raises
    ------
    StoreError
        It is no file; see `refuse_odd`.
    OSError
    """
    refuse_odd(path, error=error)
    try:
        descriptor = open_at_once(path, flags | NO_LINKS | NO_WAITING, mode)
    except OSError:
        refuse_odd(path, error=error)  # It may have come since.
        raise
    try:
        kind = kind_of_mode(os.fstat(descriptor).st_mode)
        if kind not in PLAIN:
            raise _odd(path, kind, error)
    except BaseException:  # Ctrl-C may come at any moment.
        os.close(descriptor)
        raise
    return descriptor


def open_at_once(path: AnyPath, flags: int, mode: int = 0o666) -> int:
    """Do what `os.open` does, and leave nothing open if Ctrl-C comes before the caller has the descriptor.

    It is a plain number: if it is lost, nobody can ever close it. Python hears signals when a call of a C function
    returns. So one such call opens the file and puts its number down, and what hands it on calls nothing.
    """
    opened: list[int] = []
    try:
        opened.extend(map(os.open, (path,), (flags,), (mode,)))
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened[0]


def content_of(path: AnyPath, error: type[StoreError] = WorkspaceCorruptError) -> bytes:
    """Return the bytes of a file of a workspace; errors as for `open_without_following`."""
    with FileIO(path, opener=partial(open_without_following, error=error)) as stream:
        return stream.readall()


def near_files(path: AnyPath) -> str:
    """Return how a message goes on that says that a path is none: which files of its folder are called nearly so."""
    path = Path(path)
    try:
        names = [str(path.with_name(near)) for near in nearest(path.name, [one.name for one in path.parent.iterdir()])]
    except (OSError, ValueError):
        return ""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def refuse_odd_given(path: AnyPath) -> None:
    """Refuse a path that a user has named and from which nothing can be read, by what it is or its links lead to.

    Raises
    ------
    InvalidInputError
        It is not there; or it is a pipe, a socket or a device, which could keep one waiting for ever.
    """
    try:
        kind = kind_of_mode(Path(path).stat().st_mode)
    except FileNotFoundError as error:
        advice = near_files(path) or "; correct its name, or go to its folder"
        raise InvalidInputError(f"{os.fspath(path)} cannot be read: there is no such file{advice}") from error
    except (OSError, ValueError):  # Whoever opens it tells.
        return
    if kind not in PLAIN:
        raise InvalidInputError(
            f"{os.fspath(path)} is {kind}, from which nothing is read; save what it gives to a file, and give that"
        )
