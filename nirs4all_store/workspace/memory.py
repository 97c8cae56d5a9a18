"""The way to a database in memory: nobody else can be inside, and it lasts as long as the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ..engine import MemoryDatabase
from ..errors import WorkspaceCorruptError
from . import clock


class MemoryAccess:
    """See `engine.base.Access`. What has no other process to share with has little to do.

    Parameters
    ----------
    address : Path
    """

    is_shared = False
    is_open = True
    is_in_place = True
    is_wanted = False

    def __init__(self, address: Path) -> None:
        self.read_only = False
        self.is_held = False
        self.database = MemoryDatabase()
        self.upkeep = self.database
        self._address = address
        self._clocks = clock.updated_record(None)

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward since this was made."""
        return clock.put_forward(self._clocks)

    def acquire(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        """Go on with it, unless an error has broken the engine, and with it all that it held."""
        if not self.database.is_alive:
            raise WorkspaceCorruptError(
                f"{self._address} is lost: an error has broken the engine that had it in memory; begin another one by "
                "another name"
            )
        self.is_held = True

    def acquire_for_writing(self, deadline: float, *, upgrade: bool) -> None:
        """Write to what was open for reading."""
        self.acquire(deadline)
        self.read_only = False

    def release(self) -> None:
        """Keep it: it ends with the process."""
        self.is_held = False

    def may_begin(self, *, write: bool, is_alone: bool) -> bool:
        """Return True: nothing can happen to it."""
        return True

    def note_end(self) -> None:
        """Take note of nothing."""

    def watch_clocks(self) -> None:
        """Remember that the clock was put back: what is dated now seems too old once it is put right."""
        if clock.was_put_back(self._clocks):
            self._clocks = clock.updated_record(self._clocks)

    @contextmanager
    def suspended(self, deadline: float) -> Iterator[None]:
        """Do as if it were closed, for the length of a block."""
        self.is_held = False
        try:
            yield
        finally:
            self.acquire(deadline)

    def reopen(self, deadline: float) -> None:
        """Go on with it, if it still answers."""
        self.acquire(deadline)
