"""`MemoryAccess` gives access to a database in memory, which no other process can use and which ends with this one.

See docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ..engine import MemoryDatabase
from ..errors import WorkspaceCorruptError
from . import clock


class MemoryAccess:
    """The `Access` to a database in memory; see `engine.base.Access`. No other process ever waits for it.

    Parameters
    ----------
    address : Path
        `memory:NAME`.
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
        """By how much the system's clock was put forward since the database was made."""
        return clock.put_forward(self._clocks)

    def acquire(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        """Use the database.

        Raises
        ------
        WorkspaceCorruptError
            An error has broken the engine, and all rows in its memory are lost.
        """
        if not self.database.is_alive:
            raise WorkspaceCorruptError(
                f"{self._address} is lost: an error has broken the engine that had it in memory; begin another one by "
                "another name"
            )
        self.is_held = True

    def acquire_for_writing(self, deadline: float, *, upgrade: bool) -> None:
        """Use the database for writing after it was used for reading."""
        self.acquire(deadline)
        self.read_only = False

    def release(self) -> None:
        """Stop using the database; it stays until the process ends."""
        self.is_held = False

    def may_begin(self, *, write: bool, is_alone: bool) -> bool:
        """Return True: a database in memory cannot be removed or replaced."""
        return True

    def note_end(self) -> None:
        """Do nothing."""

    def watch_clocks(self) -> None:
        """Note that the clock was put back: what is saved now will seem too old once the clock is right again."""
        if clock.was_put_back(self._clocks):
            self._clocks = clock.updated_record(self._clocks)

    @contextmanager
    def suspended(self, deadline: float) -> Iterator[None]:
        """Mark the database as not held for a `with` block; it is not closed."""
        self.is_held = False
        try:
            yield
        finally:
            self.acquire(deadline)

    def reopen(self, deadline: float) -> None:
        """Use the database on, if its engine still answers; see `acquire`."""
        self.acquire(deadline)
