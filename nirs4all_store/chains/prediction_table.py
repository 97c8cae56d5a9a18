"""A table of new spectra and a chain give a table of predictions, beside what names the samples.

Where the table has the references, too, it tells how good the predictions are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..datasets import (
    FINAL,
    ROWS_COUNT_FROM_ZERO,
    Spectra,
    column_names,
    table_files,
    table_layout,
    values_of,
)
from ..errors import ChainInputError, InvalidInputError
from ..filesystem import checked_path
from ..metrics import TARGETS, Scores
from .fitted import FittedChain, warning_of
from .fold_intervals import FoldIntervals
from .inference import is_classifier
from .probabilities import all_classes
from .scans import check_average, scores_by_sample, scores_by_scan, with_averages

Array = Any
SAMPLE = "sample"
KEEP = ("none", "ids", "all")
PREDICTED = "predicted"
MOST_WORST = 5


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of new spectra.

    Attributes
    ----------
    frame : polars.DataFrame
        One row for each row of the data: the columns that are kept (`q_1` if one is called as ours), then
        `NAME_predicted` for each target, null where a row could not be predicted. Where the chain does not know its
        targets' names, `predicted`, or `predicted_0`... Where it was averaged by `sample`, then
        `NAME_predicted_by_sample` and `n_scans`, the same for each scan of one. At its end what `beliefs` has, such as
        `t2`, `q`, `outside_x` and `outside_y`.
    scores : dict of str to dict
        The scores of each target of which the data have the references, by its name; see `metrics.scores_of`.
    worst : polars.DataFrame
        Up to five rows for each such target, the largest error first, or some with a wrong class: the columns of the
        data that are no spectra, `row` (the first is 0), `target`, `reference`, `predicted`, and of numbers `error`
        (predicted - reference).
    n_missing : int
        How many rows were not predicted, since a value of theirs is missing that the chain needs, or all are.
    scores_by_sample : dict of str to dict
        Where it was averaged, the scores of the samples: `n` counts these.
    beliefs : polars.DataFrame
        For each row of the data how far its prediction can be believed, as `WorkspaceStore.predict_frame` tells it. The
        bounds of an interval are called `NAME_lower` and `NAME_upper`, or as there.
    warning : str or None
        How many spectra and predictions are unlike those of the calibration, in one sentence; None if none is. It also
        says if nobody can tell, and where an interval promises nothing.
    unread : dict of str to str
        Of each such target that has values which are no references, in one sentence: they are no numbers, or none is a
        class that the chain knows.
    """

    frame: pl.DataFrame
    scores: dict[str, Scores]
    worst: pl.DataFrame
    n_missing: int
    scores_by_sample: dict[str, Scores]
    beliefs: pl.DataFrame
    warning: str | None
    unread: dict[str, str]


def predict_table(
    chain: FittedChain,
    data: Any,
    *,
    keep: str = "ids",
    resample: bool = False,
    average: str | None = None,
    intervals: FoldIntervals | None = None,
) -> PredictionTable:
    """Predict each row of a table.

    Parameters
    ----------
    chain : FittedChain
    data : path-like or frame
        A file or frame of spectra, in which the columns of training are found; see `TrainedOn.find`.
    keep : str
        Which columns of the data stand before the predictions. `ids`: those that are no spectra, such as names of
        samples and metadata. `all`: the spectra that the chain was given, too. `none`: no column.
    resample : bool
        Interpolate spectra of other wavelengths to those of training.
    average : str, optional
        The column of the data that names the samples of which the rows are scans; see `scans.with_averages`. `sample`
        may also stand for the column that did so in training.
    intervals : FoldIntervals, optional
        Also give the bounds of an interval around each prediction.

    Raises
    ------
    InvalidInputError
        `keep` is none of these, the data cannot be read, lack a column, or have a missing value in every row.
    ChainInputError, ChainReplayError
        As for `WorkspaceStore.replay_chain`.
    """
    if keep not in KEEP:
        raise InvalidInputError(f"keep={keep!r} is none of {', '.join(KEEP)}")
    spectra = _spectra(chain, data, resample=resample)
    told, predicted, n_filled = _predictions(chain, spectra, intervals)
    columns = [name for name in told.columns if name.startswith(PREDICTED)]
    known = chain.trained_on.target_names
    targets = known if known is not None and len(known) == len(columns) else None
    names = [f"{target}_predicted" for target in targets] if targets else columns
    places = pl.Series(np.cumsum(predicted) - 1).set(pl.Series(~predicted), None)
    gathered = told.rename(_names_of(told.columns, targets or [])).select(pl.all().gather(places))
    frame, beliefs = gathered.select(names), gathered.drop(names)
    others = spectra.others.select(column_names.without_wavelengths(spectra.others.columns))
    are_classes = all(map(is_classifier, chain.models))
    if average == SAMPLE and average not in others.columns:
        average = chain.trained_on.sample_column or average
    if average is not None:
        check_average(others, average)
        scans = others.select(average).hstack(frame)
        frame = with_averages(scans, names, average, are_classes=are_classes).drop(average)
    frame = frame.hstack(beliefs)
    kept = [] if keep == "none" else [others]
    if keep == "all":
        kept.append(_as_frame(spectra))
    is_earlier_answer = any(name in others.columns for name in names)
    beside = [
        part.drop(frame.columns, strict=False) if is_earlier_answer else _renamed(part, frame.columns) for part in kept
    ]
    classes = _classes(chain, len(names)) if are_classes else [None] * len(names)
    read = {
        target: _references(others[target], column, own, are_classes=are_classes)
        for target, column, own in zip(targets or [], frame, classes, strict=False)
        if target in others.columns
    }
    compared = {
        target: _compared(others, target, *pair, are_classes=are_classes) for target, (*pair, _) in read.items()
    }
    worst = [_worst(rows, are_classes=are_classes) for rows in compared.values()]
    return PredictionTable(
        pl.concat([*beside, frame], how="horizontal"),
        # The data may have a column `weight` of their own, as that of an apple.
        {
            target: scores_by_scan(rows.select("reference", "predicted"), are_classes=are_classes)
            for target, rows in compared.items()
        },
        pl.concat(worst, how="diagonal_relaxed") if worst else pl.DataFrame(),
        int(np.sum(~predicted)),
        {
            target: scores_by_sample(
                pl.DataFrame({"sample": others[average], "reference": reference, "predicted": column}),
                are_classes=are_classes,
            )
            for target, (reference, column, _) in read.items()
            if average is not None
        },
        beliefs,
        "; ".join(filter(None, [warning_of(told), _about_gaps(n_filled), *_about_intervals(told, intervals)])) or None,
        {target: unread for target, (*_, unread) in read.items() if unread is not None},
    )


