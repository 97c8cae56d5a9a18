"""Finds ids by their first characters, and shortens ids to as many characters as make them unique."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import func, literal, select, union_all

from ...validation import checked_text
from ..columns import Model, key_of, table_of
from ..models import Artifact, Chain, Dataset, Pipeline, Prediction, Run
from ..table_gateway import Repository

NAMED: tuple[Model, ...] = (Run, Dataset, Pipeline, Chain, Prediction, Artifact)
_ALL = union_all(
    *(select(literal(table_of(model).name).label("kind"), key_of(model).label("id")) for model in NAMED)
).subquery()
_NEIGHBOURS = select(
    _ALL.c.id,
    func.lag(_ALL.c.id).over(order_by=_ALL.c.id).label("before"),
    func.lead(_ALL.c.id).over(order_by=_ALL.c.id).label("after"),
).subquery()


class IdPrefixes(Repository):
    """Looks up the ids of runs, datasets, pipelines, chains, predictions and artifacts, inside one unit of work."""

    def find_by_prefix(self, prefix: str) -> list[tuple[str, str]]:
        """Return the table and the id of all rows whose id begins with `prefix`.

        If `prefix` is a whole id, only the rows with this id.
        """
        prefix = checked_text(prefix, "an id")
        query = select(_ALL.c.kind, _ALL.c.id).where(_ALL.c.id.startswith(prefix, autoescape=True)).distinct()
        found = [(row["kind"], row["id"]) for row in self._tables.rows(query.order_by(_ALL.c.id, _ALL.c.kind))]
        return [row for row in found if row[1] == prefix] or found

    def shortened(self, ids: Iterable[str], min_length: int) -> dict[str, str]:
        """Return, for each id, its shortest prefix of at least `min_length` characters that no other id has."""
        query = select(_NEIGHBOURS).where(_NEIGHBOURS.c.id.in_(list(ids))).distinct()
        return {
            row["id"]: _shortest(row["id"], (row["before"], row["after"]), min_length)
            for row in self._tables.rows(query)
        }


def _shortest(name: str, others: Sequence[str | None], min_length: int) -> str:
    length = max([min_length, *(_common(name, other) + 1 for other in others if other is not None)])
    return name[:length]


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
