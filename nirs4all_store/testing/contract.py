"""`StoreContract`: the promises of the interface, one test each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.cross_decomposition import PLSRegression
from sklearn.preprocessing import StandardScaler

from ..errors import NotFoundError, StoreClosedError, StoreError
from ..exchange import load_bundle
from ..store import WorkspaceStore
from .dataset_contract import NOW, DatasetContract, X, Y

__all__ = ["StoreContract", "X", "Y", "add_chain", "add_pipeline", "add_prediction"]


def add_pipeline(store: WorkspaceStore, dataset: str = "wheat") -> tuple[str, str]:
    """Begin a run and a pipeline in it; return both ids."""
    run_id = store.begin_run("run", {"seed": 1}, [{"name": dataset}])
    return run_id, store.begin_pipeline(run_id, "0001_pls", {"model": "PLS"}, [{"n": 2}], dataset, "hash")


def add_chain(store: WorkspaceStore, pipeline_id: str, components: int = 2, folds: int = 2) -> str:
    """Train a scaler and a PLS model per fold, save them, and return their chain's id."""
    scaler = StandardScaler().fit(X)
    scaler_id = store.save_artifact(scaler, "StandardScaler", "transformer", "joblib")
    models = {}
    for fold in range(folds):
        model = PLSRegression(components).fit(scaler.transform(X)[fold::folds], Y[fold::folds])
        models[str(fold)] = store.save_artifact(model, "PLSRegression", "model", "joblib")
    steps = [
        {"step_idx": 0, "operator_class": "StandardScaler", "params": {}, "artifact_id": scaler_id, "stateless": False},
        {"step_idx": 1, "operator_class": "PLSRegression", "params": {}, "artifact_id": None, "stateless": False},
    ]
    return store.save_chain(pipeline_id, steps, 1, "PLSRegression", "SS", "per_fold", models, {"0": scaler_id})


def add_prediction(store: WorkspaceStore, pipeline_id: str, **values: Any) -> str:
    """Save a prediction with the given values in the place of ordinary ones."""
    row: dict[str, Any] = (
        {"chain_id": None, "dataset_name": "wheat", "model_name": "PLS", "model_class": "PLSRegression"}
        | {"fold_id": "0", "partition": "val", "val_score": 0.5, "test_score": 0.6, "train_score": 0.4}
        | {"metric": "rmse", "task_type": "regression", "n_samples": 40, "n_features": 12}
        | {"scores": {"val": {"rmse": 0.5}}, "best_params": {}, "branch_id": None, "branch_name": None}
        | {"exclusion_count": 0, "exclusion_rate": 0.0}
    )
    return store.save_prediction(pipeline_id, **(row | values))


