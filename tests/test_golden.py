"""Every revision's schema is the one written down, and its golden workspace comes along and is used."""

import json
import re
import shutil
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from alembic import command
from samples import all_but_few
from sqlalchemy import Connection

from nirs4all_store import WorkspaceStore, inspect_workspace, load_bundle, upgrade_workspace
from nirs4all_store.engine.duckdb import migrator, upgrade
from nirs4all_store.testing.store_machine import TABLES

pytestmark = pytest.mark.makes_databases

GOLDEN = Path(__file__).parent / "golden"
CATALOGS = migrator.script_folder() / "catalogs"
REVISIONS = [path.stem.split("_")[0] for path in sorted((migrator.script_folder() / "versions").glob("*.py"))]
FIRST, BETWEEN, ENDS = (all_but_few(REVISIONS, few) for few in (["0001"], ["0004"], ["0001", migrator.HEAD]))
"""The first, what wrote most workspaces between it and the last, and the two ends."""
SCHEMA = """
    SELECT sql FROM duckdb_tables() WHERE NOT internal UNION ALL SELECT sql FROM duckdb_indexes()
    UNION ALL SELECT sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL
"""


def unpack(revision: str, folder: Path) -> dict[str, Any]:
    """Unpack a golden workspace; return what must be true of it."""
    with zipfile.ZipFile(GOLDEN / f"{revision}.zip") as archive:
        archive.extractall(folder)
    return dict(json.loads((folder / "expected.json").read_text()))


def test_every_revision_has_a_golden_workspace_and_a_schema() -> None:
    for paths in (GOLDEN.glob("*.zip"), CATALOGS.glob("*.sql")):
        assert sorted(path.stem for path in paths) == REVISIONS


@pytest.mark.parametrize("revision", ENDS)
def test_the_schema_of_a_revision_is_the_one_written_down(revision: str, tmp_path: Path) -> None:
    def to_revision(connection: Connection) -> None:
        config = migrator.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    migrator.run(tmp_path / "store.duckdb", to_revision)
    with duckdb.connect(str(tmp_path / "store.duckdb"), read_only=True) as connection:
        statements = [sql for (sql,) in connection.execute(SCHEMA).fetchall()]
    # One column a line.
    found = "".join(re.sub(r", (?=\"?\w+\"? [A-Z])", ",\n    ", statement) + "\n" for statement in statements)
    # What nirs4all's later versions had at 0001 is more than the migration makes.
    written = GOLDEN / "0001.sql" if revision == "0001" else CATALOGS / f"{revision}.sql"
    assert found == written.read_text()


@pytest.mark.filterwarnings("ignore:Trying to unpickle")  # scikit-learn says that it is newer than the models.
@pytest.mark.parametrize("revision", ENDS)
def test_a_golden_workspace_comes_along_and_is_used(revision: str, tmp_path: Path) -> None:
    expected = unpack(revision, tmp_path / "w")
    X_new = np.array(expected["X_new"])
    report = upgrade_workspace(tmp_path / "w")
    assert (report.copy is not None) == (revision != migrator.HEAD)
    rows = inspect_workspace(tmp_path / "w").rows
    assert {table: rows[table] for table in expected["rows"]} == expected["rows"]
    with WorkspaceStore(tmp_path / "w") as store:
        metric = store.get_prediction(expected["best"][0])["metric"]  # type: ignore[index]
        top = store.top_predictions(3, score_metric=metric)
        assert top["prediction_id"].to_list() == expected["best"]
        for prediction_id, y_pred in expected["y_pred"].items():
            found = store.get_prediction(prediction_id, load_arrays=True)
            assert found is not None
            np.testing.assert_array_equal(found["y_pred"], y_pred)
        for dataset_id, frame in expected.get("datasets", {}).items():
            assert store.load_dataset(dataset_id).to_dict(as_series=False) == frame
        for chain_id, y in expected["replay"].items():
            replayed = store.replay_chain(chain_id, X_new)
            if replayed.dtype.kind == "f":
                np.testing.assert_allclose(replayed, y, rtol=1e-9)
            else:
                assert replayed.tolist() == y
            bundle = store.export_chain(chain_id, tmp_path / chain_id)
            np.testing.assert_array_equal(load_bundle(bundle, trusted=True).predict(X_new), replayed)
        for run_id in expected["runs"]:
            assert store.delete_run(run_id) > 0
        store.gc_artifacts(grace=timedelta(0))
        with store.unit_of_work() as uow:
            assert uow.artifacts.paths() == set()
    assert inspect_workspace(tmp_path / "w").artifact_files == 0
    assert {count for table, count in inspect_workspace(tmp_path / "w").rows.items() if table in TABLES} == {0}


@pytest.mark.parametrize("revision", BETWEEN)
def test_a_golden_workspace_is_sound(revision: str, tmp_path: Path) -> None:
    unpack(revision, tmp_path / "w")
    upgrade_workspace(tmp_path / "w")
    with WorkspaceStore(tmp_path / "w") as store:
        assert store.check(deep=True).findings == []


NEXT = f"{int(migrator.HEAD) + 1:04}"
NEXT_REVISION = f'''
"""Notes on predictions, and longer durations."""

from alembic import op

revision = "{NEXT}"
down_revision = "{migrator.HEAD}"
rewrites = {{"logs": {{"event"}}}}


def upgrade():
    op.execute("ALTER TABLE predictions ADD COLUMN notes VARCHAR")
    op.rebuild_table(
        "logs",
        """
        log_id VARCHAR PRIMARY KEY, pipeline_id VARCHAR NOT NULL, step_idx BIGINT NOT NULL, operator_class VARCHAR,
        event VARCHAR NOT NULL, duration_ms DOUBLE, message VARCHAR, details JSON, level VARCHAR NOT NULL,
        created_at TIMESTAMP NOT NULL, source VARCHAR
        """,
        {{"event": "upper(event)", "source": "'old'"}},
    )
'''


@pytest.mark.parametrize("revision", FIRST)
def test_the_next_revision_will_find_its_way(revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = unpack(revision, tmp_path / "w")
    shutil.copytree(migrator.script_folder(), tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / f"{NEXT}_notes.py").write_text(NEXT_REVISION)
    monkeypatch.setattr(migrator, "script_folder", lambda: tmp_path / "migrations")
    monkeypatch.setattr(migrator, "REVISIONS", (*migrator.REVISIONS, f"{NEXT}_notes"))
    for module in (migrator, upgrade):
        monkeypatch.setattr(module, "HEAD", NEXT)
    report = upgrade_workspace(tmp_path / "w")
    assert [step for step, _ in report.plan.steps] == [*REVISIONS[1:], NEXT][REVISIONS.index(revision) :]
    assert expected["rows"].items() <= inspect_workspace(tmp_path / "w").rows.items()
    with duckdb.connect(str(tmp_path / "w" / "store.duckdb"), read_only=True) as connection:
        logs = connection.execute("SELECT DISTINCT event, source, typeof(duration_ms) FROM logs").fetchall()
        keys = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() "
            "WHERE table_name = 'logs' AND constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    assert logs == [("END", "old", "DOUBLE")]
    assert keys == [(["log_id"],)]
