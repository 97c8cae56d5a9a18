"""A stored chain is an estimator that scikit-learn's own tools take."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from nirs4all_store import ChainReplayError, FrozenChainError, WorkspaceStore
from nirs4all_store.testing.contract import add_pipeline

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 6))
Y = X[:, 0] - X[:, 1]
LABELS = np.where(Y > 0, "high", "low")


def chain_of(store: WorkspaceStore, *models: object) -> str:
    _, pipeline_id = add_pipeline(store)
    ids = {str(i): store.save_artifact(model, "model", "model", "joblib") for i, model in enumerate(models)}
    step = {"step_idx": 0, "operator_class": "m", "params": {}, "artifact_id": None, "stateless": False}
    return store.save_chain(pipeline_id, [step], 0, "m", "", "per_fold", ids, {})


@pytest.fixture
def regressor_id(store: WorkspaceStore) -> str:
    return chain_of(store, Ridge().fit(X[::2], Y[::2]), Ridge().fit(X[1::2], Y[1::2]))


@pytest.fixture
def classifier_id(store: WorkspaceStore) -> str:
    return chain_of(store, *(RandomForestClassifier(5, random_state=i).fit(X, LABELS) for i in range(2)))


@pytest.mark.parametrize("attribute", ["alpha", "coef_"])
def test_an_object_of_another_version_once_gave_an_error_of_scikit_learns(
    store: WorkspaceStore, attribute: str
) -> None:
    model = Ridge().fit(X, Y)
    delattr(model, attribute)  # As one of a version that had none.
    with pytest.raises(ChainReplayError, match=f"chain .*{attribute}"):
        store.replay_chain(chain_of(store, model), X)


def test_it_predicts_as_replay_does_and_needs_the_store_no_more(store: WorkspaceStore, regressor_id: str) -> None:
    expected = store.replay_chain(regressor_id, X)
    estimator = store.load_chain(regressor_id)
    store.close()
    np.testing.assert_array_equal(estimator.predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(X), expected)


def test_regressors_and_classifiers_say_what_they_are(
    store: WorkspaceStore, regressor_id: str, classifier_id: str
) -> None:
    regressor, classifier = store.load_chain(regressor_id), store.load_chain(classifier_id)
    assert is_regressor(regressor)
    assert not is_classifier(regressor)
    assert is_classifier(classifier)
    assert classifier.classes_.tolist() == ["high", "low"]
    assert not hasattr(regressor, "predict_proba")


def test_a_classifier_gives_probabilities_that_its_classes_follow(store: WorkspaceStore, classifier_id: str) -> None:
    classifier = store.load_chain(classifier_id)
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert classifier.predict(X).tolist() == classifier.classes_[proba.argmax(axis=1)].tolist()
    assert classifier.predict(X).tolist() == store.replay_chain(classifier_id, X).tolist()


def test_the_tools_of_scikit_learn_take_it(store: WorkspaceStore, regressor_id: str, classifier_id: str) -> None:
    for chain_id, y in ((regressor_id, Y), (classifier_id, LABELS)):
        estimator = store.load_chain(chain_id)
        check_is_fitted(estimator)
        assert clone(estimator) is estimator
        assert estimator.score(X, y) > 0.9
        pipeline = make_pipeline(FunctionTransformer(), estimator)
        np.testing.assert_array_equal(pipeline.predict(X), estimator.predict(X))
        importances = permutation_importance(estimator, X, y, n_repeats=3, random_state=0).importances_mean
        assert set(np.argsort(importances)[-2:]) == {0, 1}
        assert FrozenEstimator(estimator).fit(X, y).predict(X).shape == (40,)


def test_it_refuses_to_be_fitted_again(store: WorkspaceStore, regressor_id: str) -> None:
    estimator = store.load_chain(regressor_id)
    before = estimator.predict(X)
    with pytest.raises(FrozenChainError, match="stays so"):
        estimator.fit(X, -Y)
    np.testing.assert_array_equal(estimator.predict(X), before)
