"""Properties of the repositories, over any values."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anything import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import text

from nirs4all_store import ChainRecord, InvalidInputError, InvalidTypeError, UnitOfWork, WorkspaceStore
from nirs4all_store.testing.contract import add_pipeline

NOW = timedelta(0)
FAST = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
CHARACTERS = st.characters(exclude_categories=["Cs"])
NUMBERS = (
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?")
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.boolean_dtypes()
)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4)
LARGE = hnp.arrays(np.int64, SHAPES, elements=st.integers(2**53 + 1, 2**63 - 1))
ARRAYS = (
    LARGE
    | hnp.arrays(NUMBERS, SHAPES)
    | hnp.arrays(np.dtype("U5"), SHAPES, elements=hnp.from_dtype(np.dtype("U5"), alphabet=CHARACTERS))
)


@pytest.fixture
def uow(tmp_path: Path) -> Iterator[UnitOfWork]:
    """Give a unit of work with a pipeline in it; nothing of it is ever committed."""
    with WorkspaceStore(tmp_path) as store, store.unit_of_work() as uow:
        uow.pipeline_id = add_pipeline(store)[1]  # type: ignore[attr-defined]
        yield uow


def add(uow: UnitOfWork, **values: Any) -> str:
    row = {
        "dataset_name": "d",
        "model_name": "m",
        "model_class": "m",
        "fold_id": "0",
        "partition": "val",
        "metric": "rmse",
        "task_type": "regression",
    } | values
    return uow.predictions.add_many(uow.pipeline_id, [row])[0]  # type: ignore[attr-defined]


@FAST
@given(y=ARRAYS)
def test_arrays_of_every_dtype_and_shape_come_back_equal(uow: UnitOfWork, y: np.ndarray[Any, Any]) -> None:
    prediction_id = add(uow)
    uow.predictions.add_arrays(prediction_id, y, y, y, y, y)
    found = uow.predictions.get(prediction_id, load_arrays=True)
    assert found is not None
    for name in ("y_true", "y_pred", "y_proba", "sample_indices", "weights"):
        assert found[name].dtype == y.dtype
        assert found[name].shape == y.shape
        np.testing.assert_array_equal(found[name], y)


@FAST
@given(config=st.dictionaries(TEXT, JSON, max_size=4), name=TEXT)
def test_json_and_names_come_back_equal(uow: UnitOfWork, config: dict[str, Any], name: str) -> None:
    run_id = uow.runs.add(name, config, [{"name": name, "more": config}])
    run = uow.runs.get(run_id)
    assert run is not None
    assert (run["name"], run["config"], run["datasets"]) == (name, config, [{"name": name, "more": config}])
    assert run_id in uow.runs.list(dataset=name, limit=None)["run_id"].to_list()


@FAST
@given(scores=st.lists(st.none() | st.floats(), max_size=12), ascending=st.booleans(), n=st.integers(0, 6))
def test_rank_order_equals_a_plain_sort(uow: UnitOfWork, scores: list[float | None], ascending: bool, n: int) -> None:
    uow.predictions.delete_of_pipelines([uow.pipeline_id])  # type: ignore[attr-defined]
    rows = [(score, add(uow, val_score=score)) for score in scores]
    ranked = [(score, key) for score, key in rows if score is not None]
    ranked.sort(key=lambda row: (1, 0, row[1]) if math.isnan(row[0]) else (0, row[0] if ascending else -row[0], row[1]))
    found = uow.predictions.top(n, ascending=ascending)
    assert found["prediction_id"].to_list() == [key for _, key in ranked][:n]


@FAST
@given(names=st.lists(TEXT, min_size=1, max_size=5), wanted=TEXT)
def test_filters_match_exactly(uow: UnitOfWork, names: list[str], wanted: str) -> None:
    uow.predictions.delete_of_pipelines([uow.pipeline_id])  # type: ignore[attr-defined]
    ids = [(name, add(uow, dataset_name=name)) for name in [*names, wanted]]
    found = uow.predictions.query(dataset_name=wanted)["prediction_id"].to_list()
    assert found == [key for name, key in ids if name == wanted]


@FAST
@given(rows=st.integers(0, 5), arrays=st.booleans(), flush=st.booleans())
def test_deleting_leaves_nothing_behind(uow: UnitOfWork, rows: int, arrays: bool, flush: bool) -> None:
    before = counts(uow)
    ids = [add(uow) for _ in range(rows)]
    for prediction_id in ids if arrays else []:
        uow.predictions.add_arrays(prediction_id, [1.0], [1.0])
    if flush:
        assert counts(uow) == (before[0] + rows, before[1] + rows * arrays)
    for prediction_id in ids:
        assert uow.predictions.delete(prediction_id)
        assert uow.predictions.get(prediction_id) is None
    assert counts(uow) == before


def counts(uow: UnitOfWork) -> tuple[int, int]:
    found = (
        uow.session.execute(text(f"SELECT count(*) FROM {t}")).scalar_one()
        for t in ("predictions", "prediction_arrays")
    )
    return tuple(found)  # type: ignore[return-value]


def test_a_column_that_is_not_there_is_never_passed_over(uow: UnitOfWork) -> None:
    with pytest.raises(InvalidInputError, match="val_scroe"):
        add(uow, val_scroe=0.1)


def test_one_id_is_taken_where_several_are(uow: UnitOfWork) -> None:
    artifact_id = uow.artifacts.add("ab/x.pkl", "a" * 64)
    pipeline_id = uow.pipeline_id  # type: ignore[attr-defined]
    values = {"steps": [], "model_step_idx": 0, "model_class": "m", "fold_artifacts": {"0": artifact_id}}
    chain_id = uow.chains.add(ChainRecord.of(values | {"pipeline_id": pipeline_id}))
    uow.artifacts.claim(artifact_id)
    assert uow.chains.uses().users == {artifact_id: [chain_id]}
    assert uow.chains.artifact_ids(chain_id) == [artifact_id]
    assert uow.chains.delete(chain_id) == 1
    uow.artifacts.release(artifact_id)
    row = uow.artifacts.get(artifact_id)
    assert row is not None
    assert row["ref_count"] == 0
    assert [found["artifact_id"] for found in uow.artifacts.collectable(timedelta(0))] == [artifact_id]
    assert uow.artifacts.delete(artifact_id) == 1
    assert uow.runs.delete_pipeline(uow.pipeline_id) == 1  # type: ignore[attr-defined]


def test_ids_that_are_no_text_once_gave_errors_of_the_engine_and_ended_the_transaction(uow: UnitOfWork) -> None:
    calls: list[Callable[[Any], object]] = [
        uow.runs.delete,
        uow.runs.delete_pipeline,
        uow.runs.pipelines_of,
        uow.chains.delete,
        uow.chains.of_run,
        uow.chains.uses,
        uow.artifacts.claim,
        uow.artifacts.release,
        uow.artifacts.delete,
        uow.artifacts.get_many,
        uow.artifacts.get_by_hash,
        uow.artifacts.named_among,
        uow.predictions.detach,
        uow.predictions.delete_of_pipelines,
        lambda ids: uow.artifacts.collectable(NOW, among=ids),
        lambda value: uow.artifacts.adopt(value, "p", "h", None, None, "joblib", None),
    ]
    for call in calls:
        for bad in (5, [5], [["a"]]):
            with pytest.raises(InvalidTypeError, match="must be"):
                call(bad)
    assert uow.runs.get("x") is None


@FAST
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=10, unique=True))
def test_a_shortened_id_finds_its_own_and_no_other(store: WorkspaceStore, names: list[str]) -> None:
    with store.unit_of_work() as uow:
        for name in names:
            uow.runs.add("r", run_id=name)
        for name, short in uow.ids.shortened(names, 2).items():
            assert name.endswith(short)
            assert uow.ids.find(short)["id"].to_list() == [name]
            assert uow.ids.find(name)["id"].to_list() == [name]


@pytest.mark.parametrize("datasets", ["3", "[1]", '{"name": "wheat"}'])
def test_a_damaged_list_of_datasets_ended_every_listing(store: WorkspaceStore, datasets: str) -> None:
    whole = store.begin_run("whole", None, [{"name": "wheat"}])
    store.begin_run("damaged", None, [{"name": "wheat"}])
    with store.unit_of_work() as uow:
        uow.session.execute(text("UPDATE runs SET datasets = :text WHERE name = 'damaged'"), {"text": datasets})
        uow.commit()
    assert store.list_runs(dataset="wheat")["run_id"].to_list() == [whole]
