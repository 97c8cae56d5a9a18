"""Reads the arrays of predictions that nirs4all keeps in Parquet files, one file for each dataset or several.

Which dataset a row is of says its column, never the file's name. An append rewrites the file, so that an id may stand
in it several times: the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import WorkspaceCorruptError

ID = "prediction_id"
SHAPED = {"y_true": "y_true_shape", "y_pred": "y_pred_shape", "y_proba": "y_proba_shape"}
"""The arrays that may have two dimensions, and the column of their shape; older files lack that of y."""
LABELS = {"y_true": "y_true_labels", "y_pred": "y_pred_labels"}
"""Where classes that are text, or large whole numbers, are; the array itself is NULL then."""

Row = dict[str, Any]


class ArrayFiles:
    """The Parquet files of a workspace.

    Parameters
    ----------
    folder : Path
        `arrays/` of the workspace; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.parquet"))
        self._places: dict[str, tuple[Path, int]] = {}
        for file in self._files:
            ids = self._scan(file).select(ID).collect()[ID]
            self._places |= {prediction_id: (file, place) for place, prediction_id in enumerate(ids)}

    @cached_property
    def ids(self) -> set[str]:
        """The predictions that have a row."""
        return set(self._places)

    def of(self, prediction_ids: Collection[str], n_samples: dict[str, int | None]) -> Iterator[tuple[str, Row]]:
        """Give the arrays of predictions, those of one file after another.

        Parameters
        ----------
        prediction_ids : collection of str
            Those that have no row are left out.
        n_samples : dict of str to int or None
            How many samples a prediction is of: two targets stand one after the other where no shape is kept.

        Yields
        ------
        (str, dict)
            The id, and `y_true`, `y_pred`, `y_proba`, `sample_indices`, `weights`, `sample_metadata`, `X`, `spectra`
            and `result_metadata` as far as it has them.
        """
        for file in self._files:
            wanted = [self._places[one][1] for one in prediction_ids if self._places.get(one, (None,))[0] == file]
            if wanted:  # Those of a run stand together.
                first = min(wanted)
                part = self._scan(file).slice(first, max(wanted) - first + 1).collect()
                for row in part[[place - first for place in wanted]].iter_rows(named=True):
                    yield row[ID], _decoded(row, n_samples.get(row[ID]))

    @staticmethod
    def _scan(file: Path) -> pl.LazyFrame:
        try:
            frame = pl.scan_parquet(file)
            frame.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise WorkspaceCorruptError(f"{file} cannot be read: {error}; nothing was changed") from error
        return frame


def tombstones(folder: Path) -> set[str]:
    """Return the predictions whose rows were deleted, as `_tombstones.json` in `arrays/` says."""
    file = folder / "_tombstones.json"
    try:
        return set(json.loads(file.read_text())) if file.exists() else set()
    except (OSError, ValueError) as error:
        raise WorkspaceCorruptError(f"{file} cannot be read: {error}; nothing was changed") from error


def _decoded(row: Row, n_samples: int | None) -> Row:
    found: Row = {}
    for name, shape in SHAPED.items():
        labels = row.get(LABELS.get(name, ""))
        if labels is not None:
            found[name] = _labels(labels)
        elif row.get(name) is not None:
            found[name] = _shaped(np.asarray(row[name], dtype=float), row.get(shape), n_samples)
    if row.get("sample_indices") is not None:
        found["sample_indices"] = np.asarray(row["sample_indices"], dtype=np.int64)
    if row.get("weights") is not None:
        found["weights"] = np.asarray(row["weights"], dtype=float)
    for name in ("X", "spectra"):
        if row.get(name) is not None:
            found[name] = np.asarray(row[name], dtype=float).reshape(row[f"{name}_shape"])
    for name in ("sample_metadata", "result_metadata"):
        if row.get(name):
            found[name] = json.loads(row[name])
    return found


def _labels(text: str) -> np.ndarray[Any, Any]:
    told = json.loads(text)
    words = np.asarray(told["vocabulary"], dtype=np.int64 if told["label_type"] == "int64" else str)
    labels: np.ndarray[Any, Any] = words[np.asarray(told["indices"], dtype=int)]
    return labels.reshape(told["shape"])


def _shaped(values: np.ndarray[Any, Any], shape: list[int] | None, n_samples: int | None) -> np.ndarray[Any, Any]:
    if shape:
        return values.reshape(shape)
    if n_samples and len(values) != n_samples and len(values) % n_samples == 0:
        return values.reshape(n_samples, -1)
    return values
