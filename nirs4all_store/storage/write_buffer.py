"""`WriteBuffer` collects the new rows of a transaction, so that many of them are inserted at once.

Why: docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .columns import PARENTS_FIRST, Model

MAX_WAITING_BYTES = 64 * 2**20
ROW_BYTES = 1024
"""Roughly how many bytes of memory a row takes while it waits, beside its arrays and text."""

Rows = dict[str, dict[str, Any]]
"""Rows of one table, as they are stored, by their primary keys."""


class WriteBuffer:
    """The rows of one transaction that wait to be inserted."""

    def __init__(self) -> None:
        self._rows: dict[Model, Rows] = {model: {} for model in PARENTS_FIRST}
        self._bytes = 0

    def add(self, model: Model, key: str, row: dict[str, Any]) -> None:
        """Add a row that waits to be inserted; it replaces a waiting row with the same key."""
        self._rows[model][key] = row
        self._bytes += _bytes_of(row)

    def has(self, model: Model, key: str) -> bool:
        """Tell whether a row with this key waits."""
        return key in self._rows[model]

    @property
    def is_empty(self) -> bool:
        """Whether no row waits."""
        return self._bytes == 0

    @property
    def is_full(self) -> bool:
        """Whether the waiting rows take more than `MAX_WAITING_BYTES` of memory."""
        return self._bytes > MAX_WAITING_BYTES

    def tables(self) -> Iterator[tuple[Model, Rows]]:
        """Yield the waiting rows of each table, parents before children, and remove them.

        The rows of a table are removed when the next table is asked for, so that they stay if their insert fails.
        """
        for model, rows in self._rows.items():
            if rows:
                yield model, rows
                rows.clear()
        self._bytes = 0

    def clear(self) -> None:
        """Drop all waiting rows."""
        for rows in self._rows.values():
            rows.clear()
        self._bytes = 0


def _bytes_of(row: Mapping[str, Any]) -> int:
    """Return roughly how many bytes of memory a row takes."""
    size = ROW_BYTES
    for value in row.values():
        kind = type(value)
        if kind is str:
            size += len(value)
        elif kind is np.ndarray:
            size += value.nbytes
        elif kind is list:
            size += ROW_BYTES * len(value) // 16
    return size
