"""A second process is told who is in its way; a process that dies loses nothing that it was promised."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import Process
from samples import slow

from nirs4all_store import StoreClosedError, WorkspaceBusyError, WorkspaceStore

HOLD = """
import sys, nirs4all_store as n
with n.WorkspaceStore(sys.argv[1]) as store, store.transaction():
    store.begin_run("r")
    print("ready", flush=True)
    sys.stdin.read()
"""
SAVE_FOR_EVER = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
while True:
    run_id = store.begin_run("r", {"k": 1}, [{"name": "d"}])
    artifact_id = store.save_artifact({"run": run_id}, "dict", "other", "pickle")
    print(run_id, artifact_id, flush=True)
"""
LEAVE_A_THREAD = """
import sys, threading, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
running = threading.Event()
def work():
    while True:
        store.begin_run("r")
        running.set()
threading.Thread(target=work, daemon=True).start()
running.wait()
print(store.begin_run("last"))
"""


def test_a_second_process_is_told_which_process_is_in_its_way(tmp_path: Path) -> None:
    holder = Process(HOLD, tmp_path)
    assert holder.stdout.readline() == "ready\n"
    for options in ({}, {"read_only": True}):
        with pytest.raises(WorkspaceBusyError, match=rf"process {holder.pid} on {os.uname().nodename}.*`-c "):
            WorkspaceStore(tmp_path, timeout=0.1, **options)
    holder.communicate()
    WorkspaceStore(tmp_path, timeout=0).close()


@pytest.mark.parametrize("acknowledged", [7, *(slow(n) for n in (1, 20))])
def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    process = Process(SAVE_FOR_EVER, tmp_path)
    lines = [process.stdout.readline().split() for _ in range(acknowledged)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    lines += [line.split() for line in rest.splitlines() if len(line.split()) == 2]
    with WorkspaceStore(tmp_path, timeout=5) as store:
        for run_id, artifact_id in lines:
            assert store.get_run(run_id) is not None
            assert store.load_artifact(artifact_id) == {"run": run_id}


def test_a_program_that_ends_with_a_thread_at_work_ends_well(tmp_path: Path) -> None:
    process = Process(LEAVE_A_THREAD, tmp_path)
    printed, _ = process.communicate()
    assert process.returncode == 0
    with WorkspaceStore(tmp_path) as store:
        assert store.get_run(printed.strip()) is not None


def test_a_program_that_only_uses_the_store_prints_nothing(tmp_path: Path) -> None:
    program = """
import sys, nirs4all_store as n
with n.WorkspaceStore(sys.argv[1]) as store:
    with store.transaction():
        for i in range(3):
            store.begin_run(str(i), {}, [{"name": "d"}])
    store.list_runs(dataset="d")
"""
    process = Process(program, tmp_path)
    assert process.communicate() == ("", "")


def test_duckdb_once_printed_its_progress_bar_into_what_a_program_prints(tmp_path: Path) -> None:
    program = """
import sys, duckdb, nirs4all_store as n
asked = "SELECT current_setting('enable_progress_bar') AS bar"
with n.WorkspaceStore(sys.argv[1]) as store:
    print(duckdb.connect().sql(asked).fetchall()[0][0], store.sql(asked)["bar"][0])
    with store.unit_of_work() as uow:
        print(uow.session.connection().exec_driver_sql(asked).scalar_one())
"""
    # Without a file to run, DuckDB takes it for a notebook, as the first word shows.
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


def test_closing_in_one_store_leaves_the_process_its_lease_while_another_is_open(tmp_path: Path) -> None:
    first, second = WorkspaceStore(tmp_path), WorkspaceStore(tmp_path)
    first.close()
    with second.transaction():
        blocked = Process("import sys, nirs4all_store as n; n.WorkspaceStore(sys.argv[1], timeout=0)", tmp_path)
        assert "WorkspaceBusyError" in blocked.communicate()[1]
    second.close()
    with pytest.raises(StoreClosedError):
        second.list_runs()
