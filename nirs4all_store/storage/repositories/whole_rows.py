"""Adds rows as another workspace has them: with the ids, times and states that they have there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select

from ..array_columns import checked_arrays, encode_all
from ..columns import Model, key_of
from ..models import PredictionArrays
from ..table_gateway import Repository


class WholeRows(Repository):
    """Adds rows that come from another workspace, inside one unit of work."""

    def known(self, model: Model, keys: Iterable[str]) -> set[str]:
        """Return those of some keys that rows of a table have."""
        key = key_of(model)
        return {row[key.name] for row in self._tables.rows(select(key).where(key.in_(list(keys))))}

    def add(self, model: Model, row: Mapping[str, Any]) -> str:
        """Add a row; return its key.

        Raises
        ------
        DuplicateError
            A row has this key.
        InvalidInputError
            A value does not fit its column.
        """
        self._tables.add(model, row)
        return str(row[key_of(model).name])

    def add_arrays(self, prediction_id: str, arrays: Mapping[str, Any]) -> None:
        """Add the arrays of a prediction that has none.

        Other than `PredictionRepo.add_arrays`, which takes what a program gives, it asks nothing of the weights:
        nirs4all stores one for each fold, also where the chain of these folds is gone.
        """
        checked = {name: checked_arrays(value, name) for name, value in arrays.items()}
        self._tables.add_encoded(
            PredictionArrays, prediction_id, encode_all(checked) | {"prediction_id": prediction_id}
        )
