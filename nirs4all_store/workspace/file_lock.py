"""Who may open the database now: one writing process, or any number of reading ones.

The lease is a `flock` on a file of its own. DuckDB's own lock is only the second fence: it vanishes
as soon as any descriptor of the database file is closed in the process that holds it.

A process that must wait joins the queue: in a second file it locks the byte after the last one that is locked. The
first in the queue is the one with no locked byte before its own. A process that dies leaves the queue by itself, and
the holder sees whether somebody waits.

See docs/decisions/0012.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from ..engine import lock_holders
from ..errors import ReadOnlyError, WorkspaceBusyError, WorkspaceCorruptError, WorkspaceError
from ..filesystem import FILE, file_id, kind_of, open_without_following
from ..identifiers import utc_now
from . import clock
from .file_lock_queue import is_free, join_queue
from .network_mounts import remote_kind

try:
    import fcntl
except ImportError:  # Windows has no flock: DuckDB's own lock is the only fence there.
    fcntl = None  # type: ignore[assignment]


LOCK_FILE = ".store.lock"
QUEUE_FILE = ".store.line"
LOCK_POLL_SECONDS = 0.002
QUEUE_POLL_SECONDS = 0.01
# A stopped process keeps its place in the queue; those behind pass it when nobody has had the lease for so long.
STALL_TIMEOUT = 0.5
MAX_LOCK_FILE_BYTES = 4096
# What else the system may say is no lack of a right to write.
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR)
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


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
    WorkspaceError
        The file system has no locks.
    """

    # Files, not numbers: one that is closed twice, since Ctrl-C came between, is no other file by then.
    _process = 0
    _file: FileIO | None = None
    _queue: FileIO | None = None
    _clocks: clock.Record | None = None

    def __init__(self, folder: Path, *, shared: bool, timeout: float) -> None:
        self._path = folder / LOCK_FILE
        self._queue_path = folder / QUEUE_FILE
        self._shared = shared
        self._process = os.getpid()
        _leases.add(self)
        self._file = self._open()
        # Elsewhere the two kinds of locks, of whole files and of bytes, keep each other out.
        self._has_places = sys.platform == "linux" and remote_kind(folder) is None
        try:
            self._wait(timeout)
            self._write_holder()
        except BaseException:
            self.release()
            raise

    def _open(self) -> FileIO | None:
        """Return the lock file, open; None for a reader where there is none and none can be made."""
        try:
            return FileIO(self._path, "r+", opener=_open_or_create)
        except FileNotFoundError as error:
            raise WorkspaceCorruptError(
                f"{self._path.parent} was removed; restore it, or open another workspace"
            ) from error
        except OSError as error:
            if not self._shared and error.errno not in NO_RIGHT:
                raise
            if not self._shared:
                raise ReadOnlyError(
                    f"cannot write to {self._path.parent}: {error}; ask for the right to write, or open it with "
                    "read_only=True if you only read"
                ) from error
        try:
            return FileIO(self._path, opener=open_without_following)
        except OSError as error:
            if error.errno in TOO_MANY_OPEN:
                raise
            if kind_of(self._path) == FILE:
                raise ReadOnlyError(
                    f"cannot read {self._path}: {error}; ask for the right to read it, without which nobody can tell "
                    "that you are reading"
                ) from error
            return None  # On read-only media nobody can write, so readers need no lease there.

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if not self.has_waiters and self._try_lock():
            return
        with self._queued(deadline) as is_first:
            patient_until = math.inf
            while True:
                first, now = is_first(), time.monotonic()
                if not self._try_lock():
                    patient_until = math.inf
                elif first or now >= min(patient_until, deadline):
                    return
                else:  # Those before this one will take it, unless they are stopped.
                    patient_until = min(patient_until, now + STALL_TIMEOUT)
                    self._unlock()
                if now >= deadline and self._file is not None:
                    raise WorkspaceBusyError(
                        f"{self._path.parent} is in use by {_holder(self._file.fileno())}; waited {timeout:.3g} s: "
                        "close it there, or give a longer timeout"
                    )
                between = LOCK_POLL_SECONDS if first else QUEUE_POLL_SECONDS
                time.sleep(min(between, max(0.0, deadline - now)))

    def _write_holder(self) -> None:
        if self._file is None:
            return
        descriptor = self._file.fileno()
        self._clocks = clock.updated_record(self._clocks or _lock_content(descriptor).get("clocks"))
        who = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join(sys.argv)[:200],
            "since": utc_now().isoformat(timespec="milliseconds"),
            "clocks": self._clocks,
        }
        # A reader who may not write stays unnamed; so does everybody on a full disk.
        with contextlib.suppress(OSError):
            if os.fstat(descriptor).st_nlink == 1:  # Else it may be another file that was given this name, too.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(who).encode(), 0)

    def watch_clocks(self) -> None:
        """Write it down when the clock was put back: what is dated now seems too old once it is put right."""
        if self._clocks and clock.was_put_back(self._clocks):
            self._write_holder()

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward since this machine was started, as far as anybody has seen here."""
        return clock.put_forward(self._clocks) if self._clocks else timedelta(0)

    def _unlock(self) -> None:
        if self._file is not None and fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        """Take the lease if nobody has it, and the file that was locked is still the one that has the name."""
        if self._file is None or fcntl is None:
            return True
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise WorkspaceError(
                f"the file system of {self._path.parent} has no locks ({error}), so that processes would destroy each "
                "other's data; put the workspace on a local disk"
            ) from error
        if self._is_in_place:
            return True
        self._file.close()
        self._file = self._open()
        return False

    @property
    def _is_in_place(self) -> bool:
        """Whether the file that is locked is the one that has the name; who comes now locks that one."""
        return self._file is None or file_id(self._path) == file_id(self._file.fileno())

    @property
    def has_waiters(self) -> bool:
        """Whether another process waits for it, or may, without being seen: the lock file was replaced."""
        if fcntl is None:
            return False
        if not self._is_in_place:
            return True
        try:
            return not self._is_free(0)
        except WorkspaceCorruptError:  # It is no queue, but something else. Who takes the lease next time is told.
            return True

    @contextmanager
    def _queued(self, deadline: float) -> Iterator[Callable[[], bool]]:
        """Wait in the queue for the length of a block; yields what tells whether one is the first.

        A reader who may not write to the queue waits in the lock file instead, with a lock for reading.
        """
        choices = [(self._queue_path, "r+", _open_or_create), (self._path, "r", open_without_following)]
        stands_in = _open_first(*choices[: 1 + self._has_places])
        if stands_in is None:
            yield lambda: True
            return
        with stands_in:
            place = join_queue(stands_in, self._queue_files(), deadline)
            yield lambda: self._is_free(place)

    def _is_free(self, length: int) -> bool:
        """Tell whether nobody stands at one of the first places; 0: at any."""
        return all(is_free(file, length) for file in self._queue_files())

    def _queue_files(self) -> list[FileIO]:
        """Return the files in which somebody may stand."""
        # Where there is no queue, nobody has ever had to wait; asking is cheaper than the error of opening none.
        queue = file_id(self._queue_path)
        if self._queue is not None and file_id(self._queue.fileno()) != queue:
            self._queue.close()  # It was removed, and whoever comes now stands in another one.
            self._queue = None
        if self._queue is None and queue is not None:
            self._queue = _open_first(
                (self._queue_path, "r+", open_without_following), (self._queue_path, "r", open_without_following)
            )
        files = [self._queue, self._file] if self._has_places else [self._queue]
        return [file for file in files if file is not None]

    def release(self) -> None:
        """Give the lease back; twice is fine. A forked child leaves its parent's alone, and closes its own copy."""
        if self._process == os.getpid() and self._file is not None and not self._file.closed:
            self._unlock()  # A child that has a copy, since another thread forked just then, would keep it.
        for file in (self._file, self._queue):
            if file is not None:
                file.close()
        self._file = self._queue = None

    def __del__(self, is_at_its_end: Callable[[], bool] = sys.is_finalizing) -> None:
        # Ctrl-C may come before anybody has it who would. At the end of Python, when what `release` calls may be gone
        # already, the files are closed without it.
        if not is_at_its_end():
            self.release()


