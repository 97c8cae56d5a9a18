"""Finds out which stored chains name which artifacts, also if rows of chains are damaged.

It decides what may be removed: docs/decisions/0003.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from sqlalchemy import JSON, String, cast, or_, select

from ...chains import artifact_ids
from ...errors import WorkspaceCorruptError
from ...validation import checked_texts, parse_json
from ..columns import table_of
from ..models import Chain, Pipeline
from ..table_gateway import Tables

CHAINS = table_of(Chain)
PIPELINES = table_of(Pipeline)
# How many chains are in memory at a time: a run may have any number of them.
CHAINS_AT_ONCE = 5_000
JSON_NAMES = [column.name for column in CHAINS.columns if isinstance(column.type, JSON)]


@dataclass
class ArtifactReferences:
    """Which chains name which artifacts.

    Attributes
    ----------
    chains : list of dict
        The chains whose rows can be read, with JSON decoded.
    users : dict of str to list of str
        For each artifact, the ids of the chains that name it.
    unreadable : dict of str to str
        For each chain whose row cannot be read, the reason.
    """

    chains: list[dict[str, Any]] = field(default_factory=list)
    users: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    _unreadable: list[str] = field(default_factory=list)

    @property
    def chain_ids(self) -> list[str]:
        """The ids of all chains, also of those that cannot be read."""
        return [*(chain["chain_id"] for chain in self.chains), *self.unreadable]

    def might_reference(self, artifact_id: str) -> bool:
        """Tell whether this id is anywhere in the row of a chain that cannot be read."""
        return any(spelling in text for text in self._unreadable for spelling in spellings(artifact_id))

    def add(self, row: dict[str, Any]) -> None:
        """Add a row of a chain, with JSON as text."""
        try:
            chain = row | {name: parse_json(row[name], name) for name in JSON_NAMES if row[name] is not None}
            named = artifact_ids(chain)
        except (WorkspaceCorruptError, RecursionError) as error:
            self.unreadable[row["chain_id"]] = str(error)
            self._unreadable += [str(row[name]) for name in JSON_NAMES]
            return
        self.chains.append(chain)
        for artifact_id in named:
            self.users.setdefault(artifact_id, []).append(row["chain_id"])


def spellings(artifact_id: str) -> set[str]:
    """Return the ways in which an id may be spelled in JSON text."""
    return {artifact_id, json.dumps(artifact_id)[1:-1], json.dumps(artifact_id, ensure_ascii=False)[1:-1]}


def is_referenced_elsewhere_in_run(tables: Tables, chain_id: str, artifact_id: str) -> bool:
    """Tell whether another chain of the same run names an artifact, as far as the text of its JSON shows."""
    own = select(PIPELINES.c.run_id).join(CHAINS, CHAINS.c.pipeline_id == PIPELINES.c.pipeline_id)
    of_run = select(PIPELINES.c.pipeline_id).where(
        PIPELINES.c.run_id == own.where(CHAINS.c.chain_id == chain_id).scalar_subquery()
    )
    texts = [cast(CHAINS.c[name], String) for name in ("fold_artifacts", "shared_artifacts", "attachments")]
    named = or_(*(text.contains(item, autoescape=True) for text in texts for item in spellings(artifact_id)))
    query = select(CHAINS.c.chain_id).where(CHAINS.c.pipeline_id.in_(of_run), CHAINS.c.chain_id != chain_id, named)
    return bool(tables.rows(query.limit(1)))


def references_of(tables: Tables, pipeline_ids: Iterable[str] | None = None) -> ArtifactReferences:
    """Return which artifacts the chains of these pipelines name (None: of all).

    A row that is damaged is in `ArtifactReferences.unreadable`, and the others are read all the same.
    """
    found = ArtifactReferences()
    for rows in _rows(tables, pipeline_ids):
        for row in rows.iter_rows(named=True):
            found.add(row)
    return found


def references_in_parts(tables: Tables, pipeline_ids: Iterable[str] | None = None) -> Iterator[ArtifactReferences]:
    """Yield what `references_of` returns for some chains at a time; the caller may delete those that it has got."""
    for rows in _rows(tables, pipeline_ids):
        found = ArtifactReferences()
        for row in rows.iter_rows(named=True):
            found.add(row)
        yield found


def _rows(tables: Tables, pipeline_ids: Iterable[str] | None) -> Iterator[pl.DataFrame]:
    query = select(CHAINS).order_by(CHAINS.c.chain_id).limit(CHAINS_AT_ONCE)
    if pipeline_ids is not None:
        query = query.where(CHAINS.c.pipeline_id.in_(checked_texts(pipeline_ids, "pipeline ids")))
    rows = tables.frame(query)
    while rows.height:
        yield rows
        rows = tables.frame(query.where(CHAINS.c.chain_id > rows["chain_id"][-1]))
