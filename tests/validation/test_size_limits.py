"""Few bytes that stand for values without end, templates of others, and code that ends the program are refused."""

import enum
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from nirs4all_store import (
    ChainInputError,
    InvalidInputError,
    NotFoundError,
    PipelineLibrary,
    PipelineRunner,
    StoreError,
    WorkspaceStore,
)
from nirs4all_store.testing.contract import add_pipeline, add_prediction
from nirs4all_store.training.config_files import read_config
from nirs4all_store.training.pipeline_config import pipelines_of
from nirs4all_store.validation.size_limits import MAX_CHARACTERS, MAX_VALUES, refuse_deep
from nirs4all_store.validation.values import json_text

X = np.random.default_rng(0).normal(size=(12, 3))
RIDGE = "sklearn.linear_model.Ridge"


def laughs(wrap: Callable[[Any], Any], inner: Any = "ha") -> Any:
    """Return a value that holds one ten times, which holds one ten times, and so on: 10^30 in all."""
    for _ in range(30):
        inner = wrap(inner)
    return inner


ENDLESS = {
    "lists": laughs(lambda inner: [inner] * 10),
    "tuples": laughs(lambda inner: (inner,) * 10),
    "dicts": laughs(lambda inner: dict.fromkeys("0123456789", inner)),
    "mixed": laughs(lambda inner: [{"a": inner, "b": (inner, inner)}] * 3),
}
STEP = {"step_idx": 0, "operator_class": "m", "params": {}, "artifact_id": None, "stateless": False}


@pytest.mark.in_a_folder
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_list_that_holds_one_list_many_times_hung_begin_pipeline(store: WorkspaceStore, kind: str) -> None:
    endless = ENDLESS[kind]
    run_id, pipeline_id = add_pipeline(store)
    calls: list[Callable[[], Any]] = [
        lambda: store.begin_pipeline(run_id, "p", [{"model": endless}]),
        lambda: store.begin_pipeline(run_id, "p", [], [endless]),
        lambda: store.begin_run("r", {"a": endless}),
        lambda: store.begin_run("r", {}, [{"name": "d", "metadata": endless}]),
        lambda: store.complete_run(run_id, {"a": endless}),
        lambda: store.save_chain(pipeline_id, [STEP | {"params": {"a": endless}}], 0, "m", "", "", {}, {}),
        lambda: store.save_predictions(pipeline_id, [{"dataset_name": "d", "scores": {"a": endless}}]),
        lambda: store.log_step(pipeline_id, 0, "a", "end", 1, "m", {"a": endless}),
        lambda: PipelineLibrary(store.workspace_path).save_template([endless], "t"),
        lambda: PipelineLibrary(store.workspace_path).save_template([], "t", metrics={"a": endless}),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match=f"[]0-9ab] has more than {MAX_VALUES:,} values"):
            call()


@pytest.mark.parametrize("kind", ENDLESS)
def test_arguments_that_are_lists_without_end_are_refused_everywhere(store: WorkspaceStore, kind: str) -> None:
    endless = ENDLESS[kind]
    _, pipeline_id = add_pipeline(store)
    prediction_id = add_prediction(store, pipeline_id)
    calls: list[Callable[[], Any]] = [
        lambda: store.save_prediction_arrays(prediction_id, endless, None),
        lambda: store.save_prediction_arrays(prediction_id, None, None, endless),
        lambda: store.save_predictions(pipeline_id, [endless]),
        lambda: store.top_predictions(1, endless),
        lambda: store.query_predictions(dataset_name=endless),
        lambda: PipelineLibrary(store.workspace_path).save_template([], "t", tags=[endless]),
    ]
    for call in calls:
        with pytest.raises(StoreError) as refused:
            call()
        assert len(str(refused.value)) < 1000


def test_values_that_are_many_and_end_are_stored() -> None:
    shared = [[1.5] * 1000] * 100
    assert len(json.loads(json_text(shared, "x") or "")) == 100
    with pytest.raises(InvalidInputError, match=f"x has more than {MAX_VALUES:,} values"):
        json_text([0] * (MAX_VALUES + 1), "x")
    with pytest.raises(InvalidInputError, match=rf"x\[1\] has more than {MAX_VALUES:,} values"):
        json_text([np.zeros(MAX_VALUES - 20_000)] * 2, "x")


def test_long_text_in_many_places_is_counted_before_it_is_written() -> None:
    with pytest.raises(InvalidInputError, match=rf"x\[256\] there are more than {MAX_CHARACTERS:,} characters"):
        json_text(["a" * 2**20] * 10_000, "x")


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_configuration_without_end_hung_the_runner(store: WorkspaceStore, kind: str) -> None:
    endless, folds = ENDLESS[kind], KFold()
    folds.n_splits = endless
    for config in (
        [endless],
        [{"class": RIDGE, "params": {"alpha": endless}}],
        [Ridge(alpha=endless)],
        [{"_or_": [Ridge(alpha=endless), Ridge()]}],
        [{"model": {"_or_": endless}}],
        [folds, Ridge()],
        {"pipeline": endless},
        {"pipelines": endless},
        [{"class": RIDGE, "params": {"alpha": {"slice": endless}}}],
    ):
        with pytest.raises(InvalidInputError, match=r"step 1.*has more than|makes more than|a configuration is a list"):
            PipelineRunner(store).run(config, (X, X[:, 0]))
    assert store.list_runs().is_empty()


