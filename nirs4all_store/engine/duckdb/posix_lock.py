"""The lock that DuckDB itself takes on its file: who holds it, and holding it ourselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from ...call_boundary import free_what_was_cut_off
from ...errors import ReadOnlyError, WorkspaceBusyError, WorkspaceOpenHereError
from ...filesystem import open_without_following

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def refuse_if_open_here(path: Path) -> None:
    """Refuse to touch a database that this process has open through duckdb itself.

    Its lock would vanish with the first descriptor of the file that is closed here, and others could write to it.

    Raises
    ------
    WorkspaceOpenHereError
        It has.
    """
    if _is_open_here(path.stat()):
        free_what_was_cut_off()
    if _is_open_here(path.stat()):
        raise WorkspaceOpenHereError(f"this process has {path} open through duckdb itself; close that connection first")


def _is_open_here(file: os.stat_result) -> bool:
    """Tell whether a descriptor of this process is of a file; False on systems that do not say."""
    descriptors = Path("/proc/self/fd")
    for descriptor in descriptors.iterdir() if descriptors.exists() else []:
        with contextlib.suppress(OSError):  # The one that lists them is closed by now.
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False


@contextmanager
def held_alone(path: Path) -> Iterator[BinaryIO]:
    """Keep every program that knows nothing of leases from a database file that nobody has open.

    Yields
    ------
    BinaryIO
        The file, open for reading. It must be read through this stream: the lock, the same that
        DuckDB takes, goes as soon as any other descriptor of the file is closed in this process.

    Raises
    ------
    WorkspaceBusyError
        A program has it open.
    ReadOnlyError
        It cannot be written to.
    """
    refuse_if_open_here(path)
    try:
        stream = FileIO(path, "r+", opener=open_without_following)
    except PermissionError as error:
        raise ReadOnlyError(f"cannot write to {path}: {error}; ask for the right to write") from error
    with stream:
        if fcntl is not None:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holders = lock_holders(os.fstat(stream.fileno()).st_ino, "POSIX")
                raise WorkspaceBusyError(
                    f"{path} is in use by process {', '.join(map(str, holders)) or 'unknown'}; "
                    "close it there and try again"
                ) from None
        yield stream


def lock_holders(inode: int, kind: str) -> list[int]:
    """Return the processes that hold a lock on a file, as Linux lists them; nothing on other systems."""
    table = Path("/proc/locks")
    lines = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    # A line that waits has an arrow in its second column: number, type, mode, kind, process, device:inode, range.
    return [int(line[4]) for line in lines if line[1] == kind and line[5].endswith(f":{inode}")]
