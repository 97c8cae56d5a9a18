"""Intervals around what a chain predicts, from its stored predictions of the samples that each fold held out.

See docs/decisions/0028.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..metrics import repeats_of
from ..validation import checked_float
from .fitted import FittedChain, named
from .intervals import cv_plus, one_a_group
from .probabilities import as_columns

Array = Any
Row = dict[str, Any]


@dataclass(frozen=True)
class FoldIntervals:
    """Makes intervals by CV+ around the predictions of new samples; see `intervals.cv_plus`.

    Attributes
    ----------
    folds : FittedChain
        The chain with the models of all its folds.
    held_out : list of (ndarray, ndarray)
        For each target the residuals, one a group, and the place in `folds` of the fold that held each out.
    level : float
        Which share of new samples the intervals are to cover.
    """

    folds: FittedChain
    held_out: list[tuple[Array, Array]]
    level: float

    def beside(self, frame: pl.DataFrame, X: Any, wavelengths: Any = None, *, resample: bool = False) -> pl.DataFrame:
        """Return what `FittedChain.predict_frame` gives of X with `lower` and `upper`, in the unit of y, put in.

        They have a number behind for each of several targets. Parameters and errors are those of `predict_frame`.
        """
        of_folds = np.stack(self.folds.predict_folds(X, wavelengths, resample=resample))
        bounds = [cv_plus(*own, of_folds[:, :, target], self.level) for target, own in enumerate(self.held_out)]
        lower, upper = (np.stack(side, axis=1) for side in zip(*bounds, strict=True))
        own = pl.DataFrame(named("lower", lower) | named("upper", upper))
        count = len(self.held_out)
        return pl.concat([frame[:, :count], own, frame[:, count:]], how="horizontal")


def fold_intervals(
    folds: FittedChain, predictions: Sequence[Row], samples: pl.DataFrame | None, level: float
) -> FoldIntervals:
    """Return what makes intervals around the predictions of a chain.

    Of a repeated cross-validation the first repeat counts: the promise is for samples that were held out once.

    Parameters
    ----------
    folds : FittedChain
        The chain with the models of all its folds.
    predictions : list of dict
        Those of the chain, as `PredictionRepo.get` returns them with their arrays.
    samples : polars.DataFrame, optional
        What is known of the samples of the dataset; see `datasets.samples_of`. Those of one group, or without groups
        those of one name, have one score.
    level : float

    Raises
    ------
    InvalidInputError
        `level` is not between 0 and 1; the predictions are classes, are not stored with their arrays, or are not those
        of folds that hold out each sample once a repeat and each group as a whole; or the chain lacks the model of such
        a fold.
    """
    level = checked_float(level, "interval")
    if not 0 < level < 1:
        raise InvalidInputError(f"interval={level} is no share of samples to cover; give one between 0 and 1, as 0.9")
    first = _first_repeat(folds.name, predictions)
    known = {fold.removeprefix("fold_"): place for place, fold in enumerate(folds.folds)}
    lost = [row["fold_id"] for row in first if row["fold_id"] not in known]
    if lost:
        raise InvalidInputError(
            f"{folds.name} has no models of its folds {lost}, which intervals need; train it again with keep='all'"
        )
    rows = np.concatenate([row["sample_indices"] for row in first])
    places = np.repeat([known[row["fold_id"]] for row in first], [len(row["sample_indices"]) for row in first])
    groups = _groups_of(rows, samples)
    y_true, y_pred = (np.concatenate([as_columns(row[name]) for row in first]) for name in ("y_true", "y_pred"))
    held_out = []
    for true, predicted in zip(y_true.T.astype(np.float64), y_pred.T.astype(np.float64), strict=True):
        has_y = ~np.isnan(true)
        try:
            held_out.append(one_a_group((true - predicted)[has_y], places[has_y], groups[has_y]))
        except ValueError as error:
            raise InvalidInputError(f"{folds.name} has no intervals: {error}") from error
    return FoldIntervals(folds, held_out, level)


def _first_repeat(name: str, predictions: Sequence[Row]) -> list[Row]:
    """Return the predictions of the folds that together hold out each sample once."""
    stored = {
        (row["fold_id"], row["partition"]): row
        for row in predictions
        if all(row[array] is not None for array in ("sample_indices", "y_true", "y_pred"))
    }
    folds = sorted((fold for fold, partition in stored if partition == "val" and fold.isdecimal()), key=int)
    held_out = [stored[fold, "val"] for fold in folds]
    # Which samples no fold has held out, only what the folds were trained on tells.
    if not folds or any((fold, "train") not in stored for fold in folds):
        raise InvalidInputError(
            f"{name} has no stored predictions, with arrays, of what its folds were trained on and held out, as one "
            "from a bundle has none; train it in this workspace to have intervals"
        )
    if not all(map(_are_numbers, held_out)):
        raise InvalidInputError(f"{name} predicts classes, and intervals are for numbers; see predict_proba")
    parts = [row["sample_indices"] for row in held_out]
    trained = [stored[fold, "train"]["sample_indices"] for fold in folds]
    rows, numbers = np.unique(np.concatenate([*parts, *trained]), return_inverse=True)
    numbered = np.split(numbers, np.cumsum([len(part) for part in parts]))[: len(parts)]
    repeats = repeats_of(numbered, len(rows))
    if not repeats:
        times = np.bincount(np.concatenate(numbered), minlength=len(rows))
        raise InvalidInputError(
            f"the folds of {name} hold out {np.sum(times == 0)} samples never and {np.sum(times > 1)} several times, "
            "as those of time series and of ShuffleSplit do; intervals need each sample to be held out once: train "
            "with KFold, or with GroupKFold if there are groups"
        )
    return [held_out[number] for number in repeats[0]]


def _are_numbers(row: Row) -> bool:
    has_numbers = all(row[array].dtype.kind in "biuf" for array in ("y_true", "y_pred"))
    return bool(row["task_type"] != "classification" and has_numbers and row["y_true"].shape == row["y_pred"].shape)


def _groups_of(rows: Array, samples: pl.DataFrame | None) -> Array:
    """Return the group of each row, or else the name of its sample; a row that has none is a group of its own."""
    columns = [] if samples is None else [name for name in ("group", "sample") if name in samples.columns]
    if samples is None or not columns:
        return rows
    calibration = samples.filter(pl.col("partition") != "test").select(pl.col("row").cast(pl.Int64), columns[0])
    found = pl.DataFrame({"row": rows.astype(np.int64)}).join(calibration, on="row", how="left", maintain_order="left")
    name = pl.col(columns[0]).cast(pl.String)
    own = pl.when(name != "").then(pl.format("named {}", name)).otherwise(pl.format("row {}", "row"))
    return found.select(own).to_series().to_numpy()
