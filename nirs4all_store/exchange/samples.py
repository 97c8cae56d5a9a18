"""Spectra with which stored predictions can be made again, and where the samples of each stand among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..chains import ChainLoader
from ..datasets import read_spectra
from ..errors import ArtifactLoadError, InvalidInputError
from ..storage import UnitOfWork

Row = dict[str, Any]
TEST = "test"


@dataclass(frozen=True)
class Samples:
    """Spectra, and the names by which predictions call them.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    rows : dict or None
        For those to test with (True) and for all others (False) their rows in the dataset as it was given, and where
        each stands in X. None: samples are counted through X, those to test with after the others.
    """

    X: Any
    rows: dict[bool, dict[int, int]] | None = None

    def places(self, prediction: Row) -> Any:
        """Return where the samples of a prediction stand in X; None if one of them is not there."""
        named = np.asarray(prediction["sample_indices"], dtype=int)
        if self.rows is None:
            return named if named.min() >= 0 and named.max() < len(self.X) else None
        own = self.rows[prediction["partition"] == TEST]
        return np.array([own[row] for row in named]) if {*named.tolist()} <= own.keys() else None


def given_spectra(spectra: Mapping[str, Any]) -> dict[str, Samples]:
    """Return the spectra that a user gives of each dataset; parts stand one below the other.

    Raises
    ------
    InvalidInputError
        They are no arrays or files of one width.
    """
    if not isinstance(spectra, Mapping):
        raise InvalidInputError(f"spectra is {type(spectra).__name__}; give a dict of datasets, such as {{'wheat': X}}")
    found = {}
    for name, given in spectra.items():
        is_list = isinstance(given, list | tuple) and any(isinstance(one, str | Path | np.ndarray) for one in given)
        parts = given if is_list else [given]
        arrays = [read_spectra(Path(one)).X if isinstance(one, str | Path) else one for one in parts]
        try:
            X = np.vstack(arrays)
            found[name] = Samples(X.astype(float))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the spectra of {name!r} are no arrays of one width: {error}") from error
    return found


class KeptSpectra:
    """The spectra that a workspace keeps; those of the last dataset stay in memory, since its chains come together."""

    def __init__(self) -> None:
        self._last: tuple[str, Samples | None] = ("", None)

    def of(self, uow: UnitOfWork, dataset: Row) -> Samples | None:
        """Return the spectra of a dataset, of which the row is given; None if they are not kept, or cannot be read."""
        if self._last[0] != dataset["dataset_id"]:
            self._last = dataset["dataset_id"], _load(uow, dataset)
        return self._last[1]


def _load(uow: UnitOfWork, dataset: Row) -> Samples | None:
    ids = [str(dataset[name]) for name in ("samples_artifact", "spectra_artifact")]
    artifacts = uow.artifacts.get_many(ids)
    loader = ChainLoader(uow.blobs)
    try:
        told, spectra = (loader.load(artifacts[item]) for item in ids)
    except (KeyError, ArtifactLoadError):
        return None
    places = told.select("row", is_test=pl.col("partition") == TEST).with_row_index("place")
    rows: dict[bool, dict[int, int]] = {True: {}, False: {}}
    for place, row, is_test in places.iter_rows():
        rows[is_test][row] = place
    return Samples(spectra.to_numpy(), rows)
