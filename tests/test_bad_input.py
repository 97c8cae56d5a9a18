"""Bad input is refused with an error that names it, and leaves the workspace exactly as it was."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlalchemy import text

from nirs4all_store import (
    ArtifactCorruptError,
    DuplicateError,
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    OutputPathError,
    StoreError,
    WorkspaceStore,
)
from nirs4all_store.testing.contract import X, add_chain, add_pipeline, add_prediction
from nirs4all_store.testing.store_machine import TABLES

STRANGE_NAMES = ["it's", 'a "b"', "50%", "a_b", "two\nlines", "x" * 300, "; drop table runs", "é\u2028\U0001f33e", ""]


class World:
    """A store with one of everything, and the ids of it."""

    def __init__(self, store: WorkspaceStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.run_id, self.pipeline_id = add_pipeline(store)
        self.chain_id = add_chain(store, self.pipeline_id)
        self.prediction_id = add_prediction(store, self.pipeline_id, chain_id=self.chain_id)
        store.save_prediction_arrays(self.prediction_id, [1.0, 2.0], [1.0, 2.0])
        self.artifact_id = store.save_artifact([1], "list", "other", "pickle")
        store.log_step(self.pipeline_id, 0, "PLS", "end", 1)

    def snapshot(self) -> dict[str, Any]:
        """Return every row, by plain SQL, and every file with its hash."""
        with self.store.unit_of_work() as uow:
            rows = {t: uow.session.execute(text(f"SELECT * FROM {t} ORDER BY ALL")).all() for t in TABLES}
        files = {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(("store.duckdb", ".store.lock"))
        }
        return {**{table: [tuple(row) for row in found] for table, found in rows.items()}, "files": files}

    def chain(self, **changes: Any) -> str:
        step = {"step_idx": 0, "operator_class": "m", "params": {}, "artifact_id": None, "stateless": False}
        values: dict[str, Any] = {
            "steps": [step],
            "model_step_idx": 0,
            "model_class": "m",
            "preprocessings": "",
            "fold_strategy": "per_fold",
            "fold_artifacts": {"0": self.artifact_id},
            "shared_artifacts": {},
        }
        return self.store.save_chain(self.pipeline_id, **(values | changes))

    def arrays(self, *arrays: Any, **more: Any) -> None:
        self.store.save_prediction_arrays(self.prediction_id, *arrays, **more)

    def adopt(self, path: str, content_hash: str, format: str = "pickle") -> str:
        return self.store.register_existing_artifact("a", path, content_hash, "l", "x", format, 1)

    def prediction(self, **values: Any) -> str:
        return add_prediction(self.store, self.pipeline_id, **values)


def make_world(folder: Path) -> Iterator[World]:
    (folder / "a folder").mkdir()
    with WorkspaceStore(folder / "workspace") as store:
        yield World(store, folder)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from make_world(tmp_path)


@pytest.fixture(scope="module")
def unchanged_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from make_world(tmp_path_factory.mktemp("world"))


Case = tuple[Callable[[World], object], type[Exception], str]

CASES: dict[str, Case] = {
    # ids that nobody knows
    "complete_run": (lambda w: w.store.complete_run("x", {}), NotFoundError, "runs has no 'x'"),
    "fail_run": (lambda w: w.store.fail_run("x", "e"), KeyError, "'x'"),
    "resume_run": (lambda w: w.store.resume_run("x"), KeyError, "'x'"),
    "begin_pipeline": (lambda w: w.store.begin_pipeline("x", "p", {}, [], "d", "h"), NotFoundError, "runs has no 'x'"),
    "complete_pipeline": (lambda w: w.store.complete_pipeline("x", 1, 1, "m", 1), NotFoundError, "pipelines has no"),
    "fail_pipeline": (lambda w: w.store.fail_pipeline("x", "e"), NotFoundError, "pipelines has no 'x'"),
    "log_step": (lambda w: w.store.log_step("x", 0, "o", "e"), NotFoundError, "pipelines has no 'x'"),
    "save_chain": (lambda w: w.store.save_chain("x", [], 0, "m"), NotFoundError, "pipelines has no 'x'"),
    "replay_chain": (lambda w: w.store.replay_chain("x", X), NotFoundError, "no chain 'x'"),
    "load_chain": (lambda w: w.store.load_chain("x"), NotFoundError, "no chain 'x'"),
    "export_chain": (lambda w: w.store.export_chain("x", w.folder / "c"), NotFoundError, "no chain 'x'"),
    "export_run": (lambda w: w.store.export_run("x", w.folder / "c"), NotFoundError, "no run 'x'"),
    "export_config": (lambda w: w.store.export_pipeline_config("x", w.folder / "c"), NotFoundError, "no pipeline 'x'"),
    "prediction of no pipeline": (lambda w: add_prediction(w.store, "x"), NotFoundError, "pipelines has no 'x'"),
    "prediction of no chain": (lambda w: w.prediction(chain_id="x"), NotFoundError, "chains has no 'x'"),
    "arrays of no prediction": (lambda w: w.store.save_prediction_arrays("x", [1], [1]), NotFoundError, "has no 'x'"),
    "load_artifact": (lambda w: w.store.load_artifact("x"), NotFoundError, "no artifact 'x'"),
    "get_artifact_path": (lambda w: w.store.get_artifact_path("x"), NotFoundError, "no artifact 'x'"),
    # ids
    "duplicate id": (lambda w: w.prediction(prediction_id=w.prediction_id), DuplicateError, "already has"),
    "an id that is no text": (lambda w: w.store.complete_run(7, {}), TypeError, "run_id must be text"),  # type: ignore[arg-type]
    "the run None": (lambda w: w.store.delete_run(None), TypeError, "run_id must be text"),  # type: ignore[arg-type]
    "the pipeline None": (lambda w: w.store.delete_pipeline(None), TypeError, "must be text"),  # type: ignore[arg-type]
    "the prediction None": (lambda w: w.store.delete_prediction(None), TypeError, "must be text"),  # type: ignore[arg-type]
    "the log of None": (lambda w: w.store.get_pipeline_log(None), TypeError, "must be text"),  # type: ignore[arg-type]
    # chains
    "artifact that is not there": (lambda w: w.chain(fold_artifacts={"0": "gone"}), NotFoundError, "'gone'"),
    "shared one that is not there": (lambda w: w.chain(shared_artifacts={"0": ["gone"]}), NotFoundError, "'gone'"),
    "fold without a model": (lambda w: w.chain(fold_artifacts={"0": []}), InvalidInputError, "needs its model"),
    "fold that is None": (lambda w: w.chain(fold_artifacts={"0": None}), InvalidInputError, "needs its model"),
    "fold that is a number": (lambda w: w.chain(fold_artifacts={"0": 5}), InvalidTypeError, "artifact id"),
    "folds that are a list": (lambda w: w.chain(fold_artifacts=["a"]), InvalidTypeError, "must be a dict"),
    "steps that are text": (lambda w: w.chain(steps="SNV"), InvalidTypeError, "list of dicts"),
    "step without index": (lambda w: w.chain(steps=[{"operator_class": "m"}]), InvalidTypeError, "step_idx"),
    "shared step that is none": (
        lambda w: w.chain(shared_artifacts={"7": w.artifact_id}),
        InvalidInputError,
        "belongs to no step",
    ),
    "keys that meet": (
        lambda w: w.chain(fold_artifacts={0: w.artifact_id, "0": w.artifact_id}),
        InvalidInputError,
        "twice",
    ),
    "wrong number of columns": (
        lambda w: w.store.replay_chain(w.chain_id, X[:, :2]),
        ValueError,
        r"step 0 \(StandardScaler\)",
    ),
    # arrays
    "unequal length": (lambda w: w.arrays([1.0, 2.0], [1.0]), InvalidInputError, "differ in length"),
    "unequal indices": (lambda w: w.arrays([1.0], [1.0], sample_indices=[1, 2]), InvalidInputError, "differ in length"),
    "unequal proba": (lambda w: w.arrays([1.0], [1.0], np.ones((2, 2))), InvalidInputError, "differ in length"),
    "unequal weights": (lambda w: w.arrays([1.0], [1.0], weights=[1, 2, 3]), InvalidInputError, "weights"),
    "ragged": (lambda w: w.arrays([[1.0], [1.0, 2.0]], [1.0, 2.0]), ValueError, "y_true is ragged"),
    "objects": (lambda w: w.arrays([1.0], np.array([None])), TypeError, "y_pred holds objects"),
    "text and numbers": (lambda w: w.arrays(["a", 1], ["a", "b"]), TypeError, "y_true holds objects"),
    "three dimensions": (lambda w: w.arrays(np.ones((1, 1, 1)), [1.0]), InvalidInputError, "3 dimensions"),
    "complex": (lambda w: w.arrays([1j], [1.0]), TypeError, "complex"),
    "integers that a float rounds": (lambda w: w.arrays([2**63 + 1, -1], [1.0, 2.0]), ValueError, "rounds"),
    "integers with a null": (
        lambda w: w.arrays(pl.Series([2**53 + 1, None]), [1.0, 2.0]),
        ValueError,
        "y_true holds integers and nulls",
    ),
    "masked": (lambda w: w.arrays(np.ma.masked_equal([1, 2], 1), [1, 2]), InvalidInputError, "masked"),
    # values
    "None for text": (lambda w: w.store.begin_run(None), TypeError, "runs.name must not be None"),  # type: ignore[arg-type]
    "None for a metric": (lambda w: w.prediction(metric=None), TypeError, "predictions.metric must not be None"),
    "number for text": (lambda w: w.store.begin_run(5), TypeError, "runs.name must be text"),  # type: ignore[arg-type]
    "text for a score": (lambda w: w.prediction(val_score="0.5"), TypeError, "predictions.val_score must be a number"),
    "fraction of samples": (lambda w: w.prediction(n_samples=1.5), TypeError, "n_samples must be a whole number"),
    "too many samples": (lambda w: w.prediction(n_samples=2**40), ValueError, "does not fit into 32 bits"),
    "NUL": (lambda w: w.store.begin_run("a\0b"), ValueError, "NUL"),
    "lone surrogate": (lambda w: w.store.begin_run("\ud800"), ValueError, "Unicode"),
    "NUL in a filter": (lambda w: w.store.query_predictions(dataset_name="a\0"), ValueError, "NUL"),
    "object in JSON": (
        lambda w: w.store.begin_run("r", {"a": [1, {"b": object()}]}),
        TypeError,
        r"config\.a\[1\]\.b is an object",
    ),
    "NUL in JSON": (lambda w: w.store.begin_run("r", {"a": "\0"}), ValueError, r"config\.a holds a NUL"),
    "dataset without a name": (lambda w: w.store.begin_run("r", {}, [{"n": "d"}]), ValueError, r"datasets\[0\]"),
    "datasets that are text": (lambda w: w.store.begin_run("r", {}, "wheat"), TypeError, "list of dicts"),  # type: ignore[arg-type]
    # queries
    "metric that is no column": (
        lambda w: w.store.top_predictions(5, metric="val_score; drop table runs"),
        ValueError,
        "no score",
    ),
    "group that is no column": (
        lambda w: w.store.top_predictions(5, group_by="val_score; drop table runs"),
        ValueError,
        "no column",
    ),
    "group that is a list": (lambda w: w.store.top_predictions(5, group_by=["a"]), TypeError, "group_by"),  # type: ignore[arg-type]
    "negative limit": (lambda w: w.store.list_runs(limit=-1), ValueError, "limit must not be negative"),
    "limit that is text": (lambda w: w.store.query_predictions(limit="x"), TypeError, "limit"),  # type: ignore[arg-type]
    "direction that is text": (lambda w: w.store.top_predictions(1, ascending="no"), TypeError, "ascending"),  # type: ignore[arg-type]
    "endless duration": (
        lambda w: w.store.log_step(w.pipeline_id, 0, "o", "e", float("inf")),
        ValueError,
        "duration_ms is inf",
    ),
    "negative n": (lambda w: w.store.top_predictions(-1), ValueError, "negative"),
    "unknown filter": (
        lambda w: w.store.export_predictions_parquet(w.folder / "p", colour="red"),
        TypeError,
        "no filter colour; use some of dataset_name",
    ),
    "dataset that is a number": (lambda w: w.store.list_runs(dataset=5), TypeError, "dataset must be text"),  # type: ignore[arg-type]
    # artifacts and files
    "unknown format": (lambda w: w.store.save_artifact([], "l", "x", "onnx"), ValueError, "'onnx' is unknown"),
    "format that is a list": (
        lambda w: w.store.save_artifact([], "l", "x", ["joblib"]),
        TypeError,
        "format must be text",
    ),  # type: ignore[arg-type]
    "export in a format that is a list": (
        lambda w: w.store.export_chain(w.chain_id, w.folder / "c", ["n4a"]),
        TypeError,
        "format must be text",
    ),  # type: ignore[arg-type]
    "adopting the path None": (lambda w: w.adopt(None, "0" * 64), TypeError, "path must be a path"),  # type: ignore[arg-type]
    "adopting as a number": (
        lambda w: w.store.register_existing_artifact(5, "x", "0" * 64, "l", "x", "pickle", 1),  # type: ignore[arg-type]
        TypeError,
        "artifact_id must be text",
    ),
    "what cannot be pickled": (
        lambda w: w.store.save_artifact(lambda: 0, "l", "x", "pickle"),
        ValueError,
        "cloudpickle",
    ),
    "artifact of a class with NUL": (lambda w: w.store.save_artifact([7], "a\0", "x", "pickle"), ValueError, "NUL"),
    "artifact of no type": (lambda w: w.store.save_artifact([7], "a", None, "pickle"), TypeError, "artifact_type"),  # type: ignore[arg-type]
    "adopting from elsewhere": (lambda w: w.adopt("/etc/passwd", "0" * 64), ValueError, "no file below"),
    "adopting a NUL": (lambda w: w.adopt("a\0b", "0" * 64), ValueError, "cannot be a path"),
    "adopting no hash": (lambda w: w.adopt("x", None), TypeError, "content_hash must be text"),  # type: ignore[arg-type]
    "adopting by dots": (lambda w: w.adopt("../store.duckdb", "0" * 64), ValueError, "no file below"),
    "adopting without a hash": (lambda w: w.adopt("x", "sha256:zz"), ValueError, "no SHA-256"),
    "adopting with another hash": (
        lambda w: w.adopt(str(w.store.get_artifact_path(w.artifact_id)), "0" * 64),
        ArtifactCorruptError,
        "damaged",
    ),
    "output that is a folder": (lambda w: w.store.export_chain(w.chain_id, w.folder / "a folder"), OSError, "a folder"),
    "parquet to a folder": (
        lambda w: w.store.export_predictions_parquet(w.folder / "a folder"),
        OutputPathError,
        "a folder",
    ),
    "backup over something": (lambda w: w.store.backup(w.folder), OutputPathError, "not empty"),
    "negative grace": (lambda w: w.store.gc_artifacts(grace=np.timedelta64(-1, "D").item()), ValueError, "negative"),
    "grace in seconds": (lambda w: w.store.gc_artifacts(grace=5), TypeError, "timedelta"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_the_workspace_is_as_before(unchanged_world: World, name: str) -> None:
    call, error, message = CASES[name]
    before = unchanged_world.snapshot()
    with pytest.raises(error, match=message) as caught:
        call(unchanged_world)
    assert isinstance(caught.value, StoreError)
    assert unchanged_world.snapshot() == before


def test_every_refused_call_leaves_a_surrounding_transaction_usable(world: World) -> None:
    outside = {"backup over something"}  # needs the workspace for itself
    with world.store.transaction():
        kept = world.store.begin_run("kept")
        for name, (call, error, message) in CASES.items():
            if name not in outside:
                with pytest.raises(error, match=message):
                    call(world)
    assert world.store.get_run(kept) is not None


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_are_kept_and_found_exactly(store: WorkspaceStore, tmp_path: Path, name: str) -> None:
    run_id = store.begin_run(name, {name: name}, [{"name": name}])
    pipeline_id = store.begin_pipeline(run_id, name, {}, [], name, name)
    prediction_id = add_prediction(store, pipeline_id, dataset_name=name, model_name=name, fold_id=name)
    decoy = add_prediction(store, pipeline_id, dataset_name="axb")
    store.log_step(pipeline_id, 0, name, name, message=name)
    run = store.get_run(run_id)
    assert run is not None
    assert (run["name"], run["config"]) == (name, {name: name})
    assert store.list_runs(dataset=name)["run_id"].to_list() == [run_id]
    assert store.list_pipelines(dataset_name=name)["pipeline_id"].to_list() == [pipeline_id]
    assert store.query_predictions(dataset_name=name, fold_id=name)["prediction_id"].to_list() == [prediction_id]
    assert store.top_predictions(5, dataset_name=name)["prediction_id"].to_list() == [prediction_id]
    assert store.get_pipeline_log(pipeline_id)["message"].to_list() == [name]
    store.export_run(run_id, tmp_path / "run")
    assert store.delete_prediction(decoy)


def test_getters_of_unknown_ids_return_none_and_listings_nothing(store: WorkspaceStore) -> None:
    for getter in (store.get_run, store.get_pipeline, store.get_chain, store.get_prediction):
        assert getter("x") is None
    for listing in (store.get_chains_for_pipeline, store.get_pipeline_log, store.get_run_log_summary):
        assert listing("x").is_empty()
    assert store.delete_run("x") == 0
    assert store.delete_pipeline("x") == 0
    assert store.delete_prediction("x") is False


def test_deleting_the_run_none_once_deleted_the_pipelines_of_every_run(world: World) -> None:
    with pytest.raises(InvalidTypeError, match="run_id must be text, not None"):
        world.store.delete_run(None)  # type: ignore[arg-type]
    assert world.store.get_pipeline(world.pipeline_id) is not None


@pytest.mark.parametrize("group_by", [None, "model_name"])
def test_a_number_of_numpys_for_n_once_failed_in_the_engine(store: WorkspaceStore, group_by: str | None) -> None:
    _, pipeline_id = add_pipeline(store)
    for _ in range(3):
        add_prediction(store, pipeline_id)
    for n in (2, np.int64(2), np.float64(2)):
        assert store.top_predictions(n, group_by=group_by).height == 2  # type: ignore[arg-type]


def test_an_adopted_artifact_whose_file_moved_could_not_be_registered_again(world: World) -> None:
    path = world.store.get_artifact_path(world.artifact_id)
    content_hash = path.stem
    assert world.adopt(str(path), content_hash) == "a"
    before = world.snapshot()["artifacts"]
    path.rename(path.with_name("moved"))
    assert world.adopt(str(path), content_hash) == "a"
    assert world.snapshot()["artifacts"] == before


def test_what_nirs4all_passes_is_taken(store: WorkspaceStore) -> None:
    """Folds as numbers, durations with fractions, and the weights of three folds beside the samples."""
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id, folds=3)
    prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, fold_id=0)
    store.save_prediction_arrays(prediction_id, np.ones(5), np.ones(5), weights=[0.2, 0.3, 0.5])
    store.log_step(pipeline_id, 0, "PLS", "end", duration_ms=12.6)
    store.complete_pipeline(pipeline_id, 0.1, 0.2, "rmse", 1234.5)
    assert store.query_predictions(fold_id="0").height == 1
    assert store.get_pipeline_log(pipeline_id)["duration_ms"].to_list() == [13]
    found = store.get_prediction(prediction_id, load_arrays=True)
    assert found is not None
    assert found["weights"].tolist() == [0.2, 0.3, 0.5]
