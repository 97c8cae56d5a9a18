"""The database of a workspace, and who is inside it, after something has come in between."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from programs import run

from nirs4all_store import (
    CommitFailedError,
    OutputPathError,
    StoreError,
    UnitOfWorkError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceOpenHereError,
    WorkspaceStore,
    failpoints,
)
from nirs4all_store.call_boundary import INTERRUPTED
from nirs4all_store.engine.duckdb.file_database import FileDatabase
from nirs4all_store.engine.duckdb.posix_lock import refuse_if_open_here
from nirs4all_store.failpoints import Failpoint
from nirs4all_store.storage.transaction_scope import LEAST_SECONDS, Condition, locked
from nirs4all_store.testing.contract import add_pipeline, add_prediction
from nirs4all_store.workspace import database_file, registry
from nirs4all_store.workspace.file_lock import Lease
from nirs4all_store.workspace.leased_database import LeasedDatabase


class Opened:
    """Stands in for a database, whose closing fails at first where that is wanted."""

    is_in_place = True

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        if self.closed <= self.failures:
            raise ZeroDivisionError


def holding(folder: Path, *ends: BaseException) -> LeasedDatabase:
    """Return one whose database opens only after some errors."""
    left = [*ends]

    def opener(*_: Any, **__: Any) -> FileDatabase:
        if left:
            raise left.pop(0)
        return cast(FileDatabase, Opened())

    return LeasedDatabase(folder, opener, read_only=False)


def fails(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


def is_free(folder: Path) -> bool:
    """Tell whether nobody holds the lease of a folder."""
    try:
        Lease(folder, shared=False, timeout=0).release()
    except WorkspaceBusyError:
        return False
    return True


def without_watcher(store: WorkspaceStore) -> None:
    """End the thread of a workspace that could be the one that looks."""
    store._workspace._over.release()
    store._workspace._watcher.join()


def test_a_program_that_had_the_file_open_for_a_moment_was_an_error(tmp_path: Path) -> None:
    held = holding(tmp_path, WorkspaceBusyError("a program has it open"))
    held.acquire(time.monotonic() + 60)
    assert held.is_held
    held.release()


def test_what_this_process_has_open_itself_was_waited_for(tmp_path: Path) -> None:
    held = holding(tmp_path, WorkspaceOpenHereError("it is open through duckdb itself"))
    with pytest.raises(WorkspaceOpenHereError):
        held.acquire(time.monotonic() + 60)


def test_a_database_that_did_not_open_kept_its_lease(tmp_path: Path) -> None:
    held = holding(tmp_path, WorkspaceCorruptError("it is damaged"))
    with pytest.raises(WorkspaceCorruptError):
        held.acquire(time.monotonic())
    assert is_free(tmp_path)
    assert not held.is_open


def test_a_database_that_was_half_closed_was_used_and_never_closed(tmp_path: Path) -> None:
    database = Opened(failures=1)
    held = LeasedDatabase(tmp_path, lambda *_, **__: cast(FileDatabase, database), read_only=False)
    held.acquire(time.monotonic())
    with pytest.raises(ZeroDivisionError) as kept:
        held.release()
    assert not held.is_held
    assert not is_free(tmp_path)
    held.release()
    assert database.closed == 2
    assert is_free(tmp_path)
    del kept


def test_a_lease_that_was_half_released_stayed_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = holding(tmp_path)
    held.acquire(time.monotonic())
    with monkeypatch.context() as pressed, pytest.raises(ZeroDivisionError) as kept:
        pressed.setattr(held._lease, "release", fails)
        held.release()
    held.release()
    assert is_free(tmp_path)
    del kept


def test_a_workspace_that_was_half_closed_stayed_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WorkspaceStore(tmp_path).close()
    store = WorkspaceStore(tmp_path, read_only=True)
    without_watcher(store)
    with monkeypatch.context() as pressed, pytest.raises(ZeroDivisionError) as kept:
        pressed.setattr(store._workspace._access, "release", fails)
        store.close()
    store.close()
    assert is_free(tmp_path)
    del kept


@pytest.mark.in_a_folder
def test_an_engine_that_was_broken_stayed_open(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.list_runs()
    before = store._workspace.database
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError), store.unit_of_work():
        broken.setattr(FileDatabase, "is_alive", False)
        raise ZeroDivisionError
    store.list_runs()
    assert store._workspace.database is not before


def test_who_compacted_closed_the_database_under_a_reader(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store, ThreadPoolExecutor(1) as thread:
        reading = store._reading()
        thread.submit(reading.__enter__).result()
        with pytest.raises(WorkspaceBusyError, match="others are still using"):
            store.vacuum()
        thread.submit(reading.__exit__, None, None, None).result()


def test_a_lease_that_ctrl_c_had_left_kept_its_own_holder_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = holding(tmp_path)
    with monkeypatch.context() as pressed, pytest.raises(ZeroDivisionError):
        pressed.setattr(held, "_open", fails)
        held.acquire(time.monotonic())
    held.acquire(time.monotonic())
    held.release()


def test_a_lease_that_ctrl_c_had_left_kept_everybody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore(tmp_path) as store:
        workspace = store._workspace
        without_watcher(store)
        with workspace._lock:
            workspace._close()
        with monkeypatch.context() as pressed, pytest.raises(ZeroDivisionError):
            pressed.setattr(workspace._access, "_open", fails)
            workspace._access.acquire(time.monotonic())
        workspace._yield_if_wanted()
        assert is_free(tmp_path)


def test_one_who_could_not_open_for_writing_made_readers_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path, read_only=True) as reader:
        with monkeypatch.context() as gone, pytest.raises(ZeroDivisionError):
            gone.setattr(reader._workspace._access, "_opener", fails)
            WorkspaceStore(tmp_path)
        assert reader._workspace.read_only


def test_a_folder_that_was_moved_while_nobody_had_it_open_could_not_be_used_by_its_new_name(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "old") as store:
        store.begin_run("before")
        without_watcher(store)
        with store._workspace._lock:
            store._workspace._close()
        (tmp_path / "old").rename(tmp_path / "new")
        with WorkspaceStore(tmp_path / "new") as moved:
            assert moved.list_runs()["name"].to_list() == ["before"]


def due(store: WorkspaceStore) -> None:
    """Let it be as if another process wanted the workspace."""
    store._workspace._close_requested = True


def at_the_end_of_a_hand_over(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]
) -> None:
    """Do something as a signal's handler would, while its thread hands over."""
    done = []

    def handles(point: Failpoint) -> None:
        if point is Failpoint.FOLDED and not done:
            done.append(point)
            handler()

    monkeypatch.setattr(failpoints, "on_hit", handles)
    with store.transaction():
        store.begin_run("by the caller")
        due(store)
    monkeypatch.undo()
    assert done


