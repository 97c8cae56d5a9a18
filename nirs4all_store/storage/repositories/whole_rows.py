"""Adds rows as another workspace has them: with the ids, times and states that they have there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import String, select

from ...errors import InvalidInputError
from ..array_columns import ARRAY_NAMES, checked_arrays, encode_all
from ..columns import Model, checked_value, key_of, table_of
from ..models import PredictionArrays
from ..table_gateway import Repository


class WholeRows(Repository):
    """Adds rows that come from another workspace, inside one unit of work."""

    def known(self, model: Model, keys: Iterable[str]) -> set[str]:
        """Return those of some keys that rows of a table have."""
        key, keys = key_of(model), list(keys)
        if not keys:
            return set()
        return {row[key.name] for row in self._tables.rows(select(key).where(key.in_(keys)))}

    def others(self, model: Model, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
        """Return the keys of rows that are here with another value in one of some columns; no value equals any."""
        key, given = key_of(model), {row[key_of(model).name]: row for row in rows}
        if not given:
            return []
        query = select(key, *(table_of(model).c[name] for name in columns)).where(key.in_(given))
        return [
            row[key.name]
            for row in self._tables.rows(query)
            if any(_is_other(row[name], given[row[key.name]][name]) for name in columns)
        ]

    def add(self, model: Model, row: Mapping[str, Any]) -> str:
        """Add a row whose key no other row has, as `known` tells; return its key.

        Raises
        ------
        InvalidInputError
            A value does not fit its column.
        """
        self._tables.add_new(model, row)
        return str(row[key_of(model).name])

    def fitting(self, model: Model, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a row with the values that fit their columns, and apart from it those that do not."""
        kept, odd = dict(row), {}
        for column in table_of(model).columns:
            try:
                checked_value(column, row.get(column.name))
            except InvalidInputError:
                odd[column.name] = row.get(column.name)
                kept[column.name] = None if column.nullable else "" if isinstance(column.type, String) else 0
        return kept, odd

    def change(self, model: Model, key: str, values: Mapping[str, Any]) -> None:
        """Set columns of a row that has changed where it comes from."""
        self._tables.update(model, key, **values)
        self._tables.lookups.invalidate()  # A chain that was loaded would predict as before.

    def add_arrays(self, prediction_id: str, arrays: Mapping[str, Any]) -> None:
        """Add the arrays of a prediction that has none.

        Other than `PredictionRepo.add_arrays`, which takes what a program gives, it asks nothing of the weights:
        nirs4all stores one for each fold, also where the chain of these folds is gone.
        """
        checked = {name: checked_arrays(arrays.get(name), name) for name in ARRAY_NAMES}
        self._tables.add_encoded(
            PredictionArrays, prediction_id, encode_all(checked) | {"prediction_id": prediction_id}
        )


def _is_other(one: Any, other: Any) -> bool:
    """Tell whether two values differ; NaN, which equals nothing, is no value."""
    return None not in (one, other) and one != other and one == one and other == other
