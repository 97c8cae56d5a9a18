"""Datasets are rows: which are one, what is kept of them, what keeps them, and what becomes of their files."""

import json
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from sqlalchemy import text
from typer.testing import CliRunner

from nirs4all_store import (
    ArtifactLoadError,
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    PipelineRunner,
    WorkspaceStore,
)
from nirs4all_store.cli.app import app
from nirs4all_store.datasets import TrainingData, read_dataset
from nirs4all_store.testing.contract import X, Y, add_pipeline

TABLE = pl.DataFrame(X[:, :3], schema=["1100", "1200", "1300.5"]).with_columns(protein=Y, instrument=pl.lit("NIR-4"))


def change(store: WorkspaceStore, statement: str) -> None:
    with store.unit_of_work() as uow:
        uow.session.execute(text(statement))
        uow.commit()


def described(store: WorkspaceStore, dataset_id: str) -> dict[str, Any]:
    row = store.get_dataset(dataset_id)
    assert row is not None
    return row


def with_names(**more: Any) -> TrainingData:
    """Return a dataset with all that may be told of samples."""
    given = {"X": X[:4], "y": np.column_stack([Y[:4], Y[4:8]]), "X_test": X[4:6], "weights": [1.0, 2.0, 0.5, 1.0]}
    told = {
        "target_names": ["protein", "batch"],
        "units": {"protein": "%"},
        "sample_names": np.array(["secret 1", "secret 1", "secret 2", "secret 2"]),
        "test_sample_names": np.array(["secret 3", "secret 4"]),
        "metadata": pl.DataFrame({"batch": ["a", "b", "a", "b"], "row": [9, 8, 7, 6]}),
        "test_metadata": pl.DataFrame({"instrument": ["NIR-4", "NIR-5"]}),
        "origin": "wheat.csv",
    }
    data = read_dataset(given)
    return replace(data, **told | more)


# -- which are one


def test_the_hash_of_data_without_names_of_samples_is_that_of_before_datasets_were_rows() -> None:
    # As `TrainingData.content_hash` was in commit d2f5c78.
    data = {"X": np.arange(12.0).reshape(4, 3), "y": np.arange(4), "X_test": np.ones((2, 3)), "groups": list("abab")}
    assert read_dataset(data).content_hash == "7c98aafa71f382c4c4d6065414946bb730d28cbeed7bc2218f381b2c950fa5a3"


def test_a_dataset_is_known_by_its_content_and_the_names_of_its_targets(store: WorkspaceStore) -> None:
    table = TABLE.with_columns(moisture=TABLE["protein"])
    first, again, other = (store.save_dataset(table, name) for name in ("protein", "protein", "moisture"))
    assert first == again
    rows = [described(store, dataset_id) for dataset_id in (first, other)]
    assert [row["target_names"] for row in rows] == [["protein"], ["moisture"]]
    assert first != other
    assert rows[0]["x_hash"] == rows[1]["x_hash"]
    arrays = store.save_dataset((TABLE.select("1100", "1200", "1300.5").to_numpy(), Y))
    assert described(store, arrays)["y_hash"] == rows[0]["y_hash"]


def test_what_a_dict_tells_beside_its_name_never_refuses_a_run(store: WorkspaceStore) -> None:
    odd = {"name": "odd", "hash": 7, "n_samples": "many", "n_features": 2**40, "units": "%", "split": ["train"]}
    good = {"name": "good", "hash": "h", "n_samples": 40, "origin": "/home/me/wheat.csv", "wavelengths": [1.0, 2.0]}
    run_id = store.begin_run("run", {}, [odd, good])
    rows = {row["name"]: row for row in store.list_datasets().to_dicts()}
    assert [rows["odd"][name] for name in ("content_hash", "n_samples", "n_features", "units", "split")] == [None] * 5
    assert (rows["good"]["n_samples"], rows["good"]["origin"]) == (40, "wheat.csv")
    run = store.get_run(run_id)
    assert run is not None
    assert run["datasets"] == [odd, good]


