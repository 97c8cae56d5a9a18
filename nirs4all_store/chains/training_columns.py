"""What a chain knows of the columns that it was trained on, and new spectra in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import places, read_spectra, spectra_columns, table_files, wavelengths_of
from ..errors import InvalidInputError
from ..validation import refuse_deep

Array = Any


@dataclass(frozen=True)
class TrainedOn:
    """The columns of X that a chain was trained on, where the runner has kept them.

    Attributes
    ----------
    columns : list of str, or None
        Their names.
    wavelengths : list of float, or None
    votes : bool
        Whether the models predicted something else than their likeliest class, so that the folds together vote.
    """

    columns: list[str] | None = None
    wavelengths: list[float] | None = None
    votes: bool = False

    @classmethod
    def of(cls, chain: dict[str, Any]) -> TrainedOn:
        """Return what a chain's row, or a bundle's chain, tells."""
        model: dict[str, Any] = next(
            (step for step in chain["steps"] if step.get("step_idx") == chain["model_step_idx"]), {}
        )
        params = model.get("params")
        params = params if isinstance(params, dict) else {}
        return cls(
            _list_of(str, params.get("columns")),
            _list_of((int, float), params.get("wavelengths")),
            params.get("folds_vote") is True,
        )

    def read(self, path: Path) -> spectra_columns.Spectra:
        """Return the spectra in a CSV, Parquet or NPY file; see `find`. The columns of a NPY file go by their places.

        Raises
        ------
        InvalidInputError
            It cannot be read, has something else than numbers, or lacks a column.
        """
        if path.suffix.lower() != ".npy":
            return self.find(table_files.read(path).frame, str(path))
        found = read_spectra(path)
        return spectra_columns.Spectra(found.X, found.columns, self._wavelengths, found.others)

    def find(self, table: Any, where: str) -> spectra_columns.Spectra:
        """Return the spectra in a frame, found by the names of training, or by their wavelengths.

        Where nothing is known of training, or of wavelengths, or where the frame has no names, all columns that may be
        spectra are taken as they stand.

        Raises
        ------
        InvalidInputError
            It lacks a column, has one twice, or has something else than numbers there.
        """
        table = table_files.frame(table)
        is_named = table_files.has_names(table)
        found = places(table.columns, self.columns, self.wavelengths, where) if is_named else None
        if found is not None:
            names = [table.columns[place] for place in found]
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

    def arrays(self, X: Any, wavelengths: Any) -> tuple[Any, Any]:
        """Return X and wavelengths for the fitted objects: those of a frame in the order of training.

        What is no frame, or has columns that nobody named, goes by the columns' places.

        Raises
        ------
        InvalidInputError
            X is lists in lists, or the frame lacks a column, or other wavelengths are given than those by which its
            columns are found.
        """
        refuse_deep(X, "X")
        is_known = self.columns is not None or self.wavelengths is not None
        if not is_known or not table_files.is_frame(X):
            return X, wavelengths
        try:
            spectra = self.find(X, "the frame")
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

    @property
    def _wavelengths(self) -> Array | None:
        return None if self.wavelengths is None else np.array(self.wavelengths)


TrainedOn.__module__ = "nirs4all_store.trained_on"  # Pickles have this name, and so has who trusts it.


def _list_of(kind: Any, value: Any) -> list[Any] | None:
    """Return a list that the runner has kept; None where a chain has something else there."""
    return value if isinstance(value, list) and value and all(isinstance(item, kind) for item in value) else None