@pytest.mark.parametrize("call", ["open", "vacuum"])
def test_a_handler_that_called_while_its_thread_handed_over_waited_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def handler() -> None:
        with pytest.raises(UnitOfWorkError, match="in the middle of another call"):
            WorkspaceStore(tmp_path, timeout=0) if call == "open" else store.vacuum()

    with WorkspaceStore(tmp_path, timeout=0) as store:
        at_the_end_of_a_hand_over(store, monkeypatch, handler)


def test_a_database_that_could_not_be_closed_kept_its_workspace_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store:
        without_watcher(store)
        store.begin_run("first")
        with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError) as kept:
            broken.setattr(store._workspace._access, "release", fails)
            due(store)
            store._workspace._yield_if_wanted()
        store._workspace._yield_if_wanted()
        assert store.list_runs().height == 1
        del kept


def test_those_who_came_while_another_process_waited_kept_it_waiting(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store, ThreadPoolExecutor(1) as thread:
        with store._reading():
            due(store)
            with pytest.raises(WorkspaceBusyError, match="others are still using"):
                thread.submit(store.list_runs).result()
        assert thread.submit(store.list_runs).result().is_empty()


def test_a_task_waited_for_another_one_of_its_thread_that_read(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store:

        async def read() -> bool:
            return store.list_runs().is_empty()

        async def both() -> bool:
            with store._reading():
                due(store)
                return await asyncio.create_task(read())

        assert asyncio.run(both())


def test_a_commit_that_failed_closed_the_database_under_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise duckdb.IOException("the disk is full")

    with WorkspaceStore(tmp_path, timeout=0.1) as store, ThreadPoolExecutor(1) as thread:
        reading = store._reading()
        uow = thread.submit(reading.__enter__).result()
        assert thread.submit(uow.runs.list).result().is_empty()
        with monkeypatch.context() as full, pytest.raises(CommitFailedError):
            full.setattr("nirs4all_store.engine.base.FlushingSession.commit", refuses)
            store.begin_run("unknown")
        assert thread.submit(uow.runs.list).result().is_empty()
        thread.submit(reading.__exit__, None, None, None).result()


def test_a_block_whose_commit_failed_kept_readers_out_until_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise duckdb.IOException("the disk is gone")

    with WorkspaceStore(tmp_path, timeout=0) as store, ThreadPoolExecutor(1) as thread, store.unit_of_work() as uow:
        uow.runs.add("unknown")
        with monkeypatch.context() as gone, pytest.raises(CommitFailedError):
            gone.setattr("nirs4all_store.engine.base.FlushingSession.commit", refuses)
            gone.setattr(store._workspace._access, "_opener", refuses)
            uow.commit()
        assert thread.submit(store.list_runs).result().is_empty()


def test_ctrl_c_while_one_waited_left_its_lock_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_struck(condition: threading.Condition, timeout: float | None = None) -> None:
        condition.release()
        raise KeyboardInterrupt  # Before it has its lock again.

    condition = Condition()
    monkeypatch.setattr(threading.Condition, "wait", is_struck)
    with condition, pytest.raises(KeyboardInterrupt):
        condition.wait()


def test_a_look_that_failed_was_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore(tmp_path) as store:
        looked = threading.Semaphore(0)

        def look() -> None:
            looked.release()
            raise ZeroDivisionError

        with monkeypatch.context() as broken:
            broken.setattr(store._workspace, "_yield_if_wanted", look)
            assert all(looked.acquire(timeout=10) for _ in range(2))


def test_what_had_not_begun_was_ended_after_a_fork(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        store._workspace.after_fork()  # Ctrl-C came before it had begun.
        store.begin_run("afterwards")


def test_what_nobody_holds_was_interrupted(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store, store._workspace._lock:
        store._workspace._close()
        store._workspace.interrupt()


def test_a_writer_that_gave_up_kept_its_place_in_the_line_of_writers(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store, ThreadPoolExecutor(1) as thread:
        writing = store.unit_of_work()
        thread.submit(writing.__enter__).result()
        with pytest.raises(WorkspaceBusyError) as kept:
            store.begin_run("too late")
        thread.submit(writing.__exit__, None, None, None).result()
        assert store.begin_run("afterwards")
        del kept


def test_a_unit_of_work_that_could_not_begin_kept_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore(tmp_path, timeout=0) as store:
        with monkeypatch.context() as pressed, pytest.raises(ZeroDivisionError) as kept:
            pressed.setattr(FileDatabase, "session", fails)
            store.begin_run("cut off")
        assert store.begin_run("afterwards")
        del kept


def test_what_had_been_rolled_back_beside_a_replaced_database_was_committed_later(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        with store.unit_of_work() as uow:
            uow.runs.add("lost")
            (tmp_path / "store.duckdb").rename(tmp_path / "moved")
            with pytest.raises(WorkspaceCorruptError):
                uow.commit()
            (tmp_path / "moved").rename(tmp_path / "store.duckdb")
            uow.commit()
        assert store.list_runs().is_empty()


def test_ctrl_c_before_a_commit_was_an_error_that_programs_catch(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise RuntimeError(INTERRUPTED)

    with pytest.raises(KeyboardInterrupt), store.unit_of_work() as uow:
        monkeypatch.setattr(uow._tables, "flush_and_check", interrupted)
        with contextlib.suppress(StoreError):  # As a program does that will try again.
            uow.commit()


@pytest.mark.parametrize(
    ("error", "told"), [(ZeroDivisionError(), ZeroDivisionError), (duckdb.IOException("full"), CommitFailedError)]
)
def test_what_a_commit_had_deleted_was_believed_to_be_there_since_it_ended_with_an_error(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    from sqlalchemy.orm import Session

    commit = Session.commit

    def kept(session: Session) -> None:
        commit(session)
        raise error

    run_id, pipeline_id = add_pipeline(store)
    add_prediction(store, pipeline_id)
    with monkeypatch.context() as once, pytest.raises(told):
        once.setattr(Session, "commit", kept)
        store.delete_run(run_id)
    with pytest.raises(StoreError, match=pipeline_id):
        add_prediction(store, pipeline_id)


class Lock:
    """Stands in for a lock that nobody has."""

    def __init__(self) -> None:
        self.waited = -1.0

    def acquire(self, *, timeout: float) -> bool:
        self.waited = timeout
        return True

    def _is_owned(self) -> bool:
        return False


def test_who_had_no_time_was_refused_by_one_who_only_looked(tmp_path: Path) -> None:
    lock = Lock()
    with locked(cast(threading.RLock, lock), time.monotonic() - 1, tmp_path):
        assert lock.waited == LEAST_SECONDS


def test_a_handler_opened_a_place_while_its_thread_did(tmp_path: Path) -> None:
    lock = threading.RLock()
    refused = pytest.raises(UnitOfWorkError)
    with locked(lock, time.monotonic(), tmp_path), refused, locked(lock, time.monotonic(), tmp_path):
        pass


def test_a_handler_called_while_its_thread_looked_who_was_inside(tmp_path: Path) -> None:
    refused = pytest.raises(UnitOfWorkError, match="in the middle of another call")
    with WorkspaceStore(tmp_path) as store, store._workspace._lock, refused:
        store.list_runs()


def test_an_opening_that_failed_left_its_workspace_open(tmp_path: Path) -> None:
    (tmp_path / "store.duckdb").write_text("no database")
    with pytest.raises(WorkspaceCorruptError):
        WorkspaceStore(tmp_path)
    assert not [thread for thread in threading.enumerate() if str(tmp_path) in thread.name]


@pytest.mark.parametrize("is_newer", [False, True])
def test_a_database_that_was_refused_stayed_open(tmp_path: Path, is_newer: bool) -> None:
    WorkspaceStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute(
            "UPDATE alembic_version SET version_num = 'abcdef'" if is_newer else "CREATE VIEW v AS SELECT 1"
        )
    with pytest.raises(StoreError) as kept:
        WorkspaceStore(tmp_path)
    refuse_if_open_here(tmp_path / "store.duckdb")
    del kept


def test_what_a_program_without_a_lease_had_put_in_meanwhile_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import sys, os, nirs4all_store as n; n.WorkspaceStore(sys.argv[1]).begin_run('r'); os._exit(0)", tmp_path)

    def late(path: Path, **options: Any) -> FileDatabase:
        if not options["read_only"]:  # It is looked at by a reader before, since there is a log.
            with duckdb.connect(str(path)) as connection:
                connection.execute("CREATE VIEW v AS SELECT 1")
        return FileDatabase(path, **options)

    monkeypatch.setattr(database_file, "FileDatabase", late)
    with pytest.raises(WorkspaceCorruptError):
        WorkspaceStore(tmp_path)


def test_ctrl_c_after_a_workspace_was_closed_for_a_fork_kept_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path) as store:
        close = store._workspace.close_before_fork

        def pressed() -> None:
            close()
            raise ZeroDivisionError

        monkeypatch.setattr(store._workspace, "close_before_fork", pressed)
        with pytest.raises(ZeroDivisionError):
            registry._close_before_fork()
        registry._go_on_after_fork()
        assert store.begin_run("afterwards")


def test_a_file_in_the_place_of_artifacts_left_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()
    with pytest.raises(OutputPathError):
        WorkspaceStore(tmp_path)
    assert not (tmp_path / "store.duckdb").exists()


FORKS = """
import os, sys, threading, traceback, nirs4all_store as n
from nirs4all_store import failpoints; from nirs4all_store.workspace import scheduler

def is_in(where, thread):
    return any(name == where for _, _, name, _ in traceback.extract_stack(sys._current_frames()[thread.ident]))

def fork():
    child = os.fork()
    if child == 0:
        try:
            n.WorkspaceStore(sys.argv[1]).begin_run("by the child")
        except n.StoreClosedError:
            os._exit(1)
        os._exit(0)
    forked.set()
    print(os.waitpid(child, 0)[1], flush=True)

store, main = n.WorkspaceStore(sys.argv[1]), threading.main_thread()
forked, inside = threading.Event(), threading.Event()
"""
FORKS_BESIDE_A_CALL = (
    FORKS
    + """
def work():
    with store.transaction():
        store.begin_run("by the thread")
        inside.set()
        while not is_in("close_before_fork", main) and not forked.is_set():
            pass

worker = threading.Thread(target=work)
worker.start()
inside.wait()
fork()
worker.join()
"""
)
FORKS_BESIDE_A_HAND_OVER = (
    FORKS
    + """
scheduler.SECONDS_BEFORE_FORK = 0
waiters = store._workspace._state._waiters

def folds(point):
    if point is failpoints.Failpoint.FOLDING:
        failpoints.on_hit = None
        inside.set()
        while not (waiters and is_in("close_before_fork", main)) and not forked.is_set():
            pass

def work():
    with store.transaction():
        store.begin_run("by the thread")
        store._workspace._close_requested = True

failpoints.on_hit = folds
worker = threading.Thread(target=work)
worker.start()
inside.wait()
fork()
worker.join()
"""
)
FORKS_IN_A_CALL = (
    FORKS
    + """
scheduler.SECONDS_BEFORE_FORK = "never"  # Whoever waits for so long fails.
with store.transaction():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""
)
A_CHILD_COMMITS = (
    FORKS
    + """
with store.unit_of_work() as uow:
    uow.runs.add("of the parent")
    child = os.fork()
    if child == 0:
        uow._prepare = lambda: os._exit(1)  # It would go on in what the parent has open.
        try:
            uow.commit()
        except n.UnitOfWorkError:
            os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
)
A_THREAD_OF_A_CHILD_FORKS = (
    FORKS
    + """
child = os.fork()
if child == 0:
    thread = threading.Thread(target=fork, daemon=True)
    thread.start()
    thread.join(20)
    os._exit(thread.is_alive())
print(os.waitpid(child, 0)[1])
"""
)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        pytest.param(FORKS_BESIDE_A_CALL, "0\n", id="beside a call"),
        pytest.param(FORKS_BESIDE_A_HAND_OVER, "0\n", id="beside a hand-over"),
        pytest.param(FORKS_IN_A_CALL, "", id="in a call"),
        pytest.param(A_CHILD_COMMITS, "0\n", id="and commits"),
        pytest.param(A_THREAD_OF_A_CHILD_FORKS, "0\n0\n", id="of a child's thread"),
    ],
)
def test_a_child_could_never_open_what_its_parent_was_at_work_on_or_its_parent_hung(
    tmp_path: Path, program: str, said: str
) -> None:
    assert run(program, tmp_path) == said
