"""What `resume=True` leaves out: which pipelines a runner has completed before. See docs/decisions/0014."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ..datasets import AVERAGE, FINAL, PARTITIONS, TrainingData
from ..metrics import WEIGHTED
from ..store import WorkspaceStore
from ..validation import json_text, parse_json
from .cross_validation import splitter_of
from .operators import is_whole
from .pipeline_config import PipelineSpec
from .repeats import Folds, coverage_of, judged_by

CONFIG = {"runner": "PipelineRunner"}
"""The configuration of every run that a runner begins; `resume` finds the runs by it."""


def key_of(pipeline: PipelineSpec) -> str | None:
    """Return what two pipelines have in common if they are the same, whoever wrote them; None if nobody can tell."""
    config = json_text(pipeline.config, "a configuration") or "null"
    return json.dumps(json.loads(config), sort_keys=True) if is_whole(pipeline.config) else None


def is_of_a_runner(config: Any) -> bool:
    """Tell whether a runner began the run that has this configuration; newer ones say more in it."""
    return isinstance(config, dict) and config.items() >= CONFIG.items()


def completed_before(store: WorkspaceStore, pipelines: Sequence[PipelineSpec], data: TrainingData) -> dict[str, str]:
    """Return which of these pipelines a runner completed on the same data, and can be ranked: their keys, and the ids.

    Those of bundles are not among them: what their files say of configurations and data is not known to be so. Older
    versions left out the rows whose X misses a value before they took the hash; so it is asked for with and without.
    Nor are those among them whose scores are weighted where these are not to be, or the other way round.
    """
    runs = [
        run
        for run, config in store.list_runs(limit=None).select("run_id", "config").iter_rows()
        if config is not None and is_of_a_runner(parse_json(config, "config"))
    ]
    judged = store.query_predictions(fold_id=AVERAGE, partition=PARTITIONS[0])["pipeline_id"]
    rows = store.list_pipelines().filter(
        pl.col("run_id").is_in(runs),
        pl.col("status") == "completed",
        pl.col("pipeline_id").is_in(judged.implode()),
        pl.col("judged_by").str.json_path_match(f"$.{WEIGHTED}").is_not_null() == pipelines[0].weighted_scores,
    )
    completed = {
        (digest, json.dumps(parse_json(config, "expanded_config"), sort_keys=True)): pipeline_id
        for digest, config, pipeline_id in rows.select("dataset_hash", "expanded_config", "pipeline_id").iter_rows()
    }
    return {
        key: completed[digest, key]
        for pipeline in pipelines
        if (key := key_of(pipeline)) is not None
        for digest in (data.content_hash, pipeline.samples(data).content_hash)
        if (digest, key) in completed
    }


def tell_judged_by(
    store: WorkspaceStore, pipeline_id: str, pipeline: PipelineSpec, data: TrainingData, folds: Folds
) -> None:
    """Store by what a pipeline was judged that was trained before that was stored; else it is ranked alone.

    It is known only if the rows of its folds are those of today, of which each is held out at most once: scores of
    repeats, and of several targets, were made in another way then.
    """
    stored = store.get_pipeline(pipeline_id)
    told = judged_by(splitter_of(pipeline, data), folds, data)
    held_out_once = told.get("n_repeats") == 1 or not (coverage_of(folds, len(data.X)) or {"several": 1})["several"]
    if stored is None or stored["judged_by"] is not None or data.y.ndim > 1 or not held_out_once:
        return
    rows = store.query_predictions(pipeline_id=pipeline_id).filter(~pl.col("fold_id").is_in([AVERAGE, FINAL]))
    known = {
        (str(number), partition): data.rows[places]
        for number, fold in enumerate(folds)
        for partition, places in zip(("train", "val"), fold, strict=True)
    }
    for fold, partition, prediction_id in rows.select("fold_id", "partition", "prediction_id").iter_rows():
        if partition != "test":
            own = (store.get_prediction(prediction_id, load_arrays=True) or {}).get("sample_indices")
            if own is None or not np.array_equal(own, known.get((fold, partition), [])):
                return
    if {(fold, partition) for fold, partition in rows.select("fold_id", "partition").iter_rows()} >= known.keys():
        with store.unit_of_work() as uow:
            uow.runs.tell_judged_by(pipeline_id, told)
            uow.commit()
