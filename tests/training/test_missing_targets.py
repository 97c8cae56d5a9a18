"""Of several targets, a row that misses one serves the others."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import slow
from sklearn import metrics
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.feature_selection import SelectFromModel, SelectKBest, f_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sqlalchemy import text

from nirs4all_store import InvalidInputError, PipelineRunner, TrainingFailedError, WorkspaceStore, load_bundle
from nirs4all_store.datasets import read_dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
COMPLETE = X[:, :2] * [1.0, 10.0] + RNG.normal(size=(40, 2))
Y = COMPLETE.copy()
Y[[1, 8, 30], 0] = Y[[2, 8, 17, 33], 1] = np.nan
KEPT = ~np.isnan(Y).all(axis=1)
CV = KFold(4)
WEIGHTS = RNG.uniform(0.5, 2.0, size=40)


def stored(store: WorkspaceStore, fold: str, partition: str) -> dict[str, Any]:
    row = store.query_predictions(fold_id=fold, partition=partition).row(0, named=True)
    return store.get_prediction(row["prediction_id"], load_arrays=True) or {}


def fitted(model: Any, rows: Any, target: int, **more: Any) -> Any:
    """Return scikit-learn's own model of one target, fitted on those of these rows that have it."""
    rows = np.asarray(rows)[~np.isnan(Y[rows, target])]
    return clone(model).fit(X[rows], Y[rows, target], **{name: value[rows] for name, value in more.items()})


