from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nirs4all_store import ChainBuilder, ExecutionStep, ExecutionTrace, InvalidInputError, StepArtifacts, WorkspaceStore
from nirs4all_store.testing.contract import add_pipeline


def step(idx: int, name: str, ids: list[str] | None = None, **more: Any) -> ExecutionStep:
    return ExecutionStep(idx, name, artifacts=StepArtifacts(ids or []), **more)


def model(idx: int, folds: dict[Any, Any], **more: Any) -> ExecutionStep:
    artifacts = StepArtifacts(fold_artifact_ids=folds)
    return ExecutionStep(idx, "PLS", {"model": {"class": "PLS"}}, artifacts=artifacts, **more)


def test_a_trace_becomes_the_arguments_of_save_chain() -> None:
    steps = [
        step(0, "KFold"),
        step(1, "SNV", ["snv"], operator_config={"a": 1}),
        step(2, "Skipped", ["x"], execution_mode="skip"),
        model(3, {0: "m0", 1: "m1"}),
        step(4, "After", ["late"]),
    ]
    chain = ChainBuilder(ExecutionTrace(steps, 3, "SNV")).build()
    assert chain == {
        "steps": [
            {"step_idx": 0, "operator_class": "KFold", "params": {}, "artifact_id": None, "stateless": True},
            {"step_idx": 1, "operator_class": "SNV", "params": {"a": 1}, "artifact_id": "snv", "stateless": False},
            {
                "step_idx": 3,
                "operator_class": "PLS",
                "params": {"model": {"class": "PLS"}},
                "artifact_id": None,
                "stateless": False,
            },
        ],
        "model_step_idx": 3,
        "model_class": "PLS",
        "preprocessings": "SNV",
        "fold_strategy": "per_fold",
        "fold_artifacts": {"fold_0": "m0", "fold_1": "m1"},
        "shared_artifacts": {"1": "snv"},
        "branch_path": None,
        "source_index": None,
    }


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
        return SimpleNamespace(
            step_index=idx,
            operator_class="O",
            operator_config=None,
            execution_mode=mode,
            branch_path=None,
            artifacts=artifacts,
        )

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


def per_fold(idx: int, folds: dict[Any, Any], **more: Any) -> ExecutionStep:
    return ExecutionStep(idx, f"Scaler{idx}", artifacts=StepArtifacts(fold_artifact_ids=folds), **more)


def indices(chain: dict[str, Any]) -> list[int]:
    return [item["step_idx"] for item in chain["steps"]]


@pytest.mark.parametrize(
    ("path", "taken"),
    [([], True), ([0], True), ([0, 2], True), ([0, 2, 1], False), ([1], False), ([0, 1], False), ([2], False)],
)
def test_a_step_belongs_to_a_model_when_its_branch_path_is_empty_or_a_prefix(path: list[int], taken: bool) -> None:
    steps = [step(0, "SNV", ["a"], branch_path=path), model(1, {0: "m"}, branch_path=[0, 2])]
    chain = ChainBuilder(ExecutionTrace(steps, 1)).build()
    assert chain["shared_artifacts"] == ({"0": "a"} if taken else {})
    assert indices(chain) == ([0, 1] if taken else [1])
    assert chain["branch_path"] == [0, 2]


def test_a_model_outside_of_branches_takes_nothing_of_a_branch() -> None:
    steps = [step(0, "SNV", ["all"]), step(1, "A", ["a"], branch_path=[0]), step(1, "B", ["b"], branch_path=[1])]
    chain = ChainBuilder(ExecutionTrace([*steps, model(2, {0: "m"})], 2)).build()
    assert chain["shared_artifacts"] == {"0": "all"}
    assert indices(chain) == [0, 2]


def test_a_skipped_model_makes_no_chain_and_a_predicting_step_is_kept() -> None:
    steps = [
        step(0, "SNV", ["a"], execution_mode="predict"),
        model(1, {0: "m1"}, execution_mode="skip"),
        model(2, {0: "m2"}),
    ]
    assert [chain["model_step_idx"] for chain in ChainBuilder(ExecutionTrace(steps)).build_all()] == [2]
    assert ChainBuilder(ExecutionTrace(steps, 2)).build()["shared_artifacts"] == {"0": "a"}
    with pytest.raises(InvalidInputError, match="no model step 1"):
        ChainBuilder(ExecutionTrace(steps, 1)).build()


