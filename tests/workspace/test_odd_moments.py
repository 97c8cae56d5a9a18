"""Files swapped under a transaction, handlers in the middle of a call, forks while a thread waits, lost lines."""

import os
import pickle
import stat
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from programs import HOLDS, Programs, ends_well, names, run, says, tell
from sqlalchemy.orm import Session

from nirs4all_store import StoreError, WorkspaceBusyError, WorkspaceCorruptError, WorkspaceStore
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE, Lease


def test_a_commit_was_acknowledged_into_another_workspace_that_took_the_folders_place(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        with WorkspaceStore(tmp_path / name) as store:
            store.begin_run(name)
    refused = pytest.raises(WorkspaceCorruptError, match="nothing was written")
    with WorkspaceStore(tmp_path / "mine") as store, refused, store.transaction():
        store.begin_run("lost")
        (tmp_path / "mine").rename(tmp_path / "moved")
        (tmp_path / "other").rename(tmp_path / "mine")
    assert (names(tmp_path / "mine"), names(tmp_path / "moved")) == (["other"], ["mine"])


def test_a_commit_was_acknowledged_into_a_backup_that_took_the_databases_place(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("kept")
        store.backup(tmp_path / "backup")
        with pytest.raises(WorkspaceCorruptError, match="nothing was written"), store.transaction():
            store.begin_run("lost")
            (tmp_path / "backup" / "store.duckdb").replace(tmp_path / "w" / "store.duckdb")
    assert names(tmp_path / "w") == ["kept"]


class Handler:
    """Calls the store at one moment of another call, as a signal's handler or a finalizer would."""

    def __init__(self, store: WorkspaceStore, moment: int) -> None:
        self.store = store
        self.moment = moment
        self.saved: list[str] = []
        self.refused: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or "nirs4all_store" not in frame.f_code.co_filename:
            return
        self.moment -= 1
        if self.moment == 0:
            sys.setprofile(None)
            try:
                self.saved.append(self.store.begin_run("by the handler"))
            except StoreError as error:
                self.refused.append(str(error))


def test_what_a_handler_saved_in_the_middle_of_a_call_once_was_lost(tmp_path: Path) -> None:
    saved: list[str] = []
    refused: list[str] = []
    with WorkspaceStore(tmp_path, timeout=5) as store:
        store.begin_run("first")
        for moment in range(1, 1000):
            handler = Handler(store, moment)
            sys.setprofile(handler)
            try:
                saved.append(store.begin_run("by the caller"))
            finally:
                sys.setprofile(None)
            saved += handler.saved
            refused += handler.refused
            if handler.moment > 0:
                break
    with WorkspaceStore(tmp_path) as store:
        there = set(store.list_runs(limit=None)["run_id"])
    assert set(saved) <= there
    assert len(refused) > 10
    assert all("in the middle" in message for message in refused), refused
    assert {"by the handler", "by the caller"} <= set(names(tmp_path))


def test_an_exception_of_a_handler_once_was_swallowed_by_a_commit(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadlineError(Exception):
        pass

    real = Session.commit

    def commit(session: Session) -> None:
        real(session)
        raise DeadlineError  # As a handler may at any moment; here the commit has happened.

    with monkeypatch.context() as once, pytest.raises(DeadlineError):
        once.setattr(Session, "commit", commit)
        store.begin_run("kept")
    store.begin_run("goes on")
    assert store.list_runs().height == 2


FORKS = """
import os, sys, threading, time, nirs4all_store as n
from nirs4all_store.workspace import scheduler as workspace
workspace.SECONDS_BEFORE_FORK = 0.05
saved = []
def save():
    with n.WorkspaceStore(sys.argv[1], timeout=60) as store:
        saved.append(store.begin_run("by the thread"))
thread = threading.Thread(target=save)
thread.start()
while not os.path.exists(os.path.join(sys.argv[1], ".store.line")):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    sys.stdin.readline()
    os._exit(0)
print("forked", flush=True)
thread.join()
print(*saved, flush=True)
os._exit(0)
"""


def test_a_child_forked_while_a_thread_waited_once_kept_the_lease_of_its_dead_parent(
    tmp_path: Path, others: Programs
) -> None:
    WorkspaceStore(tmp_path / "w").close()
    holder = others.start(HOLDS)
    assert says(holder) == "holds"
    parent = others.start(FORKS)
    assert says(parent) == "forked"
    tell(holder)
    assert len(says(parent)) == 36
    assert parent.wait() == 0
    assert names(tmp_path / "w") == ["by the thread"]
    tell(parent)  # And only now the child ends.
    ends_well(holder)


IDLE = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
store.begin_run("idle")
print("idle", flush=True)
sys.stdin.readline()
"""


def test_an_idle_holder_whose_line_was_removed_once_let_nobody_in(tmp_path: Path, others: Programs) -> None:
    WorkspaceStore(tmp_path / "w").close()
    holder = others.start(IDLE)
    assert says(holder) == "idle"
    assert names(tmp_path / "w") == ["idle"]
    holder_again = others.start(IDLE)
    assert says(holder_again) == "idle"
    (tmp_path / "w" / QUEUE_FILE).unlink()
    assert names(tmp_path / "w") == ["idle", "idle"]
    for process in (holder, holder_again):
        tell(process)
        ends_well(process)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_roots_once_kept_the_owner_of_the_folder_out(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    tmp_path.chmod(0o770)
    Lease(tmp_path, shared=False, timeout=0).release()
    with WorkspaceStore(tmp_path), pytest.raises(WorkspaceBusyError):
        Lease(tmp_path, shared=False, timeout=0)  # It stands in line.
    for name in (LOCK_FILE, QUEUE_FILE):
        status = (tmp_path / name).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (65534, 0o660)


LOOKS = """
import fcntl, os, sys
descriptor = os.open(os.path.join(sys.argv[1], ".store.line"), os.O_RDWR | os.O_CREAT)
fcntl.lockf(descriptor, fcntl.LOCK_SH)
print("looks", flush=True)
sys.stdin.readline()
"""


def test_one_who_was_stopped_while_it_looked_at_the_line_once_made_others_wait_for_ever(
    tmp_path: Path, others: Programs
) -> None:
    WorkspaceStore(tmp_path / "w").close()
    holder, looker = others.start(HOLDS), others.start(LOOKS)
    assert (says(holder), says(looker)) == ("holds", "looks")
    with pytest.raises(WorkspaceBusyError, match="in use by process"):
        WorkspaceStore(tmp_path / "w", timeout=0.2)
    for process in (holder, looker):
        tell(process)
        ends_well(process)


def test_a_run_whose_process_is_gone_once_stayed_running_for_who_had_the_workspace_open(
    tmp_path: Path, others: Programs
) -> None:
    with WorkspaceStore(tmp_path / "w") as mine:
        training = others.start(IDLE)
        assert says(training) == "idle"
        training.kill()
        training.wait()
        with WorkspaceStore(tmp_path / "w"):
            assert mine.list_runs()["status"].to_list() == ["interrupted"]
        with mine.transaction():  # Nobody waits for what may be in the middle of it.
            WorkspaceStore(tmp_path / "w").close()


def test_a_store_that_several_threads_used_first_once_stayed_open(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        travelled = pickle.loads(pickle.dumps(store))
    start = threading.Barrier(4)

    def use() -> None:
        start.wait()
        travelled.list_runs()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    travelled.close()
    assert run("import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1], timeout=0).close()", tmp_path) == ""


def test_a_link_that_was_removed_once_took_those_along_who_had_not_come_by_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "w")
    (tmp_path / "w").mkdir()
    with WorkspaceStore(tmp_path / "link") as by_link, WorkspaceStore(tmp_path / "w") as other:
        (tmp_path / "link").unlink()
        other.begin_run("one")
        by_link.begin_run("two")
        assert names(tmp_path / "w") == ["one", "two"]


def test_where_there_is_no_flock_everything_is_imported_and_one_process_works(tmp_path: Path) -> None:
    program = (
        "import sys; [sys.modules.pop(name) for name in [*sys.modules] if name.startswith('nirs4all_store')]; "
        "sys.modules['fcntl'] = None; import nirs4all_store as n\n"
        "with n.WorkspaceStore(sys.argv[1]) as store:\n"
        "    store.begin_run('one'); store.vacuum(); print(store.list_runs().height)\n"
    )
    assert run(program, tmp_path) == "1\n"
