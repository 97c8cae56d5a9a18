"""What nirs4all's names do on our store; nirs4all itself is not needed (test_nirs4all.py trains with it)."""

import hashlib
import io
import json
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nirs4all_store import (
    ChainReplayError,
    DuplicateError,
    IntegrationError,
    InvalidInputError,
    NotFoundError,
    WorkspaceError,
    WorkspaceStore,
)
from nirs4all_store.integrations.nirs4all import __main__ as program
from nirs4all_store.integrations.nirs4all import families, install, installation, v0_7
from nirs4all_store.integrations.nirs4all.adapter import Adapter
from nirs4all_store.integrations.nirs4all.bundles import AsLine, is_line
from nirs4all_store.integrations.nirs4all.documents import plain
from nirs4all_store.integrations.nirs4all.summaries import matching, summaries
from nirs4all_store.integrations.nirs4all.v1_4 import Store
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

X = np.random.default_rng(0).normal(size=(12, 3))
Y = X @ [1.0, 2.0, 3.0]
NO_CHAIN = {"steps": [], "model_step_idx": -1, "model_class": "", "preprocessings": "", "fold_strategy": "score_only"}
NO_CHAIN |= {"fold_artifacts": {}, "shared_artifacts": {}}


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    with Adapter(f"memory:{tmp_path}") as adapter:
        yield adapter


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Adapter]:
    with Adapter(tmp_path / "w") as adapter:
        yield adapter


def written(adapter: Adapter, artifact_id: str, obj: Any, kind: str = "transformer") -> dict[str, Any]:
    """Write a fitted object as nirs4all does; return what it registers then."""
    name = type(obj).__name__
    joblib.dump(obj, stream := io.BytesIO())
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    path = adapter.workspace_path / "artifacts" / digest[:2] / f"{kind}_{name}_{digest[:12]}.joblib"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(stream.getvalue())
    row = {
        "artifact_id": artifact_id,
        "path": f"{digest[:2]}/{path.name}",
        "operator_class": name,
        "artifact_type": kind,
    }
    row |= {"content_hash": f"sha256:{digest}", "format": "joblib"}
    return row | {"size_bytes": path.stat().st_size}


def chain_of(scaler: str, model: str, fold: str = "fold_0", name: str = "StandardScaler") -> dict[str, Any]:
    steps = [
        {"step_idx": 1, "operator_class": name, "params": {}, "artifact_ids": [scaler], "stateless": False},
        {"step_idx": 2, "operator_class": "KFold", "params": {}, "artifact_ids": [], "stateless": True},
        {"step_idx": 3, "operator_class": "LinearRegression", "params": {}, "artifact_ids": [model]},
    ]
    return {
        "steps": steps,
        "model_step_idx": 3,
        "model_class": "LinearRegression",
        "preprocessings": "Std",
        "fold_strategy": "per_fold",
        "fold_artifacts": {fold: model},
        "shared_artifacts": {"1": [scaler]},
    }


def train(adapter: Adapter, pipeline_id: str, name: str, scaler: Any = None, fold: str = "fold_0") -> str:
    """Save a chain and then its artifacts, as nirs4all does; return the chain's id."""
    scaler = (scaler or StandardScaler()).fit(X)
    model = LinearRegression().fit(scaler.transform(X), Y)
    chain = chain_of(f"{name}:scaler", f"{name}:model", fold, type(scaler).__name__)
    chain_id = adapter.save_chain(pipeline_id, **chain)
    adapter.register_existing_artifact(**written(adapter, f"{name}:scaler", scaler))
    adapter.register_existing_artifact(**written(adapter, f"{name}:model", model, "model"))
    return chain_id