def test_a_skipped_step_leaves_neither_step_nor_artifact_nor_source() -> None:
    artifacts = StepArtifacts(["a", "b"], by_source={0: ["a"], 1: ["b"]})
    steps = [ExecutionStep(0, "SNV", execution_mode="skip", artifacts=artifacts), model(1, {0: "m"})]
    chain = ChainBuilder(ExecutionTrace(steps, 1)).build()
    assert (indices(chain), chain["shared_artifacts"]) == ([1], {})


def test_build_all_gives_a_chain_a_model_and_no_model_is_a_step_of_another() -> None:
    steps = [
        step(0, "SNV", ["snv"]),
        model(1, {0: "m1"}),
        step(2, "Derivative", ["d"]),
        model(3, {0: "m3"}),
        model(4, {"all": "m4"}),
    ]
    chains = ChainBuilder(ExecutionTrace(steps, 3)).build_all()
    assert [indices(chain) for chain in chains] == [[0, 1], [0, 2, 3], [0, 2, 4]]
    assert [chain["fold_artifacts"] for chain in chains] == [{"fold_0": "m1"}, {"fold_0": "m3"}, {"fold_all": "m4"}]
    assert ChainBuilder(ExecutionTrace(steps, 3)).build() == chains[1]


def test_without_a_word_about_models_those_with_folds_are_the_models() -> None:
    steps = [step(0, "SNV", ["a"]), per_fold(1, {0: "m0", 1: "m1"}), per_fold(2, {0: "n0"})]
    chains = ChainBuilder(ExecutionTrace(steps)).build_all()
    assert [chain["model_step_idx"] for chain in chains] == [1, 2]
    assert [chain["shared_artifacts"] for chain in chains] == [{"0": "a"}, {"0": "a"}]


def test_what_is_fitted_per_fold_comes_before_the_model_in_step_order() -> None:
    steps = [
        per_fold(0, {0: "a0", 1: "a1"}),
        step(1, "Shared", ["s", "t"]),
        per_fold(2, {"fold_1": ["c1", "d1"], "fold_0": "c0"}),
        step(3, "Splitter"),
        model(4, {0: "m0", "1": ["n1", "m1"]}),
    ]
    chain = ChainBuilder(ExecutionTrace(steps, 4)).build()
    assert chain["shared_artifacts"] == {}
    assert chain["fold_artifacts"] == {
        "fold_0": ["a0", "s", "t", "c0", "m0"],
        "fold_1": ["a1", "s", "t", "c1", "d1", "n1", "m1"],
    }
    assert [item["artifact_id"] for item in chain["steps"]] == [None] * 5
    assert [item["stateless"] for item in chain["steps"]] == [False, False, False, True, False]


def test_steps_of_one_index_keep_their_order_and_their_own_line() -> None:
    steps = [step(0, "A", ["a"]), step(0, "B", ["b1", "b2"]), step(0, "C", ["c"]), model(1, {0: "m"})]
    chain = ChainBuilder(ExecutionTrace(steps, 1)).build()
    assert chain["shared_artifacts"] == {"0": ["a", "b1", "b2", "c"]}
    assert [(item["operator_class"], item["artifact_id"]) for item in chain["steps"]] == [
        ("A", "a"),
        ("B", None),
        ("C", "c"),
        ("PLS", None),
    ]


def test_only_several_sources_make_a_source_map() -> None:
    one = ExecutionStep(0, "A", artifacts=StepArtifacts(["a"], by_source={0: ["a"]}))
    two = ExecutionStep(2, "B", artifacts=StepArtifacts(["b", "c", "d"], by_source={0: ["b"], 1: ["c", "d"]}))
    chain = ChainBuilder(ExecutionTrace([one, model(3, {0: "m"})], 3)).build()
    assert chain["shared_artifacts"] == {"0": "a"}
    chain = ChainBuilder(ExecutionTrace([one, two, model(3, {0: "m"})], 3)).build()
    assert chain["shared_artifacts"] == {
        "0": "a",
        "2": ["b", "c", "d"],
        "_source_map": {"2": {"0": ["b"], "1": ["c", "d"]}},
    }


