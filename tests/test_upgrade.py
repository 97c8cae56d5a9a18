"""An upgrade ends with the old database or the new one, keeps the old one, and loses nothing."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pytest
from legacy import X_NEW, make_legacy
from sqlalchemy import Connection, text

from nirs4all_store import (
    ReadOnlyError,
    UpgradeFailedError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceOutdatedError,
    WorkspaceStore,
    WorkspaceTooNewError,
    inspect_workspace,
    migrate,
    points,
    upgrade,
    upgrade_workspace,
)

TESTS = Path(__file__).parent


@pytest.fixture(params=["0.7.0", "0.7.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Give an old workspace."""
    make_legacy(tmp_path / "old", "0.7.1")
    return tmp_path / "old"


def leave_a_log(workspace: Path) -> None:
    """Add a run in a transaction that stands in the log only, as a process that was killed leaves it."""
    program = (
        f"import duckdb, os; c = duckdb.connect({str(workspace / 'store.duckdb')!r}); "
        "c.execute(\"INSERT INTO runs(run_id, name) VALUES ('in-the-log', 'r')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (workspace / "store.duckdb.wal").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".store.lock"
    }


def test_everything_arrives_and_works_as_in_a_new_workspace(tmp_path: Path, version: str) -> None:
    expected = make_legacy(tmp_path, version)
    artifacts = contents(tmp_path / "artifacts")
    upgrade_workspace(tmp_path)
    assert contents(tmp_path / "artifacts") == artifacts
    with WorkspaceStore(tmp_path) as store:
        np.testing.assert_allclose(store.replay_chain("chain-Ridge", X_NEW), expected["chain-Ridge"])
        assert store.replay_chain("chain-Logistic", X_NEW).tolist() == expected["chain-Logistic"]
        top = store.top_predictions(3, score_metric="mse")
        assert top["prediction_id"].to_list() == expected["best"]
        prediction = store.get_prediction(expected["best"][0], load_arrays=True)
        assert prediction is not None
        np.testing.assert_array_equal(prediction["y_true"], [0.1, np.nan, 0.3])
        np.testing.assert_array_equal(prediction["weights"], [0.25, 0.75])
        assert prediction["scores"] == {"val": {"mse": 0.1}}
        run = store.get_run("run-2")
        assert run is not None
        assert (run["name"], run["status"], run["config"]) == ("run-2 of José", "failed", {"seed": 1, "note": None})
        assert store.list_runs(dataset="wheat").height == 2
        assert store.get_pipeline_log("pipeline-Ridge")["duration_ms"].to_list() == [7]
        assert store.get_run_log_summary("run-1")["log_count"].to_list() == [1, 1]
        context = {row["prediction_id"]: row["refit_context"] for row in store.query_predictions().to_dicts()}
        assert context["fedcba9876543210"] == ("standalone" if version == "0.7.1" else None)


