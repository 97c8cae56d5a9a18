"""Who waits for a workspace, in which order, and for how long; what becomes of its lock files meanwhile."""

import errno
import fcntl
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import Process, Programs, programs, run, says

from nirs4all_store import WorkspaceBusyError, WorkspaceCorruptError, WorkspaceError, WorkspaceStore
from nirs4all_store.filesystem import file_types
from nirs4all_store.workspace import file_lock, file_lock_queue
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE, Lease

STANDS = """
import sys
from pathlib import Path
from nirs4all_store.workspace.file_lock import Lease
Lease(Path(sys.argv[1]), shared=False, timeout=300)
print("holds", flush=True)
"""
LOCKS = """
import fcntl, sys
file = open(sys.argv[1] + "/" + sys.argv[2], "r+")
fcntl.lockf(file, fcntl.LOCK_EX, int(sys.argv[3]), int(sys.argv[4]))
print("locks", flush=True)
sys.stdin.readline()
"""


class Clock:
    """Stands in for `time`: nobody waits, and what happens meanwhile is done here."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (file_lock, file_lock_queue):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Programs]:
    """Start other processes on the folder of the test."""
    with programs(tmp_path) as given:
        yield given


@pytest.fixture
def stopped(tmp_path: Path, others: Programs) -> Process:
    """Give a process that is stopped while it stands in line for a lease that is free now."""
    held = Lease(tmp_path, shared=False, timeout=0)
    process = others.start(STANDS)
    while not held.has_waiters:
        pass
    os.kill(process.pid, signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass
    held.release()
    return process


def test_who_came_later_overtook_the_line(
    tmp_path: Path, clock: Clock, stopped: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "STALL_TIMEOUT", math.inf)
    held = []

    def goes_on() -> None:
        if not held:
            os.kill(stopped.pid, signal.SIGCONT)
            held.append(says(stopped))
            stopped.wait()

    clock.meanwhile = goes_on
    Lease(tmp_path, shared=False, timeout=300).release()
    assert held == ["holds"]


def test_one_who_was_stopped_kept_those_behind_it_out_of_a_free_workspace(
    tmp_path: Path, clock: Clock, stopped: Process
) -> None:
    Lease(tmp_path, shared=False, timeout=300).release()
    assert file_lock.STALL_TIMEOUT <= clock.now < 2 * file_lock.STALL_TIMEOUT


def test_who_had_less_time_than_patience_was_told_that_a_free_workspace_is_in_use(
    tmp_path: Path, clock: Clock, stopped: Process
) -> None:
    Lease(tmp_path, shared=False, timeout=file_lock.STALL_TIMEOUT / 2).release()
    assert clock.now >= file_lock.STALL_TIMEOUT / 2


def test_those_behind_passed_a_line_that_went_on_while_they_looked(
    tmp_path: Path, clock: Clock, stopped: Process
) -> None:
    """Somebody has it from one fifth of their patience on for one whole one: only then it is free for that long."""
    with (tmp_path / LOCK_FILE).open() as other:

        def goes_on() -> None:
            has_it = 0.2 <= clock.now / file_lock.STALL_TIMEOUT < 1.2
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB if has_it else fcntl.LOCK_UN)

        clock.meanwhile = goes_on
        Lease(tmp_path, shared=False, timeout=300).release()
    assert clock.now >= 2.2 * file_lock.STALL_TIMEOUT


def test_a_place_that_another_one_has_just_taken_was_an_error(
    tmp_path: Path, others: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / QUEUE_FILE).touch()
    assert says(others.start(LOCKS, QUEUE_FILE, 1, 1)) == "locks"
    last, told = file_lock_queue._last_place, [0]  # When the first one looked, nobody stood there.
    monkeypatch.setattr(file_lock_queue, "_last_place", lambda file: told.pop() if told else last(file))
    with file_lock.FileIO(tmp_path / QUEUE_FILE, "r+") as file:
        assert file_lock_queue.join_queue(file, [], math.inf) == 2


def test_who_could_take_no_place_tried_for_ever(tmp_path: Path, others: Programs, clock: Clock) -> None:
    (tmp_path / QUEUE_FILE).touch()
    assert says(others.start(LOCKS, QUEUE_FILE, 0, 0)) == "locks"

    def tried() -> None:
        assert clock.now < 2

    clock.meanwhile = tried
    with file_lock.FileIO(tmp_path / QUEUE_FILE, "r+") as file:
        file_lock_queue.join_queue(file, [], 1)


def test_a_lock_of_the_whole_line_ended_before_it_began(tmp_path: Path, others: Programs) -> None:
    (tmp_path / QUEUE_FILE).touch()
    assert says(others.start(LOCKS, QUEUE_FILE, 0, 5)) == "locks"
    with file_lock.FileIO(tmp_path / QUEUE_FILE, "r+") as file:
        assert file_lock_queue._locked(file, 0, 0) == file_lock_queue.MAX_PLACE


def test_where_one_kind_of_lock_is_made_of_the_other_the_holder_took_itself_for_one_who_waits(
    tmp_path: Path, others: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "remote_kind", lambda folder: "nfs")
    held = Lease(tmp_path, shared=True, timeout=0)
    assert says(others.start(LOCKS, LOCK_FILE, 0, 0)) == "locks"  # As a server does for another reader's lease.
    assert not held.has_waiters
    held.release()


def test_who_waited_took_the_lease_of_a_lock_file_that_was_removed_meanwhile(tmp_path: Path, clock: Clock) -> None:
    first, later = Lease(tmp_path, shared=False, timeout=0), []

    def replaced() -> None:
        if not later:
            (tmp_path / LOCK_FILE).unlink()
            first.release()
            later.append(Lease(tmp_path, shared=False, timeout=0))

    clock.meanwhile = replaced
    with pytest.raises(WorkspaceBusyError):
        Lease(tmp_path, shared=False, timeout=1)
    later[0].release()


def test_an_idle_holder_whose_lock_file_was_removed_let_nobody_in(tmp_path: Path) -> None:
    held = Lease(tmp_path, shared=False, timeout=0)
    assert not held.has_waiters
    (tmp_path / LOCK_FILE).unlink()
    assert held.has_waiters  # Whoever comes now stands in line at another one.
    held.release()


def test_a_line_that_became_a_link_made_a_commit_an_error_that_was_kept(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        workspace = store._workspace
        workspace._over.release()
        workspace._watcher.join()  # So that its own thread cannot be the one that looks.
        (tmp_path / "elsewhere").touch()
        (tmp_path / "w" / QUEUE_FILE).symlink_to(tmp_path / "elsewhere")
        workspace._access._held_until = 0.0
        run_id = store.begin_run("kept")
        with pytest.raises(WorkspaceCorruptError, match="is a link"):
            store.list_runs()
        (tmp_path / "w" / QUEUE_FILE).unlink()
        assert store.get_run(run_id) is not None


def test_a_file_system_without_locks_was_an_error_without_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: object, operation: int) -> None:
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(WorkspaceError, match="put the workspace on a local disk"):
        Lease(tmp_path, shared=False, timeout=0)


def test_two_who_came_first_at_once_did_not_both_get_a_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(path: str, flags: int) -> int:
        if flags & os.O_EXCL:
            Path(path).touch()  # The other one was faster.
        return file_types.open_without_following(path, flags)

    monkeypatch.setattr(file_lock, "open_without_following", late)
    Lease(tmp_path, shared=False, timeout=0).release()


def test_a_copy_of_its_file_that_a_child_had_kept_a_lease_that_was_given_back(tmp_path: Path) -> None:
    held = Lease(tmp_path, shared=False, timeout=0)
    assert held._file is not None
    copy = os.dup(held._file.fileno())  # One that was forked just then has such a one for a moment.
    held.release()
    Lease(tmp_path, shared=False, timeout=0).release()
    os.close(copy)


def test_a_forked_child_gave_its_parents_lease_back(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from nirs4all_store import WorkspaceBusyError
from nirs4all_store.workspace.file_lock import Lease
lease = Lease(Path(sys.argv[1]), shared=False, timeout=0)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
try:
    Lease(Path(sys.argv[1]), shared=False, timeout=0)
except WorkspaceBusyError:
    print("busy")
lease.release()
del lease
"""
    assert run(program, tmp_path) == "busy\n"


