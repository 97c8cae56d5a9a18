"""Runs know who runs them, and nothing is guessed: only a process that is sure to be gone has lost its run."""

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from anything import JSON, MANY
from hypothesis import given
from hypothesis import strategies as st
from programs import Process
from sqlalchemy import text

from nirs4all_store import (
    EngineError,
    InvalidInputError,
    NotFoundError,
    RunInUseError,
    StoreError,
    WorkspaceCorruptError,
    WorkspaceStore,
    upgrade_workspace,
)
from nirs4all_store.storage import process_identity
from nirs4all_store.storage.process_identity import FIRST_NAMESPACE, is_alive, is_gone, this_process
from nirs4all_store.storage.repositories import RunRepo
from nirs4all_store.testing.contract import X, Y, add_chain, add_pipeline, add_prediction
from nirs4all_store.validation.values import json_text

BEGIN = """
import os, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
run_id = store.begin_run("r", {}, [{"name": "d"}])
pipeline_id = store.begin_pipeline(run_id, "p", {}, [], "d", "h")
store.close()
print(run_id, pipeline_id, os.getpid(), flush=True)
"""
WAIT = "sys.stdin.read()\n"
TRAIN_FOR_EVER = """
import sys, nirs4all_store as n
from nirs4all_store.testing.contract import Y, add_chain, add_pipeline, add_prediction
store = n.WorkspaceStore(sys.argv[1])
run_id, done = add_pipeline(store)
store.complete_pipeline(done)
pipeline_id = store.begin_pipeline(run_id, "0002")
chain_id = add_chain(store, pipeline_id)
prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id)
store.save_prediction_arrays(prediction_id, Y, Y)
print(run_id, done, pipeline_id, chain_id, prediction_id, flush=True)
sys.stdin.read()
"""
# Another thread lives on: the system shows the process in the state of one that has ended.
END_THE_MAIN_THREAD = """
import ctypes, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
ctypes.CDLL(None).pthread_exit(None)
"""
BEGIN_IN_A_CHILD = f"""
import os, sys
child = os.fork()
if child == 0:
    exec({BEGIN!r})
    os._exit(0)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.read()
"""
STATUSES = """
import sys, nirs4all_store as n
with n.WorkspaceStore(sys.argv[1]) as store:
    print(*store.list_runs()["status"], flush=True)
"""
LOOK_FROM_A_CHILD = f"""
import subprocess
subprocess.run([sys.executable, "-c", {STATUSES!r}, sys.argv[1]], check=True)
"""

