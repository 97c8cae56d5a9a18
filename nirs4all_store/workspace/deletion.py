"""Deletes runs and pipelines with all their rows, and the files and rows of artifacts that nothing uses any more.

See docs/decisions/0003.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from ..artifacts import normalize
from ..chains import artifact_ids
from ..failpoints import Failpoint, hit
from ..storage import UnitOfWork
from ..validation import checked_text


def delete_run(uow: UnitOfWork, run_id: str, delete_artifacts: bool) -> int:
    """Delete a run with its pipelines and their results; return the number of deleted rows, 0 for an unknown run.

    With `delete_artifacts`, artifacts that no other chain uses are deleted, too. Their files are removed after the
    commit of the unit of work.
    """
    # None would mean the pipelines of all runs.
    run_id = checked_text(run_id, "run_id")
    pipelines = uow.runs.list_pipelines(run_id=run_id)["pipeline_id"].to_list()
    deleted = delete_pipelines(uow, pipelines, delete_artifacts) + uow.results.delete_of_run(run_id)
    return deleted + uow.labels.unlink("run", [run_id]) + uow.runs.delete(run_id)


def delete_pipelines(uow: UnitOfWork, pipeline_ids: list[str], delete_artifacts: bool) -> int:
    """Delete pipelines with their results and logs; return the number of deleted rows. See `delete_run`."""
    pipeline_ids = [checked_text(pipeline_id, "pipeline_id") for pipeline_id in pipeline_ids]
    deleted, released = delete_results(uow, pipeline_ids)
    datasets = uow.datasets.of_pipelines(pipeline_ids)
    deleted += uow.labels.unlink("pipeline", pipeline_ids) + uow.runs.delete_pipeline(*pipeline_ids)
    count, of_datasets = _delete_datasets(uow, uow.datasets.unused(among=datasets))
    deleted, released = deleted + count, released | of_datasets
    if delete_artifacts:
        deleted += drop_artifacts(uow, uow.artifacts.collectable(None, among=released))[0]
    return deleted


def _delete_datasets(uow: UnitOfWork, dataset_ids: Iterable[str]) -> tuple[int, set[str]]:
    """Delete the rows of datasets; return how many there were, and the artifacts that they named."""
    ids = list(dataset_ids)
    users = uow.datasets.artifact_users(ids)
    uow.artifacts.release(artifact_id for artifact_id, named_by in users.items() for _ in named_by)
    return uow.labels.unlink("dataset", ids) + uow.datasets.delete(ids), set(users)


def delete_results(uow: UnitOfWork, pipeline_ids: list[str]) -> tuple[int, set[str]]:
    """Delete the results of pipelines: chains, predictions and arrays, and what is said about these.

    Returns
    -------
    int
        The number of deleted rows.
    set of str
        The artifacts that the chains named. If the row of a chain could not be read, its artifacts are not among them,
        and their counts stay too high until a repair.
    """
    released: set[str] = set()
    deleted = uow.results.delete_of_pipelines(pipeline_ids) + uow.predictions.delete_of_pipelines(pipeline_ids)
    for found in uow.chains.uses_in_parts(pipeline_ids):
        uow.predictions.detach(found.chain_ids)
        deleted += uow.labels.unlink("chain", found.chain_ids) + uow.chains.delete(*found.chain_ids)
        uow.artifacts.release(item for item, users in found.users.items() for _ in users)
        released.update(found.users)
    return deleted, released


def delete_chain(uow: UnitOfWork, chain: dict[str, Any]) -> None:
    """Delete a chain with what is said about it, and the artifacts that nothing else uses."""
    chain_id, named = chain["chain_id"], artifact_ids(chain)
    uow.results.delete_of_chain(chain_id)
    uow.labels.unlink("chain", [chain_id])
    uow.chains.delete(chain_id)
    uow.artifacts.release(named)
    drop_artifacts(uow, uow.artifacts.collectable(None, among=named))


def drop_artifacts(uow: UnitOfWork, rows: list[dict[str, Any]]) -> tuple[int, set[str]]:
    """Delete rows of artifacts with their keys; return the number of rows, and the files that no other row names.

    These files are removed after the commit.
    """
    ids = [row["artifact_id"] for row in rows]
    deleted = uow.artifacts.delete(ids)
    if ids:
        uow.results.delete_artifact_keys(ids)
    paths = {normalize(row["artifact_path"]) for row in rows}
    files = paths - uow.artifacts.named_among(paths)
    for path in files:
        uow.discard_blob(path)
    return deleted, files


def collect(uow: UnitOfWork, grace: timedelta) -> int:
    """Remove datasets and artifacts that nothing keeps, and files that no row names.

    Return how many files will be removed.

    Parameters
    ----------
    uow : UnitOfWork
        The files are removed after its commit.
    grace : timedelta
        How long a saved object is kept without a chain that uses it, a dataset without a pipeline, and a file without
        a row.
    """
    before = uow.time_before(grace)
    datasets = uow.datasets.unused(before)
    rows = _collectable(uow, before, datasets)
    _delete_datasets(uow, datasets)
    _, files = drop_artifacts(uow, rows)
    uow.artifacts.date_back()
    strays = uow.blobs.orphans(uow.artifacts.paths(), before)
    for path in strays:
        uow.discard_blob(path)
    hit(Failpoint.COLLECTION_IS_CHOSEN)
    return len(uow.blobs.existing({*strays, *files}))


def plan_collection(uow: UnitOfWork, grace: timedelta) -> pl.DataFrame:
    """Return a frame with a row for each file that `collect` would remove, and why; see `WorkspaceStore.plan_gc`."""
    before = uow.time_before(grace)
    rows = _collectable(uow, before, uow.datasets.unused(before))
    ids = {row["artifact_id"] for row in rows}
    kept = {normalize(row["artifact_path"]) for row in uow.artifacts.all() if row["artifact_id"] not in ids}
    unclaimed = "it was saved, and no chain claimed it"
    found = {
        path: (row["artifact_id"], unclaimed if row["unclaimed"] > 0 else "nothing uses it any more")
        for row in rows
        if (path := normalize(row["artifact_path"])) not in kept
    }
    found |= dict.fromkeys(uow.blobs.orphans(uow.artifacts.paths(), before), (None, "no artifact names it"))
    planned = [
        # A name that is not UTF-8 is shown with escapes for its odd bytes.
        (os.fsencode(path).decode(errors="backslashreplace"), *found[path], uow.blobs.size(path))
        for path in sorted(uow.blobs.existing(found))
    ]
    schema = {"path": pl.String, "artifact_id": pl.String, "reason": pl.String, "size_bytes": pl.Int64}
    return pl.DataFrame(planned, schema=schema, orient="row").select("path", "artifact_id", "size_bytes", "reason")


def _collectable(uow: UnitOfWork, before: datetime, datasets: list[str]) -> list[dict[str, Any]]:
    """Return the rows that nothing keeps but these datasets.

    A save has two dates, in its row and of its file; the later one counts.
    """
    rows = uow.artifacts.collectable(before, without=datasets)
    return [row for row in rows if row["unclaimed"] <= 0 or not uow.blobs.is_younger(row["artifact_path"], before)]
