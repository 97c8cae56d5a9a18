"""The final model of a pipeline is scikit-learn's own fit on all samples of the calibration, and it predicts."""

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from samples import slow
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, PredefinedSplit, ShuffleSplit, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from nirs4all_store import InvalidInputError, PipelineRunner, TrainingFailedError, WorkspaceStore, load_bundle

rng = np.random.default_rng(7)
B, W = rng.normal(size=(12, 80)), rng.normal(size=12)


def spectra(n: int) -> tuple[Any, Any]:
    """Give spectra of twelve analytes, and the reference values of a mixture of these."""
    concentrations = rng.normal(size=(n, 12))
    return concentrations @ B + 0.5 * rng.normal(size=(n, 80)), concentrations @ W + 0.2 * rng.normal(size=n)


(X, Y), (X_NEW, Y_NEW) = spectra(60), spectra(300)
DATA = {"X": X, "y": Y, "X_test": X_NEW, "y_test": Y_NEW}
GROUPS = np.repeat(np.arange(12), 5)


def run(store: WorkspaceStore, config: Any, data: Any = DATA, **choices: Any) -> tuple[pl.DataFrame, str]:
    found = PipelineRunner(store).run(config, data, **choices)
    return found, found["chain_id"][0]


def chain_of(store: WorkspaceStore, chain_id: str) -> dict[str, Any]:
    chain = store.get_chain(chain_id)
    assert chain is not None
    return chain


def arrays(store: WorkspaceStore, found: pl.DataFrame, fold: str, partition: str) -> dict[str, Any]:
    (prediction_id,) = found.filter(fold_id=fold, partition=partition)["prediction_id"]
    prediction = store.get_prediction(prediction_id, load_arrays=True)
    assert prediction is not None
    return prediction


SPLITTERS = [
    KFold(5, shuffle=True, random_state=0),
    slow(TimeSeriesSplit(5)),
    PredefinedSplit([-1] * 45 + [0] * 15),  # Calibration and validation, as a column of a file may say.
    slow(ShuffleSplit(2, test_size=5, random_state=0)),
]


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: type(splitter).__name__)
def test_a_chain_once_predicted_with_models_that_had_not_seen_all_samples(store: WorkspaceStore, splitter: Any) -> None:
    found, chain_id = run(store, [StandardScaler(), splitter, PLSRegression(9)])
    expected = make_pipeline(StandardScaler(), PLSRegression(9)).fit(X, Y)
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), expected.predict(X_NEW), rtol=0, atol=1e-12)
    rows = {row["partition"]: row for row in found.filter(fold_id="final").to_dicts()}
    assert rows.keys() == {"train", "test"}
    for row in rows.values():
        assert (row["val_score"], row["refit_context"], row["n_samples"]) in {
            (None, "standalone", n) for n in (60, 300)
        }
        assert row["train_score"] == pytest.approx(root_mean_squared_error(Y, expected.predict(X)), rel=1e-12)
        assert row["test_score"] == pytest.approx(root_mean_squared_error(Y_NEW, expected.predict(X_NEW)), rel=1e-12)
        assert json.loads(row["scores"]).keys() == {"train", "test"}
    np.testing.assert_array_equal(arrays(store, found, "final", "test")["y_pred"], store.replay_chain(chain_id, X_NEW))
    kept = arrays(store, found, "final", "train")
    np.testing.assert_array_equal(kept["y_pred"], store.replay_chain(chain_id, X, folds="final"))
    assert kept["sample_indices"].tolist() == list(range(60))
    assert set(found.filter(pl.col("fold_id") != "final")["refit_context"]) == {None}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"y": StandardScaler()}, Ridge()], TransformedTargetRegressor(Ridge(), transformer=StandardScaler())),
        ([FunctionTransformer(np.tanh), PCA(5, random_state=0), Ridge()], None),
        slow([RandomForestRegressor(5, random_state=0)], None),
    ],
)
def test_every_step_is_fitted_once_more_as_in_a_pipeline(
    store: WorkspaceStore, steps: list[Any], expected: Any
) -> None:
    _, chain_id = run(store, [KFold(3), *steps])
    expected = (expected or make_pipeline(*steps)).fit(X, Y)
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), expected.predict(X_NEW), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", [LogisticRegression(), slow(SVC())])
def test_a_final_classifier_predicts_what_its_own_predict_says(store: WorkspaceStore, model: Any) -> None:
    y, y_new = (np.where(values > 0, "ripe", "green") for values in (Y, Y_NEW))
    found, chain_id = run(store, [KFold(3), model], {"X": X, "y": y, "X_test": X_NEW, "y_test": y_new})
    expected = model.fit(X, y)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), expected.predict(X_NEW))
    (row,) = found.filter(fold_id="final", partition="test").to_dicts()
    assert row["test_score"] == pytest.approx(balanced_accuracy_score(y_new, expected.predict(X_NEW)))
    if hasattr(model, "predict_proba"):
        kept = arrays(store, found, "final", "test")["y_proba"]
        np.testing.assert_allclose(kept, expected.predict_proba(X_NEW), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(store.load_chain(chain_id).predict_proba(X_NEW), kept)


def test_the_folds_together_predict_as_before_where_they_are_asked(store: WorkspaceStore, tmp_path: Path) -> None:
    steps = [FunctionTransformer(np.tanh), StandardScaler(), KFold(3), PLSRegression(4)]
    found, chain_id = run(store, steps)
    before, old_id = run(store, steps, refit=False)
    assert set(before["fold_id"]) == {"avg", "0", "1", "2"}
    assert chain_of(store, old_id)["predict_fold"] is None
    expected = store.replay_chain(old_id, X_NEW)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW, folds="mean"), expected)
    np.testing.assert_array_equal(arrays(store, found, "avg", "test")["y_pred"], expected)
    np.testing.assert_array_equal(arrays(store, before, "avg", "test")["y_pred"], expected)
    same = [frame.filter(fold_id="avg")["val_score", "train_score", "test_score"] for frame in (found, before)]
    assert same[0].equals(same[1])
    np.testing.assert_array_equal(
        store.replay_chain(chain_id, X_NEW, folds="1"), store.replay_chain(old_id, X_NEW, folds="fold_1")
    )
    bundle = load_bundle(store.export_chain(chain_id, tmp_path / "m"), trusted=True)
    np.testing.assert_array_equal(bundle.predict(X_NEW), store.replay_chain(chain_id, X_NEW))


