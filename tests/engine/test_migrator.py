"""The schema comes from the migrations alone, equals the models, and old workspaces come along."""

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from samples import all_but_few
from sqlalchemy import ARRAY, JSON, BigInteger, DateTime, Double, Integer, String

from nirs4all_store import ArtifactLoadError, WorkspaceOutdatedError, WorkspaceStore
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.storage.models import Base

pytestmark = pytest.mark.makes_databases

OLD = Path(__file__).parents[3] / "shared" / "old_workspaces"
needs_old = pytest.mark.skipif(not OLD.is_dir(), reason="the real old workspaces are not in the project")
VERSIONS = ["nirs4all-0.7.0", "nirs4all-0.7.1"]
NAMES = {
    String: "VARCHAR",
    JSON: "JSON",
    BigInteger: "BIGINT",
    Integer: "INTEGER",
    Double: "DOUBLE",
    DateTime: "TIMESTAMP",
}
CATALOG = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
"""
KEYS = """
    SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints()
    WHERE constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY', 'UNIQUE', 'CHECK') ORDER BY ALL
"""


def type_name(kind: object) -> str:
    if isinstance(kind, ARRAY):
        return f"{type_name(kind.item_type)}[]"
    return next(name for base, name in NAMES.items() if isinstance(kind, base))


def test_a_new_database_has_what_the_migrations_make(tmp_path: Path) -> None:
    migrator.create(tmp_path / "new.duckdb")
    migrator.run(tmp_path / "migrated.duckdb", migrator.run_migrations)
    found = []
    for path in (tmp_path / "new.duckdb", tmp_path / "migrated.duckdb"):
        with duckdb.connect(str(path), read_only=True) as connection:
            found.append([connection.execute(query).fetchall() for query in (CATALOG, KEYS, "FROM alembic_version")])
    assert found[0] == found[1]
    assert found[0][-1] == [(migrator.HEAD,)]


@pytest.fixture
def first_revision(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database at revision 0001, made by that revision alone."""
    connection = duckdb.connect(str(tmp_path / "store.duckdb"))
    source = next((migrator.script_folder() / "versions").glob("0001_*.py")).read_text()
    names: dict[str, object] = {}
    exec(source.replace("from alembic import op", ""), names)
    for statement in (*names["TABLES"], *names["INDEXES"]):  # type: ignore[misc]
        connection.execute(statement)
    yield connection
    connection.close()


def test_head_equals_the_models_column_by_column(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / "store.duckdb"), read_only=True) as connection:
        rows = connection.execute(CATALOG).fetchall()
        keys = connection.execute(KEYS).fetchall()
        indexes = connection.execute("SELECT * FROM duckdb_indexes()").fetchall()
    found = [row for row in rows if row[0] != "alembic_version"]
    expected = [
        (table.name, column.name, type_name(column.type), column.nullable, None)
        for table in sorted(Base.metadata.tables.values(), key=lambda table: table.name)
        for column in table.columns
    ]
    assert found == expected
    assert [key for key in keys if key[0] != "alembic_version"] == sorted(
        (table.name, "PRIMARY KEY", [column.name for column in table.primary_key.columns])
        for table in Base.metadata.tables.values()
    )
    assert indexes == []


def test_there_is_one_head_and_the_store_knows_it() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrator.script_folder()))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrator.HEAD]
    assert [revision.revision for revision in script.walk_revisions()][-4:] == ["0004", "0003", "0002", "0001"]


