"""Chains that put objects together: on a scaled y, side by side, by source, under a model, inside a dict."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder, MinMaxScaler, StandardScaler

from nirs4all_store import ArtifactLoadError, ChainInputError, ChainReplayError, InvalidInputError, WorkspaceStore
from nirs4all_store.chains.schema import artifact_ids, without_objects
from nirs4all_store.exchange import load_bundle
from nirs4all_store.testing.contract import add_pipeline

RNG = np.random.default_rng(3)
X, X_NEW = RNG.normal(size=(30, 6)), RNG.normal(size=(5, 6))
Y = 100 + 20 * X[:, 0] + RNG.normal(size=30)
WORDS = np.where(Y > 110, "ripe", np.where(Y > 95, "nearly", "green"))


def save(store: WorkspaceStore, fitted: Any) -> str:
    return store.save_artifact(fitted, type(fitted).__name__, "model")


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"step_idx": number, "operator_class": "S", "params": {}, "artifact_id": None, "stateless": False} | more


def saved(
    store: WorkspaceStore, steps: list[dict[str, Any]], folds: dict[str, str], shared: dict[str, Any] | None = None
) -> str:
    _, pipeline_id = add_pipeline(store)
    return store.save_chain(
        pipeline_id=pipeline_id,
        steps=steps,
        model_step_idx=len(steps) - 1,
        model_class="M",
        preprocessings="",
        fold_strategy="per_fold",
        fold_artifacts=folds,
        shared_artifacts=shared or {},
    )


def test_a_scaler_of_y_once_was_applied_to_X(store: WorkspaceStore) -> None:
    scaler, sqrt = StandardScaler().fit(np.sqrt(Y)[:, None]), FunctionTransformer(np.sqrt, np.square)
    inner = scaler.transform(np.sqrt(Y)[:, None])[:, 0]
    models = [Ridge(alpha).fit(X, inner) for alpha in (0.1, 1.0)]
    of_y = [step(0, applies_to="y", artifact_id=save(store, sqrt)), step(1, applies_to="y")]
    chain_id = saved(
        store,
        [*of_y, step(2)],
        {f"fold_{fold}": save(store, model) for fold, model in enumerate(models)},
        {"1": save(store, scaler)},
    )
    wanted = [
        TransformedTargetRegressor(Ridge(alpha), transformer=make_pipeline(sqrt, StandardScaler())).fit(X, Y)
        for alpha in (0.1, 1.0)
    ]
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), np.mean([m.predict(X_NEW) for m in wanted], axis=0))
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW, folds="0"), wanted[0].predict(X_NEW))


def test_codes_of_classes_once_were_predicted_for_words(store: WorkspaceStore) -> None:
    encoder = LabelEncoder().fit(WORDS)
    models = [LogisticRegression(C=c).fit(X, encoder.transform(WORDS)) for c in (0.1, 10)]
    folds = {f"fold_{fold}": save(store, model) for fold, model in enumerate(models)}
    chain_id = saved(store, [step(0, applies_to="y", artifact_id=save(store, encoder)), step(1)], folds)
    shares = np.mean([model.predict_proba(X_NEW) for model in models], axis=0)
    assert store.replay_chain(chain_id, X_NEW).tolist() == encoder.classes_[np.argmax(shares, axis=1)].tolist()
    estimator = store.load_chain(chain_id)
    np.testing.assert_allclose(estimator.predict_proba(X_NEW), shares)
    assert estimator.classes_.tolist() == encoder.classes_.tolist()


def test_ways_stand_side_by_side_as_in_a_union_of_features(store: WorkspaceStore) -> None:
    union = FeatureUnion(
        [
            ("raw", "passthrough"),
            ("scaled", make_pipeline(MinMaxScaler(), StandardScaler())),
            ("squared", FunctionTransformer(np.square)),
        ]
    ).fit(X)
    model = Ridge().fit(union.transform(X), Y)
    first, second = (save(store, own) for own in union.transformer_list[1][1])
    ways = [{}, {"artifacts": [first, second]}, {"artifacts": save(store, union.transformer_list[2][1])}]
    chain_id = saved(store, [step(0, ways=ways), step(1)], {"fold_all": save(store, model)})
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), model.predict(union.transform(X_NEW)))


def test_each_source_gets_its_own_transformers(store: WorkspaceStore) -> None:
    columns = ColumnTransformer([("a", StandardScaler(), slice(0, 2)), ("b", MinMaxScaler(), slice(2, 6))]).fit(X)
    model = Ridge().fit(columns.transform(X), Y)
    a, b = (save(store, own) for _, own, _ in columns.transformers_)
    shared = {"0": [a, b], "_source_map": {"0": {"0": [a], "1": [b]}}}
    chain_id = saved(store, [step(0), step(1)], {"fold_all": save(store, model)}, shared)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), model.predict(columns.transform(X_NEW)))
    with pytest.raises(ChainInputError, match=r"X has 5 columns, and the sources, .* side by side in it, \[2, 4\]"):
        store.replay_chain(chain_id, X_NEW[:, :5])


def test_a_model_over_models_gets_the_mean_of_their_folds(store: WorkspaceStore) -> None:
    stack = StackingRegressor([("a", Ridge().fit(X, Y)), ("b", Ridge(50).fit(X, Y))], Ridge(0.5), cv="prefit").fit(X, Y)
    low, high = (Ridge().fit(X, Y + shift) for shift in (-1, 1))  # Their mean is that of Ridge() on Y.
    ways = [{"models": [save(store, low), save(store, high)]}, {"models": save(store, stack.estimators_[1])}]
    chain_id = saved(store, [step(0, ways=ways), step(1)], {"fold_all": save(store, stack.final_estimator_)})
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), stack.predict(X_NEW))


def test_a_model_inside_a_dict_predicts(store: WorkspaceStore) -> None:
    scaler = StandardScaler().fit(Y[:, None])
    held = {"estimator": Ridge().fit(X, scaler.transform(Y[:, None])[:, 0]), "y_transform": scaler, "kind": "model"}
    last = step(0, members={"model": "estimator", "y": "y_transform"})
    wanted = TransformedTargetRegressor(Ridge(), transformer=StandardScaler()).fit(X, Y).predict(X_NEW)
    for content in (held, held | {"y_transform": None, "estimator": Ridge().fit(X, Y)}):
        chain_id = saved(store, [last], {"final": save(store, content)})
        np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), wanted)


def test_a_dict_that_lacks_the_member_is_an_error_in_words(store: WorkspaceStore, tmp_path: Path) -> None:
    last = step(0, members={"model": "estimator"})
    for content, told in (({"model": 1}, "a dict without a member 'estimator'"), ([1], "a list without a member")):
        chain_id = saved(store, [last], {"final": save(store, content)})
        with pytest.raises(ChainReplayError, match=told):
            store.replay_chain(chain_id, X_NEW)
        bundle = store.export_chain(chain_id, tmp_path / "m.n4a")
        with pytest.raises(ArtifactLoadError, match=told):
            load_bundle(bundle, trusted=True)
        bundle.unlink()


class Counting(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types.
    """Changes itself, as an operator of one's own may."""

    calls = 0

    def fit(self, X: Any, y: Any = None) -> "Counting":
        return self

    def transform(self, X: Any) -> Any:
        self.calls += 1
        return np.asarray(X) + self.calls