def test_models_in_models_without_end_are_refused() -> None:
    model: Any = Ridge()
    for _ in range(30):
        model = VotingRegressor([(name, model) for name in "abcdefgh"])
    with pytest.raises(InvalidInputError, match=r"step 1.* has more than"):
        pipelines_of([model])


def test_pipelines_are_counted_with_what_they_hold() -> None:
    long = {"class": RIDGE, "params": {"alpha": [0] * 100_000}}
    with pytest.raises(InvalidInputError, match=r"makes 400 pipelines with 40,00\d,\d{3} values together"):
        pipelines_of([{"_or_": [None] * 20}, {"_or_": [None] * 20}, long])


ALIASES = "a0: &a0 [ha, ha]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 14))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 14))


@pytest.mark.parametrize(
    "text",
    [
        f"{ALIASES}pipeline: [*a13]",
        f"{ALIASES}pipeline:\n- class: {RIDGE}\n  params: {{alpha: *a13}}",
        f"{MERGES}pipeline: [*a13]",
        "pipeline: &a [*a]",
        "pipeline: &a {<<: *a}",
        "[" * 5000,
        "- " * 5000 + "a",
        "pipeline:\n- ? [a, b]\n  : 1",
        "- {class: sklearn.linear_model.Ridge, params: {alpha: 1" + "0" * 5000 + "}}",
        "- 2026-99-99",
        "- !!python/name:os.system",
    ],
    ids=[
        "aliases",
        "aliases in a parameter",
        "merges",
        "itself",
        "merges itself",
        "brackets",
        "lists",
        "a list as key",
        "a huge number",
        "no date",
        "a tag of Python",
    ],
)
def test_600_bytes_of_yaml_hung_the_runner(store: WorkspaceStore, text: str) -> None:
    with pytest.raises(StoreError) as refused:
        PipelineRunner(store).run(text, (X, X[:, 0]))
    assert isinstance(refused.value, InvalidInputError | NotFoundError)
    assert len(str(refused.value)) < 1000


def test_merged_keys_are_still_merged() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {c: 3}\nhere: {<<: [*base, *more], b: 4}"
    assert read_config(text)["here"] == {"a": 1, "b": 4, "c": 3}


# -- templates -------------------------------------------------------------------------------

