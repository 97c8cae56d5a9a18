"""Completes what a shell asks for while one types: ids, names of runs and datasets, metrics.

A shell must not wait, and shows no error: a workspace that cannot be opened soon completes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import StoreError

if TYPE_CHECKING:
    from ..store import WorkspaceStore

Items = list[tuple[str, str]]
SECONDS_TO_WAIT = 1.0
MOST_COMPLETED = 20
WHOLE_WORD = re.compile(r"[\w.+-]+")
"""What a shell takes for one word without quotes."""


def _from_workspace(items: Callable[[WorkspaceStore], Iterable[tuple[str, str]]]) -> Callable[..., Items]:
    """Return a function that completes with what `items` finds in the workspace of the command line."""

    def complete(ctx: typer.Context, incomplete: str) -> Items:
        from ..store import WorkspaceStore
        from ..workspace import DATABASE_NAME

        folder: Any = ctx.params.get("workspace")
        found: Items = []
        with suppress(StoreError, OSError):
            if isinstance(folder, Path) and (folder / DATABASE_NAME).exists():
                with WorkspaceStore(folder, read_only=True, timeout=SECONDS_TO_WAIT) as store:
                    # One by one: what can be told before `top` would need to be told a metric is completed.
                    found.extend(item for item in items(store) if WHOLE_WORD.fullmatch(item[0]))
        return found

    return complete


def _runs(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    rows = store.list_runs(limit=MOST_COMPLETED)
    short = store.shorten_ids(rows["run_id"])
    yield "last", "the last run"
    for run_id, name, status in rows.select("run_id", "name", "status").iter_rows():
        yield name, f"run, {status}"
        yield short[run_id], f"run {name}"


def _chains(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    from .. import views

    yield "best", "the best chain"
    rows = views.rank(store, MOST_COMPLETED)
    short = store.shorten_ids(rows["chain_id"])
    for chain_id, name in rows.select("chain_id", "model_name").iter_rows():
        yield short[chain_id], f"chain, {name}"


def _pipelines(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    rows = store.list_pipelines().head(MOST_COMPLETED)
    short = store.shorten_ids(rows["pipeline_id"])
    for pipeline_id, name in rows.select("pipeline_id", "name").iter_rows():
        yield short[pipeline_id], f"pipeline {name}"


def _datasets(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    return ((name, "dataset") for name in store.list_datasets()["name"].unique(maintain_order=True))


def _deleted(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    yield from _runs(store)
    yield from _pipelines(store)


def _verified(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    yield from _runs(store)
    yield from _chains(store)


def _all(store: WorkspaceStore) -> Iterable[tuple[str, str]]:
    yield from _deleted(store)
    yield from _chains(store)  # Last: where `top` needs to be told a metric, there are none.


runs, chains, datasets = map(_from_workspace, (_runs, _chains, _datasets))
pipelines, deleted, verified, anything = map(_from_workspace, (_pipelines, _deleted, _verified, _all))


def metrics() -> list[str]:
    """Return the names of what models can be ranked by."""
    from ..metrics import FIELD_NAMES, NAMES

    return [*dict.fromkeys(name for names in (*NAMES.values(), FIELD_NAMES) for name in names)]