def with_word_of_calibration(found: PredictionTable, predictions: Sequence[Mapping[str, Any]]) -> PredictionTable:
    """Return predictions with a warning if their references are those that the model was fitted on.

    Then it errs by its stored RMSEC, to the digits in which sums differ, and that would be read as the RMSEP.

    Parameters
    ----------
    found : PredictionTable
    predictions : sequence of dict
        Those of the chain that are stored, with `scores`.
    """
    trained = [row for row in predictions if row["fold_id"] == FINAL and row["partition"] == "train"]
    for target, scores in found.scores.items():
        for row in trained:
            stored = (row["scores"] or {}).get("train") or {}
            own = (stored.get(TARGETS) or {}).get(target) or stored
            if scores.get("n") == own.get("n") and _is_close(scores.get("rmse"), own.get("rmse")):
                word = f"{target}: these are the samples that the chain was fitted on; its error says little of others"
                return replace(found, warning="; ".join(filter(None, [word, found.warning])))
    return found


def _is_close(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9)


def _spectra(chain: FittedChain, data: Any, *, resample: bool) -> Spectra:
    if isinstance(data, str | Path):
        return chain.trained_on.read(checked_path(data, "data"), resample=resample)
    if not table_files.is_frame(data):
        raise InvalidInputError(
            f"data is {type(data).__name__}; give a file or a frame with names of columns, or predict arrays with "
            "replay_chain or predict_frame"
        )
    return chain.trained_on.find(data, "the table", resample=resample)


def _predictions(
    chain: FittedChain, spectra: Spectra, intervals: FoldIntervals | None
) -> tuple[pl.DataFrame, Array, int]:
    """Return what `predict_frame` gives, for which rows that is, and how many of these have a gap.

    It is for all that have a value, or for those without a gap. A chain that fills gaps would make the mean spectrum of
    a row without any value, and believe it.
    """

    def told(X: Array) -> pl.DataFrame:
        frame = chain.predict_frame(X, spectra.wavelengths)
        return frame if intervals is None else intervals.beside(frame, X, spectra.wavelengths)

    X = spectra.X
    gaps = np.isnan(X)
    whole, measured = ~gaps.any(axis=1), ~gaps.all(axis=1)
    if measured.any() or not len(X):
        try:
            return told(X if measured.all() else X[measured]), measured, int(np.sum(measured & ~whole))
        except ChainInputError:
            if whole.all():
                raise
    if not whole.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value, which the chain cannot take")
    try:
        return told(X[whole]), whole, 0
    except ChainInputError as error:
        row = getattr(error.__cause__, "row", None)
        if row is None:
            raise
        in_file = np.flatnonzero(whole)[row]
        raise ChainInputError(f"{error}; in the data that is row {in_file} {ROWS_COUNT_FROM_ZERO}") from error


