"""What was fitted before is taken over where it is the same, and only there (docs/decisions/0035)."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
import sqlalchemy
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel, SelectKBest, mutual_info_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training import pipelines_of, transformer_cache
from nirs4all_store.training.cross_validation import splits
from nirs4all_store.training.transformer_cache import TransformerCache, is_sure

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 6))
Y = X[:, 0] - X[:, 3] + RANDOM.normal(scale=0.1, size=24)
SELECTION = [MinMaxScaler(), SelectFromModel(PLSRegression(2), max_features=3, threshold=-np.inf)]
CONFIG = [*SELECTION, KFold(2), PLSRegression(1)]
SWEEP = [*SELECTION, KFold(2), {"_or_": [PLSRegression(1), PLSRegression(2)]}]


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer_cache, "WORTH_SECONDS", -1)
    monkeypatch.setattr(transformer_cache, "WORTH_RATIO", 0)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the names of the transformers that are fitted, as they are."""
    names: list[str] = []

    def noted(step: Any, *given: Any) -> Any:
        names.append(step.name)
        return fit(step, *given)

    fit = transformer_cache.fit_operator
    monkeypatch.setattr(transformer_cache, "fit_operator", noted)
    yield names


def run(store: WorkspaceStore, config: Any = CONFIG, refit: bool = False, **options: Any) -> str:
    runner = PipelineRunner(store, progress=False)
    runner.run(config, (X, Y), refit=refit, **options)
    assert runner.run_id is not None
    return runner.run_id


def keys_in(store: WorkspaceStore) -> list[str]:
    return store.sql("SELECT document FROM results WHERE kind = 'artifact key'")["document"].to_list()


def predictions(store: WorkspaceStore, run_id: str) -> list[bytes]:
    rows = store.query_predictions(run_id=run_id).sort(
        "model_name", "preprocessings", "fold_id", "partition", "val_score"
    )
    found = [store.get_prediction(name, load_arrays=True) or {} for name in rows["prediction_id"]]
    return [np.asarray(row["y_pred"]).tobytes() for row in found]


def test_what_is_taken_over_predicts_the_same_to_the_last_bit(store: WorkspaceStore, fits: list[str]) -> None:
    without = run(store, SWEEP, refit=True, cache=False)
    assert fits == ["MinMaxScaler", "SelectFromModel"] * 6
    assert keys_in(store) == []
    fits.clear()
    first = run(store, SWEEP, refit=True)
    assert fits == ["MinMaxScaler", "SelectFromModel"] * 3  # The second pipeline takes all over.
    fits.clear()
    second = run(store, CONFIG, refit=True)
    assert fits == []
    expected = predictions(store, without)
    assert predictions(store, first) == expected
    assert set(predictions(store, second)) < set(expected)
    log = store.get_pipeline_log(store.list_pipelines(run_id=second)["pipeline_id"][0])
    assert log["message"].to_list()[:2] == ["3 of its fits taken over from before"] * 2
    assert store.check(deep=True).findings == []


