"""Deletes runs and pipelines with all their rows, and artifacts that no chain uses any more."""

from __future__ import annotations

from typing import Any

from ..artifacts import normalize
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
    return delete_pipelines(uow, pipelines, delete_artifacts) + uow.runs.delete(run_id)


def delete_pipelines(uow: UnitOfWork, pipeline_ids: list[str], delete_artifacts: bool) -> int:
    """Delete pipelines with their results and logs; return the number of deleted rows. See `delete_run`."""
    pipeline_ids = [checked_text(pipeline_id, "pipeline_id") for pipeline_id in pipeline_ids]
    deleted, released = delete_results(uow, pipeline_ids)
    deleted += uow.runs.delete_pipeline(*pipeline_ids)
    if delete_artifacts:
        deleted += drop_artifacts(uow, uow.artifacts.collectable(None, among=released))[0]
    return deleted


def delete_results(uow: UnitOfWork, pipeline_ids: list[str]) -> tuple[int, set[str]]:
    """Delete the results of pipelines: chains, predictions and arrays.

    Returns
    -------
    int
        The number of deleted rows.
    set of str
        The artifacts that the chains named. If the row of a chain could not be read, its artifacts are not among them,
        and their counts stay too high until a repair.
    """
    released: set[str] = set()
    deleted = uow.predictions.delete_of_pipelines(pipeline_ids)
    for found in uow.chains.uses_in_parts(pipeline_ids):
        uow.predictions.detach(found.chain_ids)
        deleted += uow.chains.delete(*found.chain_ids)
        uow.artifacts.release(item for item, users in found.users.items() for _ in users)
        released.update(found.users)
    return deleted, released


def drop_artifacts(uow: UnitOfWork, rows: list[dict[str, Any]]) -> tuple[int, set[str]]:
    """Delete rows of artifacts; return their number, and the files that no other row names.

    These files are removed after the commit.
    """
    deleted = uow.artifacts.delete(row["artifact_id"] for row in rows)
    paths = {normalize(row["artifact_path"]) for row in rows}
    files = paths - uow.artifacts.named_among(paths)
    for path in files:
        uow.discard_blob(path)
    return deleted, files
