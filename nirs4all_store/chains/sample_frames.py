"""The stored predictions of a chain as one frame, with a row for each sample that was predicted, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ..datasets import AVERAGE
from ..metrics import are_classes, is_missing, over_repeats, repeats_of
from .scans import check_average, scores_by_sample, scores_by_scan, with_averages

Array = Any
PREDICTION = ("fold_id", "repeat", "partition")
"""By these the predictions of a chain are known."""
Target = tuple[str, str, str, str]
KNOWN_OF_ALL = {"row": pl.Int64, "fold_id": pl.String, "repeat": pl.Int64, "partition": pl.String}
"""The columns that each frame of predictions has, and their types."""

IS_TEST = "(is it of the test data)"


def sample_frame(
    predictions: Sequence[dict[str, Any]],
    target_names: Sequence[str] | None,
    samples: pl.DataFrame | None = None,
    average: str | None = None,
) -> pl.DataFrame:
    """Return the predictions of a chain by sample.

    Parameters
    ----------
    predictions : list of dict
        As `PredictionRepo.get` returns them, with their arrays.
    target_names : list of str, or None
    samples : polars.DataFrame, optional
        What is known of the samples of the dataset; see `datasets.samples_of`.
    average : str, optional
        The column that names the samples of which the rows are scans, such as `sample`; see `scans.with_averages`.

    Returns
    -------
    polars.DataFrame
        See `WorkspaceStore.chain_samples`.

    Raises
    ------
    InvalidInputError
        There is no such column to average by.
    """
    parts = [pl.DataFrame(schema=KNOWN_OF_ALL), *(_frame_of(row, target_names) for row in predictions)]
    frame = pl.concat(parts, how="diagonal_relaxed")
    if samples is not None:
        frame = _with_samples(frame, samples, [true for _, true, _, _ in targets_in(frame, target_names)])
    if average is None:
        return frame
    check_average(frame, average)
    of_classes = are_classes(predictions)
    for _, _, predicted, prefix in targets_in(frame, target_names):
        shares = [name for name in frame.columns if name.startswith(f"{prefix}_")]
        frame = with_averages(frame, [predicted], average, PREDICTION, are_classes=of_classes)
        frame = with_averages(frame, shares, average, PREDICTION, are_classes=False) if shares else frame
    return frame


def score_frame(
    predictions: Sequence[dict[str, Any]],
    target_names: Sequence[str] | None,
    samples: pl.DataFrame | None = None,
    average: str | None = None,
    *,
    weighted: bool = False,
) -> pl.DataFrame:
    """Return the scores of each prediction of a chain by scan and, where they are averaged, by sample.

    Parameters and errors are those of `sample_frame`; for the frame see `WorkspaceStore.chain_scores`. With `weighted`
    the weights of samples count, where they are stored.
    """
    frame = sample_frame(predictions, target_names, samples, average)
    of_classes = are_classes(predictions)
    repeats = _repeats(predictions)
    rows = []
    for known, part in frame.group_by(PREDICTION, maintain_order=True):
        is_mean_of_repeats = bool(repeats) and known[0] == AVERAGE and known[2] == "val"
        pools = [_held_out(frame, folds) for folds in repeats] if is_mean_of_repeats else [part]
        for target, true, predicted, _ in targets_in(frame, target_names):
            if true not in part.columns:
                continue
            own = dict(zip(PREDICTION, known, strict=True)) | {"target": target}
            names = pl.lit(None) if average is None else pl.col(average)
            if len(repeats) == 1 and average is not None:  # A sample is averaged only where one model predicts it.
                names = pl.format("{}, fold {}", names, pl.col("fold_id"))
            counts = weighted and "weight" in part.columns and part["weight"].null_count() < part.height
            weight = [pl.col("weight")] if counts else []
            scans = [
                pool.select(*weight, reference=_without_gaps(pool[true]), predicted=predicted, sample=names)
                for pool in pools
            ]
            for by, score in (("scan", scores_by_scan), (average, scores_by_sample)):
                if by is not None:
                    found = over_repeats([score(pool, are_classes=of_classes) for pool in scans])
                    rows.append(own | {"by": by} | found)
    return pl.DataFrame(rows, infer_schema_length=None)


def _without_gaps(reference: pl.Series) -> pl.Series:
    return reference.fill_nan(None) if reference.dtype.is_float() else reference


def _held_out(frame: pl.DataFrame, folds: Sequence[str]) -> pl.DataFrame:
    return frame.filter(pl.col("partition") == "val", pl.col("fold_id").is_in(folds))


def _repeats(predictions: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the folds of each repeat, where samples were held out several times; of all, if not in repeats.

    Else it is empty. What all folds together say of such a sample is a mean, which looks better than any model.
    """
    held_out = [row for row in predictions if row["partition"] == "val" and row["sample_indices"] is not None]
    folds = sorted((row for row in held_out if str(row["fold_id"]).isdigit()), key=lambda row: int(row["fold_id"]))
    if not folds:
        return []
    rows, places = np.unique(np.concatenate([row["sample_indices"] for row in folds]), return_inverse=True)
    if len(rows) == len(places):
        return []
    ends = np.cumsum([len(row["sample_indices"]) for row in folds])[:-1]
    repeats = repeats_of(np.split(places, ends), len(rows)) or [[*range(len(folds))]]
    return [[folds[number]["fold_id"] for number in repeat] for repeat in repeats]


