"""What a figure tells of a prediction: its targets and their units, and which fold held out each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ..datasets import AVERAGE, PARTITIONS
from ..metrics import COVERAGE
from ..store import WorkspaceStore
from .listings import way_of, with_params

MOST_FOLDS = 10
"""Of more folds, nobody would tell the colours apart."""
OF_PARTITION = {"val": "cross-validation", "test": "test", "train": "calibration"}


def drawing_of(store: WorkspaceStore, prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction with what a figure tells of it.

    Parameters
    ----------
    store : WorkspaceStore
    prediction : dict
        With its arrays.

    Returns
    -------
    dict
        The prediction; `title`; `target_names` and `units` as its dataset has them; and, of all folds together,
        `groups`: which fold or repeat held out each sample, as `fold 0`. Of repeats the values are those of each.
    """
    pipeline = store.get_pipeline(prediction["pipeline_id"]) or {}
    dataset = (store.get_dataset(pipeline["dataset_id"]) or {}) if pipeline.get("dataset_id") else {}
    described = {name: dataset.get(name) for name in ("target_names", "units")}
    return prediction | _held_out(store, prediction) | described | {"title": title_of(prediction)}


def _held_out(store: WorkspaceStore, prediction: dict[str, Any]) -> dict[str, Any]:
    """Return the values that each fold predicted of what it held out, and which fold or repeat that was."""
    if (prediction["fold_id"], prediction["partition"]) != (AVERAGE, PARTITIONS[0]):
        return {}
    rows = store.query_predictions(pipeline_id=prediction["pipeline_id"], partition=PARTITIONS[0])
    rows = rows.filter(pl.col("chain_id") == prediction["chain_id"], pl.col("fold_id") != AVERAGE)
    rows = rows.sort("repeat", pl.col("fold_id").str.len_chars(), "fold_id")  # 10 after 9.
    word = "fold_id" if rows["repeat"].n_unique() < 2 else "repeat"
    # What several models say of one sample would lie, as a mean, closer to the truth than any model comes.
    is_mean = word == "repeat" or COVERAGE in ((prediction["scores"] or {}).get(PARTITIONS[0]) or {})
    if not rows.height or (rows.height > MOST_FOLDS and not is_mean):
        return {}
    found = [store.get_prediction(name, load_arrays=True) or {} for name in rows["prediction_id"]]
    if any(own.get(name) is None for own in found for name in ("y_true", "y_pred")):
        return {}
    groups = [np.full(len(own["y_true"]), f"{word.removesuffix('_id')} {own[word]}") for own in found]
    values = {name: np.concatenate([own[name] for own in found]) for name in ("y_true", "y_pred")}
    return values | {"groups": np.concatenate(groups)}


def title_of(prediction: Mapping[str, Any]) -> str:
    """Return of which model, data and samples a prediction is."""
    way = way_of(prediction.get("preprocessings"), with_params(prediction))
    fold = "" if prediction["fold_id"] in (AVERAGE, "final") else f", fold {prediction['fold_id']}"
    part = OF_PARTITION.get(prediction["partition"], prediction["partition"])
    return f"{way}, {prediction['dataset_name']}: {part}{fold}"
