"""Reads datasets from arrays, frames and files, and checks that X, y and the rest belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from . import spectra_columns, table_files
from .dataset import Array, TrainingData
from .dataset_parts import parts_of, read_array, refuse_target
from .input_checks import (
    check_length,
    groups_of,
    labels,
    names_of,
    rows_of,
    serve_nothing,
    spectra_of,
    targets_of,
    test_data_of,
    wavelengths_of,
    weights_of,
)
from .plausibility import warn_of_data


def read_dataset(given: Any, target: str | Sequence[str] | None = None) -> TrainingData:
    """Return a dataset that is given as arrays, a frame or a file.

    Parameters
    ----------
    given : object
        `(X, y)`; `(X, y, groups)`; the path of a file, or a frame of polars or pandas, in which `target` is the column
        of y; or a dict with `X`, `y`, and any of the parts below. Each part is an array, a frame, the path of a file,
        or, where X is a table, the name of one of its columns: `{"X": "wheat.csv", "y": "protein", "groups": "lot"}`.

        - `groups`, `weights`: samples of one group stay in one fold; what each sample counts when a model is fitted.
        - `sample`: of which sample each row is a scan.
        - `y` may be a table of its own, such as `"Ycal.csv"`, with the rows of X, or any rows and a column `join` that
          X has, too; `target` names its columns of y.
        - `split`: what each row serves for: `train` or `cal`, `val`, and `test`. The rows of `val` are the only fold.
        - `test`: a table like X to test with, which may have the columns of y; or `X_test` and `y_test`.
        - `unit`: that of the target; of several a list in their order, or a dict by their names.
        - `wavelengths` of the columns of X, and `name` of the dataset.

        If columns of a table are named by numbers (`1100`; ten or more like `X1100` or `4000 cm-1`), these are X, their
        names are the wavelengths, and other columns are left out. Otherwise X is all columns of numbers except those
        that are named here, and except the index that pandas writes first.
    target : str or list of str, optional

    Warns
    -----
    DataWarning
        Something is probably not as it was meant: a value that stands for a missing one, a column without values, or
        rows of one sample that are not known to be a group.

    Raises
    ------
    InvalidInputError
        It is none of these, its parts do not fit together, or there is a `target` and no table.
    """
    if not isinstance(given, TrainingData):
        data = _checked(parts_of(given, target))
        warn_of_data(data)
        return data
    refuse_target(target)
    return given


def read_spectra(path: Path, columns: Sequence[str] | None = None) -> spectra_columns.Spectra:
    """Return X of a CSV, Parquet or NPY file, and what else the file tells of each sample.

    Parameters
    ----------
    path : Path
    columns : list of str, optional
        The names of the columns, in their order, where they are known; other columns of the file are not looked at.

    Raises
    ------
    InvalidInputError
        It cannot be read, has something else than numbers, or lacks a column.
    """
    if path.suffix.lower() == ".npy":
        X = spectra_of(read_array(path), str(path))
        return spectra_columns.Spectra(X, [], None, pl.DataFrame(height=len(X)))
    table = table_files.read(path).frame
    return (
        spectra_columns.spectra_of(table) if columns is None else spectra_columns.columns_of(table, columns, str(path))
    )


def _checked(parts: Mapping[str, Any]) -> TrainingData:
    X, y = spectra_of(parts["X"], "X"), targets_of(parts.get("y"), "y")
    if y is None:
        raise InvalidInputError("a dataset to train on needs y")
    check_length(y, "y", X, "X")
    kept = ~serve_nothing(y, "y")  # What X misses, a step may fill or take: see `TrainingData.complete`.
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value in y")
    found: dict[str, Any] = {"X": rows_of(X, kept), "y": labels(y[kept], "y")}
    found["groups"], found["weights"] = groups_of(parts, X, kept), weights_of(parts, X, kept)
    test_rows, X_test, y_test = test_data_of(parts, found["X"], found["y"])
    found |= {"X_test": X_test, "y_test": y_test, "wavelengths": wavelengths_of(parts, X.shape[1])}
    found |= {"rows": _rows(parts, "rows", np.flatnonzero(kept)), "test_rows": _rows(parts, "test_rows", test_rows)}
    found |= {name: names_of(parts, name, rows) for name, rows in (("sample", kept), ("test_sample", test_rows))}
    found["validates"] = None if parts.get("validates") is None else parts["validates"][kept]
    return TrainingData(
        name=str(parts.get("name") or "dataset"),
        columns=parts.get("columns"),
        excluded=int(np.sum(~kept)),
        excluded_test=0 if X_test is None else len(parts["X_test"]) - len(X_test),
        target_names=parts.get("target_names"),
        units=parts.get("units"),
        sample_names=found.pop("sample"),
        test_sample_names=found.pop("test_sample"),
        sample_column=parts.get("sample_column"),
        metadata=_of_rows(parts.get("metadata"), kept),
        test_metadata=_of_rows(parts.get("test_metadata"), test_rows),
        wavelength_unit=parts.get("wavelength_unit"),
        origin=parts.get("origin"),
        **found,
    )


def _rows(parts: Mapping[str, Any], name: str, kept: Array) -> Array:
    """Return the rows of the given dataset, where only some of them are train or test rows."""
    return kept if parts.get(name) is None else parts[name][kept]


def _of_rows(frame: pl.DataFrame | None, rows: Array) -> pl.DataFrame | None:
    return None if frame is None else frame[np.arange(frame.height)[rows]]
