"""Probabilities of several targets and labels: what the model gives, for one row as for many, stored and replayed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import all_but_few, slow
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from nirs4all_store import ChainInputError, InvalidInputError, PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.chains.estimator import ChainClassifier, as_estimator
from nirs4all_store.chains.fitted import FittedChain
from nirs4all_store.testing.contract import add_pipeline, add_prediction

RNG = np.random.default_rng(0)
X, LABELS = make_multilabel_classification(60, 6, n_classes=3, random_state=0)
TWO = np.stack([np.where(X[:, 0] > np.median(X[:, 0]), "hi", "lo"), RNG.integers(0, 3, len(X)).astype(str)], axis=1)


def logistic() -> Any:
    return LogisticRegression(max_iter=500)


def network() -> Any:
    return MLPClassifier(4, max_iter=300, tol=1e-1, random_state=0)


MODELS = {
    "labels, one against the rest": (lambda: OneVsRestClassifier(logistic()), LABELS),
    "labels of a network": (network, LABELS),
    "labels, one after the other": (lambda: ClassifierChain(logistic()), LABELS),
    "labels in a pipeline": (lambda: make_pipeline(StandardScaler(), OneVsRestClassifier(logistic())), LABELS),
    "labels in a search": (
        lambda: GridSearchCV(OneVsRestClassifier(logistic()), {"estimator__C": [1.0]}, cv=2),
        LABELS,
    ),
    "labels in a pipeline in a search": (
        lambda: GridSearchCV(make_pipeline(StandardScaler(), ClassifierChain(logistic())), {}, cv=2),
        LABELS,
    ),
    "stacked labels": (
        lambda: StackingClassifier([("a", DecisionTreeClassifier(max_depth=2))], KNeighborsClassifier(), cv=2),
        LABELS,
    ),
    "targets, one model each": (lambda: MultiOutputClassifier(logistic()), TWO),
    "targets of a forest": (lambda: RandomForestClassifier(4, random_state=0), TWO),
    "targets of neighbours": (KNeighborsClassifier, TWO),
    "targets in a pipeline": (lambda: make_pipeline(StandardScaler(), RandomForestClassifier(4, random_state=0)), TWO),
    "targets in a search": (lambda: GridSearchCV(KNeighborsClassifier(), {}, scoring=lambda *_: 1.0, cv=2), TWO),
    "one target, one model each": (lambda: MultiOutputClassifier(logistic()), TWO[:, :1]),
}


def chain(*models: Any) -> ChainClassifier:
    folds = {str(number): [("model", model)] for number, model in enumerate(models)}
    return as_estimator(FittedChain("chain", [], folds))


def assert_same(found: Any, expected: Any, rtol: float = 0) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for own, other in zip(found, expected, strict=True):
            assert_same(own, other, rtol)
    elif expected.dtype.kind in "f":
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(found, expected)


def assert_gives_what_the_model_gives(model: Any) -> None:
    estimator = chain(model)
    for rows in (X, X[:1], X[:2]):
        assert_same(estimator.predict_proba(rows), model.predict_proba(rows))
    assert_same(estimator.classes_, model.classes_)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_of_several_labels_were_votes_and_of_another_shape_for_one_row(name: str) -> None:
    make, y = MODELS[name]
    assert_gives_what_the_model_gives(make().fit(X, y))


@pytest.mark.parametrize("name", MODELS)
def test_several_folds_give_the_mean_of_what_they_give(name: str) -> None:
    make, y = MODELS[name]
    models = [make().fit(X[rows], y[rows]) for rows, _ in KFold(3).split(X)]
    for rows in (X, X[:1]):
        given = [model.predict_proba(rows) for model in models]
        if isinstance(given[0], list):
            expected: Any = [np.mean(target, axis=0) for target in zip(*given, strict=True)]
        else:
            expected = np.mean(given, axis=0)
        assert_same(chain(*models).predict_proba(rows), expected, 1e-12)
    assert_same(chain(*models).classes_, models[0].classes_)


def test_each_class_of_each_target_is_averaged_with_itself() -> None:
    halves = [TWO[:, 1] != "0", TWO[:, 1] != "2"]
    models = [RandomForestClassifier(4, random_state=0).fit(X[rows], TWO[rows]) for rows in halves]
    found = chain(*models)
    assert [own.tolist() for own in found.classes_] == [["hi", "lo"], ["0", "1", "2"]]
    first, second = (model.predict_proba(X)[1] for model in models)
    none = np.zeros(len(X))
    expected = (np.column_stack([none, first]) + np.column_stack([second, none])) / 2
    np.testing.assert_allclose(found.predict_proba(X)[1], expected)


def test_yes_and_no_to_each_label_of_models_without_probabilities_is_the_share_of_yes() -> None:
    models = [RidgeClassifier(alpha).fit(X, LABELS) for alpha in (1, 1e6)]
    for rows in (X, X[:1]):
        expected = np.mean([model.predict(rows) for model in models], axis=0)
        np.testing.assert_array_equal(chain(*models).predict_proba(rows), expected)


class InThreeDimensions(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A model that gives its targets' probabilities in one array, as networks do."""

    def __init__(self, first: str = "samples") -> None:
        self.first = first

    def fit(self, X: Any, y: Any) -> "InThreeDimensions":
        self.classes_ = [np.unique(column) for column in y.T]
        return self

    def predict(self, X: Any) -> Any:
        return np.stack([own[np.abs(X[:, 0]).astype(int) % 2] for own in self.classes_], axis=1)

    def predict_proba(self, X: Any) -> Any:
        shares = np.stack([np.full((len(X), 2), 0.25 * (1 + number)) for number in range(len(self.classes_))], axis=1)
        return shares if self.first == "samples" else shares.transpose(1, 0, 2)


