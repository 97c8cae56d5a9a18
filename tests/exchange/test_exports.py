"""What leaves the workspace is read back as it was, or an error says why it cannot leave."""

import importlib
import json
import math
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from anything import JSON, MANY
from hypothesis import given
from sqlalchemy import event

from nirs4all_store import (
    ArtifactLoadError,
    InvalidInputError,
    OutputPathError,
    PipelineLibrary,
    WorkspaceCorruptError,
    WorkspaceStore,
    load_bundle,
)
from nirs4all_store.engine.duckdb.files import copy_compacted
from nirs4all_store.exchange import FORMATS, yaml_export
from nirs4all_store.testing.contract import X, add_chain, add_pipeline, add_prediction
from nirs4all_store.training.config_files import find_config, read_config
from nirs4all_store.validation.size_limits import MAX_JSON_DEPTH
from nirs4all_store.validation.values import json_text

# What one version of YAML or the other, or PyYAML itself, takes for something else than this text.
TRICKY = [
    "1e5",
    "-1.5E+3",
    "0o7",
    ".5",
    "1.",
    "+1",
    "012",
    "1_000",
    "0x1F",
    "12:30",
    "2020-01-01",
    "yes",
    "null",
    "~",
    ".inf",
    "a\x85b",
    "a\u2028b",
    "a\u2029b",
    "\ufeffx",
    " lead",
    "trail ",
    "a: b",
    "# c",
    "- d",
    "\n\n",
    "\t",
    "é\U0001f600",
    "",
]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def exports_to(store: WorkspaceStore, path: Any) -> list[Callable[[], Path]]:
    """Return every way to write something of a new run to a path."""
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    return [
        lambda: store.backup(path),
        *(partial(store.export_chain, chain_id, path, format) for format in FORMATS),
        lambda: store.export_run(run_id, path),
        lambda: store.export_pipeline_config(pipeline_id, path),
        lambda: store.export_predictions_parquet(path),
    ]


def nested(depth: int) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for _ in range(depth):
        config = {"a": config}
    return config


def test_a_run_lost_its_unusual_line_ends_in_yaml(store: WorkspaceStore, tmp_path: Path) -> None:
    config = {"list": TRICKY, **{text: i for i, text in enumerate(TRICKY)}, "numbers": [1e20, 1e-300, 5e-324, 2**70]}
    run_id = store.begin_run("a\x85b", config, [{"name": "d"}])
    text = store.export_run(run_id, tmp_path / "run").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["run"]["name"] == "a\x85b"
    assert yaml.safe_load(text)["run_id"] == run_id, "readers of nirs4all's files look for it at the top"
    assert yaml.safe_load(text)["pipelines"] == [], "and for these"
    assert yaml.safe_load(text)["run"]["config"] == config
    assert "é" in text


