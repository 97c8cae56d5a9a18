"""Makes the SELECTs that sum up the scores of many chains: by a column, by a parameter, and in classes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import polars as pl
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    String,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)

from ...metrics import directions
from .chain_summaries import scored
from .ranking import INFINITY, direction
from .wanted_chains import Asked


@lru_cache
def facets(asked: Asked, columns: tuple[str, ...]) -> Select[Any]:
    """Return the SELECT of how many configurations have each value of some columns, and their scores."""
    chains = scored(asked, (), columns)
    parts = []
    for column in columns:  # In one statement, so that the chains are summed up once.
        value = cast(chains.c[column], String)
        told = literal(column).label("column"), value.label("value"), _number(chains)
        parts.append(select(*told, *_scores(chains)).group_by(value))
    return select(union_all(*parts).subquery())


@lru_cache
def profile(asked: Asked, name: str) -> Select[Any]:
    """Return the SELECT of how chains score with each value of a parameter."""
    chains = scored(asked, (), ("best_params",))
    value = chains.c.best_params[name].as_string()
    columns = value.label("value"), _number(chains)
    return select(*columns, *_scores(chains)).where(value.is_not(None)).group_by(value)


@lru_cache
def histogram(asked: Asked) -> Select[Any]:
    """Return the SELECT of how many scores lie in each of `bins` classes of equal width, the lowest first.

    What is not ranked together has classes of its own, in the order of `rank_chains`.
    """
    chains, bins = scored(asked, (), ("dataset_name",)), bindparam("bins", type_=BigInteger)
    told = select(*(chains.c[name] for name in ("score", "league", "same", "ranked_by", "dataset_name", "created_at")))
    scores = told.where(chains.c.score < INFINITY, chains.c.score > -INFINITY).cte("scores")
    values = {
        "low": func.min(scores.c.score),
        "high": func.max(scores.c.score),
        "newest": func.max(scores.c.created_at),
        "dataset_name": func.min(scores.c.dataset_name),
        "metric": func.min(scores.c.ranked_by),
    }
    grouped = select(scores.c.league, *(value.label(name) for name, value in values.items()))
    leagues = grouped.group_by(scores.c.league).cte("leagues")
    number_of = func.row_number().over(order_by=(leagues.c.newest.desc(), leagues.c.league)).label("ranking")
    ends = select(leagues, number_of).cte("ends")
    width = (ends.c.high - ends.c.low) / bins
    # The greatest score lies in the last class, and all scores do where they are the same.
    number = func.least(bins - 1, func.coalesce(func.floor((scores.c.score - ends.c.low) / func.nullif(width, 0)), 0))
    place = cast(number, BigInteger)
    bounds = (ends.c.low + place * width).label("lower"), (ends.c.low + (place + 1) * width).label("upper")
    by = ends.c.ranking, ends.c.dataset_name, ends.c.metric
    query = select(*by, *bounds, _number(scores)).select_from(scores.join(ends, ends.c.league == scores.c.league))
    return query.group_by(*by, place, ends.c.low, ends.c.high).order_by(ends.c.ranking, place)


def _number(chains: CTE) -> ColumnElement[int]:
    """Return how many configurations chains are of, as a ranking has rows."""
    return func.count(chains.c.same.distinct()).label("chains")


def _scores(chains: CTE) -> list[ColumnElement[Any]]:
    """Return the metric, and the least, the greatest and the median score of a group; see `with_best`.

    They are NULL where it has scores that are not ranked together.
    """
    known = case((chains.c.score < INFINITY, chains.c.score))
    told = {
        "metric": func.min(chains.c.ranked_by),
        "least": func.min(known),
        "most": func.max(known),
        "median": func.percentile_cont(0.5).within_group(known.asc()),
    }
    is_one = func.min(chains.c.league) == func.max(chains.c.league)
    return [case((is_one, value)).label(name) for name, value in told.items()]


def with_best(found: pl.DataFrame) -> pl.DataFrame:
    """Return rows of groups with their best score in the place of the least and the greatest.

    Of what is best where it is nearest to a value, as a bias, there is no best: it would have lost its sign.

    Raises
    ------
    InvalidInputError
        Nobody knows whether a lower value of a metric is better.
    """
    lower, higher, _, unknown = directions({*found.drop_nulls("least")["metric"]})
    if unknown:
        direction(sorted(unknown))
    best = pl.when(pl.col("metric").is_in(lower)).then("least").when(pl.col("metric").is_in(higher)).then("most")
    names = [name for name in found.columns if name not in ("metric", "least", "most", "median")]
    return found.select(*names, best.alias("best"), "median")
