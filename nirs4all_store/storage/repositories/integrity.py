"""Checks that every row which another row names exists, and that every value can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import JSON, func, or_, select

from ...errors import StoreError
from ...validation import parse_json
from ..array_columns import decode_all, sample_counts
from ..columns import Model, key_of, table_of
from ..models import (
    Artifact,
    Chain,
    Dataset,
    Label,
    LabelLink,
    Log,
    Pipeline,
    Prediction,
    PredictionArrays,
    Result,
    Run,
)
from ..table_gateway import Repository

RUNS, PIPELINES, CHAINS = table_of(Run), table_of(Pipeline), table_of(Chain)
PREDICTIONS, ARRAYS, LOGS = table_of(Prediction), table_of(PredictionArrays), table_of(Log)
DATASETS, LABELS, LINKS, RESULTS = table_of(Dataset), table_of(Label), table_of(LabelLink), table_of(Result)

_PIPELINES = select(PIPELINES.c.pipeline_id).where(PIPELINES.c.run_id.in_(select(RUNS.c.run_id)))
_CHAINS = select(CHAINS.c.chain_id).where(CHAINS.c.pipeline_id.in_(_PIPELINES))
_PREDICTIONS = select(PREDICTIONS.c.prediction_id).where(PREDICTIONS.c.pipeline_id.in_(_PIPELINES))
_OWNERS: dict[str, Any] = {
    "run": select(RUNS.c.run_id),
    "pipeline": _PIPELINES,
    "chain": _CHAINS,
    "dataset": select(DATASETS.c.dataset_id),
}
_OF_RESULTS: dict[Any, Any] = {
    RESULTS.c.run_id: select(RUNS.c.run_id),
    RESULTS.c.pipeline_id: _PIPELINES,
    RESULTS.c.chain_id: _CHAINS,
    RESULTS.c.prediction_id: _PREDICTIONS,
}
# A row whose parent is an orphan is an orphan itself, so that one removal finds all of them.
ORPHANS: dict[Model, Any] = {
    Pipeline: PIPELINES.c.run_id.not_in(select(RUNS.c.run_id)),
    Chain: CHAINS.c.pipeline_id.not_in(_PIPELINES),
    Prediction: PREDICTIONS.c.pipeline_id.not_in(_PIPELINES),
    PredictionArrays: ARRAYS.c.prediction_id.not_in(_PREDICTIONS),
    Log: LOGS.c.pipeline_id.not_in(_PIPELINES),
    LabelLink: or_(
        LINKS.c.label_id.not_in(select(LABELS.c.label_id)),
        *((LINKS.c.owner_kind == kind) & LINKS.c.owner_id.not_in(ids) for kind, ids in _OWNERS.items()),
    ),
    Result: or_(*(column.is_not(None) & column.not_in(ids) for column, ids in _OF_RESULTS.items())),
}
_NAMES_NO_CHAIN = (
    PREDICTIONS.c.chain_id.is_not(None)
    & PREDICTIONS.c.chain_id.not_in(_CHAINS)
    & PREDICTIONS.c.pipeline_id.in_(_PIPELINES)
)
_NAMES_NO_DATASET = (
    PIPELINES.c.dataset_id.is_not(None)
    & PIPELINES.c.dataset_id.not_in(select(DATASETS.c.dataset_id))
    & PIPELINES.c.run_id.in_(select(RUNS.c.run_id))
)
SCAN_ROWS = 2_000
ALL: tuple[Model, ...] = (Run, Dataset, Label, *ORPHANS, Artifact)


class Integrity(Repository):
    """Checks and repairs the rows of all tables, inside one unit of work."""

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table, by its name."""
        return {model.__tablename__: self._count(model) for model in ALL}

    def _count(self, model: Model) -> int:
        return int(self._tables.frame(select(func.count()).select_from(table_of(model))).item())

    def orphans(self) -> list[tuple[str, str]]:
        """Return the table and the key of each orphan: a row whose parent is absent, or is an orphan itself."""
        return [
            (table_of(model).name, key) for model, is_orphan in ORPHANS.items() for key in self._keys(model, is_orphan)
        ]

    def without_chain(self) -> list[str]:
        """Return the ids of the predictions whose chain is absent, or is an orphan."""
        return self._keys(Prediction, _NAMES_NO_CHAIN)

    def without_dataset(self) -> list[str]:
        """Return the ids of the pipelines whose dataset is absent."""
        return self._keys(Pipeline, _NAMES_NO_DATASET)

    def with_chain_of_another_pipeline(self) -> list[str]:
        """Return the ids of the predictions whose chain belongs to another pipeline."""
        is_elsewhere = PREDICTIONS.c.pipeline_id != CHAINS.c.pipeline_id
        return self._keys(Prediction, (PREDICTIONS.c.chain_id == CHAINS.c.chain_id) & is_elsewhere)

    def remove_orphans(self) -> None:
        """Delete all orphans, and set `chain_id` and `dataset_id` to NULL where what they name is absent."""
        chain_ids, pipeline_ids = self.without_chain(), self.without_dataset()
        found = {model: self._keys(model, is_orphan) for model, is_orphan in ORPHANS.items()}
        if chain_ids:
            named = PREDICTIONS.c.prediction_id.in_(chain_ids)
            self._tables.execute(PREDICTIONS.update().where(named).values(chain_id=None))
        if pipeline_ids:
            named = PIPELINES.c.pipeline_id.in_(pipeline_ids)
            self._tables.execute(PIPELINES.update().where(named).values(dataset_id=None))
        for model, keys in reversed(found.items()):  # Children first: a server has foreign keys.
            if keys:
                self._tables.delete(model, key_of(model), keys)

    def _keys(self, model: Model, condition: Any) -> list[str]:
        key = key_of(model)
        return self._tables.frame(select(key).where(condition).order_by(key))[key.name].to_list()

    @property
    def tables(self) -> list[str]:
        """The names of all tables."""
        return [model.__tablename__ for model in ALL]

    def unreadable(self, table: str) -> Iterator[tuple[str, str]]:
        """Read every value of every row of a table; yield the key of each row that cannot be read, and the reason."""
        model = next(model for model in ALL if model.__tablename__ == table)
        for start in range(0, self._count(model), SCAN_ROWS):
            page = select(table_of(model)).order_by(key_of(model)).limit(SCAN_ROWS).offset(start)
            for row in self._tables.rows_with_arrays(page):
                problem = _problem(model, row)
                if problem:
                    yield row[key_of(model).name], problem


def _problem(model: Model, row: dict[str, Any]) -> str | None:
    """Return why a row cannot be read or its arrays do not fit together; None for a row without problems."""
    try:
        for column in table_of(model).columns:
            if isinstance(column.type, JSON) and row[column.name] is not None:
                parse_json(row[column.name], column.name)
        if model is not PredictionArrays:
            return None
        arrays = {name: array for name, array in decode_all(row).items() if array is not None and name != "weights"}
    except StoreError as error:
        return str(error)
    lengths = sample_counts(arrays)
    samples = lengths.get("y_true", lengths.get("y_pred", 0))
    if row["layout"] is None and samples and lengths.get("y_proba", 0) % samples == 0:
        lengths.pop("y_proba", None)  # nirs4all stores it as one flat list of all rows.
    return f"its arrays differ in length: {lengths}" if len({*lengths.values()}) > 1 else None
