"""Processes share a workspace: each has the database when it needs it, and gives it to who waits."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from programs import Programs, ends_well, programs, says, tell
from samples import slow

from nirs4all_store import NotFoundError, WorkspaceBusyError, WorkspaceCorruptError, WorkspaceStore
from nirs4all_store.testing.contract import X, add_chain, add_pipeline, add_prediction

OPEN = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1], read_only="read" in sys.argv[2:])
print(store.begin_run("theirs") if "read" not in sys.argv[2:] else store.list_runs().height, flush=True)
for line in sys.stdin:
    print(store.list_runs().height, flush=True)
"""
IN_A_TRANSACTION = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
with store.transaction():
    print(store.begin_run("theirs"), flush=True)
    sys.stdin.readline()
print("committed", flush=True)
sys.stdin.readline()
"""
MANY = """
import sys, nirs4all_store as n
with n.WorkspaceStore(sys.argv[1]) as store:
    run_id = store.begin_run("r")
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(int(sys.argv[2])):
        pipeline_id = store.begin_pipeline(run_id, str(i))
        artifact_id = store.save_artifact({"shared": i}, "dict", "other", "pickle")
        assert store.get_pipeline(pipeline_id)["name"] == str(i)
        assert store.load_artifact(artifact_id) == {"shared": i}
    print(run_id)
"""
STAND_IN_LINE = """
import sys
from pathlib import Path
from nirs4all_store.workspace.file_lock import Lease
print("comes", flush=True)
Lease(Path(sys.argv[1]), shared=False, timeout=300)
print("holds", flush=True)
sys.stdin.readline()
"""
RAW = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1] + "/store.duckdb")
print("open", flush=True)
sys.stdin.readline()
connection.close()
print("closed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Programs]:
    """Start other processes on the folder of the test."""
    with programs(tmp_path) as given:
        yield given


@pytest.mark.parametrize("options", [{}, slow({"read_only": True})])
def test_a_process_that_has_it_open_and_does_nothing_is_in_nobodys_way(
    tmp_path: Path, others: Programs, options: dict[str, bool]
) -> None:
    other = others.start(OPEN)
    run_id = says(other)
    with WorkspaceStore(tmp_path, **options) as store:
        for count in (1, 2, 3):
            assert store.get_run(run_id) is not None
            if not options:
                store.begin_run("ours")
            tell(other)
            assert says(other) == str(1 if options else 1 + count)


def test_a_reader_that_does_nothing_is_in_no_writers_way(tmp_path: Path, others: Programs) -> None:
    WorkspaceStore(tmp_path).close()
    readers = [others.start(OPEN, "read") for _ in range(2)]
    assert [says(reader) for reader in readers] == ["0", "0"]
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("ours")
        for reader in readers:
            tell(reader)
        assert [says(reader) for reader in readers] == ["1", "1"]
        store.begin_run("ours")


def test_several_read_at_once_and_keep_a_writer_out_as_long_as_they_read(tmp_path: Path, others: Programs) -> None:
    WorkspaceStore(tmp_path).close()
    reading = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1], read_only=True)
with store._reading() as uow:
    print(uow.runs.list().height, flush=True)
    sys.stdin.readline()
print("done", flush=True)
sys.stdin.readline()
"""
    readers = [others.start(reading) for _ in range(2)]
    assert [says(reader) for reader in readers] == ["0", "0"]
    for reader in readers:
        with pytest.raises(WorkspaceBusyError, match="|".join(f"process {one.pid}" for one in readers)):
            WorkspaceStore(tmp_path, timeout=0.2)
        tell(reader)
        assert says(reader) == "done"
    WorkspaceStore(tmp_path).close()


@pytest.mark.parametrize("processes", [3])
def test_processes_at_work_take_turns_and_nothing_is_lost(tmp_path: Path, others: Programs, processes: int) -> None:
    calls = 15
    workers = [others.start(MANY, calls) for _ in range(processes)]
    assert [says(worker) for worker in workers] == ["ready"] * processes
    for worker in workers:
        tell(worker)
    run_ids = [ends_well(worker).strip() for worker in workers]
    with WorkspaceStore(tmp_path) as store:
        for run_id in run_ids:
            names = store.list_pipelines(run_id=run_id)["name"].to_list()
            assert sorted(names, key=int) == [str(i) for i in range(calls)]
        assert store.sql("SELECT count(*) AS n, sum(ref_count) AS saves FROM artifacts").row(0) == (
            calls,
            calls * processes,
        )
        assert store.check(deep=True).is_sound


