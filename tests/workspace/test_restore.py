"""A backup takes the place of a workspace, and what somebody copied over an open one by hand is noticed."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from programs import Process, Programs, run, says, tell
from samples import all_but_few, slow
from typer.testing import CliRunner

from nirs4all_store import (
    InvalidInputError,
    OutputPathError,
    RunInUseError,
    StoreError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceOutdatedError,
    WorkspaceStore,
    restore_workspace,
)
from nirs4all_store.cli import app
from nirs4all_store.failpoints import Failpoint
from nirs4all_store.testing.contract import X, add_chain, add_pipeline

HOLDS = """
import sys
from nirs4all_store import WorkspaceStore
with WorkspaceStore(sys.argv[1]) as store:
    with store.transaction():
        store.begin_run("another's")
        print("in", flush=True)
        input()
"""
RUNS = """
import sys
from nirs4all_store import WorkspaceStore
with WorkspaceStore(sys.argv[1]) as store:
    store.begin_run("another's")
    print("in", flush=True)
    input()
"""
LEAVES_A_LOG = """
import os, sys
from nirs4all_store import WorkspaceStore
store = WorkspaceStore(sys.argv[1])
store.complete_run(store.begin_run("logged"))
os._exit(0)
"""

MOMENTS = ("BACKUP_IS_COPIED", "WORKSPACE_IS_KEPT", "FOLDED", "BACKUP_HAS_THE_NAME")
# Dies at a named moment of a restore.
DIES = """
import os, sys
from nirs4all_store import failpoints, restore_workspace
folder, backup, moment = sys.argv[1:]
failpoints.on_hit = lambda point: os._exit(9) if point.name == moment else None
restore_workspace(backup, folder)
"""


def content(folder: Path, *, without: tuple[str, ...] = (".store.lock", ".store.line")) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def dies(process: Process) -> bool:
    """Tell whether a program has come to the moment at which it dies."""
    process.communicate()
    return process.returncode == 9


def names(folder: Path) -> set[str]:
    with WorkspaceStore(folder, read_only=True) as store:
        return set(store.list_runs()["name"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a workspace with a run that its backup, `b`, has not; each has a chain of its own."""
    folder = tmp_path_factory.mktemp("made")
    with WorkspaceStore(folder / "w") as store:
        run_id, pipeline_id = add_pipeline(store)
        add_chain(store, pipeline_id)
        store.complete_run(run_id)
        store.backup(folder / "b")
        store.complete_run(store.begin_run("later"))
        model = store.save_artifact([1, 2], "list", "model", "pickle")
        store.save_chain(pipeline_id, [{"step_idx": 0, "operator_class": "m"}], 0, "m", fold_artifacts={"0": model})
    return folder


@pytest.fixture
def w(made: Path, tmp_path: Path) -> Path:
    """Give a copy of it, and of its backup beside it."""
    shutil.copytree(made / "b", tmp_path / "b")
    return shutil.copytree(made / "w", tmp_path / "w")


@pytest.fixture
def b(w: Path) -> Path:
    return w.with_name("b")


def test_there_was_no_way_to_restore_a_backup(w: Path, b: Path) -> None:
    before, backup = names(w), content(b)
    report = restore_workspace(b, w)
    assert names(w) == names(b) == before - {"later"}
    assert report.kept == w / "before-restore"
    assert names(report.kept) == before
    assert content(b) == backup
    with WorkspaceStore(w) as store:
        assert store.check(deep=True).is_sound
        (chain_id,) = store.sql("SELECT chain_id FROM chains")["chain_id"]
        with WorkspaceStore(b) as copy:
            np.testing.assert_array_equal(store.replay_chain(chain_id, X), copy.replay_chain(chain_id, X))
        store.begin_run("after")
    assert not (w / ".restoring").exists()
    again = restore_workspace(report.kept, w)
    assert again.kept == w / "before-restore-2"
    assert names(w) == before
    with WorkspaceStore(w) as store:
        assert store.check(deep=True).is_sound


