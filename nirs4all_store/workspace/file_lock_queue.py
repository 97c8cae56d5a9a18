"""A queue of processes in a file: each that waits has a lock on one byte, its place (fcntl locks).

A process that joins locks the byte after the last locked one. The first in the queue is the process with no locked byte
before its own. A process that ends leaves the queue by itself, since the system releases its lock. Places do not depend
on a clock, since containers may shift theirs. A process that may not write to the file locks its byte for reading.

See docs/decisions/0012 and 0018.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterable
from io import FileIO

try:
    import fcntl
except ImportError:  # Windows has no fcntl, and no queue.
    fcntl = None  # type: ignore[assignment]

# The layout of `struct flock` in fcntl.h: kind, whence, start, length and process; then the places of kind and start.
_LOCK, _KIND, _START = ("hhqqi", 0, 2) if sys.platform == "linux" else ("qqihh", 3, 0)
MAX_PLACE = 2**62


def join_queue(file: FileIO, others: Iterable[FileIO], deadline: float) -> int:
    """Join the queue; the place is kept as long as `file` is open.

    Parameters
    ----------
    file : FileIO
        The file to stand in.
    others : iterable of FileIO
        Other files in which processes may stand.
    deadline : float
        Until when to try again if another process is faster, as a time of `time.monotonic()`.

    Returns
    -------
    int
        The place: the number of the locked byte. After the deadline it may not be locked.
    """
    files = (file, *others)
    while True:
        # Places begin with 1. For the place 0, "nobody before it" would be a length of 0, which means the whole file.
        place = 1 + max(map(_last_place, files))
        if place <= MAX_PLACE and _try_place(file, place):
            return place
        # Another process was faster, or has the byte locked and is stopped. So this ends at the deadline.
        if time.monotonic() >= deadline:
            return place
        time.sleep(0)


def is_free(file: FileIO, length: int) -> bool:
    """Tell whether no other process has locked one of the first `length` bytes of a file; 0 means the whole file.

    A process that may not write to the file does not see others that may not: both are readers and share the lease.
    """
    return _locked(file, 0, length) is None


def _last_place(file: FileIO) -> int:
    """Return the last place at which another process stands, or 0."""
    last = 0
    while last < MAX_PLACE and (end := _locked(file, last + 1, 0)) is not None:
        last = end
    return last


def _locked(file: FileIO, start: int, length: int) -> int | None:
    """Return the last byte of a range that another process has locked, or None; F_GETLK itself locks nothing."""
    kind = fcntl.F_WRLCK if file.writable() else fcntl.F_RDLCK
    asked = (kind, 0, start, length, 0) if _KIND == 0 else (start, length, 0, kind, 0)
    found = struct.unpack(_LOCK, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_LOCK, *asked)))
    if found[_KIND] == fcntl.F_UNLCK:
        return None
    return int(found[_START] + found[_START + 1]) - 1 if found[_START + 1] else MAX_PLACE


def _try_place(file: FileIO, place: int) -> bool:
    kind = fcntl.LOCK_EX if file.writable() else fcntl.LOCK_SH
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, place)
    except BlockingIOError:
        return False
    return True