def test_a_transaction_is_never_interrupted(tmp_path: Path, others: Programs) -> None:
    other = others.start(IN_A_TRANSACTION)
    run_id = says(other)
    with pytest.raises(WorkspaceBusyError, match=rf"process {other.pid} on {os.uname().nodename} \(`-c .*, for \d+ s"):
        WorkspaceStore(tmp_path, timeout=0.3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(WorkspaceStore, tmp_path)
        tell(other)
        with waiting.result() as store:
            assert store.get_run(run_id) is not None
    assert says(other) == "committed"


def test_an_open_store_waits_for_another_processes_transaction_no_longer_than_its_timeout(
    tmp_path: Path, others: Programs
) -> None:
    with WorkspaceStore(tmp_path, timeout=0.3) as store:
        store.begin_run("ours")
        other = others.start(IN_A_TRANSACTION)
        says(other)
        for call in (store.list_runs, lambda: store.begin_run("ours")):
            with pytest.raises(WorkspaceBusyError, match=f"process {other.pid}"):
                call()
        tell(other)
        assert says(other) == "committed"
        assert store.list_runs().height == 2


def test_a_holder_that_is_stopped_is_named_and_one_that_is_killed_is_nobody(tmp_path: Path, others: Programs) -> None:
    other = others.start(OPEN)
    run_id = says(other)
    os.kill(other.pid, signal.SIGSTOP)
    with pytest.raises(WorkspaceBusyError, match=f"process {other.pid} on "):
        WorkspaceStore(tmp_path, timeout=0.2)
    os.kill(other.pid, signal.SIGCONT)
    with WorkspaceStore(tmp_path) as store:
        assert store.get_run(run_id) is not None
    tell(other)
    assert says(other) == "1"
    other.kill()
    other.wait()
    with WorkspaceStore(tmp_path, timeout=0) as store:
        assert store.get_run(run_id) is not None


def wait_until_wanted(store: WorkspaceStore) -> None:
    """Wait until another process stands in line. Two threads that ask at once would both open the file of the line."""
    while True:
        with store._workspace._lock:
            if store._workspace._access.is_wanted:
                return


def test_one_who_was_stopped_while_it_waited_is_passed_by(tmp_path: Path, others: Programs) -> None:
    with WorkspaceStore(tmp_path) as store, store.transaction():
        stopped = others.start(STAND_IN_LINE)
        assert says(stopped) == "comes"
        wait_until_wanted(store)
        os.kill(stopped.pid, signal.SIGSTOP)
        behind = others.start(OPEN)
        store.begin_run("ours")
    says(behind)
    with WorkspaceStore(tmp_path) as store:
        assert store.list_runs().height == 2
    os.kill(stopped.pid, signal.SIGCONT)
    assert says(stopped) == "holds"


def test_a_threads_reads_do_not_wait_for_another_process_while_a_transaction_waits_for_them(
    tmp_path: Path, others: Programs
) -> None:
    with WorkspaceStore(tmp_path) as store, ThreadPoolExecutor(2) as pool:
        with store.transaction():
            run_id = store.begin_run("ours")
            other = others.start(STAND_IN_LINE)
            says(other)
            wait_until_wanted(store)
            assert list(pool.map(store.get_run, [run_id] * 4)) == [None] * 4
        assert says(other) == "holds"


def test_what_another_process_deleted_is_not_replayed_from_memory(tmp_path: Path, others: Programs) -> None:
    delete = "import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1]).delete_run(sys.argv[2])"
    with WorkspaceStore(tmp_path) as store:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        store.replay_chain(chain_id, X)
        ends_well(others.start(delete, run_id))
        with pytest.raises(NotFoundError):
            store.replay_chain(chain_id, X)
        with pytest.raises(NotFoundError):
            add_prediction(store, pipeline_id)


def test_another_process_may_compact_the_database_meanwhile(tmp_path: Path, others: Programs) -> None:
    compact = """
import secrets, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
with store.transaction():
    large = [store.begin_run("large", {"text": secrets.token_hex(500_000)}) for _ in range(10)]
with store.transaction():
    for run_id in large: store.delete_run(run_id)
before, after = store.vacuum()
print(before > after)
"""
    with WorkspaceStore(tmp_path) as store:
        run_id = store.begin_run("ours")
        assert ends_well(others.start(compact)) == "True\n"
        assert store.get_run(run_id) is not None
        store.begin_run("ours")
    with WorkspaceStore(tmp_path) as store:
        assert store.list_runs(limit=None).height == 2


def test_a_program_that_knows_no_lease_is_waited_for(tmp_path: Path, others: Programs) -> None:
    with WorkspaceStore(tmp_path, timeout=0.3) as store, WorkspaceStore(tmp_path) as patient:
        ends_well(others.start("import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1]).close()"))
        raw = others.start(RAW)
        assert says(raw) == "open"
        with pytest.raises(WorkspaceBusyError, match=f"{raw.pid}"):
            store.begin_run("ours")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(patient.begin_run, "ours")
            tell(raw)
            assert says(raw) == "closed"
            assert store.get_run(waiting.result()) is not None


def test_a_folder_that_was_removed_or_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    with WorkspaceStore(folder) as store, programs(folder) as others:
        ends_well(others.start("import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1]).begin_run('r')"))
        folder.rename(tmp_path / "moved")  # One that is removed may leave its inode to the next one.
        for _ in range(2):
            with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
                store.begin_run("ours")
            folder.mkdir(exist_ok=True)
        assert list(folder.iterdir()) == []


def test_a_lock_file_that_was_removed_does_not_let_two_in(tmp_path: Path, others: Programs) -> None:
    other = others.start(IN_A_TRANSACTION)
    says(other)
    (tmp_path / ".store.lock").unlink()
    with pytest.raises(WorkspaceBusyError, match=f"{other.pid}"):
        WorkspaceStore(tmp_path, timeout=0.2)
    tell(other)
    assert says(other) == "committed"
    with WorkspaceStore(tmp_path) as store:
        assert store.list_runs().height == 1


def test_a_lone_process_leaves_one_lock_file_and_who_had_to_wait_a_second_one(tmp_path: Path, others: Programs) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("ours")
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {".store.lock"}
        says(others.start(OPEN))
        store.begin_run("ours")
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {".store.lock", ".store.line"}
