"""A workspace from before datasets were rows: they become rows, and `resume=True` trains nothing again."""

import runpy
import zipfile
from pathlib import Path

import duckdb
import numpy as np
import pytest

from nirs4all_store import PipelineRunner, WorkspaceStore, upgrade_workspace

GOLDEN = Path(__file__).parent / "golden" / "before_datasets"
TRAINED = runpy.run_path(str(GOLDEN / "make.py"))["TRAINED"]
pytestmark = pytest.mark.filterwarnings("ignore:Trying to unpickle")  # scikit-learn is newer than the models.


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Return a workspace in which the runner of commit d2f5c78 trained, upgraded."""
    with zipfile.ZipFile(GOLDEN / "workspace.zip") as archive:
        archive.extractall(tmp_path / "w")
    upgrade_workspace(tmp_path / "w")
    return tmp_path / "w"


def test_resume_trains_nothing_again_that_was_trained_before_datasets_were_rows(before: Path) -> None:
    with WorkspaceStore(before) as store:
        assert store.list_pipelines().height == len(TRAINED)
        for config, data in TRAINED:
            runner = PipelineRunner(store, progress=False)
            found = runner.run(config, data, resume=True)
            assert runner.run_id is None
            assert set(found["dataset_name"]) == {data["name"]}
        assert store.list_pipelines().height == len(TRAINED)


def test_a_dataset_from_before_says_what_was_known_and_takes_its_data(before: Path) -> None:
    with WorkspaceStore(before) as store:
        rows = (
            store.list_datasets().select("name", "n_samples", "n_features", "task_type", "x_hash").sort("name").rows()
        )
        assert rows == [("arrays", 15, 4, "regression", None), ("table", 15, 4, "regression", None)]
        named = dict(store.list_pipelines().select("dataset_name", "dataset_id").iter_rows())
        assert named == dict(store.list_datasets().select("name", "dataset_id").iter_rows())
        (_, arrays), (_, table) = TRAINED
        assert store.attach_dataset(arrays) == named["arrays"]
        np.testing.assert_array_equal(store.load_dataset(named["arrays"])["x1"].head(15), arrays["X"][:, 1])
        # Trained on again, it is the same dataset still.
        assert store.save_dataset(table) == named["table"]
        assert store.load_dataset(named["table"])["row"].to_list() == [*range(15)]
        assert store.list_datasets().height == len(TRAINED)
        assert store.check(deep=True).findings == []


def test_what_pipelines_and_runs_of_nirs4all_told_becomes_rows(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        told = connection.execute("SELECT pipeline_id, dataset_name, dataset_hash FROM pipelines").fetchall()
        runs = [(run_id,) for (run_id,) in connection.execute("SELECT run_id FROM runs ORDER BY run_id").fetchall()]
        for values in zip(
            ('[{"name": "rye", "hash": "1", "n_samples": 40, "n_features": 1e400}, {"name": "wheat"}, 7]', "null"),
            *zip(*runs, strict=True),
            strict=True,
        ):
            connection.execute("UPDATE runs SET datasets = ? WHERE run_id = ?", values)
    upgrade_workspace(old)
    with WorkspaceStore(old) as store:
        rows = {row["dataset_id"]: row for row in store.list_datasets().to_dicts()}
        linked = dict(store.list_pipelines().select("pipeline_id", "dataset_id").iter_rows())
        for pipeline_id, name, digest in told:
            row = rows[linked[pipeline_id]]
            assert (row["name"], row["content_hash"]) == (name, digest)
        found = {(row["name"], row["content_hash"]): row for row in rows.values()}
        assert {*found} == {(name, digest) for _, name, digest in told} | {("rye", "1")}
        assert (found["rye", "1"]["n_samples"], found["rye", "1"]["n_features"]) == (40, None)
        assert store.check(deep=True).findings == []
