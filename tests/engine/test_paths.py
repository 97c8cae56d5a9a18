"""Whatever a folder is called, the engine works on that folder, or it is refused; `~` is the home folder."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from legacy import make_legacy
from samples import all_but_few
from typer.testing import CliRunner

from nirs4all_store import (
    InvalidInputError,
    OutputPathError,
    PipelineLibrary,
    PipelineRunner,
    WorkspaceStore,
    inspect_workspace,
    load_bundle,
    recover_workspace,
    upgrade_workspace,
)
from nirs4all_store.cli import app
from nirs4all_store.datasets.table_files import read
from nirs4all_store.engine.duckdb.files import refuse_misread
from nirs4all_store.testing.contract import X, Y, add_chain, add_pipeline, add_prediction

TAKEN_AS_THEY_ARE = [
    "a*b [cd] {e,f} %20 $HOME",
    ":memory:",
    "sqlite:x",
    "file:x",
    'it\'s "this"; DROP TABLE runs; --',
    "-line\nend. ",
    "store.duckdb.wal",
]
MISREAD = ["does it work?", "a\\b", os.fsdecode(b"latin \xe9"), "/".join(["x" * 199] * 20)]


def all_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


FEW_TAKEN = (":memory:", 'it\'s "this"; DROP TABLE runs; --')


@pytest.mark.parametrize("name", all_but_few(TAKEN_AS_THEY_ARE, FEW_TAKEN))
def test_the_engine_works_in_the_folder_that_was_named(tmp_path: Path, name: str) -> None:
    folder, copied = tmp_path / name, tmp_path / f"{name} copy"
    with WorkspaceStore(folder) as store:
        _, pipeline_id = add_pipeline(store)
        prediction_id = add_prediction(store, pipeline_id, chain_id=add_chain(store, pipeline_id))
        store.vacuum()
        store.backup(copied)
        store.save_prediction_arrays(prediction_id, Y, Y)
        assert store.export_predictions_parquet(tmp_path / f"{name}.parquet").is_file()
    assert recover_workspace(folder).problem == ""
    with WorkspaceStore(copied) as store:
        assert store.list_runs().height == 1
        assert store.check(deep=True).is_sound
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name} copy", f"{name}.parquet"}


def test_an_upgrade_works_in_the_folder_that_was_named(tmp_path: Path) -> None:
    folder = tmp_path / TAKEN_AS_THEY_ARE[0]
    make_legacy(folder)
    upgrade_workspace(folder)
    assert inspect_workspace(folder).rows["runs"] == 2
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", MISREAD)
def test_a_question_mark_once_made_a_sound_workspace_corrupt(tmp_path: Path, name: str) -> None:
    with WorkspaceStore(tmp_path / "sound") as store:
        store.begin_run("kept")
        before = all_below(tmp_path)
        with pytest.raises(OutputPathError, match=r"cannot hold a database|too long"):
            store.backup(tmp_path / name)
        assert all_below(tmp_path) == before
    ways: list[Callable[[Path], object]] = [WorkspaceStore, lambda path: WorkspaceStore(path, read_only=True)]
    for way in ways:
        with pytest.raises(InvalidInputError, match=r"cannot hold a database|too long"):
            way(tmp_path / name)
    if "/" in name:
        return
    ways += [upgrade_workspace, recover_workspace, inspect_workspace]
    (tmp_path / "sound").rename(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / name)
    before = all_below(tmp_path)
    for way in ways:
        for path in (tmp_path / name, tmp_path / "link"):
            with pytest.raises(InvalidInputError, match="nothing was made or changed"):
                way(path)
    assert all_below(tmp_path) == before
    (tmp_path / name).rename(tmp_path / "sound")
    with WorkspaceStore(tmp_path / "sound") as store:
        assert store.list_runs()["name"].to_list() == ["kept"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_tilde_once_made_a_folder_of_this_name(home: Path) -> None:
    with WorkspaceStore("~/w") as store:
        assert store.workspace_path == home / "w"
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        assert store.export_run(run_id, "~/run") == home / "run.yaml"
        assert store.backup(Path("~/backup")) == home / "backup"
        bundle = store.export_chain(chain_id, "~/bundle")
        assert store.import_bundle("~/bundle.n4a").path == bundle
        library = PipelineLibrary("~/w")
        library.save_template([{"model": "Ridge"}], "mine")
        assert library.export_template("mine", "~/mine.json") == home / "mine.json"
        PipelineLibrary("~/other").import_template("~/mine.json")
    assert load_bundle("~/bundle.n4a", trusted=True).predict(X).shape == Y.shape
    assert recover_workspace("~/w").problem == ""
    assert upgrade_workspace("~/w").copy is None
    assert inspect_workspace(Path("~/w")).path == home / "w"
    (home / "data.csv").write_text("y,1100,1102\n" + "\n".join(f"{i},{i + 1},{i % 3}" for i in range(8)))
    (home / "config.json").write_text('[{"model": {"class": "sklearn.linear_model.Ridge"}}]')
    assert PipelineRunner("~/runner", progress=False).run("~/config.json", "~/data.csv", target="y").height
    assert all_below(home.parent / "here") == []


def test_a_tilde_of_the_command_line_and_of_the_environment_is_the_home_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorkspaceStore(home / "w").close()
    np.save(home / "x.npy", X)
    monkeypatch.setenv("NIRS4ALL_WORKSPACE", "~/w")
    for command in (["runs"], ["check", "~/w"], ["runs", "--workspace=~/w"], ["init", "~/new"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output)
    assert (home / "new").is_dir()
    assert all_below(home.parent / "here") == []


def test_the_home_of_nobody_is_refused_and_a_name_that_begins_so_can_be_given(home: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no such user here; .* give \./~"):
        WorkspaceStore("~nobody-has-this-name/w")
    with WorkspaceStore("./~w") as store:
        assert store.workspace_path == home.parent / "here" / "~w"


def test_a_table_whose_name_is_a_pattern_is_read_and_no_other(tmp_path: Path) -> None:
    for name in ("a*.csv", "ab.csv"):
        (tmp_path / name).write_text("y,1100,1102\n" + "\n".join(f"{i},{i + 1},{i % 3}" for i in range(8)))
    (tmp_path / "ab.csv").write_text("y,1100,1102\n1,2,x\n")
    found = PipelineRunner(tmp_path / "w", progress=False).run(
        '[{"model": {"class": "sklearn.linear_model.Ridge"}}]', tmp_path / "a*.csv", target="y"
    )
    assert found.height


def test_a_parquet_file_whose_name_is_a_pattern_is_read_and_no_other(tmp_path: Path) -> None:
    for name in ("a*.parquet", "ab.parquet"):
        pl.DataFrame({"1100": [1.0]}).write_parquet(tmp_path / "one.parquet")
        (tmp_path / "one.parquet").rename(tmp_path / name)
    assert read(tmp_path / "a*.parquet").frame.height == 1


def test_a_folder_without_room_for_the_engines_names_failed_in_the_middle() -> None:
    with pytest.raises(InvalidInputError, match="so long a path"):
        refuse_misread(Path("/" + "/".join(["x" * 200] * 20)))
