"""Delete, collect, compact, back up: each one transaction, or steps in a stated order."""

from __future__ import annotations

from typing import Any

from ..artifacts import normalize
from ..storage import UnitOfWork
from ..validation import checked_text


def delete_run(uow: UnitOfWork, run_id: str, delete_artifacts: bool) -> int:
    """Delete a run and all below it; return how many rows that were, 0 for an unknown run."""
    # A None would ask for the pipelines of every run.
    run_id = checked_text(run_id, "run_id")
    pipelines = uow.runs.list_pipelines(run_id=run_id)["pipeline_id"].to_list()
    return delete_pipelines(uow, pipelines, delete_artifacts) + uow.runs.delete(run_id)


def delete_pipelines(uow: UnitOfWork, pipeline_ids: list[str], delete_artifacts: bool) -> int:
    """Delete pipelines and all below them; return how many rows that were."""
    pipeline_ids = [checked_text(pipeline_id, "pipeline_id") for pipeline_id in pipeline_ids]
    deleted, released = delete_results(uow, pipeline_ids)
    deleted += uow.runs.delete_pipeline(*pipeline_ids)
    if delete_artifacts:
        deleted += drop_artifacts(uow, uow.artifacts.collectable(None, among=released))[0]
    return deleted


def delete_results(uow: UnitOfWork, pipeline_ids: list[str]) -> tuple[int, set[str]]:
    """Delete what pipelines produced: chains, predictions, arrays.

    Returns
    -------
    int
        How many rows that were.
    set of str
        The artifacts that the chains named; what one named that could not be read stays counted until a repair.
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
    """Delete artifacts' rows; return how many those are, and the files that no other row names."""
    deleted = uow.artifacts.delete(row["artifact_id"] for row in rows)
    paths = {normalize(row["artifact_path"]) for row in rows}
    files = paths - uow.artifacts.named_among(paths)
    for path in files:
        uow.discard_blob(path)
    return deleted, files
