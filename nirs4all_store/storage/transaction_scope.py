"""`Scope`: which thread and task has a transaction open in a workspace.

Ctrl-C comes at any moment, also between entering a block and the code that ends it. So open scopes are known by weak
references: a scope that nobody holds any more is over.

See docs/decisions/0018.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import call
from pathlib import Path
from typing import Any

from ..errors import UnitOfWorkError, WorkspaceBusyError

_marks = threading.local()


def this_thread() -> object:
    """Return what stands for this thread; its number may be another one's later."""
    try:
        mark: object = _marks.mark
    except AttributeError:
        mark = _marks.mark = object()
    return mark


def _this_task() -> Callable[[], object]:
    """Return what returns the asyncio task at work in this thread, or the loop for its callbacks; see `no_scope`."""
    if "asyncio" not in sys.modules:  # To import it takes longer than to open a workspace.
        return no_scope
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return no_scope
    return weakref.ref(asyncio.current_task(loop) or loop)


no_scope: Callable[[], None] = type(None)
"""Returns None: it stands for a scope that nobody holds, and for a task where there is none."""


class Scope:
    """Leave to be inside a workspace: for the unit of work that holds it, and for no longer than it does.

    Parameters
    ----------
    unit : object
        The unit of work, which this does not keep alive.
    workspace : object
    write : bool

    Attributes
    ----------
    unit : callable
        Returns the unit of work, or None once nobody holds it.
    thread : object
        The one that made this.
    is_open : bool
    """

    def __init__(self, unit: object, workspace: object, *, write: bool) -> None:
        self.unit: Callable[[], Any] = weakref.ref(unit)
        self.workspace = workspace
        self.thread = this_thread()
        self._task = _this_task()
        self.write = write
        self.is_open = True

    def is_of(self, workspace: object) -> bool:
        """Tell whether this is of a workspace, and of the thread and task that ask.

        What a context is copied to, as a task that is started in a block, has the block's scope, and not its thread or
        task: it may go on after the block has ended, and must not join it.
        """
        return self.workspace is workspace and self.thread is this_thread() and self._task() is _this_task()()


ScopeRef = Callable[[], Scope | None]
"""Returns a scope, or None once nobody holds it."""

# What is open in this context. Tasks of one thread have a context each, so that none writes in
# another's transaction.
current_scopes: ContextVar[tuple[ScopeRef, ...]] = ContextVar("current_scopes", default=())


class Condition(threading.Condition):
    """A condition whose lock is taken after it was waited for, whatever comes.

    While it waits it gives the lock away, and Ctrl-C may keep it from taking it again.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until somebody notifies; see `threading.Condition`."""
        try:
            return super().wait(timeout)
        except BaseException:
            if not is_owned(self):
                self.acquire()
            raise


def is_owned(lock: threading.Condition | threading.RLock) -> bool:
    """Tell whether this thread has a lock, or the lock of a condition."""
    owned: bool = lock._is_owned()  # type: ignore[union-attr]  # what a condition asks
    return owned


# Whoever only looks has a lock for a moment, and is waited for also by one who waits for nobody.
LEAST_SECONDS = 0.5


def seconds_until(deadline: float) -> float:
    """Return how long it is to a moment of the steady clock, as threads can wait; 0 when it has passed."""
    return max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX))


@contextmanager
def locked(lock: threading.RLock, deadline: float, path: Path) -> Iterator[None]:
    """Have a lock for the length of a block, for which nobody waits longer than until a moment of the steady clock.

    Raises
    ------
    WorkspaceBusyError
        Another thread had it until then.
    UnitOfWorkError
        This thread is in the middle of a block of it.
    """
    refuse_reentrant_call(is_owned(lock))
    try:
        if not lock.acquire(timeout=max(LEAST_SECONDS, seconds_until(deadline))):
            raise WorkspaceBusyError(
                f"another thread of this process is opening, closing or upgrading {path}; wait for it, or "
                "give a longer timeout"
            )
        yield
    finally:
        if is_owned(lock):  # Ctrl-C may have come right before it was, or right after.
            lock.release()


def refuse_reentrant_call(in_call: bool) -> None:
    """Refuse a call in the middle of another one of its thread: a handler's or finalizer's may come at any moment.

    Raises
    ------
    UnitOfWorkError
        The thread is in the middle of one.
    """
    if in_call:
        raise UnitOfWorkError(
            "a signal handler or finalizer called in the middle of another call of this thread; let it leave a note, "
            "and call when that one has returned"
        )


def live(scopes: Iterable[ScopeRef]) -> list[Scope]:
    """Return the scopes that somebody holds."""
    return [*filter(None, map(call, scopes))]
