"""The repository of what is told of many predictions at once: chains ranked, values counted, scores in classes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import polars as pl
from sqlalchemy import Select, func, select

from ...datasets import PARTITIONS
from ...errors import InvalidInputError
from ...metrics import FIELD_NAMES, MAIN, NAMES, UNIT_FREE, directions
from ...validation import checked_int, checked_page, checked_text
from ..columns import refuse_other_columns, table_of
from ..models import Pipeline, Prediction
from ..table_gateway import Repository
from . import chain_pages, chain_summaries, ranking, score_profiles
from .leaderboard import Wanted, no_common_unit, targets_in, with_scores
from .prediction_filters import FILTERS, Shape, bound, conditions
from .predictions import PredictionRepo
from .wanted_chains import WantedChains

PREDICTIONS, PIPELINES = table_of(Prediction), table_of(Pipeline)
METRICS = tuple(name for names in NAMES.values() for name in names)
OF_ROWS = ("partition", "fold_id", "refit_context")
"""Filters that say which of a chain's rows; each chain is ranked by what all of its folds held out."""
OF_CHAINS = tuple(name for name in FILTERS if name not in OF_ROWS)
"""What chains can be counted by."""


@dataclass(frozen=True)
class ChainPage:
    """A page of ranked chains.

    Attributes
    ----------
    rows : polars.DataFrame
        See `WorkspaceStore.rank_chains`.
    total : int
        How many there are on all pages.
    next : str or None
        What to give as `after` for the next page; None after the last.
    """

    rows: pl.DataFrame
    total: int
    next: str | None


class Summaries(Repository):
    """Counts, ranks and sums up predictions inside one unit of work; nothing of it is stored."""

    def rank_chains(
        self, wanted: WantedChains, limit: int | None = 50, after: str | None = None, *, copies: bool = False
    ) -> ChainPage:
        """Return a page of chains, best first; see `WorkspaceStore.rank_chains`."""
        wanted = _checked(wanted)
        limit, _ = checked_page(limit, 0)
        metrics = self._metrics(wanted)
        self._refuse_means_with_a_unit(wanted)
        question = _question(wanted, copies=copies)
        values = {"limit": limit, **_row_before(after, question)}
        kind = {"copies": copies, "is_limited": limit is not None, "is_next": after is not None}
        found = self._tables.frame(chain_pages.page(wanted.asked, metrics, **kind), wanted.values | values)
        if found.height and found["known"][0] < found["total"][0]:
            wanted = replace(wanted, computed=self._computed(wanted))
            found = self._tables.frame(chain_pages.page(wanted.asked, metrics, **kind), wanted.values | values)
        refuse_other_columns(PREDICTIONS, found)
        total = found["total"][0] if found.height else self._number_of(wanted, metrics, copies=copies)
        last = found.row(-1, named=True) if found.height else None
        has_more = last is not None and found.height == limit and last["place"] < total
        rows = found.drop("total", "known", "place", *chain_pages.SORTED_BY).with_columns(
            pl.Series("target", [", ".join(names) or None for names in map(targets_in, found["judged_by"])], pl.String)
        )
        return ChainPage(rows, total, _token(last, question) if last is not None and has_more else None)

    def _computed(self, wanted: WantedChains) -> dict[str, float]:
        """Return scores that are not stored, of the chains of which there are arrays to compute them from."""
        predictions = PredictionRepo(self._tables)
        predictions.refuse_other_columns()
        rows = self._tables.frame(chain_summaries.rows_to_score(wanted.asked), wanted.values)
        found = with_scores(rows, Wanted(0, wanted.metric or ""), predictions.parts_of).drop_nulls("score")
        return dict(found.unique("of", keep="first", maintain_order=True).select("of", "score").iter_rows())

    def _number_of(self, wanted: WantedChains, metrics: tuple[str, ...], *, copies: bool) -> int:
        query = chain_pages.number_of(wanted.asked, metrics, copies=copies)
        return int(self._tables.frame(query, wanted.values).item())

    def _metrics(self, wanted: WantedChains) -> tuple[str, ...]:
        """Return the metrics by which chains are ranked; refuse one of which nobody knows what is better."""
        if wanted.metric is not None:
            return (wanted.metric,)
        if wanted.ascending is not None:
            return ()
        if wanted.target is not None:
            return tuple(MAIN.values())
        found = self._tables.frame(chain_summaries.metrics_of(wanted.asked.filters), wanted.values)
        metrics = tuple(found["metric"].sort())
        for metric in directions(metrics).unknown:
            ranking.direction([metric])
        return metrics

    def _refuse_means_with_a_unit(self, wanted: WantedChains) -> None:
        if wanted.target is not None or wanted.metric not in NAMES["regression"] or wanted.metric in UNIT_FREE:
            return
        query = chain_summaries.several_targets(wanted.asked.filters, wanted.metric, wanted.partition)
        for text in self._tables.frame(query, wanted.values)["scores"]:
            raise no_common_unit(wanted.metric, targets_in(text))

    def count_predictions(self, filters: Mapping[str, Any]) -> int:
        """Return how many predictions match all filters."""
        shape, values = bound(filters)
        return int(self._tables.frame(_number_of_predictions(shape), values).item())

    def distinct(self, column: str, filters: Mapping[str, Any]) -> list[Any]:
        """Return the values of a column among the predictions that match all filters, sorted, without NULL."""
        if checked_text(column, "column") not in FILTERS:
            raise InvalidInputError(f"there is no column {column!r} to ask for; use one of {', '.join(FILTERS)}")
        shape, values = bound(filters)
        found: list[Any] = self._tables.frame(_distinct(column, shape), values)[column].to_list()
        return found

    def facets(self, columns: list[str], wanted: WantedChains) -> pl.DataFrame:
        """Return how many chains have each value of some columns; see `WorkspaceStore.facets`."""
        wanted = _checked(wanted)
        columns = [*dict.fromkeys(columns)]
        unknown = [column for column in columns if column not in OF_CHAINS]
        if unknown or not columns:
            raise InvalidInputError(f"chains are not counted by {unknown}; use some of {', '.join(OF_CHAINS)}")
        self._refuse_means_with_a_unit(wanted)
        found = self._tables.frame(score_profiles.facets(wanted.asked, tuple(columns)), wanted.values)
        place = pl.col("column").replace_strict([*columns], [*range(len(columns))], return_dtype=pl.Int64)
        return score_profiles.with_best(found).sort(place, -pl.col("chains"), "value")

    def score_histogram(self, wanted: WantedChains, bins: int) -> pl.DataFrame:
        """Return in how many chains the score lies in each of some classes; see `WorkspaceStore.score_histogram`."""
        wanted = _checked(wanted)
        bins = checked_int(bins, "bins", 32)
        if bins < 1:
            raise InvalidInputError(f"bins must be 1 or more, but is {bins}")
        self._refuse_means_with_a_unit(wanted)
        query = score_profiles.histogram(wanted.asked)
        return self._tables.frame(query, wanted.values | {"bins": bins})

    def parameter_profile(self, name: str, wanted: WantedChains) -> pl.DataFrame:
        """Return how chains score with each value of a parameter; see `WorkspaceStore.parameter_profile`."""
        wanted = _checked(wanted)
        self._refuse_means_with_a_unit(wanted)
        found = self._tables.frame(score_profiles.profile(wanted.asked, checked_text(name, "name")), wanted.values)
        number = pl.col("value").cast(pl.Float64, strict=False)
        return score_profiles.with_best(found).sort(number, "value", nulls_last=True)


