"""A stored chain predicts as its fitted objects do, and changes nothing on the way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nirs4all_store import (
    ArtifactCorruptError,
    ArtifactMissingError,
    ChainInputError,
    ChainReplayError,
    InvalidInputError,
    NotFoundError,
    WorkspaceStore,
    replay_chain,
)
from nirs4all_store.chains.loader import ChainLoader
from nirs4all_store.chains.plan import plan_replay
from nirs4all_store.testing.contract import add_pipeline

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 8)) + 3
Y = X[:, 0] - 2 * X[:, 1]
LABELS = np.array(["arabica", "robusta", "liberica"])[np.arange(60) % 3]


class Shifted:
    """A wavelength-aware operator."""

    def transform(self, X: Any, wavelengths: Any) -> Any:
        return X + wavelengths


class InPlace:
    """An operator that overwrites what it is given, and itself."""

    def __init__(self) -> None:
        self.factor = np.array([2.0])

    def transform(self, X: Any) -> Any:
        X *= self.factor
        self.factor *= 10
        return X


def step(idx: int, name: str, **values: Any) -> dict[str, Any]:
    return {"step_idx": idx, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False} | values


def save_chain(store: WorkspaceStore, shared: dict[str, Any], folds: dict[str, Any], *more: dict[str, Any]) -> str:
    """Save objects and a chain of them: one step per key of `shared`, the model after them."""
    _, pipeline_id = add_pipeline(store)

    def save(value: Any) -> Any:
        if isinstance(value, list):
            return [save(item) for item in value]
        return store.save_artifact(value, type(value).__name__, "any", "cloudpickle")

    steps = [step(int(idx), f"op{idx}") for idx in shared] + list(more) + [step(9, "model")]
    return store.save_chain(
        pipeline_id,
        steps,
        9,
        "model",
        "",
        "per_fold",
        {fold: save(value) for fold, value in folds.items()},
        {idx: save(value) for idx, value in shared.items()},
    )


def halves(model: Any, X: Any, y: Any) -> dict[str, Any]:
    from sklearn.base import clone

    return {str(fold): clone(model).fit(X[fold::2], y[fold::2]) for fold in range(2)}


def test_regression_is_the_mean_of_the_folds(store: WorkspaceStore) -> None:
    folds = halves(Ridge(), X, Y)
    chain_id = save_chain(store, {}, folds)
    expected = np.mean([model.predict(X) for model in folds.values()], axis=0)
    np.testing.assert_allclose(store.replay_chain(chain_id, X), expected)
    np.testing.assert_array_equal(replay_chain(store, chain_id, X), store.replay_chain(chain_id, X))


def test_shared_steps_are_applied_once_in_step_order(store: WorkspaceStore) -> None:
    first, second = MinMaxScaler().fit(X), StandardScaler().fit(MinMaxScaler().fit_transform(X))
    third = MinMaxScaler().fit(second.transform(first.transform(X)))
    Z = third.transform(second.transform(first.transform(X)))
    folds = halves(Ridge(), Z, Y)
    chain_id = save_chain(
        store, {"2": third, "1": [first, second]}, folds, step(1, "again"), step(5, "KFold", stateless=True)
    )
    expected = np.mean([model.predict(Z) for model in folds.values()], axis=0)
    np.testing.assert_allclose(store.replay_chain(chain_id, X), expected)


def test_each_fold_applies_its_own_list_in_order(store: WorkspaceStore) -> None:
    folds = {}
    for fold in range(2):
        scaler = StandardScaler().fit(X[fold::2])
        folds[str(fold)] = [scaler, Ridge().fit(scaler.transform(X[fold::2]), Y[fold::2])]
    chain_id = save_chain(store, {}, folds, step(3, "StandardScaler"))
    expected = np.mean([model.predict(scaler.transform(X)) for scaler, model in folds.values()], axis=0)
    np.testing.assert_allclose(store.replay_chain(chain_id, X), expected)


def test_one_target_is_one_dimension_and_several_are_two(store: WorkspaceStore) -> None:
    one = save_chain(store, {}, halves(PLSRegression(2), X, Y[:, None]))
    two = save_chain(store, {}, halves(Ridge(), X, np.stack([Y, -Y], axis=1)))
    assert store.replay_chain(one, X).shape == (60,)
    assert store.replay_chain(two, X).shape == (60, 2)


def test_classes_are_never_averaged_but_chosen_by_mean_probability(store: WorkspaceStore) -> None:
    folds = halves(LogisticRegression(), X, LABELS)
    chain_id = save_chain(store, {}, folds)
    proba = np.mean([model.predict_proba(X) for model in folds.values()], axis=0)
    expected = folds["0"].classes_[proba.argmax(axis=1)]
    assert store.replay_chain(chain_id, X).tolist() == expected.tolist()
    np.testing.assert_allclose(store.load_chain(chain_id).predict_proba(X), proba)


def test_folds_that_saw_fewer_classes_are_aligned(store: WorkspaceStore) -> None:
    few = LABELS != "arabica"
    folds = {
        "0": RandomForestClassifier(5, random_state=0).fit(X[few], LABELS[few]),
        "1": RandomForestClassifier(5, random_state=1).fit(X, LABELS),
    }
    chain_id = save_chain(store, {}, folds)
    proba = np.zeros((60, 3))
    proba[:, 1:] += folds["0"].predict_proba(X)
    proba += folds["1"].predict_proba(X)
    expected = np.array(["arabica", "liberica", "robusta"])[proba.argmax(axis=1)]
    assert store.replay_chain(chain_id, X).tolist() == expected.tolist()
    np.testing.assert_allclose(store.load_chain(chain_id).predict_proba(X), proba / 2)


def test_models_without_probabilities_vote_and_a_tie_goes_to_the_first_class(store: WorkspaceStore) -> None:
    def always(label: str, other: str) -> Any:
        return RidgeClassifier().fit([[0.0], [1.0]], [other, label])

    ones = np.ones((3, 1))
    majority = {"0": always("b", "a"), "1": always("b", "a"), "2": always("a", "b")}
    assert store.replay_chain(save_chain(store, {}, majority), ones).tolist() == ["b"] * 3
    tie = {"0": always("b", "a"), "1": always("a", "b")}
    assert store.replay_chain(save_chain(store, {}, tie), ones).tolist() == ["a"] * 3


def test_several_targets_of_classes_come_as_columns(store: WorkspaceStore) -> None:
    X2, y2 = make_multilabel_classification(40, 8, n_classes=2, random_state=0)
    model = MultiOutputClassifier(LogisticRegression()).fit(X2, y2)
    chain_id = save_chain(store, {}, {"0": model})
    np.testing.assert_array_equal(store.replay_chain(chain_id, X2), model.predict(X2))


def test_wavelengths_go_to_the_operators_that_take_them(store: WorkspaceStore) -> None:
    shift = np.arange(8.0)
    model = Ridge().fit(X + shift, Y)
    chain_id = save_chain(
        store, {"0": Shifted(), "1": StandardScaler(with_mean=False, with_std=False).fit(X)}, {"0": model}
    )
    np.testing.assert_allclose(store.replay_chain(chain_id, X, wavelengths=shift), model.predict(X + shift))
    with pytest.raises(ChainInputError, match=r"step 0 \(op0\) needs wavelengths"):
        store.replay_chain(chain_id, X)


def test_neither_X_nor_what_is_kept_nor_the_next_fold_is_changed_by_operators_that_work_in_place(
    store: WorkspaceStore,
) -> None:
    model = Ridge().fit(4 * X, Y)
    given = X.copy()
    chain_id = save_chain(store, {"0": InPlace()}, {"0": [InPlace(), model], "1": [InPlace(), model]}, step(1, "own"))
    first = store.replay_chain(chain_id, given)
    np.testing.assert_allclose(first, model.predict(4 * X))
    np.testing.assert_array_equal(store.replay_chain(chain_id, given), first)
    np.testing.assert_array_equal(given, X)


def test_X_survives_a_scaler_without_copy(store: WorkspaceStore) -> None:
    given = X.copy()
    chain_id = save_chain(store, {"0": StandardScaler(copy=False).fit(X.copy())}, halves(Ridge(), X, Y))
    store.replay_chain(chain_id, given)
    np.testing.assert_array_equal(given, X)


def test_a_model_that_scales_in_place_does_not_change_what_the_next_fold_sees(store: WorkspaceStore) -> None:
    from sklearn.pipeline import make_pipeline

    folds = {
        str(fold): make_pipeline(StandardScaler(copy=False), Ridge()).fit(X[fold::2].copy(), Y[fold::2])
        for fold in range(2)
    }
    expected = np.mean([model.predict(X.copy()) for model in folds.values()], axis=0)
    np.testing.assert_allclose(store.replay_chain(save_chain(store, {}, folds), X), expected)


def test_a_step_without_its_fitted_object_is_never_skipped(store: WorkspaceStore) -> None:
    chain_id = save_chain(store, {}, halves(Ridge(), X, Y), step(4, "StandardScaler"))
    with pytest.raises(ChainReplayError, match=r"step 4 \(StandardScaler\) is not stateless"):
        store.replay_chain(chain_id, X)


def test_a_chain_without_a_model_says_so(store: WorkspaceStore) -> None:
    with pytest.raises(ChainReplayError, match="no model"):
        store.replay_chain(save_chain(store, {}, {}), X)


def test_a_shared_artifact_after_a_step_fitted_per_fold_is_refused_when_saved(store: WorkspaceStore) -> None:
    scaler = StandardScaler().fit(X)
    folds = {"0": [scaler, Ridge().fit(X, Y)]}
    with pytest.raises(InvalidInputError, match="comes after step 1, which is fitted per fold"):
        save_chain(store, {"2": scaler}, folds, step(1, "StandardScaler"))


@pytest.mark.parametrize(
    ("X_bad", "message"),
    [
        (X[:, :3], r"step 0 \(op0\) refused X of shape \(60, 3\)"),
        (np.full_like(X, np.nan), "NaN"),
        (X[0], "refused X of shape"),
        ([[1.0], [1.0, 2.0]], "the chain refused X"),
        (None, "refused X"),
    ],
)
def test_data_that_does_not_fit_is_an_error_that_names_the_step(
    store: WorkspaceStore, X_bad: Any, message: str
) -> None:
    from sklearn.decomposition import PCA

    chain_id = save_chain(store, {"0": PCA(2).fit(X)}, halves(Ridge(), X[:, :2], Y))
    with pytest.raises(ChainInputError, match=message):
        store.replay_chain(chain_id, X_bad)


def test_an_unknown_chain_is_not_found(store: WorkspaceStore) -> None:
    with pytest.raises(NotFoundError, match="no chain 'x'"):
        store.replay_chain("x", X)


@pytest.mark.in_a_folder
def test_a_damaged_or_missing_artifact_is_named_and_other_chains_still_replay(store: WorkspaceStore) -> None:
    models = halves(Ridge(), X, Y)
    chain_id = save_chain(store, {}, models)
    other = save_chain(store, {}, {"0": models["0"]})
    chain = store.get_chain(chain_id)
    assert chain is not None
    path = store.get_artifact_path(chain["fold_artifacts"]["1"])
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(ArtifactCorruptError, match=rf"{chain_id}.*of fold 1.*{chain['fold_artifacts']['1']}"):
        store.replay_chain(chain_id, X)
    path.unlink()
    with pytest.raises(ArtifactMissingError, match="of fold 1"):
        store.replay_chain(chain_id, X)
    store.replay_chain(other, X)


def test_loaded_objects_are_kept_within_the_bound(store: WorkspaceStore) -> None:
    path = store.get_artifact_path(store.save_artifact(np.zeros(100), "array", "any", "joblib"))
    rows = []
    for i in range(5):
        artifact_id = store.save_artifact(np.full(100, i), "array", "any", "joblib")
        with store.unit_of_work() as uow:
            rows.append(uow.artifacts.get(artifact_id) or {})
    size = path.stat().st_size
    loader = ChainLoader(store._workspace.blobs, max_bytes=2 * size)
    for row in [*rows, rows[-1]]:
        loader._keep(row)
        assert loader._bytes <= 2 * size
    assert list(loader._kept) == [(rows[i]["content_hash"], "joblib", "None") for i in (3, 4)]
    assert ChainLoader(store._workspace.blobs, max_bytes=0)._keep(rows[0]) is not None


def test_load_artifact_and_load_chain_never_give_out_what_replays_share(store: WorkspaceStore) -> None:
    chain_id = save_chain(store, {}, {"0": Ridge().fit(X, Y)})
    expected = store.replay_chain(chain_id, X)
    chain = store.get_chain(chain_id)
    assert chain is not None
    store.load_artifact(chain["fold_artifacts"]["0"]).coef_[:] = 0
    store.load_chain(chain_id).chain.models[0].coef_[:] = 0
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)


def test_a_plan_reads_chains_as_nirs4all_0_7_stored_them() -> None:
    chain = {
        "chain_id": "c",
        "model_step_idx": 4,
        "model_class": "Ridge",
        "steps": [
            {"step_idx": 1, "operator_class": "KFold", "artifact_ids": [], "stateless": True},
            {"step_idx": 2, "operator_class": "SNV", "artifact_ids": ["snv"], "stateless": False},
            {"step_idx": 2, "operator_class": "Derivative", "artifact_ids": ["d"], "stateless": False},
            {"step_idx": 3, "operator_class": "PLS", "artifact_ids": ["p0", "p1"], "stateless": False},
            {"step_idx": 4, "operator_class": "Ridge", "artifact_ids": ["r0", "r1"], "stateless": False},
        ],
        "fold_artifacts": {"fold_0": "r0", "fold_1": "r1"},
        "shared_artifacts": {"2": ["d", "m"], "_source_map": {"2": {"0": ["d"]}}},
    }
    wanted = plan_replay(chain)
    assert [item for _, item in wanted.shared] == ["d", "m"]
    assert {fold: [item for _, item in entries] for fold, entries in wanted.folds.items()} == {
        "fold_0": ["r0"],
        "fold_1": ["r1"],
    }


def test_a_model_without_folds_may_be_named_as_shared(store: WorkspaceStore) -> None:
    model = Ridge().fit(X, Y)
    _, pipeline_id = add_pipeline(store)
    model_id = store.save_artifact(model, "Ridge", "model", "joblib")
    chain_id = store.save_chain(pipeline_id, [step(0, "Ridge")], 0, "Ridge", "", "shared", {}, {"0": [model_id]})
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), model.predict(X))


def test_real_spectra_replay_as_a_scikit_learn_pipeline_does(store: WorkspaceStore, tmp_path: Path) -> None:
    from chemotools.datasets import load_fermentation_train
    from chemotools.derivative import SavitzkyGolay
    from chemotools.scatter import StandardNormalVariate
    from sklearn.pipeline import make_pipeline

    spectra, hplc = load_fermentation_train(set_output="polars")
    Xs, glucose = spectra.to_numpy(), hplc["glucose"].to_numpy()
    steps = [StandardNormalVariate(), SavitzkyGolay(window_length=15, polyorder=2, deriv=1), StandardScaler()]
    pipeline = make_pipeline(*steps, PLSRegression(3)).fit(Xs, glucose)
    *fitted, model = [item for _, item in pipeline.steps]
    chain_id = save_chain(store, {str(i): item for i, item in enumerate(fitted)}, {"0": model})
    np.testing.assert_allclose(store.replay_chain(chain_id, Xs), pipeline.predict(Xs).ravel(), rtol=1e-12)


def chain_of_steps(store: WorkspaceStore, steps: list[dict[str, Any]], shared: dict[str, Any]) -> str:
    """Save a chain with the model as step 5, whose `steps` and `shared` name a fitted scaler by True."""
    _, pipeline_id = add_pipeline(store)
    scaler_id = store.save_artifact(StandardScaler().fit(X), "S", "transformer", "joblib")
    other_id = store.save_artifact(MinMaxScaler().fit(X), "M", "transformer", "joblib")
    model_id = store.save_artifact(Ridge().fit(StandardScaler().fit_transform(X), Y), "R", "model", "joblib")
    ids = {True: scaler_id, "other": other_id, None: None}
    named = [item | {"artifact_id": ids[item["artifact_id"]]} for item in steps]
    shared = {idx: ids[value] if not isinstance(value, list) else value for idx, value in shared.items()}
    return store.save_chain(pipeline_id, [*named, step(5, "R")], 5, "R", "", "per_fold", {"0": model_id}, shared)


@pytest.mark.parametrize("shared", [{}, {"0": []}, {"0": None}, {"0": True}])
def test_an_empty_entry_of_shared_once_hid_the_artifact_of_its_step(
    store: WorkspaceStore, shared: dict[str, Any]
) -> None:
    chain_id = chain_of_steps(store, [step(0, "S", artifact_id=True)], shared)
    Z = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(store.replay_chain(chain_id, X), Ridge().fit(Z, Y).predict(Z))


def test_two_steps_of_one_index_once_lost_the_artifact_that_shared_does_not_name(store: WorkspaceStore) -> None:
    steps = [step(0, "S", artifact_id=True), step(0, "M", artifact_id="other")]
    with pytest.raises(ChainReplayError, match=r"step 0 \(M\) names the artifact"):
        store.replay_chain(chain_of_steps(store, steps, {"0": True}), X)


def test_an_artifact_of_a_step_after_one_fitted_per_fold_once_came_too_early(store: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match="the artifact_id of step 2 comes after step 1"):
        chain_of_steps(store, [step(1, "own"), step(2, "S", artifact_id=True)], {})


def test_a_step_after_the_model_once_was_passed_over(store: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match="comes after the model, which is step 5"):
        chain_of_steps(store, [step(6, "S", artifact_id=True)], {})


def test_several_labels_for_one_sample_once_became_one(store: WorkspaceStore) -> None:
    from sklearn.multiclass import OneVsRestClassifier

    X2, y2 = make_multilabel_classification(40, 8, n_classes=3, random_state=0)
    model = OneVsRestClassifier(LogisticRegression()).fit(X2, y2)
    chain_id = save_chain(store, {}, {"0": model})
    np.testing.assert_array_equal(store.replay_chain(chain_id, X2), model.predict(X2))


class Guess:
    """A classifier that does not tell its classes."""

    _estimator_type = "classifier"

    def __init__(self, label: Any) -> None:
        self.label = label

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.label)


@pytest.mark.parametrize("labels", [(1, 3, 3), ("a", "c", "c")])
def test_labels_of_a_classifier_that_has_no_classes_once_were_averaged(store: WorkspaceStore, labels: Any) -> None:
    chain_id = save_chain(store, {}, {str(i): Guess(label) for i, label in enumerate(labels)})
    assert store.replay_chain(chain_id, X[:2]).tolist() == [labels[1]] * 2
    if isinstance(labels[0], int):  # It says that it is a classifier; text tells only once it predicts.
        assert not hasattr(store.load_chain(chain_id), "classes_")


def test_folds_that_do_not_fit_together_are_refused(store: WorkspaceStore) -> None:
    mixed = {"0": Ridge().fit(X, Y), "1": Ridge().fit(X, np.stack([Y, Y], axis=1))}
    with pytest.raises(ChainInputError, match="do not fit together"):
        store.replay_chain(save_chain(store, {}, mixed), X)
    mixed = {"0": Ridge().fit(X, Y), "1": LogisticRegression().fit(X, LABELS)}
    with pytest.raises(ChainInputError, match="of different kinds"):
        store.replay_chain(save_chain(store, {}, mixed), X)
