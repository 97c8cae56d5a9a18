"""A commit that the disk refuses: what is told is true, and the store goes on once it can.

The limit is the kernel's own, on the size of the files that a process writes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from programs import ends_well, programs
from samples import slow
from sqlalchemy.orm import Session

from nirs4all_store import CommitFailedError, TransactionAbortedError, WorkspaceStore
from nirs4all_store.storage import transaction
from nirs4all_store.testing.contract import add_pipeline, add_prediction
from nirs4all_store.workspace.scheduler import Workspace

PROGRAM = """
import json, resource, sys, nirs4all_store as n
from pathlib import Path

folder = Path(sys.argv[1])
store = n.WorkspaceStore(folder)
run_id = store.begin_run("first")

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def ends_with(call):
    try:
        call()
    except n.StoreError as error:
        return type(error).__name__
    finally:
        limit(resource.RLIM_INFINITY)
    return "kept"
"""
LOG_IS_FULL = """
def several():
    with store.transaction():
        for _ in range(3):
            store.begin_run("x" * 100_000)

calls = {
    "new rows": lambda: store.begin_run("x" * 100_000),
    "several": several,
    "a change": lambda: store.complete_run(run_id, {"long": "x" * 100_000}),
}
for extra in (0, 10, 500):
    store.begin_run("small")
    limit((folder / "store.duckdb.wal").stat().st_size + extra)
    end = ends_with(calls[sys.argv[2]])
    assert store.get_run(run_id)["status"] == "running"
    print(json.dumps([end, store.list_runs()["name"].to_list()]))
"""
FILE_IS_FULL = """
told, number = {}, 0
for _ in range(int(sys.argv[2])):
    store.vacuum()
    limit((folder / "store.duckdb").stat().st_size + 12 * 2**20)
    while True:
        number += 1
        def call(number=number):
            # Text that cannot be compressed: a log of 16 MB is folded into a file that may not grow.
            rows = [{"name": f"{number}-{i}", "text": __import__("secrets").token_hex(1_000_000)} for i in range(2)]
            with store.transaction():
                for row in rows:
                    store.begin_run(row["name"], {"text": row["text"]})
        try:
            call()
            told[number] = "kept"
        except n.StoreError as error:
            told[number] = type(error).__name__
            break
    limit(resource.RLIM_INFINITY)
    store.begin_run("after")
store.close()
with n.WorkspaceStore(folder) as again:
    names = again.list_runs(limit=None)["name"].to_list()
    print(json.dumps([told, names, again.check(deep=True).is_sound]))
"""


@pytest.mark.parametrize(
    ("what", "end"),
    [
        ("new rows", "TransactionAbortedError"),
        ("several", "TransactionAbortedError"),
        ("a change", "CommitFailedError"),
    ],
)
def test_a_commit_for_which_the_log_has_no_room_says_what_became_of_it(tmp_path: Path, what: str, end: str) -> None:
    with programs(tmp_path) as others:
        lines = ends_well(others.start(PROGRAM + LOG_IS_FULL, what)).splitlines()
    assert [json.loads(line) for line in lines] == [[end, ["small"] * count + ["first"]] for count in (1, 2, 3)]


@pytest.mark.parametrize("times", [1, slow(3)])
def test_a_commit_whose_log_cannot_be_folded_in_says_what_became_of_it(tmp_path: Path, times: int) -> None:
    with programs(tmp_path) as others:
        told, names, is_sound = json.loads(ends_well(others.start(PROGRAM + FILE_IS_FULL, times)))
    assert is_sound
    assert names.count("after") == times
    assert len(set(told.values())) > 1
    for number, end in told.items():
        rows = [name for name in names if name.startswith(f"{number}-")]
        assert len(rows) in {"kept": (2,), "TransactionAbortedError": (0,)}.get(end, (0, 2)), (number, end)


def test_a_commit_that_failed_once_waited_for_the_whole_timeout_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, timeouts = [0.0], []
    enter, reopen = Workspace.enter, Workspace.reopen

    def enter_late(workspace: Workspace, *args: Any, **kwargs: Any) -> Any:
        now[0] += 6
        return enter(workspace, *args, **kwargs)

    def reopen_within(workspace: Workspace, turn: Any, timeout: float) -> None:
        timeouts.append(timeout)
        reopen(workspace, turn, timeout)

    def refuse(_: Session) -> None:
        raise duckdb.IOException("the disk is full")

    with WorkspaceStore(tmp_path, timeout=10) as store:
        monkeypatch.setattr(transaction, "time", SimpleNamespace(monotonic=lambda: now[0]), raising=False)
        monkeypatch.setattr(Workspace, "enter", enter_late)
        monkeypatch.setattr(Workspace, "reopen", reopen_within)
        monkeypatch.setattr(Session, "commit", refuse)
        with pytest.raises(TransactionAbortedError, match="the disk is full"):
            store.begin_run("r")
        assert timeouts == [4.0]


@contextmanager
def a_commit_that_fails(monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> Iterator[None]:
    """Let the engine fail in a commit that it has kept, or not; see that nobody is told what is not known."""
    commit = Session.commit

    def fails(session: Session) -> None:
        if is_kept:
            commit(session)
        raise duckdb.IOException("the disk is full")

    with monkeypatch.context() as full, pytest.raises(CommitFailedError):
        full.setattr(Session, "commit", fails)
        yield


def test_a_commit_whose_new_row_it_deleted_again_was_told_as_undone(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_commit_that_fails(monkeypatch, is_kept=True), store.transaction():
        run_id = store.begin_run("r")
        assert store.list_runs().height == 1
        store.delete_run(run_id)


def test_a_commit_of_arrays_was_told_as_kept_since_there_were_some_before(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pipeline_id = add_pipeline(store)
    prediction_id = add_prediction(store, pipeline_id)
    store.save_prediction_arrays(prediction_id, [1.0], [1.0])
    with a_commit_that_fails(monkeypatch, is_kept=False):
        store.save_prediction_arrays(prediction_id, [2.0], [2.0])


def test_a_commit_was_told_as_kept_since_an_earlier_one_of_the_same_unit_of_work_was(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.unit_of_work() as uow:
        run_id = uow.runs.add("r")
        uow.commit()
        uow.runs.complete(run_id)
        with a_commit_that_fails(monkeypatch, is_kept=False):
            uow.commit()
