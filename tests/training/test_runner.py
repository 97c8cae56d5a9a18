"""The runner trains without leaking, stores all of it, and what it has stored predicts the same."""

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from chemotools.datasets import load_coffee, load_fermentation_train
from chemotools.derivative import SavitzkyGolay
from chemotools.scatter import StandardNormalVariate
from leaving import Killing
from programs import programs, run, says
from samples import slow
from sklearn import metrics
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    cross_val_predict,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from nirs4all_store import (
    InvalidInputError,
    NotFoundError,
    PipelineLibrary,
    PipelineRunner,
    TrainingFailedError,
    UnitOfWorkError,
    WorkspaceBusyError,
    WorkspaceStore,
)
from nirs4all_store.chains.inference import Operators

Data = dict[str, Any]


@pytest.fixture(scope="module")
def glucose() -> Data:
    X, y = load_fermentation_train(set_output="polars")
    X, y = X.to_numpy().astype(float), y["glucose"].to_numpy()
    return {"X": X[:17], "y": y[:17], "X_test": X[17:], "y_test": y[17:], "name": "glucose"}


@pytest.fixture(scope="module")
def coffee() -> Data:
    X, labels = load_coffee(set_output="polars")
    X, y = X.to_numpy()[:, ::20].astype(float), labels["labels"].to_numpy().astype(str)
    return {"X": X[::2], "y": y[::2], "X_test": X[1::4], "y_test": y[1::4], "name": "coffee"}


@pytest.fixture
def runner(store: WorkspaceStore) -> PipelineRunner:
    return PipelineRunner(store)


def arrays(store: WorkspaceStore, row: dict[str, Any]) -> dict[str, Any]:
    found = store.get_prediction(row["prediction_id"], load_arrays=True)
    assert found is not None
    return found


def of_fold(store: WorkspaceStore, chain_id: str, fold: str) -> Operators:
    """Return a stored chain with the objects of one fold."""
    chain = store.get_chain(chain_id)
    assert chain is not None
    shared = [
        item
        for _, entry in sorted(chain["shared_artifacts"].items(), key=lambda item: int(item[0]))
        for item in ([entry] if isinstance(entry, str) else entry)
    ]
    own = chain["fold_artifacts"][f"fold_{fold}"]
    own = [own] if isinstance(own, str) else own
    load = store.load_artifact
    return Operators([(i, load(i)) for i in shared], {fold: [(i, load(i)) for i in own]})


REGRESSORS = [
    PLSRegression(3),
    Ridge(),
    SVR(),
    RandomForestRegressor(5, random_state=0),
    GaussianProcessRegressor(alpha=0.1),
    make_pipeline(StandardScaler(), Ridge()),
]
CLASSIFIERS = [
    LogisticRegression(max_iter=5000),
    RidgeClassifier(),
    SVC(),
    RandomForestClassifier(5, random_state=0),
    KNeighborsClassifier(3),
    DecisionTreeClassifier(random_state=0),
]
FEW = (PLSRegression, KNeighborsClassifier)


@pytest.mark.parametrize(
    "model",
    [model if type(model) in FEW else slow(model) for model in REGRESSORS + CLASSIFIERS],
    ids=lambda model: type(model).__name__,
)
def test_a_stored_chain_predicts_what_is_stored_of_each_fold_and_of_all(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, coffee: Data, model: Any
) -> None:
    data = glucose if model in REGRESSORS else coffee
    found = runner.run([StandardNormalVariate(), StandardScaler(), KFold(3, shuffle=True, random_state=0), model], data)
    rows = found.to_dicts()
    assert [(row["fold_id"], row["partition"]) for row in rows] == [
        *((fold, partition) for fold in ("avg", "0", "1", "2") for partition in ("val", "test", "train")),
        *(("final", partition) for partition in ("test", "train")),
    ]
    chain_id = rows[0]["chain_id"]
    together = store.replay_chain(chain_id, data["X_test"], folds="mean")
    np.testing.assert_array_equal(arrays(store, rows[1])["y_pred"], together)
    np.testing.assert_array_equal(arrays(store, rows[-2])["y_pred"], store.replay_chain(chain_id, data["X_test"]))
    for row in rows[3:]:
        kept, operators = arrays(store, row), of_fold(store, chain_id, row["fold_id"])
        X = data["X_test"] if row["partition"] == "test" else data["X"][kept["sample_indices"]]
        np.testing.assert_array_equal(kept["y_pred"], operators.predict(X))
        if kept["y_proba"] is not None:
            np.testing.assert_array_equal(kept["y_proba"], operators.predict_proba(X))
    assert store.check(deep=True).is_sound


