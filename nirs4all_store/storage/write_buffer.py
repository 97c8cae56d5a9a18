"""Rows that wait, so that many of them are inserted at a time.

See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .columns import PARENTS_FIRST, Model

MAX_WAITING_BYTES = 64 * 2**20
ROW_BYTES = 1024
"""What a waiting row takes beside its arrays, roughly."""

Rows = dict[str, dict[str, Any]]
"""Rows of one table, as the database keeps them, by their keys."""


class WriteBuffer:
    """The rows of one transaction that wait for their insert."""

    def __init__(self) -> None:
        self._rows: dict[Model, Rows] = {model: {} for model in PARENTS_FIRST}
        self._bytes = 0

    def add(self, model: Model, key: str, row: dict[str, Any]) -> None:
        """Let a row wait; it takes the place of one with the same key."""
        self._rows[model][key] = row
        self._bytes += _bytes_of(row)

    def has(self, model: Model, key: str) -> bool:
        """Tell whether a row waits."""
        return key in self._rows[model]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._bytes == 0

    @property
    def is_full(self) -> bool:
        """Whether what waits takes too much memory."""
        return self._bytes > MAX_WAITING_BYTES

    def tables(self) -> Iterator[tuple[Model, Rows]]:
        """Yield the rows of each table that has some, parents first; each table's go when the next one is asked for."""
        for model, rows in self._rows.items():
            if rows:
                yield model, rows
                rows.clear()
        self._bytes = 0

    def clear(self) -> None:
        """Drop all that waits."""
        for rows in self._rows.values():
            rows.clear()
        self._bytes = 0


def _bytes_of(row: Mapping[str, Any]) -> int:
    """Return roughly what a row takes while it waits."""
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
