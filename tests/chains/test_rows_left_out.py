"""A prediction for each row: a step or model that leaves rows out, or gives no y, is refused by name."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import run_script
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from nirs4all_store import (
    ChainInputError,
    ChainReplayError,
    PipelineRunner,
    TrainingFailedError,
    WorkspaceStore,
    load_bundle,
)
from nirs4all_store.chains.estimator import as_estimator
from nirs4all_store.chains.fitted import FittedChain
from nirs4all_store.testing.contract import add_pipeline

X = np.random.default_rng(0).normal(size=(12, 4))
Y = X[:, 0]


def filtering() -> Any:
    """Return a step that leaves out the first row, as one that removes outliers does."""
    return FunctionTransformer(np.delete, kw_args={"obj": 0, "axis": 0}).fit(X)


def repeating() -> Any:
    return FunctionTransformer(np.repeat, kw_args={"repeats": 2, "axis": 0}).fit(X)


def saved(store: WorkspaceStore, step: Any, model: Any) -> str:
    _, pipeline_id = add_pipeline(store)
    step_id = store.save_artifact(step, "Filter", "transformer", "joblib")
    model_id = store.save_artifact(model, "Model", "model", "joblib")
    names = ("Filter", "Model")
    steps = [
        {"step_idx": i, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False}
        for i, name in enumerate(names)
    ]
    return store.save_chain(pipeline_id, steps, 1, "Model", "", "per_fold", {"0": [model_id]}, {"0": step_id})


LEAVE_ROWS_OUT = {
    "a step": lambda: (filtering(), Ridge().fit(X, Y), "Filter"),
    "a step that repeats": lambda: (repeating(), Ridge().fit(X, Y), "Filter"),
    "a model": lambda: (StandardScaler().fit(X), make_pipeline(filtering(), Ridge().fit(X, Y)), "Model"),
}


@pytest.mark.parametrize("kind", LEAVE_ROWS_OUT)
def test_a_step_that_left_rows_out_once_gave_fewer_predictions_than_rows(
    store: WorkspaceStore, tmp_path: Path, kind: str
) -> None:
    step, model, named = LEAVE_ROWS_OUT[kind]()
    chain_id = saved(store, step, model)
    bundle = load_bundle(store.export_chain(chain_id, tmp_path / "model.n4a"), trusted=True)
    for predict in (
        lambda: store.replay_chain(chain_id, X),
        lambda: store.load_chain(chain_id).predict(X),
        lambda: bundle.predict(X),
    ):
        with pytest.raises(ChainReplayError, match=rf"{named}.* for 12 rows of X.*leave this step out") as refused:
            predict()
        assert not isinstance(refused.value, ChainInputError)  # It is not X that is wrong.
    script = store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py")
    np.savetxt(tmp_path / "X.csv", X, delimiter=",")
    done = run_script(script, tmp_path / "X.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"^cannot predict: .*{named}.* for 12 rows of X", done.stderr)


def test_the_runner_refuses_a_step_that_leaves_rows_out(store: WorkspaceStore) -> None:
    with pytest.raises(TrainingFailedError):
        PipelineRunner(store).run([filtering(), Ridge()], (X, Y))
    assert "OutputError: step 1 (FunctionTransformer) gave an array of shape" in store.list_pipelines()["error"][0]


class Gives:
    """A model that predicts whatever it is told."""

    def __init__(self, y: Any, proba: Any = None) -> None:
        self.y = y
        self.classes_ = np.arange(2)
        if proba is not None:
            self.predict_proba = lambda X: proba

    def predict(self, X: Any) -> Any:
        return self.y


def of(model: Any) -> Any:
    return as_estimator(FittedChain("the chain", [], {"0": [("the model", model)]}))


@pytest.mark.parametrize(
    "y",
    [
        np.float64(1),
        np.zeros((12, 2, 2)),
        np.zeros((1, 12)),
        np.zeros(11),
        np.zeros((12, 0)),
        [],
        [[1, 2], [3]],
        None,
        [np.zeros((12, 1)), np.zeros((12, 2))],
    ],
    ids=repr,
)
def test_what_no_y_looks_like_was_given_as_predictions(y: Any) -> None:
    with pytest.raises(ChainReplayError, match=r"the chain: the model of fold 0 (gave|predicted)"):
        of(Gives(y)).predict(X)


@pytest.mark.parametrize(
    "proba",
    [
        np.zeros((11, 2)),
        [np.zeros((12, 2)), np.zeros((11, 2))],
        np.zeros((3, 5, 2)),
        np.float64(0),
        [],
        None.__class__,
    ],
    ids=repr,
)
def test_probabilities_of_another_number_of_rows_are_refused(proba: Any) -> None:
    with pytest.raises(ChainReplayError, match="the model of fold 0 gave"):
        of(Gives(np.zeros(12), proba)).predict_proba(X)


def test_what_is_sparse_is_predicted_as_numbers() -> None:
    labels = np.stack([Y > 0, X[:, 1] > 0], axis=1).astype(int)
    model = OneVsRestClassifier(LogisticRegression()).fit(X, csr_matrix(labels))
    assert not isinstance(model.predict(X), np.ndarray)
    np.testing.assert_array_equal(of(model).predict(X), model.predict(X).toarray())
