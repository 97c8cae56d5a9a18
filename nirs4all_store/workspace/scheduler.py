"""One workspace of this process: its database, its files, its lease, and who may be inside it.

All stores on one folder share one of these. Any number of threads read at once, each on its own
connection; writers take turns; copying or replacing the database file waits until nobody uses it.

The database is open, and the lease held, from the first use on until another process wants it. Whoever
leaves a unit of work looks whether one does, and so does a thread of its own while nobody works.

See docs/decisions/0012.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from operator import call
from pathlib import Path
from typing import Any

from ..artifacts import ArtifactFiles
from ..engine import Access, Database, Upkeep
from ..errors import ReadOnlyError, StoreClosedError, UnitOfWorkError
from ..storage import LookupCache, Scope, current_scopes, is_owned, live, no_scope, refuse_reentrant_call, this_thread
from .admission import Admission

WATCH_SECONDS = 0.05
SECONDS_BEFORE_FORK = 5.0


class Workspace(Admission):
    """A workspace, closed at first.

    Parameters
    ----------
    path : Path
        The folder, or what stands for it.
    access : Access
        The way to its database.
    blobs : ArtifactFiles
        The files of its artifacts.
    """

    def __init__(self, path: Path, access: Access, blobs: ArtifactFiles) -> None:
        super().__init__(path)
        self.blobs = blobs
        self.cache = LookupCache()
        self._access = access
        self._process = os.getpid()
        self._closed = False
        self._close_requested = False  # Another process wants it, or it is broken: it is closed when nobody is inside.
        self._forks: list[Scope] = []
        self._over = threading.Lock()  # Free at the end. An event has a condition.
        self._over.acquire()
        self._watcher = threading.Thread(target=self._watch, name=f"nirs4all_store {path}", daemon=True)
        if access.is_shared:
            self._watcher.start()

    @property
    def database(self) -> Database:
        """Its database; only for who has a unit of work open here."""
        return self._access.database

    @property
    def upkeep(self) -> Upkeep:
        """What is done to its database while nobody uses it; only in a block of `exclusive`."""
        return self._access.upkeep

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward; see `Lease`, and `database` for whom this is."""
        return self._access.put_forward

    @property
    def read_only(self) -> bool:
        """Whether it refuses to write, and shares the lease with other readers."""
        return self._access.read_only

    @property
    def is_usable(self) -> bool:
        """Whether it is not closed, and its folder and database are still the ones that have the names."""
        return not self._closed and self._access.is_in_place

    @property
    def is_open(self) -> bool:
        """Whether its database is open, or may be at any moment."""
        return self._access.is_open

    @property
    def is_foreign(self) -> bool:
        """Whether it belongs to the process from which this one was forked."""
        return self._process != os.getpid()

    @property
    def epoch(self) -> int | None:
        """A number that is another one once committed rows may be gone.

        None for a thread in a unit of work: what it sees may never be committed.
        """
        self._check_open()
        return self.cache.epoch if self.current is None else None

    @property
    def change_token(self) -> str:
        """See `Upkeep.change_token`; asked without a turn, it waits for nobody."""
        self._check_open()
        return self._access.upkeep.change_token()

    def check_writable(self, *, read_only: bool) -> None:
        """Raise `ReadOnlyError` for a store that was opened for reading, or a workspace that was."""
        if read_only or self.read_only:
            raise ReadOnlyError(
                f"{self.path} is open for reading only; open a WorkspaceStore without read_only to write"
            )

    def open(self, timeout: float, *, write: bool, upgrade: bool = False) -> bool:
        """Open the database, creating it when absent, if it is not open here; tell whether it was not.

        Parameters
        ----------
        timeout : float
            Seconds to wait for other processes, and for other threads.
        write : bool
            Whether one wants to write, which one that was opened for reading is then closed and opened again for.
        upgrade : bool
            Bring an older one to the newest revision.

        Raises
        ------
        WorkspaceError
            See its subclasses. Nothing was changed.
        """
        refuse_reentrant_call(self._in_call)
        deadline = time.monotonic() + timeout
        if write and self.read_only:
            with self._exclusively(timeout):
                if self.read_only:  # Another one may have done the same meanwhile.
                    self._close()
                    self._access.acquire_for_writing(deadline, upgrade=upgrade)
                    return True
        scope = Scope(self, self, write=write)
        try:
            with self._lock:
                self._wait_for(self._may_enter, deadline)
                self._check_open()
                if self._access.is_held:
                    return False
                self._exclusive = weakref.ref(scope)
            self._access.acquire(deadline, create=not self.read_only, upgrade=upgrade)
        finally:
            self.leave(scope)
        return True

    def read_from_now_on(self) -> None:
        """Share the lease with other readers again: those who wanted to write here have gone."""
        with self._lock:
            self._access.read_only = self._close_requested = True
        self._yield_if_wanted()

    def enter(self, unit: Any, *, write: bool, timeout: float) -> Scope:
        """Let a unit of work begin here, waiting for its turn if it writes; end it with `leave`.

        Raises
        ------
        UnitOfWorkError
            One is open here already, or another task of this thread is writing.
        WorkspaceBusyError
            Another process or thread held it for longer than `timeout` seconds.
        StoreClosedError
            The workspace was closed.
        WorkspaceError
            The database cannot be opened again, after another process has had it.
        """
        if self.current is not None:
            raise UnitOfWorkError("this thread has a unit of work open already; use it, or leave it first")
        if self.is_foreign:
            raise StoreClosedError(
                f"this unit of work on {self.path} belongs to process {self._process}, from which this one was forked; "
                "ask the store for a new one"
            )
        refuse_reentrant_call(self._in_call)
        deadline = time.monotonic() + timeout
        scope = Scope(unit, self, write=write)
        try:
            if write:
                self._take_turn(scope, timeout)
            while not self._begin(scope, deadline):
                self._close()
                self._access.acquire(deadline)
                self._end_exclusive()
            others = (weakref.ref(other) for other in live(current_scopes.get()) if other.is_open)
            current_scopes.set((*others, weakref.ref(scope)))
        except BaseException:  # Ctrl-C may come at any moment.
            self.leave(scope)
            raise
        return scope

    def _begin(self, scope: Scope, deadline: float) -> bool:
        """Let a unit of work in; False if the database must be opened first, for which this thread is alone."""
        with self._lock:
            self._wait_for(self._may_enter, deadline)
            self._check_open(write=scope.write)
            may_begin = self._access.is_held and self._access.may_begin(write=scope.write, is_alone=not self._inside)
            if may_begin:
                self._entered.append(weakref.ref(scope))
            else:
                self._exclusive = weakref.ref(scope)
            return may_begin

    def _may_enter(self) -> bool:
        if self._exclusive() or not (self._close_requested and self._access.is_held):
            return not self._exclusive()
        # One who is inside may wait for the one who wants in: a writer for what its threads read, a task of one
        # thread for another.
        return any(scope.write or scope.thread is this_thread() for scope in self._inside)

    def leave(self, scope: Scope) -> None:
        """Let a unit of work end, if it has begun, and another process have the database if it wants it."""
        scope.is_open = False
        mine = weakref.ref(scope)
        try:
            with self._lock:
                if self._inside == [scope] and self._access.is_held:
                    self._access.note_end()
                # New lists: a finalizer may leave another one while somebody goes through these.
                self._entered = [*filter(mine.__ne__, self._entered)]
                self._writers = [*filter(mine.__ne__, self._writers)]
                self._drop_abandoned()
                if self._exclusive() in (scope, None):
                    self._exclusive = weakref.ref(scope) if self._should_close() else no_scope
                self._state.notify_all()
            if self._exclusive() is scope:
                self._close()  # With the lock free: to fold the log in may take long.
        finally:
            if self._exclusive() is scope:
                self._end_exclusive()

    def reopen(self, scope: Scope, timeout: float) -> None:
        """Close and open the database in the middle of a unit of work, as soon as no other one is open.

        Raises
        ------
        WorkspaceError
            See its subclasses; it is closed, and the next unit of work opens it.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._wait_for(lambda: not self._exclusive(), deadline)
            self._exclusive = weakref.ref(scope)
        try:
            with self._lock:
                self._wait_for(lambda: self._inside == [scope], deadline)
            self._access.reopen(deadline)
        finally:
            self._end_exclusive()

    def mark_broken(self) -> None:
        """Close the database as soon as nobody is inside, if an error has broken the engine; the next one opens it."""
        with self._lock:
            self._close_requested = self._close_requested or (self._access.is_held and not self.database.is_alive)

    def _should_close(self) -> bool:
        """Tell whether another process wants the database, it was held for long enough and nobody is inside."""
        if not self._access.is_held:
            return self._access.is_open  # What Ctrl-C has cut short.
        self._access.watch_clocks()
        self._close_requested = self._close_requested or self._access.is_wanted
        return self._close_requested and not self._inside

    def _yield_if_wanted(self) -> None:
        """Let another process have the database if it wants it."""
        self.leave(Scope(self, self, write=False))

    def _drop_abandoned(self) -> None:
        is_alone_lost = self._exclusive is not no_scope and self._exclusive() is None
        if is_alone_lost or None in map(call, (*self._entered, *self._writers)):
            self._entered = [held for held in self._entered if held()]
            self._writers = [held for held in self._writers if held()]
            self._exclusive = self._exclusive if self._exclusive() else no_scope
            self._close_requested = True  # Their transactions are open still.
            self._state.notify_all()

    def _watch(self) -> None:
        while not self._over.acquire(timeout=WATCH_SECONDS):
            with contextlib.suppress(Exception):  # What failed is tried again at the next look.
                self._yield_if_wanted()

    def _close(self) -> None:
        """Let other processes have the database: what is known of the rows may not be true for long."""
        self.cache.invalidate()
        self._access.release()
        self._close_requested = False

    def _check_open(self, *, write: bool = False) -> None:
        if self._closed or (write and self.read_only):  # The last store that wrote may have been closed meanwhile.
            raise StoreClosedError(f"the store on {self.path} is closed; open a new WorkspaceStore")

    @contextmanager
    def exclusive(self, timeout: float) -> Iterator[None]:
        """Close the database, but keep the lease, for the length of a block in which nobody else may use it.

        Raises
        ------
        UnitOfWorkError
            This thread has a unit of work open.
        WorkspaceBusyError
            Others were using it for longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._exclusively(timeout):
            self._check_open()
            if not self._access.is_held:
                self._access.acquire(deadline)
            with self._access.suspended(deadline):
                yield

    def close(self, timeout: float) -> None:
        """Close the database and give the lease back, once nobody uses it; see `exclusive` for the errors."""
        if not self._closed:
            with self._exclusively(timeout):
                self._close()
                self._closed = True  # Last: what Ctrl-C cuts short is done again.
        if self._over.locked():
            self._over.release()
        if self._watcher.is_alive():
            self._watcher.join(timeout)  # If it still looks then, it ends by itself.

    def interrupt(self) -> None:
        """Stop what threads are doing in the database; their statements raise."""
        if self._access.is_held:
            self.database.interrupt()

    @contextmanager
    def _exclusively(self, timeout: float) -> Iterator[None]:
        """Be alone as soon as nobody is inside, and nobody else is."""
        if self.current is not None:
            raise UnitOfWorkError("this cannot be done inside a unit of work or transaction(); leave it first")
        refuse_reentrant_call(self._in_call)
        deadline = time.monotonic() + timeout
        scope = Scope(self, self, write=True)
        try:
            self._take_turn(scope, timeout)
            with self._lock:
                self._wait_for(lambda: not self._exclusive(), deadline)
                self._check_open()
                self._exclusive = weakref.ref(scope)
                self._wait_for(lambda: not self._inside, deadline)
            yield
        finally:
            self.leave(scope)

    def close_before_fork(self) -> None:
        """Let nobody in until `after_fork`; leave nothing open that a child would inherit, unless one stays at work.

        What a child does with an inherited database destroys it: DuckDB takes it for its own.
        """
        scope = Scope(self, self, write=True)
        self._forks.append(scope)
        with self._lock:
            self._close_requested = True
            if not any(other.thread is this_thread() for other in live([*self._entered, self._exclusive])):
                # Who only waits for other processes has opened nothing.
                self._state.wait_for(
                    lambda: not self._inside and not (self._exclusive() and self.is_open), SECONDS_BEFORE_FORK
                )
                # Who hands over ends by itself, and what a child inherits in the middle of it, it could never open.
                self._state.wait_for(lambda: (other := self._exclusive()) is None or other.is_open)
            if not self._inside and not self._exclusive():
                self._exclusive = weakref.ref(scope)
        if self._exclusive() is scope:
            self._close()
        self._lock.acquire()  # For the fork itself.

    def after_fork(self) -> None:
        """Let others in again."""
        scope = self._forks.pop() if self._forks else None  # Ctrl-C may have come before it was there, or had the lock.
        if scope is not None and self._exclusive() is scope:
            self._end_exclusive()
        if is_owned(self._state):
            self._lock.release()