@lru_cache
def _number_of_predictions(filters: Shape) -> Select[Any]:
    return select(func.count()).select_from(PREDICTIONS).where(*conditions(filters))


@lru_cache
def _distinct(column: str, filters: Shape) -> Select[Any]:
    of_pipelines = column not in PREDICTIONS.c
    value = (PIPELINES if of_pipelines else PREDICTIONS).c[column]
    query = select(value).where(*conditions(filters), value.is_not(None))
    if of_pipelines:
        query = query.join(PREDICTIONS, PREDICTIONS.c.pipeline_id == PIPELINES.c.pipeline_id)
    return query.distinct().order_by(value)


def _checked(wanted: WantedChains) -> WantedChains:
    """Return what is wanted with the field's names replaced by a metric and a partition."""
    rows = [name for name in OF_ROWS if wanted.filters.get(name) is not None]
    if rows:
        raise InvalidInputError(f"chains have no {', '.join(rows)}, of which their rows differ; leave that filter out")
    metric, partition = FIELD_NAMES.get(wanted.metric or "", (wanted.metric, wanted.partition))
    if metric is not None and checked_text(metric, "metric") not in METRICS:
        raise InvalidInputError(
            f"metric {metric!r} is no score; use one of {', '.join((*METRICS, *FIELD_NAMES))}, or None for the one by "
            "which each chain was judged"
        )
    if checked_text(partition, "partition") not in PARTITIONS:
        raise InvalidInputError(f"partition {partition!r} is none; use one of {', '.join(PARTITIONS)}")
    target = None if wanted.target is None else checked_text(wanted.target, "target")
    return replace(
        wanted, metric=metric, partition=partition, target=target, search=checked_text(wanted.search, "search")
    )


def _question(wanted: WantedChains, *, copies: bool) -> str:
    """Return a text that is another one for other rows, or for another order of them."""
    order = (wanted.metric, wanted.partition, wanted.target, wanted.ascending, copies)
    told = json.dumps([order, wanted.search, sorted(replace(wanted, search="").values.items())], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _token(row: Mapping[str, Any], question: str) -> str:
    """Return what the next page is asked for by: the question, and by which values the last row was sorted."""
    values = [question, row["newest"].isoformat(), *(row[name] for name in ("league", "order", "known_as"))]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def _row_before(after: str | None, question: str) -> dict[str, Any]:
    """Return by which values the last row of the page before was sorted, as bound parameters."""
    if after is None:
        return {}
    try:
        asked, newest, league, order, known_as = json.loads(base64.urlsafe_b64decode(checked_text(after, "after")))
        values = (datetime.fromisoformat(newest), str(league), None if order is None else float(order), str(known_as))
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"after={after!r} is no page; give what the page before has as next") from error
    if asked != question:
        raise InvalidInputError(
            "after= is of another ranking; ask as for the page before (only limit may differ), or without after="
        )
    return {f"after_{name}": value for name, value in zip(chain_pages.SORTED_BY, values, strict=True)}
