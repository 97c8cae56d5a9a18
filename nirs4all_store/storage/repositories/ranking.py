"""Makes the SQL statements that rank predictions, and tells whether a lower value of a metric is better.

What is never ranked together, and why: docs/decisions/0023.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    String,
    bindparam,
    case,
    cast,
    distinct,
    func,
    literal_column,
    select,
)

from ...chains import SCORE_ONLY
from ...errors import InvalidInputError
from ...metrics import lower_is_better
from ..columns import table_of
from ..models import Chain, Pipeline, Prediction

INFINITY = cast(literal_column("'Infinity'"), Double)
PREDICTIONS, PIPELINES = table_of(Prediction), table_of(Pipeline)

SCORES = ("val_score", "test_score", "train_score")
FOLDS = func.coalesce(func.json_extract_string(PIPELINES.c.judged_by, "$.folds"), "")
"""The hash of the folds by which a pipeline was judged."""
DATASET = case((func.length(PIPELINES.c.dataset_hash) == 64, PIPELINES.c.dataset_hash), else_=PIPELINES.c.dataset_name)
"""The SHA-256 of all that a pipeline was trained on; its name where there is none (nirs4all 0.7.0 hashed settings)."""
NO_CONFIGURATION = ("{}", "[]", "null")
"""What stands for the configuration of a pipeline whose models one's own code made: nobody knows which are the same."""
PRUNED = select(table_of(Chain).c.chain_id).where(table_of(Chain).c.fold_strategy == SCORE_ONLY)
"""The chains that cannot predict any more."""


def configuration(own_id: ColumnElement[str]) -> ColumnElement[str]:
    """Return the text by which models of the same configuration are known; without one, the id."""
    text = cast(PIPELINES.c.expanded_config, String)
    return func.coalesce(case((text.not_in(NO_CONFIGURATION), text)), own_id)


class Ranked(NamedTuple):
    """A selection of predictions: those that have a score, which may be NaN, and match all filters.

    Attributes
    ----------
    score : str or None
        The column to rank by, one of `SCORES`; None: a score that is computed later.
    filters : tuple of str
        Names of columns, or `run_id`. Each must equal the value of the bound parameter of the same name.
    """

    score: str | None
    filters: tuple[str, ...]

    @property
    def conditions(self) -> list[Any]:
        """The WHERE clause."""
        is_a_score = [] if self.score is None else [PREDICTIONS.c[self.score].is_not(None)]
        return [*is_a_score, *map(_equals, self.filters)]


def _equals(name: str) -> Any:
    if name == "run_id":
        of_run = select(PIPELINES.c.pipeline_id).where(PIPELINES.c.run_id == bindparam("run_id"))
        return PREDICTIONS.c.pipeline_id.in_(of_run)
    return PREDICTIONS.c[name] == bindparam(name)


# Cached, since making and compiling a statement takes a tenth of the time that it runs.
@lru_cache
def best(ranked: Ranked, ascending: bool, group_by: str | None) -> Select[Any]:
    """Return the SELECT of the best `n` predictions, or of the best `n` of each group, best first.

    Parameters
    ----------
    ranked : Ranked
    ascending : bool
        Whether a lower score is better.
    group_by : str or None
        The column whose values are the groups.

    Returns
    -------
    Select
        `n`, and the filters, are bound parameters. Rows with equal scores are sorted by their ids. NaN comes last: who
        predicts NaN of some samples is no better than anybody.
    """
    score = PREDICTIONS.c[ranked.score or SCORES[0]]
    # The database sorts NaN above all numbers.
    order = (score.asc(),) if ascending else (score > INFINITY, score.desc())
    order = (*order, PREDICTIONS.c.prediction_id)
    if group_by is None:
        return select(PREDICTIONS).where(*ranked.conditions).order_by(*order).limit(bindparam("n"))
    place = func.row_number().over(partition_by=PREDICTIONS.c[group_by], order_by=order).label("place")
    places = select(PREDICTIONS.c.prediction_id, place).where(*ranked.conditions).subquery()
    among = select(places.c.prediction_id).where(places.c.place <= bindparam("n"))
    return select(PREDICTIONS).where(PREDICTIONS.c.prediction_id.in_(among)).order_by(*order)


@lru_cache
def candidates(ranked: Ranked) -> Select[Any]:
    """Return the SELECT of what `leaderboard` has to know of each prediction."""
    own_id = func.coalesce(PREDICTIONS.c.chain_id, PREDICTIONS.c.prediction_id)
    told = (
        configuration(own_id).label("configuration"),
        func.coalesce(PREDICTIONS.c.chain_id.in_(PRUNED), False).label("is_pruned"),
        DATASET.label("dataset"),
        FOLDS.label("folds"),
        PIPELINES.c.judged_by,
    )
    joined = select(PREDICTIONS, *told).join(PIPELINES, PIPELINES.c.pipeline_id == PREDICTIONS.c.pipeline_id)
    return joined.where(*ranked.conditions)


@lru_cache
def kinds(ranked: Ranked) -> Select[Any]:
    """Return the SELECT of whether predictions are ranked together.

    Returns
    -------
    Select
        In how many ways pipelines were judged (on what data, by which folds); then the first metric and task in the
        alphabet, and the last ones: if they differ, there are several.
    """
    leagues = select(func.count(distinct(func.concat(DATASET, "/", FOLDS))))
    if "run_id" in ranked.filters:
        leagues = leagues.where(PIPELINES.c.run_id == bindparam("run_id"))
    told = (PREDICTIONS.c.metric, PREDICTIONS.c.task_type)
    first_and_last = (extreme(kind) for extreme in (func.min, func.max) for kind in told)
    return select(leagues.scalar_subquery(), *first_and_last).where(*ranked.conditions)


def direction(metrics: list[str]) -> bool:
    """Tell whether a lower score is better for all these metrics.

    Raises
    ------
    InvalidInputError
        For some a lower and for others a higher score is better, or one is unknown.
    """
    lower = {lower_is_better(metric) for metric in metrics}
    if None in lower:
        unknown = [metric for metric in metrics if lower_is_better(metric) is None]
        raise InvalidInputError(
            f"whether a lower {' or '.join(map(repr, unknown))} is better is not known; say ascending=True (lower "
            "is better) or False, or keep the rows of another metric with score_metric="
        )
    if len(lower) > 1:
        raise InvalidInputError(
            f"the metrics {metrics} rank in opposite directions; keep one with score_metric=, or one kind of "
            "task with task_type=, or say ascending=True or False"
        )
    return lower != {False}