class StoreContract(DatasetContract):
    """Inherit, return your store from `open_store`, and pytest runs every promise over it.

    What it looks at behind the store, it looks at through `StoreHooks`: override what your back end does otherwise.
    """

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[WorkspaceStore]:
        """Give a store on an empty workspace."""
        with self.open_store(tmp_path / "workspace") as store:
            yield store

    # -- life

    def test_what_was_saved_is_there_after_reopening(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            run_id, pipeline_id = add_pipeline(store)
            chain_id = add_chain(store, pipeline_id)
            expected = store.replay_chain(chain_id, X)
        with self.open_store(tmp_path) as store:
            assert store.list_runs()["run_id"].to_list() == [run_id]
            np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)

    def test_every_method_of_a_closed_store_says_that_it_is_closed(self, store: WorkspaceStore) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreClosedError):
            store.list_runs()
        with pytest.raises(RuntimeError):
            store.begin_run("late")

    def test_a_transaction_keeps_all_or_nothing(self, store: WorkspaceStore) -> None:
        with store.transaction():
            kept = store.begin_run("kept")
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.begin_run("lost")
            with store.transaction():
                store.begin_run("lost too")
            raise ZeroDivisionError
        assert store.list_runs()["run_id"].to_list() == [kept]

    def test_a_refused_call_leaves_the_transaction_usable(self, store: WorkspaceStore) -> None:
        with store.transaction():
            run_id = store.begin_run("kept")
            with pytest.raises(NotFoundError):
                store.begin_pipeline("no such run", "p", {}, [], "d", "h")
            with pytest.raises(StoreError):
                store.begin_run("bad", {"object": object()})
        assert store.list_runs()["run_id"].to_list() == [run_id]

    # -- runs and pipelines

    def test_a_run_lives_from_running_to_completed(self, store: WorkspaceStore) -> None:
        run_id = store.begin_run("wheat", {"a": [1, None, float("inf")]}, [{"name": "wheat"}])
        run = store.get_run(run_id)
        assert run is not None
        assert (run["status"], run["config"], run["completed_at"]) == ("running", {"a": [1, None, float("inf")]}, None)
        assert isinstance(run["created_at"], datetime)
        store.complete_run(run_id, {"total_pipelines": 5})
        run = store.get_run(run_id)
        assert run is not None
        assert (run["status"], run["summary"]) == ("completed", {"total_pipelines": 5})

    def test_failing_a_run_fails_its_running_pipelines_and_keeps_what_they_saved(self, store: WorkspaceStore) -> None:
        run_id, done = add_pipeline(store)
        running = store.begin_pipeline(run_id, "0002", {}, [], "wheat", "hash")
        store.complete_pipeline(done, 0.1, 0.2, "rmse", 12)
        chain_id = add_chain(store, running)
        store.fail_run(run_id, "out of memory")
        statuses = dict(store.list_pipelines(run_id=run_id).select("pipeline_id", "status").iter_rows())
        assert statuses == {done: "completed", running: "failed"}
        assert store.get_chain(chain_id) is not None

    def test_failing_a_pipeline_removes_its_results_and_keeps_its_log(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id)
        store.save_prediction_arrays(prediction_id, Y, Y)
        store.log_step(pipeline_id, 0, "PLS", "error", message="broken", level="error")
        store.fail_pipeline(pipeline_id, "broken")
        pipeline = store.get_pipeline(pipeline_id)
        assert pipeline is not None
        assert (pipeline["status"], pipeline["error"]) == ("failed", "broken")
        assert store.get_chain(chain_id) is None
        assert store.get_prediction(prediction_id) is None
        assert store.get_pipeline_log(pipeline_id)["message"].to_list() == ["broken"]

    def test_runs_are_listed_newest_first_and_by_exact_dataset(self, store: WorkspaceStore) -> None:
        ids = [store.begin_run(f"run {i}", {}, [{"name": name}]) for i, name in enumerate(["a_b", "axb", "a_b"])]
        assert store.list_runs()["run_id"].to_list() == ids[::-1]
        assert store.list_runs(dataset="a_b")["run_id"].to_list() == [ids[2], ids[0]]
        assert store.list_runs(dataset="a_b", limit=1, offset=1)["run_id"].to_list() == [ids[0]]
        assert store.list_runs(limit=1, offset=1)["run_id"].to_list() == [ids[1]]
        store.complete_run(ids[1], {})
        assert store.list_runs(status="completed")["run_id"].to_list() == [ids[1]]

    def test_deleting_a_run_leaves_nothing_of_it(self, store: WorkspaceStore) -> None:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id)
        store.save_prediction_arrays(prediction_id, Y, Y)
        store.log_step(pipeline_id, 0, "PLS", "end")
        # a run, a dataset, a pipeline, a chain, a prediction, its arrays, a log, a scaler and two models
        assert store.delete_run(run_id) == 10
        assert store.list_datasets().is_empty()
        assert store.get_run(run_id) is None
        assert store.list_pipelines().is_empty()
        assert store.query_predictions().is_empty()
        assert self.files_of(store) == set()
        assert store.delete_run(run_id) == 0

    def test_listings_without_rows_have_their_columns_and_types(self, store: WorkspaceStore) -> None:
        empty = {
            "runs": store.list_runs(),
            "runs of a dataset": store.list_runs(dataset="x"),
            "datasets": store.list_datasets(),
            "pipelines": store.list_pipelines(),
            "chains": store.get_chains_for_pipeline("x"),
            "predictions": store.query_predictions(),
            "top": store.top_predictions(3),
            "log": store.get_pipeline_log("x"),
            "summary": store.get_run_log_summary("x"),
        }
        run_id, pipeline_id = add_pipeline(store)
        add_chain(store, pipeline_id)
        add_prediction(store, pipeline_id)
        store.log_step(pipeline_id, 0, "PLS", "end", 1)
        filled = {
            "runs": store.list_runs(),
            "runs of a dataset": store.list_runs(dataset="wheat"),
            "datasets": store.list_datasets(),
            "pipelines": store.list_pipelines(),
            "chains": store.get_chains_for_pipeline(pipeline_id),
            "predictions": store.query_predictions(),
            "top": store.top_predictions(3),
            "log": store.get_pipeline_log(pipeline_id),
            "summary": store.get_run_log_summary(run_id),
        }
        for name, frame in filled.items():
            assert frame.height == 1, name
            assert empty[name].height == 0, name
            assert empty[name].schema == frame.schema, name

    # -- chains and replay

    def test_a_chain_comes_back_as_it_was_saved(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        chain = store.get_chain(chain_id)
        assert chain is not None
        assert chain["pipeline_id"] == pipeline_id
        assert [step["operator_class"] for step in chain["steps"]] == ["StandardScaler", "PLSRegression"]
        assert list(chain["fold_artifacts"]) == ["0", "1"]
        assert store.get_chains_for_pipeline(pipeline_id)["chain_id"].to_list() == [chain_id]

    def test_replay_is_the_mean_of_the_folds_and_leaves_X_alone(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        scaled = StandardScaler().fit_transform(X)
        models = [PLSRegression(2).fit(scaled[fold::2], Y[fold::2]) for fold in range(2)]
        given = X.copy()
        y = store.replay_chain(chain_id, given)
        np.testing.assert_allclose(y, np.mean([model.predict(scaled) for model in models], axis=0))
        assert y.shape == (40,)
        np.testing.assert_array_equal(given, X)
        np.testing.assert_array_equal(store.load_chain(chain_id).predict(X), y)

    # -- predictions

    @pytest.mark.parametrize(
        "y",
        [
            np.array([1.5, np.nan, -np.inf], dtype=np.float32),
            np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
            np.array([2**62 + 1, 1, -(2**53) - 1]),
            np.array([True, False, True]),
            np.array(["arabica", "robusta", "é\n"]),
            np.array(["a", "b", ""], dtype=object),
        ],
    )
    def test_arrays_come_back_equal_in_values_shape_and_dtype(
        self, store: WorkspaceStore, y: np.ndarray[Any, Any]
    ) -> None:
        _, pipeline_id = add_pipeline(store)
        prediction_id = add_prediction(store, pipeline_id)
        store.save_prediction_arrays(prediction_id, y[:1], y[:1])
        store.save_prediction_arrays(prediction_id, y, y, sample_indices=np.arange(3), weights=np.ones(3))
        found = store.get_prediction(prediction_id, load_arrays=True)
        assert found is not None
        for name, expected in {"y_true": y, "y_pred": y, "sample_indices": np.arange(3)}.items():
            np.testing.assert_array_equal(found[name], expected)
            assert found[name].dtype == expected.dtype
        assert found["y_proba"] is None

    def test_many_predictions_are_saved_together_or_not_at_all(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        row: dict[str, Any] = {"dataset_name": "wheat", "model_name": "PLS", "model_class": "PLSRegression"}
        row |= {"partition": "val", "metric": "rmse", "task_type": "regression", "scores": {"val": {"rmse": 0.5}}}
        records = [row | {"fold_id": str(fold), "y_true": Y[fold:], "y_pred": Y[fold:]} for fold in range(3)]
        ids = store.save_predictions(pipeline_id, records)
        for fold, prediction_id in enumerate(ids):
            found = store.get_prediction(prediction_id, load_arrays=True)
            assert found is not None
            assert (found["fold_id"], found["scores"]) == (str(fold), row["scores"])
            np.testing.assert_array_equal(found["y_pred"], Y[fold:])
        with pytest.raises(StoreError):
            store.save_predictions(pipeline_id, [*records, row | {"fold_id": "3", "chain_id": "unknown"}])
        assert store.query_predictions().height == 3

    def test_ranking_follows_the_metric_skips_rows_without_score_and_puts_nan_last(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        scores = [0.3, None, 0.1, float("nan"), 0.2]
        ids = [
            add_prediction(store, pipeline_id, val_score=score, model_name=f"m{i % 2}")
            for i, score in enumerate(scores)
        ]
        assert store.top_predictions(9)["prediction_id"].to_list() == [ids[2], ids[4], ids[0], ids[3]]
        assert store.top_predictions(9, ascending=False)["prediction_id"].to_list() == [ids[0], ids[4], ids[2], ids[3]]
        r2 = [add_prediction(store, pipeline_id, val_score=score, metric="r2") for score in (0.7, 0.9)]
        assert store.top_predictions(9, score_metric="r2")["prediction_id"].to_list() == r2[::-1]
        with pytest.raises(StoreError, match=r"r2.*rmse"):
            store.top_predictions(9)

    def test_ranking_by_group_gives_n_rows_for_each_value(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        for i in range(6):
            add_prediction(store, pipeline_id, val_score=i / 10, model_name=f"m{i % 2}")
        top = store.top_predictions(2, group_by="model_name")
        assert sorted(top["model_name"].to_list()) == ["m0", "m0", "m1", "m1"]
        assert top["val_score"].to_list() == [0.0, 0.1, 0.2, 0.3]

    def test_queries_combine_filters_and_only_model_class_takes_patterns(self, store: WorkspaceStore) -> None:
        run_id, pipeline_id = add_pipeline(store)
        wanted = add_prediction(store, pipeline_id, dataset_name="a_b", branch_id=1, refit_context="final")
        add_prediction(store, pipeline_id, dataset_name="axb", model_class="Ridge")
        assert store.query_predictions(dataset_name="a_b")["prediction_id"].to_list() == [wanted]
        assert store.query_predictions(model_class="PLS%", branch_id=1, run_id=run_id).height == 1
        assert store.query_predictions(model_class="Ridg_")["model_class"].to_list() == ["Ridge"]
        assert store.query_predictions(run_id="other").is_empty()
        assert store.query_predictions(limit=1, offset=1)["model_class"].to_list() == ["Ridge"]
        assert store.query_predictions(branch_id=1)["refit_context"].to_list() == ["final"]

    def test_a_deleted_prediction_is_gone_with_its_arrays(self, store: WorkspaceStore) -> None:
        _, pipeline_id = add_pipeline(store)
        prediction_id = add_prediction(store, pipeline_id, prediction_id="mine")
        store.save_prediction_arrays(prediction_id, Y, Y)
        assert prediction_id == "mine"
        assert store.delete_prediction("mine") is True
        assert store.delete_prediction("mine") is False
        assert store.get_prediction("mine") is None
        with pytest.raises(NotFoundError):
            store.save_prediction_arrays("mine", Y, Y)

    # -- artifacts

    def test_the_same_bytes_are_one_artifact(self, store: WorkspaceStore) -> None:
        scaler = StandardScaler().fit(X)
        first, second = (store.save_artifact(scaler, "StandardScaler", "transformer", "joblib") for _ in range(2))
        assert first == second
        assert store.get_artifact_path(first).is_file()
        np.testing.assert_array_equal(store.load_artifact(first).mean_, scaler.mean_)

    def test_collecting_never_takes_what_a_chain_names(self, store: WorkspaceStore) -> None:
        run_id, pipeline_id = add_pipeline(store)
        other_run, other_pipeline = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        shared = add_chain(store, other_pipeline)
        loose = store.save_artifact("loose", "str", "other", "pickle")
        assert store.gc_artifacts() == 0
        store.delete_run(run_id)
        assert store.gc_artifacts(grace=NOW) == 1
        with pytest.raises(NotFoundError):
            store.load_artifact(loose)
        assert store.get_chain(chain_id) is None
        store.replay_chain(shared, X)
        store.delete_run(other_run, delete_artifacts=False)
        assert store.gc_artifacts() == 3

    def test_an_existing_file_is_adopted_once(self, store: WorkspaceStore) -> None:
        known = store.get_artifact_path(store.save_artifact([1, 2], "list", "other", "pickle"))
        for _ in range(2):
            adopted = store.register_existing_artifact(
                "config$1:all", known, f"sha256:{known.stem}", "list", "other", "pickle", known.stat().st_size
            )
            assert adopted == "config$1:all"
        assert store.load_artifact("config$1:all") == [1, 2]

    # -- logs

    def test_logs_come_in_the_order_of_steps_and_are_summed_up(self, store: WorkspaceStore) -> None:
        run_id, pipeline_id = add_pipeline(store)
        store.log_step(pipeline_id, 1, "PLS", "end", 30, details={"n": 2})
        store.log_step(pipeline_id, 0, "SNV", "start")
        store.log_step(pipeline_id, 0, "SNV", "end", 12, level="warning")
        log = store.get_pipeline_log(pipeline_id)
        assert log.select("step_idx", "event").rows() == [(0, "start"), (0, "end"), (1, "end")]
        summary = store.get_run_log_summary(run_id).row(0, named=True)
        assert summary == (
            {"pipeline_id": pipeline_id, "pipeline_name": "0001_pls", "pipeline_status": "running", "log_count": 3}
            | {"total_duration_ms": 42, "warning_count": 1, "error_count": 0}
        )

    # -- export and upkeep

    def test_exports_can_be_read_back(self, store: WorkspaceStore, tmp_path: Path) -> None:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        add_prediction(store, pipeline_id, chain_id=chain_id)
        bundle = store.export_chain(chain_id, tmp_path / "out" / "model")
        assert bundle.name == "model.n4a"
        np.testing.assert_array_equal(load_bundle(bundle, trusted=True).predict(X), store.replay_chain(chain_id, X))
        config = store.export_pipeline_config(pipeline_id, tmp_path / "config")
        assert json.loads(config.read_text()) == {"model": "PLS"}
        run = yaml.safe_load(store.export_run(run_id, tmp_path / "run").read_text())
        assert (run["run"]["run_id"], len(run["pipelines"]), len(run["chains"])) == (run_id, 1, 1)
        parquet = store.export_predictions_parquet(tmp_path / "p", dataset_name="wheat")
        assert pl.read_parquet(parquet).equals(store.query_predictions(dataset_name="wheat"))

    def test_a_backup_is_a_workspace_of_its_own(self, store: WorkspaceStore, tmp_path: Path) -> None:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        copy = store.backup(tmp_path / "copy")
        expected = store.replay_chain(chain_id, X)
        with WorkspaceStore(copy) as other:
            np.testing.assert_array_equal(other.replay_chain(chain_id, X), expected)

    def test_vacuum_gives_space_back_and_keeps_everything(self, store: WorkspaceStore) -> None:
        run_id, pipeline_id = add_pipeline(store)
        kept_run, kept_pipeline = add_pipeline(store)
        kept = add_prediction(store, kept_pipeline)
        noise = np.random.default_rng(0).normal(size=3000)
        with store.transaction():
            for _ in range(300):
                store.save_prediction_arrays(add_prediction(store, pipeline_id), noise, noise)
        full = store.vacuum().after
        store.delete_run(run_id)
        before, after = store.vacuum()
        assert after < full / 2 if self.frees_space else after == before
        assert store.query_predictions()["prediction_id"].to_list() == [kept]
        assert store.list_runs()["run_id"].to_list() == [kept_run]
