"""Whatever is given as a name, a value, an array or a filter is kept as it is, or refused; nothing else happens."""

import contextlib
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anything import ARRAYS, JSON, MANY, NUMBERS, PLAIN, TEXTS, VALUES, attempt
from canary import listening
from hypothesis import given
from hypothesis import strategies as st

from nirs4all_store import PipelineLibrary, WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

World = tuple[WorkspaceStore, str, str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a store with one of everything, and the ids of a run, a pipeline and a chain."""
    folder = tmp_path_factory.mktemp("any") / "workspace"
    with WorkspaceStore(folder) as store:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        add_prediction(store, pipeline_id, chain_id=chain_id)
        yield store, run_id, pipeline_id, chain_id
        assert store.check(deep=True).is_sound
    assert sorted(path.name for path in folder.parent.iterdir()) == ["workspace"]


@contextlib.contextmanager
def rolled_back(store: WorkspaceStore) -> Iterator[None]:
    """Keep nothing, so that example after example finds the same workspace."""
    with contextlib.suppress(InterruptedError), store.transaction():
        yield
        raise InterruptedError


@MANY
@given(name=TEXTS, value=JSON)
def test_any_name_and_json_value_comes_back_or_is_refused(world: World, name: str, value: Any) -> None:
    store, _, _, _ = world
    with listening(store.workspace_path), rolled_back(store):
        run_id = attempt(store.begin_run, name, {"x": value}, [{"name": name}])
        if run_id is None:
            return
        run = store.get_run(run_id) or {}
        assert (run["name"], repr(run["config"]), run["datasets"]) == (name, repr({"x": value}), [{"name": name}])
        pipeline_id = store.begin_pipeline(run_id, name, {"x": value}, [value], name, name)
        pipeline = store.get_pipeline(pipeline_id) or {}
        assert (pipeline["name"], pipeline["dataset_name"], pipeline["dataset_hash"]) == (name, name, name)
        assert repr(pipeline["expanded_config"]) == repr({"x": value})
        assert store.list_pipelines(dataset_name=name)["pipeline_id"].to_list() == [pipeline_id]
        store.log_step(pipeline_id, 0, name, "end", 1, name, {"x": value})
        assert store.get_pipeline_log(pipeline_id)["message"].to_list() == [name]
        prediction_id = add_prediction(store, pipeline_id, dataset_name=name, model_name=name, model_class=name)
        assert store.query_predictions(dataset_name=name)["prediction_id"].to_list() == [prediction_id]


@MANY
@given(value=VALUES, other=VALUES, text=TEXTS | PLAIN)
def test_any_value_anywhere_is_refused_in_words_or_kept(world: World, value: Any, other: Any, text: Any) -> None:
    store, run_id, pipeline_id, chain_id = world
    step = {"step_idx": 0, "operator_class": "m", "params": value, "artifact_id": None, "stateless": False}
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (store.begin_run, (text, value, other)),
        (store.complete_run, (run_id, value)),
        (store.fail_run, (run_id, value)),
        (store.resume_run, (value,)),
        (store.begin_pipeline, (run_id, text, value, other, text, text)),
        (store.begin_pipeline, (value, "p", {}, [], "d", "h")),
        (store.complete_pipeline, (pipeline_id, value, other, text, other)),
        (store.save_chain, (pipeline_id, value, 0, text, text, text, other, value)),
        (store.save_chain, (pipeline_id, [step], 0, "m", "", "per_fold", {"0": value}, {})),
        (store.save_chain, (pipeline_id, [step], 0, "m", "", "per_fold", {}, {"0": value}, other, other)),
        (store.log_step, (pipeline_id, value, text, text, other, text, value, text)),
        (store.save_predictions, (pipeline_id, [{"model_name": value, "scores": other}])),
        (store.save_predictions, (pipeline_id, value)),
        (store.get_run, (value,)),
        (store.get_chain, (value,)),
        (store.delete_prediction, (value,)),
        (store.load_artifact, (value,)),
        (store.trust_chain, (chain_id, value)),
    ]
    with listening(store.workspace_path):
        for call, args in calls:
            with rolled_back(store):
                attempt(call, *args)


@MANY
@given(
    kept=st.dictionaries(st.sampled_from(["scores", "best_params", "branch_name", "refit_context"]), VALUES),
    scores=st.tuples(PLAIN, PLAIN, PLAIN),
    texts=st.tuples(TEXTS | PLAIN, TEXTS | PLAIN),
)
def test_any_prediction_comes_back_or_is_refused(
    world: World, kept: dict[str, Any], scores: tuple[Any, ...], texts: tuple[Any, ...]
) -> None:
    store, _, pipeline_id, chain_id = world
    val, test, n = scores
    with listening(store.workspace_path), rolled_back(store):
        row = {"val_score": val, "test_score": test, "n_samples": n, "metric": texts[0], "task_type": texts[1]}
        found = attempt(add_prediction, store, pipeline_id, chain_id=chain_id, **(row | kept))
        if found is not None:
            read = store.get_prediction(found) or {}
            for name in ("metric", "task_type"):
                assert read[name] == row[name]
            for name, score in row.items():
                if name.endswith("score") and isinstance(score, float):
                    assert read[name] == score or math.isnan(score)
            assert store.query_predictions(pipeline_id=pipeline_id).height >= 1
            attempt(store.top_predictions, 3)


@MANY
@given(y=ARRAYS, other=ARRAYS, same=st.booleans())
def test_any_array_comes_back_bit_for_bit_or_is_refused(world: World, y: Any, other: Any, same: bool) -> None:
    store, _, pipeline_id, chain_id = world
    with listening(store.workspace_path), rolled_back(store):
        prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id)
        kept = attempt(store.save_prediction_arrays, prediction_id, y, y if same else other)
        found = store.get_prediction(prediction_id, load_arrays=True) or {}
        if found["y_true"] is not None and isinstance(y, np.ndarray):
            assert found["y_true"].shape == y.shape
            assert found["y_true"].tolist() == y.tolist() or str(found["y_true"].tolist()) == str(y.tolist())
        assert kept is None
    assert store.get_prediction(prediction_id) is None


FILTERS = {
    "query_predictions": [
        "dataset_name",
        "model_class",
        "partition",
        "fold_id",
        "branch_id",
        "pipeline_id",
        "run_id",
        "limit",
        "offset",
    ],
    "top_predictions": [
        "n",
        "metric",
        "ascending",
        "partition",
        "dataset_name",
        "group_by",
        "score_metric",
        "task_type",
        "run_id",
    ],
    "list_runs": ["status", "dataset", "limit", "offset"],
    "list_pipelines": ["run_id", "dataset_name"],
}


@MANY
@given(data=st.data(), name=st.sampled_from(sorted(FILTERS)))
def test_any_filter_gives_rows_or_is_refused(world: World, data: st.DataObject, name: str) -> None:
    store, _, _, _ = world
    given_filters = data.draw(st.dictionaries(st.sampled_from(FILTERS[name]), TEXTS | NUMBERS | VALUES, max_size=3))
    if name == "top_predictions":
        given_filters.setdefault("n", 2)
    with listening(store.workspace_path):
        found = attempt(getattr(store, name), **given_filters)
    assert found is None or found.height in (0, 1)


@MANY
@given(name=TEXTS, category=TEXTS, value=JSON, tags=st.lists(TEXTS, max_size=2))
def test_any_template_comes_back_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, category: str, value: Any, tags: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "templates"
    library = PipelineLibrary(folder)
    with listening(folder):
        path = attempt(library.save_template, {"x": value}, name, category, "", tags, overwrite=True)
        if path is not None:
            assert path.parent == library.save_template({}, "plain", overwrite=True).parent
            assert repr(library.load_template(name, category)) == repr({"x": value})
            assert library.get_template_metadata(name)["tags"] == tags
            library.delete_template(name)


@MANY
@given(content=st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"\xff", b"1e999", b"{}"]))
def test_any_file_in_the_place_of_a_template_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    library = PipelineLibrary(folder)
    path = library.save_template({}, "damaged", overwrite=True)
    path.write_bytes(content)
    with listening(folder):
        assert attempt(library.load_template, "damaged") is None
        with pytest.warns(UserWarning, match="template"):
            assert library.list_templates() == []
        assert attempt(library.import_template, path) is None


@MANY
@given(grace=st.timedeltas() | PLAIN, timeout=PLAIN)
def test_any_grace_and_timeout_is_taken_or_refused(world: World, grace: Any, timeout: Any) -> None:
    store, _, _, _ = world
    with listening(store.workspace_path):
        attempt(store.plan_gc, grace=grace if isinstance(grace, timedelta) else timedelta(0))
        attempt(store.plan_gc, grace=grace)
        attempt(WorkspaceStore, Path(store.workspace_path) / "artifacts" / "none", read_only=True, timeout=timeout)
