"""What the shell says of rows that are left out, and of scores that there are not."""

import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from nirs4all_store.cli import app

RIDGE = (
    "- class: sklearn.model_selection.KFold\n  params: {n_splits: 3}\n- model: {class: sklearn.linear_model.Ridge}\n"
)


def command(line: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder, in which one works, with spectra of which some miss a value."""
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).normal(size=(24, 8)).cumsum(axis=1)
    table = pl.DataFrame(X, schema=[str(1100 + 2 * n) for n in range(8)]).with_columns(protein=pl.Series(X[:, 0]))
    row = pl.int_range(pl.len())
    gaps = table.with_columns(
        pl.when(row >= 2).then(pl.col("1104")).alias("1104"), pl.when(row != 5).then(pl.col("protein")).alias("protein")
    )
    gaps.write_csv("gaps.csv")
    gaps.head(7).write_csv("test.csv")
    (tmp_path / "ridge.yaml").write_text(RIDGE)
    imputer = "- _or_: [null, {class: sklearn.impute.SimpleImputer}]\n"
    (tmp_path / "some.yaml").write_text(imputer + RIDGE)
    return tmp_path


def test_rows_whose_x_misses_a_value_once_were_left_out_without_a_word(here: Path) -> None:
    told = command("run ridge.yaml gaps.csv -t protein --test test.csv")
    assert "without 1 row with a missing value and 1 row with a missing value to test with" in told
    for purpose in ("for training", "to test with"):
        assert f"left out: 2 rows {purpose}, with a value missing in X that no step takes" in told
    assert "left out by 1 of 2 models: 2 rows for training" in command("run some.yaml gaps.csv -t protein")


def test_a_ranking_by_rmsep_without_test_data_once_said_that_nothing_is_ranked_by_it(here: Path) -> None:
    command("run ridge.yaml gaps.csv -t protein")
    told = command("top --metric rmsep", 1)
    assert told == command("top --partition test", 1)
    assert told.startswith("no model here has a score of test data; train with test data")
    assert "nothing here is of the dataset 'maize'" in command("top --metric rmsep --dataset maize", 1)
