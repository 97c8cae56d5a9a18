"""Datasets in the shell: keeping their spectra, showing, correcting and exporting them."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from nirs4all_store import WorkspaceStore
from nirs4all_store.cli import app

X = np.random.default_rng(0).normal(size=(12, 10)).cumsum(axis=1)
TABLE = pl.DataFrame(X, schema=[str(1100 + 2 * place) for place in range(10)]).with_columns(
    sample=pl.format("s{}", pl.int_range(pl.len())), protein=pl.Series(X[:, 0])
)
CONFIG = (
    "- {class: sklearn.model_selection.KFold, params: {n_splits: 2}}\n- model: {class: sklearn.linear_model.Ridge}\n"
)


def command(line: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def the_dataset() -> dict[str, Any]:
    (row,) = json.loads(command("datasets --json"))
    return dict(row)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder, in which one works, with spectra and a workspace that knows them, but keeps them not."""
    monkeypatch.chdir(tmp_path)
    TABLE.write_csv("wheat.csv")
    Path("ridge.yaml").write_text(CONFIG)
    with WorkspaceStore("workspace") as store:
        store.save_dataset("wheat.csv", "protein")
    return tmp_path


def test_the_shell_once_could_neither_keep_nor_export_spectra(here: Path) -> None:
    dataset_id = the_dataset()["dataset_id"]
    assert "wrote 12 samples without spectra" in command(f"dataset export {dataset_id} first.csv")
    assert pl.read_csv("first.csv").columns == ["row", "partition", "sample", "protein"]
    assert command("dataset attach wheat.csv") == f"the spectra of dataset {dataset_id} are kept"
    command(f"dataset attach wheat.csv -t protein --dataset {dataset_id}")
    assert "12 samples with their spectra" in command(f"dataset export {dataset_id} kept.csv")
    assert (
        pl.read_csv("kept.csv").drop("row", "partition").equals(TABLE.select("sample", "protein", *TABLE.columns[:10]))
    )
    command(f"dataset export {dataset_id} kept.parquet")
    assert pl.read_parquet("kept.parquet").height == 12
    assert "is there already" in command(f"dataset export {dataset_id} kept.csv", 1)
    assert "neither CSV nor Parquet" in command(f"dataset export {dataset_id} kept.xlsx", 2)
    TABLE.with_columns(pl.col("1100") + 1).write_csv("other.csv")
    assert "no dataset here has the spectra of other" in command("dataset attach other.csv", 1)


def test_training_keeps_the_spectra_where_it_is_asked_to_even_if_nothing_is_left_to_train(here: Path) -> None:
    run = "run ridge.yaml wheat.csv -t protein --no-refit --resume"
    command(run)
    assert the_dataset()["spectra_artifact"] is None
    command(f"{run} --keep-spectra")
    assert the_dataset()["spectra_artifact"] is not None
    assert len(json.loads(command("runs --json"))) == 1


def test_a_dataset_is_shown_with_its_first_samples_and_can_be_corrected(here: Path) -> None:
    dataset_id = the_dataset()["dataset_id"]
    shown = command(f"dataset show {dataset_id} -n 3")
    assert "n_samples 12" in shown
    assert "s2" in shown and "s3" not in shown
    assert json.loads(command(f"dataset show {dataset_id} --json"))["target_names"] == ["protein"]
    command(f"dataset update {dataset_id} --name 'wheat of 2026' --unit % --wavelength-unit nm")
    row = the_dataset()
    assert [row[name] for name in ("name", "units", "wavelength_unit")] == ["wheat of 2026", {"protein": "%"}, "nm"]
    assert "2 for 1 targets, protein" in command(f"dataset update {dataset_id} --unit % --unit g", 1)
    assert "no dataset has the name or id 'zzzz', or an id that begins or ends so; `datasets` shows" in command(
        "dataset show zzzz", 1
    )