@pytest.mark.parametrize("first", ["samples", "targets"])
def test_three_dimensions_are_given_as_they_are(first: str) -> None:
    model = InThreeDimensions(first).fit(X, LABELS[:, :2])
    assert_gives_what_the_model_gives(model)
    assert_same(chain(model, model).predict_proba(X), model.predict_proba(X), 1e-12)


def test_columns_that_are_no_classes_are_not_averaged_over_folds_that_saw_others() -> None:
    models = [InThreeDimensions().fit(X, y) for y in (LABELS[:, :2], LABELS[:, :2] + 1)]
    with pytest.raises(ChainInputError, match="has no column for each class, and they have seen different classes"):
        chain(*models).predict_proba(X)


@pytest.mark.slow
def test_every_classifier_of_scikit_learn_gives_in_a_chain_what_it_gives() -> None:
    tried = set()
    for name, kind in all_estimators("classifier"):
        for kind_of_y, y in (("one", TWO[:, 0]), ("labels", LABELS), ("targets", TWO)):
            model = _fitted(kind, y)
            if model is not None and hasattr(model, "predict_proba"):
                assert_gives_what_the_model_gives(model)
                assert_gives_what_the_model_gives(make_pipeline(model))
                tried.add((name, kind_of_y))
    assert len([name for name, kind_of_y in tried if kind_of_y == "labels"]) >= 10
    assert len([name for name, kind_of_y in tried if kind_of_y == "targets"]) >= 8
    assert len([name for name, kind_of_y in tried if kind_of_y == "one"]) >= 25


def _fitted(kind: Any, y: Any) -> Any:
    """Return a fitted classifier, or None where it takes no such y."""
    made = {
        "estimator": logistic(),
        "base_estimator": logistic(),
        "estimators": [("a", logistic())],
        "n_estimators": 3,
        "max_iter": 30,
        "cv": 2,
        "voting": "soft",
    }
    names = kind.__init__.__code__.co_varnames
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # They do not converge in so few rounds.
            return kind(**{name: value for name, value in made.items() if name in names}).fit(X, y)
    except (ValueError, TypeError, IndexError, NotImplementedError):
        return None


# -- stored ----------------------------------------------------------------------------------


def stored(store: WorkspaceStore, prediction_id: str) -> Any:
    found = store.get_prediction(prediction_id, load_arrays=True)
    assert found is not None
    return found["y_proba"]


TARGETS = [np.arange(8, dtype=np.float32).reshape(4, 2), np.arange(12.0).reshape(4, 3)]


