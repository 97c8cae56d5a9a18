"""Finds ids by what people type of them, and shortens ids to their endings, which are random and so soon unique."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, func, literal, null, or_, select, union_all

from ...validation import checked_text
from ..columns import Model, key_of, table_of
from ..models import Artifact, Chain, Dataset, Pipeline, Prediction, Run
from ..table_gateway import Repository

PREDICTIONS = table_of(Prediction)
# Of tables, not of mapped classes, whose statements take twice as long to compile.
NAMES: dict[Model, ColumnElement[Any]] = {
    Run: table_of(Run).c.name,
    Dataset: table_of(Dataset).c.name,
    Pipeline: table_of(Pipeline).c.name,
    Chain: table_of(Chain).c.model_class,
    Prediction: func.concat_ws(
        ", ", PREDICTIONS.c.model_name, literal("fold ") + PREDICTIONS.c.fold_id, PREDICTIONS.c.partition
    ),
    Artifact: table_of(Artifact).c.operator_class,
}
"""What tells people which row it is."""
CALLED: tuple[Model, ...] = (Run, Dataset)
"""Rows that people have given a name, by which they can be found."""
_ALL = union_all(
    *(
        select(
            literal(table_of(model).name).label("kind"),
            key_of(model).label("id"),
            name.label("name"),
            table_of(model).c.created_at.label("created_at"),
            (name if model in CALLED else null()).label("called"),
        )
        for model, name in NAMES.items()
    )
).subquery()
_IDS = union_all(
    *(select(literal(table_of(model).name).label("kind"), key_of(model).label("id")) for model in NAMES)
).subquery()


class IdLookup(Repository):
    """Looks up the ids of runs, datasets, pipelines, chains, predictions and artifacts, inside one unit of work."""

    def find(self, text: str) -> pl.DataFrame:
        """Return the rows whose id begins or ends with a text, and the runs and datasets of this name; newest first.

        If the text is a whole id, only the rows with this id.

        Returns
        -------
        polars.DataFrame
            `kind` (the table), `id`, `name` (what tells which row it is) and `created_at`.
        """
        text = checked_text(text, "an id")
        columns = (_ALL.c.kind, _ALL.c.id, _ALL.c.name, _ALL.c.created_at)
        query = select(*columns).order_by(_ALL.c.created_at.desc(), _ALL.c.id.desc(), _ALL.c.kind)
        whole = self._tables.frame(query.where(_ALL.c.id == text))
        # Ten times as fast as LIKE with an escape.
        is_part = or_(func.starts_with(_ALL.c.id, text), func.ends_with(_ALL.c.id, text))
        return whole if whole.height else self._tables.frame(query.where(or_(is_part, _ALL.c.called == text)))

    def shortened(self, ids: Iterable[str], min_length: int) -> dict[str, str]:
        """Return, for each id, its shortest ending of at least `min_length` characters that no other of its kind has.

        An ending with which another id of the kind begins is too short, too: `find` would find both.
        """
        wanted = self._tables.rows(select(_IDS.c.kind, _IDS.c.id).where(_IDS.c.id.in_(list(ids))))
        ends = {row["id"][-min_length:] for row in wanted}
        # `right` and `left` take twice as long.
        start = func.greatest(1, func.length(_IDS.c.id) - min_length + 1)
        parts = (func.substring(_IDS.c.id, start), func.substring(_IDS.c.id, 1, min_length))
        ambiguous = or_(*(part.in_(ends) for part in parts))
        of_kinds = _IDS.c.kind.in_({row["kind"] for row in wanted})
        others: dict[str, set[str]] = {}
        for row in self._tables.rows(select(_IDS.c.kind, _IDS.c.id).where(of_kinds, ambiguous)):
            others.setdefault(row["kind"], set()).add(row["id"])
        return {row["id"]: _shortest(row["id"], others[row["kind"]] - {row["id"]}, min_length) for row in wanted}


def _shortest(name: str, others: Collection[str], min_length: int) -> str:
    for length in range(min_length, len(name)):
        end = name[-length:]
        if not any(other.startswith(end) or other.endswith(end) for other in others):
            return end
    return name
