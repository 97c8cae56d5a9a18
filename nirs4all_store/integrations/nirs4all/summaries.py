"""One row a chain, as nirs4all's readers ask for it: the means over folds, and the scores of the refit.

nirs4all keeps these in columns, and computes them anew after each flush. Here they are computed when they are asked
for, so that they are never out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from ...errors import InvalidInputError
from .documents import Row

FOLDS_TOGETHER = ("avg", "w_avg")
AGGREGATED = "_agg"
SCORES = ("val_score", "test_score", "train_score")
SCHEMA = {
    "chain_id": pl.String,
    "pipeline_id": pl.String,
    "model_class": pl.String,
    "model_step_idx": pl.Int64,
    "model_name": pl.String,
    "preprocessings": pl.String,
    "branch_path": pl.String,
    "source_index": pl.Int64,
    "metric": pl.String,
    "task_type": pl.String,
    "best_params": pl.String,
    "dataset_name": pl.String,
    "cv_val_score": pl.Float64,
    "cv_test_score": pl.Float64,
    "cv_train_score": pl.Float64,
    "cv_fold_count": pl.Int64,
    "cv_scores": pl.String,
    "final_test_score": pl.Float64,
    "final_train_score": pl.Float64,
    "final_scores": pl.String,
    "final_agg_test_score": pl.Float64,
    "final_agg_train_score": pl.Float64,
    "final_agg_scores": pl.String,
    "relation_replay_manifest": pl.String,
    "relation_replay_version": pl.Int64,
    "relation_replay_fingerprint": pl.String,
    "run_id": pl.String,
    "pipeline_status": pl.String,
}


def summaries(chains: Iterable[Row], predictions: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each chain that has a prediction, by id.

    Parameters
    ----------
    chains : iterable of dict
        With the columns of `SCHEMA` that are not computed of predictions.
    predictions : polars.DataFrame
        The columns of `query_predictions`, oldest first.
    """
    of_chains = {key[0]: rows.to_dicts() for key, rows in predictions.group_by("chain_id", maintain_order=True)}
    found = [chain | _summary(of_chains[chain["chain_id"]]) for chain in chains if chain["chain_id"] in of_chains]
    rows = [{name: row.get(name) for name in SCHEMA} for row in sorted(found, key=lambda row: str(row["chain_id"]))]
    return pl.DataFrame(rows, schema=SCHEMA)


def _summary(rows: list[Row]) -> Row:
    folds = [row for row in rows if row["refit_context"] is None]
    first = (folds or rows)[0]
    params = [row["best_params"] for row in (*folds, *rows) if row["best_params"] not in (None, "{}")]
    single = [row for row in folds if row["fold_id"] not in FOLDS_TOGETHER and not row["fold_id"].endswith(AGGREGATED)]
    final = [row for row in rows if row["refit_context"] is not None and row["fold_id"] == "final"]
    tested = next((row for row in final if row["partition"] == "test"), {})
    shown = tested or next((row for row in final if row["partition"] == "train"), {})
    aggregated: Row = next((row for row in rows if (row["fold_id"], row["partition"]) == ("final_agg", "test")), {})
    return {
        **{name: first[name] for name in ("model_name", "metric", "task_type")},
        "best_params": params[0] if params else None,
        **{f"cv_{name}": _mean([row[name] for row in single]) for name in SCORES},
        "cv_fold_count": len({row["fold_id"] for row in single} - {""}),
        "cv_scores": _mean_scores(single),
        "final_test_score": tested.get("test_score"),
        "final_train_score": shown.get("train_score"),
        "final_scores": shown.get("scores"),
        "final_agg_test_score": aggregated.get("test_score"),
        "final_agg_train_score": aggregated.get("train_score"),
        "final_agg_scores": aggregated.get("scores"),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_scores(rows: list[Row]) -> str | None:
    """Return the means of all scores over folds, by partition and name, as JSON text."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        scores = json.loads(row["scores"] or "{}")
        own = scores.get(row["partition"], scores)
        for name, value in own.items() if isinstance(own, dict) else ():
            if isinstance(value, int | float):
                values.setdefault(row["partition"], {}).setdefault(name, []).append(float(value))
    means = {part: {name: round(sum(own) / len(own), 6) for name, own in told.items()} for part, told in values.items()}
    return json.dumps(means) if means else None


def matching(frame: pl.DataFrame, **filters: Any) -> pl.DataFrame:
    """Return the rows that match all filters: a value, some values, or a pattern of SQL's LIKE; None: any."""
    for name, wanted in filters.items():
        if isinstance(wanted, str) and "%" in wanted:
            pattern = ".*".join(pl.escape_regex(part).replace("_", ".") for part in wanted.split("%"))
            frame = frame.filter(pl.col(name).str.contains(f"(?is)^{pattern}$"))
        elif isinstance(wanted, list | tuple) and wanted:
            frame = frame.filter(pl.col(name).is_in(wanted))
        elif wanted is not None and not isinstance(wanted, list | tuple):
            frame = frame.filter(pl.col(name) == wanted)
    return frame


def ranked(frame: pl.DataFrame, column: str, *, ascending: bool) -> pl.DataFrame:
    """Return rows by a column, those without a value last; an unknown column raises `InvalidInputError`."""
    return frame.sort(known(frame, column), descending=not ascending, nulls_last=True, maintain_order=True)


def known(frame: pl.DataFrame, column: str) -> str:
    """Return the name of a column that is there; another one raises `InvalidInputError`."""
    if column not in frame.columns:
        raise InvalidInputError(f"there is no column {column!r} here; use one of {', '.join(frame.columns)}")
    return column
