"""What an import of a workspace has brought, and what chains predict, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import ImportReport, VerifyReport
    from ..store import WorkspaceStore

MOST_CHAINS = 5
"""How many chains are named of which the same is told."""
WORDS = {"prediction_arrays": "arrays", "label_links": "links", "labels": "projects"}
VERIFIED, DIFFERS = "verified", "differs"
NOTHING_WAITS = (
    "no imported chain waits to be verified; name a run or a chain to ask whether it still predicts what it did"
)


def lines_of_import(store: WorkspaceStore, report: ImportReport) -> list[str]:
    """Return rows by table, chains by what is known of their replay, and what has not come along."""
    rows = ", ".join(f"{table} {count:,}" for table, count in _counts(report) if count)
    verb = "would import" if report.is_dry_run else "imported"
    lines = [f"{verb} from {report.source}: {rows}" if rows else f"{report.source} has nothing new"]
    lines += _lines_of_verdicts(store, report)
    return lines + [f"not carried: {count:,} {what}" for what, count in report.not_carried.items()]


def lines_of_verification(store: WorkspaceStore, report: VerifyReport) -> list[str]:
    """Return chains by whether they predict what their training stored."""
    return _lines_of_verdicts(store, report) or [NOTHING_WAITS]


def _lines_of_verdicts(store: WorkspaceStore, report: ImportReport | VerifyReport) -> list[str]:
    told: dict[tuple[str, str], list[str]] = {}
    differences: dict[tuple[str, str], float] = {}
    for chain_id, found in report.chains.items():
        key = str(found["verdict"]), str(found.get("reason") or "")
        told.setdefault(key, []).append(chain_id)
        differences[key] = max(differences.get(key, 0.0), float(str(found.get("difference") or 0.0)))
    return [_line(store, *key, differences[key], chain_ids) for key, chain_ids in told.items()]


def _counts(report: ImportReport) -> list[tuple[str, int]]:
    return [(WORDS.get(table, table), count) for table, count in report.rows.items()]


def _line(store: WorkspaceStore, verdict: str, reason: str, difference: float, chain_ids: list[str]) -> str:
    """Return how many chains have a verdict, and why; those that are not verified are named, as far as they are few."""
    verdict += f" by up to {difference:.2g} of the largest value" if verdict == DIFFERS and difference else ""
    words = f"{verdict}: {reason}" if reason else verdict
    if verdict == VERIFIED and not reason:
        return f"chains {words}: {len(chain_ids):,}"
    named = chain_ids[:MOST_CHAINS]
    short = store.shorten_ids(named)
    more = " and more" if len(chain_ids) > len(named) else ""
    return f"chains {words}: {len(chain_ids):,} ({', '.join(short.get(one, one) for one in named)}{more})"
