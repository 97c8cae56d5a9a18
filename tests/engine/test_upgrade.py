"""An upgrade ends with the old database or the new one, keeps the old one, and loses nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pytest
from legacy import contents, leave_a_log, make_legacy
from programs import Process, tell
from samples import all_but_few, slow
from sqlalchemy import Connection, text

from nirs4all_store import (
    ReadOnlyError,
    UpgradeFailedError,
    WorkspaceBusyError,
    WorkspaceStore,
    inspect_workspace,
    upgrade_workspace,
)
from nirs4all_store.engine.duckdb import migrator, upgrade

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_table_built_anew_without_its_key_once_was_not_compared(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE other AS FROM logs; DROP TABLE logs; ALTER TABLE other RENAME TO logs")
    with pytest.raises(UpgradeFailedError, match="logs had 3 rows and has 0"):
        upgrade_workspace(old, migrations=broken("DELETE FROM logs"))
    assert upgrade_workspace(old).plan.rows["logs"] == 3


def test_two_processes_upgrade_at_once_and_one_does_it(old: Path) -> None:
    program = (
        f"import nirs4all_store, sys; sys.stdin.readline(); print(nirs4all_store.upgrade_workspace({str(old)!r}).copy)"
    )
    started = [Process(program) for _ in range(2)]
    for process in started:
        tell(process)
    printed = sorted(process.communicate()[0].strip() for process in started)
    assert printed == [str(old / "store.duckdb.before-0001"), "None"]


@pytest.mark.parametrize("read_only", [True, slow(False)])
def test_an_upgrade_waits_for_nobody_who_knows_no_lease_and_changes_nothing(old: Path, read_only: bool) -> None:
    before = contents(old)
    program = (
        f"import duckdb, sys; c = duckdb.connect({str(old / 'store.duckdb')!r}, read_only={read_only}); "
        "print('open', flush=True); sys.stdin.readline()"
    )
    with Process(program) as other:
        other.stdout.readline()
        with pytest.raises(WorkspaceBusyError, match=str(other.pid)):
            upgrade_workspace(old)
        assert contents(old) == before
        other.communicate("\n")
    assert upgrade_workspace(old).copy is not None


def broken(statement: str) -> migrator.Migrations:
    """Return migrations that also do something that they should not."""

    def run(connection: Connection) -> None:
        migrator.run_migrations(connection)
        connection.execute(text(statement))

    return run


LOSSES = {
    "DELETE FROM logs WHERE log_id = 'log-Ridge'": "logs had 3 rows and has 2, of which 2 are the same",
    "UPDATE predictions SET val_score = 0.2 WHERE val_score = 0.1": "predictions.val_score differs in 1 rows",
    "UPDATE predictions SET val_score = NULL WHERE val_score = 0.1": "predictions.val_score differs in 1 rows",
    "UPDATE prediction_arrays SET y_pred = [1.0, 2.0, 3.4]": "prediction_arrays.y_pred differs in 6 rows",
    "UPDATE prediction_arrays SET y_true = [0.1, 0.0, 0.3]": "prediction_arrays.y_true differs in 6 rows",
    "UPDATE prediction_arrays SET sample_indices = [4, 6, 5]": "prediction_arrays.sample_indices differs in 6 rows",
    "UPDATE runs SET run_id = 'x' || run_id": "runs had 2 rows and has 2, of which 0 are the same",
    "UPDATE runs SET config = '{}'": "runs.config differs in 2 rows",
    "ALTER TABLE logs ADD COLUMN other INTEGER; ALTER TABLE chains DROP COLUMN branch_path": "branch_path is not there",
    "UPDATE alembic_version SET version_num = '0001'": f"did not lead to {migrator.HEAD}",
    "SELECT 1/0 + x": "could not be upgraded",
}
FEW_LOSSES = (
    "UPDATE runs SET run_id = 'x' || run_id",
    "UPDATE runs SET config = '{}'",
    "ALTER TABLE logs ADD COLUMN other INTEGER; ALTER TABLE chains DROP COLUMN branch_path",
    "UPDATE alembic_version SET version_num = '0001'",
    "SELECT 1/0 + x",
)
"""One for each guard."""


@pytest.mark.parametrize("statement", all_but_few(LOSSES, FEW_LOSSES))
def test_a_result_that_is_not_the_same_data_never_gets_the_name(old: Path, statement: str) -> None:
    before = contents(old)
    with pytest.raises(UpgradeFailedError, match=LOSSES[statement]):
        upgrade_workspace(old, migrations=broken(statement))
    assert contents(old) == before | {"store.duckdb.before-0001": before["store.duckdb"]}
    assert upgrade_workspace(old).copy == old / "store.duckdb.before-0001"


def test_a_failed_upgrade_keeps_what_stood_in_the_log(old: Path) -> None:
    leave_a_log(old)
    with pytest.raises(UpgradeFailedError, match="0 are the same"):
        upgrade_workspace(old, migrations=broken("UPDATE runs SET run_id = 'x' || run_id"))
    info = inspect_workspace(old)
    assert (info.revision, info.rows["runs"]) == ("0001", 3)
    assert not list(old.glob(".upgrading*"))
    assert upgrade_workspace(old).plan.rows["runs"] == 3


def test_too_little_room_is_found_before_anything_changes(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)
    usage = shutil.disk_usage(old)
    monkeypatch.setattr(upgrade.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    with pytest.raises(UpgradeFailedError, match="10,000,000 free; nothing was changed: make room"):
        upgrade_workspace(old)
    assert contents(old) == before


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a file system of a given size; skip the test where this machine allows none."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("stage", all_but_few(["copying", "rewriting", "comparing"], ["rewriting"]))
def test_a_disk_that_fills_up_on_the_way_loses_nothing(old: Path, tmp_path: Path, stage: str) -> None:
    with small_disk(tmp_path / "disk", "60m") as disk:
        workspace = shutil.copytree(old, disk / "workspace")
        before = contents(workspace)
        filler = disk / "filler"

        def fill_up(what: str, done: int, total: int) -> None:
            if what.startswith(stage) and not filler.exists():
                with filler.open("wb") as stream, pytest.raises(OSError, match="No space"):
                    while True:
                        stream.write(b"x" * 2**16)
                        stream.flush()

        try:
            upgrade_workspace(workspace, progress=fill_up)
        except UpgradeFailedError as error:
            assert "it holds what it held" in str(error)
            assert (workspace / "store.duckdb").read_bytes() == before["store.duckdb"]
        assert filler.exists()
        filler.unlink()
        upgrade_workspace(workspace)
        with WorkspaceStore(workspace) as store:
            assert store.query_predictions().height == 6


@contextmanager
def not_writable(folder: Path) -> Iterator[Path]:
    """Give a copy of a folder that this process cannot write to, root or not."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)
    else:
        with small_disk(folder.with_name("disk"), "60m") as disk:
            shutil.copytree(folder, disk / "workspace")
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            yield disk / "workspace"


