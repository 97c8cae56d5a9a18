"""Garbage collection: removes artifacts that no chain uses any more, and files that no row names.

What is kept, and for how long: docs/decisions/0003.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from ..artifacts import normalize
from ..failpoints import Failpoint, hit
from ..storage import UnitOfWork
from .deletion import drop_artifacts

PLAN = {"path": pl.String, "artifact_id": pl.String, "reason": pl.String, "size_bytes": pl.Int64}


def collect(uow: UnitOfWork, grace: timedelta) -> int:
    """Remove artifacts that nothing keeps, and files that no row names; return how many files will be removed.

    Parameters
    ----------
    uow : UnitOfWork
        The files are removed after its commit.
    grace : timedelta
        How long a saved object is kept without a chain that uses it, and a file without a row.
    """
    before = uow.time_before(grace)
    _, files = drop_artifacts(uow, _collectable(uow, before))
    uow.artifacts.date_back()
    strays = uow.blobs.orphans(uow.artifacts.paths(), before)
    for path in strays:
        uow.discard_blob(path)
    hit(Failpoint.COLLECTION_IS_CHOSEN)
    return len(uow.blobs.existing({*strays, *files}))


def plan_collection(uow: UnitOfWork, grace: timedelta) -> pl.DataFrame:
    """Return a frame with a row for each file that `collect` would remove, and why; see `WorkspaceStore.plan_gc`."""
    before = uow.time_before(grace)
    rows = _collectable(uow, before)
    ids = {row["artifact_id"] for row in rows}
    kept = {normalize(row["artifact_path"]) for row in uow.artifacts.all() if row["artifact_id"] not in ids}
    unclaimed = "it was saved, and no chain claimed it"
    found = {
        path: (row["artifact_id"], unclaimed if row["unclaimed"] > 0 else "no chain uses it any more")
        for row in rows
        if (path := normalize(row["artifact_path"])) not in kept
    }
    found |= dict.fromkeys(uow.blobs.orphans(uow.artifacts.paths(), before), (None, "no artifact names it"))
    planned = [(_shown(path), *found[path], uow.blobs.size(path)) for path in sorted(uow.blobs.existing(found))]
    return pl.DataFrame(planned, schema=PLAN, orient="row").select("path", "artifact_id", "size_bytes", "reason")


def _collectable(uow: UnitOfWork, before: datetime) -> list[dict[str, Any]]:
    """Return the rows that nothing keeps. A save has two dates, in its row and of its file; the later one counts."""
    rows = uow.artifacts.collectable(before)
    return [row for row in rows if row["unclaimed"] <= 0 or not uow.blobs.is_younger(row["artifact_path"], before)]


def _shown(path: str) -> str:
    """Return a path as text; bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
