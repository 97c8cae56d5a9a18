"""Fitted objects of every kind predict through a chain what they predict by themselves, or say why not."""

from typing import Any

import numpy as np
import pytest
from chemotools.scatter import StandardNormalVariate
from sklearn.base import BaseEstimator, OutlierMixin, RegressorMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import IsolationForest, RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from nirs4all_store.artifacts import codecs
from nirs4all_store.chains import inference
from nirs4all_store.chains.inference import PredictionError

RNG = np.random.default_rng(1)
X, LABELS3 = make_multilabel_classification(90, 8, n_classes=3, random_state=0)
Y = X.sum(axis=1)
TWO = np.stack([np.where(np.median(Y) < Y, "hi", "lo"), RNG.integers(0, 3, len(X)).astype(str)], axis=1)


def predict(*models: Any, X: Any = X, shared: tuple[Any, ...] = (), wavelengths: Any = None) -> Any:
    folds = {str(fold): [("model", model)] for fold, model in enumerate(models)}
    return inference.predict([("step", operator) for operator in shared], folds, X, wavelengths)


def logistic() -> Any:
    return LogisticRegression(max_iter=1000)


SEVERAL_LABELS = {
    "bare": lambda: OneVsRestClassifier(logistic()),
    "in a pipeline": lambda: make_pipeline(StandardScaler(), OneVsRestClassifier(logistic())),
    "in a search": lambda: GridSearchCV(OneVsRestClassifier(logistic()), {"estimator__C": [1.0]}, cv=2),
    "a neural network": lambda: make_pipeline(MLPClassifier(4, max_iter=400, tol=1e-1, random_state=0)),
    "without probabilities": lambda: make_pipeline(RidgeClassifier()),
    "a forest": lambda: RandomForestClassifier(5, random_state=0),
    "a chain of classifiers": lambda: ClassifierChain(logistic()),
    "one classifier a label": lambda: MultiOutputClassifier(logistic()),
}


@pytest.mark.parametrize("name", SEVERAL_LABELS)
def test_several_labels_of_one_sample_once_became_one(name: str) -> None:
    model = SEVERAL_LABELS[name]().fit(X, LABELS3)
    np.testing.assert_array_equal(predict(model), model.predict(X))
    np.testing.assert_array_equal(predict(model, model, model), model.predict(X))


def test_probabilities_of_several_targets_in_one_array_once_were_taken_for_one() -> None:
    model = ClassifierChain(logistic()).fit(X, LABELS3[:, :2])
    np.testing.assert_array_equal(predict(model), model.predict(X))
    forest = RandomForestClassifier(5, random_state=0)
    stacking = StackingClassifier([("forest", forest)], forest, cv=2)
    stacking.fit(X, LABELS3[:, :2])
    np.testing.assert_array_equal(predict(stacking), stacking.predict(X))


def test_several_targets_of_classes_are_chosen_by_mean_probability() -> None:
    models = [RandomForestClassifier(5, random_state=seed).fit(X, TWO) for seed in range(3)]
    found = predict(*models)
    for target in range(2):
        mean = np.mean([model.predict_proba(X)[target] for model in models], axis=0)
        np.testing.assert_array_equal(found[:, target], models[0].classes_[target][mean.argmax(axis=1)])


def test_folds_of_outlier_detectors_vote() -> None:
    models = [IsolationForest(n_estimators=5, random_state=seed).fit(X) for seed in range(3)]
    votes = np.stack([model.predict(X) for model in models])
    np.testing.assert_array_equal(predict(*models), np.where(votes.sum(axis=0) > 0, 1, -1))


def test_the_numbers_of_clusters_are_never_averaged() -> None:
    models = [KMeans(3, n_init=1, random_state=seed).fit(X) for seed in range(2)]
    np.testing.assert_array_equal(predict(models[0]), models[0].predict(X))
    with pytest.raises(PredictionError, match="number their clusters"):
        predict(*models)


class Gives:
    """A model of a library that says nothing of itself."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.output) if np.ndim(self.output) == 0 else self.output


def test_whole_numbers_of_a_model_that_says_nothing_were_averaged() -> None:
    assert predict(Gives(0), Gives(1), Gives(1)).tolist() == [1] * len(X)
    assert predict(Gives(0.0), Gives(1.0)).tolist() == [0.5] * len(X)


class OnlyMixin(RegressorMixin):  # type: ignore[misc]
    """A regressor without scikit-learn's BaseEstimator, as old wrappers are."""

    def predict(self, X: Any) -> Any:
        return X[:, 0]


class Wide(LogisticRegression):  # type: ignore[misc]
    """A classifier whose probabilities have another width than its classes."""

    def predict_proba(self, X: Any) -> Any:
        return np.ones((len(X), 7))


