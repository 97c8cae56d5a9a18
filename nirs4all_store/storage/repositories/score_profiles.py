"""Makes the SELECTs that sum up the scores of many chains: by a column, by a parameter, and in classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    String,
    case,
    cast,
    distinct,
    func,
    literal,
    select,
)

from ...metrics import directions
from .ranking import INFINITY


def facet(chains: CTE, column: str, metrics: Sequence[str]) -> Select[Any]:
    """Return the SELECT of how many chains have each value of a column, and their scores."""
    value = cast(chains.c[column], String)
    columns = literal(column).label("column"), value.label("value"), func.count().label("chains")
    return select(*columns, *_scores(chains, metrics)).group_by(value)


def profile(chains: CTE, name: str, metrics: Sequence[str]) -> Select[Any]:
    """Return the SELECT of how chains score with each value of a parameter."""
    value = chains.c.best_params[name].as_string()
    columns = value.label("value"), func.count().label("chains")
    return select(*columns, *_scores(chains, metrics)).where(value.is_not(None)).group_by(value)


def histogram(chains: CTE, bins: int) -> Select[Any]:
    """Return the SELECT of how many scores lie in each of some classes of equal width, the lowest first."""
    score = chains.c.score
    scores = select(score).where(score < INFINITY, score > -INFINITY).cte("scores")
    ends = select(func.min(scores.c.score).label("low"), func.max(scores.c.score).label("high")).cte("ends")
    width = (ends.c.high - ends.c.low) / bins
    # The greatest score lies in the last class, and all scores do where they are the same.
    number = func.least(bins - 1, func.coalesce(func.floor((scores.c.score - ends.c.low) / func.nullif(width, 0)), 0))
    place = cast(number, BigInteger)
    bounds = (ends.c.low + place * width).label("lower"), (ends.c.low + (place + 1) * width).label("upper")
    query = select(*bounds, func.count().label("chains")).select_from(scores.join(ends, literal(True)))
    return query.group_by(place, ends.c.low, ends.c.high).order_by(place)


def _scores(chains: CTE, metrics: Sequence[str]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the best and the median score of a group; NULL where it has scores that are not ranked together.

    Of what is best where it is nearest to a value, as a bias, there is no best: it would have lost its sign.
    """
    score = chains.c.score
    is_one = func.count(distinct(chains.c.league)) == 1
    metric = func.min(chains.c.ranked_by)
    known = case((score < INFINITY, score))
    lower, higher, *_ = directions(metrics)
    best = case((metric.in_(lower), func.min(known)), (metric.in_(higher), func.max(known)))
    median = func.percentile_cont(0.5).within_group(known.asc())
    return case((is_one, best)).label("best"), case((is_one, median)).label("median")
