"""Calls and forks in the middle of calls and forks, and files that are not what their names say."""

import gc
import os
import stat
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest
from programs import HOLDS, Programs, ends_well, names, run, says, tell

from nirs4all_store import (
    CommitFailedError,
    StoreClosedError,
    UnitOfWorkError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceStore,
    failpoints,
)
from nirs4all_store.call_boundary import INTERRUPTED
from nirs4all_store.failpoints import Failpoint
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE, Lease
from nirs4all_store.workspace.scheduler import Workspace

AT_ONCE = """
import os, signal, sys, threading, traceback, nirs4all_store as n

store = n.WorkspaceStore(sys.argv[1], timeout=20)
inside, over = threading.Event(), threading.Event()

def is_in(where, thread):
    return any(name == where for _, _, name, _ in traceback.extract_stack(sys._current_frames()[thread.ident]))

def work(where):
    # Works in a transaction until the main thread, which waits for it there, has called from a signal's handler.
    with store.transaction():
        store.begin_run("by the worker")
        inside.set()
        while not is_in(where, threading.main_thread()):
            pass
        os.kill(os.getpid(), signal.SIGUSR1)
        over.wait()

def during(where, call):
    def handler(*_):
        try:
            call()
            print("called")
        except n.UnitOfWorkError:
            print("refused")
        over.set()
    signal.signal(signal.SIGUSR1, handler)
    worker = threading.Thread(target=work, args=[where])
    worker.start()
    inside.wait()
    return worker

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_handler_that_closed_a_store_while_its_thread_did_once_hung_for_ever(tmp_path: Path) -> None:
    program = AT_ONCE + "worker = during('_exclusively', store.close); store.close(); worker.join(); print('closed')"
    assert run(program, tmp_path) == "refused\nclosed\n"
    assert names(tmp_path) == ["by the worker"]


def test_a_handler_that_forked_while_its_thread_did_once_hung_for_ever(tmp_path: Path) -> None:
    program = AT_ONCE + (
        "worker = during('close_before_fork', fork); fork(); worker.join(); "
        "store.begin_run('afterwards'); store.close()"
    )
    assert run(program, tmp_path) == "called\n"
    assert names(tmp_path) == ["afterwards", "by the worker"]


def test_a_handler_that_saved_while_its_thread_waited_for_its_turn_once_waited_behind_it(tmp_path: Path) -> None:
    program = AT_ONCE + (
        "worker = during('_take_turn', lambda: store.begin_run('by the handler')); store.begin_run('by the caller'); "
        "worker.join(); store.close()"
    )
    assert run(program, tmp_path) == "refused\n"
    assert names(tmp_path) == ["by the caller", "by the worker"]


def test_what_a_handler_saved_while_its_thread_handed_over_once_broke_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def handler(point: Failpoint) -> None:
        if point is Failpoint.FOLDED:
            monkeypatch.undo()
            with pytest.raises(UnitOfWorkError, match="in the middle of another call") as error:
                store.begin_run("by the handler")
            refused.append(error)

    with WorkspaceStore(tmp_path) as store:
        monkeypatch.setattr(failpoints, "on_hit", handler)
        with store.transaction():
            store.begin_run("by the caller")
            store._workspace._close_requested = True  # Another process wants it.
        store.begin_run("afterwards")
    assert len(refused) == 1
    assert names(tmp_path) == ["afterwards", "by the caller"]


def test_a_fork_once_put_a_saving_thread_to_sleep_until_its_timeout(tmp_path: Path) -> None:
    program = """
import os, sys, threading, nirs4all_store as n
store, may_end = n.WorkspaceStore(sys.argv[1], timeout=float("inf")), threading.Event()
def work():
    while not may_end.is_set():
        store.begin_run("by the thread")
workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
for worker in workers:
    worker.start()
for _ in range(15):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
may_end.set()
for worker in workers:
    worker.join(30)
