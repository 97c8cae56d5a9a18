"""Models that predict NaN of some samples: stored and replayed as they predict, without a score, ranked last."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from nirs4all_store import PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.errors import DataWarning
from nirs4all_store.views import lines_of_scores

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0, 9, (40, 1)), axis=0)
Y = X[:, 0] + RNG.normal(size=40)
CV = KFold(4)
"""The first and the last fold lie outside of what the others train on."""
ISOTONIC = IsotonicRegression(out_of_bounds="nan")


def test_a_predicted_nan_once_failed_its_pipeline_in_scikit_learns_words(store: WorkspaceStore) -> None:
    own = cross_val_predict(ISOTONIC, X, Y, cv=CV)
    count = int(np.isnan(own).sum())
    assert 10 < count < 40
    pipelines = [CV, {"_or_": [{"model": ISOTONIC}, {"model": Ridge()}]}]
    with pytest.warns(DataWarning, match=rf"IsotonicRegression gives no prediction \(NaN\) for {count} of 40 samples"):
        found = PipelineRunner(store).run(pipelines, (X, Y), refit=False)
    together = found.filter(fold_id="avg", partition="val")
    assert together["model_name"].to_list() == ["Ridge", "IsotonicRegression"]
    stored = store.get_prediction(together["prediction_id"][1], load_arrays=True) or {}
    np.testing.assert_array_equal(stored["y_pred"], own)
    assert stored["scores"]["val"] == {"n": 40, "n_unpredicted": count}
    assert np.isnan(stored["val_score"])
    for metric in ("val_score", "rpd", "r2", "bias"):
        ranked = store.top_predictions(9, metric, fold_id="avg")
        assert ranked["model_name"].to_list() == ["Ridge", "IsotonicRegression"]
        assert np.isnan(ranked["score"][1])
    pipeline = store.list_pipelines().filter(pipeline_id=together["pipeline_id"][1])
    assert pipeline["status"].to_list() == ["completed"]
    assert np.isnan(pipeline["best_val"][0])


def test_a_predicted_nan_is_replayed_and_exported(store: WorkspaceStore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": X[:, 0], "protein": Y})
    data = {"X": frame[5:35], "y": "protein", "test": frame}
    with pytest.warns(DataWarning, match="IsotonicRegression"):
        found = PipelineRunner(store).run([KFold(2), {"model": ISOTONIC}], data)
    chain_id, own = found["chain_id"][0], IsotonicRegression(out_of_bounds="nan").fit(X[5:35], Y[5:35]).predict(X)
    assert np.isnan(own).sum() == 10
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), own)
    test = store.query_predictions(fold_id="final", partition="test")
    assert np.isnan(test["test_score"][0])
    scores = store.chain_scores(chain_id, "test")
    assert scores.filter(fold_id="final")["n_unpredicted"].to_list() == [10]
    table = store.predict_table(chain_id, frame)
    assert table.scores == {"protein": {"n": 40, "n_unpredicted": 10}}
    assert lines_of_scores(table)[0] == "protein: n 40, 10 without a prediction (NaN), so that there are no scores"
    intervals = store.predict_frame(chain_id, X, interval=0.9)
    assert (
        intervals["upper"].is_infinite().all()
    )  # Of half of the samples nothing was predicted by the fold without them.
    bundle = load_bundle(store.export_chain(chain_id, tmp_path / "chain.n4a"), trusted=True)
    np.testing.assert_array_equal(bundle.predict(X), own)


class OneTargetAlone(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predicts the first of two targets, and NaN of the second."""

    def fit(self, X: object, y: object) -> "OneTargetAlone":
        self.model_ = Ridge().fit(X, y)
        return self

    def predict(self, X: object) -> object:
        return self.model_.predict(X) * [1, np.nan]


def test_a_target_without_predictions_leaves_the_other_its_scores(store: WorkspaceStore) -> None:
    y = np.c_[Y, -Y]
    pipelines = [CV, {"_or_": [{"model": OneTargetAlone()}, {"model": Ridge()}]}]
    with pytest.warns(DataWarning, match="OneTargetAlone gives no prediction"):
        found = PipelineRunner(store).run(pipelines, {"X": X, "y": y}, refit=False)
    own, other = (
        (store.get_prediction(row, load_arrays=True) or {})["scores"]["val"]["targets"]
        for row in found.filter(fold_id="avg", partition="val")["prediction_id"].reverse()
    )
    assert own["y1"] == other["y1"]
    assert own["y2"] == {"n": 40, "n_unpredicted": 40}
