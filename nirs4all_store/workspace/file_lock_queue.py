"""A queue in a file: a process that waits locks the byte after the last one that is locked.

The first in the queue is the one with no locked byte before its own. A process that dies leaves the queue by itself,
and the holder sees whether somebody waits. No clock is asked: containers may shift theirs, and one of them would always
be the last to have come. A process that may not write to the file locks its byte for reading.

See docs/decisions/0012.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterable
from io import FileIO

try:
    import fcntl
except ImportError:  # Windows has none, and nobody waits there.
    fcntl = None  # type: ignore[assignment]

# Kind, whence, start, length and process, as the system's fcntl.h has them.
_LOCK, _KIND, _START = ("hhqqi", 0, 2) if sys.platform == "linux" else ("qqihh", 3, 0)
MAX_PLACE = 2**62


def join_queue(file: FileIO, others: Iterable[FileIO], deadline: float) -> int:
    """Take the place in a file after the last of it and the others, as long as the file is open; return its number."""
    files = (file, *others)
    while True:
        # The first byte is nobody's: a length of 0 would mean all of a file.
        place = 1 + max(map(_last_place, files))
        if place <= MAX_PLACE and _try_place(file, place):
            return place
        # Another one was faster, or looks at the queue by locking it, and may be stopped: no longer than they wait.
        if time.monotonic() >= deadline:
            return place
        time.sleep(0)


def is_free(file: FileIO, length: int) -> bool:
    """Tell whether nobody has locked one of the first bytes of a file; 0: any.

    Who may not write to it does not see who may not either: both are readers, and share the lease.
    """
    return _locked(file, 0, length) is None


def _last_place(file: FileIO) -> int:
    """Return the last place in which somebody stands, or 0."""
    last = 0
    while last < MAX_PLACE and (end := _locked(file, last + 1, 0)) is not None:
        last = end
    return last


def _locked(file: FileIO, start: int, length: int) -> int | None:
    """Return the last byte of what another process has locked there, or None; nothing is locked by looking."""
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