print(*(worker.is_alive() for worker in workers), flush=True)
os._exit(0)
"""
    assert run(program, tmp_path) == "False False\n"


def test_ctrl_c_while_a_fork_waited_for_another_threads_once_made_every_later_fork_hang(tmp_path: Path) -> None:
    program = (
        AT_ONCE
        + """
from nirs4all_store.workspace import scheduler as workspace
workspace.SECONDS_BEFORE_FORK = 0.5
forks = threading.Thread(target=fork)
def press():
    raise KeyboardInterrupt
sys.unraisablehook = lambda _: None  # Python ignores what is raised before a fork.
worker = during("_close_before_fork", press)
forks.start()
while not is_in("close_before_fork", forks):
    pass
fork()
over.set()
again = threading.Thread(target=fork, daemon=True)
for thread in (worker, forks, again):
    if thread is again:
        again.start()
    thread.join(20)
print(again.is_alive(), flush=True)
os._exit(0)
"""
    )
    assert run(program, tmp_path) == "False\n"


WAITS = """
import os, sys, threading, time, nirs4all_store as n
def save(name):
    with n.WorkspaceStore(sys.argv[1], timeout=60) as store:
        store.begin_run(name)
thread = threading.Thread(target=save, args=["by the thread"])
thread.start()
while not os.path.exists(os.path.join(sys.argv[1], ".store.line")):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    save("by the child")
    os._exit(0)
print("forked", flush=True)
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_child_forked_while_a_thread_waited_for_another_process_once_could_never_open_it(
    tmp_path: Path, others: Programs
) -> None:
    WorkspaceStore(tmp_path / "w").close()
    holder = others.start(HOLDS)
    assert says(holder) == "holds"
    parent = others.start(WAITS)
    assert says(parent) == "forked"
    tell(holder)
    for process in (holder, parent):
        ends_well(process)
    assert names(tmp_path / "w") == ["by the child", "by the thread"]


@pytest.mark.parametrize("name", [LOCK_FILE, QUEUE_FILE])
def test_a_link_in_the_place_of_a_lock_file_once_destroyed_or_gave_away_what_it_led_to(
    tmp_path: Path, name: str
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "w"
    victim.write_text("years of work")
    victim.chmod(0o600)
    folder.mkdir(mode=0o777)
    (folder / name).symlink_to(victim)
    with pytest.raises(WorkspaceCorruptError, match="is a link"):
        leases = [Lease(folder, shared=False, timeout=0) for _ in range(2)]  # The second one stands in line.
        del leases
    gc.collect()
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("years of work", 0o600)


def test_another_file_that_was_given_the_name_of_the_lock_once_was_overwritten(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / LOCK_FILE).hardlink_to(tmp_path / "victim")
    Lease(tmp_path, shared=False, timeout=0).release()
    assert (tmp_path / "victim").read_text() == "years of work"


def test_a_lock_file_made_under_a_narrow_umask_once_kept_the_group_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o022)
    try:
        Lease(tmp_path, shared=False, timeout=0).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / LOCK_FILE).stat().st_mode) == 0o664


def test_a_folder_that_was_removed_was_once_said_to_need_the_right_to_write(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceCorruptError, match="was removed"):
        Lease(tmp_path / "gone", shared=False, timeout=0)


def test_what_was_committed_after_the_log_was_removed_once_was_lost(tmp_path: Path) -> None:
    program = (
        "import os, sys, nirs4all_store as n; store = n.WorkspaceStore(sys.argv[1]); store.begin_run('before'); "
        "os.remove(os.path.join(sys.argv[1], 'store.duckdb.wal')); "
        "store.begin_run('first'); store.begin_run('second'); os._exit(0)"
    )
    run(program, tmp_path)
    assert names(tmp_path) == ["before", "first", "second"]


def test_a_folder_that_was_moved_while_open_once_could_not_be_used_by_its_new_name(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path / "old")
    store.begin_run("before")
    (tmp_path / "old").rename(tmp_path / "new")
    with WorkspaceStore(tmp_path / "new") as moved:
        moved.begin_run("after")
    assert names(tmp_path / "new") == ["after", "before"]
    store.close()


