"""What is trained, refused, left out or fails: each of these once went wrong."""

import threading
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn
from leaving import Leaving
from samples import slow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from nirs4all_store import InvalidInputError, PipelineRunner, TrainingFailedError, WorkspaceStore

X = np.random.default_rng(0).normal(size=(40, 6))
Y = X[:, 0] + X[:, 1] ** 2
FOLDS = KFold(4)


def trained(store: WorkspaceStore, config: Any, data: Any = (X, Y)) -> int:
    """Return how many pipelines are trained for a configuration that is resumed."""
    before = store.list_pipelines().height
    PipelineRunner(store).run(config, data, resume=True)
    return store.list_pipelines().height - before


def test_a_grid_with_a_point_that_cannot_work_once_could_not_be_resumed(store: WorkspaceStore) -> None:
    config = [FOLDS, {"_or_": [PCA(2), PCA(50)]}, Ridge()]
    found = PipelineRunner(store).run(config, (X, Y))
    again = PipelineRunner(store).run(config, (X, Y), resume=True)
    assert again.equals(found)
    assert store.list_runs()["status"].to_list() == ["completed", "completed"]
    with pytest.raises(TrainingFailedError):
        PipelineRunner(store).run([FOLDS, PCA(50), Ridge()], (X, Y), resume=True)


class Instrument(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def fit(self, X: Any, y: Any = None) -> "Instrument":
        return self

    def transform(self, X: Any) -> Any:
        return X


@pytest.mark.parametrize(
    ("bad", "n_jobs"),
    [slow(Instrument(), 1), (Instrument(), 2), (Leaving(), 1), slow(Leaving(), 2)],
    ids=["bad0-1", "bad0-2", "bad1-1", "bad1-2"],
)
# Where something could not be sent, a thread of loky's may end in a KeyError of its own once all is over.
@pytest.mark.filterwarnings(
    "ignore:Exception in thread ExecutorManagerThread:pytest.PytestUnhandledThreadExceptionWarning"
)
def test_what_cannot_be_sent_or_leaves_once_ended_the_run(store: WorkspaceStore, bad: Any, n_jobs: int) -> None:
    steps = [bad, Ridge()] if isinstance(bad, Instrument) else [bad]
    others = [Ridge(), Ridge(2.0), Ridge(3.0)]
    found = PipelineRunner(store, n_jobs=n_jobs).run([FOLDS, {"_or_": [*others, steps]}], (X, Y))
    statuses = store.list_pipelines()["status"].to_list()
    assert (statuses.count("completed"), statuses.count("failed")) == (3, 1)
    assert store.list_runs()["status"].to_list() == ["completed"]
    alone = PipelineRunner(store).run([FOLDS, {"_or_": others}], (X, Y))
    assert found["val_score"].to_list() == pytest.approx(alone["val_score"].to_list())


def test_the_results_of_another_table_once_stood_for_those_of_this_one(store: WorkspaceStore) -> None:
    config = [FOLDS, Ridge()]
    with_gap = np.insert(X, 3, np.nan, axis=0), np.insert(Y, 3, 0)
    tables = [(pl.DataFrame(X, schema=[f"{letter}{i}x" for i in range(6)], orient="row"), Y) for letter in "ab"]
    assert [trained(store, config, data) for data in ((X, Y), with_gap, *tables, (X, Y))] == [1, 1, 1, 1, 0]
    assert set(store.query_predictions()["exclusion_count"]) == {0, 1}


def test_what_is_fitted_already_once_was_taken_for_another(store: WorkspaceStore) -> None:
    first, second = (FrozenEstimator(PCA(2).fit(part)) for part in (X[:20], X[20:, ::-1]))
    assert [trained(store, [FOLDS, frozen, Ridge()]) for frozen in (first, second)] == [1, 1]


def test_a_pipeline_whose_predictions_were_deleted_once_was_left_out(store: WorkspaceStore) -> None:
    found = PipelineRunner(store).run([FOLDS, Ridge()], (X, Y))
    for prediction_id in found["prediction_id"]:
        store.delete_prediction(prediction_id)
    assert trained(store, [FOLDS, Ridge()]) == 1


@pytest.mark.parametrize(
    "model",
    [
        VotingRegressor([("a", Ridge())]),
        slow(StackingRegressor([("a", Ridge())], Ridge(), cv=2)),
        slow(GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=2)),
    ],
)
def test_models_that_hand_weights_on_once_were_refused(store: WorkspaceStore, model: Any) -> None:
    data = {"X": X, "y": Y, "weights": np.arange(1.0, 41)}
    weighted, plain = (PipelineRunner(store).run([FOLDS, model], given) for given in (data, (X, Y)))
    assert weighted["val_score"][0] != plain["val_score"][0]


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsRegressor(),
        VotingRegressor([("a", Ridge()), ("b", KNeighborsRegressor())]),
        make_pipeline(StandardScaler(), Ridge()),
        GridSearchCV(make_pipeline(Ridge()), {"ridge__alpha": [1.0, 2.0]}),
    ],
)
def test_models_that_take_no_weights_are_refused(store: WorkspaceStore, model: Any) -> None:
    with pytest.raises(InvalidInputError, match="takes no weights"):
        PipelineRunner(store).run([FOLDS, model], {"X": X, "y": Y, "weights": np.ones(40)})


