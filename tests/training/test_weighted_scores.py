"""Weights of samples count in scores where that is asked for, as scikit-learn's `sample_weight` does."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, RepeatedKFold, cross_val_predict
from sqlalchemy import text
from typer.testing import CliRunner

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore, views
from nirs4all_store.cli import app
from nirs4all_store.metrics import scores_of as scores_of_arrays

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = X @ [1.0, 2.0, 0.0, -1.0] + RNG.normal(size=30)
WEIGHTS = RNG.integers(0, 5, 30).astype(float)
CV = KFold(3)
DATA = {"X": X, "y": Y, "weights": WEIGHTS}
WEIGHTED = {"sample_weight": WEIGHTS}


def scores_of(store: WorkspaceStore, found: pl.DataFrame, fold: str, partition: str) -> Any:
    row = found.filter(fold_id=fold, partition=partition)["prediction_id"][0]
    return (store.get_prediction(row) or {})["scores"][partition]


def test_scores_with_weights_are_those_of_scikit_learn(store: WorkspaceStore) -> None:
    data = DATA | {"X_test": X, "y_test": Y + 1}
    found = PipelineRunner(store).run([CV, Ridge()], data, weighted_scores=True)
    held_out = cross_val_predict(Ridge(), X, Y, cv=CV, params=WEIGHTED)
    own = scores_of(store, found, "avg", "val")
    assert own["rmse"] == pytest.approx(metrics.root_mean_squared_error(Y, held_out, **WEIGHTED))
    assert own["r2"] == pytest.approx(metrics.r2_score(Y, held_out, **WEIGHTED))
    assert own["mae"] == pytest.approx(metrics.mean_absolute_error(Y, held_out, **WEIGHTED))
    assert found["score"][0] == own["rmse"]
    final = Ridge().fit(X, Y, **WEIGHTED).predict(X)
    rmsec = scores_of(store, found, "final", "train")["rmse"]
    assert rmsec == pytest.approx(metrics.root_mean_squared_error(Y, final, **WEIGHTED))
    # Samples to test with have no weights.
    rmsep = scores_of(store, found, "final", "test")["rmse"]
    assert rmsep == pytest.approx(metrics.root_mean_squared_error(Y + 1, final))


def test_scores_of_classes_with_weights_are_those_of_scikit_learn(store: WorkspaceStore) -> None:
    y = np.where(Y > 0, "high", "low")
    found = PipelineRunner(store).run([CV, LogisticRegression()], DATA | {"y": y}, weighted_scores=True, refit=False)
    labels, proba = (
        cross_val_predict(LogisticRegression(), X, y, cv=CV, params=WEIGHTED, method=method)
        for method in ("predict", "predict_proba")
    )
    own = scores_of(store, found, "avg", "val")
    assert own["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, labels, **WEIGHTED))
    assert own["roc_auc"] == pytest.approx(metrics.roc_auc_score(y == "low", proba[:, 1], **WEIGHTED))
    assert own["log_loss"] == pytest.approx(metrics.log_loss(y, proba, **WEIGHTED))


def test_scores_with_and_without_weights_are_never_ranked_together(store: WorkspaceStore) -> None:
    runner = PipelineRunner(store)
    with pytest.raises(InvalidInputError, match="weighted_scores needs weights of samples, and dataset has none"):
        runner.run([CV, Ridge()], (X, Y), weighted_scores=True)
    plain = runner.run([CV, Ridge()], DATA, refit=False)
    held_out = cross_val_predict(Ridge(), X, Y, cv=CV, params=WEIGHTED)
    assert plain["score"][0] == pytest.approx(metrics.root_mean_squared_error(Y, held_out))
    weighted = runner.run([CV, Ridge()], DATA, refit=False, weighted_scores=True, resume=True)
    assert runner.run_id is not None  # What was judged without weights was not taken for it.
    for metric in ("val_score", "rpd"):
        ranked = store.top_predictions(1, metric, fold_id="avg")
        assert ranked["chain_id"].to_list() == [weighted["chain_id"][0], plain["chain_id"][0]]
        assert ranked["rank"].to_list() == [1, 1]
    table = views.list_models(store, views.rank(store, 5)).table
    assert table["judged by"].to_list() == ["A", "B"], "a table of 80 columns has no room for the text"
    again = runner.run([CV, Ridge()], DATA, refit=False, weighted_scores=True, resume=True)
    assert (runner.run_id, again["chain_id"][0]) == (None, weighted["chain_id"][0])


def test_scores_that_are_made_anew_of_arrays_have_the_weights(store: WorkspaceStore) -> None:
    splitter = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    found = PipelineRunner(store).run([splitter, Ridge()], DATA, refit=False, weighted_scores=True)
    own = scores_of(store, found, "avg", "val")
    chain_id = found["chain_id"][0]
    anew = store.chain_scores(chain_id, "val").filter(fold_id="avg").row(0, named=True)
    assert anew["rmse"] == pytest.approx(own["rmse"])
    by_sample = store.chain_samples(chain_id, "val").filter(fold_id="0")
    first = metrics.root_mean_squared_error(by_sample["y_true"], by_sample["y_pred"], sample_weight=by_sample["weight"])
    assert store.chain_scores(chain_id, "val").filter(fold_id="0")["rmse"][0] == pytest.approx(first)
    with store.unit_of_work() as uow:
        uow.session.execute(text("UPDATE predictions SET scores = NULL"))
        uow.commit()
    for metric in ("rmse", "sep", "slope"):
        assert store.top_predictions(1, metric, fold_id="avg")["score"][0] == pytest.approx(own[metric])


def test_weighted_scores_in_the_shell(tmp_path: Path) -> None:
    frame = pl.DataFrame(X, schema=[f"x{i}" for i in range(4)]).with_columns(protein=Y, weight=WEIGHTS)
    frame.write_csv(tmp_path / "wheat.csv")
    (tmp_path / "ridge.json").write_text('[{"class": "sklearn.linear_model.Ridge"}]')
    line = ["run", str(tmp_path / "ridge.json"), str(tmp_path / "wheat.csv"), "--target", "protein", "--no-refit"]
    line += ["--weights", "weight", "--weighted-scores", "-w", str(tmp_path / "w")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    with WorkspaceStore(tmp_path / "w", read_only=True) as store:
        assert store.list_pipelines()["judged_by"].str.json_path_match("$.weighted").to_list() == ["true"]


def test_of_several_targets_samples_without_weight_were_counted_and_could_miss_a_prediction() -> None:
    y = np.c_[Y, -Y]
    y_pred = np.where((WEIGHTS == 0)[:, None], np.nan, y + 1)
    found = scores_of_arrays("regression", y, y_pred, weights=WEIGHTS)
    assert (found["n"], found["targets"]["y1"]["n"]) == (np.sum(WEIGHTS > 0), np.sum(WEIGHTS > 0))
    assert "n_unpredicted" not in found
    labels = (y > 0).astype(int)
    assert scores_of_arrays("classification", labels, labels, weights=np.zeros(30))["n"] == 0
