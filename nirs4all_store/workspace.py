"""One open workspace of this process: its database, its files, its lease, and whose turn it is.

All stores on one folder share one of these. Any number of threads read at once, each on its own
connection; writers take turns; copying or replacing the database file waits until nobody uses it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .blobs import Blobs
from .database import Database
from .errors import ReadOnlyError, StoreClosedError, UnitOfWorkError, WorkspaceBusyError
from .known import Known
from .lease import Lease

DATABASE_NAME = "store.duckdb"
ARTIFACTS_NAME = "artifacts"


@dataclass
class Turn:
    """A unit of work, and the workspace and thread that it is open in."""

    unit: Any
    where: tuple[Workspace, int]
    is_open: bool = True


# What is open in this context. Tasks of one thread have a context each, so that none writes in
# another's transaction.
_turns: ContextVar[tuple[Turn, ...]] = ContextVar("turns", default=())


class Workspace:
    """An open workspace.

    Parameters
    ----------
    path : Path
        The folder.
    lease : Lease
        The right to open it, given back by `close`.
    database : Database
        Its database, up to date; closed by `close`.
    """

    def __init__(self, path: Path, lease: Lease, database: Database) -> None:
        self.path = path
        self.read_only = database.read_only
        self.blobs = Blobs(path / ARTIFACTS_NAME)
        self.database = database
        self.known = Known()
        self._lease = lease
        self._process = os.getpid()
        self._closed = False
        self._writing = threading.Lock()
        self._state = threading.Condition()
        self._users = 0
        self._alone = False
        self._writer: int | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it is open and its database is still the one that has the name."""
        return not self._closed and self.database.is_in_place

    @property
    def current(self) -> Any:
        """The unit of work that is open here, in this thread and task, or None; a forked child may not ask."""
        if self._process != os.getpid():
            raise StoreClosedError(
                f"this store on {self.path} belongs to process {self._process}, from which this one was forked; "
                "open a new WorkspaceStore here"
            )
        here = (self, threading.get_ident())
        return next((turn.unit for turn in _turns.get() if turn.where == here and turn.is_open), None)

    @property
    def epoch(self) -> int | None:
        """A number that is another one once committed rows may be gone.

        None for a thread in a unit of work: what it sees may never be committed.
        """
        is_inside = self.current is not None
        self._check_open()
        return None if is_inside else self.known.epoch

    def check_writable(self, *, read_only: bool) -> None:
        """Refuse to write through a store that was opened for reading, or in a workspace that was.

        Raises
        ------
        ReadOnlyError
        """
        if read_only or self.read_only:
            raise ReadOnlyError(
                f"{self.path} is open for reading only; open a WorkspaceStore without read_only to write"
            )

    def enter(self, unit: Any, *, write: bool, timeout: float) -> Turn:
        """Let a unit of work begin here, waiting for its turn if it writes; end it with `leave`.

        Raises
        ------
        UnitOfWorkError
            One is open here already, or another task of this thread is writing.
        WorkspaceBusyError
            Another thread held its turn for longer than `timeout` seconds.
        StoreClosedError
            The workspace was closed.
        """
        if self.current is not None:
            raise UnitOfWorkError("this thread has a unit of work open already; use it, or leave it first")
        if write:
            self._take_turn(timeout)
        try:
            with self._state:
                if not self._state.wait_for(lambda: not self._alone, timeout):
                    raise WorkspaceBusyError(f"{self.path} is being copied or compacted for {timeout:g} s; try again")
                self._check_open()
                if write:
                    self.database.check_file()
                    if self.database.is_full and self._users == 0:
                        self.database.close()
                        self._reopen()
                self._users += 1
        except BaseException:
            if write:
                self._end_turn()
            raise
        turn = Turn(unit, (self, threading.get_ident()))
        _turns.set((*(other for other in _turns.get() if other.is_open), turn))
        return turn

    def leave(self, turn: Turn, *, write: bool) -> None:
        """Let a unit of work end."""
        turn.is_open = False
        with self._state:
            self._users -= 1
            self._state.notify_all()
        if write:
            self._end_turn()

    def _take_turn(self, timeout: float) -> None:
        if self._writer == threading.get_ident():
            raise UnitOfWorkError(
                f"another task of this thread is in the middle of writing to {self.path}; "
                "await its end before this one writes, or let this one run in a thread of its own"
            )
        if not self._writing.acquire(timeout=timeout):
            raise WorkspaceBusyError(
                f"another thread has been writing to {self.path} for {timeout:g} s; "
                "end its transaction, or give a longer timeout"
            )
        self._writer = threading.get_ident()

    def _end_turn(self) -> None:
        self._writer = None
        self._writing.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"the store on {self.path} is closed; open a new WorkspaceStore")

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Close the database for the length of a block in which nobody else may use it.

        Raises
        ------
        UnitOfWorkError
            This thread has a unit of work open.
        WorkspaceBusyError
            Others were using it for longer than `timeout` seconds.
        """
        with self._nobody_else(timeout):
            self.database.check_file()
            self.database.close()
            try:
                yield
            finally:
                self._reopen()

    def _reopen(self) -> None:
        try:
            self.database.open()
        except BaseException:
            self._closed = True
            self._lease.release()
            raise

    def close(self, timeout: float) -> None:
        """Close the database and give the lease back, once nobody uses it; see `alone` for the errors."""
        if self._closed:
            return
        with self._nobody_else(timeout):
            self._closed = True
            self.database.close()
            self._lease.release()

    @contextmanager
    def _nobody_else(self, timeout: float) -> Iterator[None]:
        if self.current is not None:
            raise UnitOfWorkError("this cannot be done inside a unit of work or transaction(); leave it first")
        self._take_turn(timeout)
        try:
            with self._state:
                self._check_open()
                self._alone = True
                if not self._state.wait_for(lambda: self._users == 0, timeout):
                    self._alone = False
                    self._state.notify_all()
                    raise WorkspaceBusyError(f"others are still using {self.path} after {timeout:g} s; try again")
            try:
                yield
            finally:
                with self._state:
                    self._alone = False
                    self._state.notify_all()
        finally:
            self._end_turn()

    def abandon(self) -> None:
        """Forget the parent's lease in a forked child, without giving it back for the parent."""
        self._lease.release()
