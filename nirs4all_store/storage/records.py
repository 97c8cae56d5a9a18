"""Records to store: a prediction, a chain, a log line. Each field is a column of its table.

The repositories take records, and bundles take the names of their fields from here. So a field that is added here is
exported and imported, too. Its default must be None, since older callers and bundles do not have it. The whole way of a
new column: docs/how-to/add-a-column.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass
class Record:
    """The base of the records. They are not frozen, since that would make a save a tenth slower."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return a record with these values by name; the other fields are None."""
        return cls(**{**dict.fromkeys(cls.__dataclass_fields__), **values})

    def row(self) -> dict[str, Any]:
        """Return the values of the record as a dict by name."""
        return vars(self).copy()


@dataclass(kw_only=True)
class PredictionRecord(Record):
    """A row of `predictions`; `WorkspaceStore.save_prediction` explains its fields."""

    prediction_id: str | None = None
    pipeline_id: str
    chain_id: str | None
    dataset_name: str
    model_name: str
    model_class: str
    fold_id: str
    partition: str
    val_score: float | None
    test_score: float | None
    train_score: float | None
    metric: str
    task_type: str
    n_samples: int | None
    n_features: int | None
    scores: Mapping[str, Any] | None
    best_params: Mapping[str, Any] | None
    preprocessings: str | None
    branch_id: int | None
    branch_name: str | None
    exclusion_count: int | None
    exclusion_rate: float | None
    refit_context: str | None


@dataclass(kw_only=True)
class ChainRecord(Record):
    """A row of `chains`; `WorkspaceStore.save_chain` explains its fields."""

    chain_id: str | None = None
    pipeline_id: str
    steps: Sequence[Mapping[str, Any]]
    model_step_idx: int
    model_class: str
    preprocessings: str | None
    fold_strategy: str | None
    fold_artifacts: Mapping[str, Any] | None
    shared_artifacts: Mapping[str, Any] | None
    branch_path: Sequence[int] | None
    source_index: int | None


@dataclass(kw_only=True)
class LogRecord(Record):
    """A row of `logs`; `WorkspaceStore.log_step` explains its fields."""

    pipeline_id: str
    step_idx: int
    operator_class: str | None
    event: str
    duration_ms: float | None
    message: str | None
    details: Any
    level: str
