"""The database of a workspace, open as long as this process holds the lease on it.

See docs/decisions/0012.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

from ..engine import FileDatabase, FileUpkeep
from ..errors import WorkspaceBusyError, WorkspaceCorruptError, WorkspaceOpenHereError
from ..filesystem import file_id
from .file_lock import Lease
from .layout import DATABASE_NAME

OPEN_POLL_SECONDS = 0.05
# A process that was let in stays so many times as long as it took to open the database, within bounds: closing and
# opening it for others must stay a small part of what all of them do, and nobody may wait for long.
OPENINGS_HELD = 10
MIN_SECONDS_HELD = 0.1
MAX_SECONDS_HELD = 0.5
# Who waits cannot tell, and looking after each of many short calls takes a part of them.
WAITER_POLL_SECONDS = 0.005


class Opener(Protocol):
    """Opens the database of a workspace whose lease this process holds."""

    def __call__(self, folder: Path, *, read_only: bool, create: bool, upgrade: bool) -> FileDatabase:
        """Return it, up to date, or raise; `create` and `upgrade` it only if it may be."""


class LeasedDatabase:
    """A lease and the database file that it lets this process open; nothing is held at first. See `engine.base.Access`.

    Parameters
    ----------
    folder : Path
        The workspace.
    opener : callable
    read_only : bool
        Share the lease with other readers.

    Attributes
    ----------
    is_held : bool
    """

    is_shared = True

    def __init__(self, folder: Path, opener: Opener, *, read_only: bool) -> None:
        self.read_only = read_only
        self.is_held = False
        self.upkeep = FileUpkeep(folder / DATABASE_NAME)
        self._database: FileDatabase | None = None
        self._folder = folder
        self._identity = file_id(folder)
        self._opener = opener
        self._lease: Lease | None = None
        self._held_until = 0.0

    @property
    def database(self) -> FileDatabase:
        """The database; only while it is held."""
        return cast(FileDatabase, self._database)

    @property
    def is_open(self) -> bool:
        """Whether the database is open, or may be at any moment: who only waits for the lease has opened nothing."""
        return self._lease is not None or self._database is not None

    @property
    def is_in_place(self) -> bool:
        """Whether the folder, and the database if it is open, are still the ones that have the names."""
        return file_id(self._folder) == self._identity and (not self.is_held or self.database.is_in_place)

    @property
    def is_wanted(self) -> bool:
        """Whether another process wants it and this one has had it for long enough."""
        now = time.monotonic()
        if self._lease is None or now < self._held_until:
            return False
        if self._lease.has_waiters:
            return True
        self._held_until = now + WAITER_POLL_SECONDS
        return False

    @property
    def put_forward(self) -> timedelta:
        """See `Lease`; only while it is held."""
        return cast(Lease, self._lease).put_forward

    def watch_clocks(self) -> None:
        """See `Lease`."""
        if self._lease is not None:
            self._lease.watch_clocks()

    def acquire(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        """Wait for the lease, until a moment of the monotonic clock, and open the database.

        Raises
        ------
        WorkspaceError
            See its subclasses; nothing is held.
        """
        if file_id(self._folder) != self._identity:
            raise WorkspaceCorruptError(
                f"{self._folder} was removed or replaced while it was in use; nothing was written: close the store, "
                "restore the folder, and open it again"
            )
        self.release()  # Ctrl-C may have cut an earlier one short.
        self._lease = Lease(self._folder, shared=self.read_only, timeout=max(0.0, deadline - time.monotonic()))
        began = time.monotonic()
        self._open(deadline, create=create, upgrade=upgrade)
        now = time.monotonic()
        self._held_until = now + min(max(OPENINGS_HELD * (now - began), MIN_SECONDS_HELD), MAX_SECONDS_HELD)

    def acquire_for_writing(self, deadline: float, *, upgrade: bool) -> None:
        """Take for writing what was open for reading, or leave it closed, for reading; see `acquire`."""
        self.read_only = False
        try:
            self.acquire(deadline, create=True, upgrade=upgrade)
        except BaseException:
            self.read_only = True
            raise

    def _open(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        try:
            while not self.is_held:
                try:
                    self._database = self._opener(
                        self._folder, read_only=self.read_only, create=create, upgrade=upgrade
                    )
                    self.is_held = True
                except WorkspaceBusyError as error:  # A program that knows nothing of leases has the file open.
                    if isinstance(error, WorkspaceOpenHereError) or time.monotonic() >= deadline:
                        raise
                    time.sleep(OPEN_POLL_SECONDS)
        finally:
            if not self.is_held:
                self.release()

    def release(self) -> None:
        """Close the database and give the lease back; twice is fine, and goes on with what was cut short."""
        self.is_held = False  # First: half closed, it is of no use to anybody.
        if self._database is not None:
            self._database.close()  # If that fails, the lease is still needed.
            self._database = None
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def may_begin(self, *, write: bool, is_alone: bool) -> bool:
        """Tell whether a unit of work may begin, after a look at the file; False: it is full, and to be opened anew."""
        self.database.check_file(is_quiet=is_alone, write=write)
        return not (write and is_alone and self.database.is_full)

    def note_end(self) -> None:
        """Remember how the file is, now that nobody is inside."""
        self.database.note_file()

    def reopen(self, deadline: float) -> None:
        """Close and open the database in the middle of what one unit of work does; errors as for `suspended`."""
        self.note_end()  # What it has written so far.
        with self.suspended(deadline):
            pass

    @contextmanager
    def suspended(self, deadline: float) -> Iterator[None]:
        """Close the database, but keep the lease, for the length of a block.

        Raises
        ------
        WorkspaceCorruptError
            The database was removed or replaced.
        """
        self.database.check_file(is_quiet=True)
        self.is_held = False
        try:
            self.database.close()
            yield
        finally:
            self._open(deadline)