def test_an_object_that_changes_itself_inside_a_composite_stays_as_it_was_saved(store: WorkspaceStore) -> None:
    model = Ridge().fit(np.hstack([X, X + 1]), Y)
    ways = [{}, {"artifacts": save(store, Counting())}]
    chain_id = saved(store, [step(0, ways=ways), step(1)], {"fold_all": save(store, model)})
    first, second = (store.replay_chain(chain_id, X_NEW) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, model.predict(np.hstack([X_NEW, X_NEW + 1])))


@pytest.fixture
def whole(store: WorkspaceStore) -> str:
    """Give a chain that puts together in every way but a dict."""
    y = StandardScaler().fit(Y[:, None])
    scaled = [MinMaxScaler().fit(X[:, :3]), StandardScaler().fit(X[:, 3:])]
    Z = np.hstack([scaled[0].transform(X[:, :3]), scaled[1].transform(X[:, 3:])])
    below = Ridge().fit(Z, Y)
    model = Ridge().fit(np.hstack([Z, below.predict(Z)[:, None]]), y.transform(Y[:, None])[:, 0])
    a, b = (save(store, own) for own in scaled)
    ways = [{}, {"models": save(store, below)}]
    steps = [step(0), step(1, ways=ways), step(2, applies_to="y", artifact_id=save(store, y)), step(3)]
    shared = {"0": [a, b], "_source_map": {"0": {"0": [a], "1": [b]}}}
    return saved(store, steps, {"fold_all": save(store, model)}, shared)


def test_bundles_and_scripts_predict_what_composites_do(store: WorkspaceStore, whole: str, tmp_path: Path) -> None:
    wanted = store.replay_chain(whole, X_NEW)
    bundle = store.export_chain(whole, tmp_path / "m.n4a")
    np.testing.assert_array_equal(load_bundle(bundle, trusted=True).predict(X_NEW), wanted)
    imported = store.import_bundle(bundle, trusted=True).chain_id
    assert imported != whole
    np.testing.assert_array_equal(store.replay_chain(imported, X_NEW), wanted)
    script = store.export_chain(whole, tmp_path / "m.n4a.py", format="n4a.py")
    np.savetxt(tmp_path / "new.csv", X_NEW, delimiter=",", fmt="%.18e")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "new.csv", "--no-header"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], wanted, rtol=1e-12)


def test_what_composites_name_is_in_use(store: WorkspaceStore, whole: str) -> None:
    wanted = store.replay_chain(whole, X_NEW)
    assert store.gc_artifacts(grace=timedelta(0)) == 0
    assert not store.check(deep=True).findings
    np.testing.assert_array_equal(store.replay_chain(whole, X_NEW), wanted)


def test_what_is_pruned_names_nothing_any_more(store: WorkspaceStore, whole: str) -> None:
    chain = store.get_chain(whole) or {}
    assert len(artifact_ids(chain)) == 5
    assert artifact_ids(without_objects(chain)) == []


@pytest.mark.parametrize(
    ("last", "problem"),
    [
        ({"ways": []}, "must be a list of dicts"),
        ({"ways": [["a"]]}, "must be a list of dicts"),
        ({"ways": [{"artifacts": 3}]}, "must be an artifact id or a list"),
        ({"applies_to": "z"}, "applies to 'X' or 'y'"),
        ({"members": {"scaler": "s"}}, "name the member for 'model' and for 'y'"),
    ],
)
def test_a_step_that_says_what_nobody_knows_is_refused(
    store: WorkspaceStore, last: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        saved(store, [step(0, **last), step(1)], {"fold_all": save(store, Ridge().fit(X, Y))})