def test_revisions_import_nothing_that_can_change() -> None:
    for path in (migrator.script_folder() / "versions").glob("*.py"):
        imported = set(re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        assert imported <= {"json", "typing", "sqlalchemy", "alembic"}, path.name


@needs_old
def test_revision_0001_is_what_nirs4all_0_7_0_wrote(first_revision: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    copy = shutil.copy(OLD / "nirs4all-0.7.0" / "store.duckdb", tmp_path / "real.duckdb")
    tables = "SELECT table_name, sql FROM duckdb_tables() ORDER BY ALL"
    indexes = "SELECT index_name, sql FROM duckdb_indexes() ORDER BY ALL"
    with duckdb.connect(str(copy), read_only=True) as real:
        for query in (CATALOG, KEYS, tables, indexes):
            assert first_revision.execute(query).fetchall() == real.execute(query).fetchall()


def fill(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write a small workspace as nirs4all 0.7 does, with two rows for one file and one that no chain names."""
    content = b"\x80\x04]q\x00K\x01a."  # The pickle of [1].
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    (folder / "artifacts" / digest[:2]).mkdir(parents=True)
    path = f"{digest[:2]}/model_List_{digest[:12]}.pkl"
    (folder / "artifacts" / path).write_bytes(content)
    connection.execute("INSERT INTO runs(run_id, name, datasets) VALUES ('r', 'old', '[{\"name\": \"wheat\"}]')")
    connection.execute("INSERT INTO pipelines(pipeline_id, run_id, name, dataset_name) VALUES ('p', 'r', 'n', 'wheat')")
    for artifact_id in ("config$a:0", "config$a:1", "config$b:all"):
        connection.execute(
            "INSERT INTO artifacts(artifact_id, artifact_path, content_hash, format) VALUES (?, ?, ?, 'pickle')",
            [artifact_id, path, f"sha256:{digest}"],
        )
    steps = [{"step_idx": 1, "operator_class": "L", "artifact_ids": ["config$a:0"], "stateless": False}]
    folds = {"fold_0": "config$a:0", "fold_1": "config$a:1"}
    connection.execute(
        "INSERT INTO chains(chain_id, pipeline_id, steps, model_step_idx, model_class, fold_artifacts,"
        " shared_artifacts) VALUES ('c', 'p', ?, 1, 'L', ?, '{\"_source_map\": {\"1\": {}}}')",
        [json.dumps(steps), json.dumps(folds)],
    )
    connection.execute(
        "INSERT INTO predictions(prediction_id, pipeline_id, chain_id, dataset_name, model_name, model_class, fold_id,"
        " partition, val_score, metric, task_type)"
        " VALUES ('0123456789abcdef', 'p', 'c', 'wheat', 'L', 'L', 'avg', 'val', 0.5, 'mse', 'regression')"
    )
    connection.execute(
        "INSERT INTO prediction_arrays VALUES ('0123456789abcdef', [1.5, NULL], [1, 2], NULL, [7, 8], [0.1, 0.9])"
    )
    connection.execute("INSERT INTO logs(log_id, pipeline_id, step_idx, event) VALUES ('l', 'p', 1, 'end')")


def test_an_old_workspace_is_never_changed_by_opening_it(
    first_revision: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    fill(first_revision, tmp_path)
    first_revision.close()
    before = (tmp_path / "store.duckdb").read_bytes()
    with pytest.raises(WorkspaceOutdatedError, match="upgrade=True"):
        WorkspaceStore(tmp_path)
    assert (tmp_path / "store.duckdb").read_bytes() == before


def test_an_upgraded_workspace_is_used_like_a_new_one(
    first_revision: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    fill(first_revision, tmp_path)
    first_revision.close()
    before = (tmp_path / "store.duckdb").read_bytes()
    with WorkspaceStore(tmp_path, upgrade=True) as store:
        assert (tmp_path / "store.duckdb.before-0001").read_bytes() == before
        assert store.top_predictions(1)["prediction_id"].to_list() == ["0123456789abcdef"]
        prediction = store.get_prediction("0123456789abcdef", load_arrays=True)
        assert prediction is not None
        np.testing.assert_array_equal(prediction["y_true"], [1.5, np.nan])
        np.testing.assert_array_equal(prediction["sample_indices"], [7, 8])
        with store.unit_of_work() as uow:
            rows = uow.artifacts.get_many(["config$a:0", "config$a:1", "config$b:all"])
        counts = {key: (row["ref_count"], row["unclaimed"]) for key, row in rows.items()}
        assert counts == {"config$a:0": (1, 0), "config$a:1": (1, 0), "config$b:all": (1, 1)}
        assert store.load_artifact("config$a:1") == [1]
        assert store.list_runs(dataset="wheat").height == 1
        # Everything, the dataset with its pipeline, but the unclaimed artifact, whose row keeps the file.
        assert store.delete_run("r") == 9
        assert store.load_artifact("config$b:all") == [1]


@pytest.mark.slow
def test_an_upgraded_workspace_opens_again_without_another_upgrade(
    first_revision: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    fill(first_revision, tmp_path)
    first_revision.close()
    WorkspaceStore(tmp_path, upgrade=True).close()
    copy = tmp_path / "store.duckdb.before-0001"
    made = copy.stat().st_mtime_ns
    WorkspaceStore(tmp_path, upgrade=True).close()
    assert copy.stat().st_mtime_ns == made


@needs_old
@pytest.mark.parametrize("version", all_but_few(VERSIONS, ["nirs4all-0.7.0"]))
def test_the_real_old_workspaces_come_along(version: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(OLD / version, workspace, copy_function=shutil.copyfile)
    workspace.chmod(0o755)
    expected = json.loads((OLD / version / "expected.json").read_text())
    with WorkspaceStore(workspace, upgrade=True) as store:
        tables = {
            "runs": store.list_runs(),
            "pipelines": store.list_pipelines(),
            "predictions": store.query_predictions(),
        }
        for table, frame in tables.items():
            assert frame.height == expected["row_counts"][table]
        top = store.top_predictions(3, score_metric="mse", task_type="regression")
        assert top["prediction_id"].to_list() == [row[0] for row in expected["best_val"]]
        assert [row[0] for row in expected["best_val"]] == top["prediction_id"].to_list()


@needs_old
def test_the_real_chains_of_0_7_1_replay_to_the_values_they_had(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(OLD / "nirs4all-0.7.1", workspace, copy_function=shutil.copyfile)
    expected = np.load(OLD / "nirs4all-0.7.1" / "expected_replay.npz")
    packages = json.loads((workspace / "expected.json").read_text())["modules_needed_by_chain"]
    X_new = np.load(workspace / "spectra.npz")["X_new"]
    with WorkspaceStore(workspace, upgrade=True) as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells that it is newer than the models.
        for chain_id in expected.files:
            if packages[chain_id] == ["sklearn"]:
                np.testing.assert_allclose(store.replay_chain(chain_id, X_new), expected[chain_id], rtol=1e-5)
            else:
                with pytest.raises(ArtifactLoadError, match="'nirs4all'"):
                    store.replay_chain(chain_id, X_new)
        assert "standalone" in store.query_predictions()["refit_context"].to_list()
