"""Workspaces of nirs4all arrive whole, whatever is odd in them, and are used as new ones are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from legacy import X_NEW, contents, make_legacy
from programs import run_script
from samples import all_but_few, slow

from nirs4all_store import WorkspaceCorruptError, WorkspaceStore, inspect_workspace, upgrade_workspace

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=[slow("0.7.0"), "0.7.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
        done = run_script(script, tmp_path / "X.csv")
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


REAL = Path(__file__).parents[3] / "shared" / "old_workspaces"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/old_workspaces")
def test_sound_workspaces_of_classifiers_once_had_arrays_that_differ_in_length(tmp_path: Path, version: str) -> None:
    shutil.copytree(REAL / f"nirs4all-{version}", tmp_path / "w")
    upgrade_workspace(tmp_path / "w")
    with WorkspaceStore(tmp_path / "w") as store:
        assert store.sql("SELECT count(*) FROM prediction_arrays WHERE y_proba IS NOT NULL").item() > 0
        assert store.check(deep=True).findings == []
        assert store.repair(deep=True).repaired == []


def test_probabilities_that_no_number_of_classes_explains_are_still_found(tmp_path: Path, version: str) -> None:
    make_legacy(tmp_path, version)
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("UPDATE prediction_arrays SET y_proba = [0.5, 0.5, 0.5, 0.5] WHERE len(y_true) = 3")
    upgrade_workspace(tmp_path)
    with WorkspaceStore(tmp_path) as store:
        found = {finding.code for finding in store.check(deep=True).findings}
    assert found == {"unreadable-value"}


def test_an_old_workspace_without_chains_is_upgraded(tmp_path: Path) -> None:
    make_legacy(tmp_path)
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        for table in ("prediction_arrays", "predictions", "chains", "logs", "pipelines", "runs"):
            connection.execute(f"DELETE FROM {table}")
    assert upgrade_workspace(tmp_path).plan.rows["artifacts"] == 6


ODD_CHAINS = {
    "steps": ['"abc"', "5", "{}", '["a"]', "[null]", '[{"step_idx": 1, "artifact_id": {"a": 1}}]'],
    "fold_artifacts": ['["cfg$log:0"]', '{"0": 5}', "true"],
    "shared_artifacts": ['{"1": true}', '{"1": [["cfg$log:0"]]}', '{"1": {"branch": ["cfg$log:0"]}}'],
}


@pytest.mark.parametrize("column", all_but_few(ODD_CHAINS, ["steps"]))
def test_a_chain_of_an_odd_shape_once_kept_the_whole_workspace_out(old: Path, column: str) -> None:
    first, *others = ODD_CHAINS[column]
    chain_ids = ["chain-Logistic", *(f"chain-{number}" for number in range(len(others)))]
    odd = f"SELECT * REPLACE (? AS chain_id, ? AS {column}) FROM chains WHERE chain_id = 'chain-Logistic'"
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        for chain_id, value in zip(chain_ids[1:], others, strict=True):
            connection.execute(f"INSERT INTO chains {odd}", [chain_id, value])
        connection.execute(f"UPDATE chains SET {column} = ? WHERE chain_id = 'chain-Logistic'", [first])
    upgrade_workspace(old)
    with WorkspaceStore(old) as store:
        assert [chain_id for chain_id in chain_ids if store.get_chain(chain_id) is None] == []
        store.gc_artifacts()
        if "cfg$log:0" in "".join(ODD_CHAINS[column]):
            assert store.load_artifact("cfg$log:0") is not None
        assert store.delete_run("run-1") > 0


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


def test_columns_that_no_revision_knows_are_not_dropped_silently(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("ALTER TABLE chains ADD COLUMN notes VARCHAR DEFAULT 'mine'")
    with pytest.raises(WorkspaceCorruptError, match=r"column chains\.notes .*ALTER TABLE chains DROP COLUMN notes"):
        upgrade_workspace(old)
    assert inspect_workspace(old).revision == "0001"


def test_tables_of_the_users_own_stay(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(
            """
            CREATE TABLE "my ""own"":x%"(text VARCHAR, "a ""b" INTEGER PRIMARY KEY);
            INSERT INTO "my ""own"":x%" VALUES ('one', 1), ('two', 2);
            CREATE SCHEMA lab; CREATE TABLE lab.runs(run_id VARCHAR PRIMARY KEY); INSERT INTO lab.runs VALUES ('mine')
            """
        )
    upgrade_workspace(old)
    assert inspect_workspace(old).rows['my "own":x%'] == 2
    with duckdb.connect(str(old / "store.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT * FROM lab.runs").fetchall() == [("mine",)]
        assert connection.execute('SELECT text FROM "my ""own"":x%" ORDER BY 1').fetchall() == [("one",), ("two",)]


@pytest.fixture(scope="session")
def duckdb_1_4(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give an environment in which Python finds the duckdb that nirs4all 0.7 used."""
    folder = tmp_path_factory.mktemp("duckdb")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "duckdb==1.4.4"]
    subprocess.run(install, check=True)
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{TESTS}"}


@pytest.mark.slow
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