def test_a_backup_is_restored_where_there_is_nothing_and_where_nothing_opens(w: Path, b: Path) -> None:
    expected = names(b)
    fresh = restore_workspace(b, w.with_name("new") / "folder")
    assert fresh.kept is None
    assert names(fresh.workspace) == expected
    (w / "store.duckdb").write_bytes(b"nothing" * 1000)
    (w / "store.duckdb.wal").write_bytes(b"no log")
    shard = next((w / "artifacts").glob("*/*"))
    damaged = shard.read_bytes()[:-1]
    shard.write_bytes(damaged)
    with pytest.raises(WorkspaceCorruptError):
        WorkspaceStore(w)
    before = content(w)
    report = restore_workspace(b, w)
    assert names(w) == expected
    with WorkspaceStore(w) as store:
        assert store.check(deep=True).is_sound
    assert report.kept is not None
    assert content(report.kept) == before


def test_a_damaged_backup_is_refused_and_not_a_byte_is_changed(w: Path, b: Path, old: Path) -> None:
    before = content(w)
    shard = next((b / "artifacts").glob("*/*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WorkspaceCorruptError, match=r"is damaged, in 1 places: .*nothing was changed"):
        restore_workspace(b, w)
    shard.unlink()
    with pytest.raises(WorkspaceCorruptError, match="is damaged"):
        restore_workspace(b, w.with_name("new"))
    assert not w.with_name("new").exists()
    shard.write_bytes(whole)
    database = (b / "store.duckdb").read_bytes()
    for broken in (database[:8000], b"x" * 9000, b""):
        (b / "store.duckdb").write_bytes(broken)
        with pytest.raises(StoreError):
            restore_workspace(b, w)
    with pytest.raises(WorkspaceOutdatedError, match="nothing was changed"):
        restore_workspace(old, w)
    with pytest.raises(WorkspaceNotFoundError):
        restore_workspace(w / "artifacts", w)
    with pytest.raises(InvalidInputError, match="itself"):
        restore_workspace(w, w / ".." / "w")
    assert content(w) == before


def test_a_workspace_was_restored_into_the_artifacts_of_its_backup_where_a_collection_removes_it(b: Path) -> None:
    with pytest.raises(OutputPathError, match="gc_artifacts"):
        restore_workspace(b, b / "artifacts" / "new")
    assert not (b / "artifacts" / "new").exists()


def test_a_stray_pipe_that_is_not_restored_made_a_backup_damaged(w: Path, b: Path) -> None:
    os.mkfifo(b / "artifacts" / "stray")
    assert restore_workspace(b, w).files > 0


def test_nothing_is_restored_where_others_have_the_workspace(w: Path, b: Path, others: Programs) -> None:
    before = content(w)
    with WorkspaceStore(w), pytest.raises(WorkspaceBusyError, match="this process has"):
        restore_workspace(b, w, timeout=0)
    holder = others.start(HOLDS)
    assert says(holder) == "in"
    with pytest.raises(WorkspaceBusyError, match="is in use by process"):
        restore_workspace(b, w, timeout=0.2)
    tell(holder)
    holder.communicate()
    runner = others.start(RUNS)
    assert says(runner) == "in"
    with pytest.raises(RunInUseError, match=rf"is being run by process {runner.pid}; nothing was changed"):
        restore_workspace(b, w)
    tell(runner)
    runner.communicate()
    restore_workspace(b, w)  # Its process is gone.
    assert names(w) == names(b)
    assert before.keys() <= content(w / "before-restore").keys()


@pytest.mark.parametrize("moment", all_but_few(MOMENTS, ("WORKSPACE_IS_KEPT", "BACKUP_HAS_THE_NAME")))
def test_a_restore_that_is_killed_has_done_all_or_nothing(w: Path, b: Path, moment: str, others: Programs) -> None:
    others.start(LEAVES_A_LOG).communicate()
    before = {"later", "logged", *names(b)}
    assert (w / "store.duckdb.wal").exists()
    assert dies(others.start(DIES, b, moment))
    assert names(w) == (names(b) if moment == "BACKUP_HAS_THE_NAME" else before)
    restore_workspace(b, w)
    assert names(w) == names(b)
    assert not (w / ".restoring").exists()
    with WorkspaceStore(w) as store:
        assert store.check(deep=True).is_sound


def test_a_restore_over_what_does_not_open_is_done_again_after_a_kill(w: Path, b: Path, others: Programs) -> None:
    others.start(LEAVES_A_LOG).communicate()
    log = w / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:-20] + bytes(20))
    damaged = content(w)
    assert dies(others.start(DIES, b, "BACKUP_HAS_THE_NAME"))
    with pytest.raises(WorkspaceCorruptError):  # Its log is not the new database's: nothing older opens silently.
        names(w)
    restore_workspace(b, w)
    assert names(w) == names(b)
    assert damaged.items() <= content(w / "before-restore").items()