FORKS_WHILE_IT_WAITS = """
import os, sys, threading
from pathlib import Path
from nirs4all_store.workspace import file_lock as lease
folder = Path(sys.argv[1])
def takes():
    taken.append(lease.Lease(folder, shared=False, timeout=300))
    print("holds", flush=True)
taken, thread = [], threading.Thread(target=takes)
thread.start()
while not (folder / lease.QUEUE_FILE).exists():
    pass
if os.fork() == 0:
    print("forked", flush=True)  # The child itself: until it has begun, it has what it was forked with.
    sys.stdin.read()
    os._exit(0)
thread.join()
sys.stdin.read()
"""


def test_a_child_that_was_forked_while_a_thread_waited_kept_the_lease_of_its_dead_parent(
    tmp_path: Path, others: Programs
) -> None:
    held = Lease(tmp_path, shared=False, timeout=0)
    parent = others.start(FORKS_WHILE_IT_WAITS)
    assert says(parent) == "forked"
    held.release()
    assert says(parent) == "holds"
    parent.kill()
    parent.wait()
    Lease(tmp_path, shared=False, timeout=0).release()  # The child is there still.


def test_a_lock_file_that_is_just_being_written_was_an_error(tmp_path: Path) -> None:
    held = Lease(tmp_path, shared=False, timeout=0)
    (tmp_path / LOCK_FILE).write_text(json.dumps({"pid": os.getpid()}))
    with pytest.raises(WorkspaceBusyError, match="only just opened it"):
        Lease(tmp_path, shared=False, timeout=0)
    held.release()


def test_the_last_to_write_its_name_was_taken_for_the_holder_when_it_had_gone(tmp_path: Path) -> None:
    held = Lease(tmp_path, shared=True, timeout=0)
    run(
        "from pathlib import Path\nimport sys\nfrom nirs4all_store.workspace.file_lock import Lease\n"
        "Lease(Path(sys.argv[1]), shared=True, timeout=0).release()",
        tmp_path,
    )
    with pytest.raises(WorkspaceBusyError, match=f"process {os.getpid()}; "):
        Lease(tmp_path, shared=False, timeout=0)
    held.release()
