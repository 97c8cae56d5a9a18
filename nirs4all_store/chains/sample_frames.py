"""The stored predictions of a chain as one frame, with a row for each sample that was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

Array = Any
KNOWN_OF_ALL = {"row": pl.Int64, "fold_id": pl.String, "repeat": pl.Int64, "partition": pl.String}
"""The columns that each frame of predictions has, and their types."""


def sample_frame(predictions: Iterable[dict[str, Any]], target_names: Sequence[str] | None) -> pl.DataFrame:
    """Return the predictions of a chain by sample.

    Parameters
    ----------
    predictions : iterable of dict
        As `PredictionRepo.get` returns them, with their arrays.
    target_names : list of str, or None

    Returns
    -------
    polars.DataFrame
        See `WorkspaceStore.chain_samples`.
    """
    parts = [pl.DataFrame(schema=KNOWN_OF_ALL), *(_frame_of(row, target_names) for row in predictions)]
    return pl.concat(parts, how="diagonal_relaxed")


def _frame_of(prediction: dict[str, Any], target_names: Sequence[str] | None) -> pl.DataFrame:
    """Return a row for each sample of one prediction."""
    truths, predicted = _columns(prediction["y_true"]), _columns(prediction["y_pred"])
    names = _names(max(len(truths), len(predicted)), target_names)
    columns = {"row": prediction["sample_indices"]}
    columns |= dict(zip((true for true, _, _ in names), truths, strict=False))
    columns |= dict(zip((own for _, own, _ in names), predicted, strict=False))
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
    return [y] if y.ndim == 1 else [*y.T]


def _names(count: int, target_names: Sequence[str] | None) -> list[tuple[str, str, str]]:
    """Return for each target the names of its references, its predictions, and how those of probabilities begin."""
    if target_names is None or len(target_names) != count:
        if count == 1:
            return [("y_true", "y_pred", "probability")]
        target_names = [f"y{number + 1}" for number in range(count)]
    return [(name, f"{name}_predicted", f"{name}_probability") for name in target_names]


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
