"""Asks chains of a workspace whether they predict what their training stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..artifacts import Trust
from ..call_boundary import keeping_interrupts
from ..errors import NotFoundError
from ..storage import UnitOfWork
from .checking import Given, check_and_keep
from .lost_files import Opening, attached
from .samples import KeptSpectra, given_spectra
from .verdicts import VERIFIED, VerifyReport

Row = dict[str, Any]


def verify(
    writing: Opening,
    ids: Iterable[str] | None,
    trust: Trust,
    spectra: Mapping[str, Any],
    progress: Callable[[str, int, int], None],
) -> VerifyReport:
    """Check chains; see `WorkspaceStore.verify`. `writing` opens a transaction for what is found of each."""
    given = Given(trust, given_spectra(spectra), [attached], KeptSpectra())
    with writing() as uow:
        chain_ids = _waiting(uow) if ids is None else _chains_of(uow, ids)
    report = VerifyReport()
    with keeping_interrupts() as check_interrupts:
        for number, chain_id in enumerate(chain_ids):
            check_interrupts()
            progress(f"chain {chain_id}", number, len(chain_ids))
            found = _checked(writing, chain_id, given)
            if found is not None:
                report.chains[chain_id] = found
    progress("done", len(chain_ids), len(chain_ids))
    return report


def _checked(writing: Opening, chain_id: str, given: Given) -> Row | None:
    """Check a chain and store what is found; return it, or None if somebody has deleted or changed it meanwhile."""
    with writing() as uow:
        chain = uow.chains.get(chain_id)
    kept = None if chain is None else check_and_keep(writing, chain, given)
    return None if kept is None else kept[0]


def _waiting(uow: UnitOfWork) -> list[str]:
    told = uow.chains.verifications()
    return [one for one, known in told.items() if not isinstance(known, dict) or known.get("verdict") != VERIFIED]


def _chains_of(uow: UnitOfWork, ids: Iterable[str]) -> list[str]:
    """Return the ids of chains, and of all chains of runs, each once."""
    found: dict[str, None] = {}
    for one in ids:
        if uow.chains.get(one) is not None:
            found[one] = None
        elif uow.runs.get(one) is not None:
            found |= dict.fromkeys(chain["chain_id"] for chain in uow.chains.of_run(one))
        else:
            raise NotFoundError(f"there is no chain and no run {one!r}; see rank_chains() and list_runs()")
    return list(found)
