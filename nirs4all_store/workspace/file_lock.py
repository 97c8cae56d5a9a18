"""`Lease` is the right to open the database of a workspace: for one process that writes, or several that read.

A lease is a `flock` on the file `.store.lock`. DuckDB's own lock is not enough: it is released as soon as the process
closes any descriptor of the database file.

A process that must wait joins a queue (`file_lock_queue.py`), in the file `.store.line`. A process that ends leaves the
queue by itself, and the holder of the lease can see whether another one waits.

Why two files, and what happens to a stopped process: docs/decisions/0012.
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
except ImportError:  # Windows has no flock: DuckDB's own lock is the only one there.
    fcntl = None  # type: ignore[assignment]


LOCK_FILE = ".store.lock"
QUEUE_FILE = ".store.line"
LOCK_POLL_SECONDS = 0.002
QUEUE_POLL_SECONDS = 0.01
# A stopped process keeps its place in the queue. Those behind pass it if nobody has had the lease for so many seconds.
STALL_TIMEOUT = 0.5
MAX_LOCK_FILE_BYTES = 4096
# The errors that mean that this user may not write.
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR)
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


class Lease:
    """The right to open the database of one workspace, held until `release` or the end of the process.

    Parameters
    ----------
    folder : Path
        The workspace. Its lock file is created when absent.
    shared : bool
        True: to read, beside other readers. False: to write, alone.
    timeout : float
        Seconds to wait for processes that hold the lease.

    Raises
    ------
    WorkspaceBusyError
        Another process still holds the lease after `timeout`; the message names that process.
    ReadOnlyError
        This user may not write to the folder, and `shared` is False.
    WorkspaceCorruptError
        The folder was removed.
    WorkspaceError
        The file system has no locks.
    """

    # File objects, and no descriptors: after Ctrl-C a file may be closed twice, when its number is that of another.
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
        # On other systems, and over a network, locks of whole files (flock) and of bytes (fcntl) exclude each other.
        self._has_places = sys.platform == "linux" and remote_kind(folder) is None
        try:
            self._wait(timeout)
            self._write_holder()
        except BaseException:
            self.release()
            raise

    def _open(self) -> FileIO | None:
        """Return the open lock file; None for a reader if there is none and it cannot be created."""
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
            return None  # On read-only media nobody can write, and readers need no lease.

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
                else:  # A process before this one in the queue will take the lease, unless it is stopped.
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
        # If this user may not write, or the disk is full, the holder is not named.
        with contextlib.suppress(OSError):
            if os.fstat(descriptor).st_nlink == 1:  # A file with two names may be one of the user's own.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(who).encode(), 0)

    def watch_clocks(self) -> None:
        """Note in the lock file that the clock was put back; what is saved then will seem too old later."""
        if self._clocks and clock.was_put_back(self._clocks):
            self._write_holder()

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward since the machine was started, as far as the lock file tells."""
        return clock.put_forward(self._clocks) if self._clocks else timedelta(0)

    def _unlock(self) -> None:
        if self._file is not None and fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        """Take the lease if nobody has it; return whether it is taken.

        False, too, if the lock file was replaced meanwhile: the next try is for the new file.
        """
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
        """Whether the locked file is still the one under the path, which other processes would lock."""
        return self._file is None or file_id(self._path) == file_id(self._file.fileno())

    @property
    def has_waiters(self) -> bool:
        """Whether another process waits for the lease, or may wait unseen, since the lock file was replaced."""
        if fcntl is None:
            return False
        if not self._is_in_place:
            return True
        try:
            return not self._is_free(0)
        except WorkspaceCorruptError:  # The queue is a link or the like; whoever takes the lease next gets the error.
            return True

    @contextmanager
    def _queued(self, deadline: float) -> Iterator[Callable[[], bool]]:
        """Stand in the queue for a `with` block.

        A reader that may not write to the queue stands in the lock file instead, with a lock for reading.

        Yields
        ------
        callable
            Returns whether this process is the first in the queue.
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
        """Tell whether nobody stands at one of the first `length` places of the queue; 0 means all places."""
        return all(is_free(file, length) for file in self._queue_files())

    def _queue_files(self) -> list[FileIO]:
        """Return the open files in which a process may stand."""
        # Without a queue file, nobody has ever had to wait. To ask for it takes less time than an open that fails.
        queue = file_id(self._queue_path)
        if self._queue is not None and file_id(self._queue.fileno()) != queue:
            self._queue.close()  # It was removed, and other processes stand in a new one.
            self._queue = None
        if self._queue is None and queue is not None:
            self._queue = _open_first(
                (self._queue_path, "r+", open_without_following), (self._queue_path, "r", open_without_following)
            )
        files = [self._queue, self._file] if self._has_places else [self._queue]
        return [file for file in files if file is not None]

    def release(self) -> None:
        """Give the lease back; a second call does nothing.

        In a forked child, the lease of its parent is not touched, and only the copies of the files are closed.
        """
        if self._process == os.getpid() and self._file is not None and not self._file.closed:
            with contextlib.suppress(OSError):  # Closing the file gives the lock back, too.
                self._unlock()  # A child that has a copy of the file, since it was forked just now, would keep it.
        for file in (self._file, self._queue):
            if file is not None:
                file.close()
        self._file = self._queue = None

    def __del__(self, is_at_its_end: Callable[[], bool] = sys.is_finalizing) -> None:
        # Ctrl-C may come before the caller has this object and could release it. At the end of Python, when the modules
        # that `release` needs may be gone, the files are closed anyway.
        if not is_at_its_end():
            self.release()


# Also leases that are waited for: a child that is forked meanwhile has copies of their files.
_leases: weakref.WeakSet[Lease] = weakref.WeakSet()


def _release_in_child() -> None:
    for lease in [*_leases]:
        lease.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def _open_or_create(path: str, flags: int) -> int:
    """Open a lock file; create it when absent, for all users who may write to the folder."""
    try:
        # Without O_CREAT first: in a folder such as /tmp, Linux refuses it for a file of another user (proc_sys_fs(5)).
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
    """Return the first of these files that can be opened; None if none can."""
    for path, mode, opener in choices:
        with contextlib.suppress(OSError):  # The file is another user's, or absent.
            return FileIO(path, mode, opener=opener)
    return None


def _lock_content(descriptor: int) -> dict[str, Any]:
    """Return the JSON object in the lock file; an empty dict for other content, which anybody may have written."""
    try:
        content = json.loads(os.pread(descriptor, MAX_LOCK_FILE_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _holder(descriptor: int) -> str:
    """Describe the lock's holder: the process that wrote its name last, unless the kernel lists only others."""
    holders = lock_holders(os.fstat(descriptor).st_ino, "FLOCK")
    who = _lock_content(descriptor)
    pid, host, command = (who.get(name) for name in ("pid", "host", "command"))
    try:
        held = (utc_now() - datetime.fromisoformat(who["since"])).total_seconds()
    except (ValueError, KeyError, TypeError):  # The holder is writing it just now.
        held = None
    if holders and pid not in holders:
        return f"process {', '.join(map(str, holders))}"
    if held is None or type(pid) is not int or not isinstance(host, str) or not isinstance(command, str):
        return "a process that has only just opened it"
    return f"process {pid} on {host} (`{command}`, for {held:.0f} s)"
