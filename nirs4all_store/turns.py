"""Turns: who may be inside a workspace now.

Ctrl-C comes at any moment, also between entering a block and what the block would undo at its end. So what is open is
known by references that keep nothing alive: a turn that nobody holds any more is over.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from .errors import UnitOfWorkError

IN_BETWEEN = (
    "a signal handler or finalizer called in the middle of another call of this thread; let it leave a note, and call "
    "when that one has returned"
)


class Turn:
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
    where : tuple
        The workspace, and the thread that made this.
    is_open : bool
    """

    def __init__(self, unit: object, workspace: object, *, write: bool) -> None:
        self.unit: Callable[[], Any] = weakref.ref(unit)
        self.where = (workspace, threading.get_ident())
        self.write = write
        self.is_open = True


Held = Callable[[], Turn | None]
"""Returns a turn, or None once nobody holds it."""

# What is open in this context. Tasks of one thread have a context each, so that none writes in
# another's transaction.
open_turns: ContextVar[tuple[Held, ...]] = ContextVar("open_turns", default=())


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


def refuse_in_between(lock: threading.Condition | threading.RLock, alone: Turn | None = None) -> None:
    """Refuse a call in the middle of another one of this thread: a handler's or finalizer's may come at any moment.

    Raises
    ------
    UnitOfWorkError
        The thread has the lock, or is the one that is alone.
    """
    if is_owned(lock) or (alone is not None and alone.where[1] == threading.get_ident()):
        raise UnitOfWorkError(IN_BETWEEN)


def nothing() -> None:
    """Stand for a turn that nobody holds."""


def alive(turns: Iterable[Held]) -> list[Turn]:
    """Return the turns that somebody holds."""
    return [turn for held in turns if (turn := held()) is not None]
