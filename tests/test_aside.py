"""Work in a thread of its own ends with who waits for it, whatever comes in between."""

import math
import threading
from collections.abc import Callable

import pytest

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
