"""Steps are fitted as in scikit-learn's `Pipeline`: y by its place, `fit_transform`, groups, weights, wavelengths."""

import functools
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn
from chemotools.adaptation import XAxisInterpolator
from chemotools.feature_selection import RangeCut
from samples import all_but_few, slow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, DictionaryLearning
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression, MultiTaskElasticNet, MultiTaskLasso, Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler, TargetEncoder

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 12)) * np.repeat([1.0, 3.0], 6)
Y = X[:, :3].sum(axis=1) + RNG.normal(size=60)
CODES = RNG.integers(0, 20, size=(60, 2)).astype(float)
GROUPS = np.repeat(np.arange(12), 5)
WEIGHTS = RNG.uniform(0.1, 3, size=60)
CV = KFold(5, shuffle=True, random_state=0)
BY_GROUPS = GroupKFold(4)


def held_out(store: WorkspaceStore, config: Any, data: Any) -> Any:
    """Return what the folds predict of the samples that they held out."""
    found = PipelineRunner(store).run(config, data)
    row = found.filter(pl.col("fold_id") == "avg", pl.col("partition") == "val")
    stored = store.get_prediction(row["prediction_id"][0], load_arrays=True)
    assert stored is not None
    return stored["y_pred"]


class Supervised(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Keeps the columns that go with y most."""

    def keep(self, X: Any, y: Any) -> Any:
        self.keep_ = np.argsort(-(X.var(axis=0) if y is None else np.abs(np.ravel(y) @ X)))[:5]
        return self

    def transform(self, X: Any) -> Any:
        return X[:, self.keep_]


class Capital(Supervised):
    def fit(self, X: Any, Y: Any) -> Any:
        return self.keep(X, Y)


class Optional(Supervised):
    def fit(self, X: Any, target: Any = None) -> Any:
        return self.keep(X, target)


def logged(method: Any) -> Any:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    del call.__wrapped__  # As a decorator without functools leaves it.
    return call


class Wrapped(Supervised):
    @logged
    def fit(self, X: Any, y: Any = None) -> Any:
        return self.keep(X, y)


@pytest.mark.parametrize("step", [Capital(), slow(Optional()), Wrapped()])
def test_y_once_reached_a_step_only_if_its_parameter_is_called_y(store: WorkspaceStore, step: Any) -> None:
    expected = cross_val_predict(make_pipeline(step, PLSRegression(3)), X, Y, cv=CV)
    np.testing.assert_allclose(held_out(store, [step, CV, PLSRegression(3)], (X, Y)), np.ravel(expected))


class WithoutY(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any) -> Any:
        return self

    def transform(self, X: Any) -> Any:
        return X


def test_a_step_whose_fit_has_no_place_for_y_gets_none(store: WorkspaceStore) -> None:
    np.testing.assert_allclose(
        held_out(store, [WithoutY(), CV, Ridge()], (X, Y)), cross_val_predict(Ridge(), X, Y, cv=CV)
    )


class Overwrites:
    """Writes to what it is fitted on, and has no `fit_transform`."""

    def fit(self, X: Any, y: Any = None) -> Any:
        X[:] = 0
        return self

    def transform(self, X: Any) -> Any:
        return X


def test_a_step_that_writes_to_what_it_is_fitted_on_spoils_no_other(store: WorkspaceStore) -> None:
    found = held_out(store, [Overwrites(), CV, Ridge()], (X, Y))
    np.testing.assert_allclose(found, cross_val_predict(Ridge(), X, Y, cv=CV))


@pytest.mark.filterwarnings("ignore:.*TargetEncoder.random_state.*:FutureWarning")
@pytest.mark.parametrize(
    ("step", "spectra"),
    [
        # Its cross-fitting is by chance without a seed, as which a later version takes a cross-validator.
        (TargetEncoder(target_type="continuous", random_state=0), CODES),
        slow(DictionaryLearning(3, max_iter=5, random_state=0, transform_algorithm="lasso_lars"), X),
        slow(PCA(3), X),
    ],
)
def test_a_step_once_was_not_fitted_by_its_own_fit_transform(store: WorkspaceStore, step: Any, spectra: Any) -> None:
    expected = cross_val_predict(make_pipeline(step, Ridge()), spectra, Y, cv=CV)
    np.testing.assert_allclose(held_out(store, [step, CV, Ridge()], (spectra, Y)), expected)


def test_a_selection_that_can_predict_once_was_a_model_beside_the_one_that_it_selects_for(
    store: WorkspaceStore,
) -> None:
    steps = [RFE(Ridge(), n_features_to_select=2), KNeighborsRegressor()]
    expected = cross_val_predict(make_pipeline(*steps), X, Y, cv=CV)
    np.testing.assert_allclose(held_out(store, [CV, *steps], (X, Y)), expected)
    assert PipelineRunner(store).run([CV, steps[0]], (X, Y))["model_name"].unique().to_list() == ["RFE"]


def test_only_the_model_sees_the_target_transformed(store: WorkspaceStore) -> None:
    """A step before it gets y as it was given, whatever transforms the target."""
    steps = [Capital(), TransformedTargetRegressor(Ridge(), transformer=PowerTransformer())]
    expected = cross_val_predict(make_pipeline(*steps), X, Y, cv=CV)
    found = held_out(store, [{"y": PowerTransformer()}, Capital(), CV, Ridge()], (X, Y))
    np.testing.assert_allclose(found, expected)


# -- groups ----------------------------------------------------------------------------------


SEARCH = GridSearchCV(Ridge(), {"alpha": [0.01, 1.0, 100.0, 1e4]}, cv=GroupKFold(3))
SELECTION = SequentialFeatureSelector(Ridge(), cv=GroupKFold(3), n_features_to_select=2)
WITH_SEARCHES = {
    "bare": [SEARCH],
    "in a transformer of the target": [TransformedTargetRegressor(SEARCH, transformer=StandardScaler())],
    "in a pipeline": [make_pipeline(StandardScaler(), SEARCH)],
    "in a search": [
        GridSearchCV(make_pipeline(StandardScaler(), SEARCH), {"standardscaler__with_mean": [True]}, cv=GroupKFold(2))
    ],
    "a selection before the model": [SELECTION, Ridge()],
    "a selection in a pipeline": [make_pipeline(SELECTION, KNeighborsRegressor())],
    "a selection of some columns": [ColumnTransformer([("some", SELECTION, slice(3))]), Ridge()],
}
FEW_SEARCHES = ("in a pipeline", "a selection of some columns")


@pytest.mark.parametrize("name", all_but_few(WITH_SEARCHES, FEW_SEARCHES))
def test_groups_once_reached_a_search_only_if_it_stood_alone(store: WorkspaceStore, name: str) -> None:
    steps = WITH_SEARCHES[name]
    with sklearn.config_context(enable_metadata_routing=True):
        expected = cross_val_predict(make_pipeline(*steps), X, Y, params={"groups": GROUPS}, cv=BY_GROUPS)
    np.testing.assert_allclose(held_out(store, [*steps, BY_GROUPS], (X, Y, GROUPS)), expected)


def test_groups_reach_a_search_whose_target_is_transformed_and_whose_samples_have_weights(
    store: WorkspaceStore,
) -> None:
    found = held_out(
        store, [{"y": StandardScaler()}, SEARCH, BY_GROUPS], {"X": X, "y": Y, "groups": GROUPS, "weights": WEIGHTS}
    )
    model = TransformedTargetRegressor(SEARCH, transformer=StandardScaler())
    for rows, held in BY_GROUPS.split(X, Y, GROUPS):
        own = model.fit(X[rows], Y[rows], groups=GROUPS[rows], sample_weight=WEIGHTS[rows])
        np.testing.assert_allclose(found[held], own.predict(X[held]))


@pytest.mark.parametrize(
    "model", [MultiTaskLasso(0.1), slow(GridSearchCV(MultiTaskElasticNet(), {"alpha": [0.1, 1]}, cv=2))]
)
def test_a_model_that_cannot_say_which_metadata_it_takes_once_could_not_be_trained(
    store: WorkspaceStore, model: Any
) -> None:
    several = np.c_[Y, X[:, 2]]
    np.testing.assert_allclose(held_out(store, [CV, model], (X, several)), cross_val_predict(model, X, several, cv=CV))


@pytest.mark.parametrize("number", [slow(2), 3, slow(12)])
def test_fewer_groups_than_five_once_could_not_be_split(store: WorkspaceStore, number: int) -> None:
    groups = np.arange(60) % number
    for model, splitter, y in (
        (Ridge(), GroupKFold, Y),
        (LogisticRegression(), StratifiedGroupKFold, np.where(Y > 0, "a", "b")),
    ):
        expected = cross_val_predict(model, X, y, groups=groups, cv=splitter(min(5, number)))
        np.testing.assert_array_equal(held_out(store, [model], (X, y, groups)).astype(expected.dtype), expected)


def test_groups_that_cannot_be_stratified_are_split_all_the_same(store: WorkspaceStore) -> None:
    """The stratified splitter puts no group of these into one of its five folds, and refuses few samples of a class."""
    groups, of_groups = np.repeat(np.arange(5), [2, 3, 5, 5, 2]), np.array([1, 0, 1, 0, 0])
    for classes in (of_groups[groups], np.arange(17) % 6):
        found = PipelineRunner(store).run([LogisticRegression()], (X[:17], classes.astype(str), groups))
        assert found["fold_id"].n_unique() == 7


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        ([Ridge()], (X, Y, ["b1"] * 60), "all samples of dataset are of one group, 'b1'"),
        ([LeaveOneGroupOut(), Ridge()], (X, Y, ["b1"] * 60), "all samples of dataset are of one group, 'b1'"),
        ([GroupKFold(13), Ridge()], (X, Y, GROUPS), r"give a cross-validator that can, as GroupKFold\(3\)"),
        ([GroupKFold(3), Ridge()], (X, Y), r"step 1 \(GroupKFold\) splits by groups, and dataset has none"),
        ([CV, make_pipeline(SEARCH)], (X, Y), r"step 2 \(Pipeline\) splits by groups, and dataset has none"),
    ],
)
def test_groups_that_cannot_be_used_are_explained(store: WorkspaceStore, config: Any, data: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as refused:
        PipelineRunner(store).run(config, data)
    assert " KFold" not in str(refused.value)  # Nobody is told to use folds that ignore groups.


def test_best_params_once_were_those_of_the_grid(store: WorkspaceStore) -> None:
    model = make_pipeline(StandardScaler(), SEARCH)
    found = PipelineRunner(store).run([{"y": StandardScaler()}, model, BY_GROUPS], (X, Y, GROUPS))
    chosen = []
    for rows, _ in BY_GROUPS.split(X, Y, GROUPS):
        own = TransformedTargetRegressor(SEARCH, transformer=StandardScaler())
        own.fit(StandardScaler().fit_transform(X[rows]), Y[rows], groups=GROUPS[rows])
        chosen.append(own.regressor_.best_params_)
    by_fold = {
        fold: store.get_prediction(row)["best_params"]
        for fold, row in found.select("fold_id", "prediction_id").iter_rows()
    }
    assert [by_fold[str(fold)] for fold in range(4)] == chosen
    assert by_fold["avg"] == max(chosen, key=chosen.count)


# -- metadata routing ------------------------------------------------------------------------


class Demands(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Centres on the weighted mean."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None) -> Any:
        self.mean_ = np.average(X, axis=0, weights=sample_weight) + (0 if groups is None else groups.max())
        return self

    def transform(self, X: Any) -> Any:
        return (X - self.mean_) ** 2


@pytest.mark.parametrize("n_jobs", [1, slow(2)])
def test_metadata_once_reached_no_step_that_asks_for_it(store: WorkspaceStore, n_jobs: int) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        step = Demands().set_fit_request(sample_weight=True, groups=True)
        model = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), Ridge().set_fit_request(sample_weight=True)
        )
        metadata = {"sample_weight": WEIGHTS, "groups": GROUPS}
        expected = cross_val_predict(make_pipeline(step, model), X, Y, params=metadata, cv=BY_GROUPS)
        data = {"X": X, "y": Y, "weights": WEIGHTS, "groups": GROUPS}
        found = PipelineRunner(store, n_jobs=n_jobs).run([step, model, BY_GROUPS], data)
        assert found["val_score"][0] == pytest.approx(root_mean_squared_error(Y, expected))
        scaled = held_out(store, [{"y": StandardScaler()}, Ridge(), BY_GROUPS], data)
        with pytest.raises(InvalidInputError, match="takes no weights"):
            PipelineRunner(store).run([make_pipeline(Ridge()), BY_GROUPS], data)
    np.testing.assert_allclose(scaled, held_out(store, [{"y": StandardScaler()}, Ridge(), BY_GROUPS], data))


# -- wavelengths -----------------------------------------------------------------------------

NM = np.linspace(1100, 1210, 12)
SPECTRA = {"X": X, "y": Y, "wavelengths": NM}
CUT = {"class": "chemotools.feature_selection.RangeCut", "params": {"start": 1120, "end": 1180}}


@pytest.mark.parametrize(
    "step",
    [CUT, make_pipeline(RangeCut(1120, 1180), StandardScaler()), slow(FeatureUnion([("cut", RangeCut(1120, 1180))]))],
    ids=["bare", "in a pipeline", "in a union"],
)
def test_wavelengths_once_had_to_be_written_into_the_configuration(store: WorkspaceStore, step: Any) -> None:
    cut = RangeCut(1120, 1180, x_axis=NM)
    expected = cross_val_predict(make_pipeline(cut, StandardScaler(), Ridge()), X, Y, cv=CV)
    found = held_out(store, [step, StandardScaler(), CV, Ridge()], SPECTRA)
    np.testing.assert_allclose(found, expected)
    assert "1130" not in store.list_pipelines()["expanded_config"][0]
    assert PipelineRunner(store).run([step, StandardScaler(), CV, Ridge()], SPECTRA, resume=True).height
    assert store.list_pipelines().height == 1
    chain_id = store.query_predictions()["chain_id"][0]
    assert "x_axis" not in str(store.get_chain(chain_id)["steps"])


def test_positions_that_are_no_wavelengths_are_places_of_columns(store: WorkspaceStore) -> None:
    expected = cross_val_predict(make_pipeline(RangeCut(2, 8), Ridge()), X, Y, cv=CV)
    for data in (SPECTRA, (X, Y)):
        np.testing.assert_allclose(held_out(store, [RangeCut(2, 8), CV, Ridge()], data), expected)


def test_wavelengths_follow_a_selection_of_columns(store: WorkspaceStore) -> None:
    expected = cross_val_predict(make_pipeline(RangeCut(1120, 1150, x_axis=NM), Ridge()), X, Y, cv=CV)
    config = [RangeCut(1110, 1200), RangeCut(1120, 1150), CV, Ridge()]
    np.testing.assert_allclose(held_out(store, config, SPECTRA), expected)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([RangeCut(1120)], "start=1120, end=-1 of RangeCut are not all among the wavelengths, 1100 to 1210"),
        ([make_pipeline(PCA(3), RangeCut(1120, 1180))], "RangeCut needs wavelengths, and its columns are no longer"),
    ],
)
def test_wavelengths_that_would_be_other_columns_are_refused(
    store: WorkspaceStore, steps: list[Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PipelineRunner(store).run([*steps, CV, Ridge()], SPECTRA)


def test_an_operator_once_got_no_wavelengths_under_the_name_that_chemotools_has(store: WorkspaceStore) -> None:
    grid = np.linspace(1105, 1205, 7)
    on_grid = XAxisInterpolator(grid).fit(X).transform(X, x_axis=NM)
    expected = cross_val_predict(Ridge(), on_grid, Y, cv=CV)
    np.testing.assert_allclose(held_out(store, [XAxisInterpolator(grid), CV, Ridge()], SPECTRA), expected)
    with pytest.raises(InvalidInputError, match=r"step 1 \(XAxisInterpolator\) needs wavelengths"):
        PipelineRunner(store).run([XAxisInterpolator(grid), CV, Ridge()], (X, Y))


# -- what is no model, and what scikit-learn calls experimental ------------------------------


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (KMeans(3), "clusterer"),
        (make_pipeline(StandardScaler(), KMeans(3)), "clusterer"),
        (GridSearchCV(KMeans(), {"n_clusters": [2, 3]}), "clusterer"),
        (IsolationForest(), "outlier detector"),
        (GaussianMixture(), "density estimator"),
        (TransformedTargetRegressor(KMeans(3)), "clusterer"),
    ],
)
def test_what_predicts_no_y_once_was_given_an_rmse(store: WorkspaceStore, model: Any, kind: str) -> None:
    with pytest.raises(InvalidInputError, match=f"is a {kind}, whose predictions are not those of y"):
        PipelineRunner(store).run([CV, {"model": model}], (X, Y))
    assert store.list_runs().is_empty()


@pytest.mark.parametrize("name", ["model_selection.HalvingGridSearchCV", "impute.IterativeImputer"])
def test_what_scikit_learn_calls_experimental_once_could_not_be_named(name: str) -> None:
    from nirs4all_store.training.operators import build, describe

    params = {"estimator": {"class": "sklearn.linear_model.Ridge"}}
    params |= {"param_grid": {"alpha": [1.0]}} if "Search" in name else {}
    built = build({"class": f"sklearn.{name}", "params": params}, "step 1")
    assert describe(built)["class"] == f"sklearn.{name}"
