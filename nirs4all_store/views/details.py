"""All that is stored of one thing, as people read it: of a chain with its predictions, and how two things differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from ..datasets import AVERAGE, FINAL, PARTITIONS
from ..errors import InvalidInputError
from ..metrics import label
from ..storage import cause_of
from ..store import WorkspaceStore
from .answers import answer_of
from .listings import (
    LISTED_PREDICTIONS,
    LONGEST_VALUE,
    Listing,
    brief,
    clipped,
    decoded,
    local,
    text_of,
    to_json,
    with_zone,
)

STEPS = ("steps", "expanded_config")
"""What is a list of steps."""
FOR_PROGRAMS = ("_id", "_ids", "_hash", "_artifact", "_artifacts", "attachments", "owner")
"""How the names end of what people look for last."""


@dataclass(frozen=True)
class Details:
    """What is shown of one thing.

    Attributes
    ----------
    answer : str
        What it is and how good it is, in one line.
    values : dict
        All that is stored of it, by column.
    rows : Listing
        Of a chain its predictions: those of all folds together first, and of these what was held out, then those of
        the final model. Of a bundle its objects. Of anything else none.
    drawn : dict or None
        The prediction to draw, with its arrays: itself, or the first of its predictions.
    """

    answer: str
    values: dict[str, Any]
    rows: Listing
    drawn: dict[str, Any] | None


def show(store: WorkspaceStore, kind: str, name: str, average: str | None = None) -> Details:
    """Return what is shown of one thing: `kind` is the table, `name` the id.

    `average` is the column that names the samples of a chain of which rows are scans, to score it by these, too.
    """
    if average is not None and kind != "chains":
        raise InvalidInputError(f"{name} is one of the {kind}, and only a chain has scores by {average}; give its id")
    values = details_of(store, kind, name)
    answer = answer_of(store, kind, values)
    if kind != "chains":
        return Details(answer, values, Listing.of(pl.DataFrame()), values if kind == "predictions" else None)
    rows = store.query_predictions(pipeline_id=values["pipeline_id"]).filter(pl.col("chain_id") == name)
    own = [pl.when(pl.col("partition") == part).then(pl.col(f"{part}_score")) for part in PARTITIONS]
    is_final = pl.col("fold_id") == FINAL
    first = (pl.col("fold_id") != AVERAGE, ~is_final, pl.col("partition") != PARTITIONS[0])
    # RMSEC and RMSEP are of the model that predicts.
    predicts = FINAL if FINAL in rows["fold_id"] else AVERAGE
    named = {(AVERAGE, PARTITIONS[0]), *((predicts, partition) for partition in PARTITIONS)}
    names = [
        label(metric, partition) if metric == "rmse" and (fold, partition) in named else ""
        for metric, partition, fold in rows.select("metric", "partition", "fold_id").iter_rows()
    ]
    rows = rows.with_columns(score=pl.coalesce(own), name=pl.Series(names, dtype=pl.String))
    rows = rows.sort(first, maintain_order=True)
    drawn = store.get_prediction(rows["prediction_id"][0], load_arrays=True) if rows.height else None
    of_repeats = rows.filter(pl.col("repeat").is_not_null(), pl.col("partition") == PARTITIONS[0])
    if drawn is not None and of_repeats.height:  # Their means would lie closer to the truth than any model comes.
        found = [store.get_prediction(name, load_arrays=True) or {} for name in of_repeats["prediction_id"]]
        drawn |= {name: np.concatenate([own[name] for own in found]) for name in ("y_true", "y_pred")}
    columns: Sequence[str] = LISTED_PREDICTIONS
    if average is not None:
        rows, columns = _with_samples(store, name, rows, average), (*columns, "scans", "samples", f"by {average}")
    return Details(answer, values, Listing.of(rows, columns), drawn)


def _with_samples(store: WorkspaceStore, chain_id: str, rows: pl.DataFrame, average: str) -> pl.DataFrame:
    """Return predictions with how many scans and samples they are of, and the score by sample; of targets the mean."""
    scores = store.chain_scores(chain_id, average=average).with_columns(pl.col("repeat").cast(rows.schema["repeat"]))
    places = ("fold_id", "repeat", "partition")
    counts = {
        word: scores.filter(by=by).group_by(places).agg(pl.col("n").max().alias(word))
        for word, by in (("scans", "scan"), ("samples", average))
    }
    for found in counts.values():
        rows = rows.join(found, on=places, how="left", nulls_equal=True, maintain_order="left")
    metrics = [name for name in rows["metric"].unique() if name in scores.columns]
    by_sample = scores.filter(by=average).group_by(places).agg(pl.col(metrics).mean())
    rows = rows.join(by_sample, on=places, how="left", nulls_equal=True, maintain_order="left")
    own = [pl.when(pl.col("metric") == name).then(pl.col(name)) for name in metrics]
    return rows.with_columns(pl.coalesce(pl.lit(None, pl.Float64), *own).alias(f"by {average}"))


def details_of(store: WorkspaceStore, kind: str, name: str) -> dict[str, Any]:
    """Return all that is stored of one thing: `kind` is the table, `name` the id."""
    if kind == "artifacts":
        row = store.sql("SELECT * FROM artifacts WHERE artifact_id = ?", [name]).row(0, named=True)
        return with_zone(decoded(row))
    get: dict[str, Callable[[str], dict[str, Any] | None]] = {
        "runs": store.get_run,
        "datasets": store.get_dataset,
        "pipelines": store.get_pipeline,
        "chains": store.get_chain,
        "predictions": partial(store.get_prediction, load_arrays=True),
    }
    return with_zone(get[kind](name) or {})


def lines_of(values: dict[str, Any], *, traceback: bool = False) -> list[tuple[str, str]]:
    """Return what is stored of one thing as people read it: lines of a name and a text, without what says nothing.

    Steps have a line each, and what only programs read, as ids and hashes, comes last. Of an error there is the line
    that says why, or all of it with `traceback`.
    """
    lines = []
    for name, value in sorted(values.items(), key=lambda item: item[0].endswith(FOR_PROGRAMS)):
        if hasattr(value, "shape"):
            lines.append((name, f"{value.dtype} {value.shape}"))
        elif value in (None, ""):
            continue
        elif name == "scores" and isinstance(value, dict) and all(isinstance(part, dict) for part in value.values()):
            for part, scores in value.items():
                lines.append((f"scores, {part}", ", ".join(f"{key} {text_of(score)}" for key, score in scores.items())))
        elif name == "error":
            lines += _below(name, value.splitlines() if traceback else [cause_of(value)])
        elif name in STEPS and isinstance(value, list):
            lines += _below(name, [line for step in value for line in _lines_of_step(step)])
        elif isinstance(value, dict | list) and value:
            lines.append((name, to_json(brief(value))))
        else:
            lines.append((name, str(local(value)) if isinstance(value, datetime) else text_of(value)))
    return lines


def _below(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return lines of which the first has the name."""
    return [("" if number else name, text) for number, text in enumerate(texts)]