@pytest.mark.parametrize(
    "model",
    [Ridge(), slow(PLSRegression(2)), slow(GridSearchCV(Ridge(), {"alpha": [0.1, 100.0]}, cv=3))],
    ids=["ridge", "PLS", "a search"],
)
def test_rows_that_missed_one_target_once_served_none(store: WorkspaceStore, tmp_path: Path, model: Any) -> None:
    found = PipelineRunner(store).run([CV, StandardScaler(), model], {"X": X, "y": Y, "X_test": X[:9], "y_test": Y[:9]})
    own = stored(store, "avg", "val")
    assert own["sample_indices"].tolist() == np.flatnonzero(KEPT).tolist()
    assert own["exclusion_count"] == 1
    np.testing.assert_array_equal(own["y_true"], Y[KEPT])
    rows = np.flatnonzero(KEPT)
    expected = np.empty((39, 2))
    for train, held_out in CV.split(rows):
        scaler = StandardScaler().fit(X[rows[train]])
        for target in range(2):
            known = rows[train][~np.isnan(Y[rows[train], target])]
            alone = clone(model).fit(scaler.transform(X[known]), Y[known, target])
            expected[held_out, target] = np.ravel(alone.predict(scaler.transform(X[rows[held_out]])))
    np.testing.assert_allclose(own["y_pred"], expected)
    for target, name in enumerate(("y1", "y2")):
        known = ~np.isnan(Y[KEPT, target])
        scores = own["scores"]["val"]["targets"][name]
        rmse = metrics.root_mean_squared_error(Y[KEPT, target][known], expected[known, target])
        assert (scores["rmse"], scores["n"]) == (pytest.approx(rmse), known.sum())
    chain_id = found["chain_id"][0]
    (step,) = [own for own in (store.get_chain(chain_id) or {})["steps"] if "y_range" in own["params"]]
    assert step["params"]["y_range"] == np.transpose([np.nanmin(Y, axis=0), np.nanmax(Y, axis=0)]).tolist()
    predicted = store.replay_chain(chain_id, X[:5])
    assert predicted.shape == (5, 2)
    path = store.export_chain(chain_id, tmp_path / "several.n4a")
    np.testing.assert_array_equal(load_bundle(path, trusted=True).predict(X[:5]), predicted)
    tested = stored(store, "final", "test")
    assert tested["sample_indices"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [own["n"] for own in tested["scores"]["test"]["targets"].values()] == [7, 7]


def test_each_target_has_its_own_weights_and_transformer_of_y(store: WorkspaceStore) -> None:
    PipelineRunner(store).run([CV, {"y": StandardScaler()}, Ridge()], {"X": X, "y": Y, "weights": WEIGHTS})
    model = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    rows = np.flatnonzero(KEPT)
    expected = [fitted(model, rows, target, sample_weight=WEIGHTS).predict(X[KEPT]) for target in range(2)]
    np.testing.assert_allclose(stored(store, "final", "train")["y_pred"], np.stack(expected, axis=1))


def test_complete_targets_are_fitted_together_as_scikit_learn_does(store: WorkspaceStore) -> None:
    PipelineRunner(store).run([CV, PLSRegression(2)], (X, COMPLETE))
    expected = PLSRegression(2).fit(X, COMPLETE).predict(X)
    np.testing.assert_allclose(stored(store, "final", "train")["y_pred"], expected)


def test_classes_of_several_targets_are_fitted_on_the_rows_that_have_them(store: WorkspaceStore) -> None:
    labels = np.where(np.isnan(Y), np.nan, Y > 0)
    PipelineRunner(store).run([CV, LogisticRegression()], (X, labels))
    own = stored(store, "final", "train")
    for target in range(2):
        known = ~np.isnan(labels[:, target])
        alone = LogisticRegression().fit(X[known], labels[known, target])
        np.testing.assert_array_equal(own["y_pred"][:, target], alone.predict(X[KEPT]))
        np.testing.assert_allclose(own["y_proba"][target], alone.predict_proba(X[KEPT]))


def test_a_step_that_uses_y_beside_gaps_once_failed_in_scikit_learns_words(store: WorkspaceStore) -> None:
    says = r"SelectKBest.* could not be fitted: some rows miss .* train each target alone .*: Input y contains NaN"
    with pytest.raises(TrainingFailedError, match=says):
        PipelineRunner(store).run([CV, SelectKBest(f_regression), Ridge()], (X, Y), refit=False)
    labels = np.where(np.isnan(Y), None, np.where(Y > 0, "high", "low"))  # An empty text is no third class.
    selection = SelectFromModel(DecisionTreeClassifier())
    with pytest.raises(TrainingFailedError, match=r"SelectFromModel.* could not be fitted: some rows miss"):
        PipelineRunner(store).run([CV, selection, DecisionTreeClassifier()], (X, labels), refit=False)


def test_rows_that_missed_one_of_several_texts_once_served_none(store: WorkspaceStore, tmp_path: Path) -> None:
    words = np.array([["low", "dry"], ["high", "wet"]], dtype=object)
    labels = np.where(np.isnan(Y), None, words[(Y > 0).astype(int), [0, 1]])
    frame = pl.DataFrame(X, schema=[f"x{n}" for n in range(6)]).with_columns(grade=labels[:, 0], state=labels[:, 1])
    found = PipelineRunner(store).run([CV, StandardScaler(), LogisticRegression()], frame, target=["grade", "state"])
    own, rows = stored(store, "avg", "val"), np.flatnonzero(KEPT)
    assert own["sample_indices"].tolist() == rows.tolist()
    expected = np.empty((39, 2), dtype=object)
    for train, held_out in CV.split(rows):
        for target in range(2):
            known = [row for row in rows[train] if labels[row, target] is not None]
            scaler = StandardScaler().fit(X[rows[train]])
            alone = LogisticRegression().fit(scaler.transform(X[known]), labels[known, target].astype(str))
            expected[held_out, target] = alone.predict(scaler.transform(X[rows[held_out]]))
    assert own["y_pred"].tolist() == expected.tolist()
    chain_id = found["chain_id"][0]
    anew = store.chain_scores(chain_id, "val").filter(fold_id="avg")
    ranked = store.top_predictions(1, "accuracy", fold_id="avg")["score"][0]
    with store.unit_of_work() as uow:
        uow.session.execute(text("UPDATE predictions SET scores = NULL"))
        uow.commit()
    for target, name in enumerate(("grade", "state")):
        known = np.array([label is not None for label in labels[KEPT, target]])
        pair = labels[KEPT, target][known].astype(str), expected[known, target].astype(str)
        scores = own["scores"]["val"]["targets"][name]
        assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(*pair))
        assert (scores["n"], scores["mcc"]) == (known.sum(), pytest.approx(metrics.matthews_corrcoef(*pair)))
        assert anew.filter(target=name)["mcc"][0] == pytest.approx(scores["mcc"])
    assert store.top_predictions(1, "accuracy", fold_id="avg")["score"][0] == pytest.approx(ranked)
    assert own["classes"] == [["high", "low"], ["dry", "wet"]]
    samples = store.load_dataset(store.list_datasets()["dataset_id"][0])
    assert samples.select("grade", "state").rows() == [tuple(row) for row in labels[KEPT].tolist()]
    assert store.chain_samples(chain_id, "val").filter(fold_id="avg")["grade"].null_count() == 2
    predicted = store.replay_chain(chain_id, X)
    assert predicted.shape == (40, 2)
    path = store.export_chain(chain_id, tmp_path / "several.n4a")
    np.testing.assert_array_equal(load_bundle(path, trusted=True).predict(X), predicted)


def test_a_target_without_any_value_is_refused_and_rows_that_miss_all_are_left_out() -> None:
    with pytest.raises(InvalidInputError, match="y has no value in its column 1"):
        read_dataset((X, np.where([False, True], np.nan, Y)))
    texts = read_dataset((X, [["a", "b"], ["a", None], [None, "b"], [None, None]] * 10))
    assert (texts.excluded, texts.y[:3].tolist()) == (10, [["a", "b"], ["a", ""], ["", "b"]])
    lists = [[1, None], [2, 3.5]] * 20
    assert (read_dataset((X, lists)).excluded, read_dataset((X, lists)).y.dtype) == (0, float)
    table = pl.DataFrame(X, schema=[str(1100 + n) for n in range(6)]).with_columns(a=Y[:, 0], b=Y[:, 1])
    assert read_dataset(table.fill_nan(None), ["a", "b"]).excluded == 1
