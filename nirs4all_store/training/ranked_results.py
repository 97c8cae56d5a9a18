"""What a run returns: the predictions of its pipelines, those of the best model first."""

from __future__ import annotations

import polars as pl

from ..datasets import AVERAGE, PARTITIONS
from ..metrics import lower_is_better
from ..store import WorkspaceStore


def ranked(store: WorkspaceStore, pipeline_ids: list[str]) -> pl.DataFrame:
    """Return the predictions of pipelines with `score`, the row's own; those of the best chain first.

    What was judged by other folds or metrics is ranked apart.
    """
    frame = pl.concat([store.query_predictions(pipeline_id=pipeline_id) for pipeline_id in pipeline_ids])
    judged = store.list_pipelines().select("pipeline_id", folds=pl.col("judged_by").str.json_path_match("$.folds"))
    frame = frame.join(judged, on="pipeline_id", how="left", maintain_order="left")
    lower = pl.col("metric").map_elements(lower_is_better, pl.Boolean)
    order = pl.when(lower).then(pl.col("val_score")).otherwise(-pl.col("val_score"))
    rank = frame.filter(pl.col("fold_id") == AVERAGE).group_by("chain_id").agg(rank=order.first())
    keys = [
        pl.col("task_type"),
        pl.col("metric"),
        pl.col("folds"),
        pl.col("rank"),
        pl.col("chain_id"),
        pl.col("fold_id") != AVERAGE,
        pl.col("fold_id").cast(pl.Int64, strict=False),
        pl.col("partition").replace_strict(PARTITIONS, range(len(PARTITIONS))),
    ]
    own = pl.coalesce(pl.when(pl.col("partition") == part).then(pl.col(f"{part}_score")) for part in PARTITIONS)
    found = frame.join(rank, on="chain_id", maintain_order="left").sort(keys, nulls_last=True)
    return found.drop("rank", "folds").with_columns(score=own)
