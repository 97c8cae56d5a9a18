"""Takes the lock that DuckDB itself takes on its file, and finds out which process holds it."""

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
    """Raise if this process has a database open through the `duckdb` package itself.

    POSIX releases a process's lock on a file as soon as the process closes any descriptor of it (fcntl(2)). So to open
    and close the file here would let other programs write to it.

    Raises
    ------
    WorkspaceOpenHereError
        This process has it open.
    """
    if _is_open_here(path.stat()):
        free_what_was_cut_off()
    if _is_open_here(path.stat()):
        raise WorkspaceOpenHereError(f"this process has {path} open through duckdb itself; close that connection first")


def _is_open_here(file: os.stat_result) -> bool:
    """Tell whether this process has a file open; False on systems without `/proc`."""
    descriptors = Path("/proc/self/fd")
    for descriptor in descriptors.iterdir() if descriptors.exists() else []:
        with contextlib.suppress(OSError):  # The descriptor of this very listing is closed by now.
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False


@contextmanager
def held_alone(path: Path) -> Iterator[BinaryIO]:
    """Hold DuckDB's own lock on a database file for a `with` block, so that no program opens it.

    It also keeps out programs that do not know the lease of this package, as the `duckdb` shell.

    Yields
    ------
    BinaryIO
        The file, open for reading. Read it only through this stream: as soon as this process closes any other
        descriptor of the file, the lock is gone (fcntl(2)).

    Raises
    ------
    WorkspaceBusyError
        A program has the file open.
    ReadOnlyError
        This user may not write to the file.
    WorkspaceOpenHereError
        This process has the file open.
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


def is_locked(path: Path, *, shared: bool) -> bool:
    """Tell whether another program has a database file open, by trying to take the lock that DuckDB takes.

    Parameters
    ----------
    path : Path
        This process must not have the file open: closing a second descriptor would release its own lock.
    shared : bool
        True: to read, beside other readers. False: to write.
    """
    try:
        with path.open("rb" if shared else "r+b") as stream:
            if fcntl is not None:
                fcntl.lockf(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # Without fcntl (Windows), the system itself keeps others out of a file that is open for writing.
        return fcntl is None and path.exists()
    return False


def lock_holders(inode: int, kind: str) -> list[int]:
    """Return the ids of the processes that hold a lock on a file, as `/proc/locks` lists them (Linux only).

    Parameters
    ----------
    inode : int
        The file's inode number.
    kind : str
        `POSIX` (fcntl) or `FLOCK` (flock).

    Returns
    -------
    list of int
        Empty on other systems.
    """
    table = Path("/proc/locks")
    lines = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    # The columns: number, type, mode, kind, process, device:inode, range. Of a lock that waits, the second is an arrow.
    return [int(line[4]) for line in lines if line[1] == kind and line[5].endswith(f":{inode}")]
