"""The repository of labels: names for what belongs together, as the runs of a project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from sqlalchemy import select

from ...identifiers import new_id, utc_now
from ..columns import table_of
from ..models import Label, LabelLink
from ..table_gateway import Repository

LABELS, LINKS = table_of(Label), table_of(LabelLink)
PROJECT = "project"
"""The kind of a label that runs have which belong together."""


class LabelRepo(Repository):
    """Reads and writes labels inside one unit of work."""

    def link(self, label_id: str, owner_kind: str, owner_id: str) -> bool:
        """Give a run, pipeline, chain or dataset a label; return whether it did not have it."""
        has_it = (LINKS.c.label_id == label_id) & (LINKS.c.owner_kind == owner_kind) & (LINKS.c.owner_id == owner_id)
        is_new = not self._tables.rows(select(LINKS.c.link_id).where(has_it))
        if is_new:
            row = {"label_id": self._tables.require(Label, label_id), "owner_kind": owner_kind, "owner_id": owner_id}
            self._tables.add_new(LabelLink, row | {"link_id": new_id(), "created_at": utc_now()})
        return is_new

    def of_kind(self, kind: str) -> Any:
        """Return the labels of a kind as a list of dicts, oldest first."""
        query = select(LABELS).where(LABELS.c.kind == kind).order_by(LABELS.c.created_at, LABELS.c.label_id)
        return self._tables.rows(query)

    def list_links(self) -> pl.DataFrame:
        """Return which runs, pipelines, chains and datasets have which labels, as a frame."""
        query = select(LINKS.c.owner_kind, LINKS.c.owner_id, LABELS).join(LABELS, LABELS.c.label_id == LINKS.c.label_id)
        return self._tables.frame(query.order_by(LINKS.c.created_at, LINKS.c.link_id))

    def delete(self, label_id: str) -> int:
        """Delete a label, and take it from whatever has it; return how many rows there were."""
        return self._tables.delete(LabelLink, LINKS.c.label_id, [label_id]) + self._tables.delete(
            Label, LABELS.c.label_id, [label_id]
        )

    def unlink_one(self, owner_kind: str, owner_id: str, label_ids: Iterable[str]) -> int:
        """Take some labels from a run, pipeline, chain or dataset; return how many links there were."""
        of_owner = (LINKS.c.owner_kind == owner_kind) & (LINKS.c.owner_id == owner_id)
        wanted = select(LINKS.c.link_id).where(of_owner & LINKS.c.label_id.in_(list(label_ids)))
        return self._tables.delete(LabelLink, LINKS.c.link_id, wanted)

    def unlink(self, owner_kind: str, owner_ids: Iterable[str]) -> int:
        """Take all labels from runs, pipelines, chains or datasets; return how many links there were."""
        ids = list(owner_ids)
        of_owners = (LINKS.c.owner_kind == owner_kind) & LINKS.c.owner_id.in_(ids)
        return self._tables.delete(LabelLink, LINKS.c.link_id, select(LINKS.c.link_id).where(of_owners))
