"""Reads datasets from arrays, frames and files, and checks that X, y and the rest belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..filesystem import checked_path, refuse_odd_given
from ..validation import refuse_deep
from . import spectra_columns, table_files
from .dataset import Array, TrainingData
from .input_checks import (
    check_length,
    groups_of,
    labels,
    misses,
    rows_of,
    spectra_of,
    targets_of,
    test_data_of,
    wavelengths_of,
    weights_of,
)

KEYS = ("X", "y", "groups", "weights", "X_test", "y_test", "wavelengths", "name")


def read_dataset(given: Any, target: str | Sequence[str] | None = None) -> TrainingData:
    """Return a dataset that is given as arrays, a frame or a file.

    Parameters
    ----------
    given : object
        `(X, y)`; `(X, y, groups)`; a dict with `X` and `y`, and any of `X_test`, `y_test`, `wavelengths`, `groups`,
        `weights`, `name`; a polars or pandas frame, or the path of a CSV or Parquet file, in which `target` is the
        column of y. `X` and `X_test` may be frames, and `y`, `groups`, `weights` and `y_test` names of their columns:
        `(frame, "protein")`. If columns of a frame are named by numbers (`1100`; ten or more like `X1100` or
        `4000 cm-1`), these are X, their names are the wavelengths, and other columns are left out. Otherwise X is all
        columns of numbers except those that are named, and except the index that pandas writes first. If `X_test` is
        a frame with the columns of y, they are `y_test`.
    target : str or list of str, optional

    Raises
    ------
    InvalidInputError
        It is none of these, its parts do not fit together, or there is a `target` and no table.
    """
    if not isinstance(given, TrainingData):
        return _checked(_parts(given, target))
    _refuse_target(target)
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
        refuse_odd_given(path)
        try:
            X = spectra_of(np.load(path, allow_pickle=False), str(path))
            return spectra_columns.Spectra(X, [], None, pl.DataFrame(height=len(X)))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path} cannot be read: {error}") from error
    table = table_files.read(path).frame
    return (
        spectra_columns.spectra_of(table) if columns is None else spectra_columns.columns_of(table, columns, str(path))
    )


def _parts(given: Any, target: Any) -> dict[str, Any]:
    if table_files.is_table(given):
        given = {"X": given}
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(("X", "y", "groups"), given, strict=False))
    if isinstance(given, str | Path):
        table_files.read(checked_path(given, "the dataset"))  # It is no table by its name, which this says.
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"a dataset is (X, y), (X, y, groups), a dict with X and y, a table with its target's name, or the path "
            f"of a CSV or Parquet file, not {type(given).__name__}"
        )
    unknown = sorted(map(str, set(given) - set(KEYS)))
    if unknown or "X" not in given:
        raise InvalidInputError(
            f"a dataset's dict needs X and y, and may have {', '.join(KEYS[2:])}; it has {', '.join(map(str, given))}"
        )
    if table_files.is_table(given["X"]):
        return _of_tables(given, target)
    _refuse_target(target)
    for name, value in given.items():
        refuse_deep(value, name)
    return dict(given)


def _refuse_target(target: Any) -> None:
    if target is not None:
        raise InvalidInputError(f"target={target!r} names a column of a table, and X is none; give the values as y")


def _of_tables(given: Mapping[str, Any], target: Any) -> dict[str, Any]:
    """Return the parts of a dataset whose X is a table, of which others may be columns."""
    table = table_files.frame(given["X"])
    where = str(given["X"]) if isinstance(given["X"], str | Path) else "the table"
    if given.get("y") is not None and target is not None:
        raise InvalidInputError(f"both y and target={target!r} are given; give one of them")
    targets = [str(target)] if isinstance(target, str | int) else list(target or [])  # pandas has numbers as names.
    named = {"y": targets if given.get("y") is None else spectra_columns.names_in(table, given["y"])}
    named |= {name: spectra_columns.names_in(table, given.get(name)) for name in ("groups", "weights")}
    parts: dict[str, Any] = {"name": Path(where).stem} if where != "the table" else {}
    parts |= dict(given)
    for name, found in named.items():
        if found is not None:
            parts[name] = spectra_columns.targets_of(table, found, where, are_names=name == "groups")
    spectra = spectra_columns.spectra_of(table, [column for found in named.values() for column in found or []])
    parts |= {"X": spectra.X, "columns": spectra.columns}
    if given.get("wavelengths") is None:
        parts["wavelengths"] = spectra.wavelengths
    parts["target_names"] = named["y"]
    if table_files.is_table(given.get("X_test")):
        test = table_files.frame(given["X_test"])
        parts["X_test"] = spectra_columns.columns_of(test, spectra.columns, "X_test").X
        if (y_test := _test_targets(given.get("y_test"), test, named["y"])) is not None:
            parts["y_test"] = y_test
    return parts


def _test_targets(given: Any, test: pl.DataFrame, targets: list[str] | None) -> Array | None:
    """Return y of a table to test with, from the columns that are named for it or the target's; None if it has none."""
    named = spectra_columns.names_in(test, given)
    if named is not None:
        return spectra_columns.targets_of(test, named, "X_test")
    if given is not None or not targets or not set(targets) <= set(test.columns):
        return None
    y_test = spectra_columns.targets_of(test, targets, "X_test")
    # Who wants predictions may leave the target's column empty.
    return None if misses(y_test.ravel()).all() else y_test


def _checked(parts: Mapping[str, Any]) -> TrainingData:
    X, y = spectra_of(parts["X"], "X"), targets_of(parts.get("y"), "y")
    if y is None:
        raise InvalidInputError("a dataset to train on needs y")
    check_length(y, "y", X, "X")
    kept = ~misses(y)  # What X misses, a step may fill or take: see `TrainingData.complete`.
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value in y")
    found: dict[str, Any] = {"X": rows_of(X, kept), "y": labels(y[kept], "y")}
    found["groups"], found["weights"] = groups_of(parts, X, kept), weights_of(parts, X, kept)
    test_rows, X_test, y_test = test_data_of(parts, found["X"], found["y"])
    found |= {"X_test": X_test, "y_test": y_test, "wavelengths": wavelengths_of(parts, X.shape[1])}
    found |= {"rows": np.flatnonzero(kept), "test_rows": test_rows}
    columns, excluded = parts.get("columns"), int(np.sum(~kept))
    # What is known by its wavelengths is the same, whatever it was read from.
    told = [columns if found["wavelengths"] is None else None, excluded]
    return TrainingData(
        name=str(parts.get("name") or "dataset"),
        columns=columns,
        excluded=excluded,
        excluded_test=0 if X_test is None else len(parts["X_test"]) - len(X_test),
        content_hash=_hash(found, told),
        target_names=parts.get("target_names"),
        **found,
    )


def _hash(arrays: Mapping[str, Any], told: Any) -> str:
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
