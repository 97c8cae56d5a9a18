"""Keeps datasets: their rows, the samples of each as a Parquet file, and the spectra where they are wanted.

Which rows are one dataset, and what keeps its files: docs/decisions/0022.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from ..artifacts import PARQUET, codecs, sha256
from ..datasets import (
    TrainingData,
    beside,
    description_of,
    read_dataset,
    samples_of,
    spectra_of,
    x_hash_of,
)
from ..errors import InvalidInputError, NotFoundError
from ..storage import UnitOfWork

Row = dict[str, Any]


def save(uow: UnitOfWork, data: TrainingData, task_type: str | None, *, keep_spectra: bool) -> str:
    """Save a dataset, once, and return its id; see `WorkspaceStore.save_dataset`."""
    dataset_id = uow.datasets.add(description_of(data, task_type))
    if uow.datasets.require(dataset_id)["samples_artifact"] is None:
        _name(uow, dataset_id, samples_artifact=_save(uow, samples_of(data), "samples"))
    if keep_spectra:
        _keep_spectra(uow, data)
    return dataset_id


def _keep_spectra(uow: UnitOfWork, data: TrainingData) -> None:
    """Let all datasets with the spectra of some data name one artifact with them."""
    rows = [row for row in uow.datasets.all() if row["x_hash"] == x_hash_of(data)]
    known = next((row["spectra_artifact"] for row in rows if row["spectra_artifact"] is not None), None)
    lacking = [row for row in rows if row["spectra_artifact"] is None]
    if lacking:
        artifact_id = known or _save(uow, spectra_of(data), "spectra")
        for row in lacking:
            _name(uow, row["dataset_id"], spectra_artifact=artifact_id)


def _save(uow: UnitOfWork, frame: pl.DataFrame, kind: str) -> str:
    content = codecs.dump(frame, PARQUET)
    content_hash = sha256(content)
    known = uow.artifacts.path_of(content_hash, PARQUET)
    path = uow.blobs.put(content, content_hash, codecs.codec(PARQUET).extension, known)
    versions = codecs.versions_of(frame, PARQUET)
    return uow.artifacts.add(path, content_hash, "polars.DataFrame", kind, PARQUET, len(content), versions)


def _name(uow: UnitOfWork, dataset_id: str, **artifact: str) -> None:
    uow.datasets.name_artifact(dataset_id, **artifact)
    uow.artifacts.claim(artifact.values())


def find(rows: Iterable[Row], given: Any, target: Any) -> tuple[str, TrainingData]:
    """Read a dataset, and return the id of the row whose spectra it has, with the data.

    Parameters
    ----------
    rows : iterable of dict
        The datasets that it may be.
    given, target : object
        As for `datasets.read_dataset`. Without a target, those of the rows are tried.

    Raises
    ------
    InvalidInputError
        It cannot be read, or has other spectra.
    """
    rows = list(rows)
    names = [row["target_names"] for row in rows if row["target_names"]]
    targets = [target] if target is not None else [None, *({tuple(name): name for name in names}.values())]
    problems = []
    for wanted in targets:
        try:
            data = read_dataset(given, wanted)
        except InvalidInputError as error:
            problems.append(error)
            continue
        for row in rows:
            if _has_spectra(row, data):
                return str(row["dataset_id"]), data
        problems.insert(0, InvalidInputError(_other_spectra(rows, data)))
    raise problems[0]


def _other_spectra(rows: list[Row], data: TrainingData) -> str:
    known = "; ".join(f"{row['name']}: {row['n_samples']} of {row['n_features']} values" for row in rows[-5:])
    return (
        f"no dataset here has the spectra of {data.name}, which are {len(data.X)} of {data.X.shape[1]} values, by "
        f"their SHA-256; there is {known or 'none'}; give the file that was trained on, in the same way"
    )


def _has_spectra(row: Row, data: TrainingData) -> bool:
    if row["x_hash"] is None:  # It is from before hashes of spectra alone were kept.
        return bool(row["content_hash"] == data.content_hash)
    return bool(row["x_hash"] == x_hash_of(data))


def attach(uow: UnitOfWork, dataset_id: str, data: TrainingData) -> None:
    """Keep the spectra of data that `find` has found to be those of a dataset, and what else it lacks."""
    row = uow.datasets.require(dataset_id)
    if row["content_hash"] == data.content_hash:
        uow.datasets.fill(row, description_of(data))
        if row["samples_artifact"] is None:
            _name(uow, dataset_id, samples_artifact=_save(uow, samples_of(data), "samples"))
    _keep_spectra(uow, data)


def load(row: Row, load_artifact: Any) -> pl.DataFrame:
    """Return the frame of a dataset; see `WorkspaceStore.load_dataset`."""
    if row["samples_artifact"] is None:
        raise NotFoundError(
            f"of dataset {row['dataset_id']} ({row['name']}) only a description is kept; attach_dataset(), in a shell "
            "`dataset attach`, gives it its data"
        )
    samples: pl.DataFrame = load_artifact(row["samples_artifact"])
    return samples if row["spectra_artifact"] is None else beside(samples, load_artifact(row["spectra_artifact"]))
