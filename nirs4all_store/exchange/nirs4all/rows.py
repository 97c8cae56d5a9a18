"""Turns rows of nirs4all into rows of our tables, and says what has no column here."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from sqlalchemy import JSON, DateTime, Integer, String

from ...storage import Base, Chain, Log, Pipeline, Prediction, Run
from .json_text import decoded
from .source import ODD, Source

Row = dict[str, Any]
Model = type[Base]
FINAL = "final"
ZERO_IF_UNKNOWN = ("val_score",)
"""Scores that up to 0.8 nirs4all fills with 0.0 where there is none: they would win each ranking by RMSE."""
COMPUTED: dict[Model, frozenset[str]] = {
    Run: frozenset({"project_id"}),
    Pipeline: frozenset(),
    Chain: frozenset(
        {"model_name", "metric", "task_type", "best_params", "dataset_name", "cv_val_score", "cv_test_score"}
        | {"cv_train_score", "cv_fold_count", "cv_scores", "final_test_score", "final_train_score", "final_scores"}
        | {"final_agg_test_score", "final_agg_train_score", "final_agg_scores"}
    ),
    Prediction: frozenset(),
    Log: frozenset(),
}
"""Columns that say again what other rows say: a project is a label here, and scores of chains are computed."""


def own_row(model: Model, row: Row, source: Source, created_at: Any) -> tuple[Row, Row]:
    """Return a row for one of our tables, and the values of its columns that are no JSON or no time.

    Parameters
    ----------
    model : type
        The mapped class.
    row : dict
        Of nirs4all's table of the same name.
    source : Source
    created_at : datetime
        Where it has none: that of what it belongs to.
    """
    found: Row = {}
    odd: Row = {}
    for name, kind, instead in _columns(model):
        given = value = row.get(name)
        if kind is JSON:
            try:
                value = decoded(given)
            except (ValueError, RecursionError):
                value, odd[name] = None, given
        elif kind is DateTime and given is not None:
            value = source.time(given)
            odd |= {} if value is not None or given == "" else {name: given}
        found[name] = value if value is not None or instead is None else created_at if instead is DateTime else instead
    return found, odd


@cache
def _columns(model: Model) -> list[tuple[str, Any, Any]]:
    """Return the name and kind of each column, and what stands instead of NULL in one that may not be NULL."""
    kinds: dict[Any, Any] = {JSON: None, DateTime: DateTime, Integer: 0, String: ""}
    found = []
    for column in model.__table__.columns:
        kind = next((one for one in kinds if isinstance(column.type, one)), None)
        found.append((column.name, kind, None if column.nullable else kinds.get(kind)))
    return found


@cache
def _known(model: Model) -> frozenset[str]:
    return frozenset(column.name for column in model.__table__.columns) | COMPUTED[model]


def without_zeros(row: Row) -> Row:
    """Return a prediction of a final model without a `val_score` of 0.0: it was judged by no validation samples."""
    is_zero = row["fold_id"].startswith(FINAL) and row["val_score"] == 0.0
    return row | (dict.fromkeys(ZERO_IF_UNKNOWN) if is_zero else {})


def without_best(row: Row) -> Row:
    """Return a pipeline that only fits a final model without a `best_val` of 0.0."""
    is_zero = REFIT.fullmatch(row["name"]) and row["best_val"] == 0.0
    return row | ({"best_val": None} if is_zero else {})


REFIT = re.compile(r"(?P<first>.+?)(?P<over_models>_stacking)?_refit(?:_(?P<part>.+))?")
"""How a pipeline is called that fits the final models of another one, in the same run.

`<first>_refit`, `<first>_refit_<by what it was chosen>`, or `pipeline_stacking_refit_base_0` and `..._meta`.
"""


def left_over(model: Model, row: Row, more: Row | None = None) -> str | None:
    """Return, as JSON text, what a row says for which our table has no column; None if that is nothing."""
    known = _known(model) | {ODD}
    rest = {name: value for name, value in row.items() if name not in known and value is not None} | (more or {})
    return json.dumps(rest, default=str, ensure_ascii=False, sort_keys=True) if rest else None