def test_a_chain_saved_before_its_artifacts_once_ended_the_training(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    chain_id = train(in_folder, pipeline_id, "first")
    assert in_folder.get_chains_for_pipeline(pipeline_id)["model_step_idx"].to_list() == [3]
    assert np.allclose(in_folder.replay_chain(chain_id, X), Y)
    found = in_folder.get_chain(chain_id) or {}
    assert found["steps"] == chain_of("first:scaler", "first:model")["steps"]
    assert [step["step_idx"] for step in (in_folder.own.get_chain(chain_id) or {})["steps"]] == [0, 1, 2]
    assert in_folder.own.check(deep=True).findings == []


def test_a_chain_whose_artifacts_never_come_is_refused_by_name(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    in_folder.save_chain(pipeline_id, **chain_of("gone:scaler", "gone:model"))
    with pytest.raises(NotFoundError, match="gone:scaler"):
        in_folder.get_chains_for_pipeline(pipeline_id)
    assert in_folder.get_chains_for_pipeline(pipeline_id).is_empty()
    with pytest.raises(NotFoundError, match="gone:model"), in_folder.transaction():
        in_folder.complete_run(in_folder.begin_run("another"))
        in_folder.save_chain(pipeline_id, **chain_of("gone:scaler", "gone:model"))
    assert in_folder.list_runs()["name"].to_list() == ["run"]


def test_a_bad_chain_once_took_the_good_ones_with_it(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    good = train(in_folder, pipeline_id, "good")
    bad = in_folder.save_chain(pipeline_id, **chain_of("gone:scaler", "gone:model"))
    with pytest.raises(NotFoundError, match=f"chain {bad} names"):
        in_folder.list_runs()
    assert in_folder.get_chains_for_pipeline(pipeline_id)["chain_id"].to_list() == [good]


def test_a_chain_that_waited_once_outlived_its_transaction(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    with pytest.raises(ValueError, match="stop"), in_folder.transaction():
        train(in_folder, pipeline_id, "first")
        raise ValueError("stop")
    assert in_folder.get_chains_for_pipeline(pipeline_id).is_empty()


def test_what_a_thread_had_waiting_was_lost_at_the_end(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    thread = threading.Thread(target=train, args=(in_folder, pipeline_id, "first"))
    thread.start()
    thread.join()
    in_folder.close()
    with WorkspaceStore(in_folder.workspace_path) as store:
        assert store.get_chains_for_pipeline(pipeline_id).height == 1


def test_an_id_of_another_pipeline_once_removed_its_prediction(in_folder: Adapter) -> None:
    _, first = add_pipeline(in_folder.own)
    _, other = add_pipeline(in_folder.own)
    row = {"chain_id": None, "dataset_name": "d", "model_name": "m", "model_class": "M", "fold_id": "0"}
    row |= {"partition": "val", "metric": "rmse", "task_type": "regression", "prediction_id": "same"}
    row |= dict.fromkeys(("val_score", "test_score", "train_score", "n_samples", "n_features", "scores", "best_params"))
    row |= dict.fromkeys(("preprocessings", "branch_id", "branch_name", "exclusion_count", "exclusion_rate"))
    in_folder.save_prediction(pipeline_id=first, **row)
    with pytest.raises(DuplicateError):
        in_folder.save_prediction(pipeline_id=other, **row)
    assert (in_folder.get_prediction("same") or {})["pipeline_id"] == first


def test_the_same_ids_of_another_run_once_led_to_its_models(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    first = train(in_folder, pipeline_id, "config")
    _, other_pipeline = add_pipeline(in_folder.own)
    other = train(in_folder, other_pipeline, "config", MinMaxScaler())
    assert np.allclose(in_folder.replay_chain(first, X), Y)
    assert np.allclose(in_folder.replay_chain(other, X), Y)
    assert "@" in (in_folder.get_chain(other) or {})["fold_artifacts"]["fold_0"]
    assert in_folder.own.check(deep=True).findings == []


def test_a_final_model_stands_in_the_row_of_its_chain(in_folder: Adapter) -> None:
    own = in_folder.own
    run_id = own.begin_run("run")
    judged, other, final = (
        own.begin_pipeline(run_id, name, None, None, "d") for name in ("a", "b", "a_refit_rmsecvt2")
    )
    of_folds = train(in_folder, judged, "a")
    train(in_folder, other, "b", MinMaxScaler())
    refit = train(in_folder, final, "f", fold="fold_final")
    in_folder.complete_pipeline(final, 0.0, 0.5, "rmse", 1)
    found = in_folder.own.get_chain(refit) or {}
    assert (found["refit_of"], found["predict_fold"]) == (of_folds, "fold_final")
    assert (own.get_pipeline(final) or {})["best_val"] is None


def test_a_prediction_saved_again_takes_the_place_of_the_first(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    chain_id = add_chain(adapter.own, pipeline_id)
    first = add_prediction(adapter, pipeline_id, chain_id=chain_id, prediction_id="short-id", val_score=1.0)
    again = add_prediction(adapter, pipeline_id, chain_id=chain_id, prediction_id="other", val_score=2.0)
    assert first == again == "short-id"
    assert adapter.own.query_predictions()["val_score"].to_list() == [2.0]
    add_prediction(adapter, pipeline_id, chain_id=chain_id, prediction_id="short-id", fold_id="1")
    assert adapter.own.query_predictions()["fold_id"].to_list() == ["1"]


def test_a_prediction_saved_again_once_lost_its_arrays_until_others_came(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    name = add_prediction(adapter, pipeline_id, prediction_id="a", val_score=1.0)
    arrays = {"y_true": np.arange(2.0), "y_pred": np.arange(2.0) + 0.5, "X": np.eye(2)}
    adapter.array_store.save_batch([{"prediction_id": name} | arrays])
    add_prediction(adapter, pipeline_id, prediction_id="a", val_score=2.0)
    assert adapter.own.query_predictions()["val_score"].to_list() == [2.0]
    found = adapter.get_prediction_arrays(name) or {}
    assert all(np.array_equal(found[key], value) for key, value in arrays.items())


def test_two_predictions_of_one_kind_in_one_flush_are_the_last_one(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    with adapter.transaction():
        names = [add_prediction(adapter, pipeline_id, prediction_id=name, val_score=1.0) for name in ("a", "b")]
        assert names == ["a", "a"]
        records = [
            {"prediction_id": name, "y_pred": np.full(2, value)} for name, value in zip(names, (1, 2), strict=True)
        ]
        assert adapter.array_store.save_batch(records) == 1
    assert (adapter.get_prediction_arrays("a") or {})["y_pred"].tolist() == [2, 2]
    assert adapter.own.check(deep=True).findings == []


def test_a_score_that_was_never_computed_is_no_zero(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    zeros = {"val_score": 0.0, "test_score": 0.0, "train_score": 0.0}
    scores = {"train": {"rmse": 0.0}, "test": {}, "val": {}}
    add_prediction(adapter, pipeline_id, fold_id="final", partition="train", scores=scores, **zeros)
    row = adapter.own.query_predictions().select("val_score", "test_score", "train_score").row(0)
    assert row == (None, None, 0.0)


def test_what_our_columns_do_not_hold_is_kept_beside(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    name = add_prediction(adapter, pipeline_id, unit_level="sample", row_id=None)
    arrays = {"y_true": np.array([[1.0], [2.0]]), "y_pred": np.array([1.5, 2.5], dtype=np.float32)}
    more = {"sample_indices": [4, 5], "weights": [np.nan], "sample_metadata": {"id": ["a", "b"]}, "X": np.ones((2, 3))}
    assert adapter.array_store.save_batch([{"prediction_id": name} | arrays | more]) == 1
    found = adapter.array_store.load_single(name) or {}
    assert found["y_true"].tolist() == [1.0, 2.0]
    assert (found["y_pred"].dtype, found["sample_indices"].dtype) == (np.float64, np.int32)
    assert np.isnan(found["weights"]).tolist() == [True]
    assert (found["sample_metadata"], found["result_metadata"]) == ({"id": ["a", "b"]}, {})
    assert found["X"].shape == (2, 3)
    assert found["spectra"] is None
    assert adapter.own.documents("nirs4all", "prediction_id", [name])[name]["unit_level"] == "sample"
    adapter.array_store.save_batch([{"prediction_id": name, "y_true": None, "y_pred": np.array([1.5, 2.5])}])
    assert (adapter.array_store.load_single(name) or {})["y_true"] is None
    assert adapter.array_store.load_dataset("wheat")["y_pred"].to_list() == [[1.5, 2.5]]
    pairs = adapter.array_store.save_batch(
        [{"prediction_id": name, "y_pred": np.ones((2, 2)), "result_metadata": {"a": 1}}]
    )
    table = adapter.array_store.load_dataset("wheat")
    assert (pairs, table["y_pred_shape"].to_list(), table["result_metadata"].to_list()) == (1, [[2, 2]], ['{"a": 1}'])
    assert adapter.array_store.stats()["datasets"] == {"wheat": {"rows": 1, "bytes": 0}}
    assert adapter.array_store.integrity_check({name, "gone"})["missing_ids"] == ["gone"]


def test_the_last_prediction_takes_its_chain_and_pipeline_with_it(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    chain_id = train(in_folder, pipeline_id, "first")
    names = [add_prediction(in_folder, pipeline_id, chain_id=chain_id, fold_id=fold) for fold in "01"]
    assert in_folder.delete_prediction(names[0])
    assert in_folder.get_chain(chain_id) is not None
    assert in_folder.delete_prediction(names[1])
    assert not in_folder.delete_prediction(names[1])
    assert in_folder.list_pipelines().is_empty()
    assert not [*(in_folder.workspace_path / "artifacts").rglob("*.joblib")]
    assert in_folder.own.check(deep=True).findings == []


def test_a_chain_without_objects_keeps_its_scores(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    chain_id = adapter.save_chain(pipeline_id, **NO_CHAIN)
    assert (adapter.get_chain(chain_id) or {})["model_step_idx"] == -1
    assert adapter.own.check(deep=True).findings == []


def test_a_chain_that_nobody_understands_keeps_its_scores_and_says_why(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    model = written(in_folder, "m", LinearRegression().fit(X, Y), "model")
    told = NO_CHAIN | {"model_class": "MetaModel", "model_step_idx": 3, "fold_artifacts": {"fold_0": "m"}}
    chain_id = in_folder.save_chain(pipeline_id, **told)
    in_folder.register_existing_artifact(**model)
    found = in_folder.own.get_chain(chain_id) or {}
    assert found["verification"]["verdict"] == "fails"
    assert "model over models" in found["verification"]["reason"]
    assert in_folder.own.check(deep=True).findings == []


def test_summaries_are_the_means_over_folds_and_the_scores_of_the_refit(adapter: Adapter) -> None:
    _, pipeline_id = add_pipeline(adapter.own)
    chain_id = add_chain(adapter.own, pipeline_id)
    for fold, score in (("0", 1.0), ("1", 3.0), ("avg", 9.0), ("0_agg", 9.0)):
        scores = {"val": {"rmse": score}}
        add_prediction(adapter, pipeline_id, chain_id=chain_id, fold_id=fold, val_score=score, scores=scores)
    final = {"fold_id": "final", "partition": "test", "refit_context": "standalone", "test_score": 7.0}
    add_prediction(adapter, pipeline_id, chain_id=chain_id, **final)
    chain = {"chain_id": chain_id, "pipeline_id": pipeline_id, "model_class": "PLSRegression"}
    found = summaries([chain, {"chain_id": "without predictions"}], adapter.own.query_predictions())
    wanted = {"cv_val_score": 2.0, "cv_fold_count": 2, "cv_scores": '{"val": {"rmse": 2.0}}', "final_test_score": 7.0}
    (row,) = found.rows(named=True)
    assert {name: row[name] for name in wanted} == wanted
    assert len(matching(found, model_class="PLS%", metric=["rmse", "r2"], task_type=None)) == 1
    assert matching(found, model_class="PLS").is_empty()


class Fit(NamedTuple):
    """What nirs4all's results of searches are to the adapter."""

    tuning: Any
    best_value: float = 0.5
    n_trials: int = 3
    fingerprint: str = "print"

    def to_json(self, indent: int | None) -> str:
        return '{"best":  0.5}\n'

    @classmethod
    def from_json(cls, text: str) -> "Fit":
        assert text == '{"best":  0.5}\n'
        return cls(None)


def test_a_family_of_results_is_kept_character_by_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "tuning", families.Family("tuning_id", "result_json", __name__, "Fit"))
    tuning = SimpleNamespace(fingerprint="f", engine="e", metric="rmse", direction="min", to_dict=lambda: {"a": 1})
    with Store(f"memory:{tmp_path}") as store:
        run_id, _ = add_pipeline(store.own)
        name = store.save_tuning_result(Fit(tuning), name="search", run_id=run_id, metadata={"by": "me"})
        other = store.save_tuning_result(Fit(tuning), tuning_id="own id")
        assert (store.load_tuning_result(name).n_trials, store.load_tuning_result("print").n_trials) == (3, 3)
        (last, first) = store.list_tuning_results().rows(named=True)
        assert (last["tuning_id"], first["tuning_id"]) == (other, name) == ("own id", name)
        assert (first["result_json"], first["metadata"]) == ('{"best":  0.5}\n', '{"by": "me"}')
        assert (first["run_id"], first["tuning_json"]) == (run_id, '{"a": 1, "fingerprint": "f"}')
        with pytest.raises(NotFoundError, match="list_tuning_results"):
            store.load_tuning_result("absent")
        with pytest.raises(NotFoundError, match="gone"):
            store.save_tuning_result(Fit(tuning), chain_id="gone")
        with pytest.raises(TypeError, match="Fit of nirs4all"):
            store.save_tuning_result({"best_value": 0})
        with pytest.raises(DuplicateError, match="results already has 'own id'; give another id"):
            store.save_tuning_result(Fit(tuning), tuning_id="own id")
        assert store.list_tuning_results()["prediction_id"].to_list() == [None, None]
        monkeypatch.setattr(Fit, "from_json", lambda text: Fit(None, fingerprint="another"))
        with pytest.raises(ValueError, match="fingerprint differs"):
            store.load_tuning_result(name)


def test_a_run_is_in_one_project_at_a_time(tmp_path: Path) -> None:
    with Store(f"memory:{tmp_path}") as store:
        run_id, other_id = store.begin_run("run"), store.begin_run("other")
        corn, wheat = store.get_or_create_project("corn"), store.create_project("wheat", "of 2026")
        assert store.get_or_create_project("corn") == corn
        for project_id in (corn, wheat, wheat):
            store.set_run_project(run_id, project_id)
        assert (store.get_run(run_id) or {})["project_id"] == wheat
        assert store.list_runs(project_id=wheat)["run_id"].to_list() == [run_id]
        assert store.list_runs()["project_id"].to_list() == [None, wheat]
        store.update_project(wheat, "barley", color="red")
        assert (store.get_project_by_name("barley") or {})["color"] == "red"
        assert store.list_projects()["name"].to_list() == ["barley", "corn"]
        with pytest.raises(NotFoundError, match="no project 'gone'"):
            store.update_project("gone", "rye")
        for nothing in ({"run_id": "gone", "project_id": wheat}, {"run_id": run_id, "project_id": "gone"}):
            with pytest.raises(NotFoundError, match="'gone'"):
                store.set_run_project(**nothing)
        assert (store.get_run(run_id) or {})["project_id"] == wheat
        store.delete_project(wheat)
        assert (store.get_project(wheat), (store.get_run(run_id) or {})["project_id"]) == (None, None)
        store.own.delete_run(other_id)
        assert store.own.check(deep=True).findings == []


def test_an_object_is_found_by_its_cache_key_as_long_as_it_is_there(tmp_path: Path) -> None:
    with Store(f"memory:{tmp_path}") as store:
        scaler = StandardScaler().fit(X)
        kept = store.save_artifact_with_cache_key(scaler, "StandardScaler", "transformer", "joblib", "steps", "x", "d")
        other = store.save_artifact_with_cache_key(scaler.scale_, "ndarray", "transformer", "joblib", "steps", "z", "e")
        assert store.find_cached_artifact("steps", "x") == kept
        assert store.find_cached_artifact("steps", "y") is None
        assert (store.invalidate_dataset_cache("d"), store.invalidate_dataset_cache("d")) == (1, 0)
        assert store.find_cached_artifact("steps", "x") is None
        assert store.find_cached_artifact("steps", "z") == other
        store.own.gc_artifacts(grace=timedelta(0))
        assert store.find_cached_artifact("steps", "z") is None
        assert store.list_results().is_empty()


def test_a_whole_run_is_told_in_strict_json(tmp_path: Path) -> None:
    with Store(f"memory:{tmp_path}") as store:
        run_id, pipeline_id = add_pipeline(store.own)
        store.log_step(pipeline_id, 1, "StandardScaler", "end", 5)
        store.complete_pipeline(pipeline_id, float("nan"), 0.5, "rmse", 7)
        add_prediction(store, pipeline_id, refit_context="standalone")
        found = Store.get_studio_run_detail_v1(f"memory:{tmp_path}", run_id) or {}
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert (found["config"], found["summary"]) == ({"has_refit": True, "seed": 1}, {})
        (pipeline,) = found["pipelines"]
        assert (pipeline["best_val"], pipeline["best_test"], pipeline["total_duration_ms"]) == (None, 0.5, 5)
        runtime = Store.get_studio_run_detail_runtime_v1(f"memory:{tmp_path}", run_id) or {}
        assert runtime["pipeline_runtime"][0]["engine"] is None
        assert Store.get_studio_run_detail_v1(f"memory:{tmp_path}", "gone") is None
        assert Store.get_studio_run_detail_runtime_v1(f"memory:{tmp_path}", "gone") is None


def test_what_readers_of_1_4_ask_has_its_shapes(tmp_path: Path) -> None:
    with Store(f"memory:{tmp_path}") as store:
        run_id, pipeline_id = add_pipeline(store.own)
        chains = [add_chain(store.own, pipeline_id) for _ in range(2)]
        scored = zip((chains[0], chains[0], chains[1]), "010", (1.0, 3.0, 1.5), strict=True)
        names = [
            add_prediction(store, pipeline_id, chain_id=chain_id, fold_id=fold, val_score=score)
            for chain_id, fold, score in scored
        ]
        assert store.query_top_chains(ascending=True)["chain_id"].to_list() == [chains[1], chains[0]]
        assert store.query_top_chains(n=1, offset=1, score_column="avg_val_score", ascending=True)[
            "cv_val_score"
        ].to_list() == [2.0]
        (row,) = store.query_chain_summaries(run_id=run_id, chain_id=[chains[1]], model_class="PLS%").rows(named=True)
        assert (row["run_id"], row["pipeline_status"], row["dataset_name"]) == (run_id, "running", "wheat")
        assert store.count_chain_summaries(metric="r2") == 0
        assert store.get_chain_predictions(chains[0], "val")["fold_id"].to_list() == ["0", "1"]
        assert store.top_predictions(1)["prediction_id"].to_list() == [names[0]]
        assert len(store.top_predictions(1, group_by="chain_id")) == 2
        assert len(store.query_predictions(task_type="reg", limit=2)) == 2
        assert store.query_predictions(task_type="clf").is_empty()
        assert store._fetch_pl("SELECT count(*) AS n FROM chains")["n"].to_list() == [2]
        assert (store.get_prediction(names[0], load_arrays=True) or {}).get("y_pred") is None
        store.fail_pipeline(pipeline_id, "a later model failed")
        assert (store.get_pipeline(pipeline_id)["status"], len(store.query_predictions())) == ("failed", 3)
        assert store.delete_dataset_predictions("wheat") == 3
        assert store.list_pipelines().is_empty()


def test_an_object_that_json_cannot_hold_is_kept_as_its_text() -> None:
    assert plain({"n": np.int64(2), "steps": (StandardScaler(),), 3: np.arange(2)}) == {
        "n": 2,
        "steps": ["StandardScaler()"],
        "3": [0, 1],
    }


def test_a_store_that_nobody_keeps_was_closed_before_its_call(tmp_path: Path) -> None:
    Adapter(tmp_path / "w").begin_run("run")
    Adapter(tmp_path / "w").begin_run("another")
    runs = Adapter(tmp_path / "w").list_runs()  # In an assertion pytest would keep the store.
    assert len(runs) == 2


def test_a_branch_once_was_a_bundle_whose_transformers_were_taken_for_models(in_folder: Adapter) -> None:
    _, pipeline_id = add_pipeline(in_folder.own)
    chain_id = train(in_folder, pipeline_id, "first")
    chain = in_folder.own.get_chain(chain_id) or {}
    assert is_line(chain)
    line = AsLine(in_folder, chain)
    found = line.get_chain(chain_id)
    assert ([step["step_idx"] for step in found["steps"]], found["model_step_idx"]) == ([1, 2, 3], 3)
    assert found["shared_artifacts"] == {"1": ["first:scaler"]}
    assert line.get_pipeline(pipeline_id) is None
    assert line.get_artifact_path("first:scaler").is_file()
    assert not is_line(chain | {"steps": [chain["steps"][0] | {"applies_to": "y"}]})


def test_what_is_not_carried_is_said_by_name(adapter: Adapter) -> None:
    with pytest.raises(AttributeError, match="'compact_everything', which is not carried"):
        _ = adapter.compact_everything
    assert not hasattr(adapter, "_conn")


def test_a_workspace_of_nirs4alls_own_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"SQLite format 3\0")
    with pytest.raises(WorkspaceError, match="nirs4all-store import"):
        Adapter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite"]


def test_a_folder_with_both_databases_once_opened_without_a_word(tmp_path: Path) -> None:
    Adapter(tmp_path).close()
    (tmp_path / "store.sqlite").write_bytes(b"SQLite format 3\0")
    with pytest.warns(UserWarning, match="store.sqlite.*not seen here"):
        Adapter(tmp_path).close()


def test_what_was_opened_before_the_installation_once_went_on_without_a_word() -> None:
    class Theirs:
        workspace_path = Path("before")

    installation._warn_of_open(Theirs)
    opened = Theirs()
    with pytest.warns(UserWarning, match="before install.*in before"):
        installation._warn_of_open(type(opened))


def test_what_is_kept_is_all_or_the_final_models() -> None:
    with pytest.raises(InvalidInputError, match=r"keep is 'folds'.*refit=False"):
        install("folds")


@pytest.mark.parametrize("keep", installation.KEPT)
def test_after_a_refit_the_final_models_are_kept_or_all(
    in_folder: Adapter, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr(installation, "_kept", keep)
    run_id = in_folder.own.begin_run("run")
    told = {"a": "d", "b": "d", "c": "elsewhere", "a_refit_rmsecvt2": "d"}
    pipelines = [in_folder.own.begin_pipeline(run_id, name, None, None, dataset, "h") for name, dataset in told.items()]
    winner = train(in_folder, pipelines[0], "a")
    loser, elsewhere = (train(in_folder, pipelines[n], "bc"[n - 1], MinMaxScaler()) for n in (1, 2))
    assert in_folder.cleanup_transient_artifacts(run_id, "d", [pipelines[0]]) == 0  # There is no final model yet.
    final = train(in_folder, pipelines[3], "f", fold="fold_final")
    names, chains = ("winner", "loser", "elsewhere", "final"), (winner, loser, elsewhere, final)
    before = {name: in_folder.replay_chain(chain, X) for name, chain in zip(names, chains, strict=True)}
    files = len([*(in_folder.workspace_path / "artifacts").rglob("*.joblib")])
    removed = in_folder.cleanup_transient_artifacts(run_id, "d", [pipelines[0]])
    assert len([*(in_folder.workspace_path / "artifacts").rglob("*.joblib")]) == files - removed
    kept = {"elsewhere": elsewhere, "final": final}
    if keep == "all":
        assert removed == 0
        kept |= {"winner": winner, "loser": loser}
    else:
        for chain_id, advice in ((winner, f"predict with its final model, chain {final}"), (loser, "train it again")):
            with pytest.raises(ChainReplayError, match=f"chain {chain_id} was pruned: its scores.*; {advice}"):
                in_folder.replay_chain(chain_id, X)
            for version in (v0_7.Store, Store):
                with pytest.raises(ChainReplayError, match="was pruned"):  # A bundle of it was empty.
                    version.export_chain(in_folder, chain_id, in_folder.workspace_path / "m.n4a")  # type: ignore[arg-type]
            assert (in_folder.get_chain(chain_id) or {})["fold_artifacts"] == {}
        assert (in_folder.own.get_chain(final) or {})["refit_of"] == winner
        assert in_folder.cleanup_transient_artifacts(run_id, "d", [pipelines[0]]) == 0
    for name, chain_id in kept.items():
        assert np.array_equal(in_folder.replay_chain(chain_id, X), before[name])
    assert in_folder.own.check(deep=True).findings == []


@pytest.mark.parametrize(("found", "said"), [(None, "not installed"), ("2.0", "nirs4all 2.0 is installed")])
def test_an_absent_or_unknown_nirs4all_is_refused(monkeypatch: pytest.MonkeyPatch, found: Any, said: str) -> None:
    def version(name: str) -> str:
        if found is None:
            raise installation.PackageNotFoundError(name)
        return str(found)

    monkeypatch.setattr(installation, "version", version)
    with pytest.raises(IntegrationError, match=said):
        install()


def test_a_script_is_run_as_python_runs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "Path(sys.argv[1]).write_text(' '.join([__name__, *sys.argv, sys.path[0]]))"
    )
    kept: list[str] = []
    monkeypatch.setattr(program, "install", kept.append)
    own = ["--keep", "final"]
    monkeypatch.setattr(sys, "argv", ["python -m", *own, str(script), str(tmp_path / "said"), "more", "--keep", "all"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    program.main()
    assert (tmp_path / "said").read_text().split() == [
        "__main__",
        str(script),
        str(tmp_path / "said"),
        "more",
        "--keep",
        "all",
        str(tmp_path),
    ]
    assert kept == ["final"]
    monkeypatch.setattr(sys, "argv", ["python -m"])
    with pytest.raises(SystemExit):
        program.main()
    assert f"usage: {program.USAGE}" in capsys.readouterr().err


def test_a_refused_workspace_once_ended_a_script_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"SQLite format 3\0")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom nirs4all_store.integrations.nirs4all.v1_4 import Store\n"
        "Store(sys.argv[1]) if len(sys.argv) > 1 else 1 / 0"
    )
    monkeypatch.setattr(program, "install", lambda keep: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["python -m", str(script), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^Error: .*nirs4all-store import"):
        program.main()
    monkeypatch.setattr(sys, "argv", ["python -m", str(script)])
    with pytest.raises(ZeroDivisionError):
        program.main()


def test_a_store_in_the_adapter_is_the_same_workspace(adapter: Adapter, tmp_path: Path) -> None:
    run_id = adapter.begin_run("run", {"folds": np.int64(3)}, [{"name": "wheat"}])
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        assert (store.get_run(run_id) or {})["config"] == {"folds": 3}


def test_a_final_model_of_0_7_says_only_by_its_steps_of_which_pipeline_it_is(in_folder: Adapter) -> None:
    own = in_folder.own
    run_id = own.begin_run("run")
    first, second, final = (own.begin_pipeline(run_id, name, None, None, "d") for name in ("a", "b", "pipeline_refit"))
    train(in_folder, first, "a")
    judged = train(in_folder, second, "b", MinMaxScaler())
    refit = train(in_folder, final, "f", MinMaxScaler(), fold="fold_final")
    assert (in_folder.own.get_chain(refit) or {})["refit_of"] == judged


def test_a_final_model_of_0_7_with_the_same_classes_as_two_others_stood_alone(in_folder: Adapter) -> None:
    own = in_folder.own
    run_id = own.begin_run("run")
    splitter = "<nirs4all.refit._FullTrainFoldSplitter object at 0x7f>"
    configs = {
        "a": ["KFold", {"window": 5}],
        "b": ["KFold", {"window": 11}],
        "pipeline_refit": [splitter, {"window": 11}],
    }
    first, second, final = (own.begin_pipeline(run_id, name, told, None, "d") for name, told in configs.items())
    train(in_folder, first, "a")
    judged = train(in_folder, second, "b")
    refit = train(in_folder, final, "f", fold="fold_final")
    assert (in_folder.own.get_chain(refit) or {})["refit_of"] == judged
