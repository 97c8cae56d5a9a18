"""Rows whose X misses a value reach the steps that take them, and are left out, and counted, for others."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import all_but_few, slow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore
from nirs4all_store.datasets import read_dataset

RNG = np.random.default_rng(0)
COMPLETE = RNG.normal(size=(48, 6))
Y = COMPLETE[:, 0] + COMPLETE[:, 1]
X = COMPLETE.copy()
X[[3, 17, 40], [0, 2, 5]] = np.nan
X_TEST = X[:8]
CV = KFold(4)


class Zeros(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Somebody's own way to fill what is missing, which does not tell scikit-learn that it takes that."""

    def fit(self, X: Any, y: Any = None) -> Any:
        return self

    def transform(self, X: Any) -> Any:
        return np.nan_to_num(X)


HISTOGRAMS = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=3)
TAKEN = {
    "an imputer": [SimpleImputer(), Ridge()],
    "an imputer after a scaler": [StandardScaler(), KNNImputer(), PLSRegression(2)],
    "a function": [FunctionTransformer(np.nan_to_num), Ridge()],
    "somebody's own": [Zeros(), Ridge()],
    "a model": [HISTOGRAMS],
    "a model that does not look at X": [DummyRegressor()],
    "a tree after a scaler": [StandardScaler(), DecisionTreeRegressor(random_state=0)],
    "in a pipeline": [make_pipeline(SimpleImputer(), Ridge())],
    "in a search": [GridSearchCV(make_pipeline(SimpleImputer(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=3)],
    "in a transformer of the target": [TransformedTargetRegressor(HISTOGRAMS, transformer=StandardScaler())],
}


def rows_of(store: WorkspaceStore, found: pl.DataFrame, partition: str) -> dict[str, Any]:
    row = found.filter(pl.col("fold_id") == "avg", pl.col("partition") == partition)
    stored = store.get_prediction(row["prediction_id"][0], load_arrays=True)
    assert stored is not None
    return stored


@pytest.mark.parametrize("name", all_but_few(TAKEN, ("an imputer after a scaler", "a model")))
def test_an_imputer_once_was_never_reached_in_training(store: WorkspaceStore, name: str) -> None:
    steps = TAKEN[name]
    found = PipelineRunner(store).run([*steps, CV], {"X": X, "y": Y, "X_test": X_TEST})
    held_out = rows_of(store, found, "val")
    np.testing.assert_allclose(held_out["y_pred"], np.ravel(cross_val_predict(make_pipeline(*steps), X, Y, cv=CV)))
    assert (held_out["n_samples"], held_out["exclusion_count"]) == (48, 0)
    tested = rows_of(store, found, "test")
    assert (len(tested["y_pred"]), tested["exclusion_count"]) == (8, 0)
    np.testing.assert_array_equal(tested["y_pred"], store.replay_chain(found["chain_id"][0], X_TEST, folds="mean"))
    final = make_pipeline(*steps).fit(X, Y).predict(X_TEST)
    np.testing.assert_allclose(store.replay_chain(found["chain_id"][0], X_TEST), np.ravel(final))


def spread(X: Any) -> Any:
    return X - X.mean(axis=0)


@pytest.mark.parametrize(
    "steps",
    [
        [Ridge()],
        slow([StandardScaler(), PLSRegression(2)]),
        slow([PCA(2), HISTOGRAMS]),
        [FunctionTransformer(spread), HISTOGRAMS],
        [make_pipeline(StandardScaler(), Ridge())],
    ],
    ids=["a model", "a scaler", "a projection", "a step that spreads it", "in a pipeline"],
)
def test_rows_are_left_out_where_no_step_takes_them(store: WorkspaceStore, steps: list[Any]) -> None:
    found = PipelineRunner(store).run([*steps, CV], {"X": X, "y": Y, "X_test": X_TEST})
    kept = ~np.isnan(X).any(axis=1)
    held_out = rows_of(store, found, "val")
    expected = cross_val_predict(make_pipeline(*steps), X[kept], Y[kept], cv=CV)
    np.testing.assert_allclose(held_out["y_pred"], np.ravel(expected))
    assert held_out["sample_indices"].tolist() == np.flatnonzero(kept).tolist()
    assert (held_out["exclusion_count"], held_out["exclusion_rate"]) == (3, 3 / 48)


def test_rows_left_out_of_the_test_data_once_were_not_counted(store: WorkspaceStore) -> None:
    y_test = np.where(np.arange(8) == 5, np.nan, Y[:8])
    found = PipelineRunner(store).run([Ridge(), CV], {"X": X, "y": Y, "X_test": X_TEST, "y_test": y_test})
    tested = rows_of(store, found, "test")
    assert tested["sample_indices"].tolist() == [0, 1, 2, 4, 6, 7]
    assert (tested["exclusion_count"], tested["exclusion_rate"]) == (2, 2 / 8)


def test_pipelines_of_one_run_have_the_samples_that_each_can_take(store: WorkspaceStore) -> None:
    config = [{"_or_": [None, SimpleImputer()]}, CV, Ridge()]
    found = PipelineRunner(store).run(config, (X, Y))
    assert sorted(found.filter(pl.col("fold_id") == "avg", pl.col("partition") == "val")["n_samples"]) == [45, 48]
    PipelineRunner(store).run(config, (X, Y), resume=True)
    assert store.list_pipelines().height == 2


def test_gaps_in_the_test_data_alone_reach_an_imputer(store: WorkspaceStore) -> None:
    for first, count in ((SimpleImputer(), 8), (StandardScaler(), 7)):
        found = PipelineRunner(store).run([first, Ridge(), CV], {"X": COMPLETE, "y": Y, "X_test": X_TEST})
        assert len(rows_of(store, found, "test")["y_pred"]) == count


def test_a_dataset_of_which_each_row_has_a_gap_can_be_filled(store: WorkspaceStore) -> None:
    spectra = np.where((np.arange(48) % 6)[:, None] == np.arange(6), np.nan, COMPLETE)
    with pytest.raises(InvalidInputError, match="every one of the 48 rows for training misses a value in X; begin"):
        PipelineRunner(store).run([Ridge(), CV], (spectra, Y))
    with pytest.raises(InvalidInputError, match="every one of the 48 rows to test with misses a value in X; begin"):
        PipelineRunner(store).run([Ridge(), CV], {"X": COMPLETE, "y": Y, "X_test": spectra})
    assert PipelineRunner(store).run([SimpleImputer(), Ridge(), CV], (spectra, Y)).height


def test_what_the_rows_with_gaps_hold_tells_datasets_apart() -> None:
    other = np.where(np.isnan(X), X, X + (np.arange(48) == 3)[:, None])
    assert read_dataset((X, Y)).content_hash != read_dataset((other, Y)).content_hash
