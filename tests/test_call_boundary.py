"""A signal's handler, or Ctrl-C, strikes at a step of what begins and ends a call: nothing of the call stays."""

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from nirs4all_store import NotFoundError, StoreClosedError, WorkspaceStore, call_boundary
from nirs4all_store.call_boundary import CallBoundary
from nirs4all_store.engine.duckdb.posix_lock import refuse_if_open_here
from nirs4all_store.storage import UnitOfWork
from nirs4all_store.workspace import check

Strike = Callable[[int, FrameType | None], None]


class DeadlineError(Exception):
    """What a handler raises."""


def deadline(number: int, frame: FrameType | None) -> None:
    raise DeadlineError


@pytest.fixture(autouse=True)
def handler() -> Iterator[Strike]:
    before = signal.signal(signal.SIGUSR1, deadline)
    yield deadline
    signal.signal(signal.SIGUSR1, before)


def by_handler(frame: FrameType) -> None:
    signal.getsignal(signal.SIGUSR1)(signal.SIGUSR1, frame)  # type: ignore[operator,misc]  # it is a handler


def by_ctrl_c(frame: FrameType) -> None:
    raise KeyboardInterrupt  # What Python's own handler raises, to which nobody listens.


def is_struck(
    work: Callable[[], object], by: Callable[[FrameType], None], where: Callable[[str], bool], step: int = 1
) -> bool:
    """Work, and strike at one of the steps of some functions; False: there were not so many."""
    steps = count(1)

    def strike(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_return") and where(frame.f_code.co_qualname) and next(steps) == step:
            sys.setprofile(None)
            by(frame)

    sys.setprofile(strike)
    try:
        work()
    except (KeyboardInterrupt, DeadlineError):
        return True
    finally:
        sys.setprofile(None)
    return False


def steps_that_left_it_listening(work: Callable[[], object], by: Callable[[FrameType], None]) -> list[int]:
    """Strike at each step of what begins and ends a call in turn; return those after which the handler was another."""
    left = []
    for step in count(1):
        if not is_struck(work, by, lambda name: name.startswith("CallBoundary."), step):
            break
        if signal.getsignal(signal.SIGUSR1) is not deadline:
            left.append(step)
            signal.signal(signal.SIGUSR1, deadline)
    assert step > 10
    return left


@pytest.mark.parametrize("by", [by_handler, by_ctrl_c])
def test_what_struck_at_the_end_of_a_call_left_it_listening_for_ever(
    store: WorkspaceStore, by: Callable[[FrameType], None]
) -> None:
    assert steps_that_left_it_listening(store.list_runs, by) == []


@pytest.mark.parametrize("by", [by_handler, by_ctrl_c])
def test_what_struck_at_the_end_of_a_call_that_failed_left_it_listening_for_ever(
    store: WorkspaceStore, by: Callable[[FrameType], None]
) -> None:
    def fails() -> None:
        with contextlib.suppress(NotFoundError):
            store.complete_run("no such run")

    assert steps_that_left_it_listening(fails, by) == []


@pytest.mark.parametrize("by", [by_handler, by_ctrl_c])
def test_what_struck_at_the_end_of_a_block_left_it_listening_for_ever(
    store: WorkspaceStore, by: Callable[[FrameType], None]
) -> None:
    def block() -> None:
        with store.unit_of_work():
            pass

    assert steps_that_left_it_listening(block, by) == []


@pytest.mark.parametrize("by", [by_handler, by_ctrl_c])
def test_what_struck_while_a_block_was_refused_left_it_listening_for_ever(
    store: WorkspaceStore, by: Callable[[FrameType], None]
) -> None:
    uow = store.unit_of_work()
    store.close()

    def block() -> None:
        with contextlib.suppress(StoreClosedError), uow:
            pass

    assert steps_that_left_it_listening(block, by) == []


def test_what_a_handler_cut_off_before_it_could_end_kept_its_turn_and_listened_for_ever(store: WorkspaceStore) -> None:
    def block() -> None:
        with store.unit_of_work() as uow:
            uow.runs.add("half done")

    gc.disable()  # So that nothing is freed by chance.
    try:
        assert is_struck(block, by_handler, lambda name: name == "UnitOfWork.__exit__")
        store.begin_run("the next one")
        store.list_runs()
    finally:
        gc.enable()
    assert signal.getsignal(signal.SIGUSR1) is deadline
    assert store.list_runs()["name"].to_list() == ["the next one"]


def test_what_a_handler_raised_was_kept_by_the_next_calls(store: WorkspaceStore) -> None:
    boundary = CallBoundary()
    boundary.listen()
    with pytest.raises(DeadlineError):
        signal.raise_signal(signal.SIGUSR1)
    assert len(boundary.heard) == 1
    del boundary  # It was cut off.
    gc.collect()
    store.list_runs()
    assert signal.getsignal(signal.SIGUSR1) is deadline


def test_what_another_thread_was_just_freeing_was_called_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store.duckdb").touch()
    is_freed, may_end, collections = threading.Event(), threading.Event(), count(1)

    class CutOff:
        def __init__(self) -> None:
            self.file = (tmp_path / "store.duckdb").open()
            self.itself = self

        def __del__(self) -> None:
            is_freed.set()
            may_end.wait()
            self.file.close()

    def collect() -> None:
        gc.collect()  # It does nothing, as long as the other one is at it.
        if next(collections) == 2:
            may_end.set()

    def free() -> None:
        CutOff()
        gc.collect()

    monkeypatch.setattr(call_boundary, "gc", SimpleNamespace(collect=collect, get_stats=gc.get_stats))
    thread = threading.Thread(target=free)
    thread.start()
    is_freed.wait()
    try:
        refuse_if_open_here(tmp_path / "store.duckdb")
    finally:
        may_end.set()
        thread.join()


def test_a_handlers_error_was_a_fault_that_a_check_found(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(uow: UnitOfWork) -> list[object]:
        signal.raise_signal(signal.SIGUSR1)
        return []

    monkeypatch.setattr(check, "_places", part)
    with pytest.raises(DeadlineError):
        store.check()


def test_ctrl_c_in_a_statement_was_a_fault_that_a_check_found(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(uow: UnitOfWork) -> list[object]:
        raise RuntimeError(call_boundary.INTERRUPTED)  # As the engine does.

    monkeypatch.setattr(check, "_places", part)
    with pytest.raises(KeyboardInterrupt):
        store.check()
