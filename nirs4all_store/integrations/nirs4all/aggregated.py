"""Least, largest and mean scores over the predictions of a chain: nirs4all's `query_aggregated_predictions`.

0.7.1 has a row for each chain, name of a model, metric and dataset. 1.4.10 adds columns to the summary of each chain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

from ...errors import InvalidInputError
from .documents import Row
from .summaries import AGGREGATED, FOLDS_TOGETHER, SCORES

OF_CHAIN = {
    "run_id": pl.String,
    "pipeline_id": pl.String,
    "chain_id": pl.String,
    "model_class": pl.String,
    "model_step_idx": pl.Int64,
    "preprocessings": pl.String,
    "branch_path": pl.String,
    "source_index": pl.Int64,
}
"""What 0.7.1 says of the chain in each row."""
BY = ("model_name", "metric", "dataset_name")
FINAL = pl.col("refit_context").is_not_null() | pl.col("fold_id").is_in(["final", "fold_final"])
SCOPES = {"cv": ~FINAL, "final": FINAL, "all": pl.lit(True)}
"""Which predictions 1.4.10 means by a `score_scope`."""
TOGETHER = [*FOLDS_TOGETHER, *(f"fold_{name}" for name in FOLDS_TOGETHER)]
STATISTICS = [
    statistic(name).alias(f"{how}_{name}")
    for name in SCORES
    for how, statistic in (("min", pl.min), ("max", pl.max), ("avg", pl.mean))
]


def by_metric(chains: Iterable[Row], predictions: pl.DataFrame) -> pl.DataFrame:
    """Return what 0.7.1 asks for.

    Parameters
    ----------
    chains : iterable of dict
        With the columns of `OF_CHAIN`.
    predictions : polars.DataFrame
        The columns of `query_predictions`.
    """
    judged = predictions.filter(pl.col("refit_context").is_null())
    told = pl.DataFrame([{name: row[name] for name in OF_CHAIN} for row in chains], schema=OF_CHAIN)
    joined = told.join(judged, on="chain_id", suffix=" of a prediction").sort("partition", "fold_id", "created_at")
    return joined.group_by(*OF_CHAIN, *BY, maintain_order=True).agg(
        pl.col("fold_id").n_unique().alias("fold_count"),
        pl.col("partition").n_unique().alias("partition_count"),
        pl.col("partition").unique(maintain_order=True).alias("partitions"),
        *STATISTICS,
        pl.col("prediction_id").alias("prediction_ids"),
        pl.col("fold_id").alias("fold_ids"),
    )


def with_scope(summaries: pl.DataFrame, predictions: pl.DataFrame, scope: str) -> pl.DataFrame:
    """Return what 1.4.10 asks for: the summaries of those chains that have predictions in a scope, and their columns.

    Raises
    ------
    InvalidInputError
        There is no such scope.
    """
    if scope not in SCOPES:
        raise InvalidInputError(f"there is no score_scope {scope!r}; use one of {', '.join(SCOPES)}")
    single = ~(pl.col("fold_id").is_in(TOGETHER) | pl.col("fold_id").str.ends_with(AGGREGATED))
    counted = predictions.filter(SCOPES[scope], single).group_by("chain_id", maintain_order=True)
    columns = counted.agg(
        pl.lit(scope).alias("score_scope"),
        *STATISTICS,
        pl.len().alias("prediction_count"),
        pl.col("fold_id").n_unique().alias("fold_count"),
        pl.col("prediction_id").alias("prediction_ids"),
        pl.col("fold_id").unique(maintain_order=True).alias("fold_ids"),
    ).with_columns(pl.col("prediction_ids", "fold_ids").map_elements(_as_json, pl.String))
    return summaries.join(columns, on="chain_id", maintain_order="left")


def _as_json(names: pl.Series) -> str:
    return json.dumps(names.to_list())
