"""A line in a file: who waits locks the byte that has the number of the moment at which it came.

The numbers are microseconds on the machine's own clock. The first in line is the one with no locked byte
before its own; whoever dies leaves the line by itself, and the holder sees whether there is a line. Who may
not write to the file locks its byte for reading.
"""

from __future__ import annotations

import time
from io import FileIO

try:
    import fcntl
except ImportError:  # Windows has none, and nobody waits there.
    fcntl = None  # type: ignore[assignment]


def place_in(file: FileIO, deadline: float) -> int:
    """Take the next place in line, for as long as the file is open, and return its number."""
    while True:
        place = time.monotonic_ns() // 1000
        # One who was stopped while it looked at the line keeps everybody out of it, but no longer than they wait.
        if _lock(file, 1, place) or time.monotonic() >= deadline:
            return place
        time.sleep(0)  # Somebody is looking at the line just now.


def is_free(file: FileIO, length: int) -> bool:
    """Tell whether nobody has locked one of the first bytes of a file; 0: any.

    Who may not write to it does not see who may not either: both are readers, and share the lease.
    """
    if not _lock(file, length, 0):
        return False
    fcntl.lockf(file, fcntl.LOCK_UN, length)
    return True


def _lock(file: FileIO, length: int, start: int) -> bool:
    kind = fcntl.LOCK_EX if file.writable() else fcntl.LOCK_SH
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, length, start)
    except BlockingIOError:
        return False
    return True
