"""Ctrl-C at any moment: it is a KeyboardInterrupt, nothing that was told as kept is lost, and the store goes on."""

import gc
import json
import os
import signal
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import duckdb
import pytest
from programs import ends_well, programs
from samples import slow
from sqlalchemy import Engine

from nirs4all_store import WorkspaceBusyError, WorkspaceStore
from nirs4all_store.engine.duckdb import files, row_io, schema
from nirs4all_store.engine.duckdb.dialect import Connections
from nirs4all_store.storage.transaction_scope import Scope
from nirs4all_store.testing.contract import add_pipeline, add_prediction
from nirs4all_store.workspace.file_lock import Lease

PROGRAM = """
import json, random, signal, sys, threading, nirs4all_store as n

store = n.WorkspaceStore(sys.argv[1], timeout=20)
work = {"write": lambda: kept.append(store.begin_run("r")), "read": store.list_runs}[sys.argv[2]]
kept, ends, rng = [], {}, random.Random(7)
signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(int(sys.argv[3])):
    try:
        try:
            # Python itself drops one that strikes while it frees an object: then another one comes.
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0002, 0.008), 0.2)
            while True:
                work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:
        end = type(error).__name__
        ends[end] = ends.get(end, 0) + 1
        if end != "KeyboardInterrupt":
            print(repr(error), file=sys.stderr)
    there = []
    thread = threading.Thread(target=lambda: there.append(store.begin_run("from another thread")))
    thread.start()
    thread.join()
    assert there
    kept.append(store.begin_run("from this thread"))
store.close()
print(json.dumps([kept, ends]))
"""


@pytest.mark.parametrize("times", [50, slow(150)])
@pytest.mark.parametrize("work", ["write", "read"])
def test_ctrl_c_once_locked_the_workspace_or_was_another_error(tmp_path: Path, work: str, times: int) -> None:
    with programs(tmp_path) as others:
        process = others.start(PROGRAM, work, times)
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    kept, ends = json.loads(printed)
    assert ends == {"KeyboardInterrupt": times}, errors
    with WorkspaceStore(tmp_path, timeout=0) as store:
        there = set(store.list_runs(limit=None)["run_id"].to_list())
        assert set(kept) <= there
        assert store.check(deep=True).is_sound


def test_a_unit_of_work_that_ctrl_c_took_from_its_block_once_kept_every_other_writer_out(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=20) as store, ThreadPoolExecutor(1) as thread:
        uow = store.unit_of_work().__enter__()
        uow.runs.add("half done")
        waiting = thread.submit(store.begin_run, "from another thread")
        waiters = store._workspace._state._waiters  # type: ignore[attr-defined]  # a Condition does not tell
        while not waiters and not waiting.done():
            pass
        del uow
        assert waiting.result(10)
        assert store.begin_run("from this thread")
        assert store.list_runs()["name"].sort().to_list() == ["from another thread", "from this thread"]