def test_building_changes_nothing_of_the_trace_and_gives_the_same_again() -> None:
    steps = [per_fold(0, {0: ["a", "b"]}), step(1, "S", ["s"], branch_path=[0]), model(2, {0: ["m"]}, branch_path=[0])]
    builder = ChainBuilder(ExecutionTrace(steps, 2))
    first = builder.build()
    for value in (first["fold_artifacts"]["fold_0"], first["branch_path"], first["steps"]):
        value.clear()
    again = builder.build()
    assert again["fold_artifacts"] == {"fold_0": ["a", "b", "s", "m"]}
    assert (again["branch_path"], indices(again)) == ([0], [0, 1, 2])


@pytest.mark.parametrize("folds", [{0: "s0"}, {0: "s0", 1: "s1", 2: "s2"}, {"all": "s"}])
def test_a_step_fitted_on_other_folds_than_its_model_is_refused(folds: dict[Any, str]) -> None:
    steps = [per_fold(3, folds), model(4, {0: "a", 1: "b"})]
    with pytest.raises(InvalidInputError, match=r"step 3 \(Scaler3\) was fitted on folds"):
        ChainBuilder(ExecutionTrace(steps, 4)).build_all()


def test_two_names_of_one_fold_are_refused_and_not_dropped() -> None:
    with pytest.raises(InvalidInputError, match="fold_0"):
        ChainBuilder(ExecutionTrace([model(0, {0: "a", "fold_0": "b"})], 0)).build()


def test_an_empty_trace_has_no_model() -> None:
    for call in (ChainBuilder(ExecutionTrace()).build, ChainBuilder(ExecutionTrace()).build_all):
        with pytest.raises(InvalidInputError, match="no model step"):
            call()


def test_what_is_built_is_taken_by_save_chain_and_predicts(store: WorkspaceStore) -> None:
    X = np.random.default_rng(0).normal(size=(30, 4))
    y = X[:, 0] + 2 * X[:, 1]
    parts = np.array_split(np.arange(30), 2)
    first = StandardScaler().fit(X)
    Z = first.transform(X)
    scalers = [StandardScaler().fit(Z[part]) for part in parts]
    models = [Ridge().fit(scaler.transform(Z[part]), y[part]) for scaler, part in zip(scalers, parts, strict=True)]

    def saved(fitted: Any, kind: str) -> str:
        return store.save_artifact(fitted, type(fitted).__name__, kind, "joblib")

    steps = [
        step(0, "StandardScaler", [saved(first, "transformer")]),
        step(1, "KFold"),
        per_fold(2, {fold: saved(scaler, "transformer") for fold, scaler in enumerate(scalers)}),
        model(3, {fold: saved(fitted, "model") for fold, fitted in enumerate(models)}),
    ]
    run_id = store.begin_run("r", {}, [{"name": "d"}])
    pipeline_id = store.begin_pipeline(run_id, "p", {}, [], "d", "")
    chain_id = store.save_chain(pipeline_id, **ChainBuilder(ExecutionTrace(steps, 3)).build())
    expected = [fitted.predict(scaler.transform(Z)) for scaler, fitted in zip(scalers, models, strict=True)]
    np.testing.assert_allclose(store.replay_chain(chain_id, X), np.mean(expected, axis=0))


def test_a_step_that_names_its_artifact_by_source_only_once_was_taken_for_stateless() -> None:
    scaler = ExecutionStep(0, "Scaler", artifacts=StepArtifacts(by_source={0: ["s"]}))
    chain = ChainBuilder(ExecutionTrace([scaler, model(1, {0: "m"})], 1)).build()
    assert chain["shared_artifacts"] == {"0": "s"}
    assert chain["steps"][0]["stateless"] is False


def test_a_primary_artifact_that_is_not_among_the_others_once_made_a_chain_that_could_not_replay() -> None:
    scaler = ExecutionStep(0, "Scaler", artifacts=StepArtifacts(["s"], primary_artifact_id="other"))
    chain = ChainBuilder(ExecutionTrace([scaler, model(1, {0: "m"})], 1)).build()
    assert (chain["shared_artifacts"], chain["steps"][0]["artifact_id"]) == ({"0": "s"}, "s")


