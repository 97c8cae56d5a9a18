"""Spectra and what is known of them, read from whatever people have them in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..chains.inference import contiguous
from ..errors import InvalidInputError
from ..filesystem.atomic_files import checked_path
from ..filesystem.file_types import refuse_odd_given
from ..validation.size_limits import refuse_deep
from . import spectra_columns
from .input_checks import FROM_0, NUMBERS, as_array, labels, misses, refuse_infinite, refuse_mixture, unmasked

Array = Any

PARTITIONS = ("val", "test", "train")
"""In the order in which one judges a model by them."""
AVERAGE = "avg"
"""The fold under whose name stands what all folds have in common."""

KEYS = ("X", "y", "groups", "weights", "X_test", "y_test", "wavelengths", "name")


@dataclass(frozen=True)
class Dataset:
    """What pipelines are trained on.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Numbers, or labels of classes.
    groups, weights : ndarray of shape (n_samples,), or None
        Whose samples stay together in a fold; what each counts when a model is fitted.
    X_test, y_test : ndarray, or None
        Never trained on; without y there are predictions and no scores.
    wavelengths : ndarray of shape (n_features,), or None
    columns : list of str, or None
        The names of X's columns, where it came from a table.
    rows, test_rows : ndarray of int
        Which rows of what was given these are: those with a missing value are left out.
    excluded : int
        How many of the rows to train on were left out.
    content_hash : str
        SHA-256 of all above but the name.
    """

    name: str
    X: Array
    y: Array
    groups: Array | None
    weights: Array | None
    X_test: Array | None
    y_test: Array | None
    wavelengths: Array | None
    columns: list[str] | None
    rows: Array
    test_rows: Array
    excluded: int
    content_hash: str

    @property
    def exclusion_rate(self) -> float:
        """The share of the rows to train on that were left out."""
        return self.excluded / (self.excluded + len(self.rows))

    def places(self, rows: Array) -> Array:
        """Return where rows of what was given are in X; none of them was left out."""
        return np.searchsorted(self.rows, rows)

    @property
    def summary(self) -> dict[str, Any]:
        """What a run tells of it."""
        return {
            "name": self.name, "hash": self.content_hash, "n_samples": len(self.X), "n_features": self.X.shape[1],
            "n_targets": 1 if self.y.ndim == 1 else self.y.shape[1], "excluded": self.excluded,
            "n_test": 0 if self.X_test is None else len(self.X_test),
        }  # fmt: skip


def read_dataset(given: Any, target: str | Sequence[str] | None = None) -> Dataset:
    """Return the dataset that something stands for.

    Parameters
    ----------
    given : object
        `(X, y)`; `(X, y, groups)`; a dict with `X` and `y`, and any of `X_test`, `y_test`, `wavelengths`, `groups`,
        `weights`, `name`; a polars or pandas frame, or the path of a CSV or Parquet file, of which `target` names the
        column of y. A frame may also stand in the place of `X` and of `X_test`, and names of its columns in those of
        `y`, `groups`, `weights` and `y_test`: `(frame, "protein")`. Where columns of a frame are named by numbers
        (`1100`; ten or more like `X1100` or `4000 cm-1`), they are X and their names the wavelengths, and other columns
        are left out; otherwise all columns of numbers but the named ones, and but the index that pandas writes
        first, are X. A frame as `X_test` brings `y_test` along if it has the columns of y.
    target : str or list of str, optional

    Raises
    ------
    InvalidInputError
        It is none of these, its parts do not fit together, or `target` is given and has no table to name a column of.
    """
    if not isinstance(given, Dataset):
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
            X = _spectra(np.load(path, allow_pickle=False), str(path))
            return spectra_columns.Spectra(X, [], None, pl.DataFrame(height=len(X)))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path} cannot be read: {error}") from error
    table = spectra_columns.read(path)
    return (
        spectra_columns.spectra_of(table) if columns is None else spectra_columns.columns_of(table, columns, str(path))
    )


def _parts(given: Any, target: Any) -> dict[str, Any]:
    if spectra_columns.is_table(given):
        given = {"X": given}
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(("X", "y", "groups"), given, strict=False))
    if isinstance(given, str | Path):
        spectra_columns.read(checked_path(given, "the dataset"))  # It is no table by its name, which this says.
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
    if spectra_columns.is_table(given["X"]):
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
    table = spectra_columns.frame(given["X"])
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
    if spectra_columns.is_table(given.get("X_test")):
        test = spectra_columns.frame(given["X_test"])
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


def _checked(parts: Mapping[str, Any]) -> Dataset:
    X, y = _spectra(parts["X"], "X"), _targets(parts.get("y"), "y")
    if y is None:
        raise InvalidInputError("a dataset to train on needs y")
    _check_length(y, "y", X, "X")
    kept = ~(misses(X) | misses(y))
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value in X or y")
    found: dict[str, Any] = {"X": _rows(X, kept), "y": labels(y[kept], "y")}
    found["groups"], found["weights"] = _groups(parts, X, kept), _weights(parts, X, kept)
    test_rows, X_test, y_test = _test(parts, found["X"], found["y"])
    found |= {"X_test": X_test, "y_test": y_test, "wavelengths": _wavelengths(parts, X.shape[1])}
    found |= {"rows": np.flatnonzero(kept), "test_rows": test_rows}
    columns, excluded = parts.get("columns"), int(np.sum(~kept))
    # What is known by its wavelengths is the same, whatever it was read from.
    told = [columns if found["wavelengths"] is None else None, excluded]
    return Dataset(
        name=str(parts.get("name") or "dataset"), columns=columns, excluded=excluded, content_hash=_hash(found, told),
        **found,
    )  # fmt: skip


def _groups(parts: Mapping[str, Any], X: Array, kept: Array) -> Array | None:
    if parts.get("groups") is None:
        return None
    groups = as_array(parts["groups"])
    _check_length(groups, "groups", X, "X")
    refuse_mixture(groups, "groups")
    missing = np.flatnonzero(misses(groups) & kept)
    if len(missing):
        raise InvalidInputError(f"groups has no value in row {missing[0]} {FROM_0}; say whose sample it is")
    return labels(groups[kept], "groups")


def _weights(parts: Mapping[str, Any], X: Array, kept: Array) -> Array | None:
    if parts.get("weights") is None:
        return None
    weights = np.asarray(parts["weights"])
    _check_length(weights, "weights", X, "X")
    if weights.ndim != 1 or weights.dtype.kind not in NUMBERS:
        raise InvalidInputError("weights must be one number for each sample")
    wrong = np.flatnonzero(kept & ~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InvalidInputError(
            f"weights has {weights[wrong[0]]} in row {wrong[0]} {FROM_0}; give finite numbers from 0 up"
        )
    return weights[kept].astype(float)


def _wavelengths(parts: Mapping[str, Any], features: int) -> Array | None:
    if parts.get("wavelengths") is None:
        return None
    try:
        wavelengths = np.asarray(parts["wavelengths"], dtype=float)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"wavelengths must be numbers: {error}") from error
    if wavelengths.shape != (features,):
        raise InvalidInputError(f"there are {wavelengths.size} wavelengths for {features} columns of X")
    return wavelengths


def _test(parts: Mapping[str, Any], X: Array, y: Array) -> tuple[Array, Array | None, Array | None]:
    """Return which rows of the test data are complete, and their X and y."""
    if parts.get("X_test") is None:
        if parts.get("y_test") is not None:
            raise InvalidInputError("y_test is given without X_test; give both")
        return np.arange(0), None, None
    X_test, y_test = _spectra(parts["X_test"], "X_test"), _targets(parts.get("y_test"), "y_test")
    if X_test.shape[1] != X.shape[1]:
        raise InvalidInputError(f"X_test has {X_test.shape[1]} columns and X has {X.shape[1]}; give the same")
    kept = ~misses(X_test)
    if y_test is not None:
        _check_length(y_test, "y_test", X_test, "X_test")
        kept &= ~misses(y_test)
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X_test)} rows to test has a missing value")
    if y_test is None:
        return np.flatnonzero(kept), _rows(X_test, kept), None
    y_test = labels(y_test[kept], "y_test")
    if y_test.shape[1:] != y.shape[1:] or (y_test.dtype.kind in NUMBERS) != (y.dtype.kind in NUMBERS):
        raise InvalidInputError(
            f"y_test is {y_test.dtype} of shape {y_test.shape}, y is {y.dtype} of shape {y.shape}; give the same kind, "
            "or leave its column out of X_test"
        )
    return np.flatnonzero(kept), _rows(X_test, kept), y_test


def _spectra(value: Any, name: str) -> Array:
    """Return X as numbers, lying in memory as replaying will have it."""
    try:
        X = np.asarray(unmasked(value, np.nan))
        if X.dtype.kind not in f"{NUMBERS}O":
            raise TypeError(f"{X.dtype} is not real numbers")
        X = contiguous(X if X.dtype.kind == "f" else X.astype(float))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} has something else than numbers: {error}") from error
    if X.ndim != 2 or 0 in X.shape:
        raise InvalidInputError(f"{name} has shape {X.shape}; give (n_samples, n_features)")
    refuse_infinite(X, name)
    return X


def _targets(value: Any, name: str) -> Array | None:
    if value is None:
        return None
    y = as_array(value)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or y.size == 0:
        raise InvalidInputError(f"{name} has shape {y.shape}; give (n_samples,) or (n_samples, n_targets)")
    refuse_mixture(y, name)
    refuse_infinite(y, name)
    return y


def _rows(X: Array, kept: Array) -> Array:
    """Return some rows; X itself where it is all of them, since sums depend on how it lies in memory."""
    return X if kept.all() else X[kept]


def _check_length(column: Array, name: str, X: Array, name_X: str) -> None:
    if column.ndim == 0 or len(column) != len(X):
        raise InvalidInputError(f"{name} has {column.size} samples and {name_X} has {len(X)}; give the same")


def _hash(arrays: Mapping[str, Any], told: Any) -> str:
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