def test_what_is_kept_is_a_choice(store: WorkspaceStore) -> None:
    steps = [FunctionTransformer(np.tanh), StandardScaler(), KFold(3), Ridge()]
    folds = ["fold_0", "fold_1", "fold_2"]
    for keep, keys in {"all": [*folds, "fold_final"], "final": ["fold_final"], "folds": folds}.items():
        found, chain_id = run(store, steps, name=keep, keep=keep)
        chain = chain_of(store, chain_id)
        assert list(chain["fold_artifacts"]) == keys
        assert chain["predict_fold"] == (None if keep == "folds" else "fold_final")
        # What is equal everywhere is shared; scores and predictions are there, whatever objects are kept.
        assert chain["shared_artifacts"].keys() == {"0"}
        assert set(found["fold_id"]) == {"avg", "0", "1", "2"} | ({"final"} if keep != "folds" else set())
        assert len(arrays(store, found, "1", "val")["y_pred"]) == 20
        expected = arrays(store, found, "avg" if keep == "folds" else "final", "test")["y_pred"]
        np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), expected)
        assert store.check(deep=True).is_sound
    with pytest.raises(InvalidInputError, match=r"the final model 'fold_final' alone, .* keep='all'"):
        store.replay_chain(PipelineRunner(store).run(steps, DATA, keep="final")["chain_id"][0], X_NEW, folds="mean")


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"keep": "best"}, "keep is 'best'; give one of 'all'"), ({"keep": "final", "refit": False}, "leave one of them")],
)
def test_a_choice_that_keeps_nothing_is_refused(store: WorkspaceStore, choices: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PipelineRunner(store).run([Ridge()], DATA, **choices)
    assert store.list_runs().is_empty()


def test_a_pipeline_is_judged_by_what_was_held_out_and_by_the_test_of_the_model_that_predicts(
    store: WorkspaceStore,
) -> None:
    found, _ = run(store, [KFold(3), {"_or_": [Ridge(), Ridge(500.0)]}])
    rows = found.filter(fold_id="avg", partition="val")
    assert rows["val_score"].is_sorted()
    assert found["fold_id"].unique(maintain_order=True).to_list() == ["avg", "0", "1", "2", "final"]
    best = store.get_pipeline(found["pipeline_id"][0])
    assert best is not None
    final = found.filter(fold_id="final", partition="test", pipeline_id=found["pipeline_id"][0])
    assert (best["best_val"], best["best_test"]) == (rows["val_score"][0], final["test_score"][0])
    for fold_id in (None, "final"):
        assert "final" not in set(store.top_predictions(100, partition=None, fold_id=fold_id)["fold_id"])
    assert store.top_predictions(1, "test_score", partition="test", fold_id="final")["refit_context"][0] == "standalone"


class Picky(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Refuses to see all samples, as a model of fixed size may."""

    def fit(self, X: Any, y: Any) -> "Picky":
        if len(X) == len(Y):
            raise ValueError("too many samples")
        self.mean_ = np.mean(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


def test_a_final_model_that_cannot_be_fitted_fails_its_pipeline_alone(store: WorkspaceStore) -> None:
    found, _ = run(store, [KFold(3), {"_or_": [Picky(), Ridge()]}])
    assert set(found["model_class"]) == {"Ridge"}
    (failed,) = store.list_pipelines().filter(status="failed").to_dicts()
    last = failed["error"].strip().splitlines()[-1]
    assert "the final model could not be fitted on all 60 samples" in last and "too many samples" in last
    with pytest.raises(TrainingFailedError, match="refit=False"):
        run(store, [KFold(3), Picky()])
    assert run(store, [KFold(3), Picky()], refit=False)[0].height


@pytest.mark.parametrize("n_jobs", [slow(1), 2])
def test_a_search_gets_the_groups_in_the_final_fit_too(store: WorkspaceStore, n_jobs: int) -> None:
    search = GridSearchCV(Ridge(), {"alpha": [1e-3, 1.0, 1e3]}, cv=GroupKFold(4))
    data = {"X": X, "y": Y, "groups": GROUPS, "X_test": X_NEW}
    with joblib.parallel_config("threading"):
        found = PipelineRunner(store, n_jobs=n_jobs).run([GroupKFold(3), search], data)
    expected = search.fit(X, Y, groups=GROUPS).predict(X_NEW)
    np.testing.assert_allclose(store.replay_chain(found["chain_id"][0], X_NEW), expected, rtol=0, atol=1e-12)
    (row,) = found.filter(fold_id="final", partition="test").to_dicts()
    assert (row["test_score"], json.loads(row["best_params"])) == (None, search.best_params_)


def test_weights_count_in_the_final_fit_and_are_kept_with_it(store: WorkspaceStore) -> None:
    weights = np.linspace(0.1, 2, 60)
    found, chain_id = run(store, [KFold(3), Ridge()], DATA | {"weights": weights})
    expected = Ridge().fit(X, Y, sample_weight=weights).predict(X_NEW)
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(arrays(store, found, "final", "train")["weights"], weights)


def test_what_was_completed_without_a_final_model_stays_as_it_is(store: WorkspaceStore) -> None:
    config = [KFold(3), {"_or_": [Ridge(), Ridge(2.0)]}]
    before, _ = run(store, [*config[:1], Ridge()], refit=False)
    found, _ = run(store, config, resume=True)
    assert store.list_pipelines().height == 2
    old = found.filter(pipeline_id=before["pipeline_id"][0])
    assert old.equals(before)
    assert "final" in set(found["fold_id"])


def test_several_models_of_a_pipeline_each_have_a_final_one(store: WorkspaceStore) -> None:
    found, _ = run(store, [KFold(3), StandardScaler(), {"model": Ridge()}, {"model": PLSRegression(2)}])
    scaled = StandardScaler().fit(X)
    for row in found.filter(fold_id="final", partition="test").to_dicts():
        model = {"Ridge": Ridge(), "PLSRegression": PLSRegression(2)}[row["model_class"]]
        expected = model.fit(scaled.transform(X), Y).predict(scaled.transform(X_NEW))
        np.testing.assert_allclose(store.replay_chain(row["chain_id"], X_NEW), expected, rtol=0, atol=1e-12)
        chain = chain_of(store, row["chain_id"])
        assert len(chain["fold_artifacts"]["fold_final"]) == 2
