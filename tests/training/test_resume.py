"""What `resume=True` leaves out is what was trained here, in the same way, on the same data; nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import run
from samples import slow
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training.operators import describe, is_whole
from nirs4all_store.training.pipeline_config import pipelines_of

X = np.random.default_rng(0).normal(size=(40, 6))
DATA = (X, X[:, 0] + 1)


class Boosted(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Takes most of its parameters without naming them, as the models of some packages do."""

    def __init__(self, *, objective: str = "squares", **others: Any) -> None:
        self.objective = objective
        self.others = others

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"objective": self.objective, "missing": None, **self.others}

    def set_params(self, **params: Any) -> "Boosted":
        self.others |= params
        return self

    def fit(self, X: Any, y: Any) -> "Boosted":
        self.mean_ = np.mean(y) + self.others["depth"]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


class Folds:
    """Keeps what it was made of under no name of a parameter."""

    def __init__(self, *held_out: list[int]) -> None:
        self._held_out = held_out

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return len(self._held_out)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        for rows in self._held_out:
            yield np.setdiff1d(np.arange(len(X)), rows), np.array(rows)


def trained(store: WorkspaceStore, config: Any, data: Any = DATA) -> int:
    """Return how many pipelines are trained for a configuration that is resumed."""
    before = store.list_pipelines().height
    PipelineRunner(store).run(config, data, resume=True)
    return store.list_pipelines().height - before


def test_models_whose_parameters_have_no_names_once_were_taken_for_one_another(store: WorkspaceStore) -> None:
    config = [KFold(4), {"model": {"class": f"{__name__}.Boosted", "params": {"depth": {"_or_": [2, 4]}}}}]
    found = PipelineRunner(store).run(config, DATA)
    assert set(found["best_params"]) == {'{"depth": 2}', '{"depth": 4}'}
    assert trained(store, config) == 0
    assert trained(store, [KFold(4), {"model": Boosted(depth=9)}]) == 1


def test_cross_validators_that_tell_nothing_of_themselves_once_shared_folds(store: WorkspaceStore) -> None:
    few, half = Folds([0, 1], [2, 3]), Folds([*range(20)], [*range(20, 40)])
    found = PipelineRunner(store).run([{"_or_": [few, half]}, Ridge()], DATA)
    assert sorted(found.filter(fold_id="avg", partition="val")["n_samples"]) == [4, 40]
    assert trained(store, [few, Ridge()]) == 1, "nobody can tell later whether it is the same"


def powered(power: float) -> Any:
    """Return a function that only its surroundings tell from others."""
    return lambda X: np.sign(X) * np.abs(X) ** power


