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
    BigInteger,
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

from ...datasets import AVERAGE, FINAL, PARTITIONS
from ...metrics import BEST_VALUE, COVERAGE, MAIN, NAMES, TARGETS, UNPREDICTED, directions
from ..columns import table_of
from ..models import Chain, Pipeline, Prediction, Run
from .prediction_filters import Shape, conditions
from .ranking import DATASET, FOLDS, INFINITY, PRUNED, configuration
from .wanted_chains import ESCAPE, VAL, Asked

PREDICTIONS, PIPELINES, CHAINS, RUNS = table_of(Prediction), table_of(Pipeline), table_of(Chain), table_of(Run)
NUMBERED = "^[0-9]+$"
"""The names of the folds that held out samples are numbers."""
TOGETHER = and_(PREDICTIONS.c.fold_id == AVERAGE, PREDICTIONS.c.partition == VAL)
"""The rows of what all folds of a chain held out."""
SEPARATOR = "\x1f"
KEYS = ("chain_id", "prediction_id", "pipeline_id", "created_at")
SCORES = ("val_score", "test_score", "train_score", "scores")
NAMES_OF_ROWS = ("dataset_name", "task_type", "metric", "model_name", "model_class", "preprocessings", "branch_id")
ROW = tuple(PREDICTIONS.c[name] for name in (*KEYS, *SCORES, *NAMES_OF_ROWS, "best_params"))
"""What chains are ranked, searched and counted by: each column more takes its time to prepare."""


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


def folds_of(chains: CTE, target: str | None) -> CTE:
    """Return the SELECT of how the scores of each chain's folds differ, of what each held out.

    They are NULL where one of the folds has no score: the mean of the others would look better than the chain is.
    """
    told: ColumnElement[float | None] = PREDICTIONS.c.val_score
    if target is not None:
        told = json_number(_of_target(PREDICTIONS.c.scores[VAL], target), chains.c.ranked_by)
    score = case((told < INFINITY, told))
    values = {
        "fold_mean": func.avg(score),
        "fold_sd": func.stddev_samp(score),
        "mse_sd": func.stddev_samp(score * score),
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
        _joined((*league, config, own.c.model_name, own.c.preprocessings, cast(own.c.branch_id, String))).label("same"),
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
        scores = _of_target(place.c.scores[asked.partition], asked.target)
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
    counted = select(rows, copy, number).subquery("counted")
    newest = func.max(counted.c.created_at).over(partition_by=counted.c.league).label("newest")
    kept = select(counted, newest) if copies else select(counted, newest).where(counted.c.copy == 1)
    placed = kept.subquery("placed")
    first = (placed.c.order.asc().nulls_last(), placed.c.chain_id)
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
        Whether it follows a row, which has the id `after`, and had the `place`: that counts where the row is gone.
    """
    chains = ranked(asked, metrics, copies=copies)
    rows = select(chains).order_by(chains.c.place)
    if is_limited:
        rows = rows.limit(bindparam("limit", type_=BigInteger))
    if is_next:
        place, chain_id = bindparam("place", type_=BigInteger), bindparam("after", type_=String)
        now = select(chains.c.place).where(chains.c.chain_id == chain_id).scalar_subquery()
        rows = rows.where(chains.c.place > func.coalesce(now, place))
    return _told_of(rows.cte("page"), asked.target)


@lru_cache
def number_of(asked: Asked, metrics: tuple[str, ...], *, copies: bool) -> Select[Any]:
    """Return the SELECT of how many rows all pages have."""
    return select(func.count()).select_from(ranked(asked, metrics, copies=copies))


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


def _told_of(found: CTE, target: str | None) -> Select[Any]:
    own, final, folds = PREDICTIONS.alias("own"), final_rows(found), folds_of(found, target)
    is_together = and_(own.c.fold_id == AVERAGE, own.c.partition == VAL)
    val, test, train = (_of_target(own.c.scores[partition], target) for partition in PARTITIONS)
    final_test, final_train = (_of_target(final.c.scores[partition], target) for partition in PARTITIONS[1:])
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
        "val_score": case((is_together, val_score)),
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
            *(found.c[name] for name in ("pipeline_id", "created_at", "copies", "total", "known")),
        )
        .select_from(joined)
        .order_by(found.c.place)
    )


def _of_target(scores: Any, target: str | None) -> Any:
    """Return the scores of a target, where there are several, else all."""
    if target is None:
        return scores
    are_several = scores[TARGETS].as_string().is_not(None)
    return type_coerce(case((are_several, scores[TARGETS][target]), else_=scores), JSON)
