"""What a chain knows of the columns that it was trained on, and new spectra in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..datasets import (
    grid_of,
    places,
    places_on,
    read_spectra,
    resampled,
    spectra_columns,
    table_files,
    wavelengths_of,
)
from ..errors import InvalidInputError
from ..validation import refuse_deep

Array = Any


@dataclass(frozen=True)
class TrainedOn:
    """What a chain was trained on, where the runner has kept it.

    Attributes
    ----------
    columns : list of str, or None
        The names of X's columns.
    wavelengths : list of float, or None
        Theirs.
    votes : bool
        Whether the models predicted something else than their likeliest class, so that the folds together vote.
    target_names : list of str, or None
        What each column of y is called.
    y_range : list of list of float, or None
        The least and the greatest y of each target of numbers.
    sample_column : str, or None
        The column that had the names of samples.
    """

    columns: list[str] | None = None
    wavelengths: list[float] | None = None
    votes: bool = False
    target_names: list[str] | None = None
    y_range: list[list[float]] | None = None
    sample_column: str | None = None

    @classmethod
    def of(cls, chain: dict[str, Any]) -> TrainedOn:
        """Return what a chain's row, or a bundle's chain, tells; of a damaged one, which no plan takes, nothing."""
        steps = chain["steps"] if isinstance(chain["steps"], list) else []
        own = [step for step in steps if isinstance(step, dict) and step.get("step_idx") == chain["model_step_idx"]]
        model: dict[str, Any] = own[0] if own else {}
        params = model.get("params")
        params = params if isinstance(params, dict) else {}
        sample_column = params.get("sample_column")
        return cls(
            _list_of(str, params.get("columns")),
            _list_of((int, float), params.get("wavelengths")),
            params.get("folds_vote") is True,
            _list_of(str, params.get("target_names")),
            _ranges_of(params.get("y_range")),
            sample_column if isinstance(sample_column, str) else None,
        )

    def read(self, path: Path, *, resample: bool = False) -> spectra_columns.Spectra:
        """Return the spectra in a CSV, Parquet or NPY file; see `find`. The columns of a NPY file go by their places.

        Raises
        ------
        InvalidInputError
            It cannot be read, has something else than numbers, or lacks a column.
        """
        if path.suffix.lower() != ".npy":
            return self.find(table_files.read(path).frame, str(path), resample=resample)
        found = read_spectra(path)
        return spectra_columns.Spectra(found.X, found.columns, self._wavelengths, found.others)

    def find(self, table: Any, where: str, *, resample: bool = False) -> spectra_columns.Spectra:
        """Return the spectra in a frame, found by the names of training, or by their wavelengths.

        Where nothing is known of training, or of wavelengths, or where the frame has no names, all columns that may be
        spectra are taken as they stand.

        Parameters
        ----------
        table : frame
        where : str
            What messages call it.
        resample : bool
            Interpolate spectra of other wavelengths to those of training.

        Raises
        ------
        InvalidInputError
            It lacks a column, has one twice, or has something else than numbers there; its wavelengths are others, or,
            where it is resampled, do not cover those of training.
        """
        self._refuse_resampling(resample)
        table = table_files.table_of(table_files.with_row_names(table)).frame
        columns = table.columns  # Polars makes the list anew each time.
        try:
            is_named = table_files.has_names(table)
            found = places(columns, self.columns, self.wavelengths, where) if is_named else None
        except InvalidInputError:
            grid = grid_of(columns, where) if resample else None
            if grid is None:
                raise
            return self._resampled(table, *grid, where)
        if found is not None:
            names = [columns[place] for place in found]
            wavelengths = wavelengths_of(names) if self.wavelengths is None else self._wavelengths
            return spectra_columns.picked(table, names, names, wavelengths)
        spectra = spectra_columns.spectra_of(table)
        known = self.wavelengths or self.columns
        if known is None:
            return spectra
        if len(spectra.columns) != len(known):
            raise InvalidInputError(
                f"{where} has {len(spectra.columns)} columns of numbers, and the chain was trained on {len(known)} "
                "wavelengths; name the columns by their wavelengths"
            )
        return spectra_columns.Spectra(spectra.X, spectra.columns, self._wavelengths, spectra.others)

    def arrays(self, X: Any, wavelengths: Any, *, resample: bool = False) -> tuple[Any, Any]:
        """Return X and wavelengths for the fitted objects: those of a frame in the order of training.

        What is no frame, or has columns that nobody named, goes by the columns' places; if their wavelengths are given,
        by these.

        Raises
        ------
        InvalidInputError
            X is lists in lists, lacks a column or a wavelength, or cannot be resampled, or other wavelengths are given
            than those by which the columns of a frame are found.
        """
        refuse_deep(X, "X")
        self._refuse_resampling(resample)
        is_known = self.columns is not None or self.wavelengths is not None
        if not is_known or not table_files.is_frame(X):
            return self._by_wavelengths(X, wavelengths, resample=resample)
        try:
            spectra = self.find(X, "the frame", resample=resample)
        except InvalidInputError:
            if table_files.has_names(X):
                raise
            return X.to_numpy(), wavelengths
        if self.wavelengths is None or wavelengths is None:
            return spectra.X, self._wavelengths if wavelengths is None else wavelengths
        if not np.array_equal(wavelengths, self.wavelengths):
            raise InvalidInputError(
                "other wavelengths are given than those of training, by which the columns of a frame are found; leave "
                "them out, or give X as an array"
            )
        return spectra.X, wavelengths

    def _by_wavelengths(self, X: Any, wavelengths: Any, *, resample: bool) -> tuple[Any, Any]:
        """Return an array with the columns of training, where both know their wavelengths."""
        if wavelengths is None and resample:
            raise InvalidInputError("resample needs the wavelengths of X; give wavelengths=, or a frame named by them")
        if wavelengths is None or self._wavelengths is None or np.array_equal(wavelengths, self._wavelengths):
            return X, wavelengths
        found = np.asarray(wavelengths)
        if found.dtype.kind not in "iuf" or np.shape(X)[1:] != found.shape:
            return X, wavelengths  # The objects refuse what they cannot take.
        try:
            return np.asarray(X)[:, places_on(found, self._wavelengths, "X")], self._wavelengths
        except InvalidInputError:
            if not resample:
                raise
            return resampled(np.asarray(X), found, self._wavelengths, "X"), self._wavelengths

    def _resampled(self, table: pl.DataFrame, places: Array, wavelengths: Array, where: str) -> spectra_columns.Spectra:
        columns = table.columns
        names = [columns[place] for place in places]
        measured = spectra_columns.picked(table, names, names, wavelengths)
        X = resampled(measured.X, wavelengths, self._wavelengths, where)
        return spectra_columns.Spectra(X, [*map(str, self.wavelengths or [])], self._wavelengths, measured.others)

    def _refuse_resampling(self, resample: bool) -> None:
        if resample and self.wavelengths is None:
            raise InvalidInputError(
                "resample needs the wavelengths of training, and this chain has none; train it on a table with columns "
                "named by wavelengths, or give wavelengths= with the dataset"
            )

    @property
    def _wavelengths(self) -> Array | None:
        return None if self.wavelengths is None else np.array(self.wavelengths)


TrainedOn.__module__ = "nirs4all_store.trained_on"  # Pickles have this name, and so has who trusts it.


def _ranges_of(value: Any) -> list[list[float]] | None:
    """Return the least and the greatest y of each target; None where a chain has something else there."""
    ranges = _list_of(list, value)
    return ranges if ranges and all(len(pair) == 2 and _list_of((int, float), pair) for pair in ranges) else None


def _list_of(kind: Any, value: Any) -> list[Any] | None:
    """Return a list that the runner has kept; None where a chain has something else there."""
    return value if isinstance(value, list) and value and all(isinstance(item, kind) for item in value) else None