def test_a_read_only_folder_is_refused(old: Path) -> None:
    with not_writable(old) as workspace:
        before = contents(workspace)
        assert upgrade_workspace(workspace, dry_run=True).plan.found == "0001"
        assert inspect_workspace(workspace).revision == "0001"
        with pytest.raises(ReadOnlyError, match=str(workspace)):
            upgrade_workspace(workspace)
        assert contents(workspace) == before


def test_progress_tells_every_stage_and_never_goes_back(old: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    upgrade_workspace(old, progress=lambda *step: seen.append(step))
    stages = [what for what, _, _ in seen]
    assert stages.index("copying") < stages.index("rewriting predictions") < stages.index("comparing predictions")
    for stage in ("copying", "rewriting", "comparing"):
        done = [step[1] for step in seen if step[0].startswith(stage)]
        assert done == sorted(done)
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["upgrade_with_log", "upgrade"])
def test_killed_at_any_step_the_workspace_is_the_old_one_or_the_new_one(operation: str) -> None:
    command = [sys.executable, "-m", "tests.faults", "--only", "steps", "--seed", operation]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 100


def test_arrays_too_long_for_little_memory_are_upgraded_in_more(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "MEMORY", 50 * 2**20)
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(
            "INSERT INTO predictions(prediction_id, pipeline_id, dataset_name, model_name, model_class, fold_id, "
            "partition, metric, task_type) SELECT 'long' || i, 'pipeline-Ridge', 'd', 'm', 'm', '0', 'val', 'rmse', "
            "'regression' FROM range(170) t(i)"
        )
        connection.execute(
            "INSERT INTO prediction_arrays(prediction_id, y_pred) "
            "SELECT 'long' || i, list_resize([i], 50000, i) FROM range(170) t(i)"
        )
    stages: list[str] = []
    upgrade_workspace(old, progress=lambda what, done, total: stages.append(what))
    assert stages.count("rewriting runs") == 2, "the memory was not too little: nothing was tried here"
    with WorkspaceStore(old) as store:
        prediction = store.get_prediction("long7", load_arrays=True)
        assert prediction is not None
        np.testing.assert_array_equal(prediction["y_pred"], np.full(50000, 7.0))


MANY = 200_000


MEGABYTES = 500


@pytest.mark.slow
def test_many_predictions_are_upgraded_in_little_memory(tmp_path: Path) -> None:
    make_legacy(tmp_path)
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute(
            "INSERT INTO predictions(prediction_id, pipeline_id, chain_id, dataset_name, model_name, model_class, "
            "fold_id, partition, val_score, metric, task_type) SELECT left(md5(i::VARCHAR), 16), 'pipeline-Ridge', "
            f"'chain-Ridge', 'd', 'm', 'm', '0', 'val', random(), 'rmse', 'regression' FROM range({MANY}) t(i)"
        )
        lists = ", ".join(["list_transform(range(200), lambda x: x + random() + i)"] * 2)
        connection.execute(
            "INSERT INTO prediction_arrays SELECT left(md5(i::VARCHAR), 16), "
            f"{lists}, NULL, range(200)::INTEGER[], NULL FROM range({MANY}) t(i)"
        )
    program = f"""
import re, nirs4all_store as n
report = n.upgrade_workspace({str(tmp_path)!r})
peak = re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())  # getrusage counts the parent's, too.
print(report.plan.rows["prediction_arrays"], int(peak[1]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows, megabytes = done.stdout.split()
    assert int(rows) == MANY + 6
    assert int(megabytes) < MEGABYTES


def test_a_killed_upgrade_left_a_log_that_the_next_one_kept(old: Path) -> None:
    (old / ".upgrading-store.duckdb").write_bytes(b"half a database")
    (old / ".upgrading-store.duckdb.wal").write_bytes(b"its log")
    report = upgrade_workspace(old)
    assert report.copy is not None
    assert not report.copy.with_name(f"{report.copy.name}.wal").exists()


def test_a_table_that_has_no_key_lost_its_rows(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 'years of work' AS text")
    with pytest.raises(UpgradeFailedError, match="notes had 1 rows and has 0"):
        upgrade_workspace(old, migrations=broken("DELETE FROM notes"))


def test_a_table_built_anew_without_its_key_lost_its_values(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE other AS FROM logs; DROP TABLE logs; ALTER TABLE other RENAME TO logs")
    with pytest.raises(UpgradeFailedError, match=r"logs\.event differs in 3 rows"):
        upgrade_workspace(old, migrations=broken("UPDATE logs SET event = 'another'"))