def _lines_of_step(step: Any) -> list[str]:
    """Return a step of a chain: its operator with the parameters, and below a model what is known of its data."""
    if not isinstance(step, dict) or not isinstance(step.get("params"), dict) or "operator_class" not in step:
        return [to_json(brief(step))]
    known = dict(step["params"])
    model = known.pop("model", None)
    params, about = (model.get("params") or {}, known) if isinstance(model, dict) else (step["params"], {})
    told = ", ".join(f"{name}={brief(value)!r}" for name, value in params.items())
    first = str(step["operator_class"]) + f" ({told})" * bool(told)
    return [first, *(f"  {name}: {to_json(brief(value))}" for name, value in about.items())]


def compare(store: WorkspaceStore, kind: str, one: str, other: str) -> Listing:
    """Return where two things of one kind differ, and what is there in each."""
    first, second = (without_owner(details_of(store, kind, name)) for name in (one, other))
    answers = tuple(answer_of(store, kind, values) for values in (first, second))
    found = [("what it is", *answers)] if answers[0] != answers[1] else []
    found += differences(first, second)
    notes = [] if found else [f"they are the same {kind[:-1]}" if one == other else "they do not differ"]
    texts = [(what, *apart(a, b)) for what, a, b in found]
    rows, table = (
        pl.DataFrame(data, schema={"what": pl.String, "one": value, "other": value}, orient="row")
        for data, value in ((found, pl.Object), (texts, pl.String))
    )
    return Listing(rows, table, notes)


def without_owner(values: dict[str, Any]) -> dict[str, Any]:
    """Return what is stored of a thing without the process that made it: it says nothing of how two runs differ."""
    return {name: value for name, value in values.items() if name != "owner"}


def differences(one: Any, other: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Return the places in which two values differ, and what is there, down to what has no parts."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [row for key in keys for row in differences(one.get(key), other.get(key), f"{where}.{key}".strip("."))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [row for place, pair in pairs for row in differences(*pair, f"{where}[{place}]")]
    return [] if to_json(one) == to_json(other) else [(where, one, other)]


def apart(one: Any, other: Any) -> tuple[str, str]:
    """Return what tells two values apart, as short as may be; of long ones, from where they differ."""
    exact = (to_json(one), to_json(other))
    short = (text_of(one), text_of(other))
    if short[0] != short[1] and max(map(len, short)) <= LONGEST_VALUE:
        return short
    same = next((place for place, (a, b) in enumerate(zip(*exact, strict=False)) if a != b), min(map(len, exact)))
    start = max(0, same - LONGEST_VALUE // 3)
    first, second = (("..." if start else "") + clipped(text[start:]) for text in exact)
    return first, second
