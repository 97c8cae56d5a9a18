"""What is stored of how models are judged."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    KFold,
    LeavePOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.tree import DecisionTreeClassifier

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training.repeats import coverage_of, judged_by, repeats_of

X = np.random.default_rng(0).normal(size=(12, 4))
Y = X @ [1.0, 2.0, 0.0, -1.0] + np.random.default_rng(1).normal(size=12)
DATA = read_dataset((X, Y))


@pytest.mark.parametrize(
    ("splitter", "repeats", "coverage"),
    [
        (KFold(3), 1, None),
        (RepeatedKFold(n_splits=3, n_repeats=4, random_state=0), 4, None),
        (TimeSeriesSplit(3), 0, {"never": 3, "several": 0}),
        (PredefinedSplit([-1] * 8 + [0] * 4), 0, {"never": 8, "several": 0}),
        (LeavePOut(2), 0, {"never": 0, "several": 12}),
    ],
)
def test_splitters_that_do_not_hold_out_each_sample_once_are_said_to_be_such(
    splitter: KFold, repeats: int, coverage: dict[str, int] | None
) -> None:
    folds = list(splitter.split(X))
    assert len(repeats_of(folds, len(X))) == repeats
    assert coverage_of(folds, len(X)) == coverage
    told = judged_by(splitter, folds, DATA)
    assert (told.get("n_repeats", 0), told.get("coverage")) == (repeats, coverage)
    assert told["splitter"] == repr(splitter)


def test_a_shuffled_split_covers_unevenly() -> None:
    folds = list(ShuffleSplit(4, test_size=4, random_state=0).split(X))
    times = np.bincount(np.concatenate([held_out for _, held_out in folds]), minlength=12)
    assert coverage_of(folds, 12) == {"never": np.sum(times == 0), "several": np.sum(times > 1)}


def test_the_same_folds_have_the_same_hash_whatever_made_them() -> None:
    splitter = KFold(3)
    folds = list(splitter.split(X))
    predefined = PredefinedSplit(np.arange(12) // 4)
    assert judged_by(predefined, list(predefined.split()), DATA)["folds"] == judged_by(splitter, folds, DATA)["folds"]
    other = list(KFold(3, shuffle=True, random_state=0).split(X))
    assert judged_by(splitter, other, DATA)["folds"] != judged_by(splitter, folds, DATA)["folds"]
    # With other rows left out, the same places are other samples.
    moved = replace(DATA, rows=DATA.rows + 1)
    assert judged_by(splitter, folds, moved)["folds"] != judged_by(splitter, folds, DATA)["folds"]
    nameless = judged_by(object(), folds, DATA)
    assert nameless["splitter"] == "object"


def val_scores(store: WorkspaceStore, splitter: KFold) -> tuple[dict[str, Any], pl.DataFrame]:
    found = PipelineRunner(store).run([splitter, Ridge()], (X, Y))
    row = found.row(0, named=True)
    scores: dict[str, Any] = json.loads(row["scores"])["val"]
    assert row["val_score"] == scores["rmse"]
    return scores, found


def test_ten_repeats_once_made_a_model_look_better(store: WorkspaceStore) -> None:
    splitter = RepeatedKFold(n_splits=4, n_repeats=10, random_state=0)
    scores, found = val_scores(store, splitter)
    splits = list(splitter.split(X))
    pooled = [cross_val_predict(Ridge(), X, Y, cv=splits[4 * repeat : 4 * repeat + 4]) for repeat in range(10)]
    own = [metrics.root_mean_squared_error(Y, y_pred) for y_pred in pooled]
    assert (scores["rmse"], scores["rmse_sd"]) == (pytest.approx(np.mean(own)), pytest.approx(np.std(own, ddof=1)))
    r2 = [metrics.r2_score(Y, y_pred) for y_pred in pooled]
    assert (scores["r2"], scores["r2_sd"]) == (pytest.approx(np.mean(r2)), pytest.approx(np.std(r2, ddof=1)))
    assert (scores["n"], scores["n_repeats"]) == (12, 10)
    assert scores["rmse"] > metrics.root_mean_squared_error(Y, np.mean(pooled, axis=0))
    folds = found.filter(pl.col("fold_id") != "avg", pl.col("partition") == "val")
    assert folds["repeat"].to_list() == [int(fold) // 4 for fold in folds["fold_id"]]
    assert found.filter(pl.col("fold_id") == "avg")["repeat"].null_count() == 2


def test_samples_that_are_held_out_several_times_count_each_time(store: WorkspaceStore) -> None:
    splitter = ShuffleSplit(6, test_size=4, random_state=0)
    scores, _ = val_scores(store, splitter)
    pairs = [(Y[held_out], Ridge().fit(X[rows], Y[rows]).predict(X[held_out])) for rows, held_out in splitter.split(X)]
    y, y_pred = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, y_pred))
    assert (scores["n"], scores["coverage"]) == (24, coverage_of(list(splitter.split(X)), 12))


def test_a_repeat_of_classes_is_scored_alone_too(store: WorkspaceStore) -> None:
    labels = np.where(np.median(Y) < Y, "high", "low")
    splitter = RepeatedKFold(n_splits=3, n_repeats=5, random_state=0)
    model = DecisionTreeClassifier(random_state=0)
    found = PipelineRunner(store).run([splitter, model], (X, labels))
    scores = json.loads(found["scores"][0])["val"]
    folds = list(splitter.split(X))
    pooled = [cross_val_predict(model, X, labels, cv=folds[3 * repeat : 3 * repeat + 3]) for repeat in range(5)]
    own = [metrics.balanced_accuracy_score(labels, y_pred) for y_pred in pooled]
    assert (scores["balanced_accuracy"], scores["n_repeats"]) == (pytest.approx(np.mean(own)), 5)
    assert scores["classes"]["high"]["support"] == 6


def test_a_pipeline_says_by_what_it_was_judged(store: WorkspaceStore) -> None:
    splitter = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    table = pl.DataFrame({**{f"{name}": X[:, i] for i, name in enumerate("abcd")}, "protein": Y})
    found = PipelineRunner(store).run([splitter, Ridge()], table, target="protein")
    pipeline = store.get_pipeline(found["pipeline_id"][0])
    assert pipeline is not None
    data = read_dataset(table, "protein")
    assert pipeline["judged_by"] == judged_by(splitter, list(splitter.split(X)), data)
    assert pipeline["judged_by"]["n_repeats"] == 2