def test_a_transaction_that_ctrl_c_left_open_once_ended_the_next_one(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        with store.unit_of_work() as uow:
            bind = uow.session.get_bind()
        assert isinstance(bind, Engine)
        bind.connect().begin()
        gc.collect()  # Nobody holds the connection: it goes back as it is.
        assert store.begin_run("the next one")


STRIKE = """
import sys, threading, nirs4all_store as n

def at(event, name):
    def strike(frame, what, argument):
        if what == event and frame.f_code.co_qualname == name:
            sys.setprofile(None)
            raise KeyboardInterrupt
    return strike

def from_another_thread():
    saved = []
    thread = threading.Thread(target=lambda: saved.append(store.begin_run("another")))
    thread.start()
    thread.join()
    assert saved

store = n.WorkspaceStore(sys.argv[1], timeout=5)
store.begin_run("first")
event, name = sys.argv[3:]
sys.setprofile(at(event, name))
try:
    if sys.argv[2] == "open":
        sys.setprofile(None)
        with store._workspace._lock:
            store._workspace._close()
        sys.setprofile(at(event, name))
        store.begin_run("cut off")
    elif sys.argv[2] == "close":
        store.close()
    else:
        with store.unit_of_work() as uow:
            uow.runs.add("kept")
            uow.commit()
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.setprofile(None)
if sys.argv[2] != "close":
    from_another_thread()
    store.begin_run("this thread")
store.close()
with n.WorkspaceStore(sys.argv[1], timeout=0) as store:
    from_another_thread()
"""


@pytest.mark.parametrize(
    ("work", "event", "name"),
    [
        ("open", "call", "LeasedDatabase._open"),
        ("open", "call", "Lease.__init__"),
        ("close", "call", "FileDatabase.close"),
        ("close", "call", "Lease.release"),
        ("close", "c_return", "Lease.release"),
        ("unit", "call", "Workspace.leave"),
    ],
)
def test_ctrl_c_at_this_step_once_left_something_taken(tmp_path: Path, work: str, event: str, name: str) -> None:
    with programs(tmp_path) as others:
        assert ends_well(others.start(STRIKE, work, event, name)) == "interrupted\n"
        ends_well(others.start("import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1], timeout=0).close()"))


def test_a_lease_that_was_released_in_part_once_closed_the_next_ones_file(tmp_path: Path) -> None:
    def strike(frame: FrameType, event: str, argument: object) -> None:
        is_closed = event == "c_return" and getattr(argument, "__name__", "") == "close"
        if is_closed and frame.f_code.co_qualname == "Lease.release":
            sys.setprofile(None)
            raise KeyboardInterrupt

    lease = Lease(tmp_path, shared=False, timeout=0)
    sys.setprofile(strike)
    with pytest.raises(KeyboardInterrupt):
        lease.release()
    following = Lease(tmp_path, shared=False, timeout=0)
    lease.release()
    with pytest.raises(WorkspaceBusyError):
        Lease(tmp_path, shared=False, timeout=0)
    following.release()


def test_ctrl_c_while_a_writer_waits_once_was_a_runtime_error(tmp_path: Path) -> None:
    def strike(frame: FrameType, event: str, argument: object) -> None:
        if event == "c_return" and getattr(argument, "__name__", "") == "_release_save":
            sys.setprofile(None)
            raise KeyboardInterrupt

    with WorkspaceStore(tmp_path) as store, ThreadPoolExecutor(1) as thread:
        with store.unit_of_work():

            def wait() -> str:
                sys.setprofile(strike)
                return store.begin_run("waits")

            with pytest.raises(KeyboardInterrupt):
                thread.submit(wait).result()
        assert store.begin_run("the next one")


def test_connections_that_are_closed_twice_go_to_one_session_at_a_time() -> None:
    connections = Connections(duckdb.connect, 16)
    first = connections.take()
    first.close()
    second = connections.take()
    first.close()
    assert connections.take()._connection is not second._connection  # type: ignore[attr-defined]  # of `_Connection`


def test_a_lease_that_nobody_has_got_once_kept_everybody_out(tmp_path: Path) -> None:
    Lease(tmp_path, shared=False, timeout=0)  # Ctrl-C came before it could be given to anybody.
    Lease(tmp_path, shared=False, timeout=0).release()


def test_an_opening_that_ctrl_c_cut_off_once_kept_everybody_out(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=5) as store:
        workspace = store._workspace
        with workspace._lock:
            workspace._close()
            workspace._exclusive = weakref.ref(Scope(workspace, workspace, write=True))  # Nobody holds it.
            workspace._yield_if_wanted()
        assert store.begin_run("the next one")


def test_a_transaction_that_ctrl_c_left_open_is_closed_when_the_next_unit_of_work_ends(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=5) as store:
        workspace = store._workspace
        workspace._over.release()
        workspace._watcher.join()  # So that its own thread cannot be the one that looks.
        store.unit_of_work().__enter__().session.connection()  # Nobody holds it.
        gc.collect()
        assert store.begin_run("the next one")
        assert not workspace._access.is_held
        assert store.list_runs()["name"].to_list() == ["the next one"]


class Busy:
    """A connection that Ctrl-C strikes in the middle of a statement, which goes on until somebody stops it.

    What the main thread executes hears nothing, and comes to its end.
    """

    def __init__(self, connection: Any, begins: str, is_stopped: threading.Event) -> None:
        self._connection = connection
        self._begins = begins
        self._is_stopped = is_stopped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        self._strike(statement)
        return self._connection.execute(statement, *parameters)

    def sql(self, statement: str, params: Any = None) -> Any:
        self._strike(statement)
        return self._connection.sql(statement, params=params)

    def interrupt(self) -> None:
        self._is_stopped.set()

    def _strike(self, statement: str) -> None:
        if statement.startswith(self._begins) and threading.current_thread() is not threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)
            self._is_stopped.wait()
            raise duckdb.InterruptException("it was stopped")


@pytest.mark.parametrize(
    ("work", "module", "name", "begins"),
    [
        ("vacuum", files, "duckdb", "COPY FROM DATABASE"),
        ("backup", files, "duckdb", "COPY FROM DATABASE"),
        ("backup", schema, "raw_connection", "SELECT concat(count(*)"),
        ("export_predictions_parquet", row_io, "raw_connection", "SELECT predictions"),
    ],
)
def test_ctrl_c_once_was_heard_at_the_end_of_a_long_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, module: Any, name: str, begins: str
) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        add_prediction(store, add_pipeline(store)[1])
        arguments = [] if work == "vacuum" else [tmp_path / "out"]
        real, when = getattr(module, name), (begins, threading.Event())
        with monkeypatch.context() as patch:
            if name == "duckdb":
                busy = {**vars(real), "connect": lambda *args, **kwargs: Busy(real.connect(*args, **kwargs), *when)}
                patch.setattr(module, name, SimpleNamespace(**busy))
            else:
                patch.setattr(module, name, lambda session: Busy(real(session), *when))
            with pytest.raises(KeyboardInterrupt):
                getattr(store, work)(*arguments)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]
        getattr(store, work)(*arguments)
        assert store.check().is_sound
