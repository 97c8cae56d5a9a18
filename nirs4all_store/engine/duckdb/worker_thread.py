"""Runs a function in a thread, so that the waiting thread still handles signals, and stops the function in time.

A thread that waits in C code handles no signal: Python calls signal handlers between two steps of the main thread, and
the system may deliver a signal to any thread of the process, which does not wake the one that waits.

See docs/decisions/0018, "How soon".
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05
# A stop has no effect if the work has not begun yet. So it is repeated.
STOP_POLL_SECONDS = 0.02


class WorkerThread(Generic[T]):
    """A function that runs in a thread of its own.

    Parameters
    ----------
    work : callable
        The function.
    stop : callable
        Makes `work` end soon, with any error. It is called repeatedly until `work` has ended.
    seconds : float
        How long `work` may run before it is stopped; `math.inf`: without a limit.
    """

    def __init__(self, work: Callable[[], T], stop: Callable[[], object], seconds: float) -> None:
        self._work = work
        self._stop = stop
        self._seconds = seconds
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        # Ctrl-C may come while the thread is being started. Whoever takes this lock first decides whether it works.
        self._may_begin = threading.Lock()
        self._end = threading.Lock()  # Released at the end. Ctrl-C could leave the condition in an Event locked.
        self._end.acquire()
        self._is_over = False

    def result(self) -> T:
        """Run the work; return what it returns, or raise what it raises. It has ended when this method ends."""
        deadline = time.monotonic() + self._seconds
        try:
            _thread.start_new_thread(self._do, ())  # `threading` would wait until it has begun.
            while not self._is_over and time.monotonic() < deadline:
                self._end.acquire(timeout=min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
            self._finish()
        except BaseException:  # A signal handler raised.
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
        except BaseException as error:  # It is raised again in the thread that waits.
            self._errors.append(error)
        finally:
            self._is_over = True
            self._end.release()

    def _finish(self) -> None:
        """Stop the work and wait until it has ended: the caller closes then what the work uses."""
        try:
            while not self._is_over:
                self._stop()
                self._end.acquire(timeout=STOP_POLL_SECONDS)
        except BaseException:  # Ctrl-C once more.
            self._finish()
            raise