def test_a_name_without_a_hash_is_completed_by_the_first_pipeline(store: WorkspaceStore) -> None:
    for content_hash in ("1", "1", "2", None):
        run_id = store.begin_run("run", {}, [{"name": "wheat"}])
        store.begin_pipeline(run_id, "p", dataset_name="wheat", dataset_hash=content_hash)
    assert sorted(store.list_datasets()["content_hash"].to_list(), key=str) == ["1", "2", None]
    assert store.list_pipelines()["dataset_id"].n_unique() == 3
    nameless = store.get_pipeline(store.begin_pipeline(run_id, "p"))
    assert nameless is not None
    assert nameless["dataset_id"] is None


def test_a_corrected_name_is_looked_for_anew(store: WorkspaceStore) -> None:
    run_id = store.begin_run("run", {}, [{"name": "wheet", "hash": "1"}])
    before = store.begin_pipeline(run_id, "p", dataset_name="wheet", dataset_hash="1")
    dataset_id = store.list_datasets()["dataset_id"][0]
    store.update_dataset(dataset_id, name="wheat")
    after = [store.begin_pipeline(run_id, "p", dataset_name=name, dataset_hash="1") for name in ("wheat", "wheet")]
    found = [(store.get_pipeline(pipeline_id) or {})["dataset_id"] for pipeline_id in (before, *after)]
    assert found[:2] == [dataset_id, dataset_id]
    assert found[2] != dataset_id


# -- what is kept


