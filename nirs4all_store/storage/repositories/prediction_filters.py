"""Makes the conditions of a WHERE clause of filters of predictions, each of which takes one value or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, bindparam, or_, select

from ...errors import InvalidInputError, InvalidTypeError
from ...validation import checked_fold, checked_text, type_text
from ..columns import checked_value, table_of
from ..models import Pipeline, Prediction

PREDICTIONS, PIPELINES = table_of(Prediction), table_of(Pipeline)
OF_PIPELINES = ("run_id", "dataset_id")
FILTERS = (
    "dataset_name",
    "model_name",
    "model_class",
    "preprocessings",
    "partition",
    "fold_id",
    "branch_id",
    "pipeline_id",
    "chain_id",
    "metric",
    "task_type",
    "refit_context",
    *OF_PIPELINES,
)


Shape = tuple[tuple[str, int], ...]
"""Which filters there are, and of how many values: statements that have the same differ in nothing but their values."""


def bound(filters: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """Return the shape of filters, and their values by the names of the bound parameters of `conditions`.

    Parameters
    ----------
    filters : mapping
        One value, or an iterable of values of which one must match, by a name of `FILTERS`; None is no filter, and of
        no values none matches. `model_class` may hold `%` and `_`, as in LIKE.

    Raises
    ------
    InvalidTypeError
        There is no such filter, or a value has another type than its column.
    InvalidInputError
        A value does not fit its column.
    """
    unknown = [name for name in filters if name not in FILTERS]
    if unknown:
        raise InvalidTypeError(f"there is no filter {', '.join(unknown)}; use some of {', '.join(FILTERS)}")
    given = {name: _checked(values, name) for name, values in filters.items() if values is not None}
    shape = tuple((name, len(values)) for name, values in given.items())
    return shape, {f"{name}_{place}": value for name, values in given.items() for place, value in enumerate(values)}


def conditions(shape: Shape) -> list[ColumnElement[bool]]:
    """Return the conditions of filters, of which all must hold, with a bound parameter for each of their values."""
    return [_condition(name, [bindparam(f"{name}_{place}") for place in range(count)]) for name, count in shape]


def values_of(given: Any, name: str) -> list[Any]:
    """Return one value, or several, as a list.

    Raises
    ------
    InvalidInputError
        One of several values is None.
    InvalidTypeError
        It is neither.
    """
    if isinstance(given, str | int | np.generic):
        return [given]
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"{name} must be one value or a list of values, not {type_text(given)}")
    values = [*given]
    if any(value is None for value in values):
        raise InvalidInputError(f"{name} has None among its values; leave the filter out, or give values")
    return values


def _checked(given: Any, name: str) -> list[Any]:
    values = values_of(given, name)
    if name == "fold_id":
        values = [checked_fold(value, name) for value in values]
    if name == "model_class":
        return [checked_text(value, name) for value in values]
    column = (PIPELINES if name in OF_PIPELINES else PREDICTIONS).c[name]
    return [checked_value(column, value) for value in values]


def _condition(name: str, values: list[Any]) -> ColumnElement[bool]:
    if name == "model_class":
        return or_(False, *(PREDICTIONS.c.model_class.like(value) for value in values))
    if name in OF_PIPELINES:
        among = select(PIPELINES.c.pipeline_id).where(_one_of(PIPELINES.c[name], values))
        return PREDICTIONS.c.pipeline_id.in_(among)
    return _one_of(PREDICTIONS.c[name], values)


def _one_of(column: Any, values: list[Any]) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = column == values[0] if len(values) == 1 else column.in_(values)
    return condition
