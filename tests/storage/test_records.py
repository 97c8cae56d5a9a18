"""Records: what is given to be stored has a field for each column, and the facade gives them all."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from inspect import signature
from typing import Any

import pytest

from nirs4all_store import ChainRecord, LogRecord, PredictionRecord, WorkspaceStore
from nirs4all_store.storage import Base, Chain, Log, Prediction, Record

MADE_HERE = {"created_at", "log_id"}
RECORDS: list[tuple[type[Record], type[Base], Callable[..., Any]]] = [
    (PredictionRecord, Prediction, WorkspaceStore.save_prediction),
    (ChainRecord, Chain, WorkspaceStore.save_chain),
    (LogRecord, Log, WorkspaceStore.log_step),
]


@pytest.mark.parametrize(("record", "model", "method"), RECORDS)
def test_a_record_has_a_field_for_each_column_in_their_order(
    record: type[Record], model: type[Base], method: Callable[..., Any]
) -> None:
    columns = [column.name for column in model.__table__.columns if column.name not in MADE_HERE]
    assert [field.name for field in fields(record)] == columns


@pytest.mark.parametrize(("record", "model", "method"), RECORDS)
def test_the_facade_gives_each_field_that_has_no_default(
    record: type[Record], model: type[Base], method: Callable[..., Any]
) -> None:
    parameters = {*signature(method).parameters} - {"self"}
    needed = {field.name for field in fields(record) if field.default is MISSING}
    assert needed <= parameters <= {field.name for field in fields(record)}


def test_a_record_is_made_of_what_is_given() -> None:
    record = ChainRecord.of({"pipeline_id": "p", "steps": [], "model_step_idx": 0, "model_class": "m"})
    assert (record.row()["model_class"], record.fold_strategy, record.chain_id) == ("m", None, None)
    with pytest.raises(TypeError, match="colour"):
        ChainRecord.of({"colour": "red"})