def test_a_store_closed_while_another_thread_wrote_once_called_it_an_aborted_transaction(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store, WorkspaceStore(tmp_path, read_only=True):
        late = store.unit_of_work()
        store.close()
        with pytest.raises(StoreClosedError, match="is closed"):
            late.__enter__()


def test_ctrl_c_while_the_log_was_folded_in_once_was_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """An anchor as Ctrl-C leaves it: no test can press at that moment."""

        def execute(self, _: str) -> Any:
            raise RuntimeError(INTERRUPTED)

    store = WorkspaceStore(tmp_path)
    store.begin_run("kept")
    with monkeypatch.context() as pressed, pytest.raises(KeyboardInterrupt):
        pressed.setattr(store._workspace.database, "_anchor", Interrupted())
        store._workspace.database._fold()
    store.close()
    assert names(tmp_path) == ["kept"]


def test_a_commit_beside_a_thread_that_looked_whether_the_engine_lives_once_failed(tmp_path: Path) -> None:
    is_over = threading.Event()

    def look(workspace: Workspace) -> None:
        while not is_over.is_set():
            workspace.mark_broken()

    with WorkspaceStore(tmp_path) as store:
        store.vacuum()  # There is no log afterwards.
        looking = threading.Thread(target=look, args=[store._workspace])
        looking.start()
        try:
            for _ in range(50):
                with store.transaction():
                    assert store.list_runs(limit=1).is_empty()
        finally:
            is_over.set()
            looking.join()


def test_a_commit_that_failed_where_nothing_could_be_opened_again_once_kept_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise duckdb.IOException("the disk is gone")

    with WorkspaceStore(tmp_path, timeout=5) as store:
        with monkeypatch.context() as gone, pytest.raises(CommitFailedError) as kept:
            gone.setattr("nirs4all_store.engine.base.FlushingSession.commit", fails)
            gone.setattr(store._workspace._access, "_opener", fails)
            store.begin_run("unknown")
        assert store.begin_run("afterwards")
        del kept


def test_a_child_was_once_told_of_a_handler_where_it_used_a_unit_of_its_parents(tmp_path: Path) -> None:
    program = (
        "import os, sys, nirs4all_store as n; store = n.WorkspaceStore(sys.argv[1]); unit = store.unit_of_work()\n"
        "child = os.fork()\n"
        "if child:\n    print(os.waitpid(child, 0)[1]); store.close()\nelse:\n"
        "    try:\n        unit.__enter__()\n    except n.StoreClosedError:\n        os._exit(0)\n    os._exit(1)"
    )
    assert run(program, tmp_path) == "0\n"


def test_one_who_could_not_open_for_writing_once_took_it_from_one_who_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise WorkspaceBusyError("another process was faster")

    WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path, read_only=True) as reader:
        workspace, others = reader._workspace, []
        nobody_else = workspace._exclusively

        def late(timeout: float) -> Any:
            monkeypatch.undo()
            others.append(WorkspaceStore(tmp_path))
            monkeypatch.setattr(workspace._access, "acquire", fails)
            return nobody_else(timeout)

        monkeypatch.setattr(workspace, "_exclusively", late)
        with WorkspaceStore(tmp_path) as second, others[0] as first:
            monkeypatch.undo()
            first.begin_run("first")
            second.begin_run("second")
    assert names(tmp_path) == ["first", "second"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
def test_the_first_to_come_to_a_groups_folder_once_kept_the_group_out(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    os.chown(folder, 65533, 65532)
    folder.chmod(0o775)
    program = (
        "import os, sys; from pathlib import Path; from nirs4all_store.workspace.file_lock import Lease\n"
        "os.chdir(sys.argv[1]); os.umask(0o022); os.setgroups([65532]); os.setgid(65531); os.setuid(65531)\n"
        "Lease(Path(), shared=False, timeout=0).release()"
    )
    run(program, folder)
    status = (folder / LOCK_FILE).stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (65532, 0o664)
