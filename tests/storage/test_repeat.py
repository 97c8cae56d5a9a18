"""Which repeat of a repeated cross-validation a prediction belongs to."""

import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from nirs4all_store import InvalidTypeError, WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction


def test_a_prediction_says_which_repeat_its_fold_belongs_to(store: WorkspaceStore, tmp_path: Path) -> None:
    _, pipeline_id = add_pipeline(store)
    for repeat in (None, 0, 1):
        add_prediction(store, pipeline_id, repeat=repeat)
    assert sorted(store.query_predictions()["repeat"].drop_nulls()) == [0, 1]
    written = pl.read_parquet(store.export_predictions_parquet(tmp_path / "p"))
    assert sorted(written["repeat"].drop_nulls()) == [0, 1]
    # What was exported can be saved again.
    kept = {"dataset_name", "model_name", "model_class", "fold_id", "partition", "metric", "task_type", "repeat"}
    ids = store.save_predictions(pipeline_id, written.select(sorted(kept)))
    assert [(store.get_prediction(item) or {})["repeat"] for item in ids] == written["repeat"].to_list()
    with pytest.raises(InvalidTypeError, match=r"predictions\.repeat"):
        add_prediction(store, pipeline_id, repeat="first")


@pytest.mark.parametrize("repeat", [None, 0])
def test_the_repeat_travels_in_bundles(store: WorkspaceStore, tmp_path: Path, repeat: int | None) -> None:
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    add_prediction(store, pipeline_id, chain_id=chain_id, repeat=repeat)
    path = store.export_chain(chain_id, tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        manifest, told = (json.loads(archive.read(name)) for name in ("manifest.json", "chain.json"))
    assert manifest["format_version"] == (1 if repeat is None else 2)
    prediction: dict[str, Any] = told["predictions"][0]
    assert ("repeat" in prediction, prediction.get("repeat")) == (repeat is not None, repeat)
    with WorkspaceStore(f"memory:{tmp_path}-there") as there:
        there.import_bundle(path)
        assert there.query_predictions()["repeat"].to_list() == [repeat]
