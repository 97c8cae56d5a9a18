"""No chain is saved whose replay would leave out an artifact that it names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from nirs4all_store import InvalidInputError, InvalidTypeError, WorkspaceStore
from nirs4all_store.chains.plan import plan_replay
from nirs4all_store.testing.contract import add_pipeline

X = np.random.default_rng(0).normal(3, 2, size=(20, 4))
Y = X[:, 0]


def step(idx: int, **more: Any) -> dict[str, Any]:
    return {"step_idx": idx, "operator_class": "o", "params": {}, "artifact_id": None, "stateless": False} | more


@pytest.fixture
def ids(store: WorkspaceStore) -> dict[str, str]:
    """Save a scaler and a model."""
    scaler = StandardScaler().fit(X)
    fitted = {"scaler": scaler, "model": Ridge().fit(scaler.transform(X), Y)}
    return {name: store.save_artifact(obj, name, "x", "joblib") for name, obj in fitted.items()}


def save(store: WorkspaceStore, steps: list[Any], model_idx: int, folds: Any, shared: Any = None) -> str:
    return store.save_chain(add_pipeline(store)[1], steps, model_idx, "Ridge", "", "per_fold", folds, shared or {})


LEFT_OUT = {
    "artifact_ids of a step": lambda a: ([step(0, artifact_ids=[a]), step(1)], 1, {}),
    "another step of the model's index": lambda a: ([step(1, artifact_id=a), step(1)], 1, {}),
    "shared at the model's index": lambda a: ([step(0, stateless=True), step(1)], 1, {"1": a}),
    "a model index that is one too low": lambda a: ([step(0, artifact_id=a), step(1)], 0, {}),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_step_once_was_left_out_of_a_replay(store: WorkspaceStore, ids: dict[str, str], case: str) -> None:
    steps, model_idx, shared = LEFT_OUT[case](ids["scaler"])
    with pytest.raises(InvalidInputError, match=f"would never apply .*{ids['scaler']}"):
        save(store, steps, model_idx, {"0": ids["model"]}, shared)


def test_what_is_applied_is_taken(store: WorkspaceStore, ids: dict[str, str]) -> None:
    expected = store.load_artifact(ids["model"]).predict(store.load_artifact(ids["scaler"]).transform(X))
    by_step = save(store, [step(0, artifact_id=ids["scaler"]), step(1)], 1, {"0": ids["model"]})
    by_shared = save(store, [step(0), step(1)], 1, {"0": ids["model"]}, {"0": ids["scaler"]})
    by_fold = save(store, [step(0), step(1)], 1, {"0": [ids["scaler"], ids["model"]]})
    for chain_id in (by_step, by_shared, by_fold):
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)


def test_folds_that_name_different_numbers_of_artifacts_once_were_averaged(
    store: WorkspaceStore, ids: dict[str, str]
) -> None:
    folds = {"0": [ids["scaler"], ids["model"]], "1": ids["model"]}
    with pytest.raises(InvalidInputError, match="different numbers of artifacts"):
        save(store, [step(0), step(1)], 1, folds)


@pytest.mark.parametrize("value", ["False", 0, 1, "yes"])
def test_stateless_is_true_or_false(store: WorkspaceStore, ids: dict[str, str], value: Any) -> None:
    with pytest.raises(InvalidTypeError, match="stateless"):
        save(store, [step(0, stateless=value), step(1)], 1, {"0": ids["model"]})


@pytest.mark.parametrize("artifact_id", [5, 0, Path("x"), {"a": 1}, [5]])
def test_ids_of_other_types_are_refused(store: WorkspaceStore, ids: dict[str, str], artifact_id: Any) -> None:
    with pytest.raises(InvalidTypeError, match="artifact_id"):
        save(store, [step(0, artifact_id=artifact_id), step(1)], 1, {"0": ids["model"]})
    for folds in ({"_source_map": artifact_id}, {"0": artifact_id}):
        with pytest.raises(InvalidTypeError, match="fold_artifacts"):
            save(store, [step(0)], 0, folds)


def test_sources_that_are_treated_apart_once_were_not_replayed() -> None:
    chain = {
        "chain_id": "c",
        "steps": [step(0), step(1)],
        "model_step_idx": 1,
        "model_class": "m",
        "fold_artifacts": {"0": "m"},
        "shared_artifacts": {"0": ["a", "b"]},
    }
    assert plan_replay(chain).ids == ["a", "b", "m"]
    one = chain["shared_artifacts"] | {"_source_map": {"0": {"0": ["a", "b"]}}}  # type: ignore[operator]
    assert plan_replay(chain | {"shared_artifacts": one}).ids == ["a", "b", "m"]
    two = chain["shared_artifacts"] | {"_source_map": {"0": {"0": ["a"], "1": ["b"]}}}  # type: ignore[operator]
    ways = [{"steps": [(f"step 0 (o), artifact {name}", name)], "source": place} for place, name in enumerate("ab")]
    assert plan_replay(chain | {"shared_artifacts": two}).shared == [("step 0 (o)", {"side_by_side": ways})]
