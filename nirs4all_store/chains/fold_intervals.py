"""Intervals around what a chain predicts, from its stored predictions of the samples that each fold held out.

See docs/decisions/0028.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError, StoreError
from ..metrics import repeats_of
from ..validation import checked_float
from .fitted import FittedChain, named
from .inference import is_classifier
from .intervals import Residuals, cv_plus, one_a_group
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


def intervals_of(chain: FittedChain, level: float) -> FoldIntervals:
    """Return what makes intervals around the predictions of a chain.

    Parameters
    ----------
    chain : FittedChain
        With its `residuals`; it, or its `together`, has the models of all its folds.
    level : float

    Raises
    ------
    InvalidInputError
        `level` is not between 0 and 1, or the chain lacks the residuals or the model of a fold.
    ArtifactLoadError, UntrustedArtifactError
        They cannot be loaded.
    """
    level = checked_float(level, "interval")
    if not 0 < level < 1:
        raise InvalidInputError(f"interval={level} is no share of samples to cover; give one between 0 and 1, as 0.9")
    folds, residuals = chain.together or chain, chain.residuals
    if isinstance(residuals, StoreError):
        raise residuals
    if residuals is None and all(map(is_classifier, chain.models)):
        raise _of_classes(chain.name)
    if residuals is None:
        raise InvalidInputError(
            f"{chain.name} has no residuals of samples that its folds held out, which intervals need; give interval= "
            "to predict_frame of the workspace that trained it, or of a bundle from there, which has them if the folds "
            "hold out each sample once"
        )
    known = {fold.removeprefix("fold_"): place for place, fold in enumerate(folds.folds)}
    names = residuals["folds"].tolist()
    lost = [name for name in names if name not in known]
    if lost:
        raise InvalidInputError(
            f"{folds.name} has no models of its folds {lost}, which intervals need; give no folds, or train it "
            "again with keep='all'"
        )
    if len(names) == 1 and len(folds.folds) > 1:
        raise InvalidInputError(
            f"{folds.name} has {len(folds.folds)} folds and the stored predictions of one, which may hold out the "
            "samples of another time; train it in this workspace to have intervals"
        )
    places = np.array([known[name] for name in names])
    targets = range(len(residuals) // 2)
    held_out = [(residuals[f"residuals_{target}"], places[residuals[f"fold_{target}"]]) for target in targets]
    return FoldIntervals(folds, held_out, level)


def held_out_residuals(name: str, predictions: Sequence[Row], samples: pl.DataFrame | None) -> Residuals:
    """Return how wrong the folds of a chain were for the samples that each held out, as plain arrays.

    Of a repeated cross-validation the first repeat counts: the promise is for samples that were held out once.

    Parameters
    ----------
    name : str
        How messages call the chain.
    predictions : list of dict
        Those of the chain, as `PredictionRepo.get` returns them with their arrays.
    samples : polars.DataFrame, optional
        What is known of the samples of the dataset; see `datasets.samples_of`. Those of one group, or without groups
        those of one name, have one score.

    Returns
    -------
    dict of str to ndarray
        `folds` has the names of the folds, as predictions have them. For each target, counted from 0, `residuals_0` has
        the absolute residuals, one a group, and `fold_0` the place in `folds` of the fold that held each out.

    Raises
    ------
    InvalidInputError
        The predictions are classes, are not stored with their arrays, or are not those of folds that hold out each
        sample once a repeat and each group as a whole.
    """
    held_out, trained = _held_out(name, predictions)
    rows = np.concatenate([row["sample_indices"] for row in held_out])
    places = np.repeat(np.arange(len(held_out)), [len(row["sample_indices"]) for row in held_out])
    groups = _groups_of(rows, samples)
    if len(held_out) == 1 and np.isin(groups, _groups_of(trained[0], samples)).any():
        raise InvalidInputError(
            f"{name} has no intervals: samples of one group are trained on and held out; split by groups, as "
            "GroupShuffleSplit does"
        )
    y_true, y_pred = (np.concatenate([as_columns(row[array]) for row in held_out]) for array in ("y_true", "y_pred"))
    found: Residuals = {"folds": np.array([row["fold_id"] for row in held_out])}
    targets = zip(y_true.T.astype(np.float64), y_pred.T.astype(np.float64), strict=True)
    for target, (true, predicted) in enumerate(targets):
        has_y = ~np.isnan(true)
        try:
            pair = one_a_group((true - predicted)[has_y], places[has_y], groups[has_y])
        except ValueError as error:
            raise InvalidInputError(f"{name} has no intervals: {error}") from error
        found[f"residuals_{target}"], found[f"fold_{target}"] = pair
    return found


def _held_out(name: str, predictions: Sequence[Row]) -> tuple[list[Row], list[Array]]:
    """Return the predictions of the folds that together hold out each sample once, and the rows that each trained on.

    Or those of the only fold: the model of one split into calibration and validation has never seen what is held out.
    """
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
            f"{name} has no stored predictions, with arrays, of what its folds were trained on and held out; train it "
            "in this workspace to have intervals"
        )
    if not all(map(_are_numbers, held_out)):
        raise _of_classes(name)
    parts = [row["sample_indices"] for row in held_out]
    trained = [stored[fold, "train"]["sample_indices"] for fold in folds]
    if len(folds) == 1:
        return held_out, trained
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
    return [held_out[number] for number in repeats[0]], []


def _of_classes(name: str) -> InvalidInputError:
    return InvalidInputError(f"{name} predicts classes, and intervals are for numbers; see predict_proba")


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
