"""What each run takes: rows, files of its own, and files that other runs use, too."""

import numpy as np
import pytest

from nirs4all_store import InvalidInputError, WorkspaceStore
from nirs4all_store.storage import Tables
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction


def usage(store: WorkspaceStore, by: str = "run") -> dict[str, tuple[int, ...]]:
    found = store.usage(by)
    return {row[0]: tuple(row[-6:]) for row in found.iter_rows()}


def sizes(store: WorkspaceStore) -> dict[str, int]:
    with store.unit_of_work() as uow:
        return {row["artifact_id"]: row["size_bytes"] for row in uow.artifacts.all()}


def test_files_of_several_runs_are_shared_and_go_with_none_of_them(store: WorkspaceStore) -> None:
    runs = [add_pipeline(store, name) for name in ("wheat", "wheat", "maize")]
    for (_, pipeline_id), components in zip(runs, (2, 3, 2), strict=True):
        chain_id = add_chain(store, pipeline_id, components)
        add_prediction(store, pipeline_id, chain_id=chain_id)
    empty = store.begin_run("empty")
    size = sizes(store)
    with store.unit_of_work() as uow:
        users = uow.chains.uses().users
    assert len(size) == 5, "one scaler for all, and two models of 2 and two of 3 components"
    only = sum(size[item] for item, chains in users.items() if len(chains) == 1)
    scaler = next(size[item] for item, chains in users.items() if len(chains) == 3)
    twice = sum(size[item] for item, chains in users.items() if len(chains) == 2)
    assert usage(store) == {
        runs[0][0]: (1, 1, 1, 3, 0, twice + scaler),
        runs[1][0]: (1, 1, 1, 3, only, scaler),
        runs[2][0]: (1, 1, 1, 3, 0, twice + scaler),
        empty: (0, 0, 0, 0, 0, 0),
    }
    assert store.usage()["run_id"][0] == runs[1][0], "what takes most comes first"
    assert usage(store, "dataset") == {
        "wheat": (2, 2, 2, 5, only, twice + scaler),
        "maize": (1, 1, 1, 3, 0, twice + scaler),
    }
    store.delete_run(runs[1][0])
    assert sum(sizes(store).values()) == sum(size.values()) - only, "own bytes go with their run"


def test_objects_are_found_wherever_a_chain_names_them(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    ids = [store.save_artifact({"a": number}, "dict", "other", "pickle") for number in range(8)]
    steps = [{"step_idx": 0, "operator_class": "A", "artifact_id": ids[0]}, {"step_idx": 1, "operator_class": "B"}]
    steps[1]["artifact_ids"] = [ids[1]]
    store.save_chain(pipeline_id, steps, 1, "B", "", "none", {"0": [ids[2], ids[3]]}, {"0": ids[4]})
    store.save_chain(pipeline_id, steps[1:], 1, "B", "", "none", {}, {}, attachments={"domain": ids[5]})
    size = sizes(store)
    with store.unit_of_work() as uow:
        assert set(uow.chains.uses().users) == {*ids[:6]}
    assert usage(store)[run_id] == (1, 2, 0, 6, sum(size[item] for item in ids[:6]), 0)


def test_samples_of_a_dataset_belong_to_the_runs_that_were_trained_on_it(store: WorkspaceStore) -> None:
    X = np.arange(12.0).reshape(6, 2)
    dataset_id = store.save_dataset({"X": X, "y": X[:, 0], "name": "wheat"})
    run_id = store.begin_run("run")
    store.begin_pipeline(run_id, "p", {}, [], "wheat", "hash", dataset_id=dataset_id)
    (size,) = sizes(store).values()
    assert usage(store)[run_id] == (1, 0, 0, 1, size, 0)


def test_what_nobody_can_sum_up_by_is_refused_and_no_chain_is_decoded(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pipeline(store)
    with pytest.raises(InvalidInputError, match="by is 'pipeline'; give one of run, dataset"):
        store.usage("pipeline")
    monkeypatch.setattr(Tables, "rows", None)
    assert store.usage().height == 1
