"""What is stored of how models are judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import slow
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

from nirs4all_store import DataWarning, PipelineRunner, WorkspaceStore, views
from nirs4all_store.datasets import read_dataset
from nirs4all_store.metrics import repeats_of
from nirs4all_store.training.repeats import coverage_of, judged_by

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
    assert len(repeats_of([held_out for _, held_out in folds], len(X))) == repeats
    assert coverage_of(folds, len(X)) == coverage
    told = judged_by(splitter, folds, DATA)
    assert (told.get("n_repeats", 0), told.get("coverage")) == (repeats, coverage)
    assert told["splitter"] == repr(splitter)


def test_a_split_of_the_data_was_shown_with_a_number_for_each_sample() -> None:
    data = replace(DATA, validates=np.arange(12) >= 9)
    told = judged_by(PredefinedSplit([-1] * 9 + [0] * 3), [(np.arange(9), np.arange(9, 12))], data)
    assert told["splitter"] == "split of the data: 3 of 12 validate"


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
    splitter = RepeatedKFold(n_splits=3, n_repeats=3, random_state=0)
    model = DecisionTreeClassifier(random_state=0)
    found = PipelineRunner(store).run([splitter, model], (X, labels))
    scores = json.loads(found["scores"][0])["val"]
    folds = list(splitter.split(X))
    pooled = [cross_val_predict(model, X, labels, cv=folds[3 * repeat : 3 * repeat + 3]) for repeat in range(3)]
    own = [metrics.balanced_accuracy_score(labels, y_pred) for y_pred in pooled]
    assert (scores["balanced_accuracy"], scores["n_repeats"]) == (pytest.approx(np.mean(own)), 3)
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


def forget(store: WorkspaceStore) -> None:
    """Let the pipelines be as they were before it was stored by what they are judged."""
    with store.unit_of_work() as uow:
        for pipeline_id in store.list_pipelines()["pipeline_id"]:
            uow.runs.tell_judged_by(pipeline_id, None)
        uow.commit()


def judged(store: WorkspaceStore) -> list[Any]:
    return [json.loads(text) if text else None for text in store.list_pipelines()["judged_by"]]


def test_pipelines_with_rows_left_out_once_were_said_to_hold_out_some_never(store: WorkspaceStore) -> None:
    gaps = X.copy()
    gaps[[1, 5], 0] = np.nan
    PipelineRunner(store).run([KFold(3), Ridge()], (gaps, Y))
    data = read_dataset((gaps, Y)).complete
    assert judged(store) == [judged_by(KFold(3), list(KFold(3).split(data.X)), data)]
    assert judged(store)[0]["n_repeats"] == 1


@pytest.mark.parametrize("splitter", [KFold(3), slow(TimeSeriesSplit(3))])
def test_what_an_older_version_trained_once_was_ranked_apart_after_resume(store: WorkspaceStore, splitter: Any) -> None:
    PipelineRunner(store).run([splitter, Ridge()], (X, Y))
    forget(store)
    found = PipelineRunner(store).run([splitter, {"_or_": [Ridge(), Ridge(100.0)]}], (X, Y), resume=True)
    told = judged(store)
    assert len(told) == 2
    assert told[0] == told[1] == judged_by(splitter, list(splitter.split(X)), DATA)
    assert store.top_predictions(9, fold_id="avg")["rank"].to_list() == [1, 2]
    assert found.filter(fold_id="avg", partition="val")["val_score"].is_sorted()


def test_what_was_judged_by_repeats_or_by_other_rows_stays_apart_after_resume(store: WorkspaceStore) -> None:
    for splitter in (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), KFold(3)):
        PipelineRunner(store).run([splitter, Ridge()], (X, Y))
    forget(store)
    kept = store.query_predictions(fold_id="1", partition="val")["prediction_id"]
    for name in kept:
        arrays = store.get_prediction(name, load_arrays=True) or {}
        rows = arrays["sample_indices"][::-1]
        store.save_prediction_arrays(name, arrays["y_true"], arrays["y_pred"], sample_indices=rows)
    for splitter in (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), KFold(3)):
        PipelineRunner(store).run([splitter, Ridge()], (X, Y), resume=True)
    assert judged(store) == [None, None]


def test_a_ranking_by_another_metric_once_was_made_of_the_mean_over_repeats(store: WorkspaceStore) -> None:
    splitter = RepeatedKFold(n_splits=3, n_repeats=3, random_state=0)
    shuffled = ShuffleSplit(4, test_size=4, random_state=0)
    labels = np.where(np.median(Y) < Y, "high", "low")
    for own in (splitter, shuffled):
        PipelineRunner(store).run([own, Ridge()], (X, Y))
        PipelineRunner(store).run([own, DecisionTreeClassifier(max_depth=2, random_state=0)], (X, labels))
    names = ("rpd", "mcc", "slope")
    stored = {name: store.top_predictions(9, name, fold_id="avg")["score"].to_list() for name in names}
    forget(store)
    for name, scores in stored.items():
        computed = store.top_predictions(9, name, fold_id="avg")["score"].to_list()
        assert sorted(computed) == pytest.approx(sorted(scores))


def test_a_score_that_was_not_stored_is_computed(store: WorkspaceStore) -> None:
    found = PipelineRunner(store).run([KFold(3), Ridge()], (X, Y)).row(0, named=True)
    with store.unit_of_work() as uow:
        row = uow.predictions.get(found["prediction_id"]) or {}
        wanted = row["scores"]["val"].pop("rpiq")
        uow.predictions.delete(found["prediction_id"])
        uow.commit()
    arrays = store.get_prediction(found["prediction_id"], load_arrays=True)
    assert arrays is None
    y_pred = cross_val_predict(Ridge(), X, Y, cv=KFold(3))
    record = {name: row[name] for name in ("chain_id", "dataset_name", "model_name", "fold_id", "partition", "metric")}
    record |= {"task_type": row["task_type"], "scores": row["scores"], "y_true": Y, "y_pred": y_pred, "model_class": ""}
    store.save_predictions(row["pipeline_id"], [record])
    assert store.top_predictions(1, "rpiq", fold_id="avg")["score"].to_list() == [pytest.approx(wanted)]


def test_an_imported_chain_once_was_ranked_apart_from_its_like(store: WorkspaceStore, tmp_path: Path) -> None:
    PipelineRunner(store).run([KFold(3), Ridge()], (X, Y))
    path = store.export_chain(store.top_predictions(1)["chain_id"][0], tmp_path / "ridge.n4a")
    with WorkspaceStore(f"memory:{tmp_path}-there") as there:
        PipelineRunner(there).run([KFold(3), Ridge(100.0)], (X, Y))
        there.import_bundle(path)
        assert judged(there) == judged(store) * 2
        assert there.top_predictions(9, fold_id="avg")["rank"].to_list() == [1, 2]
        assert not there.import_bundle(path).is_new


@pytest.mark.parametrize(
    "splitter",
    [RepeatedKFold(n_splits=4, n_repeats=3, random_state=0), slow(ShuffleSplit(6, test_size=4, random_state=0))],
)
def test_scores_made_anew_once_were_those_of_the_mean_over_repeats(store: WorkspaceStore, splitter: Any) -> None:
    scans = {"X": X, "y": Y, "sample": [f"s{row}" for row in range(12)]}
    found = PipelineRunner(store).run([splitter, Ridge()], scans)
    chain_id, scores = found["chain_id"][0], json.loads(found["scores"][0])["val"]
    anew = store.chain_scores(chain_id, "val", average="sample").filter(fold_id="avg")
    assert anew["by"].to_list() == ["scan", "sample"]  # Each sample has one scan, so that both are the same.
    for name in ("rmse", "r2", "rpd", "n"):
        assert anew[name].to_list() == pytest.approx([scores[name]] * 2)
    if "rmse_sd" in scores:
        assert anew["rmse_sd"].to_list() == pytest.approx([scores["rmse_sd"]] * 2)
        drawn = views.show(store, "chains", chain_id).drawn or {}
        assert len(drawn["y_pred"]) == len(drawn["y_true"]) == 36


def test_spectra_of_the_calibration_once_gave_an_rmsep_without_a_word(store: WorkspaceStore) -> None:
    rng = np.random.default_rng(0)
    spectra, y, others = rng.normal(size=(15, 12)), np.arange(15.0), rng.normal(size=(3, 12))
    config, both = [KFold(3), Ridge()], np.vstack([others, spectra[2:4]])
    runner = PipelineRunner(store)
    runner.run(config, {"X": spectra, "y": y, "X_test": others, "y_test": y[:3]}, refit=False)
    runner.run(config, {"X": spectra, "y": y, "X_test": both}, refit=False)  # Nothing is judged.
    with pytest.warns(DataWarning, match=r"2 of 5 rows to test have the same spectrum .* first of them in row 3"):
        runner.run(config, {"X": spectra, "y": y, "X_test": both, "y_test": y[:5]}, refit=False)