def _with_samples(frame: pl.DataFrame, samples: pl.DataFrame, references: Sequence[str]) -> pl.DataFrame:
    """Return predictions with what is known of each sample, after its row; rows of test data are numbered anew."""
    is_test = (pl.col("partition") == "test").alias(IS_TEST)
    # Both may also be metadata: a target that has no name is `y` there, and an apple has a weight.
    weight, y = ["weight"] * ("weight" in frame.columns), ["y"] * ("y_true" in references)
    known = samples.select(pl.exclude("partition", *weight, *y, *references), is_test)
    joined = frame.with_columns(is_test).join(
        known, on=["row", IS_TEST], how="left", suffix="_1", maintain_order="left"
    )
    own = [name for name in joined.columns if name not in frame.columns and name != IS_TEST]
    return joined.select("row", *own, *(name for name in frame.columns if name != "row"))


def _frame_of(prediction: dict[str, Any], target_names: Sequence[str] | None) -> pl.DataFrame:
    """Return a row for each sample of one prediction."""
    truths, predicted = _columns(prediction["y_true"]), _columns(prediction["y_pred"])
    names = _names(max(len(truths), len(predicted)), target_names)
    columns = {"row": prediction["sample_indices"]}
    columns |= dict(zip((true for _, true, _, _ in names), truths, strict=False))
    columns |= dict(zip((own for _, _, own, _ in names), predicted, strict=False))
    columns |= _probabilities(prediction, [prefix for *_, prefix in names])
    weights = prediction["weights"]
    lengths = {len(column) for column in columns.values() if column is not None}
    if weights is not None and lengths == {len(weights)}:  # There may be one for each fold instead.
        columns["weight"] = weights
    found = {name: pl.Series(column.tolist()) for name, column in columns.items() if column is not None}
    known = [pl.lit(prediction[name], KNOWN_OF_ALL[name]).alias(name) for name in ("fold_id", "repeat", "partition")]
    frame = pl.DataFrame(found).with_columns(known)
    first = [name for name in KNOWN_OF_ALL if name in frame.columns]
    return frame.select(*first, pl.exclude(first))


def _columns(y: Array | None) -> list[Array]:
    if y is None:
        return []
    if y.ndim == 1 or y.dtype.kind not in "UO":
        return [y] if y.ndim == 1 else [*y.T]
    return [np.where(missing, None, column) for column, missing in zip(y.T, is_missing(y).T, strict=True)]


def _names(count: int, target_names: Sequence[str] | None) -> list[Target]:
    """Return what each target is called, its references, its predictions, and how its probabilities begin."""
    if target_names is None or len(target_names) != count:
        if count == 1:
            return [("y", "y_true", "y_pred", "probability")]
        target_names = [f"y{number + 1}" for number in range(count)]
    return [(name, name, f"{name}_predicted", f"{name}_probability") for name in target_names]


def targets_in(frame: pl.DataFrame, target_names: Sequence[str] | None) -> list[Target]:
    """Return the targets that a frame has predictions of."""
    counted = [f"y{number + 1}" for number in range(frame.width)]
    found = [*_names(1, None), *_names(len(counted), counted), *_names(len(target_names or []), target_names)]
    return [target for target in dict.fromkeys(found) if target[2] in frame.columns]


def _probabilities(prediction: dict[str, Any], prefixes: Sequence[str]) -> dict[str, Array]:
    """Return a column for each class of each target; those without a name are counted."""
    proba, classes = prediction["y_proba"], prediction["classes"]
    if proba is None:
        return {}
    are_several = isinstance(proba, list) or proba.ndim == 3
    of_targets = [np.asarray(own).reshape(len(own), -1) for own in (proba if are_several else [proba])]
    labels = classes if are_several else [classes]
    if (
        not are_several and classes is None and len(prefixes) == of_targets[0].shape[1] > 1
    ):  # Of each label, that it is so.
        return dict(zip(prefixes, of_targets[0].T, strict=True))
    return {
        f"{prefix}_{label}": column
        for prefix, own, named in zip(prefixes, of_targets, labels or [None] * len(of_targets), strict=False)
        for label, column in zip(named or range(own.shape[1]), own.T, strict=True)
    }