def shifting(by: float) -> Any:
    class Shift(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
        _by = by

        def fit(self, X: Any, y: Any = None) -> "Shift":
            return self

        def transform(self, X: Any) -> Any:
            return X + self._by

    return Shift()


def projecting(parts: int) -> Any:
    return FunctionTransformer(PCA(parts).fit(X).transform)


def product(X: Any, by: Any) -> Any:
    return X @ by


def scaled(by: float) -> Any:
    return FunctionTransformer(product, kw_args={"by": csr_matrix(by * np.eye(6))})


MAKERS = [lambda power: FunctionTransformer(powered(power)), slow(shifting), slow(projecting), scaled]


@pytest.mark.parametrize("make", MAKERS)
def test_what_only_looks_the_same_once_was_left_out(store: WorkspaceStore, make: Any) -> None:
    step = make(1)
    for one in (step, step, make(3)):
        config = pipelines_of([KFold(3), one, Ridge()])[0].config
        assert not is_whole(config)
        assert json.dumps(config)
    both = pipelines_of([{"_or_": [step, make(3)]}, Ridge()])
    assert both[0].config != both[1].config
    assert [trained(store, [KFold(3), one, Ridge()]) for one in (step, step, make(3))] == [1, 1, 1]


class Table:
    """A function whose values are read after it was made."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def read(self, offset: float) -> "Table":
        self.offset = offset
        return self

    def __call__(self, X: Any) -> Any:
        return self.scale * np.abs(X) ** self.offset


def test_an_object_whose_attributes_were_set_later_once_was_taken_for_another(store: WorkspaceStore) -> None:
    one, other = ([KFold(3), FunctionTransformer(Table().read(offset)), Ridge()] for offset in (1, 3))
    assert [trained(store, config) for config in (one, other)] == [1, 1]
    for kind in ([("a", "i4")], ("i4", 2)):
        assert not is_whole(describe(np.dtype(kind))), "its name would be that of all others of its length"


@pytest.mark.parametrize("operator", [Table(2.0), KFold(3), ShuffleSplit(2), RepeatedKFold(n_splits=2), RBF() + RBF(2)])
def test_an_object_that_keeps_its_parameters_alone_is_known_again(operator: Any) -> None:
    assert is_whole(describe(operator))


@pytest.mark.parametrize(
    "step",
    [
        FunctionTransformer(np.log1p),
        FunctionTransformer(np.nan_to_num),
        make_pipeline(StandardScaler(), PCA(2)),
        ColumnTransformer([("first", StandardScaler(), slice(0, 3))]),
        TransformedTargetRegressor(Ridge()),
        GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=KFold(3)),
    ],
)
def test_what_modules_have_under_its_name_is_known_again(step: Any) -> None:
    assert is_whole(pipelines_of([step, Ridge()])[0].config)


def test_what_a_bundle_says_of_itself_once_counted_as_trained(store: WorkspaceStore, tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "elsewhere") as other:
        found = PipelineRunner(other).run([KFold(3), Ridge()], DATA)
        bundle = other.export_chain(found["chain_id"][0], tmp_path / "model.n4a")
    store.import_bundle(bundle)
    assert trained(store, [KFold(3), Ridge()]) == 1
    assert trained(store, [KFold(3), Ridge()]) == 0


@pytest.mark.parametrize(
    "splitter",
    [KFold(4, shuffle=True), slow(RepeatedKFold(n_splits=4)), ShuffleSplit(3, random_state=np.random.RandomState(1))],
)
def test_pipelines_of_other_folds_once_were_ranked_together(store: WorkspaceStore, splitter: Any) -> None:
    with pytest.raises(InvalidInputError, match="other folds each time"):
        trained(store, [splitter, StandardScaler(), Ridge()])
    assert store.list_runs().is_empty()
    assert PipelineRunner(store).run([splitter, Ridge()], DATA).height


PROGRAM = """
import sys
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import FunctionTransformer
from nirs4all_store import PipelineRunner

class Shift(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self
    def transform(self, X):
        return 2 * X + 1

def half(X):
    return X / 2

X = np.random.default_rng(0).normal(size=(40, 6))
runner = PipelineRunner(sys.argv[1], n_jobs=int(sys.argv[2]))
config = [KFold(3), Shift(), FunctionTransformer(half), Ridge()]
found = runner.run(config, {"X": X, "y": X[:, 0], "X_test": X[:3]}, resume=True)
print(found["chain_id"][0])
"""


@pytest.mark.parametrize("n_jobs", [1, slow(2)])
def test_chains_of_classes_of_a_script_once_did_not_predict_in_another_process(tmp_path: Path, n_jobs: int) -> None:
    chain_id = run(PROGRAM, tmp_path / "w", n_jobs).strip()
    assert run(PROGRAM, tmp_path / "w", n_jobs).strip() != chain_id, "nobody knows whether they are the same classes"
    with WorkspaceStore(tmp_path / "w", read_only=True) as store:
        stored = store.query_predictions(fold_id="final", partition="test")
        stored = stored.filter(chain_id=chain_id)
        expected = store.get_prediction(stored["prediction_id"][0], load_arrays=True)
        np.testing.assert_array_equal(store.replay_chain(chain_id, X[:3]), expected["y_pred"])


def test_what_left_rows_out_before_steps_could_fill_them_is_trained_no_more(store: WorkspaceStore) -> None:
    gaps = X.copy()
    gaps[3, 2] = gaps[7] = np.nan
    y = X[:, 0] + 1
    y[5] = np.nan
    data = {"X": gaps, "y": y}
    before = read_dataset(data).complete
    # As commit d2f5c78 hashed it, which left out all three rows.
    assert before.content_hash == "3acf501d9c89124fabb775b6092a923778975ed570887138d1eb97a368328cf8"
    filled = make_pipeline(SimpleImputer(), Ridge())
    assert trained(store, [{"_or_": [Ridge(), filled]}], before) == 2
    # What fills them was fitted on fewer samples then.
    assert trained(store, [{"_or_": [Ridge(), filled]}], data) == 1
    assert trained(store, [{"_or_": [Ridge(), filled]}], data) == 0
