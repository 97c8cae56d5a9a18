"""What an import of a workspace has brought, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import ImportReport
    from ..store import WorkspaceStore

MOST_CHAINS = 5
"""How many chains are named of which the same is told."""
WORDS = {"prediction_arrays": "arrays", "label_links": "links", "labels": "projects"}
VERIFIED = "verified"


def lines_of_import(store: WorkspaceStore, report: ImportReport) -> list[str]:
    """Return rows by table, chains by what is known of their replay, and what has not come along."""
    rows = ", ".join(f"{table} {count:,}" for table, count in _counts(report) if count)
    verb = "would import" if report.is_dry_run else "imported"
    lines = [f"{verb} from {report.source}: {rows}" if rows else f"{report.source} has nothing new"]
    told: dict[tuple[str, str], list[str]] = {}
    for chain_id, found in report.chains.items():
        told.setdefault((str(found["verdict"]), str(found.get("reason") or "")), []).append(chain_id)
    for (verdict, reason), chain_ids in told.items():
        lines.append(_line(store, verdict, reason, chain_ids))
    return lines + [f"not carried: {count:,} {what}" for what, count in report.not_carried.items()]


def _counts(report: ImportReport) -> list[tuple[str, int]]:
    return [(WORDS.get(table, table), count) for table, count in report.rows.items()]


def _line(store: WorkspaceStore, verdict: str, reason: str, chain_ids: list[str]) -> str:
    """Return how many chains have a verdict, and why; those that are not verified are named, as far as they are few."""
    words = f"{verdict}: {reason}" if reason else verdict
    if verdict == VERIFIED and not reason:
        return f"chains {words}: {len(chain_ids):,}"
    named = chain_ids[:MOST_CHAINS]
    short = store.shorten_ids(named)
    more = " and more" if len(chain_ids) > len(named) else ""
    return f"chains {words}: {len(chain_ids):,} ({', '.join(short.get(one, one) for one in named)}{more})"
