"""Work in a thread of its own, for which is waited so that signals are heard and which is stopped at its time.

What waits in C hears no signal: Python calls the handlers between two steps of the main thread, and the system may
give a signal to any thread of the process, which wakes that one and not the one that waits.

See docs/decisions/0018.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05
# To stop what has not begun yet is without effect: it is stopped again.
STOP_POLL_SECONDS = 0.02


class WorkerThread(Generic[T]):
    """Work that is done aside.

    Parameters
    ----------
    work : callable
        Does it.
    stop : callable
        Makes `work` end soon, with any error; it is called again until it has.
    seconds : float
        After so many it is stopped; infinity: never.
    """

    def __init__(self, work: Callable[[], T], stop: Callable[[], object], seconds: float) -> None:
        self._work = work
        self._stop = stop
        self._seconds = seconds
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        # Ctrl-C may come right after a thread was begun, and before that is written down: who takes this has a say.
        self._may_begin = threading.Lock()
        self._end = threading.Lock()  # Free at the end. An event has a condition.
        self._end.acquire()
        self._is_over = False

    def result(self) -> T:
        """Return what the work returns, or raise what it raises; when this is left, nothing is at work any more."""
        deadline = time.monotonic() + self._seconds
        try:
            _thread.start_new_thread(self._do, ())  # `threading` would wait for its beginning.
            while not self._is_over and time.monotonic() < deadline:
                self._end.acquire(timeout=min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
            self._finish()
        except BaseException:  # A handler raised.
            if not self._may_begin.acquire(blocking=False):
                self._finish()
            raise
        if self._errors:
            raise self._errors.pop()
        return self._results.pop()

    def _do(self) -> None:
        if not self._may_begin.acquire(blocking=False):
            return
        try:
            self._results.append(self._work())
        except BaseException as error:  # It is raised in the thread that waits.
            self._errors.append(error)
        finally:
            self._is_over = True
            self._end.release()

    def _finish(self) -> None:
        """Stop the work, and wait for its end: what it uses is closed after that."""
        try:
            while not self._is_over:
                self._stop()
                self._end.acquire(timeout=STOP_POLL_SECONDS)
        except BaseException:  # Ctrl-C once more.
            self._finish()
            raise
