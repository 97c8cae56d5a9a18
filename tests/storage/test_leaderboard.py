"""What is ranked together, and by what."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn import metrics
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.tree import DecisionTreeClassifier

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore
from nirs4all_store.storage import PredictionRepo
from nirs4all_store.storage.repositories import leaderboard
from nirs4all_store.testing.contract import add_pipeline, add_prediction

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 8))
PROTEIN = X[:, 0] + 0.3 * RNG.normal(size=30)
MOISTURE = 100 * X[:, 1] + 50 * RNG.normal(size=30)
ALPHAS = [{"_or_": [Ridge(0.1), Ridge(10.0), Ridge(1000.0)]}]


def rows(store: WorkspaceStore, n: int = 9, metric: str = "val_score", **more: Any) -> list[dict[str, Any]]:
    return store.top_predictions(n, metric, fold_id="avg", **more).to_dicts()


def test_protein_and_moisture_once_were_ranked_against_each_other(store: WorkspaceStore) -> None:
    for y in (PROTEIN, MOISTURE):
        PipelineRunner(store).run(ALPHAS, {"X": X, "y": y, "name": "wheat"}, refit=False)
    found = rows(store)
    assert [row["rank"] for row in found] == [1, 2, 3] * 2
    assert min(row["score"] for row in found[:3]) > max(row["score"] for row in found[3:])  # The newest comes first.
    assert [row["rank"] for row in rows(store, 1)] == [1, 1]
    by_model = rows(store, 1, group_by="model_name")
    assert [row["rank"] for row in by_model] == [1, 1]


def test_models_that_were_judged_by_other_folds_once_were_ranked_together(store: WorkspaceStore) -> None:
    for splitter in (KFold(3), KFold(5), TimeSeriesSplit(3)):
        PipelineRunner(store).run([splitter, *ALPHAS], (X, PROTEIN), refit=False)
    PipelineRunner(store).run([KFold(3), Ridge(1.0)], (X, PROTEIN), refit=False)
    assert [row["rank"] for row in rows(store)] == [1, 2, 3, 4, 1, 2, 3, 1, 2, 3]


def test_what_nobody_knows_is_kept_apart_by_the_datasets_name_and_its_hash(store: WorkspaceStore) -> None:
    run_id = store.begin_run("by hand")
    for number, (name, content) in enumerate((("a", "1"), ("a", "2"), ("b", "1"), ("a", "0" * 64), ("c", "0" * 64))):
        pipeline_id = store.begin_pipeline(run_id, "p", {}, [], name, content)
        add_prediction(store, pipeline_id, val_score=number / 10, dataset_name=name)
    found = store.top_predictions(9)
    assert found["score"].to_list() == [0.3, 0.4, 0.2, 0.0, 0.1]
    assert found["rank"].to_list() == [1, 2, 1, 1, 2]


@pytest.mark.parametrize("ascending", [None, True, False])
@pytest.mark.parametrize("group_by", [None, "model_name"])
def test_the_best_of_one_kind_once_took_all_predictions_out_of_the_database(
    store: WorkspaceStore, ascending: bool | None, group_by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pipeline_id = add_pipeline(store)
    for number, score in enumerate([0.5, float("nan"), 0.1, None, 0.5, float("inf"), 0.1, 0.0, float("-inf")]):
        add_prediction(store, pipeline_id, val_score=score, model_name="ab"[number % 2])
    asked = [{"n": n, "ascending": ascending, "group_by": group_by} for n in (0, 1, 3, 9)]
    with monkeypatch.context() as without:
        without.setattr(PredictionRepo, "_top_of_one_league", lambda *_: None)
        expected = [store.top_predictions(**one) for one in asked]
    monkeypatch.delattr(leaderboard, "ranked")
    for one, wanted in zip(asked, expected, strict=True):
        found = store.top_predictions(**one)
        by = [] if group_by is None else [group_by]
        assert_frame_equal(found.sort(*by, "rank"), wanted.sort(*by, "rank"))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([("bias", "regression")], [(0.1, 1), (1.05, 2)]),
        ([("slope", "regression")], [(1.05, 1), (0.1, 2)]),
        ([("f1", "binary_classification"), ("f1", "regression")], [(2.0, 1), (1.05, 2), (0.1, 1), (-3.0, 2)]),
    ],
    ids=["bias", "slope", "two tasks"],
)
def test_what_the_database_ranks_by_itself_once_was_refused_or_mixed(
    store: WorkspaceStore, kinds: list[tuple[str, str]], expected: list[tuple[float, int]]
) -> None:
    _, pipeline_id = add_pipeline(store)
    for number, score in enumerate([-3.0, 2.0, 0.1, 1.05]):
        metric, task = kinds[number % len(kinds)]
        add_prediction(store, pipeline_id, val_score=score, metric=metric, task_type=task)
    assert store.top_predictions(2).select("score", "rank").rows() == expected


def by_hand(y: Any, y_pred: Any) -> dict[str, float]:
    e, rmse = y_pred - y, metrics.root_mean_squared_error(y, y_pred)
    return {
        "rmse": rmse,
        "mae": metrics.mean_absolute_error(y, y_pred),
        "r2": metrics.r2_score(y, y_pred),
        "bias": e.mean(),
        "sep": e.std(ddof=1),
        "rpd": y.std(ddof=1) / rmse,
        "rpiq": np.subtract(*np.percentile(y, [75, 25])) / rmse,
        "slope": np.polyfit(y_pred, y, 1)[0],
    }


def test_models_are_ranked_by_any_metric_of_any_partition(store: WorkspaceStore) -> None:
    data = {"X": X[:20], "y": PROTEIN[:20], "X_test": X[20:], "y_test": PROTEIN[20:]}
    PipelineRunner(store).run(ALPHAS, data, refit=False)
    kept = [store.get_prediction(key, load_arrays=True) or {} for key in store.query_predictions()["prediction_id"]]
    for partition in ("val", "train", "test"):
        own = [row for row in kept if (row["fold_id"], row["partition"]) == ("avg", partition)]
        all_scores = [by_hand(row["y_true"], row["y_pred"]) for row in own]
        for metric, sign in ("r2", -1), ("rpd", -1), ("rpiq", -1), ("rmse", 1), ("mae", 1), ("sep", 1):
            scores = sorted((scores[metric] for scores in all_scores), key=lambda score: sign * score)
            found = rows(store, metric=metric, partition=partition)
            assert [row["score"] for row in found] == pytest.approx(scores)
            assert {row["metric"] for row in found} == {"rmse"}
        for metric, best in ("bias", 0.0), ("slope", 1.0):
            scores = sorted((scores[metric] for scores in all_scores), key=lambda score: abs(score - best))
            assert [row["score"] for row in rows(store, metric=metric, partition=partition)] == pytest.approx(scores)
    named = {"rmsec": "train", "rmsecv": "val", "rmsep": "test"}
    for name, partition in named.items():
        assert rows(store, metric=name) == rows(store, metric="rmse", partition=partition)


def test_classes_are_ranked_by_any_metric_and_never_by_those_of_numbers(store: WorkspaceStore) -> None:
    labels = np.where(PROTEIN > 0, "high", "low")
    trees = [{"_or_": [DecisionTreeClassifier(max_depth=depth, random_state=0) for depth in (1, 2, 3)]}]
    PipelineRunner(store).run(trees, (X, labels), refit=False)
    for metric in ("mcc", "accuracy", "f1", "roc_auc"):
        scores = [row["score"] for row in rows(store, metric=metric)]
        assert scores == sorted(scores, reverse=True)
    found = rows(store, metric="log_loss")
    assert [row["score"] for row in found] == sorted(row["score"] for row in found)
    kept = store.get_prediction(found[0]["prediction_id"], load_arrays=True) or {}
    mcc = metrics.matthews_corrcoef(kept["y_true"], kept["y_pred"])
    assert mcc in [pytest.approx(row["score"]) for row in rows(store, metric="mcc")]
    assert rows(store, metric="r2") == []


def test_scores_that_others_stored_are_shown_and_computed_anew_to_rank(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    told = {"val": {"rpd": 99.0, "rmse": 0.001}}
    stored, computed = (add_prediction(store, pipeline_id, scores=told) for _ in range(2))
    y, y_pred = np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.5, 2.5, 3.5, 5.0])
    store.save_prediction_arrays(computed, y, y_pred)
    found = store.top_predictions(9, "rpd").select("prediction_id", "score").rows()
    rpd = y.std(ddof=1) / metrics.root_mean_squared_error(y, y_pred)
    assert found == [(stored, 99.0), (computed, pytest.approx(rpd))]
    assert store.top_predictions(1, "rmse")["score"].to_list() == [0.001]


def test_several_targets_are_ranked_by_a_named_one_or_by_what_has_no_unit(store: WorkspaceStore) -> None:
    frame = {"X": X, "y": np.c_[PROTEIN, MOISTURE], "name": "wheat"}
    PipelineRunner(store).run(ALPHAS, frame, refit=False)
    assert [row["metric"] for row in rows(store)] == ["r2"] * 3
    means = [row["score"] for row in rows(store, metric="r2")]
    assert means == [row["val_score"] for row in rows(store)] == sorted(means, reverse=True)
    with pytest.raises(InvalidInputError, match=r"a mean of rmse over y1, y2 has no unit; name one of them"):
        rows(store, metric="rmse")
    with pytest.raises(InvalidInputError, match="nothing here predicts 'fat'; target= takes y1, y2"):
        rows(store, target="fat")
    for number in ("y1", "y2"):  # It said to name one of these, and then to leave it out.
        found = rows(store, metric="rmse", target=number)
        errors = [json.loads(row["scores"])["val"]["targets"][number]["rmse"] for row in found]
        assert [row["score"] for row in found] == sorted(errors)
        assert len(found) == 3


def test_a_final_model_is_ranked_by_its_own_test_and_never_by_validation(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    for chain, fold, partition, val, test in (
        (None, "avg", "val", 0.5, 0.9),
        (None, "avg", "test", 0.5, 0.9),
        (None, "final", "test", None, 0.1),
    ):
        add_prediction(
            store, pipeline_id, chain_id=chain, fold_id=fold, partition=partition, val_score=val, test_score=test
        )
    found = store.top_predictions(9, "test_score", partition="test", fold_id=["final", "avg"])
    assert found.select("fold_id", "score").rows() == [("final", 0.1), ("avg", 0.9)]
    assert store.top_predictions(9, partition=None)["fold_id"].to_list() == ["avg", "avg"]


def test_the_same_model_trained_again_once_filled_all_places(store: WorkspaceStore) -> None:
    for _ in range(3):
        PipelineRunner(store).run(ALPHAS, (X, PROTEIN), refit=False)
    assert len(rows(store, 99)) == 9
    assert [row["rank"] for row in rows(store, 99, once=True)] == [1, 2, 3]


def test_models_of_several_targets_are_ranked_with_those_of_a_named_one_apart(store: WorkspaceStore) -> None:
    table = pl.DataFrame({str(1100 + 10 * i): X[:, i] for i in range(8)} | {"protein": PROTEIN, "moisture": MOISTURE})
    runner = PipelineRunner(store)
    for target in ("protein", "moisture", ["protein", "moisture"]):
        runner.run(ALPHAS, table, target=target, refit=False)
    assert [row["rank"] for row in rows(store)] == [1, 2, 3] * 3
    found = rows(store, metric="rmse", target="protein")
    assert [row["rank"] for row in found] == [1, 2, 3] * 2
    kept = store.get_prediction(found[0]["prediction_id"], load_arrays=True) or {}
    assert kept["y_true"].shape == (30, 2)
    rmse = metrics.root_mean_squared_error(kept["y_true"][:, 0], kept["y_pred"][:, 0])
    assert found[0]["score"] == pytest.approx(rmse)
    assert [row["score"] for row in rows(store, target="protein")] == [row["score"] for row in found]
    with pytest.raises(InvalidInputError, match="target= takes moisture, protein"):
        rows(store, target="fat")