def test_the_command_says_what_is_there_and_how_to_go_back(w: Path, b: Path) -> None:
    done = CliRunner().invoke(app, ["restore", str(b), str(w)])
    assert done.exit_code == 0, done.output
    assert f"What was there before: {w / 'before-restore'}" in done.output
    assert f"To go back: nirs4all-store restore {w / 'before-restore'} {w}" in done.output
    done = CliRunner().invoke(app, ["restore", str(b.with_name("nowhere")), str(w)])
    assert (done.exit_code, "there is no workspace at" in done.output) == (1, True)


def overwrite(source: Path, target: Path) -> None:
    """Write into the file that is there, as `cp` does."""
    shutil.copyfile(source / "store.duckdb", target / "store.duckdb")


def replace(source: Path, target: Path) -> None:
    """Put another file under the name, as `mv` and `rsync` do."""
    shutil.copyfile(source / "store.duckdb", target / "new")
    (target / "new").replace(target / "store.duckdb")


@pytest.mark.parametrize(
    ("has_log", "by"),
    [
        (False, overwrite),
        (True, replace),
        slow(False, replace),
        slow(True, overwrite),
    ],
)
def test_a_backup_that_was_copied_over_an_open_workspace_was_without_effect_or_broke_it(
    w: Path, b: Path, by: Callable[[Path, Path], None], has_log: bool
) -> None:
    store = WorkspaceStore(w)
    if has_log:
        store.begin_run("logged")
    # `cp` in a process of its own: with a descriptor that is closed here, the engine's lock would go.
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = f"import shutil, os, sys; sys.path[:0] = {here!r}; import test_restore as t; "
    code += f"from pathlib import Path; t.{by.__name__}(Path({str(b)!r}), Path({str(w)!r}))"
    run(code)
    for call in (lambda: store.begin_run("lost?"), store.list_runs, lambda: store.sql("SELECT 1"), store.vacuum):
        with pytest.raises(WorkspaceCorruptError, match=r"copied over, while it was open; .*`nirs4all-store restore`"):
            call()
    store.close()
    restore_workspace(b, w)
    assert names(w) == names(b)


def test_what_the_engine_writes_itself_is_not_taken_for_a_copy(w: Path) -> None:
    with WorkspaceStore(w) as store:
        for size in (10, 300_000):  # The second one is written to the file before its log is folded in.
            run_id = store.begin_run("r", {"noise": np.random.default_rng(0).random(size).tolist()})
            assert store.get_run(run_id) is not None
        store.vacuum()
        store.delete_run(run_id)
        assert "later" in set(store.list_runs()["name"])


def test_points_of_a_restore_are_named() -> None:
    assert {"BACKUP_IS_COPIED", "WORKSPACE_IS_KEPT", "BACKUP_HAS_THE_NAME"} <= {point.name for point in Failpoint}
