"""`Arrays`, in the place of nirs4all's `ArrayStore`: its names, on the rows that our store has of arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from .documents import OF_PREDICTION, Row, plain, text_of
from .own_store import OwnStore

Array = npt.NDArray[Any]
LABELS = ("y_true", "y_pred")
NUMBERS = (*LABELS, "y_proba")
FIELDS = (*NUMBERS, "X", "spectra", "sample_indices", "weights", "sample_metadata", "result_metadata")
TOLD = ("dataset_name", "model_name", "fold_id", "partition", "metric", "val_score", "task_type")


class Arrays:
    """The arrays of predictions, as nirs4all reads and writes them.

    Parameters
    ----------
    own : callable
        Returns the store.
    folder : Path
        The workspace.
    """

    def __init__(self, own: Callable[[], OwnStore], folder: Path) -> None:
        self._store = own
        self._folder = folder

    def save_batch(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Save the arrays of predictions; they replace those that these have. Return how many predictions it was."""
        parted = {str(record["prediction_id"]): _parted(record) for record in records}  # The last one counts.
        self._store().save_arrays(parted)
        return len(parted)

    def load_batch(self, prediction_ids: Sequence[str], dataset_name: str | None = None) -> dict[str, Row]:
        """Return the arrays of predictions by id; those without arrays are left out."""
        own, ids = self._store(), list(prediction_ids)
        found = own.load_arrays(ids)
        beside = own.documents(OF_PREDICTION, "prediction_id", list(found))
        return {name: _joined(found[name], beside.get(name, {})) for name in ids if name in found}

    def load_single(self, prediction_id: str, dataset_name: str | None = None) -> Row | None:
        """Return the arrays of a prediction, or None."""
        return self.load_batch([prediction_id]).get(prediction_id)

    def load_dataset(self, dataset_name: str) -> pl.DataFrame:
        """Return the predictions of a dataset with their arrays, as nirs4all's Parquet file of it has them."""
        rows = self._store().query_predictions(dataset_name=dataset_name).select("prediction_id", *TOLD)
        arrays = self.load_batch(rows["prediction_id"].to_list())
        if not arrays:
            raise FileNotFoundError(f"dataset {dataset_name!r} has no arrays")
        told = [row for row in rows.iter_rows(named=True) if row["prediction_id"] in arrays]
        listed = [row | _listed(arrays[row["prediction_id"]], row["task_type"]) for row in told]
        return pl.DataFrame(listed, infer_schema_length=None)

    def list_datasets(self) -> list[str]:
        """Return the names of the datasets that have predictions."""
        return self._store().distinct("dataset_name")

    def stats(self) -> Row:
        """Return how many predictions have arrays; these are rows of the database, and have no files and bytes."""
        query = "SELECT dataset_name, count(*) AS n FROM prediction_arrays JOIN predictions USING (prediction_id) "
        found = dict(self._store().sql(query + "GROUP BY dataset_name ORDER BY dataset_name").rows())
        datasets = {name: {"rows": count, "bytes": 0} for name, count in found.items()}
        return {"total_files": 0, "total_rows": sum(found.values()), "total_bytes": 0, "datasets": datasets}

    def integrity_check(self, expected_ids: set[str] | None = None) -> Row:
        """Return which of some predictions have no arrays; no arrays are without their prediction."""
        has = {*self._store().sql("SELECT prediction_id FROM prediction_arrays")["prediction_id"]}
        return {"orphan_ids": [], "missing_ids": sorted((expected_ids or set()) - has), "corrupt_files": []}

    def delete_batch(self, prediction_ids: Iterable[str], dataset_name: str | None = None) -> int:
        """Delete nothing: arrays go with their predictions."""
        return 0

    def compact(self, dataset_name: str | None = None) -> dict[str, Row]:
        """Change nothing: what is deleted is gone at once."""
        return {}

    def has_pending_tombstones(self) -> bool:
        """Return False: what is deleted is gone at once."""
        return False

    def _parquet_path(self, dataset_name: str) -> Path:
        """Return where nirs4all's own store would keep a dataset's arrays; there is no such file."""
        return self._folder / "arrays" / f"{dataset_name}.parquet"


def _parted(record: Mapping[str, Any]) -> tuple[Row, Row]:
    """Return what our columns take of a record, and what is kept beside."""
    arrays: Row = {name: _flat(record.get(name)) for name in NUMBERS}
    counts = {len(array) for array in arrays.values() if array is not None}
    given = {name: record.get(name) for name in FIELDS if name not in NUMBERS}
    arrays["weights"] = _flat(given.pop("weights"))  # Of samples or of folds.
    places = given["sample_indices"]
    arrays["sample_indices"] = given.pop("sample_indices") if places is not None and {len(places)} == counts else None
    return arrays, {
        name: plain(np.asarray(value) if name in ("X", "spectra") else value)
        for name, value in given.items()
        if value is not None and len(value)
    }


def _flat(value: Any) -> Array | None:
    """Return an array, one column as a line; None for none and for an empty one."""
    array = None if value is None else np.asarray(value)
    if array is None or not array.size:
        return None
    return array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array


def _joined(arrays: Mapping[str, Any], beside: Row) -> Row:
    found: Row = {name: arrays.get(name) if arrays.get(name) is not None else beside.get(name) for name in FIELDS}
    for name in (*NUMBERS, "X", "spectra", "sample_indices", "weights"):
        if found[name] is not None:
            array = np.asarray(found[name])
            found[name] = array.astype(float) if array.dtype.kind in "bf" else array
    if found["sample_indices"] is not None:
        found["sample_indices"] = found["sample_indices"].astype(np.int32)
    for name in ("sample_metadata", "result_metadata"):
        found[name] = found[name] or {}
    return found


def _listed(arrays: Row, task_type: str) -> Row:
    """Return arrays as columns of a Parquet file of nirs4all's: lists with their shapes, and JSON as text."""
    row: Row = {name: text_of(arrays[name] or None) for name in ("sample_metadata", "result_metadata")}
    for name in (*NUMBERS, "X", "spectra", "sample_indices", "weights"):
        value = arrays[name]
        is_labels = name in LABELS and value is not None and value.dtype.kind != "f" and "classification" in task_type
        row[name] = None if value is None or is_labels else value.ravel().tolist()
        if name in (*NUMBERS, "X", "spectra"):
            row[f"{name}_shape"] = [*value.shape] if value is not None and value.ndim > 1 else None
        if name in LABELS:
            row[f"{name}_labels"] = _labels(value) if is_labels else None
    return row


def _labels(classes: Array) -> str:
    """Return classes as nirs4all's Parquet files have them, which keep numbers only: places in a list of names."""
    is_text = classes.dtype.kind not in "iu"
    names, places = np.unique(classes.astype(str) if is_text else classes, return_inverse=True)
    kind = "str" if is_text else "int64"
    told = {"schema_version": 1, "label_type": kind, "vocabulary": names.tolist(), "indices": places.ravel().tolist()}
    return json.dumps(told | {"shape": [*classes.shape]})