def _names_of(columns: list[str], targets: list[str]) -> dict[str, str]:
    """Return what the columns of each target are called instead."""
    return {
        name: f"{target}_{kind}"
        for kind in (PREDICTED, "lower", "upper")
        for name, target in zip((name for name in columns if name.startswith(kind)), targets, strict=False)
    }


def _renamed(part: pl.DataFrame, ours: list[str]) -> pl.DataFrame:
    """Return columns of the data with a number behind the names that ours have, as a metadata column `q`."""
    return part.rename(
        {
            name: next(other for i in count(1) if (other := f"{name}_{i}") not in {*part.columns, *ours})
            for name in part.columns
            if name in ours
        }
    )


def _as_frame(spectra: Spectra) -> pl.DataFrame:
    names = spectra.columns or [f"column_{place}" for place in range(spectra.X.shape[1])]
    return pl.DataFrame(spectra.X, schema=names)


def _about_gaps(n_filled: int) -> str | None:
    """Return how many of the spectra that were predicted have a gap, if some have."""
    if not n_filled:
        return None
    lacking = "1 spectrum lacks values" if n_filled == 1 else f"{n_filled:,} spectra lack values"
    return f"{lacking}, which the chain fills or does without: flags are about what it makes of that"


def _about_intervals(told: pl.DataFrame, intervals: FoldIntervals | None) -> list[str]:
    """Return where intervals say nothing."""
    if intervals is None:
        return []
    found = []
    if any(told[name].is_infinite().any() for name in told.columns if name.startswith("upper")):
        found.append(f"too few samples were held out for intervals of {intervals.level:g}, which have no bounds")
    if "outside_x" in told and told["outside_x"].any():
        found.append("an interval promises nothing for a spectrum that is unlike the calibration")
    return found


def _classes(chain: FittedChain, n_targets: int) -> list[Array | None]:
    """Return the classes of each target that the models know."""
    try:
        known = all_classes(chain.models)
    except AttributeError:  # A model does not tell.
        return [None] * n_targets
    several = known if isinstance(known, list) else [known]
    return several if len(several) == n_targets else [None] * n_targets  # Labels are none of their own values.


def _references(
    column: pl.Series, predicted: pl.Series, classes: Array | None, *, are_classes: bool
) -> tuple[pl.Series, pl.Series, str | None]:
    """Return references and predictions that can be compared, and which values are no references, if some are not."""
    reference = values_of(column, are_names=False)
    if not are_classes:
        numbers = reference.cast(pl.Float64, strict=False).fill_nan(None)
        texts = reference.filter(numbers.is_null()).drop_nulls().cast(pl.String)
        texts = texts.filter(~texts.str.to_lowercase().is_in(table_layout.MISSING))
        count = f"{len(texts)} {'values are no numbers' if len(texts) > 1 else 'value is no number'}"
        return numbers, predicted, f"{count}, as {texts[0]!r}, and not compared" if len(texts) else None
    reference, predicted = _in_one_type(reference, predicted)
    if classes is None or not reference.count():
        return reference, predicted, None
    same, known = _in_one_type(reference, pl.Series(classes.tolist()))
    if same.is_in(known.implode()).any():
        return reference, predicted, None
    unread = f"no value is a class that the chain knows, as {reference.drop_nulls()[0]!r}, and none is compared"
    return pl.Series([None] * len(reference), dtype=reference.dtype), predicted, unread


def _in_one_type(one: pl.Series, other: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return two columns of classes whose values can be compared: `1` is `1.0`, and `True` is `true`."""
    kinds = {one.dtype, other.dtype}
    if len(kinds) == 1:
        return one, other
    if all(kind.is_numeric() for kind in kinds):
        return one.cast(pl.Float64), other.cast(pl.Float64)
    texts = one.cast(pl.String), other.cast(pl.String)
    return (texts[0].str.to_lowercase(), texts[1].str.to_lowercase()) if pl.Boolean in kinds else texts


def _compared(
    others: pl.DataFrame, target: str, reference: pl.Series, predicted: pl.Series, *, are_classes: bool
) -> pl.DataFrame:
    """Return the rows that have a reference and a prediction, with what else is known of them."""
    own = [reference.alias("reference"), predicted.alias("predicted")]
    about = others.drop("row", "target", "reference", "predicted", "error", strict=False)
    rows = about.with_row_index("row").with_columns(*own, target=pl.lit(target)).drop_nulls(["reference", "predicted"])
    return rows if are_classes else rows.with_columns(error=pl.col("predicted") - pl.col("reference"))


def _worst(rows: pl.DataFrame, *, are_classes: bool) -> pl.DataFrame:
    if are_classes:
        return rows.filter(pl.col("reference") != pl.col("predicted")).head(MOST_WORST)
    return rows.sort(pl.col("error").abs(), descending=True).head(MOST_WORST)
