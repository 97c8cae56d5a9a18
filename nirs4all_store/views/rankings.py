"""Rankings of models as people read them: under the field's names, and with what keeps models apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from ..datasets import AVERAGE, FINAL, PARTITIONS, TrainingData
from ..errors import InvalidInputError
from ..metrics import FIELD_NAMES, MAIN, NAMES, TARGETS, WEIGHTED, label
from ..store import WorkspaceStore
from .judged import LIKE_THE_BEST, judged, notes_on
from .listings import Listing, dict_of, text_of, texts_of, with_params
from .preprocessing import preprocessing_texts

SHORT_HASH = 8
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WHERE_SEVERAL = ("n", "dataset", "target", "data", "run", "judged by")
"""Columns of a ranking that are shown where models differ in them, and so are ranked apart."""
TEXTS = ("chain_id", "model", "preprocessings", "metric", *WHERE_SEVERAL[1:])
"""The columns of a ranking that are text, also where there are no rows."""


def rank(
    store: WorkspaceStore,
    limit: int,
    metric: str | None = None,
    partition: str = PARTITIONS[0],
    fold: str | None = None,
    *,
    once: bool = True,
    **filters: Any,
) -> pl.DataFrame:
    """Return the models of a ranking, by default one row of each configuration; see `top_predictions`.

    Parameters
    ----------
    store : WorkspaceStore
    limit : int
        How many models; of each ranking, where models cannot be compared.
    metric : str, optional
        A metric to rank by. By default, and for a metric that is not computed here, the score that the rows have of
        the partition; of that metric.
    partition : str
        `val`, `test` or `train`.
    fold : str, optional
        By default all folds together; of `test` and `train`, the final model where there is one.
    once : bool
        Of models of the same configuration, only the best.
    **filters
        `dataset_name`, `run_id`, `target`.
    """
    metric, partition = FIELD_NAMES.get(metric or "", (metric, partition))
    is_known = metric is not None and any(metric in names for names in NAMES.values())
    together = AVERAGE if partition == PARTITIONS[0] else [FINAL, AVERAGE]

    def ranked(task: str | None = None) -> pl.DataFrame:
        return store.top_predictions(
            limit,
            metric if is_known and metric is not None else f"{partition}_score",
            partition=partition,
            score_metric=None if is_known else metric,
            task_type=task,
            fold_id=together if fold is None else None if fold == "any" else fold,
            once=once,
            **filters,
        )

    try:
        return ranked()
    except InvalidInputError:  # Of classes a high score is the best, of numbers a low one.
        tasks = store.distinct("task_type", dataset_name=filters.get("dataset_name"), run_id=filters.get("run_id"))
        if len(tasks) < 2 or metric is not None:
            raise
        return pl.concat([ranked(task) for task in tasks])


def best_chains(store: WorkspaceStore, run_id: str) -> list[str]:
    """Return the chain that is the best of a run; of each ranking, where its models cannot be compared."""
    try:
        ranked = rank(store, 1, run_id=run_id)
    except InvalidInputError:  # Of models that are judged by several metrics there is no best.
        return []
    return ranked.filter(pl.col("val_score").is_not_nan())["chain_id"].drop_nulls().to_list()


def list_rankings(
    store: WorkspaceStore,
    predictions: pl.DataFrame,
    average: str | None = None,
    limit: int | None = None,
    more: Callable[[int], pl.DataFrame] | None = None,
    target: str | None = None,
    ranked_by: str | None = None,
) -> list[Listing]:
    """Return a listing for each metric by which models were judged, so that each has columns of its own.

    Classes, numbers, and several targets at once are judged by different ones. Parameters and errors are those of
    `list_models`.
    """

    def more_of(metric: str | None) -> Callable[[int], pl.DataFrame] | None:
        return None if more is None else lambda count: _of_metric(more(count), metric)

    return [
        list_models(store, _of_metric(predictions, metric), average, limit, more_of(metric), target, ranked_by)
        for metric in predictions["metric"].unique(maintain_order=True)
    ] or [list_models(store, predictions)]


def _of_metric(predictions: pl.DataFrame, metric: str | None) -> pl.DataFrame:
    return predictions.filter(pl.col("metric").eq_missing(metric))


def list_models(
    store: WorkspaceStore,
    predictions: pl.DataFrame,
    average: str | None = None,
    limit: int | None = None,
    more: Callable[[int], pl.DataFrame] | None = None,
    target: str | None = None,
    ranked_by: str | None = None,
) -> Listing:
    """Return ranked predictions as one chooses among models: each with its parameters and scores.

    Parameters
    ----------
    store : WorkspaceStore
    predictions : polars.DataFrame
        What `rank` gives, or the best predictions of a run. Beside what was held out from the folds stand the scores
        of train and test of the final model, where there is one: in the table and in the rows for programs.
    average : str, optional
        The column that names the samples of which rows are scans, as for `chain_scores`: beside the score by scan
        stands that by sample, and how many scans and samples there are.
    limit : int, optional
        How many models of each ranking are listed. The others only count among those that are like the best.
    more : callable, optional
        Returns the same rankings with as many models as it is asked for; asked where all that are given are like the
        best.
    target : str, optional
        Of models of several targets the one by which they are ranked: its scores are listed.
    ranked_by : str, optional
        By what they are ranked, where that is not what they were judged by: the title of that score.

    Raises
    ------
    InvalidInputError
        The samples of no model have such a column.
    """
    found, asked = judged(store, predictions, limit), limit
    while more is not None and asked is not None and found.may_go_on(asked):
        asked *= 4
        found = judged(store, more(asked), limit)
    rows, told, hashes, chains = found.rows, found.told, found.hashes, found.chains
    _show_final_scores(store, rows, target)
    columns: dict[str, list[Any]] = {
        "#": found.marks,
        "chain_id": [row["chain_id"] for row in rows],
        # With a space, at which a narrow terminal breaks it.
        "model": [with_params(row) for row in rows],
        "preprocessings": preprocessing_texts(store, rows, found.pipelines),
    }
    is_whole = [row["fold_id"] == AVERAGE and not row.get("of_target") for row in rows]
    spreads = [
        chains.get(row["chain_id"], {}).get("fold_sd") if is_so else None
        for row, is_so in zip(rows, is_whole, strict=True)
    ]
    columns |= _score_columns(rows, spreads, ranked_by or "score")
    averages = {} if average is None else _by_sample(store, rows, average)
    columns |= averages
    columns["n"] = [row["n_samples"] for row in rows]
    columns["dataset"] = [row["dataset_name"] for row in rows]
    columns["target"] = [", ".join(texts_of(own.get("targets"))) or None for own in told]
    if len({*zip(columns["dataset"], columns["target"], strict=True)}) < len({*hashes}):
        columns["data"] = [content[:SHORT_HASH] for content in hashes]
    columns["run"] = [chains.get(row["chain_id"], {}).get("run_name") for row in rows]
    copies = [chains.get(row["chain_id"], {}).get("copies") or 1 for row in rows]
    if max(copies, default=1) > 1:
        columns["copies"] = copies  # How many models of this configuration there are; by default the best is listed.
    columns["judged by"], judges = _judges([_split_text(own) for own in told])
    kept = {name: values for name, values in columns.items() if name not in WHERE_SEVERAL or len(set(values)) > 1}
    is_unusual = any(own.get("coverage") or own.get(WEIGHTED) for own in told)
    notes = [*found.notes, *notes_on(store, found), *(judges if "judged by" in kept or is_unusual else [])]
    table = pl.DataFrame(kept, schema_overrides=dict.fromkeys([key for key in TEXTS if key in kept], pl.String))
    named = pl.Series("target", columns["target"], dtype=pl.String)
    averaged = [pl.Series(name.replace(" ", "_"), values, strict=False) for name, values in averages.items()]
    of_chains = [chains.get(row["chain_id"], {}) for row in rows]
    told_so = [
        *(pl.Series(name, [row[name] for row in rows], dtype=pl.Float64) for name in ("test_score", "train_score")),
        *(
            pl.Series(name, [own.get(name) for own in of_chains], dtype=pl.String, strict=False)
            for name in ("run_id", "run_name")
        ),
        pl.Series("sd_over_folds", spreads, dtype=pl.Float64),
        pl.Series("like_the_best", [LIKE_THE_BEST in str(mark) for mark in found.marks], dtype=pl.Boolean),
    ]
    return Listing(found.predictions.with_columns(named, *told_so, *averaged), table, notes)


def _show_final_scores(store: WorkspaceStore, rows: Sequence[dict[str, Any]], target: str | None) -> None:
    """Put the scores of test and train of the final model, where there is one, beside what the folds held out.

    Of models of several targets the scores of one take the place of those of all.
    """
    together = [row for row in rows if row["fold_id"] == AVERAGE and row["chain_id"] is not None]
    chains = [row["chain_id"] for row in together]
    found = store.query_predictions(fold_id=FINAL, chain_id=chains) if chains else pl.DataFrame()
    finals = {row["chain_id"]: row for row in found.iter_rows(named=True)}
    for row in together:
        final = finals.get(row["chain_id"])
        row |= {name: final[name] for name in ("test_score", "train_score")} if final else {}
        if target is not None:
            _put_target(row, dict_of(final["scores"]) if final else {}, target)


def _put_target(row: dict[str, Any], of_final: Mapping[str, Any], target: str) -> None:
    """Put the scores of one target in the place of those of all, in a row of several; one alone has no others."""
    scores = dict_of(row["scores"])
    if TARGETS not in dict_of(scores.get(row["partition"])):
        return
    own = {part: dict_of(dict_of(dict_of(scores.get(part)).get(TARGETS)).get(target)) for part in PARTITIONS}
    final = {part: dict_of(dict_of(dict_of(of_final.get(part)).get(TARGETS)).get(target)) for part in PARTITIONS[1:]}
    main = MAIN["classification" if "classification" in row["task_type"] else "regression"]
    row |= {"metric": main, "scores": own, "of_target": True}
    row |= {f"{part}_score": (final.get(part) or own[part]).get(main) for part in PARTITIONS}


def _judges(texts: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """Return a letter for what judged each model, and what each letter is, for which a table has no room."""
    different = [text for text in dict.fromkeys(texts) if text is not None]
    letters = {text: LETTERS[place] if place < len(LETTERS) else f"{place + 1}" for place, text in enumerate(different)}
    if len(different) == 1:
        return [*texts], [f"judged by {different[0]}"]
    return [letters.get(text or "") for text in texts], [f"judged by {letters[text]}: {text}" for text in different]


def _split_text(judged: Mapping[str, Any]) -> str | None:
    """Return how a model was judged; what is unusual about it is said."""
    coverage = dict_of(judged.get("coverage"))
    unusual = [f"{count} samples {word}" for word, count in coverage.items() if count]
    splitter = judged.get("splitter")
    weighted = "; samples count by their weights" if judged.get(WEIGHTED) else ""
    held_out = f"; held out: {', '.join(unusual)}" if unusual else ""
    return f"{splitter}{weighted}{held_out}" if splitter else None


def _score_columns(
    rows: Sequence[Mapping[str, Any]], spreads: Sequence[float | None], title_of_score: str
) -> dict[str, list[Any]]:
    """Return the columns of scores: under the field's names where all are errors of all folds together, else ours."""
    metrics = {row["metric"] for row in rows}
    together = all(row["fold_id"] in (AVERAGE, FINAL) for row in rows)
    names = {partition: label(next(iter(metrics), ""), partition) for partition in PARTITIONS}
    is_named = metrics == {"rmse"} and together
    columns: dict[str, list[Any]] = {} if is_named else {"metric": [row["metric"] for row in rows]}
    for partition in PARTITIONS:
        title, values = names[partition] if is_named else partition, [row[f"{partition}_score"] for row in rows]
        if partition == PARTITIONS[0] and any(spread is not None for spread in spreads):
            title, values = f"{title} ±folds", [*map(_with_spread, values, spreads)]
        columns[title] = values
    ranked = [(row.get("score"), row[f"{row['partition']}_score"]) for row in rows]
    if any(score is not None and score != own and own == own for score, own in ranked):  # NaN does not equal itself.
        columns = {title_of_score: [score for score, _ in ranked]} | columns
    held_out = [dict_of(dict_of(row["scores"]).get(row["partition"])) for row in rows]
    for name, title in (("rmse_sd", "± sd"), ("r2", "R²"), ("rpd", "RPD"), ("mcc", "MCC"), ("accuracy", "accuracy")):
        values = [own.get(name) for own in held_out]
        if any(value is not None for value in values):
            columns[title] = values
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def _with_spread(score: float | None, spread: float | None) -> str | None:
    """Return both as one text, which a narrow terminal breaks between them: it has no room for one column more."""
    if score is None or spread is None or math.isnan(score):
        return None if score is None else text_of(score)
    return f"{text_of(score)} ±{spread:.2g}"


