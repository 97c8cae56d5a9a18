"""Ranks predictions within leagues: what was judged by the same data, folds, task and metric.

Only a score that is not stored is computed from arrays. Why leagues, and which stored scores are trusted:
docs/decisions/0023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...errors import InvalidInputError
from ...metrics import (
    BEST_VALUE,
    MAIN,
    NAMES,
    TARGETS,
    UNIT_FREE,
    UNPREDICTED,
    WEIGHTED,
    distance_from_best,
    is_missing,
    repeats_of,
)
from ...validation import parse_json
from . import ranking

ROWS_AT_ONCE = 1_000
"""Of so many predictions the arrays are in memory at a time."""
Row = dict[str, Any]
Arrays = Callable[[pl.DataFrame], dict[str, list[Row]]]


@dataclass(frozen=True)
class Wanted:
    """What to rank by, and what to keep.

    Attributes
    ----------
    n : int
        How many rows of each league, or of each group in it.
    metric : str
        One of `ranking.SCORES`, or of `metrics.NAMES`.
    ascending : bool or None
        Whether a lower value is better; None: the metric decides.
    group_by : str or None
        A column.
    target : str or None
        By whose scores to rank; None: by those of the only target, or by the mean over targets of what has no unit.
    folds : tuple of str
        Of each chain, keep the rows of the first of these folds that it has; empty: keep all.
    once : bool
        Keep the best of what was trained with the same configuration; of equal ones what can predict, or the newest.
    """

    n: int
    metric: str
    ascending: bool | None = None
    group_by: str | None = None
    target: str | None = None
    folds: tuple[str, ...] = ()
    once: bool = False


def ranked(rows: pl.DataFrame, wanted: Wanted, arrays: Arrays) -> pl.DataFrame:
    """Return the best rows of each league, best first; the league with the newest row comes first.

    Parameters
    ----------
    rows : polars.DataFrame
        What `ranking.candidates` selects.
    wanted : Wanted
    arrays : callable
        Returns the arrays of predictions, by id, for their rows: a list of one, or of one for each repeat of the
        cross-validation.

    Returns
    -------
    polars.DataFrame
        The columns of predictions, `score` (what was ranked by) and `rank` (in the league and group, from 1).

    Raises
    ------
    InvalidInputError
        Metrics of the same data rank in opposite directions, or several targets have no score in common.
    """
    rows = with_scores(_of_folds(rows, wanted.folds), wanted, arrays).filter(pl.col("score").is_not_null())
    league = ["dataset", "folds"]
    if wanted.ascending is None:
        _check_directions(rows)
        league += ["task_type", "ranked_by"]
        order = pl.lit(None, pl.Float64)
        for metric in rows["ranked_by"].unique():
            values = pl.Series(distance_from_best(metric, rows["score"].to_numpy()))
            order = pl.when(pl.col("ranked_by") == metric).then(values).otherwise(order)
    else:
        order = pl.col("score") if wanted.ascending else -pl.col("score")
    rows = rows.with_columns(order=order, newest=-pl.col("created_at").max().over(league).dt.timestamp())
    if wanted.once:
        same = [*league, "configuration", "model_name", "preprocessings", "branch_id", "fold_id", "partition"]
        # Of equal ones, as in `chain_summaries.ranked`: what can predict, or else the newest.
        rows = rows.sort("order", "is_pruned", -pl.col("created_at").dt.timestamp(), "chain_id")
        rows = rows.unique(same, keep="first", maintain_order=True)
    rows = rows.sort("newest", *league, "order", "prediction_id")
    group = league if wanted.group_by is None else [*league, wanted.group_by]
    rows = rows.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(group))
    return rows.filter(pl.col("rank") <= wanted.n).select(*ranking.PREDICTIONS.c.keys(), "score", "rank")


def _of_folds(rows: pl.DataFrame, folds: Sequence[str]) -> pl.DataFrame:
    """Return of each chain the rows of the first fold that it has."""
    if not folds:
        return rows
    rows = rows.filter(pl.col("fold_id").is_in([*folds]))
    place = pl.col("fold_id").replace_strict([*folds], [*range(len(folds))], return_dtype=pl.Int64)
    return rows.filter(pl.col("chain_id").is_null() | (place == place.min().over("chain_id", "partition")))


def _check_directions(rows: pl.DataFrame) -> None:
    """Raise if a lower value of one metric is better, and a higher of another: for one kind of task only on same data.

    What was judged by other data stands apart anyway.
    """
    by = ["dataset", "folds"] if rows["task_type"].n_unique() == 1 else [pl.lit(1)]
    for metrics in rows.group_by(by).agg(pl.col("ranked_by").unique())["ranked_by"]:
        ranking.direction(sorted(set(metrics) - set(BEST_VALUE)))


def with_scores(rows: pl.DataFrame, wanted: Wanted, arrays: Arrays) -> pl.DataFrame:
    """Return the rows with `score`, which may be null, and `ranked_by`, the metric that it is; see `ranked`."""
    if wanted.metric in ranking.SCORES and wanted.target is None:
        return rows.with_columns(ranked_by=pl.col("metric"), score=pl.col(wanted.metric))
    is_classes = pl.col("task_type").str.contains("classification")
    if wanted.metric in ranking.SCORES:
        main = pl.when(is_classes).then(pl.lit(MAIN["classification"])).otherwise(pl.lit(MAIN["regression"]))
        rows = rows.with_columns(ranked_by=main)
    else:
        of_task = is_classes == (wanted.metric in NAMES["classification"])
        rows = rows.filter(of_task).with_columns(ranked_by=pl.lit(wanted.metric))
    rows = _of_target(rows, wanted.target)
    scores: list[float | None] = []
    for part in rows.iter_slices(ROWS_AT_ONCE):
        stored = [_stored(row, wanted.target) for row in part.iter_rows(named=True)]
        is_stored = pl.Series([score is not None for score in stored], dtype=pl.Boolean)
        unknown = part.filter(~is_stored | pl.col("judged_by").is_null())
        found = arrays(unknown) if unknown.height and wanted.target is None else {}
        for row, score in zip(part.iter_rows(named=True), stored, strict=True):
            parts = found.get(row["prediction_id"], [])
            are_known = bool(parts) and all(own[name] is not None for own in parts for name in ("y_true", "y_pred"))
            is_weighted = are_known and bool(_decoded(row["judged_by"]).get(WEIGHTED))
            scores.append(_computed(row["ranked_by"], parts, is_weighted) if are_known else score)
    return rows.with_columns(score=pl.Series(scores, dtype=pl.Float64))


def _of_target(rows: pl.DataFrame, target: str | None) -> pl.DataFrame:
    """Return the rows that predict a target."""
    if target is None:
        return rows
    names = [_targets_of(row) for row in rows.select("judged_by", "scores", "partition").iter_rows(named=True)]
    if not any(target in own for own in names):
        known = sorted({name for own in names for name in own})
        takes = (
            f"target= takes {', '.join(known)}" if known else "leave target= out: no names of targets are known here"
        )
        raise InvalidInputError(f"nothing here predicts {target!r}; {takes}")
    return rows.filter(pl.Series([target in own for own in names]))


def _targets_of(row: Row) -> list[str]:
    """Return the names of the targets of a prediction; those without names are y1, y2, ..., as in the scores."""
    return targets_in(row["judged_by"]) or _targets_in(_decoded(row["scores"]).get(row["partition"]))


def targets_in(text: str | None) -> list[str]:
    """Return the names of the targets that scores, or `judged_by` of a pipeline, tell of as JSON."""
    return _targets_in(_decoded(text))


def _targets_in(told: Any) -> list[str]:
    found = told.get(TARGETS) if isinstance(told, dict) else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list | dict) else []


def _decoded(text: str | None) -> Row:
    found = parse_json(text, "predictions.scores") if text else {}
    return found if isinstance(found, dict) else {}


def _stored(row: Row, target: str | None) -> float | None:
    """Return the score of a prediction as it was stored."""
    metric = row["ranked_by"]
    scores = _decoded(row["scores"]).get(row["partition"])
    if not isinstance(scores, dict):
        return None
    targets = scores.get(TARGETS)
    targets = targets if isinstance(targets, dict) else {}
    if targets and target is None and metric not in scores and metric not in UNIT_FREE:
        raise no_common_unit(metric, [*targets])
    own = targets.get(target, scores)
    own = own if isinstance(own, dict) else {}
    value = math.nan if UNPREDICTED in own else own.get(metric)
    return float(value) if isinstance(value, int | float) else None


def _computed(metric: str, parts: Sequence[Row], is_weighted: bool) -> float | None:
    """Return the mean of the scores of each repeat: a mean over the repeats' predictions would look better than it."""
    values = [_computed_of_one(metric, arrays, arrays["weights"] if is_weighted else None) for arrays in parts]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _computed_of_one(metric: str, arrays: Row, weights: Any) -> float | None:
    # scikit-learn takes longer to load than most rankings.
    from ...metrics import score_of

    y, y_pred = arrays["y_true"], arrays["y_pred"]
    if y.shape != y_pred.shape:
        return None
    if y.ndim == 1:
        return score_of(metric, y, y_pred, arrays["y_proba"], weights)
    if metric not in UNIT_FREE and metric not in NAMES["classification"]:
        raise no_common_unit(metric, [f"y{number + 1}" for number in range(y.shape[1])])
    values = [
        score_of(metric, y[rows, target], y_pred[rows, target], weights=None if weights is None else weights[rows])
        for target, rows in enumerate(~is_missing(y).T)
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def by_repeat(folds: Sequence[Row]) -> list[Row]:
    """Join the arrays of folds that belong to one repeat; of all, where they do not come in repeats.

    Parameters
    ----------
    folds : sequence of dict
        The arrays of what each fold holds out, with `sample_indices`.
    """
    held_out = [fold["sample_indices"] for fold in folds]
    samples = np.unique(np.concatenate(held_out))
    repeats = repeats_of([np.searchsorted(samples, own) for own in held_out], len(samples))
    return [_joined([folds[number] for number in repeat]) for repeat in repeats or [[*range(len(folds))]]]


def is_held_out(together: Row, folds: Sequence[Row]) -> bool:
    """Tell whether the predictions of all folds together are those of the folds, each for what it held out.

    nirs4all 0.7 stores there what the mean of all models predicts, most of which were trained on the sample: RMSE of
    these looks better than RMSECV is.
    """
    places = together["sample_indices"]
    held_out = _joined(folds)["y_pred"]
    if places is None or held_out is None or together["y_pred"].shape != held_out.shape:
        return True
    order = np.argsort(np.concatenate([fold["sample_indices"] for fold in folds]), kind="stable")
    ours, theirs = together["y_pred"][np.argsort(places, kind="stable")], held_out[order]
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu":
        return bool(np.array_equal(ours, theirs))
    return bool(np.allclose(ours, theirs, rtol=1e-6, atol=0, equal_nan=True))


def _joined(folds: Sequence[Row]) -> Row:
    """Return the arrays of several folds one after the other; None for those that do not go together."""
    joined: Row = {}
    for name in ("y_true", "y_pred", "y_proba", "weights"):
        values = [fold[name] for fold in folds]
        is_array = all(isinstance(value, np.ndarray) for value in values)
        fits = is_array and len({value.shape[1:] for value in values}) == 1
        joined[name] = np.concatenate(values) if fits else None
    return joined


def no_common_unit(metric: str, targets: list[str]) -> InvalidInputError:
    """Return the error for a mean over targets that have different units, as it may be."""
    return InvalidInputError(
        f"a mean of {metric} over {', '.join(targets)} has no unit; name one of them with target=, or rank by "
        f"{', '.join(UNIT_FREE)}"
    )
