"""What a run returns: the predictions of its pipelines, those of the best model first."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence

import polars as pl

from ..datasets import AVERAGE, FINAL, PARTITIONS
from ..errors import DataWarning
from ..metrics import UNPREDICTED, lower_is_better
from ..store import WorkspaceStore


def ranked(store: WorkspaceStore, pipeline_ids: list[str]) -> pl.DataFrame:
    """Return the predictions of pipelines with `score`, the row's own; those of the best chain first.

    What was judged by other folds or metrics is ranked apart.
    """
    frame = pl.concat([store.query_predictions(pipeline_id=pipeline_id) for pipeline_id in pipeline_ids])
    pipelines = store.list_pipelines(pipeline_ids=pipeline_ids)
    judged = pipelines.select("pipeline_id", folds=pl.col("judged_by").str.json_path_match("$.folds"))
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


def warn_of_unpredicted(predictions: pl.DataFrame) -> None:
    """Warn once of the models that predict NaN for some samples of a partition, and so have no score.

    Parameters
    ----------
    predictions : polars.DataFrame
        What `ranked` returns.
    """
    rows = predictions.filter(pl.col("fold_id").is_in([AVERAGE, FINAL]), pl.col("score").is_nan())
    if rows.is_empty():
        return
    first = rows.sort(pl.col("partition") != PARTITIONS[0], maintain_order=True).row(0, named=True)
    count = json.loads(first["scores"])[first["partition"]][UNPREDICTED]
    others = rows["chain_id"].n_unique() - 1
    warnings.warn(
        f"{first['model_name']} gives no prediction (NaN) for {count:,} of {first['n_samples']:,} samples "
        f"({first['partition']})"
        + f", and {others:,} more of the models miss some, too"
        * bool(others)
        + "; a score of the other samples would look better than the model is, so it has none and is ranked last: "
        "let it predict all, as IsotonicRegression with out_of_bounds='clip'",
        DataWarning,
        stacklevel=4,
    )


def warn_of_training(found: Mapping[tuple[type[Warning], str], Sequence[str]]) -> None:
    """Give the warnings of trainings again, with the name of the first pipeline, and how many others gave the same.

    Parameters
    ----------
    found : dict
        Of the kind of each warning and what it says, to the names of the pipelines that gave it.
    """
    for (category, text), names in found.items():
        others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        # Filters look at how a message begins.
        warnings.warn(f"{text} (in {names[0]}{others})", _made_of_text(category), stacklevel=4)


def _made_of_text(category: type[Warning]) -> type[Warning]:
    """Return a kind of warning, or a plain one where it takes something else than a text."""
    try:
        category("")
    except Exception:  # It may be anybody's.
        return UserWarning
    return category
