from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from nirs4all_store import PipelineLibrary, WorkspaceStore
from nirs4all_store.cli import app


@pytest.mark.published
def test_the_demo_does_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.output.count("predicts the same: yes") == 2
    with WorkspaceStore(folder, read_only=True) as store:
        (name,) = store.list_runs()["name"]  # The coffee run was deleted.
        assert name == "fermentation sweep"
        assert store.list_pipelines().height == 12
        # Five folds, and all of them together, with three partitions each; the final model has two.
        assert store.query_predictions().height == 12 * ((5 + 1) * 3 + 2)
        best = store.top_predictions(1, score_metric="rmse", group_by="fold_id").filter(pl.col("fold_id") == "avg")
        assert best["val_score"].item() < 2  # g/l of glucose, over a range of 45
        assert best["test_score"].item() < 8
    exports = folder / "exports"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert yaml.load((exports / "fermentation.yaml").read_text(), loader)["run"]["name"] == "fermentation sweep"
    assert pl.read_parquet(exports / "predictions.parquet").height == 240
    assert PipelineLibrary(folder).list_templates()[0]["name"] == "glucose_pls"


def test_an_error_of_the_store_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = CliRunner().invoke(app, ["demo", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "is a file, not a folder" in result.stderr
    assert "Traceback" not in result.output


def test_the_version_is_the_packages() -> None:
    from nirs4all_store import __version__

    assert CliRunner().invoke(app, ["--version"]).output.strip() == __version__
