"""Compares chains: in which steps they differ, fold by fold, and by the errors for the same samples.

Why errors are compared in pairs: docs/decisions/0029.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl

from ..metrics import are_classes
from .sample_frames import targets_in
from .schema import checked_steps

LONGEST = 80
"""So many characters of a value of a parameter are shown."""
LEVEL = 0.95
RESAMPLES = 9_999
VALUES_AT_ONCE = 10_000_000
"""So many values of resamples are in memory at a time."""
PAIRED = {
    "chain_id": pl.String,
    "target": pl.String,
    "n": pl.Int64,
    **dict.fromkeys(("first", "other", "difference", "lower", "upper"), pl.Float64),
    "n_better": pl.Int64,
    "n_worse": pl.Int64,
}
"""What is told of the errors of two chains, and the types."""
Row = dict[str, Any]


@dataclass(frozen=True)
class ChainComparison:
    """How chains differ; all beside the first.

    Attributes
    ----------
    scores : polars.DataFrame
        What `rank_chains` tells of each, in the order in which they were given.
    steps : polars.DataFrame
        Where their steps differ from the first chain's: `chain_id`, `step` (its number in the first chain, from 1, or
        that of the step before it), `first` and `other` (the steps as text; null where one of them has none).
    folds : polars.DataFrame
        `fold_id`, and the score of each chain for what this fold held out, in a column of the chain's id.
    paired : polars.DataFrame or None
        For each other chain and `target`: `n` (samples that have a reference and both predictions), `first` and `other`
        (the means of the absolute errors, for classes the shares of wrong ones), `difference` (other less first:
        negative if the other is better), `lower` and `upper` (its bootstrap interval of 95 %; null where all
        differences are equal), `n_better` and `n_worse` (how often the other is). What was held out several times has
        the mean of its errors, and counts as often.
    not_paired : str or None
        Why there are no pairs of errors.
    """

    scores: pl.DataFrame
    steps: pl.DataFrame
    folds: pl.DataFrame
    paired: pl.DataFrame | None
    not_paired: str | None


@dataclass(frozen=True)
class Compared:
    """A chain to compare.

    Attributes
    ----------
    chain : dict
        As `ChainRepo.get` gives it.
    scores : dict of str to float
        The score of what each fold held out.
    predictions : list of dict
        What all its folds together held out, with arrays; what each of them did where this is a mean over several.
    target_names : list of str, or None
    samples : polars.DataFrame
        What `sample_frame` makes of them.
    config : list
        The steps of its pipeline, of which each has the parameters that are not the defaults.
    """

    chain: Row
    scores: Mapping[str, float | None]
    predictions: Sequence[Row]
    target_names: Sequence[str] | None
    samples: pl.DataFrame
    config: Sequence[Any] = ()


def compare(scores: pl.DataFrame, chains: Sequence[Compared]) -> ChainComparison:
    """Return how chains differ from the first of them."""
    first, *others = chains
    steps = [row for other in others for row in _differing_steps(first, other)]
    schema = {"chain_id": pl.String, "step": pl.Int64, "first": pl.String, "other": pl.String}
    why = _why_not_paired(scores, chains)
    return ChainComparison(
        scores,
        pl.DataFrame(steps, schema=schema, orient="row"),
        _fold_by_fold(chains),
        None if why else pl.DataFrame([row for other in others for row in _pairs(first, other)], schema=PAIRED),
        why,
    )


def holds_out_again(judged_by: pl.Series) -> bool:
    """Tell whether folds hold out some samples several times, from the JSON of how chains were judged."""
    repeats, several = (judged_by.str.json_path_match(path) for path in ("$.n_repeats", "$.coverage.several"))
    times = repeats.cast(pl.Int64, strict=False) > 1, several.cast(pl.Int64, strict=False) > 0
    return any(bool(own.any()) for own in times)


def _differing_steps(first: Compared, other: Compared) -> list[tuple[str, int, str | None, str | None]]:
    ours, theirs = _told_steps(first), _told_steps(other)
    matcher = SequenceMatcher(None, [name for name, *_ in ours], [name for name, *_ in theirs], autojunk=False)
    found: list[tuple[str, int, str | None, str | None]] = []
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        pairs = zip_longest(ours[start:end], theirs[other_start:other_end], fillvalue=(None, None, None))
        for place, ((_, here, does), (_, there, does_other)) in enumerate(pairs):
            if does != does_other:
                found.append((other.chain["chain_id"], min(start + place, end) + (here is not None), here, there))
    return found


def _told_steps(compared: Compared) -> list[tuple[str | None, str | None, str | None]]:
    """Return of each step its name, how it is told, and what it does: one that sets a default does the same."""
    found: list[tuple[str | None, str | None, str | None]] = []
    for step in sorted(checked_steps(compared.chain["steps"]), key=itemgetter("step_idx")):
        name, place = str(step.get("operator_class")), step["step_idx"]
        config = json.dumps(compared.config[place]) if 0 <= place < len(compared.config) else ""
        found.append((name, _text(step), config if f'{name}"' in config else _text(step)))
    return found


def _text(step: Mapping[str, Any]) -> str:
    params = step.get("params")
    params = params if isinstance(params, dict) else {}
    model = params.get("model")
    if isinstance(model, dict):
        params = model.get("params") or {}
    told = ", ".join(f"{name}={repr(value)[:LONGEST]}" for name, value in params.items())
    return f"{step.get('operator_class')}({told})"


def _fold_by_fold(chains: Sequence[Compared]) -> pl.DataFrame:
    folds = sorted({fold for chain in chains for fold in chain.scores if fold.isdecimal()}, key=int)
    columns = {
        chain.chain["chain_id"]: pl.Series([chain.scores.get(fold) for fold in folds], dtype=pl.Float64)
        for chain in chains
    }
    return pl.DataFrame({"fold_id": pl.Series(folds, dtype=pl.String), **columns})


def _why_not_paired(scores: pl.DataFrame, chains: Sequence[Compared]) -> str | None:
    if scores["dataset_id"].n_unique() > 1 and not _have_the_same_references(chains):
        return "not paired: the chains were trained on different data"
    folds = scores["judged_by"].str.json_path_match("$.folds")
    if folds.null_count() or folds.n_unique() > 1:
        return "not paired: the chains were judged by different folds, or these are not known"
    rows = [chain.samples["row"] for chain in chains]
    if any(own.is_empty() or own.null_count() for own in rows):
        return "not paired: which samples the folds held out is not stored"
    if len({tuple(own.sort()) for own in rows}) > 1:
        return "not paired: the chains do not predict the same samples"
    return None


def _have_the_same_references(chains: Sequence[Compared]) -> bool:
    """Tell whether the values measured of each row are the same, as where data differ in their test set alone.

    Labels of classes are too few to tell samples apart.
    """
    if any(are_classes(chain.predictions) for chain in chains):
        return False
    first, *others = (
        chain.samples.select("row", *(true for _, true, _, _ in targets_in(chain.samples, chain.target_names)))
        .unique("row", keep="first")
        .sort("row")
        for chain in chains
    )
    return first.height > 0 and all(first.equals(other) for other in others)


def _pairs(first: Compared, other: Compared) -> list[Row]:
    theirs = {target[0]: target for target in targets_in(other.samples, other.target_names)}
    found = []
    for target, true, predicted, _ in targets_in(first.samples, first.target_names):
        if target not in theirs:
            continue
        _, other_true, other_predicted, _ = theirs[target]
        classes = are_classes(first.predictions)
        ours = _errors(first.samples, true, predicted, classes=classes)
        pairs = ours.join(
            _errors(other.samples, other_true, other_predicted, classes=classes), on=["row", "fold_id"], suffix="_other"
        ).drop_nulls(["error", "error_other"])
        if pairs.height:
            found.append({"chain_id": other.chain["chain_id"], "target": target, **_difference(_by_sample(pairs))})
    return found


def _errors(rows: pl.DataFrame, true: str, predicted: str, *, classes: bool) -> pl.DataFrame:
    """Return the error of each prediction; null where the reference or the prediction is missing."""
    y, y_pred = (
        pl.col(name).fill_nan(None) if rows[name].dtype.is_float() else pl.col(name) for name in (true, predicted)
    )
    error = (y_pred != y).cast(pl.Float64) if classes else (y_pred - y).abs()
    sample = pl.col("sample").cast(pl.String) if "sample" in rows.columns else pl.lit(None, pl.String)
    return rows.select("row", "fold_id", sample.alias("sample"), error=error)


def _by_sample(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the mean errors of each sample, and how many `times` it was held out."""
    errors = pl.col("error", "error_other").mean()
    found = pairs.group_by("row").agg(errors, pl.col("sample").first(), times=pl.len()).sort("row")
    if found["sample"].null_count() == 0:  # Scans of one sample err together.
        found = found.group_by("sample").agg(errors, pl.col("times").mean()).sort("sample")
    return found


def _difference(errors: pl.DataFrame) -> Row:
    ours, theirs, times = (errors[name].to_numpy() for name in ("error", "error_other", "times"))
    differences = theirs - ours
    lower, upper = _interval(differences, times)
    return {
        "n": len(differences),
        "first": float(np.average(ours, weights=times)),
        "other": float(np.average(theirs, weights=times)),
        "difference": float(np.average(differences, weights=times)),
        "lower": lower,
        "upper": upper,
        "n_better": int((differences < 0).sum()),
        "n_worse": int((differences > 0).sum()),
    }


def _interval(differences: Any, times: Any) -> tuple[float | None, float | None]:
    """Return the bootstrap interval of a mean over samples, the same each time; none where they do not differ."""
    if np.ptp(differences) == 0:
        return None, None
    from scipy.stats import bootstrap

    found = bootstrap(
        (differences * times, times),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        n_resamples=RESAMPLES,
        batch=max(1, VALUES_AT_ONCE // len(differences)),
        confidence_level=LEVEL,
        method="percentile",
        paired=True,
        vectorized=True,
        random_state=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