SOUND = {
    "format_version": 1,
    "name": "t",
    "category": "c",
    "description": "",
    "tags": ["a"],
    "metrics": {},
    "notes": "",
    "created_at": "2026-01-01",
    "updated_at": "2026-01-01",
    "pipeline_config": [],
}
HOSTILE = {
    "a list as tag": SOUND | {"tags": [["a"]]},
    "a dict as tag": SOUND | {"tags": [{}]},
    "text as tags": SOUND | {"tags": "a"},
    "a number as name": SOUND | {"name": 1},
    "a list as category": SOUND | {"category": ["c"]},
    "half a character": SOUND | {"name": "\udc80"},
    "half a character inside": SOUND | {"pipeline_config": ["\udc80"]},
    "a NUL": SOUND | {"notes": "a\0b"},
    "a list of metrics": SOUND | {"metrics": []},
    "text": SOUND | {"pipeline_config": "x"},
    "a later format": SOUND | {"format_version": 2},
    "NaN as format": SOUND | {"format_version": float("nan")},
    "True as format": SOUND | {"format_version": True},
    "a list": [SOUND],
    "nothing": None,
}
TEXTS = {name: json.dumps(value).encode() for name, value in HOSTILE.items()} | {
    "bytes": b'{"name": "\xff"}',
    "a huge number": json.dumps(SOUND).replace("1,", "1" + "0" * 5000 + ",", 1).encode(),
    "a key twice": json.dumps(SOUND).replace("{", '{"name": "u", ', 1).encode(),
    "brackets": b"[" * 100_000,
    "deep": json.dumps(SOUND).replace("[]", "[" * 500 + "]" * 500, 1).encode(),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_template_with_a_list_as_tag_once_ended_a_listing(tmp_path: Path, name: str) -> None:
    library = PipelineLibrary(tmp_path)
    library.save_template([], "sound", tags=["a"])
    path = tmp_path / "library" / "templates" / "t.json"
    path.write_bytes(TEXTS[name])
    for listing in (library.list_templates, lambda: library.list_templates(tags=["a"], category="general")):
        with pytest.warns(UserWarning, match=r"t\.json"):
            assert [found["name"] for found in listing()] == ["sound"]
    with pytest.raises(InvalidInputError, match=r"t\.json"):
        library.load_template("t")
    with pytest.raises(InvalidInputError, match=r"t\.json"):
        library.import_template(path)
    library.delete_template("t")
    assert not path.exists()


def test_a_template_whose_file_has_a_name_that_is_no_utf8_is_named_in_letters(tmp_path: Path) -> None:
    library = PipelineLibrary(tmp_path)
    library.save_template([], "sound")
    folder = os.fsencode(tmp_path / "library" / "templates")
    Path(os.fsdecode(folder + b"/bad\xff.json")).write_bytes(b"{")
    with pytest.warns(UserWarning, match=r"bad\\udcff\.json cannot be read"):
        assert [found["name"] for found in library.list_templates()] == ["sound"]


# -- code that ends the program ----------------------------------------------------------------

MODULES = {
    "import": "raise SystemExit(3)",
    "an error of its own at import": "raise RuntimeError('no licence')",
    "making it": "class Model:\n    fit = predict = None\n    def __init__(self): raise SystemExit(3)",
    "another end": "class End(BaseException): ...\nraise End('now')",
    "a property": "class Model:\n    fit = None\n    @property\n    def transform(self): raise SystemExit(3)",
    "splitting": (
        "class Model:\n    def split(self, *_): raise SystemExit(3)\n    def get_n_splits(self, *_): return 2"
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_a_configuration_that_exits_once_ended_the_program(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = f"leaves_{list(MODULES).index(name)}"
    (tmp_path / f"{module}.py").write_text(MODULES[name])
    monkeypatch.syspath_prepend(tmp_path)
    config: list[Any] = [{"class": f"{module}.Model"}, *([Ridge()] if name == "splitting" else [])]
    with pytest.raises(InvalidInputError, match=r"SystemExit|RuntimeError: no licence|End now"):
        PipelineRunner(store).run(config, (X, X[:, 0]))
    assert store.list_runs().is_empty()
    sys.modules.pop(module, None)


class Ends(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any) -> Any:
        raise GeneratorExit("enough")


def test_a_fit_that_raises_what_is_no_exception_fails_its_pipeline_alone(store: WorkspaceStore) -> None:
    ranked = PipelineRunner(store).run([KFold(2), {"_or_": [Ends(), Ridge()]}], (X, X[:, 0]))
    assert ranked["model_name"].unique().to_list() == ["Ridge"]
    assert sorted(store.list_pipelines()["status"]) == ["completed", "failed"]


class Interrupted(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any) -> Any:
        raise KeyboardInterrupt


def test_an_interrupt_in_a_fit_stays_one(store: WorkspaceStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        PipelineRunner(store).run([KFold(2), Interrupted()], (X, X[:, 0]))
    assert store.list_runs()["status"].to_list() == ["interrupted"]


OF_ARRAYS = {
    "one number": lambda: np.broadcast_to(1.0, (10**6, 10**6)),
    "lists of nothing": lambda: np.zeros((10**9, 0)),
    "one text": lambda: np.broadcast_to(np.array("x" * 10**6), (10**6,)),
    "one object": lambda: np.broadcast_to(np.array(None, dtype=object), (10**6, 10**6)),
}


@pytest.mark.parametrize("case", OF_ARRAYS)
def test_a_view_that_says_it_is_endless_took_all_memory_as_a_list(store: WorkspaceStore, case: str) -> None:
    with pytest.raises(InvalidInputError, match=r"config\.a.* more than"):
        store.begin_run("run", {"a": OF_ARRAYS[case]()})
    assert store.list_runs().is_empty()


def test_lists_in_an_array_or_an_enum_were_counted_one_by_one() -> None:
    endless: Any = [1, 1]
    for _ in range(40):
        endless = [endless, endless]
    array = np.empty(2, dtype=object)
    array[:] = [endless, 1]
    for value in (array, enum.Enum("Choice", {"ALL": endless})["ALL"]):
        with pytest.raises(InvalidInputError, match="has more than") as raised:
            json_text({"a": value}, "c")
        assert str(raised.value).startswith("c.a" + "[0]" * 22)  # It was measured, not met one by one to the end.


@pytest.mark.parametrize("part", ["X", "y", "groups", "weights", "wavelengths", "X_test", "y_test"])
def test_a_list_that_holds_one_list_many_times_hung_run_as_part_of_a_dataset(store: WorkspaceStore, part: str) -> None:
    given = {"X": X, "y": X[:, 0], part: laughs(lambda inner: [inner] * 2, 1.0)}
    with pytest.raises(InvalidInputError, match=f"{part} is lists in lists"):
        PipelineRunner(store).run([Ridge()], given)


def test_a_list_that_holds_one_list_many_times_hung_predicting(store: WorkspaceStore) -> None:
    chain_id = PipelineRunner(store).run([KFold(2), Ridge()], (X, X[:, 0]))["chain_id"][0]
    for predict in (lambda given: store.replay_chain(chain_id, given), store.load_chain(chain_id).predict):
        with pytest.raises(ChainInputError, match="X is lists in lists"):
            predict(ENDLESS["lists"])


def test_lists_in_lists_were_looked_through_before_they_were_an_array() -> None:
    refuse_deep([[[1.0]]], "X")
    with pytest.raises(InvalidInputError, match="X is lists in lists"):
        refuse_deep(ENDLESS["lists"], "X")
