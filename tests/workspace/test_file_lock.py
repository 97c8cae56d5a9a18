"""One process writes or several read; who must wait is told for whom, and a dead process holds nothing."""

import errno
import fcntl
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import pytest
from programs import Process, programs, run, says, tell

from nirs4all_store import ReadOnlyError, WorkspaceBusyError, WorkspaceStore, restore_workspace
from nirs4all_store.workspace.file_lock import LOCK_FILE, Lease

HOLD = """
import sys
from pathlib import Path
from nirs4all_store.workspace.file_lock import Lease
lease = Lease(Path(sys.argv[1]), shared=sys.argv[2] == "shared", timeout=0)
print("holds", flush=True)
for line in sys.stdin:
    lease.release()
    print("released", flush=True)
"""
WAIT = """
import sys
from pathlib import Path
from nirs4all_store import WorkspaceBusyError
from nirs4all_store.workspace.file_lock import Lease
try:
    Lease(Path(sys.argv[1]), shared=False, timeout=0)
except WorkspaceBusyError:
    print("busy", flush=True)
Lease(Path(sys.argv[1]), shared=False, timeout=300)
print("holds", flush=True)
"""
Start = Callable[..., Process]


def test_a_lease_that_could_not_be_unlocked_was_kept_by_the_error_that_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(file: FileIO, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        flock(file, operation)

    flock = fcntl.flock
    WorkspaceStore(tmp_path / "w").close()
    with WorkspaceStore(tmp_path / "w") as store:
        store.backup(tmp_path / "b")
    monkeypatch.setattr(fcntl, "flock", refuses)
    restore_workspace(tmp_path / "b", tmp_path / "w")
    WorkspaceStore(tmp_path / "w", timeout=0).close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start programs on the folder of the test; those that still run at its end are killed."""
    with programs(tmp_path) as given:
        yield given.start


def take(folder: Path, *, shared: bool = False) -> None:
    Lease(folder, shared=shared, timeout=0).release()


def test_a_writer_keeps_writers_and_readers_out(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    for shared in (False, True):
        with pytest.raises(WorkspaceBusyError):
            take(tmp_path, shared=shared)


def test_who_must_wait_is_told_the_process_the_host_and_the_command(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    with pytest.raises(TimeoutError) as caught:
        take(tmp_path)
    message = str(caught.value)
    assert f"process {holder.pid} on {socket.gethostname()} (`-c {tmp_path} exclusive`" in message
    assert str(tmp_path) in message
    assert "waited 0 s" in message


def test_a_lease_that_was_refused_leaves_the_holders_name_and_its_hold(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    for _ in range(3):
        with pytest.raises(WorkspaceBusyError, match=f"process {holder.pid} "):
            take(tmp_path)
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == holder.pid


def test_a_reader_shares_with_readers_and_keeps_writers_out(tmp_path: Path, start: Start) -> None:
    readers = [start(HOLD, "shared"), start(HOLD, "shared")]
    assert [says(reader) for reader in readers] == ["holds", "holds"]
    take(tmp_path, shared=True)
    with pytest.raises(WorkspaceBusyError):
        take(tmp_path)


def test_a_writer_waits_for_the_last_of_the_readers(tmp_path: Path, start: Start) -> None:
    first, second = start(HOLD, "shared"), start(HOLD, "shared")
    assert [says(first), says(second)] == ["holds", "holds"]
    for holder, other in ((first, second), (second, first)):
        tell(holder)
        assert says(holder) == "released"
        if holder is first:
            with pytest.raises(WorkspaceBusyError, match=f"process {other.pid}\\b"):
                take(tmp_path)
    take(tmp_path)


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_lease_ends_with_release(tmp_path: Path, start: Start, mode: str) -> None:
    holder = start(HOLD, mode)
    assert says(holder) == "holds"
    tell(holder)
    assert says(holder) == "released"
    assert holder.poll() is None
    take(tmp_path)


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_lease_ends_with_its_process_even_by_sigkill(tmp_path: Path, start: Start, mode: str) -> None:
    holder = start(HOLD, mode)
    assert says(holder) == "holds"
    with pytest.raises(WorkspaceBusyError):
        take(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)
    assert holder.wait() == -signal.SIGKILL
    take(tmp_path)


def test_who_waits_gets_the_lease_when_it_is_released(tmp_path: Path, start: Start) -> None:
    lease = Lease(tmp_path, shared=False, timeout=0)
    waiter = start(WAIT)
    assert says(waiter) == "busy"
    lease.release()
    assert says(waiter) == "holds"


def test_who_waits_gets_the_lease_of_a_process_that_was_killed(start: Start) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    waiter = start(WAIT)
    assert says(waiter) == "busy"
    holder.kill()
    assert says(waiter) == "holds"


@pytest.mark.parametrize("timeout", [0.0, 0.12])
def test_waiting_ends_at_the_timeout_and_the_error_tells_it(tmp_path: Path, start: Start, timeout: float) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    with pytest.raises(WorkspaceBusyError, match=rf"waited {timeout:g} s"):
        Lease(tmp_path, shared=False, timeout=timeout)
    assert holder.poll() is None


def test_a_refused_lease_leaves_no_open_file_behind(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "exclusive")
    assert says(holder) == "holds"
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(5):
        with pytest.raises(WorkspaceBusyError):
            take(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


def test_two_leases_of_one_process_exclude_each_other_as_well(tmp_path: Path) -> None:
    lease = Lease(tmp_path, shared=False, timeout=0)
    with pytest.raises(WorkspaceBusyError, match=f"process {os.getpid()} "):
        take(tmp_path)
    lease.release()
    take(tmp_path)


def test_a_lock_file_with_other_content_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("not JSON " * 100)
    take(tmp_path)
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_releasing_twice_leaves_the_next_holder_alone(tmp_path: Path) -> None:
    first = Lease(tmp_path, shared=False, timeout=0)
    first.release()
    second = Lease(tmp_path, shared=False, timeout=0)
    first.release()
    with pytest.raises(WorkspaceBusyError):
        take(tmp_path)
    second.release()


def test_where_no_lock_file_can_be_made_one_may_read_but_not_write(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    take(tmp_path, shared=True)
    with pytest.raises(ReadOnlyError, match="read_only=True"):
        take(tmp_path)


LIVES_TOO_LONG = """
import os, sys
from pathlib import Path
from nirs4all_store.workspace.file_lock import Lease

os.lease = Lease(Path(sys.argv[1]), shared=False, timeout=0)
"""


def test_a_lease_that_lived_until_the_end_of_python_complained(tmp_path: Path) -> None:
    assert run(LIVES_TOO_LONG, tmp_path) == ""