def test_the_frame_of_a_dataset_has_all_that_was_told_of_its_samples(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset(with_names(), keep_spectra=True)
    frame = store.load_dataset(dataset_id)
    told = ["row", "partition", "sample", "weight", "batch", "row_1", "protein", "batch_1"]
    assert frame.columns[:8] == told
    assert frame["sample"].to_list() == ["secret 1", "secret 1", "secret 2", "secret 2", "secret 3", "secret 4"]
    assert frame["instrument"].to_list() == [None] * 4 + ["NIR-4", "NIR-5"]
    assert frame["protein"].to_list() == [*Y[:4], None, None]
    assert frame["weight"].to_list() == [1.0, 2.0, 0.5, 1.0, None, None]
    np.testing.assert_array_equal(frame.select(pl.col("^x[0-9]+$")), X[:6])
    row = described(store, dataset_id)
    assert (row["units"], row["origin"], row["metadata_columns"]) == ({"protein": "%"}, "wheat.csv", ["batch", "row"])
    assert row["split"] == {"train": 4, "val": None, "test": 2, "excluded": 0, "excluded_test": 0}


def test_text_classes_and_what_was_left_out_come_back(store: WorkspaceStore) -> None:
    y = np.array(["wheat", "rye"] * 20, dtype=object)
    y[3] = None
    dataset_id = store.save_dataset((X.astype(np.float32), y), keep_spectra=True)
    frame = store.load_dataset(dataset_id)
    assert frame["y"].to_list() == [name for name in y if name is not None]
    assert frame["row"].to_list() == [row for row in range(40) if row != 3]
    assert frame["x0"].dtype == pl.Float32
    assert described(store, dataset_id)["task_type"] == "classification"


def test_the_runner_says_what_it_trained_on(store: WorkspaceStore) -> None:
    whole = np.arange(40) % 7
    PipelineRunner(store, progress=False).run([Ridge()], {"X": X, "y": whole, "name": "protein of wheat"})
    (dataset_id,) = store.list_pipelines()["dataset_id"]
    row = described(store, dataset_id)
    assert (row["name"], row["task_type"], row["n_samples"], row["n_features"]) == (
        "protein of wheat",
        "regression",
        40,
        12,
    )
    assert row["spectra_artifact"] is None
    run = store.get_run(store.list_runs()["run_id"][0])
    assert run is not None
    assert run["datasets"][0]["dataset_id"] == dataset_id
    PipelineRunner(store, progress=False).run([Ridge(2.0)], {"X": X, "y": whole}, keep_spectra=True)
    assert described(store, dataset_id)["spectra_artifact"] is not None
    assert store.list_datasets().height == 1
    assert store.check(deep=True).findings == []


def test_of_a_dataset_that_was_only_told_there_is_no_frame(store: WorkspaceStore) -> None:
    store.begin_run("run", {}, [{"name": "wheat", "hash": "1"}])
    with pytest.raises(NotFoundError, match=r"only a description is kept; attach_dataset"):
        store.load_dataset(store.list_datasets()["dataset_id"][0])
    with pytest.raises(NotFoundError, match="no 'nothing'"):
        store.load_dataset("nothing")
    assert store.get_dataset("nothing") is None


# -- attaching


def test_spectra_are_attached_if_their_hash_is_right(store: WorkspaceStore, tmp_path: Path) -> None:
    path = tmp_path / "wheat.csv"
    TABLE.write_csv(path)
    dataset_id = store.save_dataset(path, "protein")
    assert "1100" not in store.load_dataset(dataset_id).columns
    changed = tmp_path / "changed.csv"
    TABLE.with_columns(pl.col("1200") + 1e-9).write_csv(changed)
    with pytest.raises(InvalidInputError, match=r"no dataset here has the spectra of changed"):
        store.attach_dataset(changed, "protein")
    assert store.attach_dataset(path, "protein", dataset_id=dataset_id) == dataset_id
    assert store.attach_dataset(path, "protein") == dataset_id
    frame = store.load_dataset(dataset_id)
    np.testing.assert_array_equal(frame.select("1100", "1200", "1300.5"), X[:, :3])
    row = described(store, dataset_id)
    (count,) = store.sql("SELECT ref_count FROM artifacts WHERE artifact_id = ?", [row["spectra_artifact"]])[
        "ref_count"
    ]
    assert count == 1
    assert store.check(deep=True).findings == []


def test_attached_spectra_serve_all_datasets_that_have_them(store: WorkspaceStore) -> None:
    one, other = store.save_dataset((X, Y)), store.save_dataset((X, Y + 1))
    store.attach_dataset((X, Y), dataset_id=one)
    assert described(store, one)["spectra_artifact"] == described(store, other)["spectra_artifact"]
    named = store.save_dataset(replace(read_dataset((X[:, :5], Y)), target_names=["protein"]))
    table = pl.DataFrame(X[:, :5], schema=[str(nm) for nm in range(1100, 1105)]).with_columns(protein=Y)
    assert store.attach_dataset(table) == named  # By the names of the targets that are known here.


# -- correcting


def test_descriptions_can_be_corrected_and_nothing_else(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset((X, Y))
    wavelengths = np.linspace(1100, 2200, 12)
    store.update_dataset(
        dataset_id, name="wheat", unit="g/100 g", wavelengths=wavelengths, wavelength_unit="nm", origin=r"C:\me\w.spc"
    )
    row = described(store, dataset_id)
    assert (row["units"], row["origin"], row["wavelength_unit"]) == ({"y": "g/100 g"}, "w.spc", "nm")
    assert row["wavelengths"] == wavelengths.tolist()
    store.update_dataset(dataset_id, unit=None)
    assert described(store, dataset_id)["units"] is None
    for wrong, error, match in (
        ({"content_hash": "x"}, InvalidTypeError, r"no description 'content_hash'.*unit, name"),
        ({"target_names": ["z"]}, InvalidTypeError, r"no description 'target_names'"),
        ({"n_samples": "many"}, InvalidTypeError, r"n_samples takes a int"),
        ({"name": None}, InvalidTypeError, r"name"),
        ({"wavelengths": [1.0]}, InvalidInputError, r"1 wavelengths for 12 variables"),
    ):
        with pytest.raises(error, match=match):
            store.update_dataset(dataset_id, **wrong)
    several = store.save_dataset(with_names())
    with pytest.raises(InvalidInputError, match=r"1 for 2 targets, protein, batch; give a unit for each"):
        store.update_dataset(several, unit="%")
    store.update_dataset(several, unit=["%", "g"])
    assert described(store, several)["units"] == {"protein": "%", "batch": "g"}
    with pytest.raises(NotFoundError):
        store.update_dataset("nothing", name="x")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"name": " "}, r"name is empty"),
        ({"units": {"fat": "%"}}, r"for 'fat', and the targets are protein, batch"),
        ({"wavelengths": ["a"] * 12}, r"have 'a', which is no number"),
        ({"n_samples": -5}, r"n_samples=-5"),
    ],
)
def test_corrections_that_nothing_can_be_were_kept(store: WorkspaceStore, wrong: dict[str, Any], match: str) -> None:
    dataset_id = store.save_dataset(with_names())
    before = described(store, dataset_id)
    with pytest.raises(InvalidInputError, match=match):
        store.update_dataset(dataset_id, **wrong)
    assert described(store, dataset_id) == before


