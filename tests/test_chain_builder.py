from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from nirs4all_store import ChainBuilder, ExecutionStep, ExecutionTrace, InvalidInputError, StepArtifacts


def step(idx: int, name: str, ids: list[str] | None = None, **more: Any) -> ExecutionStep:
    return ExecutionStep(idx, name, artifacts=StepArtifacts(ids or []), **more)


def model(idx: int, folds: dict[Any, Any], **more: Any) -> ExecutionStep:
    artifacts = StepArtifacts(fold_artifact_ids=folds)
    return ExecutionStep(idx, "PLS", {"model": {"class": "PLS"}}, artifacts=artifacts, **more)


def test_a_trace_becomes_the_arguments_of_save_chain() -> None:
    steps = [
        step(0, "KFold"), step(1, "SNV", ["snv"], operator_config={"a": 1}),
        step(2, "Skipped", ["x"], execution_mode="skip"),
        model(3, {0: "m0", 1: "m1"}), step(4, "After", ["late"]),
    ]  # fmt: skip
    chain = ChainBuilder(ExecutionTrace(steps, 3, "SNV")).build()
    assert chain == {
        "steps": [
            {"step_idx": 0, "operator_class": "KFold", "params": {}, "artifact_id": None, "stateless": True},
            {"step_idx": 1, "operator_class": "SNV", "params": {"a": 1}, "artifact_id": "snv", "stateless": False},
            {"step_idx": 3, "operator_class": "PLS", "params": {"model": {"class": "PLS"}}, "artifact_id": None,
             "stateless": False},
        ],
        "model_step_idx": 3, "model_class": "PLS", "preprocessings": "SNV", "fold_strategy": "per_fold",
        "fold_artifacts": {"fold_0": "m0", "fold_1": "m1"}, "shared_artifacts": {"1": "snv"}, "branch_path": None,
        "source_index": None,
    }  # fmt: skip


def test_from_the_first_step_fitted_per_fold_on_everything_is_in_the_folds_lists() -> None:
    steps = [
        step(0, "SNV", ["snv"]),
        ExecutionStep(1, "Scaler", artifacts=StepArtifacts(fold_artifact_ids={"0": "s0", "1": "s1"})),
        step(2, "Derivative", ["d"]),
        model(3, {"fold_0": "m0", "fold_1": "m1"}),
    ]
    chain = ChainBuilder(ExecutionTrace(steps, 3)).build()
    assert chain["shared_artifacts"] == {"0": "snv"}
    assert chain["fold_artifacts"] == {"fold_0": ["s0", "d", "m0"], "fold_1": ["s1", "d", "m1"]}


def test_a_model_takes_the_steps_of_its_own_branch() -> None:
    steps = [
        step(0, "SNV", ["all"]),
        step(1, "A", ["a"], branch_path=[0]),
        step(1, "B", ["b1", "b2"], branch_path=[1]),
        model(2, {0: "ma"}, branch_path=[0]),
        model(2, {0: "mb"}, branch_path=[1]),
    ]
    first, second = ChainBuilder(ExecutionTrace(steps, None)).build_all()
    assert (first["shared_artifacts"], first["branch_path"]) == ({"0": "all", "1": "a"}, [0])
    assert (second["shared_artifacts"], second["branch_path"]) == ({"0": "all", "1": ["b1", "b2"]}, [1])
    assert second["fold_artifacts"] == {"fold_0": "mb"}


def test_there_is_one_chain_for_each_model_and_build_gives_the_main_one() -> None:
    steps = [step(0, "SNV", ["snv"]), model(1, {0: "p"}), model(2, {0: "r"})]
    chains = ChainBuilder(ExecutionTrace(steps, 1)).build_all()
    assert [chain["model_step_idx"] for chain in chains] == [1, 2]
    assert [[item["step_idx"] for item in chain["steps"]] for chain in chains] == [[0, 1], [0, 2]]
    assert ChainBuilder(ExecutionTrace(steps, 1)).build()["fold_artifacts"] == {"fold_0": "p"}
    assert ChainBuilder(ExecutionTrace(steps)).build()["fold_artifacts"] == {"fold_0": "r"}


def test_sources_and_steps_that_share_an_index_are_kept() -> None:
    by_source = {0: ["s0"], 1: ["s1"]}
    steps = [
        ExecutionStep(0, "Scaler", artifacts=StepArtifacts(["s0", "s1"], by_source=by_source)),
        step(0, "More", ["m"]),
        model(1, {"final": "m0"}),
    ]
    chain = ChainBuilder(ExecutionTrace(steps, 1)).build()
    assert chain["shared_artifacts"] == {"0": ["s0", "s1", "m"], "_source_map": {"0": {"0": ["s0"], "1": ["s1"]}}}
    assert chain["fold_artifacts"] == {"fold_final": "m0"}


def test_a_model_for_all_data_is_the_only_fold() -> None:
    artifacts = StepArtifacts(["m"], "m")
    chain = ChainBuilder(ExecutionTrace([ExecutionStep(0, "PLS", artifacts=artifacts)], 0)).build()
    assert (chain["fold_artifacts"], chain["fold_strategy"]) == ({"fold_all": "m"}, "shared")


def test_traces_of_nirs4all_are_read_by_attribute() -> None:
    mode = Enum("mode", {"TRAIN": "train", "SKIP": "skip"})

    def theirs(idx: int, mode: Enum, ids: list[str], folds: dict[int, str]) -> SimpleNamespace:
        artifacts = SimpleNamespace(artifact_ids=ids, primary_artifact_id=None, fold_artifact_ids=folds, by_source={})
        return SimpleNamespace(step_index=idx, operator_class="O", operator_config=None, execution_mode=mode,
                               branch_path=None, artifacts=artifacts)  # fmt: skip

    steps = [
        theirs(1, mode.TRAIN, ["a"], {}),
        theirs(2, mode.SKIP, ["b"], {}),
        theirs(3, mode.TRAIN, ["c", "d"], {0: "c", 1: "d"}),
    ]
    trace = SimpleNamespace(steps=steps, model_step_index=3, preprocessing_chain=None)
    chain = ChainBuilder(trace, artifact_registry=object()).build()
    assert chain["shared_artifacts"] == {"1": "a"}
    assert chain["fold_artifacts"] == {"fold_0": "c", "fold_1": "d"}
    assert chain["preprocessings"] == ""


@pytest.mark.parametrize(
    ("steps", "main", "message"),
    [
        ([step(0, "SNV", ["a"])], None, "no model step"),
        ([model(0, {0: "m"})], 7, "no model step 7"),
        ([step(1, "PLS")], 1, "has no artifact"),
        (
            [ExecutionStep(0, "S", artifacts=StepArtifacts(fold_artifact_ids={0: "s"})), model(1, {0: "a", 1: "b"})],
            1,
            r"step 0 \(S\) was fitted on folds",
        ),
    ],
)
def test_a_trace_that_makes_no_chain_is_refused(steps: list[ExecutionStep], main: int | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ChainBuilder(ExecutionTrace(steps, main)).build()
