"""Makes the SELECTs that tell of each chain in one row how it was judged, and rank chains by it.

Nothing is stored beside the predictions that such a row is made of, so that it can never be stale. What is never ranked
together, and why: docs/decisions/0023. Why the SELECTs are built so: docs/decisions/0029.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    JSON,
    ColumnElement,
    Double,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
)

from ...datasets import AVERAGE, FINAL
from ...metrics import BEST_VALUE, MAIN, NAMES, TARGETS, UNPREDICTED, directions
from ..columns import table_of
from ..models import Chain, Pipeline, Prediction, Run
from .prediction_filters import Shape, conditions
from .ranking import DATASET, FOLDS, INFINITY, PRUNED, configuration
from .wanted_chains import ESCAPE, VAL, Asked

PREDICTIONS, PIPELINES, CHAINS, RUNS = table_of(Prediction), table_of(Pipeline), table_of(Chain), table_of(Run)
TOGETHER = and_(PREDICTIONS.c.fold_id == AVERAGE, PREDICTIONS.c.partition == VAL)
"""The rows of what all folds of a chain held out."""
SEPARATOR = "\x1f"
KEYS = ("chain_id", "prediction_id", "pipeline_id", "created_at")
SCORES = ("val_score", "test_score", "train_score", "scores")
NAMES_OF_ROWS = ("dataset_name", "task_type", "metric", "model_name", "model_class", "preprocessings", "branch_id")
ROW = tuple(PREDICTIONS.c[name] for name in (*KEYS, *SCORES, *NAMES_OF_ROWS, "best_params"))
"""What chains are ranked, searched and counted by: each column more takes its time to prepare."""
OF_CONFIGURATION = ("model_name", "preprocessings", "branch_id")
"""What differs between models of one configuration."""


def _first_of_each(column: ColumnElement[Any]) -> Any:
    # The dialect takes a tenth of the time that all imports of a store take.
    from sqlalchemy.dialects.postgresql import distinct_on

    return distinct_on(column)


def rows_of_chains(filters: Shape) -> CTE:
    """Return the SELECT of the row of predictions that stands for each chain, and whether it `is_together`.

    That is the row of what all folds held out; of a chain that has none, or several, another one or the newest of them.
    """
    where = conditions(filters)
    chain_id = PREDICTIONS.c.chain_id
    has_one = (
        select(chain_id)
        .where(TOGETHER, chain_id.is_not(None))
        .group_by(chain_id)
        .having(func.count() == 1)
        .cte("has_one")
    )
    usual = select(*ROW, literal(True).label("is_together")).where(
        TOGETHER, PREDICTIONS.c.chain_id.in_(select(has_one.c.chain_id)), *where
    )
    # By way of the chains, of which there are few: to look at each prediction would take most of the time.
    others = select(CHAINS.c.chain_id).where(CHAINS.c.chain_id.not_in(select(has_one.c.chain_id)))
    unusual = (
        select(*ROW, TOGETHER.label("is_together"))
        .ext(_first_of_each(PREDICTIONS.c.chain_id))
        .where(PREDICTIONS.c.chain_id.in_(others), *where)
        .order_by(PREDICTIONS.c.chain_id, TOGETHER.desc(), PREDICTIONS.c.created_at.desc(), PREDICTIONS.c.prediction_id)
    )
    return usual.union_all(unusual).cte("rows_of_chains")


def final_rows(chains: CTE | None = None) -> CTE:
    """Return the SELECT of the newest scores of each chain's final model: its own, or that of the chain's refit.

    Parameters
    ----------
    chains : CTE, optional
        Of which chains; by default of all.
    """
    member = _members(chains)
    scores = (PREDICTIONS.c[name] for name in ("prediction_id", "test_score", "train_score", "scores"))
    query = select(member.c.of.label("chain_id"), *scores).join(member, member.c.chain_id == PREDICTIONS.c.chain_id)
    newest = (member.c.of, PREDICTIONS.c.created_at.desc(), PREDICTIONS.c.partition, PREDICTIONS.c.prediction_id)
    query = query.where(PREDICTIONS.c.fold_id == FINAL).ext(_first_of_each(member.c.of)).order_by(*newest)
    return query.cte("final" if chains is None else "final_of_page")


def _members(chains: FromClause | None) -> FromClause:
    """Return the SELECT of chains and their refits, with the chain `of` which each is one."""
    refitted = CHAINS.alias("refitted")
    of = func.coalesce(refitted.c.chain_id, CHAINS.c.chain_id)
    query = select(CHAINS.c.chain_id, of.label("of")).outerjoin(refitted, refitted.c.chain_id == CHAINS.c.refit_of)
    return (query if chains is None else query.where(of.in_(select(chains.c.chain_id)))).subquery("members")


def rows_to_score(asked: Asked) -> Select[Any]:
    """Return the SELECT of the predictions of which a score of the chains that have none can be computed, best first.

    It has all columns of predictions, `judged_by`, and the chain `of` which it is.
    """
    chains = scored(asked, ())
    member = _members(select(chains.c.chain_id).where(~chains.c.is_known).cte("unknown"))
    folds = (AVERAGE,) if asked.partition == VAL else (FINAL, AVERAGE)
    joined = PREDICTIONS.join(member, member.c.chain_id == PREDICTIONS.c.chain_id)
    joined = joined.join(PIPELINES, PIPELINES.c.pipeline_id == PREDICTIONS.c.pipeline_id)
    query = select(PREDICTIONS, PIPELINES.c.judged_by, member.c.of).select_from(joined)
    query = query.where(PREDICTIONS.c.partition == asked.partition, PREDICTIONS.c.fold_id.in_(folds))
    is_final = PREDICTIONS.c.fold_id == FINAL
    return query.order_by(is_final.desc(), PREDICTIONS.c.created_at.desc(), PREDICTIONS.c.prediction_id)


def scored(asked: Asked, metrics: Sequence[str], columns: Sequence[str] = ()) -> CTE:
    """Return the SELECT of one row for each chain, with `score`, `ranked_by` and `order`: the lower, the better.

    A refit of a chain that is there is no row of its own: its scores stand beside those of that chain. `league` is what
    is ranked together, `same` what is the same configuration trained on the same data; `is_known` tells whether its
    score need not be computed from arrays, and `is_pruned` that it cannot predict any more.

    Parameters
    ----------
    asked : Asked
    metrics : sequence of str
        The metrics by which the chains are ranked, so that `order` is known.
    columns : sequence of str
        What else to tell of each chain: columns of its row, or of its pipeline.
    """
    own, refitted = rows_of_chains(asked.filters), CHAINS.alias("refitted")
    final = None if asked.partition == VAL else final_rows()
    refits = select(CHAINS.c.chain_id).join(refitted, refitted.c.chain_id == CHAINS.c.refit_of)
    ranked_by = _ranked_by(own, asked)
    stored = _score(own, final, ranked_by, asked)
    # Other packages define scores otherwise: docs/decisions/0023.
    is_ours = and_(stored.is_not(None), PIPELINES.c.judged_by.is_not(None))
    is_known = literal(True) if asked.metric is None or asked.target is not None else is_ours
    computed = _computed()
    score = case((is_known, stored), else_=func.coalesce(computed.c.score, stored)) if asked.is_computed else stored
    league = (DATASET, FOLDS, own.c.task_type, ranked_by)
    joined = own.join(PIPELINES, PIPELINES.c.pipeline_id == own.c.pipeline_id)
    if asked.words:
        joined = joined.join(RUNS, RUNS.c.run_id == PIPELINES.c.run_id)
    if asked.is_computed:
        joined = joined.outerjoin(computed, computed.c.chain_id == own.c.chain_id)
    if final is not None:
        joined = joined.outerjoin(final, final.c.chain_id == own.c.chain_id)
    config = configuration(own.c.chain_id)
    query = select(
        *(own.c[name] for name in KEYS),
        ranked_by.label("ranked_by"),
        score.label("score"),
        is_known.label("is_known"),
        own.c.chain_id.in_(PRUNED).label("is_pruned"),
        # The database sorts NaN above all numbers; who predicts NaN of some samples is no better than anybody.
        case((score < INFINITY, _order(score, ranked_by, metrics, asked.ascending))).label("order"),
        _joined(league).label("league"),
        # A number is grouped in half of the time of a text; of a million, two are equal with a probability of 3e-8.
        func.hash(*league, config, *(own.c[name] for name in OF_CONFIGURATION)).label("same"),
        *((own.c if name in own.c else PIPELINES.c)[name] for name in columns if name not in KEYS),
    ).select_from(joined)
    query = query.where(own.c.chain_id.not_in(refits), *_searched(own, asked.words))
    if asked.metric is not None:
        is_classes = asked.metric in NAMES["classification"]
        query = query.where(own.c.task_type.contains("classification") == is_classes)
    return (query if asked.target is None else query.where(_predicts(own, asked.target))).cte("scored")


def _computed() -> FromClause:
    ids, values = (
        bindparam("computed_ids", type_=ARRAY(String)),
        bindparam("computed_scores", type_=ARRAY(Double)),
    )
    return select(func.unnest(ids).label("chain_id"), func.unnest(values).label("score")).cte("computed")


def _ranked_by(own: FromClause, asked: Asked) -> ColumnElement[str]:
    if asked.metric is not None:
        return cast(literal(asked.metric), String)
    is_classes = own.c.task_type.contains("classification")
    main = case((is_classes, MAIN["classification"]), else_=MAIN["regression"])
    return own.c.metric if asked.target is None else main


def _joined(values: Sequence[Any]) -> ColumnElement[str]:
    return func.concat_ws(SEPARATOR, *(func.coalesce(value, "") for value in values))


def _searched(own: FromClause, words: int) -> list[ColumnElement[bool]]:
    names = ("model_name", "model_class", "preprocessings", "dataset_name")
    text = _joined((*(own.c[name] for name in names), cast(own.c.best_params, String), RUNS.c.name))
    return [text.icontains(bindparam(f"word_{place}", type_=String), escape=ESCAPE) for place in range(words)]


def _predicts(own: FromClause, target: str) -> ColumnElement[bool]:
    """Tell whether a chain predicts a target: its only one, or one of several, each of which has scores."""
    is_only = PIPELINES.c.judged_by[TARGETS][0].as_string() == target
    return or_(is_only, own.c.scores[VAL][TARGETS][target].as_string().is_not(None))


def _score(own: FromClause, final: FromClause | None, ranked_by: Any, asked: Asked) -> ColumnElement[float | None]:
    """Return by what a chain is ranked; NULL if that is not stored, NaN if it predicts nothing of some samples."""
    of_final = [] if final is None else [(final, final.c.chain_id.is_not(None))]
    places: list[tuple[FromClause, ColumnElement[bool]]] = [*of_final, (own, own.c.is_together)]
    if asked.metric is None and asked.target is None:
        values = [case((is_there, place.c[f"{asked.partition}_score"])) for place, is_there in places]
        return func.coalesce(*values, null())
    values = []
    for place, is_there in places:
        scores = of_target(place.c.scores[asked.partition], asked.target)
        # To look for the word first spares decoding the JSON of almost all rows once more.
        might_miss = cast(place.c.scores, String).contains(UNPREDICTED)
        missed = and_(is_there, might_miss, scores[UNPREDICTED].as_string().is_not(None))
        values.append(case((missed, cast(literal("NaN"), Double)), (is_there, json_number(scores, ranked_by))))
    return func.coalesce(*values, null())


def json_number(scores: Any, *path: Any) -> ColumnElement[float | None]:
    """Return a number of a JSON column."""
    for name in path:
        scores = scores[name]
    return cast(scores.as_string(), Double)


def _order(score: Any, ranked_by: Any, metrics: Sequence[str], ascending: bool | None) -> ColumnElement[Any]:
    if ascending is not None:
        return cast(score if ascending else -score, Double)
    lower, higher, nearest, _ = directions(metrics)
    orders = [(ranked_by == name, func.abs(score - BEST_VALUE[name])) for name in nearest]
    return case(*orders, (ranked_by.in_(lower), score), (ranked_by.in_(higher), -score))


@lru_cache
def metrics_of(filters: Shape) -> Select[Any]:
    """Return the SELECT of the metrics of rows that have scores by which chains are ranked.

    To find the row of each chain would take half of the time.
    """
    has_scores = PREDICTIONS.c.fold_id.in_((AVERAGE, FINAL))
    return select(PREDICTIONS.c.metric).where(has_scores, *conditions(filters)).distinct()


@lru_cache
def several_targets(filters: Shape, metric: str, partition: str) -> Select[Any]:
    """Return the SELECT of scores of one chain that predicts several targets, and has no mean of a metric over them."""
    all_scores = rows_of_chains(filters).c.scores
    scores = all_scores[partition]
    has_word = cast(all_scores, String).contains(TARGETS)  # Looked for first, it spares decoding JSON of most rows.
    is_such = has_word, scores[TARGETS].as_string().is_not(None), scores[metric].as_string().is_(None)
    return select(scores.as_string().label("scores")).where(*is_such).limit(1)


def of_target(scores: Any, target: str | None) -> Any:
    """Return the scores of a target, where there are several, else all."""
    if target is None:
        return scores
    are_several = scores[TARGETS].as_string().is_not(None)
    return type_coerce(case((are_several, scores[TARGETS][target]), else_=scores), JSON)
