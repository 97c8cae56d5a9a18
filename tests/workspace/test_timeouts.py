"""`timeout` bounds every wait: for processes, for threads that open, close or upgrade, and for all of them in turn."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from programs import HOLDS, Programs, ends_well, says, tell
from samples import all_but_few, slow

from nirs4all_store import (
    WorkspaceBusyError,
    WorkspaceStore,
    failpoints,
    inspect_workspace,
    recover_workspace,
    upgrade_workspace,
)
from nirs4all_store.engine.duckdb.file_database import MAX_NEW_KEYS
from nirs4all_store.failpoints import Failpoint
from nirs4all_store.storage.transaction_scope import locked
from nirs4all_store.testing.contract import X, add_chain, add_pipeline
from nirs4all_store.workspace import registry


class Steps:
    """A step of a call that goes on for as long as the test wants."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, *_: Any) -> None:
        self.begun.set()
        assert self.may_end.wait(60)


@contextmanager
def going_on(work: Callable[[Steps], object]) -> Iterator[Steps]:
    """Let a thread be in the middle of something for the length of a block."""
    steps = Steps()
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(work, steps)
        try:
            assert steps.begun.wait(60) or thread.result()
            yield steps
        finally:
            steps.may_end.set()
        thread.result()


def test_who_opened_beside_a_thread_that_upgraded_waited_for_its_end_whatever_the_timeout(old: Path) -> None:
    def upgrades(steps: Steps) -> None:
        upgrade_workspace(old, progress=steps)

    with going_on(upgrades):  # It ends only after all of these have given up.
        for opens in (
            lambda: WorkspaceStore(old, timeout=0.1),
            lambda: WorkspaceStore(old, timeout=0.1, read_only=True),
            lambda: inspect_workspace(old, timeout=0.1),
            lambda: recover_workspace(old, timeout=0.1),
            lambda: upgrade_workspace(old, timeout=0.1),
        ):
            with pytest.raises(WorkspaceBusyError, match="another thread of this process"):
                opens()
    WorkspaceStore(old, timeout=0.1).close()


def test_who_closed_beside_a_thread_that_did_waited_for_its_end(tmp_path: Path) -> None:
    first, second = WorkspaceStore(tmp_path, timeout=0.1), WorkspaceStore(tmp_path, timeout=0.1)

    def opens(steps: Steps) -> None:
        (place,) = registry.entries_with(lambda workspace: workspace is first._workspace)
        with locked(place.lock, time.monotonic() + 60, tmp_path):
            steps()

    with going_on(opens), pytest.raises(WorkspaceBusyError):
        first.close()
    for store in (first, second):
        store.close()


@pytest.mark.parametrize(
    "call",
    all_but_few(["vacuum", "backup", "begin_run", "list_runs", "sql", "close"], ["vacuum", "list_runs", "close"]),
)
def test_what_waits_for_a_process_and_a_thread_waits_no_longer_for_both(
    tmp_path: Path, others: Programs, call: str
) -> None:
    """No moment is measured: each wait is given what is left, as the message of the last one says."""
    store = WorkspaceStore(tmp_path / "w", timeout=0.6)
    store.begin_run("r")
    holder = others.start(HOLDS)
    assert says(holder) == "holds"
    calls: dict[str, Callable[[], object]] = {
        "vacuum": store.vacuum,
        "backup": lambda: store.backup(tmp_path / "b"),
        "begin_run": lambda: store.begin_run("r"),
        "list_runs": store.list_runs,
        "sql": lambda: store.sql("SELECT 1"),
        "close": store.close,
    }
    if call == "close":  # It has given the database away, and needs nobody.
        calls[call]()
    else:
        with pytest.raises(WorkspaceBusyError, match=f"process {holder.pid}"):
            calls[call]()
    tell(holder)
    ends_well(holder)
    store.close()


def hands_over(store: WorkspaceStore) -> None:
    with store.transaction():
        store.begin_run("by who hands over")
        store._workspace._close_requested = True  # Another process wants it.


def full(store: WorkspaceStore) -> None:
    store.begin_run("the last one")
    store._workspace.database.new_keys = MAX_NEW_KEYS + 1
    store.begin_run("by who opens it anew")


def forks(store: WorkspaceStore) -> None:
    store.begin_run("by who forks")
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("work", [hands_over, *(slow(work) for work in (full, forks))])
def test_who_called_beside_a_thread_that_folded_the_log_in_waited_for_its_end_whatever_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[WorkspaceStore], None]
) -> None:
    with WorkspaceStore(tmp_path, timeout=60) as patient, WorkspaceStore(tmp_path, timeout=0.5) as store:
        chain_id = add_chain(patient, add_pipeline(patient)[1])

        def folds(steps: Steps) -> None:
            def holds_up(point: Failpoint) -> None:
                if point is Failpoint.FOLDING:
                    monkeypatch.setattr(failpoints, "on_hit", None)
                    steps()

            monkeypatch.setattr(failpoints, "on_hit", holds_up)
            work(patient)

        with going_on(folds):  # It ends only after all of these have given up.
            for call in (
                lambda: store.begin_run("r"),
                store.list_runs,
                lambda: store.sql("SELECT 1"),
                store.vacuum,
                lambda: store.replay_chain(chain_id, X),
                lambda: WorkspaceStore(tmp_path, timeout=0.5, read_only=True),
            ):
                with pytest.raises(WorkspaceBusyError, match=r"others are still using|another thread"):
                    call()
        store.begin_run("afterwards")
        assert "afterwards" in store.list_runs()["name"].to_list()


def test_who_closed_beside_a_thread_that_folded_the_log_in_waited_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WorkspaceStore(tmp_path, timeout=0.5)

    def folds(steps: Steps) -> None:
        monkeypatch.setattr(failpoints, "on_hit", lambda point: steps() if point is Failpoint.FOLDING else None)
        hands_over(store)

    with going_on(folds), pytest.raises(WorkspaceBusyError):
        store.close()
    store.close()


def test_a_unit_of_work_that_begins_while_the_log_is_folded_in_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store, ThreadPoolExecutor(1) as thread:
        waiting: list[Any] = []

        def folds(point: Failpoint) -> None:
            if point is Failpoint.FOLDING:
                monkeypatch.setattr(failpoints, "on_hit", None)
                waiting.append(thread.submit(store.begin_run, "waits"))
                waiters = store._workspace._state._waiters  # type: ignore[attr-defined]  # a Condition does not tell
                while not waiters and not waiting[0].done():
                    pass

        monkeypatch.setattr(failpoints, "on_hit", folds)
        hands_over(store)
        assert waiting[0].result(60)  # Half a second is waited for a lock in any case.
