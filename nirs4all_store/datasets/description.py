"""What a workspace keeps of a dataset: values that describe it, a frame of its samples, and one of their spectra.

See docs/decisions/0022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ..metrics import is_missing
from .dataset import Array, TrainingData, hash_of

TRAIN, VAL, TEST = "train", "val", "test"


def description_of(data: TrainingData, task_type: str | None = None) -> dict[str, Any]:
    """Return what a dataset says of itself, by the columns of the table `datasets`.

    Parameters
    ----------
    data : TrainingData
    task_type : str, optional
        `regression` or `classification`, where it is known; else y tells it: texts are classes, numbers with decimals
        are none, and whole numbers may be either.
    """
    metadata = [] if data.metadata is None else data.metadata.columns
    return {
        "name": data.name,
        "content_hash": data.content_hash,
        "x_hash": x_hash_of(data),
        "y_hash": hash_of({"y": data.y, "y_test": data.y_test}),
        "target_names": data.target_names,
        "units": data.units,
        "task_type": task_type or _task_of(data.y),
        "n_samples": len(data.X),
        "n_features": data.X.shape[1],
        "wavelengths": None if data.wavelengths is None else data.wavelengths.tolist(),
        "wavelength_unit": data.wavelength_unit,
        "origin": data.origin,
        "metadata_columns": metadata or None,
        "split": {
            TRAIN: len(data.X),
            VAL: None if data.validates is None else int(np.sum(data.validates)),
            TEST: len(data.test_rows),
            "excluded": data.excluded,
            "excluded_test": data.excluded_test,
        },
    }


def x_hash_of(data: TrainingData) -> str:
    """Return the SHA-256 of all spectra of a dataset, those of X and of X_test."""
    return hash_of({"X": data.X, "X_test": data.X_test})


def _task_of(y: Array) -> str | None:
    if y.dtype.kind in "OUb":
        return "classification"
    return "regression" if y.dtype.kind == "f" and np.any(y[y == y] % 1 != 0) else None


def samples_of(data: TrainingData) -> pl.DataFrame:
    """Return a row for each sample of X, then of X_test: which row it was, and all that is told of it but its spectrum.

    Returns
    -------
    polars.DataFrame
        `row` (in the dataset as it was given, counted from 0), `partition` (`train`, `test`, or `val` for rows that are
        there to validate with); `sample`, `group` and `weight` where they are known; the metadata; the references, by
        their targets' names, else `y`, or `y1`, `y2` and so on. A column whose name is taken by one before it gets `_1`
        at its end.
    """
    train = np.full(len(data.rows), TRAIN) if data.validates is None else np.where(data.validates, VAL, TRAIN)
    parts = [
        _part(train, data.rows, data.sample_names, data.groups, data.weights, data.metadata, _references(data, data.y))
    ]
    if data.X_test is not None:
        references = {} if data.y_test is None else _references(data, data.y_test)
        test = np.full(len(data.test_rows), TEST)
        parts.append(_part(test, data.test_rows, data.test_sample_names, None, None, data.test_metadata, references))
    return pl.concat(parts, how="diagonal_relaxed")


def _part(
    partitions: Array,
    rows: Array,
    names: Array | None,
    groups: Array | None,
    weights: Array | None,
    metadata: pl.DataFrame | None,
    references: Mapping[str, Array],
) -> pl.DataFrame:
    given = {"sample": names, "group": groups, "weight": weights}
    part = pl.DataFrame({"row": rows, "partition": partitions})
    part = part.with_columns(pl.Series(name, values) for name, values in given.items() if values is not None)
    if metadata is not None:
        part = beside(part, metadata)
    return beside(part, pl.DataFrame(dict(references)))


def _references(data: TrainingData, y: Array) -> dict[str, Array]:
    columns = y.reshape(len(y), -1).T
    if y.ndim == 2 and y.dtype.kind in "UO":
        columns = [np.where(missing, None, column) for column, missing in zip(columns, is_missing(y).T, strict=True)]
    names = data.target_names or (["y"] if len(columns) == 1 else [f"y{i + 1}" for i in range(len(columns))])
    return dict(zip(names, columns, strict=True))


def spectra_of(data: TrainingData) -> pl.DataFrame:
    """Return the spectra of X, then of X_test, a row each.

    The columns are named as in the table that they come from, else by their wavelengths, else `x0`, `x1` and so on.
    """
    X = data.X if data.X_test is None else np.concatenate([data.X, data.X_test])
    return pl.from_numpy(X, schema=_column_names(data))


def _column_names(data: TrainingData) -> list[str]:
    if data.columns is not None:
        return data.columns
    named = [] if data.wavelengths is None else [f"{wavelength:.15g}" for wavelength in data.wavelengths]
    return named if len({*named}) == data.X.shape[1] else [f"x{i}" for i in range(data.X.shape[1])]


def beside(frame: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with the columns of another one after its own; a name that is taken gets `_1` at its end."""
    taken = set(frame.columns)
    names = []
    for name in more.columns:
        while name in taken:
            name += "_1"
        taken.add(name)
        names.append(name)
    return frame.hstack(more.rename(dict(zip(more.columns, names, strict=True))))