def test_models_outside_of_scikit_learns_rules_predict() -> None:
    np.testing.assert_array_equal(predict(OnlyMixin()), X[:, 0])
    model = Wide(max_iter=1000).fit(X, TWO[:, 0])
    np.testing.assert_array_equal(predict(model), model.predict(X))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([MinMaxScaler().fit(X)], "model of fold 0 is a MinMaxScaler, which predicts nothing"),
        ([logistic().fit(X, TWO[:, 0]), Ridge().fit(X, Y)], "of different kinds"),
        ([logistic().fit(X, TWO[:, 0]), logistic().fit(X, (np.median(Y) < Y).astype(int))], "text in one fold"),
        ([Gives(None)], "do not fit together: they give"),
        ([Gives(np.array([object()] * len(X)))], "do not fit together: they give"),
    ],
)
def test_models_that_cannot_be_combined_are_an_error_that_says_why(models: list[Any], message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        predict(*models)


class Aware(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A wavelength-aware operator that overwrites what it is given."""

    def fit(self, X: Any, y: Any = None) -> "Aware":
        return self

    def transform(self, X: Any, wavelengths: Any = None) -> Any:
        assert wavelengths is not None
        wavelengths *= 0
        return X * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pipeline([("aware", Aware())]),
        lambda: FeatureUnion([("aware", Aware())]),
        lambda: make_pipeline(StandardScaler(), make_pipeline(Aware())),
    ],
)
def test_an_operator_inside_a_pipeline_once_got_no_wavelengths_without_a_word(make: Any) -> None:
    with pytest.raises(PredictionError, match="has Aware inside, which would get no wavelengths there"):
        predict(Ridge().fit(X, Y), shared=(make(),), wavelengths=np.arange(8.0))


def test_the_callers_wavelengths_are_not_changed() -> None:
    wavelengths = np.arange(1.0, 9.0)
    predict(Ridge().fit(X, Y), shared=(Aware(), Aware()), wavelengths=wavelengths)
    np.testing.assert_array_equal(wavelengths, np.arange(1.0, 9.0))


def test_sparse_spectra_are_taken() -> None:
    from scipy.sparse import csr_matrix

    model = Ridge().fit(X, Y)
    np.testing.assert_allclose(predict(model, X=csr_matrix(X)), model.predict(X))


@pytest.mark.parametrize("function", [np.ndarray.round, np.log1p])
def test_a_method_as_a_function_of_a_step_once_had_no_module(function: Any) -> None:
    step = FunctionTransformer(function).fit(X)
    assert "sklearn" in codecs.versions_of(step, "joblib")["packages"]
    assert predict(Ridge().fit(X, Y), shared=(step,)).shape == (len(X),)


class Outlier(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    def predict(self, X: Any) -> Any:
        return np.where(X[:, 0] > 1, 1, -1)


def test_one_outlier_detector_gives_what_it_gives() -> None:
    np.testing.assert_array_equal(predict(Outlier()), Outlier().predict(X))


class Forces(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """An operator that works in place whatever the array says."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> Any:
        return self

    def transform(self, X: Any) -> Any:
        X.setflags(write=True)
        X *= 2
        return X


@pytest.mark.parametrize("operator", [Forces(), make_pipeline(Forces()).fit(X.copy())], ids=["bare", "in a pipeline"])
def test_X_and_the_next_fold_are_safe_from_an_operator_that_writes_by_force(operator: Any) -> None:
    given = X.copy()
    folds = {str(fold): [("double", operator), ("model", OnlyMixin())] for fold in range(3)}
    np.testing.assert_array_equal(inference.predict([("double", operator)], folds, given), 4 * X[:, 0])
    np.testing.assert_array_equal(given, X)


def test_what_a_model_hands_through_is_not_the_callers_X() -> None:
    given = X.copy()
    predict(OnlyMixin(), X=given)[:] = 0
    identity = FunctionTransformer().fit(X)
    identity.predict = identity.transform
    predict(identity, X=given)[:] = 0
    np.testing.assert_array_equal(given, X)


@pytest.mark.filterwarnings("ignore:.*Standard deviation is zero", "ignore:invalid value:RuntimeWarning")
def test_a_flat_spectrum_once_was_refused_without_a_word_of_which_it_is() -> None:
    scatter = StandardNormalVariate()
    model = Ridge().fit(scatter.fit_transform(X), Y)
    with pytest.raises(PredictionError) as refused:
        predict(model, X=np.vstack([X, np.ones(8)]), shared=(scatter,))
    assert "refused X of shape (91, 8) with NaN in row 90 (counted from 0)" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(PredictionError, match=r"with NaN in 2 rows, the first of them 1 \(counted from 0\)"):
        predict(model, X=np.vstack([X[:1], np.ones((2, 8))]), shared=(scatter,))