Start = Callable[..., Any]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs that end with the test."""
    started: list[Any] = []

    def begin(program: str, folder: Path, *before: str) -> Any:
        command = [*before, sys.executable, "-W", "error", "-c", program, str(folder)]
        if before:
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        else:
            started.append(Process(program, folder, strict=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process: Any) -> list[str]:
    """Return the words of the next line of a program."""
    return process.stdout.readline().split()


def statuses(folder: Path, **options: bool) -> list[str]:
    with WorkspaceStore(folder, **options) as store:
        return list(store.list_runs()["status"])


def unsharing(*options: str) -> list[str]:
    """Return the beginning of a command that runs in namespaces of its own, or skip the test."""
    command = ["unshare", "--user", "--map-root-user", "--fork", *options]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode:
        pytest.skip(f"namespaces are not allowed here: {done.stderr}")
    return command


def test_a_killed_process_leaves_an_interrupted_run_with_all_it_had_saved(tmp_path: Path, start: Start) -> None:
    process = start(TRAIN_FOR_EVER, tmp_path)
    run_id, done, pipeline_id, chain_id, prediction_id = said(process)
    process.kill()
    process.wait()
    with WorkspaceStore(tmp_path, read_only=True) as store:
        before = store.get_run(run_id)
        assert before is not None
        assert before["status"] == "running"
    with WorkspaceStore(tmp_path) as store:
        assert store.get_run(run_id) == before | {"status": "interrupted"}
        assert store.list_runs(status="interrupted")["run_id"].to_list() == [run_id]
        found = {row["pipeline_id"]: row for row in store.list_pipelines().to_dicts()}
        assert {key: row["status"] for key, row in found.items()} == {done: "completed", pipeline_id: "interrupted"}
        assert found[pipeline_id]["completed_at"] is None
        assert store.replay_chain(chain_id, X).shape == (40,)
        prediction = store.get_prediction(prediction_id, load_arrays=True)
        assert prediction is not None
        assert prediction["y_pred"].tolist() == Y.tolist()

        there = store.resume_run(run_id)
        assert there.columns == [*store.list_pipelines().columns, "chain_count", "prediction_count"]
        assert there.select("pipeline_id", "status", "chain_count", "prediction_count").rows() == [
            (done, "completed", 0, 0),
            (pipeline_id, "interrupted", 1, 1),
        ]
        assert store.get_run(run_id) == before | {"owner": this_process()}
        again = store.begin_pipeline(run_id, "0002")
        store.complete_pipeline(again)
        store.complete_run(run_id, {"resumed": True})
        assert statuses(tmp_path) == ["completed"]


def test_reading_changes_nothing(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN, tmp_path)
    process.communicate()
    before = (tmp_path / "store.duckdb").read_bytes()
    assert statuses(tmp_path, read_only=True) == ["running"]
    assert (tmp_path / "store.duckdb").read_bytes() == before
    assert statuses(tmp_path) == ["interrupted"]


def test_the_run_of_a_living_process_is_left_alone_and_named(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN + WAIT, tmp_path)
    run_id, pipeline_id, pid = said(process)
    assert int(pid) == process.pid
    with WorkspaceStore(tmp_path) as store:
        before = store.get_run(run_id)
        with pytest.raises(RunInUseError, match=rf"{run_id} .*process {pid} on {os.uname().nodename}; .*begin_run"):
            store.resume_run(run_id)
        assert store.get_run(run_id) == before
        assert store.list_pipelines()["status"].to_list() == ["running"]
        store.fail_run(run_id, "given up from here")
        assert store.resume_run(run_id)["pipeline_id"].to_list() == [pipeline_id]  # It is failed: nobody runs it.


def test_a_zombie_is_gone(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN + WAIT, tmp_path, "env")  # A child of this process, which alone may wait for it.
    said(process)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # It has ended, and stays in the table.
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z"
    assert statuses(tmp_path) == ["interrupted"]


def test_a_process_whose_main_thread_has_ended_lives(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN + END_THE_MAIN_THREAD, tmp_path)
    said(process)
    stat = Path(f"/proc/{process.pid}/stat")
    while stat.read_text().split()[2] != "Z":
        assert process.poll() is None
    assert statuses(tmp_path) == ["running"]


def test_the_run_of_a_forked_child_is_the_childs(tmp_path: Path, start: Start) -> None:
    parent = start(BEGIN_IN_A_CHILD, tmp_path)
    run_id, _, _ = said(parent)
    (child,) = said(parent)
    with WorkspaceStore(tmp_path) as store:
        run = store.get_run(run_id)
        assert run is not None
        assert (run["owner"]["pid"], run["status"]) == (int(child), "interrupted")
        assert parent.poll() is None


def test_a_process_of_another_pid_namespace_is_never_known_to_be_gone(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN, tmp_path, *unsharing("--pid", "--mount-proc"))
    run_id, _, pid = said(process)
    process.communicate()
    assert int(pid) < 10
    with WorkspaceStore(tmp_path) as store:
        assert store.list_runs()["status"].to_list() == ["running"]
        assert store.resume_run(run_id)["status"].to_list() == ["interrupted"]


def test_the_proc_of_another_namespace_once_told_of_strangers(tmp_path: Path, start: Start) -> None:
    process = start(BEGIN + LOOK_FROM_A_CHILD, tmp_path, *unsharing("--pid"))
    _, _, pid = said(process)
    assert int(pid) < 10  # Which /proc says to be some process of the machine, started at another time.
    assert said(process) == ["running"]


def test_a_shifted_clock_makes_no_process_another_one(tmp_path: Path, start: Start) -> None:
    shifted = unsharing("--time", "--boottime", "100000")
    said(start(BEGIN + WAIT, tmp_path))
    assert said(start(STATUSES, tmp_path, *shifted)) == ["running"]


ME = this_process()
REBOOTED = ME | {"boot": "an earlier one", "pid_namespace": FIRST_NAMESPACE, "machine": "m"}
HERE = ME | {"pid_namespace": FIRST_NAMESPACE, "machine": "m"}
on_linux = pytest.mark.skipif(not ME["boot"], reason="this system tells nothing of its processes")


@on_linux
@pytest.mark.parametrize(
    ("owner", "here", "gone", "alive"),
    [
        (ME, ME, False, True),
        (ME | {"started": ME["started"] - 1}, ME, True, False),  # Another process has got its number.
        (ME | {"started": None}, ME, False, False),
        (ME | {"pid": 0}, ME, False, False),
        (ME | {"pid": -1}, ME, False, False),
        (ME | {"pid": True}, ME, False, False),
        (ME | {"pid": 2**31}, ME, False, False),
        (ME | {"pid": 2**31 - 1}, ME, True, False),  # No system gives that number away.
        (ME | {"pid_namespace": "pid:[1]", "started": 0}, ME, False, False),
        (ME | {"time_namespace": "time:[1]", "started": 0}, ME, False, False),
        (REBOOTED, HERE, True, False),
        (REBOOTED | {"host": "other"}, HERE, False, False),
        (REBOOTED | {"machine": "other"}, HERE, False, False),
        (REBOOTED | {"machine": ""}, HERE | {"machine": ""}, False, False),
        (REBOOTED | {"boot": ""}, HERE, False, False),
        (REBOOTED | {"boot": None}, HERE, False, False),
        (REBOOTED, HERE | {"boot": ""}, False, False),
        (REBOOTED | {"pid_namespace": "pid:[2]"}, HERE, False, False),
        (REBOOTED | {"pid_namespace": "pid:[2]"}, HERE | {"pid_namespace": "pid:[2]"}, False, False),
        (None, ME, False, False),
        ({}, ME, False, False),
        ([ME], ME, False, False),
        ({}, dict.fromkeys(ME, ""), False, False),
    ],
)
def test_only_what_is_certain_is_told(owner: Any, here: dict[str, Any], gone: bool, alive: bool) -> None:
    assert (is_gone(owner, here), is_alive(owner, here)) == (gone, alive)


def test_a_command_with_spaces_and_parentheses_in_its_name_starts_when_it_started(tmp_path: Path, start: Start) -> None:
    name = tmp_path / "a) S 1 (b c)"
    name.symlink_to(sys.executable)
    program = """
