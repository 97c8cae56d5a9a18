"""`TrainingData`: spectra with their targets, checked and ready to be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

Array = Any
PARTITIONS = ("val", "test", "train")
"""In the order in which one judges a model by them."""
AVERAGE = "avg"
"""The fold under whose name stands what all folds have in common."""


@dataclass(frozen=True)
class TrainingData:
    """A dataset that pipelines are trained on.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Numbers, or labels of classes.
    groups, weights : ndarray of shape (n_samples,), or None
        Samples with the same group stay in one fold; the weight of each sample when a model is fitted.
    X_test, y_test : ndarray, or None
        Never trained on; without `y_test` there are predictions of it and no scores.
    wavelengths : ndarray of shape (n_features,), or None
    columns : list of str, or None
        The names of X's columns, if it came from a table.
    rows, test_rows : ndarray of int
        The rows of the given dataset that are kept: those without a missing value.
    excluded : int
        How many of the rows for training were left out.
    content_hash : str
        SHA-256 of all above but the name, and of the names of samples where they are given.
    target_names : list of str, or None
        The name of each target, such as `protein`; None where y has no names.
    units : dict of str to str, or None
        The unit of each target that has one, by the target's name.
    sample_names, test_sample_names : ndarray of str, shape (n_samples,), or None
        Of which sample each row of X, and of X_test, is a scan.
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
    content_hash: str
    target_names: list[str] | None = None
    units: dict[str, str] | None = None
    sample_names: Array | None = None
    test_sample_names: Array | None = None
    metadata: pl.DataFrame | None = None
    test_metadata: pl.DataFrame | None = None
    wavelength_unit: str | None = None
    origin: str | None = None

    @property
    def exclusion_rate(self) -> float:
        """The share of the rows for training that were left out."""
        return self.excluded / (self.excluded + len(self.rows))

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
        }
