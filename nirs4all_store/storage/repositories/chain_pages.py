"""Makes the SELECTs of chains ranked in one row each, by pages; why so: docs/decisions/0029."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    Select,
    String,
    and_,
    bindparam,
    case,
    false,
    func,
    not_,
    or_,
    select,
)

from ...datasets import AVERAGE, PARTITIONS
from ...metrics import COVERAGE
from ..columns import table_of
from ..models import Pipeline, Prediction, Run
from .chain_summaries import final_rows, json_number, of_target, scored
from .ranking import INFINITY
from .wanted_chains import VAL, Asked

PREDICTIONS, PIPELINES, RUNS = table_of(Prediction), table_of(Pipeline), table_of(Run)
SORTED_BY = {"newest": DateTime, "league": String, "order": Double, "known_as": String}
"""By what rows are sorted, and of which types these are: a page begins behind such values."""
ROUNDING = 1e-6
NUMBERED = "^[0-9]+$"
"""The names of the folds that held out samples are numbers."""


def ranked(asked: Asked, metrics: Sequence[str], *, copies: bool) -> CTE:
    """Return the SELECT of one row for each configuration trained on the same data; with `copies`, for each chain.

    Returns
    -------
    CTE
        What `scored` tells of the best chain (of equal ones what can predict, or else the newest); `rank` (from 1,
        among what is ranked together), `place` (from 1, among all; what has the newest row comes first), `copies` (how
        many chains are of the configuration), `total`, and `known` (how many have a score that need not be computed).
    """
    rows = scored(asked, metrics)
    best_first = (rows.c.order.asc().nulls_last(), rows.c.is_pruned, rows.c.created_at.desc(), rows.c.chain_id)
    copy = func.row_number().over(partition_by=rows.c.same, order_by=best_first).label("copy")
    number = func.count().over(partition_by=rows.c.same).label("copies")
    # Not by the chain that is shown: another one is, where the same was trained again.
    first_id = rows.c.chain_id if copies else func.min(rows.c.chain_id).over(partition_by=rows.c.same)
    counted = select(rows, copy, number, first_id.label("known_as")).subquery("counted")
    newest = func.max(counted.c.created_at).over(partition_by=counted.c.league).label("newest")
    kept = select(counted, newest) if copies else select(counted, newest).where(counted.c.copy == 1)
    placed = kept.subquery("placed")
    first = (placed.c.order.asc().nulls_last(), placed.c.known_as)
    return select(
        placed,
        func.row_number().over(partition_by=placed.c.league, order_by=first).label("rank"),
        func.row_number().over(order_by=(placed.c.newest.desc(), placed.c.league, *first)).label("place"),
        func.count().over().label("total"),
        func.count(case((placed.c.is_known, 1))).over().label("known"),
    ).cte("ranked")


# Cached, as all statements here that are asked often: to make and compile one takes a tenth of the time that it runs.
@lru_cache
def page(asked: Asked, metrics: tuple[str, ...], *, copies: bool, is_limited: bool, is_next: bool) -> Select[Any]:
    """Return the SELECT of the rows of one page, with all that is told of each chain.

    Parameters
    ----------
    asked, metrics, copies
        As for `ranked`.
    is_limited : bool
        Whether it has at most `limit` rows, which is a bound parameter.
    is_next : bool
        Whether it follows a row, of which the bound parameters `after_...` tell the values of `SORTED_BY`.
    """
    chains = ranked(asked, metrics, copies=copies)
    rows = select(chains).order_by(chains.c.place)
    if is_limited:
        rows = rows.limit(bindparam("limit", type_=BigInteger))
    if is_next:
        rows = rows.where(_is_behind(chains))
    return _told_of(rows.cte("page"), asked.target)


def _is_behind(chains: CTE) -> ColumnElement[bool]:
    """Tell whether a row comes after another one, wherever that stands now, or would stand if it is gone."""
    newest, league, order, known_as = (chains.c[name] for name in SORTED_BY)
    after = {name: bindparam(f"after_{name}", type_=kind()) for name, kind in SORTED_BY.items()}
    # What is ranked together moves forward with its newest chain.
    now = select(func.max(newest)).where(league == after["league"]).scalar_subquery()
    then = func.coalesce(now, after["newest"])
    is_worse = or_(order > after["order"], and_(order.is_(None), after["order"].is_not(None)))
    is_equal = order.is_not_distinct_from(after["order"])
    in_league = and_(league == after["league"], or_(is_worse, and_(is_equal, known_as > after["known_as"])))
    return or_(newest < then, and_(newest == then, or_(league > after["league"], in_league)))


@lru_cache
def number_of(asked: Asked, metrics: tuple[str, ...], *, copies: bool) -> Select[Any]:
    """Return the SELECT of how many rows all pages have."""
    return select(func.count()).select_from(ranked(asked, metrics, copies=copies))


def _told_of(found: CTE, target: str | None) -> Select[Any]:
    own, final, folds = PREDICTIONS.alias("own"), final_rows(found), folds_of(found, target)
    is_row = and_(own.c.fold_id == AVERAGE, own.c.partition == VAL)
    val, test, train = (of_target(own.c.scores[partition], target) for partition in PARTITIONS)
    final_test, final_train = (of_target(final.c.scores[partition], target) for partition in PARTITIONS[1:])
    told: Sequence[Any] = (
        own.c.val_score,
        own.c.test_score,
        own.c.train_score,
        final.c.test_score,
        final.c.train_score,
    )
    if target is not None:
        told = [json_number(one, found.c.ranked_by) for one in (val, test, train, final_test, final_train)]
    val_score, test_score, train_score, final_test_score, final_train_score = told
    is_rmse = (own.c.metric if target is None else found.c.ranked_by) == "rmse"
    pooled = func.coalesce(json_number(val, "rmse"), case((is_rmse, val_score)))
    rmsecv = case((pooled < INFINITY, pooled))  # There is none where some samples have no prediction.
    # The error of all samples lies among those of the folds. nirs4all 0.7 has a lower one, of samples that most of the
    # models were trained on.
    is_too_low = and_(PIPELINES.c.judged_by.is_(None), pooled < folds.c.lowest * (1 - ROUNDING))
    is_together = and_(is_row, not_(func.coalesce(is_too_low, false())))
    # The error of a mean of squared errors, as it spreads over the folds, turned into that of its root.
    error = folds.c.mse_sd / func.sqrt(folds.c.n_folds) / (2 * func.nullif(rmsecv, 0))
    # What is held out several times makes it smaller without new samples.
    times = json_number(PIPELINES.c.judged_by, "n_repeats"), json_number(PIPELINES.c.judged_by, COVERAGE, "several")
    are_held_out_once = and_(func.coalesce(times[0], 1) == 1, func.coalesce(times[1], 0) == 0)
    columns = {
        "rmsecv": case((is_together, rmsecv)),
        "rmsecv_sd": case((is_together, json_number(val, "rmse_sd"))),
        "rmsecv_se": case((and_(is_together, is_rmse, are_held_out_once), error)),
        "fold_mean": folds.c.fold_mean,
        "fold_sd": folds.c.fold_sd,
        "n_folds": func.coalesce(folds.c.n_folds, 0),
        "rmsep": func.coalesce(json_number(final_test, "rmse"), json_number(test, "rmse")),
        "rmsec": func.coalesce(json_number(final_train, "rmse"), json_number(train, "rmse")),
        **{name: case((is_together, json_number(val, name))) for name in ("r2", "rpd", "bias", "accuracy", "mcc")},
        "val_score": case((is_row, val_score)),
        "test_score": func.coalesce(final_test_score, test_score),
        "train_score": func.coalesce(final_train_score, train_score),
        "has_final": final.c.chain_id.is_not(None),
    }
    joined = found.join(own, own.c.prediction_id == found.c.prediction_id)
    joined = joined.join(PIPELINES, PIPELINES.c.pipeline_id == found.c.pipeline_id)
    joined = joined.outerjoin(RUNS, RUNS.c.run_id == PIPELINES.c.run_id)
    joined = joined.outerjoin(final, final.c.chain_id == found.c.chain_id)
    joined = joined.outerjoin(folds, folds.c.chain_id == found.c.chain_id)
    return (
        select(
            *(found.c[name] for name in ("place", "rank", "chain_id", "score")),
            found.c.ranked_by.label("metric"),
            *(value.label(name) for name, value in columns.items()),
            *(own.c[name] for name in ("model_name", "model_class", "preprocessings", "best_params", "task_type")),
            *(own.c[name] for name in ("n_samples", "n_features", "dataset_name")),
            *(PIPELINES.c[name] for name in ("dataset_id", "judged_by", "run_id")),
            RUNS.c.name.label("run_name"),
            *(found.c[name] for name in ("pipeline_id", "created_at", "copies", "total", "known", *SORTED_BY)),
        )
        .select_from(joined)
        .order_by(found.c.place)
    )


def folds_of(chains: CTE, target: str | None) -> CTE:
    """Return the SELECT of how the scores of each chain's folds differ, of what each held out.

    They are NULL where one of the folds has no score: the mean of the others would look better than the chain is.
    """
    told: ColumnElement[float | None] = PREDICTIONS.c.val_score
    if target is not None:
        told = json_number(of_target(PREDICTIONS.c.scores[VAL], target), chains.c.ranked_by)
    score = case((told < INFINITY, told))
    by_metric = case((PREDICTIONS.c.metric == "rmse", score), (PREDICTIONS.c.metric == "mse", func.sqrt(score)))
    rmse = func.coalesce(json_number(of_target(PREDICTIONS.c.scores[VAL], target), "rmse"), by_metric)
    values = {
        "fold_mean": func.avg(score),
        "fold_sd": func.stddev_samp(score),
        "mse_sd": func.stddev_samp(score * score),
        "lowest": func.min(rmse),
    }
    are_all = func.count(score) == func.count()
    return (
        select(
            PREDICTIONS.c.chain_id,
            *(case((are_all, value)).label(name) for name, value in values.items()),
            func.count().label("n_folds"),
        )
        .join(chains, chains.c.chain_id == PREDICTIONS.c.chain_id)
        .where(PREDICTIONS.c.partition == VAL, PREDICTIONS.c.fold_id.regexp_match(NUMBERED))
        .group_by(PREDICTIONS.c.chain_id)
        .cte("folds")
    )