def test_a_step_with_the_index_of_its_model_once_was_dropped() -> None:
    with pytest.raises(InvalidInputError, match=r"step 1 \(Scaler\) has the index of its model"):
        ChainBuilder(ExecutionTrace([step(1, "Scaler", ["s"]), model(1, {0: "m"})], None)).build()
    ChainBuilder(ExecutionTrace([step(1, "Scaler", ["s"], branch_path=[1]), model(1, {0: "m"})], None)).build()


def test_a_fold_without_a_model_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no artifact for \['fold_0'\]"):
        ChainBuilder(ExecutionTrace([model(1, {0: [], 1: "m"})], 1)).build()


X = np.random.default_rng(5).normal(size=(30, 6))
Y = X @ np.arange(6.0) + 40


def replayed(store: WorkspaceStore, steps: list[tuple[int, dict[str, Any], list[int], list[Any]]]) -> Any:
    """Predict with a chain that is built of steps: index, configuration, branch path, fitted objects."""
    _, pipeline_id = add_pipeline(store)
    trace = ExecutionTrace()
    for index, config, path, fitted in steps:
        ids = [store.save_artifact(one, type(one).__name__, "model" if "model" in config else "o") for one in fitted]
        trace.steps.append(ExecutionStep(index, "op", config, "train", path, StepArtifacts(ids)))
    chain_id = store.save_chain(pipeline_id, **ChainBuilder(trace).build())
    return store.replay_chain(chain_id, X)


def test_a_scaler_of_y_is_inverted_and_not_applied_to_x(store: WorkspaceStore) -> None:
    scaler, of_y = StandardScaler().fit(X), MinMaxScaler().fit(Y[:, None])
    model = Ridge().fit(scaler.transform(X), of_y.transform(Y[:, None])[:, 0])
    of_target = {"y_processing": "MinMaxScaler"}
    steps = [(1, {}, [], [scaler]), (2, of_target, [], [of_y]), (3, {"model": "Ridge"}, [], [model])]
    expected = of_y.inverse_transform(model.predict(scaler.transform(X))[:, None])[:, 0]
    np.testing.assert_allclose(replayed(store, steps), expected)


def test_augmented_features_stand_beside_x(store: WorkspaceStore) -> None:
    ways = [StandardScaler().fit(X), MinMaxScaler().fit(X)]
    seen = np.hstack([X, *(one.transform(X) for one in ways)])
    model = Ridge().fit(seen, Y)
    augmentation = {"feature_augmentation": ["StandardScaler", "MinMaxScaler"]}
    found = replayed(store, [(1, augmentation, [], ways), (2, {"model": "Ridge"}, [], [model])])
    np.testing.assert_allclose(found, model.predict(seen))


def test_merged_branches_stand_side_by_side(store: WorkspaceStore) -> None:
    scaler, other = StandardScaler().fit(X), MinMaxScaler().fit(X)
    few = PCA(2).fit(scaler.transform(X))
    seen = np.hstack([few.transform(scaler.transform(X)), other.transform(X)])
    model = Ridge().fit(seen, Y)
    branches = [(1, {}, [0], [scaler]), (1, {}, [0], [few]), (1, {}, [1], [other])]
    found = replayed(store, [*branches, (2, {"merge": "features"}, [], []), (3, {"model": "Ridge"}, [], [model])])
    np.testing.assert_allclose(found, model.predict(seen))


def test_ways_side_by_side_that_are_fitted_per_fold_are_refused() -> None:
    steps = [
        ExecutionStep(1, "SNV", {}, artifacts=StepArtifacts(fold_artifact_ids={0: "s"})),
        ExecutionStep(2, "Scaler", {"y_processing": "Scaler"}, artifacts=StepArtifacts(["y"])),
        ExecutionStep(3, "Ridge", {"model": "Ridge"}, artifacts=StepArtifacts(fold_artifact_ids={0: "m"})),
    ]
    with pytest.raises(InvalidInputError, match="SNV is fitted per fold"):
        ChainBuilder(ExecutionTrace(steps)).build()