def test_a_text_like_1e5_was_written_bare_and_is_a_number_for_readers_of_yaml_1_2(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    run_id = store.begin_run("1e5", {"0o7": "1.5e3"})
    text = store.export_run(run_id, tmp_path / "run").read_text()
    assert 'name: "1e5"' in text
    assert '"0o7": "1.5e3"' in text


def statements_of_exporting(store: WorkspaceStore, pipelines: int, path: Path) -> int:
    """Return how many questions the database was asked while a run of so many pipelines was exported."""
    run_id = store.begin_run("r")
    with store.transaction():
        for number in range(pipelines):
            add_chain(store, store.begin_pipeline(run_id, f"p{number}", [{"a": float(number)}]))
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    with store.unit_of_work() as uow:
        engine = uow.session.get_bind()
        event.listen(engine, "before_cursor_execute", note)
        found = yaml.safe_load(store.export_run(run_id, path).read_text())
        event.remove(engine, "before_cursor_execute", note)
    assert [row["name"] for row in found["pipelines"]] == [f"p{number}" for number in range(pipelines)]
    assert [row["pipeline_id"] for row in found["chains"]] == [row["pipeline_id"] for row in found["pipelines"]]
    return len(asked)


def test_a_run_of_3000_pipelines_was_asked_for_one_by_one_and_took_36_seconds(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    few, more = (statements_of_exporting(store, number, tmp_path / str(number)) for number in (2, 10))
    assert few == more
    assert not yaml.__with_libyaml__ or issubclass(yaml_export._Dumper, yaml.CSafeDumper), "written in Python"


def test_a_run_is_exported_where_there_is_no_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"list": TRICKY, **{text: [1e20, math.nan, math.inf, -0.0, None, True, {}] for text in TRICKY}}
    by_libyaml = yaml_export.to_yaml(value)
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    try:
        text = importlib.reload(yaml_export).to_yaml(value)
    finally:
        monkeypatch.undo()
        importlib.reload(yaml_export)
    assert repr(yaml.safe_load(text)) == repr(yaml.safe_load(by_libyaml)) == repr(value)


@MANY
@given(JSON)
def test_whatever_can_be_stored_is_the_same_in_yaml(value: Any) -> None:
    try:
        stored = json.loads(json_text(value, "value") or "null")
    except InvalidInputError:
        return
    text = yaml_export.to_yaml({"a": stored})
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        assert repr(yaml.load(text, loader)) == repr({"a": stored})


def test_what_is_as_deep_as_may_be_saved_can_be_exported(store: WorkspaceStore, tmp_path: Path) -> None:
    deep = nested(MAX_JSON_DEPTH)
    run_id = store.begin_run("deep", deep)
    pipeline_id = store.begin_pipeline(run_id, "deep", deep)
    model = store.save_artifact([1], "list", "model", "pickle")
    step = {"step_idx": 0, "operator_class": "m", "params": nested(MAX_JSON_DEPTH - 3)}
    chain_id = store.save_chain(pipeline_id, [step], 0, "m", fold_artifacts={"0": model})
    run = yaml.safe_load(store.export_run(run_id, tmp_path / "run").read_text())
    assert run["run"]["config"] == run["pipelines"][0]["expanded_config"] == deep
    assert store.export_chain(chain_id, tmp_path / "chain").is_file()
    assert store.export_pipeline_config(pipeline_id, tmp_path / "config").is_file()


@pytest.mark.in_a_folder
def test_a_backup_or_an_export_among_the_artifacts_was_collected(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = add_chain(store, add_pipeline(store)[1])
    artifacts = store.workspace_path / "artifacts"
    (tmp_path / "link").symlink_to(artifacts)
    for folder in (artifacts, tmp_path / "link", tmp_path / "link" / "below", artifacts / ".." / "artifacts"):
        for export in exports_to(store, folder / "x"):
            with pytest.raises(OutputPathError, match="give a path elsewhere"):
                export()
    with pytest.raises(OutputPathError, match="give a path elsewhere"):
        store.backup(artifacts)
    assert {Path(name).suffix for name in files(artifacts)} == {".joblib"}
    store.backup(store.workspace_path / "backup")
    store.gc_artifacts(grace=timedelta(0))
    with WorkspaceStore(store.workspace_path / "backup") as copy:
        np.testing.assert_array_equal(copy.replay_chain(chain_id, X), store.replay_chain(chain_id, X))


@pytest.mark.in_a_folder
def test_a_full_disk_once_gave_raw_errors_and_leaves_nothing_half_written(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).random(50_000)
    _, pipeline_id = add_pipeline(store)
    model = store.save_artifact(noise, "array", "model", "joblib")
    step = {"step_idx": 0, "operator_class": "m"}
    chain_id = store.save_chain(pipeline_id, [step], 0, "m", fold_artifacts={"0": model})
    noisy = store.begin_run("".join(map(str, noise)))
    with store.transaction():
        for _ in range(500):
            add_prediction(store, pipeline_id)
    calls: dict[str, Callable[[], object]] = {
        "artifact": lambda: store.save_artifact(noise[1:], "array", "model", "joblib"),
        "n4a": lambda: store.export_chain(chain_id, tmp_path / "out" / "chain"),
        "script": lambda: store.export_chain(chain_id, tmp_path / "out" / "chain", "n4a.py"),
        "yaml": lambda: store.export_run(noisy, tmp_path / "out" / "run"),
        "parquet": lambda: store.export_predictions_parquet(tmp_path / "out" / "rows"),
    }
    before = files(tmp_path)
    with files_of_at_most(10_000):
        for call in calls.values():
            with pytest.raises(OutputPathError, match=r"cannot write .* on a disk that has room"):
                call()
    assert files(tmp_path) == before
    for call in calls.values():
        call()


@pytest.mark.in_a_folder
def test_the_warning_of_an_incomplete_backup_once_named_a_line_of_this_package(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    store.get_artifact_path(store.save_artifact([1], "list", "transformer", "pickle")).unlink()
    with pytest.warns(UserWarning, match="lacks artifact files") as caught:
        store.backup(tmp_path / "backup")
    assert caught[0].filename == __file__


def test_a_backup_to_a_full_disk_once_said_that_the_workspace_is_damaged(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "workspace") as store:
        store.begin_run("".join(map(str, np.random.default_rng(0).random(100_000))))
    with WorkspaceStore(tmp_path / "workspace") as store:  # Its log is folded in: only the copy is written.
        with files_of_at_most(300_000), pytest.raises(OutputPathError, match=r"cannot write .*store\.duckdb"):
            store.backup(tmp_path / "copy")
        assert [path.name for path in tmp_path.iterdir()] == ["workspace"]
        store.backup(tmp_path / "copy")


def test_copying_a_database_tells_its_source_from_its_target(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("r")
    with pytest.raises(OutputPathError, match="no folder"):
        copy_compacted(tmp_path / "store.duckdb", tmp_path / "no folder" / "copy")
    (tmp_path / "damaged").write_bytes(b"x" * 5000)
    with pytest.raises(WorkspaceCorruptError, match="damaged"):
        copy_compacted(tmp_path / "damaged", tmp_path / "copy")


@pytest.mark.parametrize(
    "path", [None, 5, b"x", "a\0b", "n" * 300, "d/" * 3000], ids=["None", "5", "bytes", "NUL", "long", "deep"]
)
def test_an_output_path_that_is_none_once_gave_raw_errors(store: WorkspaceStore, path: Any) -> None:
    error: type[Exception] = OutputPathError if isinstance(path, str) else TypeError
    for export in exports_to(store, path):
        with pytest.raises(error, match="be a path"):
            export()
    with pytest.raises(ValueError, match="be a path"):
        load_bundle(path)


@pytest.mark.in_a_folder
def test_a_configuration_with_nan_once_was_no_json(store: WorkspaceStore, tmp_path: Path) -> None:
    config = [{"class": "sklearn.impute.SimpleImputer", "params": {"missing_values": math.nan}}, math.inf, [-math.inf]]
    pipeline_id = store.begin_pipeline(store.begin_run("r"), "p", config)
    library = PipelineLibrary(store.workspace_path)
    library.save_template(config, "t", metrics={"rmse": math.nan})
    for path in (
        store.export_pipeline_config(pipeline_id, tmp_path / "c"),
        library.export_template("t", tmp_path / "t"),
    ):
        text = path.read_text()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert "{\n" in text
    assert repr(read_config(tmp_path / "c.json")) == repr(config)
    assert repr(find_config(str(tmp_path / "c.json"), library.load_template)) == repr(config)
    library.import_template(tmp_path / "t.json", overwrite=True)
    assert repr(library.load_template("t")) == repr(config)
    assert repr(library.get_template_metadata("t")["metrics"]) == "{'rmse': nan}"
    (tmp_path / "old.json").write_text('{"a": NaN, "b": {"_float_": "x"}}')
    assert repr(read_config(tmp_path / "old.json")) == "{'a': nan, 'b': {'_float_': 'x'}}"


@pytest.mark.in_a_folder
def test_a_damaged_object_was_exported(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = add_chain(store, add_pipeline(store)[1])
    for path in (store.workspace_path / "artifacts").rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    for format in ("n4a", "n4a.py"):
        with pytest.raises(ArtifactLoadError):
            store.export_chain(chain_id, tmp_path / "exported", format)