class Remembers(TransformerMixin, BaseEstimator):
    """Keeps what it was fitted on, as a transformer that leaks would show it."""

    def fit(self, X: Any, y: Any = None) -> "Remembers":
        self.seen_ = np.sort(X[:, 0])
        return self

    def transform(self, X: Any) -> Any:
        return X


def test_nothing_is_fitted_on_what_it_is_judged_by(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    data = {"X": np.arange(17.0)[:, None] + glucose["X"] / 1000, "y": glucose["y"]}
    numbers = data["X"][:, 0]
    found = runner.run([Remembers(), KFold(4, shuffle=True, random_state=1), Ridge()], data)
    chain = store.get_chain(found["chain_id"][0])
    assert chain is not None
    assert chain["shared_artifacts"] == {}
    for row in found.filter(pl.col("fold_id") != "avg").to_dicts():
        seen = store.load_artifact(chain["fold_artifacts"][f"fold_{row['fold_id']}"][0]).seen_
        used = numbers[arrays(store, row)["sample_indices"]]
        if row["partition"] == "val":
            assert not np.isin(used, seen).any()
        else:
            np.testing.assert_array_equal(np.sort(used), seen)


def test_what_needs_no_fitting_is_stored_once_for_all_folds(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    before = [StandardNormalVariate(), SavitzkyGolay(window_length=15, polyorder=2, deriv=1)]
    found = runner.run([*before, StandardScaler(), SavitzkyGolay(window_length=5), PLSRegression(2)], glucose)
    chain = store.get_chain(found["chain_id"][0])
    assert chain is not None
    assert chain["shared_artifacts"].keys() == {"0", "1"}
    folds = [*(f"fold_{i}" for i in range(5)), "fold_final"]
    assert {fold: len(ids) for fold, ids in chain["fold_artifacts"].items()} == dict.fromkeys(folds, 3)
    # What comes after a step that is fitted is in the folds' lists; its one file is shared all the same.
    assert len({ids[1] for ids in chain["fold_artifacts"].values()}) == 1
    store.delete_run(store.list_runs()["run_id"][0])
    assert store.check(deep=True).is_sound
    assert store.sql("SELECT * FROM artifacts").is_empty()


def test_the_best_comes_first_and_everything_is_recorded(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    alphas = {"_or_": [1e3, 1e-3, 2.0]}
    config = [StandardScaler(), {"model": {"class": "sklearn.linear_model.Ridge", "params": {"alpha": alphas}}}]
    found = runner.run(config, glucose, name="ridges")
    scores = found.filter(pl.col("fold_id") == "avg", pl.col("partition") == "val")["val_score"].to_list()
    assert scores == sorted(scores)
    assert found["val_score"][0] == min(scores)
    (run,) = store.list_runs().to_dicts()
    assert (run["name"], run["status"]) == ("ridges", "completed")
    (dataset,) = store.list_datasets()["dataset_id"]
    assert json.loads(run["datasets"])[0] | {"hash": ""} == {
        "dataset_id": dataset,
        "name": "glucose",
        "hash": "",
        "n_samples": 17,
        "n_features": glucose["X"].shape[1],
        "n_targets": 1,
        "excluded": 0,
        "excluded_test": 0,
        "n_test": len(glucose["y_test"]),
    }
    assert sorted(store.list_pipelines(run_id=run["run_id"])["best_val"]) == scores
    best = store.get_pipeline(found["pipeline_id"][0])
    assert best is not None
    assert (best["status"], best["best_val"], best["metric"]) == ("completed", scores[0], "rmse")
    alpha = best["expanded_config"][1]["model"]["params"]["alpha"]
    assert best["generator_choices"] == [{"_or_": alpha}]
    log = store.get_pipeline_log(found["pipeline_id"][0])
    assert log.select("step_idx", "operator_class", "event").rows() == [
        (0, "StandardScaler", "end"),
        (1, "Ridge", "end"),
    ]
    row = found.row(0, named=True)
    assert json.loads(row["scores"])["val"].keys() == {
        *("rmse", "mae", "r2", "bias", "sep", "rpd", "rpiq", "slope", "n"),
    }
    assert json.loads(row["best_params"]) == {"alpha": alpha}
    validated = arrays(store, row)
    assert validated["sample_indices"].tolist() == list(range(17))
    np.testing.assert_array_equal(validated["y_true"], glucose["y"])


def test_rows_that_lack_a_value_are_counted_and_the_others_keep_their_numbers(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    X = glucose["X"].copy()
    X[[0, 5]] = np.nan
    found = runner.run([PLSRegression(2)], glucose | {"X": X})
    row = found.row(0, named=True)
    assert (row["exclusion_count"], row["exclusion_rate"]) == (2, 2 / 17)
    assert arrays(store, row)["sample_indices"].tolist() == [1, 2, 3, 4, *range(6, 17)]


def test_groups_stay_together(store: WorkspaceStore, runner: PipelineRunner, glucose: Data) -> None:
    groups = np.arange(17) // 3
    for config in ([PLSRegression(2)], [GroupKFold(3), PLSRegression(2)]):
        found = runner.run(config, glucose | {"groups": groups})
        for row in found.filter(pl.col("fold_id") != "avg", pl.col("partition") == "val").to_dicts():
            inside = np.isin(np.arange(17), arrays(store, row)["sample_indices"])
            assert not set(groups[inside]) & set(groups[~inside])


def test_several_targets(store: WorkspaceStore, runner: PipelineRunner, glucose: Data) -> None:
    y = np.c_[glucose["y"], glucose["y"] ** 2]
    found = runner.run([StandardScaler(), {"y": MinMaxScaler()}, PLSRegression(2)], glucose | {"y": y, "y_test": None})
    rows = found.to_dicts()
    assert arrays(store, rows[0])["y_pred"].shape == (17, 2)
    kept, scores = arrays(store, rows[0]), json.loads(rows[0]["scores"])["val"]
    assert (rows[0]["metric"], rows[0]["val_score"]) == ("r2", scores["r2"])
    assert scores["r2"] == pytest.approx(metrics.r2_score(kept["y_true"], kept["y_pred"]))
    rmse = metrics.root_mean_squared_error(kept["y_true"][:, 1], kept["y_pred"][:, 1])
    assert scores["targets"]["y2"]["rmse"] == pytest.approx(rmse)
    assert arrays(store, rows[1])["y_true"] is None
    assert rows[1]["test_score"] is None
    together = store.replay_chain(rows[0]["chain_id"], glucose["X_test"], folds="mean")
    np.testing.assert_array_equal(arrays(store, rows[1])["y_pred"], together)


def test_a_transformed_target_comes_back_in_its_own_units(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    plain, scaled = ([Ridge(1e-6)], [{"y": StandardScaler()}, Ridge(1e-6)])
    one = arrays(store, runner.run(plain, glucose).row(0, named=True))["y_pred"]
    other = arrays(store, runner.run(scaled, glucose).row(0, named=True))["y_pred"]
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_classes_of_text_have_their_probabilities(store: WorkspaceStore, runner: PipelineRunner, coffee: Data) -> None:
    found = runner.run([StandardScaler(), LogisticRegression(max_iter=5000)], coffee)
    row = found.row(0, named=True)
    kept = arrays(store, row)
    assert (row["task_type"], row["metric"], kept["y_pred"].dtype.kind) == ("classification", "balanced_accuracy", "U")
    assert kept["y_proba"].shape == (len(coffee["y"]), len(set(coffee["y"])))
    scores = json.loads(row["scores"])["val"]
    names = {"accuracy", "balanced_accuracy", "f1", "mcc", "roc_auc", "log_loss", "n", "classes"}
    assert (scores.keys(), scores["classes"].keys()) == (names, set(coffee["y"]))


def test_folds_that_have_seen_fewer_classes_are_aligned(store: WorkspaceStore, runner: PipelineRunner) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), np.array(list("aaaabbbbcccc"))
    found = runner.run([KFold(3), DecisionTreeClassifier(random_state=0)], {"X": X, "y": y, "X_test": X})
    kept = arrays(store, found.row(0, named=True))
    assert kept["y_proba"].shape == (12, 3)
    np.testing.assert_array_equal(kept["y_proba"].sum(axis=1), 1)
    assert kept["y_proba"][:4, 0].max() == 0  # The fold that predicts the a's has not seen one.


def test_a_repeated_split_averages_and_a_partial_one_leaves_rows_out(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    found = runner.run([RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), Ridge()], glucose)
    folds = [arrays(store, row) for row in found.to_dicts() if row["partition"] == "val" and row["fold_id"] != "avg"]
    of_first = [kept["y_pred"][kept["sample_indices"] == 0][0] for kept in folds if 0 in kept["sample_indices"]]
    assert len(of_first) == 2
    assert arrays(store, found.row(0, named=True))["y_pred"][0] == pytest.approx(np.mean(of_first))
    found = runner.run([ShuffleSplit(n_splits=1, test_size=4, random_state=0), Ridge()], glucose)
    assert len(arrays(store, found.row(0, named=True))["y_pred"]) == 4


def test_weights_count_and_are_kept(store: WorkspaceStore, runner: PipelineRunner, glucose: Data) -> None:
    weights = np.linspace(0.1, 2, 17)
    plain = runner.run([Ridge()], glucose)
    weighted = runner.run([Ridge()], glucose | {"weights": weights})
    assert plain["val_score"][0] != weighted["val_score"][0]
    np.testing.assert_array_equal(arrays(store, weighted.row(0, named=True))["weights"], weights)
    with pytest.raises(InvalidInputError, match=r"step 1 \(PLSRegression\) takes no weights"):
        runner.run([PLSRegression(2)], glucose | {"weights": weights})


def test_several_models_have_a_chain_each_and_share_what_leads_to_them(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    found = runner.run([StandardScaler(), {"model": Ridge()}, {"model": PLSRegression(2)}], glucose)
    assert set(found["model_class"]) == {"Ridge", "PLSRegression"}
    chains = [store.get_chain(chain_id) for chain_id in found["chain_id"].unique()]
    scalers = [{ids[0] for ids in chain["fold_artifacts"].values()} for chain in chains if chain]
    assert scalers[0] == scalers[1]
    assert store.check(deep=True).is_sound


def test_a_pipeline_that_fails_is_recorded_and_the_others_go_on(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    pls = {"class": "sklearn.cross_decomposition.PLSRegression", "params": {"n_components": {"_or_": [500, 2]}}}
    found = runner.run([{"model": pls}], glucose)
    assert set(found["best_params"]) == {'{"n_components": 2}'}
    (run,) = store.list_runs().to_dicts()
    assert run["status"] == "completed"
    assert json.loads(run["summary"])["failed_pipelines"] == 1
    failed = store.list_pipelines().filter(pl.col("status") == "failed").row(0, named=True)
    assert "Traceback" in failed["error"]
    assert "n_components" in failed["error"]


def test_a_run_of_which_nothing_succeeds_is_an_error(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    with pytest.raises(TrainingFailedError, match=r"all 1 pipelines of run .* failed, the first with .*n_components"):
        runner.run([PLSRegression(500)], glucose)
    assert store.list_runs()["status"].to_list() == ["failed"]


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        ([KFold(40), Ridge()], {}, r"step 1 \(KFold\) cannot split glucose"),
        ([GroupKFold(3), Ridge()], {}, r"step 1 \(GroupKFold\) splits by groups, and glucose has none"),
        ([Ridge()], {"y": ["a"] * 17, "y_test": None}, r"step 1 \(Ridge\) predicts numbers"),
        ([StandardScaler()], {}, "no model"),
        ([Ridge()], {"y": None}, "needs y"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_stored(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, config: Any, data: Data, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        runner.run(config, glucose | data)
    assert store.list_runs().is_empty()


@pytest.mark.in_a_folder
def test_a_template_a_file_and_text_are_configurations(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, tmp_path: Path
) -> None:
    config = [{"class": "sklearn.linear_model.Ridge"}]
    PipelineLibrary(store.workspace_path).save_template(config, "ridge")
    (tmp_path / "ridge.yaml").write_text("- class: sklearn.linear_model.Ridge\n")
    scores = [
        runner.run(given, glucose, refit=False)["val_score"][0]
        for given in (config, "ridge", tmp_path / "ridge.yaml", json.dumps(config))
    ]
    assert len(set(scores)) == 1
    with pytest.raises(NotFoundError, match="no_such_template"):
        runner.run("no_such_template", glucose)


def test_a_run_that_is_repeated_leaves_out_what_is_there(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    first = runner.run([{"_or_": [StandardScaler(), MinMaxScaler()]}, Ridge()], glucose)
    described = [{"class": "sklearn.preprocessing.StandardScaler"}, {"model": {"class": "sklearn.linear_model.Ridge"}}]
    again = runner.run(described, glucose, resume=True)
    assert set(again["pipeline_id"]) < set(first["pipeline_id"])
    assert store.list_runs().height == 1
    more = runner.run([{"_or_": [StandardScaler(), None]}, Ridge()], glucose, resume=True)
    assert more["pipeline_id"].n_unique() == 2
    assert store.list_pipelines().height == 3
    assert runner.run([StandardScaler(), Ridge()], glucose | {"y": glucose["y"] + 1}, resume=True).height
    assert store.list_pipelines().height == 4


@pytest.mark.parametrize("backend", [slow("loky"), "threading"])
def test_pipelines_are_trained_side_by_side(store: WorkspaceStore, glucose: Data, backend: str) -> None:
    pls = {"class": "sklearn.cross_decomposition.PLSRegression", "params": {"n_components": {"_range_": [1, 4]}}}
    alone = PipelineRunner(store).run([{"model": pls}], glucose)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        together = PipelineRunner(store).run([{"model": pls}], glucose)
    assert together["val_score"].to_list() == pytest.approx(alone["val_score"].to_list())
    assert store.list_runs()["status"].to_list() == ["completed"] * 2
    assert store.check(deep=True).is_sound


@pytest.mark.parametrize("processes", [False, slow(True)])
def test_pipelines_are_trained_on_a_dask_cluster(store: WorkspaceStore, glucose: Data, *, processes: bool) -> None:
    from dask.distributed import (
        Client,
        LocalCluster,
    )  # It takes half a second, which every run of tests would wait for.

    models = {"_or_": [Ridge(alpha) for alpha in (1.0, 2.0, 3.0)]}
    alone = PipelineRunner(store).run([models], glucose)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        together = PipelineRunner(store).run([models], glucose)
    assert together["val_score"].to_list() == pytest.approx(alone["val_score"].to_list())
    assert store.list_runs()["status"].to_list() == ["completed"] * 2
    assert store.check(deep=True).is_sound


INTERRUPTED = """
import os, signal, sys
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from nirs4all_store import PipelineRunner

class Model(RegressorMixin, BaseEstimator):
    def __init__(self, name=""):
        self.name = name
    def fit(self, X, y):
        if self.name == "c":
            os.kill(os.getpid(), signal.SIGINT)
        return self
    def predict(self, X):
        return np.zeros(len(X))

models = [Model("a"), Model("b"), Model("c"), Model("d")]
try:
    PipelineRunner(sys.argv[1]).run([{"_or_": models}], (np.ones((20, 3)), np.arange(20.0)), name="r")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_leaves_an_interrupted_run_with_all_that_was_finished(tmp_path: Path) -> None:
    with programs(tmp_path / "w") as given:
        assert says(given.start(INTERRUPTED)) == "interrupted"
    with WorkspaceStore(tmp_path / "w") as store:
        (run,) = store.list_runs().to_dicts()
        assert run["status"] == "interrupted"
        pipelines = store.list_pipelines(run_id=run["run_id"]).reverse()
        assert pipelines["status"].to_list() == ["completed", "completed", "interrupted"]
        assert store.query_predictions(run_id=run["run_id"])["pipeline_id"].n_unique() == 2
        assert store.check(deep=True).is_sound


@pytest.mark.parametrize("jobs", [slow(1), 2])
def test_a_workspace_that_fails_in_the_middle_ends_the_run_with_its_error(
    store: WorkspaceStore, glucose: Data, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    real, begun = store.begin_pipeline, []

    def begin(*arguments: Any) -> str:
        if len(begun) == 2:
            raise WorkspaceBusyError("somebody else has it")
        begun.append(real(*arguments))
        return begun[-1]

    monkeypatch.setattr(store, "begin_pipeline", begin)
    models = {"_or_": [Ridge(alpha) for alpha in range(1, 9)]}
    with pytest.raises(WorkspaceBusyError), joblib.parallel_config("threading"):
        PipelineRunner(store, n_jobs=jobs).run([models], glucose)
    assert store.list_runs()["status"].to_list() == ["interrupted"]
    assert set(store.list_pipelines()["status"]) <= {"completed", "interrupted"}


def test_nothing_is_printed_where_there_is_no_terminal(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from nirs4all_store import PipelineRunner; from sklearn.linear_model import Ridge\n"
        "PipelineRunner(sys.argv[1]).run([Ridge()], (np.ones((20, 3)), np.arange(20.0)))"
    )
    assert run(program, tmp_path) == ""


def statuses(store: WorkspaceStore) -> list[str]:
    return sorted(store.list_pipelines()["status"])


class Unpicklable(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def __reduce__(self) -> Any:
        raise TypeError("it holds an instrument")


class Silent(StandardScaler):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any = None) -> None:  # type: ignore[override]
        super().fit(X)


class FarOff(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def predict(self, X: Any) -> Any:
        return super().predict(X) + 1e200


@pytest.mark.parametrize(("bad", "problem"), [(Unpicklable(), "holds an instrument"), (FarOff(), "has no rmse")])
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_pipeline_that_cannot_be_stored_fails_alone(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, bad: Any, problem: str
) -> None:
    runner.run([KFold(3), {"_or_": [bad, Ridge(), Ridge(2.0)]}], glucose)
    assert statuses(store) == ["completed", "completed", "failed"]
    assert problem in store.list_pipelines().filter(status="failed")["error"][0]
    assert store.list_runs()["status"].to_list() == ["completed"]
    assert store.check(deep=True).is_sound


class Garbled(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any) -> "Garbled":
        raise ValueError("cannot read \x00\ud800 of a file")


def test_a_message_that_is_no_text_once_ended_the_run(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    runner.run([KFold(3), {"_or_": [Ridge(), Garbled(), Ridge(2.0)]}], glucose)
    assert statuses(store) == ["completed", "completed", "failed"]
    assert r"cannot read \x00\ud800 of a file" in store.list_pipelines().filter(status="failed")["error"][0]


def test_a_model_once_was_said_to_have_steps_before_it_that_came_after(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    found = runner.run([KFold(3), StandardScaler(), {"model": Ridge()}, PCA(3), {"model": SVR()}], glucose)
    expected = {("Ridge", "StandardScaler"), ("SVR", "StandardScaler > PCA")}
    assert set(found.select("model_class", "preprocessings").iter_rows()) == expected
    chains = store.get_chains_for_pipeline(found["pipeline_id"][0])
    assert set(chains.select("model_class", "preprocessings").iter_rows()) == expected


@pytest.mark.parametrize(
    "model", [slow(MLPClassifier((5,), max_iter=2000, random_state=0)), OneVsRestClassifier(LogisticRegression())]
)
def test_several_labels_with_probabilities_in_one_array_once_failed(
    store: WorkspaceStore, runner: PipelineRunner, model: Any
) -> None:
    X = np.random.default_rng(0).normal(size=(60, 4))
    y = (X[:, :2] + X[:, 2:] > 0).astype(int)
    found = runner.run([KFold(3), model], {"X": X[:50], "y": y[:50], "X_test": X[50:], "y_test": y[50:]})
    test = arrays(store, found.filter(fold_id="avg", partition="test").to_dicts()[0])
    assert test["y_pred"].shape == (10, 2)
    assert np.mean(test["y_pred"] == y[50:]) > 0.7
    np.testing.assert_array_equal(store.replay_chain(found["chain_id"][0], X[50:], folds="mean"), test["y_pred"])


@pytest.mark.parametrize(
    "step",
    [
        slow({"model": GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]})}),
        {"model": make_pipeline(FunctionTransformer(lambda X: X), Ridge())},
    ],
)
def test_what_joblib_cannot_hash_or_dump_is_stored_and_replays(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, step: Any
) -> None:
    ranked = runner.run([KFold(3), step], glucose)
    expected = store.get_prediction(
        ranked.filter(fold_id="avg", partition="test")["prediction_id"][0], load_arrays=True
    )
    together = store.replay_chain(ranked["chain_id"][0], glucose["X_test"], folds="mean")
    np.testing.assert_array_equal(together, expected["y_pred"])


@pytest.mark.parametrize(("before", "after"), [(2, 0), slow(4, 4)])
def test_a_worker_that_is_killed_takes_no_pipeline_with_it_but_the_one_that_it_trained(
    store: WorkspaceStore, glucose: Data, before: int, after: int
) -> None:
    killing = {"_or_": [*map(Killing, range(1, before + 1)), Killing(666), *map(Killing, range(5, 5 + after))]}
    PipelineRunner(store, n_jobs=2).run([KFold(3), killing], glucose, refit=False)
    assert statuses(store) == ["completed"] * (before + after) + ["failed"]
    (failed,) = store.list_pipelines().filter(status="failed").to_dicts()
    assert "was ended from outside" in failed["error"]
    assert "666" in failed["name"]
    assert store.list_runs()["status"].to_list() == ["completed"]
    assert store.check(deep=True).is_sound


@pytest.mark.parametrize("steps", [slow([PCA(3, copy=False), Ridge()]), [PLSRegression(2, copy=False), Ridge()]])
def test_an_operator_that_writes_to_its_samples_spoils_no_other(
    runner: PipelineRunner, glucose: Data, steps: list[Any]
) -> None:
    gentle = [step["model"] if isinstance(step, dict) else step for step in steps]
    gentle = [clone(step).set_params(copy=True) if hasattr(step, "copy") else step for step in gentle]
    spoilt = runner.run([KFold(3), *steps], glucose)
    expected = runner.run(
        [KFold(3), *[{"model": step} if hasattr(step, "predict") else step for step in gentle]], glucose
    )
    assert spoilt["val_score"].to_list() == pytest.approx(expected["val_score"].to_list())


@pytest.mark.parametrize(
    "model", [FixedThresholdClassifier(LogisticRegression(), threshold=0.9), slow(SVC(probability=True))]
)
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_a_model_that_does_not_choose_the_likeliest_class_is_taken_at_its_word(
    store: WorkspaceStore, runner: PipelineRunner, model: Any
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = np.where(X[:, 0] + rng.normal(size=60) > 0, "yes", "no")
    ranked = runner.run([KFold(3), model], (X, y))
    expected = cross_val_predict(model, X, y, cv=KFold(3))
    found = np.empty_like(expected)
    for prediction_id in ranked.filter(pl.col("fold_id") != "avg", partition="val")["prediction_id"]:
        prediction = store.get_prediction(prediction_id, load_arrays=True)
        found[prediction["sample_indices"]] = prediction["y_pred"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("order", [slow("C"), "F"])
@pytest.mark.parametrize("jobs", [1, slow(2)])
def test_objects_that_lie_otherwise_in_memory_once_they_are_stored_replay_exactly(
    store: WorkspaceStore, order: Any, jobs: int
) -> None:
    X = np.asarray(np.random.default_rng(0).normal(size=(300, 1000)), order=order)
    data = {"X": X, "y": X[:, 0], "X_test": X[:50]}
    # Scaled, the scores of a PCA leave nothing to a second component of PLS but rounding: once in a hundred times the
    # y of it is 0/0, of which NumPy warns.
    models = {"_or_": [Ridge(), PLSRegression(5, scale=False)]}
    ranked = PipelineRunner(store, n_jobs=jobs).run([PCA(20), KFold(3), models], data)
    for row in ranked.filter(pl.col("fold_id").is_in(["avg", "final"]), partition="test").to_dicts():
        stored = store.get_prediction(row["prediction_id"], load_arrays=True)
        replayed = store.replay_chain(row["chain_id"], X[:50], folds="mean" if row["fold_id"] == "avg" else None)
        np.testing.assert_array_equal(replayed, stored["y_pred"])


def test_a_threshold_inside_another_model_counts_for_all_folds_together(
    store: WorkspaceStore, runner: PipelineRunner
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = np.where(X[:, 0] + rng.normal(size=60) > 0, "yes", "no")
    strict = FixedThresholdClassifier(LogisticRegression(), threshold=0.9)
    bare = runner.run([KFold(3), strict], {"X": X, "y": y, "X_test": X[:20]}, refit=False)
    expected = arrays(store, bare.filter(fold_id="avg", partition="test").row(0, named=True))["y_pred"]
    for model in (make_pipeline(strict), GridSearchCV(strict, {"threshold": [0.9]})):
        ranked = runner.run([KFold(3), {"model": model}], {"X": X, "y": y, "X_test": X[:20]}, refit=False)
        row = ranked.filter(fold_id="avg", partition="test").row(0, named=True)
        np.testing.assert_array_equal(arrays(store, row)["y_pred"], expected)
        np.testing.assert_array_equal(store.replay_chain(row["chain_id"], X[:20], folds="mean"), expected)


def test_a_transformer_whose_fit_returns_nothing_is_used(runner: PipelineRunner, glucose: Data) -> None:
    assert runner.run([KFold(3), Silent(), Ridge()], glucose).height


def test_every_pipeline_of_a_run_is_judged_by_the_same_folds(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    ranked = runner.run([KFold(3, shuffle=True), {"_or_": [Ridge(1.0), Ridge(2.0)]}], glucose)
    of_fold = ranked.filter(fold_id="0", partition="val")["prediction_id"]
    rows = [
        store.get_prediction(prediction_id, load_arrays=True)["sample_indices"].tolist() for prediction_id in of_fold
    ]
    assert len(rows) == 2
    assert rows[0] == rows[1]


def test_what_is_done_is_known_by_the_data_and_not_by_their_name(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    runner.run([Ridge()], glucose | {"name": "one"})
    runner.run([Ridge()], glucose | {"name": "other"}, resume=True)
    assert store.list_pipelines().height == 1


def test_folds_are_listed_in_their_order(runner: PipelineRunner, glucose: Data) -> None:
    ranked = runner.run([KFold(11), Ridge()], glucose).filter(partition="val")
    assert ranked["fold_id"].to_list() == ["avg", *map(str, range(11))]


def test_a_classifier_that_only_has_classes_is_ranked_as_one(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data
) -> None:
    class Sign:
        def fit(self, X: Any, y: Any) -> "Sign":
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:
            return self.classes_[(X[:, 0] > 0).astype(int)]

    y = np.arange(len(glucose["X"])) % 2
    runner.run([KFold(3), {"model": Sign()}], (glucose["X"], y))
    assert store.list_pipelines()["metric"].to_list() == ["balanced_accuracy"]


class Splitter(KFold):  # type: ignore[misc]  # scikit-learn ships no types
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        raise KeyError("no")


class NoFolds(KFold):  # type: ignore[misc]  # scikit-learn ships no types
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ([Splitter(3), Ridge()], {}, "cannot split"),
        ([NoFolds(3), Ridge()], {}, "no folds"),
        ([PredefinedSplit([0, 1] * 8 + [1]), Ridge()], {"hole": True}, "names samples that .* 1 left out"),
        ([Ridge()], {"y": np.arange(17) % 2 == 0}, "has True in row"),
        ([LogisticRegression()], {"y": np.linspace(0, 1, 17)}, "numbers with decimals"),
    ],
)
def test_what_would_fail_in_training_is_refused_before_it(
    store: WorkspaceStore, runner: PipelineRunner, glucose: Data, config: Any, change: Any, message: str
) -> None:
    data = {"X": glucose["X"], "y": glucose["y"]} | {name: value for name, value in change.items() if name != "hole"}
    if "hole" in change:
        data["X"] = np.where(np.arange(len(data["X"]))[:, None] == 3, np.nan, data["X"])
    with pytest.raises(InvalidInputError, match=message):
        runner.run(config, data)
    assert store.list_runs().is_empty()


def test_a_number_of_jobs_or_a_backend_that_cannot_be_is_refused_before_a_run_begins(
    store: WorkspaceStore, glucose: Data
) -> None:
    with pytest.raises(InvalidInputError, match="not 0"):
        PipelineRunner(store, n_jobs=0)
    with pytest.raises(InvalidInputError, match="use loky"), joblib.parallel_config("multiprocessing", n_jobs=2):
        PipelineRunner(store).run([Ridge()], glucose)
    with pytest.raises(UnitOfWorkError, match="outside of transaction"), store.transaction():
        PipelineRunner(store).run([Ridge()], glucose)
    assert store.list_runs().is_empty()


def test_a_workspace_that_was_taken_away_once_failed_pipeline_after_pipeline(
    store: WorkspaceStore, glucose: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: Any, **__: Any) -> str:
        raise WorkspaceBusyError("somebody else has it")

    monkeypatch.setattr(store, "save_chain", taken)
    with pytest.raises(WorkspaceBusyError):
        PipelineRunner(store).run([KFold(2), {"_or_": [Ridge(), Ridge(2.0)]}], glucose)
    assert store.list_pipelines()["status"].to_list() == ["interrupted"]