def test_an_adopted_workspace_exports_deletes_and_collects(tmp_path: Path, version: str) -> None:
    expected = make_legacy(tmp_path / "w", version)
    upgrade_workspace(tmp_path / "w")
    from nirs4all_store import load_bundle

    with WorkspaceStore(tmp_path / "w") as store:
        bundle = store.export_chain("chain-Ridge", tmp_path / "ridge.n4a")
        np.testing.assert_allclose(load_bundle(bundle, trusted=True).predict(X_NEW), expected["chain-Ridge"])
        script = store.export_chain("chain-Logistic", tmp_path / "logistic.n4a.py", format="n4a.py")
        np.savetxt(tmp_path / "X.csv", X_NEW, delimiter=",")
        done = subprocess.run([sys.executable, script, tmp_path / "X.csv"], capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected["chain-Logistic"]
        assert "José" in store.export_run("run-1", tmp_path / "run.yaml").read_text()
        assert store.export_predictions_parquet(tmp_path / "all.parquet").exists()
        files = len(contents(store.workspace_path / "artifacts"))
        # Bytes that an old row names are joined, not written anew.
        with store.unit_of_work() as uow:
            row = uow.artifacts.get("cfg$log:0")
        assert row is not None
        assert store.save_artifact(store.load_artifact("cfg$log:0"), "L", "model", "joblib") == "cfg$log:0"
        assert len(contents(store.workspace_path / "artifacts")) == files
        # A run with 2 pipelines, 2 logs, 2 chains, 6 predictions with arrays, 4 artifacts that nothing else keeps.
        assert store.delete_run("run-1") == 1 + 2 + 2 + 2 + 6 + 6 + 4
        # The file of fold 0 has another row, an unclaimed save; so has the classifier, by the save just above.
        assert len(contents(store.workspace_path / "artifacts")) == 2
        assert store.gc_artifacts() == 1
        assert [*contents(store.workspace_path / "artifacts")] == [row["artifact_path"]]


def test_an_old_workspace_without_chains_is_upgraded(tmp_path: Path) -> None:
    make_legacy(tmp_path)
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        for table in ("prediction_arrays", "predictions", "chains", "logs", "pipelines", "runs"):
            connection.execute(f"DELETE FROM {table}")
    assert upgrade_workspace(tmp_path).plan.rows["artifacts"] == 6


def test_the_three_doors_lead_to_the_same(old: Path, tmp_path: Path) -> None:
    folders = {door: tmp_path / door for door in ("python", "command", "alembic", "alembic-ini", "environment")}
    for folder in folders.values():
        shutil.copytree(old, folder)
    program = "import nirs4all_store, sys; nirs4all_store.WorkspaceStore(sys.argv[1], upgrade=True).close()"
    bin_folder = Path(sys.executable).parent
    ini = subprocess.run([bin_folder / "nirs4all-store", "alembic-ini"], capture_output=True, text=True, check=True)
    run = {
        "python": [sys.executable, "-c", program, folders["python"]],
        "command": [bin_folder / "nirs4all-store", "upgrade", folders["command"]],
        "alembic": [bin_folder / "alembic", "-x", f"workspace={folders['alembic']}", "upgrade", "head"],
        "alembic-ini": [bin_folder / "alembic", "-c", ini.stdout.strip(), "-x", f"workspace={folders['alembic-ini']}",
                        "upgrade", "head"],
        "environment": [bin_folder / "alembic", "upgrade", "head"],
    }  # fmt: skip
    found = []
    for door, command in run.items():
        place = tmp_path if door == "alembic-ini" else TESTS.parent
        environment = os.environ | ({"NIRS4ALL_WORKSPACE": str(folders[door])} if door == "environment" else {})
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if door != "python":
            assert "Upgraded to revision 0002" in done.stdout
            assert str(folders[door] / "store.duckdb.before-0001") in done.stdout
        assert (folders[door] / "store.duckdb.before-0001").read_bytes() == (old / "store.duckdb").read_bytes()
        with duckdb.connect(str(folders[door] / "store.duckdb"), read_only=True) as connection:
            tables = [*migrate.KEYS, "alembic_version"]
            found.append([repr(connection.execute(f"SELECT * FROM {t} ORDER BY ALL").fetchall()) for t in tables])
    assert found == found[:1] * len(run)


@pytest.mark.parametrize(
    "command", [["downgrade", "base"], ["upgrade", "0001"], ["upgrade", "head", "--sql"], ["stamp", "head"], ["check"]]
)
def test_alembic_does_nothing_to_a_workspace_but_the_way_up(old: Path, command: list[str]) -> None:
    before = contents(old)
    alembic = Path(sys.executable).with_name("alembic")
    done = subprocess.run([alembic, "-x", f"workspace={old}", *command], cwd=TESTS.parent, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode != 0
    assert "`upgrade head` is the way up" in done.stdout + done.stderr
    assert contents(old) == before


def test_alembic_current_tells_the_revision_of_a_workspace_that_carries_none(old: Path) -> None:
    alembic = Path(sys.executable).with_name("alembic")
    done = subprocess.run([alembic, "-x", f"workspace={old}", "current"], cwd=TESTS.parent, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "0001"


def test_a_second_upgrade_does_nothing(old: Path) -> None:
    first = upgrade_workspace(old)
    after = contents(old)
    second = upgrade_workspace(old)
    assert first.copy == old / "store.duckdb.before-0001"
    assert second.copy is None
    assert second.plan.steps == []
    assert contents(old) == after


def test_a_dry_run_changes_nothing_and_tells_what_would_be_done(old: Path) -> None:
    leave_a_log(old)
    before = contents(old)
    report = upgrade_workspace(old, dry_run=True)
    assert contents(old) == before
    assert report.copy is None
    assert (report.plan.found, report.plan.target, [step for step, _ in report.plan.steps]) == (
        "0001",
        "0002",
        ["0002"],
    )
    assert report.plan.rows["runs"] == 3
    assert report.plan.size == sum((old / name).stat().st_size for name in ("store.duckdb", "store.duckdb.wal"))


def test_the_copy_has_the_log_too_and_both_can_be_put_back(old: Path, tmp_path: Path) -> None:
    leave_a_log(old)
    before = contents(old)
    report = upgrade_workspace(old)
    assert report.copy is not None
    assert report.copy.read_bytes() == before["store.duckdb"]
    assert (old / "store.duckdb.before-0001.wal").read_bytes() == before["store.duckdb.wal"]
    with WorkspaceStore(old) as store:
        assert store.get_run("in-the-log") is not None
    subprocess.run(report.way_back, shell=True, check=True)
    assert {name: content for name, content in contents(old).items() if "before" not in name} == before


def test_a_copy_that_is_there_is_never_written_over(old: Path) -> None:
    fresh = shutil.copytree(old, old.with_name("fresh"))
    upgrade_workspace(old)
    first = (old / "store.duckdb.before-0001").read_bytes()
    # The old database is put back and used by what wrote it; then it is upgraded again.
    shutil.copy(fresh / "store.duckdb", old / "store.duckdb")
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("UPDATE runs SET name = 'other'")
    second = (old / "store.duckdb").read_bytes()
    report = upgrade_workspace(old)
    assert report.copy == old / "store.duckdb.before-0001-2"
    assert (old / "store.duckdb.before-0001").read_bytes() == first
    assert report.copy.read_bytes() == second
    # The same bytes are kept once.
    shutil.copy(report.copy, old / "store.duckdb")
    assert upgrade_workspace(old).copy == report.copy


def test_a_log_that_stood_alone_under_the_name_of_a_copy_once_was_deleted(old: Path) -> None:
    leave_a_log(old)
    first = upgrade_workspace(old)
    assert first.copy is not None
    # The way back that the report does not name: the log stays behind.
    first.copy.replace(old / "store.duckdb")
    report = upgrade_workspace(old)
    assert report.copy == old / "store.duckdb.before-0001-2"
    assert (old / "store.duckdb.before-0001.wal").exists()
    assert not (old / "store.duckdb.before-0001-2.wal").exists()


def test_a_log_whose_only_commit_a_kill_has_torn_once_blocked_upgrade_and_vacuum(old: Path, tmp_path: Path) -> None:
    leave_a_log(old)
    log = old / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:200])
    torn = contents(old)
    report = upgrade_workspace(old)
    assert report.copy is not None
    assert (old / "store.duckdb.before-0001.wal").read_bytes() == torn["store.duckdb.wal"]
    assert not log.exists()
    with WorkspaceStore(old) as store:
        assert store.list_runs().height == 2
    program = f"import nirs4all_store as n, os; n.WorkspaceStore({str(tmp_path / 'new')!r}).begin_run('r'); os._exit(0)"
    subprocess.run([sys.executable, "-c", program], check=True)
    log = tmp_path / "new" / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:100])
    with WorkspaceStore(tmp_path / "new") as store:
        store.vacuum()
        store.begin_run("kept")
    assert not log.exists()
    with WorkspaceStore(tmp_path / "new") as store:
        assert store.list_runs()["name"].to_list() == ["kept"]


