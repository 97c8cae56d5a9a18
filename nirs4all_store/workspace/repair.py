"""Repairs the problems that a check has found, as far as its findings say that it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..engine import Finding
from ..errors import StoreError
from ..storage import UnitOfWork
from .check import CheckReport, miscounted


@dataclass(frozen=True)
class RepairReport:
    """The result of a repair.

    Attributes
    ----------
    dry_run : bool
        True: nothing was changed.
    repaired : list of Finding
        The problems that were repaired, or would be in a dry run.
    left : list of Finding
        The problems that `repair` can do nothing about.
    """

    dry_run: bool
    repaired: list[Finding]
    left: list[Finding]


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
            uow.artifacts.correct(row["artifact_id"], ref_count=ref_count, unclaimed=unclaimed)
        for row in uow.artifacts.all():
            if f"artifacts {row['artifact_id']}" in wrong_sizes:
                uow.artifacts.correct(row["artifact_id"], size_bytes=uow.blobs.size(row["artifact_path"]))
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