def test_a_key_tells_all_that_a_fit_is_given(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_dataset({"X": X, "y": Y, "wavelengths": np.arange(6.0)})
    folds = splits(pipelines_of(CONFIG)[0], data)

    def keys(data: Any = data, steps: Any = SELECTION, folds: Any = folds, **settings: Any) -> set[str]:
        (pipeline,) = pipelines_of([*steps, KFold(2), PLSRegression(1)])
        cache = TransformerCache(store, sklearn.get_config() | settings, is_on=True).of(pipeline, data, folds)
        return {key for of_fit in cache.keys for key in of_fit.values()}

    same, other = keys(), np.array(X)
    assert len(same) == 2 * 3
    assert keys(replace(data, X_test=X, name="other")) == same
    other[5, 2] += 1e-12
    values = [("X", other), ("X", X.astype(np.float32)), ("X", np.asfortranarray(X)), ("y", Y + 1), ("weights", Y**2)]
    values += [("groups", np.arange(24) // 3), ("wavelengths", np.arange(1.0, 7))]
    for name, value in values:
        assert keys(replace(data, **{name: value})).isdisjoint(same), name
    assert keys(steps=[MinMaxScaler((0, 2)), SELECTION[1]]).isdisjoint(same)
    assert keys(transform_output="pandas").isdisjoint(same)
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    assert keys().isdisjoint(same)
    monkeypatch.undo()
    assert len(keys(folds=[(rows[1:], held_out) for rows, held_out in folds]) & same) == 2  # Of the final model.
    assert len(keys(steps=[SELECTION[0], StandardScaler()]) & same) == 3  # Of the step before.


class OfAScript(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    def fit(self, X: Any, y: Any = None) -> Any:
        return self

    def transform(self, X: Any) -> Any:
        return X


def of_a_script(X: Any) -> Any:
    return X


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (SELECTION[1], True),
        (SelectFromModel(RandomForestRegressor(random_state=0)), True),
        (FunctionTransformer(np.log1p), True),
        (SelectFromModel(RandomForestRegressor()), False),
        (SelectFromModel(RandomForestRegressor(random_state=np.random.RandomState(0))), False),
        (SelectFromModel(Ridge()), False),
        (PCA(random_state=np.random.default_rng(0)), False),
        (FunctionTransformer(kw_args={"rng": np.random.default_rng(0)}), False),
        (FunctionTransformer(np.random.default_rng(0).permutation), False),
        (FunctionTransformer(np.random.permutation), False),
        (FunctionTransformer(of_a_script), False),
        (OfAScript(), False),
        (FunctionTransformer(kw_args={"inside": [OfAScript()]}), False),
        (SelectFromModel(PLSRegression(), importance_getter=ShuffleSplit()), False),
    ],
)
def test_nothing_of_a_script_or_without_a_seed_is_sure(operator: Any, expected: bool) -> None:
    assert is_sure(operator) is expected


def test_what_follows_an_unknown_step_once_could_be_taken_over(store: WorkspaceStore, fits: list[str]) -> None:
    for _ in range(2):
        run(store, [StandardScaler(), OfAScript(), *CONFIG[1:3], PLSRegression(1)])
    assert fits == ["StandardScaler", "OfAScript", "SelectFromModel"] * 2 + ["OfAScript", "SelectFromModel"] * 2


def test_what_draws_without_telling_is_fitted_again_and_so_is_what_follows(
    store: WorkspaceStore, fits: list[str]
) -> None:
    drawing = SelectKBest(mutual_info_regression, k=4)  # It has no random_state, and draws from NumPy's generator.
    for _ in range(2):
        run(store, [drawing, *CONFIG[1:3], PLSRegression(1)])
    assert fits == ["SelectKBest", "SelectFromModel"] * 4
    assert keys_in(store) == []


def test_a_transformer_that_transforms_while_it_is_fitted_is_fitted_again(
    store: WorkspaceStore, fits: list[str]
) -> None:
    for _ in range(2):  # What PCA gives then is not what it gives later, to the last bit.
        run(store, [PCA(3, random_state=0), *CONFIG[1:3], PLSRegression(1)])
    assert fits == ["PCA", "SelectFromModel"] * 2 + ["PCA"] * 2


def test_a_fit_that_warned_warns_again(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, fits: list[str]) -> None:
    fit = SelectFromModel.fit

    def warning(self: Any, *given: Any, **more: Any) -> Any:
        warnings.warn("did not converge", ConvergenceWarning, stacklevel=1)
        return fit(self, *given, **more)

    monkeypatch.setattr(SelectFromModel, "fit", warning)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match="did not converge"):
            run(store, [SELECTION[1], KFold(2), PLSRegression(1)])
    assert len(fits) == 4


def test_what_is_fast_is_fitted_again(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, fits: list[str]) -> None:
    monkeypatch.setattr(transformer_cache, "WORTH_SECONDS", 60)
    for _ in range(2):
        run(store)
    assert len(fits) == 8
    assert keys_in(store) == []


@pytest.mark.in_a_folder
def test_what_is_damaged_or_was_imported_is_not_taken_over(store: WorkspaceStore, fits: list[str]) -> None:
    first = run(store)
    for artifact_id in keys_in(store):
        store.get_artifact_path(artifact_id).write_bytes(b"damaged")
    fits.clear()
    assert predictions(store, run(store)) == predictions(store, first)
    assert len(fits) == 4
    assert store.check(deep=True).findings == []  # The files were mended.
    with store.unit_of_work() as uow:
        uow.session.execute(sqlalchemy.text("UPDATE artifacts SET trust = '[]'"))
        uow.commit()
    fits.clear()
    run(store)
    assert len(fits) == 4


def test_a_key_goes_with_what_it_names(store: WorkspaceStore, fits: list[str]) -> None:
    other, run_id = run(store), run(store, SWEEP)
    fits.clear()
    store.prune(run_id, keep_best=1)
    store.delete_run(other)
    assert len(keys_in(store)) == 4  # One chain still needs what both took over.
    store.delete_run(run_id)
    assert keys_in(store) == []
    run_id = run(store)
    store.delete_run(run_id, delete_artifacts=False)
    assert len(keys_in(store)) == 4
    run_id = run(store)
    assert len(fits) == 4
    store.delete_run(run_id, delete_artifacts=False)
    store.gc_artifacts(grace=timedelta(0))
    assert keys_in(store) == []
    assert store.check(deep=True).findings == []


def test_only_what_is_kept_is_taken_over(store: WorkspaceStore, fits: list[str]) -> None:
    for _ in range(2):
        run(store, refit=True, keep="final")
    assert len(keys_in(store)) == 2
    assert len(fits) == 6 + 4


def test_two_that_fit_the_same_at_once_lose_nothing(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransformerCache, "_find", lambda self, keys: {})  # Neither has seen what the other saved.
    assert predictions(store, run(store)) == predictions(store, run(store))
    assert len(keys_in(store)) == 4
    assert store.check(deep=True).findings == []


def test_in_threads_nobody_hears_a_warning_so_that_nothing_is_kept(store: WorkspaceStore, fits: list[str]) -> None:
    with joblib.parallel_config("threading", n_jobs=2):
        run(store)
        assert keys_in(store) == []


@pytest.mark.slow  # joblib's workers take a second to start.
@pytest.mark.in_a_folder
def test_workers_take_over_and_leave_for_others(store: WorkspaceStore) -> None:
    config = [
        SelectFromModel(RandomForestRegressor(30, random_state=0), max_features=3, threshold=-np.inf),
        *SWEEP[2:],
    ]
    for _ in range(2):
        runner = PipelineRunner(store, progress=False, n_jobs=2)
        runner.run(config, (X, Y))
    assert runner.run_id is not None
    assert len(keys_in(store)) > 0
    logs = [store.get_pipeline_log(name) for name in store.list_pipelines(run_id=runner.run_id)["pipeline_id"]]
    assert all(log["message"][0] is not None for log in logs)
    assert predictions(store, runner.run_id) == predictions(store, run(store, config, refit=True, cache=False))