import sys
from nirs4all_store.storage.process_identity import this_process
print(this_process()["started"], flush=True)
sys.stdin.read()
"""
    # By this name it does not find the packages of its environment by itself.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([name, "-c", program], env=environment, **pipes)
    (started,) = said(process)
    assert f"({name.name[:15]})" in Path(f"/proc/{process.pid}/stat").read_text()
    owner = this_process() | {"pid": process.pid, "started": int(started)}
    assert int(started) >= ME["started"]
    assert is_alive(owner, this_process())
    process.communicate()
    assert is_gone(owner, this_process())


@MANY
@given(owner=JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(ME, JSON)).map(lambda some: ME | some))
def test_a_damaged_owner_never_raises(owner: Any) -> None:
    assert not (is_gone(owner, ME) and is_alive(owner, ME))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path_factory.mktemp("owners")) as store:
        add_pipeline(store)
        yield store


@MANY
@given(owner=JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(ME, JSON)).map(lambda some: ME | some))
def test_a_damaged_owner_in_a_row_never_raises(shared: WorkspaceStore, owner: Any) -> None:
    try:
        value = json_text(owner, "owner")
    except StoreError:
        return
    with shared.unit_of_work() as uow:
        uow.session.execute(text("UPDATE runs SET owner = :owner"), {"owner": value})
        uow.runs.interrupt_lost()
        (run_id,) = uow.runs.list()["run_id"]
        try:
            uow.runs.resume(run_id)
        except RunInUseError:  # It happens to name a living process.
            assert owner["pid"] != os.getpid()


def test_a_workspace_without_owners_opens_for_reading_all_the_same(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN owner")
    with pytest.raises(WorkspaceCorruptError, match=r'runs\."owner".* not there'):  # What is written would lose it.
        WorkspaceStore(tmp_path)
    with WorkspaceStore(tmp_path, read_only=True) as store, pytest.raises(EngineError):
        store.list_runs()


def test_runs_that_began_before_owners_were_recorded_stay_as_they_are(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("UPDATE runs SET status = 'running' WHERE run_id = 'run-1'")
        connection.execute("UPDATE pipelines SET status = 'running' WHERE run_id = 'run-1'")
    upgrade_workspace(old)
    with WorkspaceStore(old) as store:
        run = store.get_run("run-1")
        assert run is not None
        assert (run["status"], run["owner"]) == ("running", None)
        assert set(store.list_pipelines(run_id="run-1")["status"]) == {"running"}
        assert set(store.resume_run("run-1")["status"]) == {"interrupted"}
        assert sum(store.resume_run("run-1")["prediction_count"]) > 0


def test_runs_of_another_machine_stay_as_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parents[1] / "golden" / "0004.zip") as archive:
        archive.extractall(tmp_path)
    with WorkspaceStore(tmp_path, upgrade=True) as store:
        runs = {row["status"]: row["run_id"] for row in store.list_runs().to_dicts()}
        assert sorted(runs) == ["completed", "interrupted", "running"]
        assert store.resume_run(runs["running"])["status"].to_list() == ["interrupted"]
        assert store.resume_run(runs["interrupted"])["status"].to_list() == ["interrupted"]


def test_resuming_ones_own_run_leaves_its_pipelines_running(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    add_chain(store, pipeline_id)
    second = store.begin_pipeline(run_id, "0002")
    for _ in range(2):
        add_prediction(store, second)
    columns = ("pipeline_id", "status", "chain_count", "prediction_count")
    assert store.resume_run(run_id).select(columns).rows() == [
        (pipeline_id, "running", 1, 0),
        (second, "running", 0, 2),
    ]


def test_a_machine_with_a_new_name_is_still_this_one(store: WorkspaceStore) -> None:
    run_id, _ = add_pipeline(store)
    with store.unit_of_work() as uow:
        owner = json_text(this_process() | {"host": "its name before"}, "owner")
        uow.session.execute(text("UPDATE runs SET owner = :owner"), {"owner": owner})
        uow.commit()
    assert store.resume_run(run_id)["status"].to_list() == ["running"]
    assert (store.get_run(run_id) or {})["owner"] == this_process()


def test_a_failed_run_is_resumed_without_its_error(store: WorkspaceStore) -> None:
    run_id, _ = add_pipeline(store)
    store.fail_run(run_id, "out of memory")
    assert store.resume_run(run_id)["status"].to_list() == ["failed"]
    run = store.get_run(run_id)
    assert run is not None
    assert (run["status"], run["error"], run["completed_at"]) == ("running", None, None)


def test_what_cannot_be_resumed_is_refused(store: WorkspaceStore) -> None:
    with pytest.raises(NotFoundError, match="no such run"):
        store.resume_run("no such run")
    run_id = store.begin_run("r")
    store.complete_run(run_id)
    with pytest.raises(InvalidInputError, match=rf"{run_id} is completed.*begin_run"):
        store.resume_run(run_id)
    assert store.list_runs()["status"].to_list() == ["completed"]


def test_what_leaves_a_workspace_tells_nothing_of_who_made_it(store: WorkspaceStore, tmp_path: Path) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    assert "owner" not in yaml.safe_load(store.export_run(run_id, tmp_path / "run").read_text())["run"]
    bundle, hashes = store.export_chain(chain_id, tmp_path / "0"), []
    for number in range(1, 3):
        with WorkspaceStore(tmp_path / f"other-{number}") as other:
            imported = other.import_bundle(bundle)
            hashes.append(imported.content_sha256)
            bundle = other.export_chain(imported.chain_id, tmp_path / str(number))
            assert other.list_runs()["status"].to_list() == ["completed"]
        with zipfile.ZipFile(bundle) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
        assert ME["machine"].encode() not in content
        assert b"pid_namespace" not in content
    assert hashes == hashes[:1] * 2


def test_a_process_of_another_user_was_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert is_alive(ME, ME)


def test_a_process_that_the_system_hides_was_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_identity, "_status", lambda process: None)
    assert not is_gone(ME, ME)


def test_runs_that_could_not_be_marked_kept_the_workspace_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: RunRepo) -> bool:
        raise WorkspaceCorruptError("a block of the runs is damaged")

    WorkspaceStore(tmp_path).close()
    monkeypatch.setattr(RunRepo, "interrupt_lost", damaged)
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("all the same")


def test_a_session_that_got_the_number_of_an_earlier_one_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    here = process_identity.this_session()
    assert here == process_identity.this_session()
    monkeypatch.setattr(process_identity, "_status", lambda process: ("S", 1, 42))
    assert process_identity.this_session() == f"{os.getsid(0)}-42" != here
    monkeypatch.setattr(process_identity, "_status", lambda process: None)
    assert process_identity.this_session() == f"{os.getsid(0)}"
