"""Who is inside a workspace of this process, who writes, and who is alone in it: all that its threads wait for.

The lock is had for a moment only: whoever opens, closes or replaces the database says that it is alone and does it with
the lock free, so that the others wait for the condition, and for no longer than they may.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UnitOfWorkError, WorkspaceBusyError
from ..storage import (
    LEAST_SECONDS,
    Condition,
    Scope,
    ScopeRef,
    current_scopes,
    is_owned,
    live,
    no_scope,
    seconds_until,
    this_thread,
)


class Admission:
    """Where the threads of this process wait until they are let into a workspace.

    Parameters
    ----------
    path : Path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Blocks take the lock itself: it is C, so that Ctrl-C cannot come between its taking and the block.
        self._lock = threading.RLock()
        self._state = Condition(self._lock)
        self._writers: list[ScopeRef] = []  # The first one writes, the others wait for it.
        self._exclusive: ScopeRef = no_scope  # Whose thread opens, closes or replaces the database.
        self._entered: list[ScopeRef] = []

    @property
    def current(self) -> Any:
        """The unit of work that is open here, in this thread and task, or None."""
        for scope in live(current_scopes.get()):
            if scope.is_open and scope.is_of(self):
                return scope.unit()
        return None

    @property
    def _in_call(self) -> bool:
        """Whether this thread is opening, closing or replacing the database, or looking who is inside."""
        alone = self._exclusive()
        return is_owned(self._state) or (alone is not None and alone.thread is this_thread())

    @property
    def _inside(self) -> list[Scope]:
        return live(self._entered)

    def _take_turn(self, scope: Scope, timeout: float) -> None:
        with self._lock:
            # Not kept in a variable: what waits may keep no other's turn alive.
            if any(writer.thread is scope.thread for writer in live(self._writers)):
                raise UnitOfWorkError(
                    f"another task of this thread is in the middle of writing to {self.path}; "
                    "let the task that opened the transaction write for this one, too, or await the transaction's end"
                )
            self._writers.append(weakref.ref(scope))
            if not self._state.wait_for(lambda: live(self._writers)[0] is scope, min(timeout, threading.TIMEOUT_MAX)):
                raise WorkspaceBusyError(
                    f"another thread has been writing to {self.path} for {timeout:g} s; "
                    "end its transaction, or give a longer timeout"
                )

    def _wait_for(self, condition: Callable[[], bool], deadline: float) -> None:
        least = LEAST_SECONDS if self._exclusive() else 0.0
        if not self._state.wait_for(condition, max(least, seconds_until(deadline))):
            raise WorkspaceBusyError(
                f"others are still using {self.path} in this process; end what they do, or give a longer timeout"
            )

    def _end_exclusive(self) -> None:
        with self._lock:
            self._exclusive = no_scope
            self._state.notify_all()