# Also those that wait: a child that is forked then has a copy of their files.
_leases: weakref.WeakSet[Lease] = weakref.WeakSet()


def _release_in_child() -> None:
    for lease in [*_leases]:
        lease.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def _open_or_create(path: str, flags: int) -> int:
    """Open a file to lock, made when absent for everybody who may work in the folder, whoever comes first."""
    try:
        # Not to be made where it is there: in a folder such as /tmp, Linux refuses that for another user's file.
        return open_without_following(path, flags)
    except FileNotFoundError:
        pass
    try:
        descriptor = open_without_following(path, flags | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return open_without_following(path, flags)
    try:
        if hasattr(os, "fchown"):
            folder = Path(path).parent.stat()
            with contextlib.suppress(OSError):
                os.fchown(descriptor, -1, folder.st_gid)
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, folder.st_mode & 0o666)
            with contextlib.suppress(OSError):  # Only root may.
                os.fchown(descriptor, folder.st_uid, -1)
    except BaseException:  # Ctrl-C may come at any moment.
        os.close(descriptor)
        raise
    return descriptor


def _open_first(*choices: tuple[Path, str, Callable[[str, int], int]]) -> FileIO | None:
    """Return the first of some files that can be opened; None if none can."""
    for path, mode, opener in choices:
        with contextlib.suppress(OSError):  # It is another user's, or not there.
            return FileIO(path, mode, opener=opener)
    return None


def _lock_content(descriptor: int) -> dict[str, Any]:
    """Return what stands in the lock file, or nothing where it is no object of JSON: anybody may have written to it."""
    try:
        content = json.loads(os.pread(descriptor, MAX_LOCK_FILE_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _holder(descriptor: int) -> str:
    """Describe who holds the lock: the last to write its name, unless the kernel knows of others only."""
    holders = lock_holders(os.fstat(descriptor).st_ino, "FLOCK")
    who = _lock_content(descriptor)
    pid, host, command = (who.get(name) for name in ("pid", "host", "command"))
    try:
        held = (utc_now() - datetime.fromisoformat(who["since"])).total_seconds()
    except (ValueError, KeyError, TypeError):  # It is being written just now.
        held = None
    if holders and pid not in holders:
        return f"process {', '.join(map(str, holders))}"
    if held is None or type(pid) is not int or not isinstance(host, str) or not isinstance(command, str):
        return "a process that has only just opened it"
    return f"process {pid} on {host} (`{command}`, for {held:.0f} s)"
