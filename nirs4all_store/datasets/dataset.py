"""`TrainingData`: spectra with their targets, checked and ready to be trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..metrics import is_missing

Array = Any
ROWS_AT_ONCE = 256
COLUMNS_AT_ONCE = 128
"""What is turned from columns into rows in one piece fits into the processor's cache, which is faster."""
PARTITIONS = ("val", "test", "train")
"""In the order in which one judges a model by them."""
AVERAGE = "avg"
"""The fold under whose name stands what all folds have in common."""
FINAL = "final"
"""The fold under whose name stands the model that was fitted on all samples but those of the test."""

OF_ROWS = ("X", "y", "groups", "weights", "rows", "validates", "sample_names", "metadata")
OF_TEST_ROWS = ("X_test", "y_test", "test_rows", "test_sample_names", "test_metadata")
"""The fields of `TrainingData` that have a value for each row."""
HASHED = ("X", "y", "groups", "weights", "X_test", "y_test", "wavelengths", "rows", "test_rows", "validates")


@dataclass(frozen=True)
class TrainingData:
    """A dataset that pipelines are trained on.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Numbers, or labels of classes. A row that misses some of several targets has NaN there, or an empty text.
    groups, weights : ndarray of shape (n_samples,), or None
        Samples with the same group stay in one fold; the weight of each sample when a model is fitted.
    X_test, y_test : ndarray, or None
        Never trained on; without `y_test` there are predictions of it and no scores.
    wavelengths : ndarray of shape (n_features,), or None
    columns : list of str, or None
        The names of X's columns, if it came from a table.
    rows, test_rows : ndarray of int
        The rows of the given dataset that are kept: those that do not miss y, or of several targets not all.
    excluded, excluded_test : int
        How many of the rows for training, and to test with, were left out.
    validates : ndarray of bool, shape (n_samples,), or None
        Which rows of X are the only fold to validate with, where the dataset says so.
    target_names : list of str, or None
        The name of each target, such as `protein`; None where y has no names.
    units : dict of str to str, or None
        The unit of each target that has one, by the target's name.
    sample_names, test_sample_names : ndarray of str, shape (n_samples,), or None
        Of which sample each row of X, and of X_test, is a scan.
    sample_column : str, or None
        The column of the given table that has them.
    metadata, test_metadata : polars.DataFrame, or None
        What else the dataset tells of each row of X, and of X_test: columns that are neither spectra nor targets.
    wavelength_unit : str, or None
        Such as `nm` or `cm-1`.
    origin : str, or None
        The name of the file that it was read from, without its folder.
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
    validates: Array | None = None
    target_names: list[str] | None = None
    units: dict[str, str] | None = None
    sample_names: Array | None = None
    test_sample_names: Array | None = None
    metadata: pl.DataFrame | None = None
    test_metadata: pl.DataFrame | None = None
    wavelength_unit: str | None = None
    origin: str | None = None
    excluded_test: int = 0
    sample_column: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of what is trained on: the arrays, the names of samples where they are given, not the name.

        Without the rows that `complete` leaves out it is what it was when all datasets were so.
        """
        arrays = {name: getattr(self, name) for name in HASHED}
        names = {"sample": self.sample_names, "test_sample": self.test_sample_names}
        # What is known by its wavelengths is the same, whatever it was read from.
        return hash_of(arrays | names, [self.columns if self.wavelengths is None else None, self.excluded])

    @property
    def exclusion_rate(self) -> float:
        """The share of the rows for training that were left out."""
        return self.excluded / (self.excluded + len(self.rows))

    @property
    def is_partial(self) -> bool:
        """Whether some rows miss some of several targets."""
        return bool(self.y.ndim == 2 and is_missing(self.y).any())

    @cached_property
    def complete(self) -> TrainingData:
        """The dataset without the rows whose X misses a value, for steps that cannot take these; itself if none does.

        Raises
        ------
        InvalidInputError
            No row is left to train on, or to test with.
        """
        kept = ~np.isnan(self.X).any(axis=1)
        kept_test = None if self.X_test is None else ~np.isnan(self.X_test).any(axis=1)
        if kept.all() and (kept_test is None or kept_test.all()):
            return self
        for rows, purpose in ((kept, "for training"), (kept_test, "to test with")):
            if rows is not None and not rows.any():
                raise InvalidInputError(
                    f"every one of the {len(rows)} rows {purpose} misses a value in X; begin the pipeline with a step "
                    "that fills them, such as sklearn.impute.SimpleImputer"
                )
        changed: dict[str, Any] = {name: _kept(getattr(self, name, None), kept) for name in OF_ROWS}
        changed["excluded"] = self.excluded + int(np.sum(~kept))
        if kept_test is not None:
            changed |= {name: _kept(getattr(self, name), kept_test) for name in OF_TEST_ROWS}
            changed["excluded_test"] = self.excluded_test + int(np.sum(~kept_test))
        return replace(self, **changed)

    def places(self, rows: Array) -> Array:
        """Return the places in X of rows of the given dataset, none of which was left out."""
        return np.searchsorted(self.rows, rows)

    @property
    def summary(self) -> dict[str, Any]:
        """What a run stores about it."""
        return {
            "name": self.name,
            "hash": self.content_hash,
            "n_samples": len(self.X),
            "n_features": self.X.shape[1],
            "n_targets": 1 if self.y.ndim == 1 else self.y.shape[1],
            "excluded": self.excluded,
            "n_test": 0 if self.X_test is None else len(self.X_test),
            "excluded_test": self.excluded_test,
        }


def _kept(values: Any, rows: Array) -> Any:
    """Return some rows of an array or frame; all of it as it is, since sums depend on how it lies in memory."""
    if values is None or rows.all():
        return values
    return values.filter(pl.Series(rows)) if isinstance(values, pl.DataFrame) else values[rows]


def hash_of(arrays: Mapping[str, Array | None], told: Any = None) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes, and of a JSON value; None is no array."""
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            if array.dtype.kind == "O":  # Texts that end in NUL; the bytes of objects are their addresses.
                digest.update(json.dumps(array.tolist()).encode())
                continue
            for first in range(0, len(array), ROWS_AT_ONCE):  # The bytes of all, in the order of rows, need a copy.
                digest.update(_bytes_of(array[first : first + ROWS_AT_ONCE]))
    return digest.hexdigest()


def _bytes_of(rows: Array) -> Any:
    """Return the bytes of an array in the order of its rows."""
    if rows.ndim != 2 or rows.flags.c_contiguous:
        return rows.tobytes()
    turned = np.empty_like(rows, order="C")
    for first in range(0, rows.shape[1], COLUMNS_AT_ONCE):
        turned[:, first : first + COLUMNS_AT_ONCE] = rows[:, first : first + COLUMNS_AT_ONCE]
    return turned.tobytes()