def test_a_program_that_writes_and_dies_in_the_middle_once_left_what_nobody_could_open(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(point: points.Point) -> None:
        if point == points.Point.LOG_IS_FOLDED:
            leave_a_log(old)

    monkeypatch.setattr(points, "on_reached", write)
    with pytest.raises(WorkspaceBusyError, match="another program has written to it"):
        upgrade_workspace(old)
    monkeypatch.undo()
    assert inspect_workspace(old).rows["runs"] == 3
    assert upgrade_workspace(old).plan.rows["runs"] == 3


def test_a_second_log_of_a_checkpoint_that_was_killed_once_was_not_copied(old: Path) -> None:
    leave_a_log(old)
    (old / "store.duckdb.wal").rename(old / "store.duckdb.wal.checkpoint")
    before = contents(old)
    assert inspect_workspace(old).log_bytes == len(before["store.duckdb.wal.checkpoint"])
    rows = inspect_workspace(old).rows["runs"]
    report = upgrade_workspace(old)
    assert (old / "store.duckdb.before-0001.wal.checkpoint").read_bytes() == before["store.duckdb.wal.checkpoint"]
    assert inspect_workspace(old).copies == [report.copy]
    assert inspect_workspace(old).rows["runs"] == rows


@pytest.mark.parametrize("dangling", [False, True])
def test_a_database_behind_a_link_once_lost_what_stood_in_its_log(old: Path, tmp_path: Path, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    (old / "store.duckdb").rename(elsewhere)
    (old / "store.duckdb").symlink_to(tmp_path / "unmounted" if dangling else elsewhere)
    for use in (upgrade_workspace, WorkspaceStore):
        with pytest.raises((WorkspaceCorruptError, WorkspaceNotFoundError), match=r"link|no workspace"):
            use(old)
    assert (old / "store.duckdb").is_symlink()


def test_the_copy_of_a_private_database_once_could_be_read_by_all(old: Path) -> None:
    leave_a_log(old)
    for name in ("store.duckdb", "store.duckdb.wal"):
        (old / name).chmod(0o600)
    upgrade_workspace(old)
    for name in ("store.duckdb", "store.duckdb.before-0001", "store.duckdb.before-0001.wal"):
        assert (old / name).stat().st_mode & 0o777 == 0o600


def test_a_table_built_anew_without_its_key_once_was_not_compared(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE other AS FROM logs; DROP TABLE logs; ALTER TABLE other RENAME TO logs")
    with pytest.raises(UpgradeFailedError, match="logs had 3 rows and has 0"):
        upgrade_workspace(old, migrations=broken("DELETE FROM logs"))
    assert upgrade_workspace(old).plan.rows["logs"] == 3


ODD_CHAINS = {
    "steps": ['"abc"', "5", "{}", '["a"]', "[null]", '[{"step_idx": 1, "artifact_id": {"a": 1}}]'],
    "fold_artifacts": ['["cfg$log:0"]', '{"0": 5}', "true"],
    "shared_artifacts": ['{"1": true}', '{"1": [["cfg$log:0"]]}', '{"1": {"branch": ["cfg$log:0"]}}'],
}


@pytest.mark.parametrize(
    ("column", "value"), [(column, value) for column in ODD_CHAINS for value in ODD_CHAINS[column]]
)
def test_a_chain_of_an_odd_shape_once_kept_the_whole_workspace_out(old: Path, column: str, value: str) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(f"UPDATE chains SET {column} = ? WHERE chain_id = 'chain-Logistic'", [value])
    upgrade_workspace(old)
    with WorkspaceStore(old) as store:
        assert store.get_chain("chain-Logistic") is not None
        store.gc_artifacts()
        if "cfg$log:0" in value:
            assert store.load_artifact("cfg$log:0") is not None
        assert store.delete_run("run-1") > 0


@pytest.mark.parametrize("revision", ["0001", "0002", None])
def test_a_stranger_with_a_revision_of_ours_is_no_workspace(tmp_path: Path, revision: str | None) -> None:
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE sales(a INTEGER); CREATE TABLE alembic_version(version_num VARCHAR)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    before = contents(tmp_path)
    for use in (upgrade_workspace, inspect_workspace, WorkspaceStore):
        with pytest.raises(WorkspaceCorruptError, match="lacks the seven tables"):
            use(tmp_path)
    assert contents(tmp_path) == before
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("columns", ["version_num INTEGER", "other VARCHAR"])
def test_a_table_of_revisions_of_another_shape_is_a_clear_error(old: Path, columns: str) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(f"CREATE TABLE alembic_version({columns}); INSERT INTO alembic_version VALUES ('7')")
    before = contents(old)
    for use in (upgrade_workspace, WorkspaceStore):
        with pytest.raises(WorkspaceCorruptError, match="revision"):
            use(old)
    assert contents(old) == before


def test_a_database_that_this_process_has_open_through_duckdb_keeps_its_lock(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        for use in (upgrade_workspace, inspect_workspace, WorkspaceStore):
            with pytest.raises(WorkspaceBusyError, match="through duckdb itself"):
                use(old)
        connection.execute("INSERT INTO runs(run_id, name) VALUES ('mine', 'r')")
        rival = f"import duckdb; duckdb.connect({str(old / 'store.duckdb')!r})"
        done = subprocess.run([sys.executable, "-c", rival], capture_output=True, text=True, check=False)
        assert "Could not set lock" in done.stderr
    assert upgrade_workspace(old).plan.rows["runs"] == 3


def test_names_that_look_like_markup_are_printed_as_they_are(old: Path) -> None:
    (old.parent / "x[").mkdir()
    workspace = old.rename(old.parent / "x[" / "c] [red]")
    with duckdb.connect(str(workspace / "store.duckdb")) as connection:
        connection.execute('CREATE TABLE "[/x]"(a INTEGER)')
    command = Path(sys.executable).with_name("nirs4all-store")
    for arguments in (["info"], ["upgrade", "--dry-run"], ["upgrade"]):
        done = subprocess.run([command, *arguments, workspace], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert str(workspace) in done.stdout
    assert shlex.quote(str(workspace / "store.duckdb.before-0001")) in done.stdout


def test_cache_columns_are_kept_also_when_one_is_missing(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(
            "DROP INDEX idx_artifacts_cache_key; DROP INDEX idx_artifacts_content_hash; "
            "ALTER TABLE artifacts DROP COLUMN dataset_hash"
        )
    upgrade_workspace(old)
    with WorkspaceStore(old) as store, store.unit_of_work() as uow:
        row = uow.artifacts.get("cfg$log:0")
        assert row is not None
        assert row["provenance"] == {"nirs4all_cache": {"chain_path_hash": "cache", "input_data_hash": None}}


def test_two_processes_upgrade_at_once_and_one_does_it(old: Path) -> None:
    program = (
        f"import nirs4all_store, sys; sys.stdin.readline(); print(nirs4all_store.upgrade_workspace({str(old)!r}).copy)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = sorted(process.communicate()[0].strip() for process in started)
    assert printed == [str(old / "store.duckdb.before-0001"), "None"]


@pytest.mark.parametrize("read_only", [True, False])
def test_an_upgrade_waits_for_nobody_who_knows_no_lease_and_changes_nothing(old: Path, read_only: bool) -> None:
    before = contents(old)
    program = (
        f"import duckdb, sys; c = duckdb.connect({str(old / 'store.duckdb')!r}, read_only={read_only}); "
        "print('open', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(WorkspaceBusyError, match=str(other.pid)):
            upgrade_workspace(old)
        assert contents(old) == before
        other.communicate("\n")
    assert upgrade_workspace(old).copy is not None


def test_a_workspace_that_this_process_has_open_is_not_upgraded(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path), pytest.raises(WorkspaceBusyError, match="this process"):
        upgrade_workspace(tmp_path)


def broken(statement: str) -> migrate.Migrations:
    """Return migrations that also do something that they should not."""

    def run(connection: Connection) -> None:
        migrate.run_migrations(connection)
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
    "UPDATE alembic_version SET version_num = '0001'": "did not lead to 0002",
    "SELECT 1/0 + x": "could not be upgraded",
}


@pytest.mark.parametrize("statement", LOSSES)
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


def test_columns_that_no_revision_knows_are_not_dropped_silently(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("ALTER TABLE chains ADD COLUMN notes VARCHAR DEFAULT 'mine'")
    with pytest.raises(UpgradeFailedError, match=r"chains\.notes is not there any more"):
        upgrade_workspace(old)
    assert inspect_workspace(old).revision == "0001"


def test_tables_of_the_users_own_stay(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(
            """
            CREATE TABLE "my ""own"":x%"(text VARCHAR, "a ""b" INTEGER PRIMARY KEY);
            INSERT INTO "my ""own"":x%" VALUES ('one', 1), ('two', 2);
            CREATE SCHEMA lab; CREATE TABLE lab.runs(run_id VARCHAR PRIMARY KEY); INSERT INTO lab.runs VALUES ('mine');
            CREATE VIEW best AS SELECT max(val_score) AS score FROM predictions
            """
        )
    upgrade_workspace(old)
    assert inspect_workspace(old).rows['my "own":x%'] == 2
    with duckdb.connect(str(old / "store.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT * FROM lab.runs").fetchall() == [("mine",)]
        assert connection.execute('SELECT text FROM "my ""own"":x%" ORDER BY 1').fetchall() == [("one",), ("two",)]
        assert connection.execute("SELECT score FROM best").fetchall() != [(None,)]


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


@pytest.mark.parametrize("stage", ["copying", "rewriting", "comparing"])
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
            assert "it is as it was" in str(error)
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


def stand_at(revision: str) -> Callable[[Path], None]:
    def make(workspace: Path) -> None:
        WorkspaceStore(workspace).close()
        with duckdb.connect(str(workspace / "store.duckdb")) as connection:
            connection.execute("DELETE FROM alembic_version")
            if revision:
                connection.execute(f"INSERT INTO alembic_version VALUES ('{revision}')")

    return make


def remove_database(workspace: Path) -> None:
    workspace.mkdir()


REFUSED = {
    "newer": (stand_at("9999"), WorkspaceTooNewError, "install a newer nirs4all-store"),
    "unknown": (stand_at("abcdef"), WorkspaceCorruptError, "unknown revision 'abcdef'"),
    "of before the first": (stand_at("0000"), WorkspaceCorruptError, "unknown revision '0000'"),
    "none": (stand_at(""), WorkspaceCorruptError, "unknown revision ''"),
    "no database": (remove_database, WorkspaceNotFoundError, "there is no workspace"),
    "no folder": (lambda workspace: None, WorkspaceNotFoundError, "there is no workspace"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_upgraded_is_refused_and_not_touched(tmp_path: Path, case: str) -> None:
    make, error, message = REFUSED[case]
    make(tmp_path / "w")
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").glob("store*")}
    with pytest.raises(error, match=message):
        upgrade_workspace(tmp_path / "w")
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (tmp_path / "w").exists() == (case != "no folder")


def test_an_outdated_workspace_names_the_command_that_upgrades_it(old: Path) -> None:
    with pytest.raises(WorkspaceOutdatedError, match=rf"nirs4all-store upgrade {old}`"):
        WorkspaceStore(old)
    with pytest.raises(WorkspaceOutdatedError, match="upgrade"):
        WorkspaceStore(old, read_only=True, upgrade=True)


def test_info_tells_of_old_new_and_too_new_workspaces_alike(old: Path, tmp_path: Path) -> None:
    info = inspect_workspace(old)
    assert (info.revision, info.newest, info.rows["predictions"]) == ("0001", "0002", 6)
    assert info.artifact_files == 5
    assert info.artifact_bytes == sum(len(content) for content in contents(old / "artifacts").values())
    upgrade_workspace(old)
    assert inspect_workspace(old).copies == [old / "store.duckdb.before-0001"]
    stand_at("9999")(tmp_path / "newer")
    assert inspect_workspace(tmp_path / "newer").revision == "9999"
    command = Path(sys.executable).with_name("nirs4all-store")
    for folder, advice in ((old, "revision   0002\n"), (tmp_path / "newer", "this version works on 0002")):
        done = subprocess.run([command, "info", folder], capture_output=True, text=True, check=True)
        assert advice in done.stdout
    assert "6 predictions" in subprocess.run([command, "info", old], capture_output=True, text=True, check=True).stdout


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


@pytest.mark.parametrize("log", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_at_any_step_the_workspace_is_the_old_one_or_the_new_one(old: Path, tmp_path: Path, log: bool) -> None:
    if log:
        leave_a_log(old)
    upgrade_workspace(shutil.copytree(old, tmp_path / "new"))
    done = subprocess.run(
        [sys.executable, TESTS / "kill_upgrade.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 100


@pytest.fixture(scope="session")
def duckdb_1_4(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give an environment in which Python finds the duckdb that nirs4all 0.7 used."""
    folder = tmp_path_factory.mktemp("duckdb")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "duckdb==1.4.4"]
    subprocess.run(install, check=True)
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{TESTS}"}


def test_what_wrote_the_workspace_can_open_the_copy(duckdb_1_4: dict[str, str], tmp_path: Path) -> None:
    make = f"""
import duckdb, os, pathlib
from legacy import make_legacy
assert duckdb.__version__ == "1.4.4"
folder = pathlib.Path({str(tmp_path / "w")!r})
make_legacy(folder)
connection = duckdb.connect(str(folder / "store.duckdb"))
connection.execute("INSERT INTO runs(run_id, name) VALUES ('in-the-log', 'r')")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", make], env=duckdb_1_4, check=True)
    assert (tmp_path / "w" / "store.duckdb.wal").exists()
    report = upgrade_workspace(tmp_path / "w")
    with WorkspaceStore(tmp_path / "w") as store:
        assert store.list_runs().height == 3
    look = f"import duckdb; print(duckdb.connect({str(report.copy)!r}).execute('SELECT count(*) FROM runs').fetchall())"
    done = subprocess.run([sys.executable, "-c", look], env=duckdb_1_4, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[(3,)]"


def test_arrays_too_long_for_little_memory_are_upgraded_in_more(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(
            "INSERT INTO predictions(prediction_id, pipeline_id, dataset_name, model_name, model_class, fold_id, "
            "partition, metric, task_type) SELECT 'long' || i, 'pipeline-Ridge', 'd', 'm', 'm', '0', 'val', 'rmse', "
            "'regression' FROM range(500) t(i)"
        )
        connection.execute(
            "INSERT INTO prediction_arrays(prediction_id, y_pred) "
            "SELECT 'long' || i, list_resize([i], 50000, i) FROM range(500) t(i)"
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
def test_many_predictions_are_upgraded_in_little_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
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
import resource, nirs4all_store as n
report = n.upgrade_workspace({str(tmp_path)!r})
print(report.plan.rows["prediction_arrays"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, report.seconds)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows, megabytes, seconds = done.stdout.split()
    record_property("figures", f"{rows} rows in {float(seconds):.1f} s, {megabytes} MB")
    assert int(rows) == MANY + 6
    assert int(megabytes) < MEGABYTES