def _by_sample(store: WorkspaceStore, rows: Sequence[Mapping[str, Any]], average: str) -> dict[str, list[Any]]:
    """Return how many scans and samples judged each model, and its score by sample, of several targets the mean."""
    columns: dict[str, list[Any]] = {"scans": [], "samples": [], f"by {average}": []}
    problems = []
    for row in rows:
        try:
            scores = store.chain_scores(row["chain_id"], row["partition"], average=average)
        except InvalidInputError as error:  # The samples of other models may have names.
            problems.append(error)
            for values in columns.values():
                values.append(None)
            continue
        own = scores.filter(pl.col("fold_id") == row["fold_id"])
        scans, samples = own.filter(by="scan"), own.filter(by=average)
        metric = row["metric"]
        score = samples[metric].mean() if metric in samples.columns else None
        for values, value in zip(columns.values(), (scans["n"].max(), samples["n"].max(), score), strict=True):
            values.append(value)
    if rows and len(problems) == len(rows):
        raise problems[0]
    return columns


def held_out(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return the predictions that models are judged by: of all folds together, of samples that were held out."""
    return predictions.filter(pl.col("fold_id") == AVERAGE, pl.col("partition") == PARTITIONS[0])


def lines_of_left_out(predictions: pl.DataFrame, data: TrainingData) -> list[str]:
    """Return how many rows pipelines have left out since their X misses a value, as people read it; none is no line.

    Parameters
    ----------
    predictions : polars.DataFrame
        Those of a run.
    data : TrainingData
        Those without a y were left out of it before.
    """
    lines = []
    before = {PARTITIONS[0]: data.excluded, PARTITIONS[1]: data.excluded_test}
    for partition, purpose in zip(before, ("for training", "to test with"), strict=True):
        own = predictions.filter(fold_id=AVERAGE, partition=partition)
        counts = [count - before[partition] for count in own["exclusion_count"]]
        left_out = [count for count in counts if count > 0]
        if left_out:
            models = "" if len(left_out) == len(counts) else f" by {len(left_out):,} of {len(counts):,} models"
            rows = "1 row" if max(left_out) == 1 else f"{max(left_out):,} rows"
            lines.append(f"left out{models}: {rows} {purpose}, with a value missing in X that no step takes")
    return lines


def refuse_without_scores(store: WorkspaceStore, metric: str | None, partition: str, **filters: Any) -> None:
    """Raise if there are predictions, and none of the partition that is ranked by has a score.

    Parameters
    ----------
    store : WorkspaceStore
    metric : str or None
        `rmsep` is of `test`, whatever the partition.
    partition : str
    **filters
        `dataset_name`, `run_id`.

    Raises
    ------
    InvalidInputError
        The message says how predictions of test data are made.
    """
    _, partition = FIELD_NAMES.get(metric or "", (metric, partition))
    rows = store.query_predictions(**filters)
    scores = rows.filter(partition=partition)[f"{partition}_score"]
    if rows.height and scores.null_count() == len(scores):
        raise InvalidInputError(
            f"no model here has a score of {partition} data; train with test data whose y is known (`run --test FILE` "
            "or `--split COLUMN`), or rank by another partition, as with --metric rmsecv"
        )


def first_unmatched(
    predictions: pl.DataFrame, wanted: Mapping[str, str | None], score: str = "val_score"
) -> tuple[str, list[str]] | None:
    """Return the first column whose wanted value leaves nothing to rank, and the values that it has; None if none does.

    Parameters
    ----------
    predictions : polars.DataFrame
    wanted : mapping
        Column to value; None asks for nothing.
    score : str
        The column without which a row is not ranked.
    """
    left = predictions.filter(pl.col(score).is_not_null())
    for column, value in wanted.items():
        if value is not None and left.height:
            known = left[column].unique().sort().to_list()
            if value not in known:
                return column, [*known, *_computed_for(left, without=[value, *known])] if column == "metric" else known
            left = left.filter(pl.col(column) == value)
    return None


def _computed_for(predictions: pl.DataFrame, without: Sequence[str]) -> list[str]:
    """Return what the tasks of predictions can be ranked by beside the score that they have."""
    names = [name for task, own in NAMES.items() if predictions["task_type"].str.contains(task).any() for name in own]
    return [name for name in names if name not in without]
