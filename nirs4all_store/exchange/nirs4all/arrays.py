"""Reads the arrays of predictions that nirs4all keeps in Parquet files, one file for each dataset or several.

Which dataset a row is of says its column, never the file's name. An append rewrites the file, so that an id may stand
in it several times: the last one counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...engine import ForeignDatabase
from .json_text import readable

ID, TABLE = "prediction_id", "prediction_arrays"
BLOCK = 4096
"""How many rows are read at once at least: those of many small runs."""
SHAPED = {"y_true": "y_true_shape", "y_pred": "y_pred_shape", "y_proba": "y_proba_shape"}
"""The arrays that may have two dimensions, and the column of their shape; older files lack that of y."""
LABELS = {"y_true": "y_true_labels", "y_pred": "y_pred_labels"}
"""Where classes that are text, or large whole numbers, are; the array itself is NULL then."""

Row = dict[str, Any]


class ArrayFiles:
    """The arrays of a workspace: those of its Parquet files, and of a table that some have from before these.

    Parameters
    ----------
    folder : Path
        `arrays/` of the workspace; it need not exist.
    database : ForeignDatabase

    Attributes
    ----------
    problems : Counter of str
        What could not be read, and how often.
    """

    def __init__(self, folder: Path, database: ForeignDatabase) -> None:
        self.problems: Counter[str] = Counter()
        self._database = database
        self._places: dict[str, tuple[Path, int]] = {}
        self._block: tuple[Path, int, pl.DataFrame] | None = None
        for file in sorted(folder.glob("*.parquet")):
            try:
                ids = pl.scan_parquet(file).select(ID).collect()[ID]
            except (pl.exceptions.PolarsError, OSError) as error:
                self.problems[f"file of arrays, {file}: {error!s:.200}"] += 1
                continue
            self._places |= {prediction_id: (file, place) for place, prediction_id in enumerate(ids)}
        self._in_table = {row[ID] for row in database.rows(TABLE)} - self._places.keys()

    @cached_property
    def ids(self) -> set[str]:
        """The predictions that have arrays."""
        return self._places.keys() | self._in_table

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
            The id, and `y_true`, `y_pred`, `y_proba`, `sample_indices`, `weights`, `sample_metadata` and
            `result_metadata` as far as it has them; `X` and `spectra` are True where there are some.
        """
        wanted: dict[Path, list[int]] = {}
        for file, place in (self._places[one] for one in prediction_ids if one in self._places):
            wanted.setdefault(file, []).append(place)
        for file, places in wanted.items():
            for row in self._rows(file, places):
                yield row[ID], self._arrays(row, n_samples)
        for one in self._in_table.intersection(prediction_ids):
            for row in self._database.rows(TABLE, ID, one):
                yield one, self._arrays({name: _from_table(value) for name, value in row.items()}, n_samples)

    def _rows(self, file: Path, places: list[int]) -> Iterator[Row]:
        """Give rows of a file. Those of a run stand together, and the next run's behind them."""
        first, last = min(places), max(places)
        block = self._block
        if block is None or block[0] != file or not block[1] <= first <= last < block[1] + block[2].height:
            try:
                frame = pl.scan_parquet(file).slice(first, max(last - first + 1, BLOCK)).collect()
            except (pl.exceptions.PolarsError, OSError) as error:
                self.problems[f"arrays in {file}: {error!s:.200}"] += len(places)
                return
            self._block = block = file, first, frame
        yield from block[2][[place - block[1] for place in places]].iter_rows(named=True)

    def _arrays(self, row: Row, n_samples: dict[str, int | None]) -> Row:
        try:
            return _decoded(row, n_samples.get(row[ID]))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self.problems[f"arrays that do not fit together: {error!s:.200}"] += 1
            return {}


def _from_table(value: Any) -> Any:
    """Return a list of a table: DuckDB gives it as such, SQLite as text."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _decoded(row: Row, n_samples: int | None) -> Row:
    found: Row = {}
    n = n_samples if row.get("sample_indices") is None else len(row["sample_indices"])
    for name, shape in SHAPED.items():
        labels = row.get(LABELS.get(name, ""))
        if labels is not None:
            found[name] = _labels(labels)
        elif row.get(name) is not None:
            found[name] = _shaped(np.asarray(row[name], dtype=float), row.get(shape), n)
    if row.get("sample_indices") is not None:
        found["sample_indices"] = np.asarray(row["sample_indices"], dtype=np.int64)
    if row.get("weights") is not None:
        found["weights"] = np.asarray(row["weights"], dtype=float)
    found |= {name: True for name in ("X", "spectra") if row.get(name) is not None}
    for name in ("sample_metadata", "result_metadata"):
        if row.get(name):
            found[name] = readable(row[name])
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
