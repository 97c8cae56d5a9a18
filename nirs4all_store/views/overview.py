"""What a workspace holds, in a few lines: the last run, its best model, and what one may do next. No printing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from ..metrics import label
from ..store import WorkspaceStore
from .listings import counted, decoded, text_of, with_params, with_zone
from .rankings import rank

NEXT = {
    None: ("run CONFIG DATA --target COLUMN", "trains models"),
    "completed": ("top last", "ranks its models; `show best@last` and `predict best@last NEW_DATA` use the best"),
    "failed": ("pipelines last", "lists what has failed; `show` and an id of these say why"),
    "interrupted": ("run CONFIG DATA --resume", "goes on where the last run stopped"),
    "running": ("runs", "shows when the run has ended; `top last` ranks what is there so far"),
}
"""What to do next, by the status of the last run."""


@dataclass(frozen=True)
class Sizes:
    """What takes the space of a workspace.

    Attributes
    ----------
    runs : list of dict
        See `WorkspaceStore.usage`; what takes most comes first.
    unused_files, unused_bytes : int
        What `gc` would remove.
    """

    runs: list[dict[str, Any]]
    unused_files: int
    unused_bytes: int


def sizes_of(store: WorkspaceStore) -> Sizes:
    """Return which runs take how much, and what nothing uses."""
    unused = store.plan_gc()
    return Sizes([with_zone(row) for row in store.usage().to_dicts()], unused.height, int(unused["size_bytes"].sum()))


def overview_of(store: WorkspaceStore) -> list[tuple[str, str]]:
    """Return what is told of a workspace: lines of a name and a text."""
    lines = [("workspace", str(store.workspace_path))]
    status = None
    for run in store.list_runs(limit=1).to_dicts():
        run, status = with_zone(run), run["status"]
        count = counted(sum(store.run_progress(run["run_id"]).counts.values()), "pipeline")
        lines.append(("last run", f"{run['name']}, {status}: {count}, begun {text_of(run['created_at'])}"))
        lines += _best_of(store, run["run_id"])
    command, what = NEXT.get(status, NEXT["completed"])
    return [*lines, ("next", f"`nirs4all-store {command}` {what}")]


def _best_of(store: WorkspaceStore, run_id: str) -> list[tuple[str, str]]:
    """Return a line for the best model of a run, or of each of its rankings; none where `top` needs to be asked."""
    try:
        rows = [decoded(row) for row in rank(store, 1, run_id=run_id).to_dicts()]
    except InvalidInputError:
        return []
    short = store.shorten_ids([row["chain_id"] for row in rows])
    return [
        (
            "its best",
            f"{short[row['chain_id']]}, {with_params(row)} on {row['dataset_name']}: "
            f"{label(row['metric'], row['partition'])} {text_of(row['val_score'])}",
        )
        for row in rows
        if row["chain_id"] in short and not math.isnan(row["val_score"] or 0.0)
    ]
