"""Many predictions at once: from dicts and from polars frames, all of them or none."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nirs4all_store import DuplicateError, InvalidInputError, NotFoundError, WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_pipeline

RNG = np.random.default_rng(0)


def record(**other: Any) -> dict[str, Any]:
    given = {
        "dataset_name": "wheat",
        "model_name": "PLS",
        "model_class": "PLSRegression",
        "fold_id": "0",
        "partition": "val",
        "val_score": 0.5,
        "metric": "rmse",
        "task_type": "regression",
        "n_samples": 4,
        "scores": {"val": {"rmse": 0.5}},
        "best_params": {"n_components": 3},
    }
    return given | other


@pytest.fixture
def pipeline_id(store: WorkspaceStore) -> str:
    return add_pipeline(store)[1]


def test_dicts_come_back_as_if_they_had_been_saved_one_by_one(store: WorkspaceStore, pipeline_id: str) -> None:
    chain_id = add_chain(store, pipeline_id)
    y = RNG.normal(size=(4, 2)).astype(np.float32)
    records = [
        record(chain_id=chain_id, y_true=y, y_pred=y + 1, sample_indices=[3, 1, 2, 0]),
        record(prediction_id="mine", fold_id=1, y_pred=np.array(["hi", "lo"])),
        record(val_score=None),
    ]
    ids = store.save_predictions(pipeline_id, iter(records))
    assert ids[1] == "mine"
    first, second, third = (store.get_prediction(item, load_arrays=True) or {} for item in ids)
    assert first["chain_id"] == chain_id
    assert first["scores"] == {"val": {"rmse": 0.5}}
    assert first["preprocessings"] == ""
    np.testing.assert_array_equal(first["y_pred"], y + 1, strict=True)
    np.testing.assert_array_equal(first["sample_indices"], np.array([3, 1, 2, 0]), strict=True)
    assert (second["fold_id"], second["y_true"], second["y_pred"].tolist()) == ("1", None, ["hi", "lo"])
    assert third["val_score"] is third["y_true"] is None


def test_a_frame_comes_back_with_the_dtypes_of_its_lists(store: WorkspaceStore, pipeline_id: str) -> None:
    y = RNG.normal(size=(3, 4)).astype(np.float32)
    proba = RNG.random(size=(3, 4, 2))
    frame = pl.DataFrame([record(fold_id=str(fold)) for fold in range(3)]).with_columns(
        pl.Series("y_true", y.tolist(), dtype=pl.List(pl.Float32)),
        pl.Series("y_pred", y, dtype=pl.Array(pl.Float32, 4)),
        pl.Series("y_proba", proba.tolist(), dtype=pl.List(pl.List(pl.Float64))),
        pl.Series("sample_indices", [[2, 1, 0, 3], None, [0, 1, 2, 3]], dtype=pl.List(pl.Int16)),
    )
    ids = store.save_predictions(pipeline_id, frame)
    for number, prediction_id in enumerate(ids):
        found = store.get_prediction(prediction_id, load_arrays=True) or {}
        assert (found["fold_id"], found["scores"]) == (str(number), {"val": {"rmse": 0.5}})
        np.testing.assert_array_equal(found["y_true"], y[number], strict=True)
        np.testing.assert_array_equal(found["y_pred"], y[number], strict=True)
        np.testing.assert_array_equal(found["y_proba"], proba[number], strict=True)
        assert (found["sample_indices"] is None) == (number == 1)


def test_the_frame_of_a_query_goes_into_another_workspace(
    store: WorkspaceStore, pipeline_id: str, tmp_path: Path
) -> None:
    ids = store.save_predictions(pipeline_id, [record(), record(scores=None)])
    frame = store.query_predictions().drop("pipeline_id", "created_at", "chain_id")
    with WorkspaceStore(tmp_path / "other") as other:
        assert other.save_predictions(add_pipeline(other)[1], frame) == ids
        ignored = ("pipeline_id", "created_at")
        assert other.query_predictions().drop(ignored).equals(store.query_predictions().drop(ignored))


NONE_OF_THEM: dict[str, tuple[Any, type[Exception], str]] = {
    "an unknown name": ([record(), record(colour="red")], InvalidInputError, r"record 1 has \['colour'\]"),
    "a pipeline of its own": ([record(pipeline_id="p")], InvalidInputError, "record 0 has .*pipeline_id"),
    "no mapping": ([record(), 7], InvalidInputError, "record 1 has 7"),
    "an unknown chain": ([record(), record(chain_id="no")], NotFoundError, "record 1: chains has no 'no'"),
    "an id twice": ([record(prediction_id="a"), record(prediction_id="a")], DuplicateError, "record 1: .*'a'"),
    "a missing name": ([record(), {"fold_id": "0"}], InvalidInputError, "record 1: predictions.dataset_name"),
    "unequal arrays": ([record(y_true=[1.0], y_pred=[1.0, 2.0])], InvalidInputError, "record 0: .*differ in length"),
    "one dict": (record(), TypeError, "list of dicts"),
    "a number": (7, TypeError, "list of dicts"),
    "no JSON": (pl.DataFrame([record(scores="{")]), InvalidInputError, "record 0: scores is no JSON"),
    "ragged rows": (
        pl.DataFrame([record(y_proba=[[0.1, 0.9], [1.0]])]),
        InvalidInputError,
        "record 0: y_proba is ragged",
    ),
}


@pytest.mark.parametrize("name", NONE_OF_THEM)
def test_all_are_kept_or_none(store: WorkspaceStore, pipeline_id: str, name: str) -> None:
    records, error, message = NONE_OF_THEM[name]
    with pytest.raises(error, match=message):
        store.save_predictions(pipeline_id, records)
    assert store.query_predictions().is_empty()


def test_an_unknown_pipeline_is_told_also_when_there_is_nothing_to_save(store: WorkspaceStore) -> None:
    with pytest.raises(NotFoundError, match="'no'"):
        store.save_predictions("no", [])


def test_what_fails_inside_a_transaction_undoes_the_transaction(store: WorkspaceStore, pipeline_id: str) -> None:
    aborted = pytest.raises(RuntimeError, match="nothing of this transaction")
    with aborted, store.transaction(), pytest.raises(InvalidInputError):
        store.save_predictions(pipeline_id, [record(), record(colour="red")])
    assert store.query_predictions().is_empty()
