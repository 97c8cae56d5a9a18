"""Who may open the database now: one writing process, or any number of reading ones.

The lease is a `flock` on a file of its own. DuckDB's own lock is only the second fence: it vanishes
as soon as any descriptor of the database file is closed in the process that holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from .errors import ReadOnlyError, WorkspaceBusyError
from .values import utc_now

try:
    import fcntl
except ImportError:  # Windows has no flock: DuckDB's own lock is the only fence there.
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".store.lock"
SECONDS_BETWEEN_TRIES = 0.05


class Lease:
    """The right to open one workspace's database, held until `release` or the end of the process.

    Parameters
    ----------
    folder : Path
        The workspace. Its lock file is made when absent.
    shared : bool
        Share the lease with other readers.
    timeout : float
        Seconds to wait for processes that hold it.

    Raises
    ------
    WorkspaceBusyError
        Another process still holds it after `timeout`; the message names that process.
    ReadOnlyError
        The folder cannot be written to, and the lease is not a shared one.
    """

    def __init__(self, folder: Path, *, shared: bool, timeout: float) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if not shared:
                raise ReadOnlyError(
                    f"cannot write to {folder}: {error}; open it with read_only=True, or ask for the right to write"
                ) from error
            return  # Nobody can write on read-only media, so readers need no lease there.
        if fcntl is not None:
            self._wait(self._descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
        with contextlib.suppress(OSError):  # On a full disk nobody reads who it is; the lock holds all the same.
            _say_who(self._descriptor)

    def _wait(self, descriptor: int, mode: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = _holder(descriptor)
                    self.release()
                    raise WorkspaceBusyError(
                        f"{self._path.parent} is in use by {holder}; waited {timeout:g} s: "
                        "close it there, or give a longer timeout"
                    ) from None
                time.sleep(min(SECONDS_BETWEEN_TRIES, max(0.0, deadline - time.monotonic())))

    def release(self) -> None:
        """Give the lease back; twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def refuse_if_open_here(path: Path) -> None:
    """Refuse to touch a database that this process has open through duckdb itself.

    Its lock would vanish with the first descriptor of the file that is closed here, and others could write to it.

    Raises
    ------
    WorkspaceBusyError
        It has.
    """
    if _is_open_here(path.stat()):
        raise WorkspaceBusyError(f"this process has {path} open through duckdb itself; close that connection first")


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
        stream = path.open("r+b")
    except PermissionError as error:
        raise ReadOnlyError(f"cannot write to {path}: {error}; ask for the right to write") from error
    with stream:
        if fcntl is not None:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holders = _lock_holders(os.fstat(stream.fileno()).st_ino, "POSIX")
                raise WorkspaceBusyError(
                    f"{path} is in use by process {', '.join(map(str, holders)) or 'unknown'}; "
                    "close it there and try again"
                ) from None
        yield stream


def _say_who(descriptor: int) -> None:
    who = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv)[:200],
           "since": utc_now().isoformat(timespec="seconds")}  # fmt: skip
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _holder(descriptor: int) -> str:
    """Describe who holds the lock: the last to write its name, unless the kernel knows of others only."""
    holders = _lock_holders(os.fstat(descriptor).st_ino, "FLOCK")
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        held = (utc_now() - datetime.fromisoformat(who["since"])).total_seconds()
    except (ValueError, KeyError, TypeError):  # It is being written just now.
        return "a process that has only just opened it"
    if holders and who["pid"] not in holders:
        return f"process {', '.join(map(str, holders))}"
    return f"process {who['pid']} on {who['host']} (`{who['command']}`, for {held:.0f} s)"


def _lock_holders(inode: int, kind: str) -> list[int]:
    """Return the processes that hold a lock on a file, as Linux lists them; nothing on other systems."""
    table = Path("/proc/locks")
    lines = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    # A line that waits has an arrow in its second column: number, type, mode, kind, process, device:inode, range.
    return [int(line[4]) for line in lines if line[1] == kind and line[5].endswith(f":{inode}")]
