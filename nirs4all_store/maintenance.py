"""Delete, collect, compact, back up: each one transaction, or steps in a stated order."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from .blobs import plain_path
from .contents import write_down
from .copies import remove
from .database import ENGINE_ERRORS, Database
from .duckdb_files import copy_compacted, logs_of, refuse_misread
from .errors import OutputPathError, StoreError
from .files import fsync_file, fsync_folder, make_folder, output_errors, temporary_beside
from .migrate import refuse_more_at
from .points import Point, reached
from .repositories import ArtifactRepo
from .rights import share_alike, share_copy
from .tables import Tables
from .unit_of_work import UnitOfWork
from .values import checked_text
from .workspace import ARTIFACTS_NAME, DATABASE_NAME, Workspace

PLAN = {"path": pl.String, "artifact_id": pl.String, "reason": pl.String, "size_bytes": pl.Int64}


class Vacuumed(NamedTuple):
    """How many bytes the database file had before `vacuum()`, and after."""

    before: int
    after: int


def interrupt_lost_runs(workspace: Workspace, timeout: float) -> None:
    """Mark the runs interrupted whose processes are gone; where that fails, the workspace can be used all the same."""
    with contextlib.suppress(StoreError, *ENGINE_ERRORS), UnitOfWork(workspace, timeout=timeout) as uow:
        if uow.runs.interrupt_lost():
            uow.commit()


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
        deleted += _drop(uow, uow.artifacts.collectable(None, among=released))[0]
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


def collect(uow: UnitOfWork, grace: timedelta) -> int:
    """Remove artifacts that nothing keeps, and files that no row names; return how many files there are to go.

    Parameters
    ----------
    uow : UnitOfWork
        The files go when it commits.
    grace : timedelta
        How long a save may wait for its chain, and a file for its row.
    """
    before = uow.time_before(grace)
    _, files = _drop(uow, _collectable(uow, before))
    uow.artifacts.date_back()
    strays = uow.blobs.strays(uow.artifacts.paths(), before)
    for path in strays:
        uow.discard_blob(path)
    reached(Point.COLLECTION_IS_CHOSEN)
    return len(uow.blobs.present({*strays, *files}))


def plan_collection(uow: UnitOfWork, grace: timedelta) -> pl.DataFrame:
    """Return what `collect` would remove, a row a file, with the reason; see `WorkspaceStore.plan_gc`."""
    before = uow.time_before(grace)
    rows = _collectable(uow, before)
    ids = {row["artifact_id"] for row in rows}
    kept = {plain_path(row["artifact_path"]) for row in uow.artifacts.all() if row["artifact_id"] not in ids}
    unclaimed = "it was saved, and no chain claimed it"
    found = {
        path: (row["artifact_id"], unclaimed if row["unclaimed"] > 0 else "no chain uses it any more")
        for row in rows
        if (path := plain_path(row["artifact_path"])) not in kept
    }
    found |= dict.fromkeys(uow.blobs.strays(uow.artifacts.paths(), before), (None, "no artifact names it"))
    planned = [(_shown(path), *found[path], uow.blobs.size(path)) for path in sorted(uow.blobs.present(found))]
    return pl.DataFrame(planned, schema=PLAN, orient="row").select("path", "artifact_id", "size_bytes", "reason")


def _collectable(uow: UnitOfWork, before: datetime) -> list[dict[str, Any]]:
    """Return the rows that nothing keeps; a save is as old as the youngest of its two witnesses, row and file."""
    rows = uow.artifacts.collectable(before)
    return [row for row in rows if row["unclaimed"] <= 0 or not uow.blobs.is_younger(row["artifact_path"], before)]


def _shown(path: str) -> str:
    """Return a path as text: a name that is no UTF-8 has its odd bytes as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _drop(uow: UnitOfWork, rows: list[dict[str, Any]]) -> tuple[int, set[str]]:
    """Delete artifacts' rows; return how many those are, and the files that no other row names."""
    deleted = uow.artifacts.delete(row["artifact_id"] for row in rows)
    paths = {plain_path(row["artifact_path"]) for row in rows}
    files = paths - uow.artifacts.named_among(paths)
    for path in files:
        uow.discard_blob(path)
    return deleted, files


def vacuum(workspace: Workspace, timeout: float) -> Vacuumed:
    """Replace the database file by a copy without free space, if that is smaller, while nobody uses it.

    A crash leaves the old file or the new one under the name.
    """
    path = workspace.path / DATABASE_NAME
    compact = path.with_name(f".compacting-{DATABASE_NAME}")
    with workspace.alone(timeout), output_errors(path):
        if logs_of(path):
            raise StoreError(f"{path} could not fold its log in; free some disk space, open it again and repeat")
        remove(compact)
        before = path.stat().st_size
        try:
            _copy_tables(path, compact)
            if compact.stat().st_size < path.stat().st_size:
                share_alike(compact, path.stat())
                share_copy(compact, path.parent)
                fsync_file(compact)
                compact.replace(path)
        finally:
            remove(compact)
        fsync_folder(workspace.path)
        return Vacuumed(before, path.stat().st_size)


def backup(workspace: Workspace, target: Path, timeout: float) -> Path:
    """Copy rows and artifacts, as they are at one moment, to a new folder; others wait meanwhile.

    Raises
    ------
    OutputPathError
        `target` is there already and not an empty folder, is below `artifacts/`, or cannot be written.
    """
    workspace.blobs.refuse_inside(target)
    refuse_misread(target, OutputPathError)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputPathError(f"cannot back up to {target}: it is not empty; give a new folder")
    with output_errors(target):
        make_folder(target.parent)
        unfinished = temporary_beside(target)
        unfinished.mkdir()
        try:
            with workspace.alone(timeout):
                missing = copy_into(workspace, unfinished)
            unfinished.replace(target)
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        fsync_folder(target.parent)
    if missing:
        warnings.warn(f"the backup {target} lacks artifact files that are missing here: {missing}", stacklevel=4)
    return target


def copy_into(workspace: Workspace, folder: Path) -> list[str]:
    """Copy the rows of a workspace that nobody uses, and the files that they name; return those that are missing."""
    _copy_tables(workspace.path / DATABASE_NAME, folder / DATABASE_NAME)
    fsync_file(folder / DATABASE_NAME)
    copied = Database(folder / DATABASE_NAME, read_only=True)
    try:
        with copied.session() as session:
            paths = ArtifactRepo(Tables(session)).paths()
        write_down(copied)
    finally:
        copied.close()
    make_folder(folder / ARTIFACTS_NAME)
    return workspace.blobs.copy_to(folder / ARTIFACTS_NAME, paths)


def _copy_tables(source: Path, target: Path) -> None:
    """Copy a database, unless it has more than tables: a reader may have opened it all the same."""
    refuse_more_at(source)
    copy_compacted(source, target)
