"""Work in a thread of its own ends with who waits for it, whatever comes in between."""

import math
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from nirs4all_store.engine.duckdb import worker_thread
from nirs4all_store.engine.duckdb.worker_thread import WorkerThread


def test_it_gives_back_what_the_work_returns_or_raises() -> None:
    def fails() -> None:
        raise LookupError("in the other thread")

    for seconds in (0, 60, math.inf):  # One that has no time still begins.
        assert WorkerThread(lambda: 3, lambda: None, seconds).result() == 3
        with pytest.raises(LookupError, match="in the other thread"):
            WorkerThread(fails, lambda: None, seconds).result()


def working(stop: Callable[[threading.Event], object], seconds: float) -> tuple[WorkerThread[str], threading.Event]:
    """Return work that goes on until `stop` sets an event, and what is set at its end."""
    may_end, has_ended = threading.Event(), threading.Event()

    def work() -> str:
        assert may_end.wait(60)
        has_ended.set()
        return "done"

    return WorkerThread(work, lambda: stop(may_end), seconds), has_ended


def test_what_is_late_is_stopped_until_it_ends() -> None:
    stops = []

    def stop(may_end: threading.Event) -> None:
        stops.append(may_end)
        if len(stops) == 3:  # Those before came too early.
            may_end.set()

    work, has_ended = working(stop, 0.01)
    assert work.result() == "done"
    assert has_ended.is_set()


def test_ctrl_c_while_work_is_stopped_leaves_nothing_at_work() -> None:
    stops = []

    def stop(may_end: threading.Event) -> None:
        stops.append(may_end)
        if len(stops) <= 2:
            raise KeyboardInterrupt
        may_end.set()

    work, has_ended = working(stop, 0.01)
    with pytest.raises(KeyboardInterrupt):
        work.result()
    assert has_ended.is_set()


def test_ctrl_c_while_one_waits_left_work_going_on() -> None:
    has_begun, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    def goes_on() -> None:
        has_begun.set()
        assert may_end.wait(60)
        has_ended.set()

    class Pressed:
        """The lock that is waited for, where Ctrl-C comes first."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock
            self.release = lock.release

        def acquire(self, timeout: float) -> bool:
            assert has_begun.wait(60)
            if not may_end.is_set():
                raise KeyboardInterrupt
            return bool(self.lock.acquire(timeout=timeout))

    work = WorkerThread(goes_on, may_end.set, 60)
    work._end = Pressed(work._end)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        work.result()
    assert has_ended.is_set()


def test_work_began_after_ctrl_c_had_cut_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Callable[[], None]] = []
    done: list[str] = []

    def late(begin: Callable[[], None], _: tuple[()]) -> None:
        threads.append(begin)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker_thread, "_thread", SimpleNamespace(start_new_thread=late))
    with pytest.raises(KeyboardInterrupt):
        WorkerThread(lambda: done.append("work"), lambda: None, 60).result()
    threads[0]()
    assert done == []


def test_a_signal_that_another_thread_was_given_was_heard_only_when_the_work_was_over() -> None:
    heard = threading.Semaphore(0)

    def work() -> bool:
        for _ in range(3):
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            if not heard.acquire(timeout=10):
                return False
        return True

    before = signal.signal(signal.SIGUSR1, lambda *_: heard.release())
    try:
        assert WorkerThread(work, lambda: None, math.inf).result()
    finally:
        signal.signal(signal.SIGUSR1, before)
