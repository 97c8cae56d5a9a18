"""Checks the chains of a run at its import."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...chains import artifact_ids
from ...storage import UnitOfWork
from ..checking import UNTRUSTED, Given, check_and_keep, keep_verdict
from ..lost_files import Kind
from ..samples import KeptSpectra
from ..verdicts import DIFFERS, UNDECIDED, VERIFIED
from .objects import Contents, Import, add_lost_files

Row = dict[str, Any]


def check_run(job: Import, run_id: str) -> bool:
    """Check the chains of a run that are not verified yet; return whether anything is known that was not before.

    What is found of each is a transaction of its own: others write between them.
    """
    others = [partial(_lost_files, job, all_files=all_files) for all_files in (False, True)]
    given = Given(job.trust, job.spectra, others, KeptSpectra())
    changed = False
    with job.writing() as uow:
        chains = [chain for chain in uow.chains.of_run(run_id) if _waits(chain)]
        for chain in [] if job.trust else chains:
            told = chain["verification"]
            found = told | ({"reason": UNTRUSTED} if told["verdict"] in UNDECIDED else {})
            changed |= keep_verdict(uow, chain, found, None)
            job.report.chains[chain["chain_id"]] = found
    for chain in chains if job.trust else []:
        kept = check_and_keep(job.writing, chain, given)
        if kept is not None:
            told, (found, is_new) = chain["verification"], kept
            changed |= is_new
            is_left = told["verdict"] == DIFFERS and found["verdict"] in UNDECIDED
            job.report.chains[chain["chain_id"]] = told if is_left else found
    return changed


def _waits(chain: Row) -> bool:
    return (chain["verification"] or {}).get("verdict") not in (None, VERIFIED) and bool(artifact_ids(chain))


def _lost_files(job: Import, uow: UnitOfWork, _chain: Row, kind: Kind, *, all_files: bool) -> list[str]:
    """Return the ids of files of a kind without rows, or of all, which are objects here from now on."""
    contents: Contents = {}
    found = add_lost_files(uow, job, contents, {kind}, all_files=all_files)
    uow.blobs.put_many(contents)
    return found
