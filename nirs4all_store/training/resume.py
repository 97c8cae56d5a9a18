"""What `resume=True` leaves out: which pipelines a runner has completed before. See docs/decisions/0014."""

from __future__ import annotations

import json

import polars as pl

from ..datasets import AVERAGE, PARTITIONS, TrainingData
from ..store import WorkspaceStore
from ..validation import json_text, parse_json
from .operators import is_whole
from .pipeline_config import PipelineSpec

CONFIG = {"runner": "PipelineRunner"}
"""The configuration of every run that a runner begins; `resume` finds the runs by it."""


def key_of(pipeline: PipelineSpec) -> str | None:
    """Return what two pipelines have in common if they are the same, whoever wrote them; None if nobody can tell."""
    config = json_text(pipeline.config, "a configuration") or "null"
    return json.dumps(json.loads(config), sort_keys=True) if is_whole(pipeline.config) else None


def completed_before(store: WorkspaceStore, data: TrainingData) -> dict[str, str]:
    """Return the pipelines that a runner completed on the same data, and that can be ranked: configuration to id.

    Those of bundles are not among them: what their files say of configurations and data is not known to be so.
    """
    runs = [
        run
        for run, config in store.list_runs(limit=None).select("run_id", "config").iter_rows()
        if config is not None and parse_json(config, "config") == CONFIG
    ]
    judged = store.query_predictions(fold_id=AVERAGE, partition=PARTITIONS[0])["pipeline_id"]
    rows = store.list_pipelines().filter(
        pl.col("run_id").is_in(runs),
        pl.col("status") == "completed",
        pl.col("dataset_hash") == data.content_hash,
        pl.col("pipeline_id").is_in(judged.implode()),
    )
    pairs = rows.select("expanded_config", "pipeline_id").iter_rows()
    return {
        json.dumps(parse_json(config, "expanded_config"), sort_keys=True): pipeline_id for config, pipeline_id in pairs
    }