def test_a_stack_that_predicts_once_it_is_fitted_was_said_to_be_no_model(store: WorkspaceStore) -> None:
    for stack, y in (
        (StackingRegressor([("ridge", Ridge())]), Y),
        (StackingClassifier([("tree", DecisionTreeClassifier())]), np.where(Y > 1, "a", "b")),
    ):
        found = PipelineRunner(store).run([FOLDS, {"model": stack}], (X, y))
        chain_id = found["chain_id"][0]
        assert store.replay_chain(chain_id, X).shape == y.shape
    for step in ({"model": make_pipeline(StandardScaler())}, {"y": make_pipeline(Normalizer())}):
        with pytest.raises(InvalidInputError, match=r"has no (predict|inverse_transform)"):
            PipelineRunner(store).run([step, Ridge()], (X, Y))


def test_a_search_once_did_not_get_the_groups_that_it_splits_by(store: WorkspaceStore) -> None:
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=GroupKFold(2))
    found = PipelineRunner(store).run([GroupKFold(2), search], (X, Y, np.repeat(np.arange(8), 5)))
    assert found.height == 7


def test_groups_go_to_no_search_that_has_no_use_for_them(store: WorkspaceStore) -> None:
    data = (X, Y, np.repeat(np.arange(8), 5))
    with sklearn.config_context(enable_metadata_routing=True):
        found = PipelineRunner(store).run([GroupKFold(2), GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=3)], data)
    assert found.height == 7


class Duck:
    def fit(self, X: Any, y: Any) -> "Duck":
        return self

    def predict(self, X: Any) -> Any:
        return X[:, 0]


def test_a_model_that_has_no_parameters_takes_no_weights(store: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match=r"step 2 \(Duck\) takes no weights"):
        PipelineRunner(store).run([FOLDS, {"model": Duck()}], {"X": X, "y": Y, "weights": np.ones(40)})


class Resampled(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any = None) -> "Resampled":
        return self

    def transform(self, X: Any, wavelengths: Any) -> Any:
        return X[:, wavelengths > 1000]


@pytest.mark.parametrize(
    ("config", "y", "message"),
    [
        ([Resampled(), Ridge()], Y, r"step 1 \(Resampled\) needs wavelengths"),
        ([Ridge()], ["12.1", "<0.5"] * 20, r"y of dataset has '<0.5' in row 1"),
        ([StandardScaler(), Ridge()], np.array([True, False] * 20), r"y of dataset has True in row 0"),
    ],
)
def test_what_would_fail_in_training_is_refused_before_it(
    store: WorkspaceStore, config: Any, y: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PipelineRunner(store).run(config, (X, y))
    assert store.list_runs().is_empty()


@pytest.mark.parametrize("tag", ["\0", "\ud800"])
def test_a_configuration_that_cannot_be_stored_once_ended_the_run_in_the_middle(
    store: WorkspaceStore, tag: str
) -> None:
    class Tagged(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
        def __init__(self, alpha: float = 1.0, tag: str = "") -> None:
            super().__init__(alpha)
            self.tag = tag

    with pytest.raises(InvalidInputError, match="configuration"):
        PipelineRunner(store).run([FOLDS, {"_or_": [Ridge(), Tagged(tag=tag), Ridge(2.0)]}], (X, Y))
    assert store.list_runs().is_empty()
