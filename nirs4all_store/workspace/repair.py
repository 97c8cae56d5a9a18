"""Repairs the problems that a check has found, as far as its findings say that it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import StoreError
from ..storage import UnitOfWork
from .check import miscounted
from .findings import CheckReport, RepairReport


def repair(uow: UnitOfWork, found: CheckReport, *, dry_run: bool) -> RepairReport:
    """Repair the problems that can be repaired; see `WorkspaceStore.repair`.

    Rows are changed first and committed. Then files are moved to the quarantine. A file that cannot be moved is in
    `RepairReport.left` with the reason, and the others are moved all the same.

    Parameters
    ----------
    uow : UnitOfWork
    found : CheckReport
    dry_run : bool
        Only report what would be done.
    """
    repaired = [finding for finding in found.findings if finding.repair]
    left = [finding for finding in found.findings if not finding.repair]
    wrong_sizes = {finding.subject for finding in repaired if finding.code == "wrong-size"}
    if not dry_run:
        uow.integrity.remove_orphans()
        for row, ref_count, unclaimed in list(miscounted(uow)):
            uow.artifacts.set_count(row["artifact_id"], ref_count, unclaimed)
        for row in uow.artifacts.all():
            if f"artifacts {row['artifact_id']}" in wrong_sizes:
                uow.artifacts.set_size(row["artifact_id"], uow.blobs.size(row["artifact_path"]))
        uow.commit()
    move = partial(uow.blobs.quarantine, dry_run=dry_run)
    paths = [finding.subject for finding in repaired if finding.code in ("damaged-file", "unlisted-file")]
    problems = {path: _problem_of(move, path) for path in dict.fromkeys(paths)}  # Several rows may name one file.
    for finding in list(repaired):
        problem = problems.get(finding.subject)
        if problem:
            repaired.remove(finding)
            left.append(replace(finding, message=f"{finding.message}; it was not moved: {problem}", repair=None))
    return RepairReport(dry_run, repaired, left)


def _problem_of(move: Callable[[str], Any], path: str) -> str | None:
    try:
        move(path)
    except (OSError, StoreError) as error:
        return str(error)
    return None