@pytest.mark.parametrize(
    "proba",
    [
        TARGETS,
        slow(TARGETS[:1]),
        slow([TARGETS[0], TARGETS[0]]),
        [TARGETS[0].T.copy().T, np.zeros((4, 0))],
        slow([np.array([[2**60 + 1], [1], [2], [3]]), TARGETS[0], np.array([[True], [False], [True], [True]])]),
        [np.array([["a"], ["bc"], [""], ["d"]]), TARGETS[1], np.array([["x"]] * 4, dtype=object)],
        slow(np.arange(24.0).reshape(4, 3, 2)),
        np.arange(24, dtype=">f4").reshape(2, 4, 3),
        slow(np.zeros((4, 0, 2))),
    ],
)
def test_probabilities_of_several_targets_could_not_be_stored(store: WorkspaceStore, proba: Any) -> None:
    prediction_id = add_prediction(store, add_pipeline(store)[1])
    store.save_prediction_arrays(prediction_id, np.zeros(4), np.zeros(4), proba)
    assert_same(stored(store, prediction_id), proba)
    assert store.check(deep=True).findings == []


def test_targets_in_nested_lists_are_an_array(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    nested = [[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.0, 1.0]]]
    record = {
        "dataset_name": "d",
        "model_name": "m",
        "model_class": "m",
        "fold_id": "0",
        "partition": "val",
        "metric": "accuracy",
        "task_type": "classification",
        "y_true": [0, 1],
        "y_proba": nested,
    }
    (prediction_id,) = store.save_predictions(pipeline_id, [record])
    assert_same(stored(store, prediction_id), np.array(nested))


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        ([np.zeros((4, 2)), np.zeros((3, 2))], r"differ in length: .*'y_proba\[1\]': 3"),
        (np.zeros((3, 5, 2)), "differ in length"),
        (np.zeros((4, 1, 1, 1)), "4 dimensions"),
        ([np.zeros((4, 2)), np.zeros((4, 2), dtype=complex)], r"y_proba\[1\] has dtype complex128"),
        ([np.ma.zeros((4, 2))], r"y_proba\[0\] is a masked array"),
    ],
)
def test_targets_that_cannot_be_stored_are_refused(store: WorkspaceStore, proba: Any, message: str) -> None:
    prediction_id = add_prediction(store, add_pipeline(store)[1])
    with pytest.raises(InvalidInputError, match=message):
        store.save_prediction_arrays(prediction_id, np.zeros(4), np.zeros(4), proba)
    assert stored(store, prediction_id) is None


RUN = {
    name: MODELS[name]
    for name in (
        "labels, one against the rest",
        "labels, one after the other",
        "targets, one model each",
        "targets of a forest",
    )
}


@pytest.mark.parametrize("name", all_but_few(RUN, ("labels, one after the other", "targets of a forest")))
def test_the_runner_left_out_the_probabilities_of_several_targets(
    store: WorkspaceStore, tmp_path: Path, name: str
) -> None:
    make, y = RUN[name]
    ranked = PipelineRunner(store).run([KFold(3), {"model": make()}], {"X": X[:50], "y": y[:50], "X_test": X[50:]})
    chain_id = ranked["chain_id"][0]
    path = store.export_chain(chain_id, tmp_path / "model.n4a")
    for fold, partition, prediction_id in ranked.select("fold_id", "partition", "prediction_id").iter_rows():
        found = stored(store, prediction_id)
        assert found is not None
        if fold in ("avg", "final") and partition == "test":
            folds = "mean" if fold == "avg" else None
            assert_same(found, store.load_chain(chain_id, folds).predict_proba(X[50:]))
            assert_same(found, load_bundle(path, trusted=True, folds=folds).predict_proba(X[50:]))
        elif fold == "avg" and partition == "val":  # Each row is held out by one fold.
            alone = ranked.filter(pl.col("fold_id") == "0", pl.col("partition") == "val")["prediction_id"][0]
            of_fold = stored(store, alone)
            count = len(of_fold[0]) if isinstance(of_fold, list) else len(of_fold)
            first = [target[:count] for target in found] if isinstance(found, list) else found[:count]
            assert_same(first, of_fold)
    counts = store.sql("SELECT count(y_proba) AS n FROM prediction_arrays")["n"]
    assert counts.to_list() == [ranked.height]
    assert pl.read_parquet(store.export_predictions_parquet(tmp_path / "all.parquet")).height == ranked.height