def test_what_is_saved_again_does_not_undo_a_correction(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset({"X": X, "y": Y, "name": "wheet"})
    store.update_dataset(dataset_id, name="wheat", n_samples=20)
    assert store.save_dataset({"X": X, "y": Y, "name": "wheet", "wavelengths": None}) == dataset_id
    assert (described(store, dataset_id)["name"], described(store, dataset_id)["n_samples"]) == ("wheat", 20)


# -- what keeps them, and what is wrong with them


def test_what_a_dataset_names_is_checked_and_counted(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    dataset_id = store.save_dataset((X, Y), keep_spectra=True)
    change(store, f"UPDATE pipelines SET dataset_id = '{dataset_id}'")
    row = described(store, dataset_id)
    path = store.get_artifact_path(row["samples_artifact"])
    change(store, "UPDATE artifacts SET ref_count = 9 WHERE artifact_type = 'spectra'")
    (finding,) = store.check().findings
    assert (finding.code, finding.subject) == ("wrong-count", f"artifacts {row['spectra_artifact']}")
    store.repair(dry_run=False)
    change(store, f"UPDATE datasets SET spectra_artifact = 'gone' WHERE dataset_id = '{dataset_id}'")
    assert {(found.code, found.subject) for found in store.check().findings} == {
        ("artifact-gone", f"datasets {dataset_id}"),
        ("wrong-count", f"artifacts {row['spectra_artifact']}"),
    }
    change(store, f"DELETE FROM datasets WHERE dataset_id = '{dataset_id}'")
    found = {(found.code, found.subject): found for found in store.check().findings}
    assert found["dataset-gone", f"pipelines {pipeline_id}"].repair == "let it name none"
    store.repair(dry_run=False)
    assert store.check(deep=True).findings == []
    assert (store.get_pipeline(pipeline_id) or {})["dataset_id"] is None
    assert path.exists()
    assert store.delete_run(run_id) == 2


@pytest.mark.in_a_folder
def test_a_damaged_file_of_samples_is_found_and_said_whose_it_is(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset((X, Y))
    path = store.get_artifact_path(described(store, dataset_id)["samples_artifact"])
    path.write_bytes(path.read_bytes()[:-1])
    (finding,) = store.check().findings
    assert (finding.code, f"it is used by dataset {dataset_id}" in finding.message) == ("damaged-file", True)
    with pytest.raises(ArtifactLoadError):
        store.load_dataset(dataset_id)
    store.save_dataset((X[:20], Y[:20]))
    assert len(store.check().findings) == 1


def test_a_plan_of_a_collection_names_the_files_of_datasets_without_a_pipeline(store: WorkspaceStore) -> None:
    store.save_dataset((X, Y), keep_spectra=True)
    assert store.plan_gc().is_empty()
    planned = store.plan_gc(grace=timedelta(0))
    assert planned["reason"].to_list() == ["nothing uses it any more"] * 2
    assert store.gc_artifacts(grace=timedelta(0)) == 2
    assert store.list_datasets().is_empty()
    assert store.check(deep=True).findings == []


def test_the_samples_of_one_dataset_stay_while_another_names_them(store: WorkspaceStore) -> None:
    data = with_names(X_test=None, test_rows=np.arange(0))
    same = replace(data, X=X[8:12])
    one, other = (store.save_dataset(each) for each in (data, same))
    artifact_id = described(store, one)["samples_artifact"]
    assert artifact_id == described(store, other)["samples_artifact"]
    assert store.check(deep=True).findings == []
    run_id = store.begin_run("run")
    store.begin_pipeline(run_id, "p", dataset_id=one)
    kept = store.begin_pipeline(store.begin_run("kept"), "p", dataset_id=other)
    store.delete_run(run_id)
    assert store.load_dataset(other).height == 4
    assert store.check(deep=True).findings == []
    store.delete_pipeline(kept)
    with pytest.raises(NotFoundError):
        store.load_artifact(artifact_id)


def test_a_failed_pipeline_keeps_its_dataset(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset((X, Y))
    pipeline_id = store.begin_pipeline(store.begin_run("run"), "p", dataset_id=dataset_id)
    store.fail_pipeline(pipeline_id, "broken")
    assert store.load_dataset(dataset_id).height == 40
    with pytest.raises(NotFoundError, match="datasets has no 'nothing'"):
        store.begin_pipeline(store.begin_run("run"), "p", dataset_id="nothing")


def test_a_dataset_that_is_rolled_back_leaves_no_row(store: WorkspaceStore) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.save_dataset((X, Y), keep_spectra=True)
        raise ZeroDivisionError
    assert store.list_datasets().is_empty()
    assert store.sql("SELECT * FROM artifacts").is_empty()


# -- what leaves the workspace


def test_no_bundle_has_the_name_of_a_sample(store: WorkspaceStore, tmp_path: Path) -> None:
    PipelineRunner(store, progress=False).run([Ridge()], _trainable())
    chain_id = store.query_predictions()["chain_id"][0]
    assert "secret 1" in store.load_dataset(store.list_datasets()["dataset_id"][0])["sample"].to_list()
    for format in ("n4a", "n4a.py"):
        path = store.export_chain(chain_id, tmp_path / "model", format)
        if format == "n4a":
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
                assert "dataset_id" not in json.loads(archive.read("chain.json"))["pipeline"]
        else:
            content = path.read_bytes()
        assert b"secret" not in content
        assert b"wheat.csv" not in content


def _trainable() -> TrainingData:
    data = read_dataset((X, Y))
    return replace(data, sample_names=np.array([f"secret {i}" for i in range(40)]), origin="wheat.csv")


# -- by its id, and in the shell


@pytest.mark.in_a_folder
def test_datasets_are_listed_and_shown_in_the_shell(store: WorkspaceStore) -> None:
    dataset_id = store.save_dataset(with_names())
    assert store.find(dataset_id[:-1]).row(0)[:3] == ("datasets", dataset_id, "dataset")
    short = store.shorten_ids([dataset_id])[dataset_id]
    assert store.sql("SELECT datasets.name FROM datasets JOIN pipelines USING (dataset_id)").is_empty()
    folder = str(store.workspace_path)
    store.close()
    listed = CliRunner().invoke(app, ["datasets", "--workspace", folder])
    assert listed.exit_code == 0
    assert short in listed.output
    rows = json.loads(CliRunner().invoke(app, ["datasets", "--json", "--workspace", folder]).output)
    assert rows[0]["units"] == {"protein": "%"}
    shown = CliRunner().invoke(app, ["show", dataset_id, "--workspace", folder])
    assert "wheat.csv" in shown.output
