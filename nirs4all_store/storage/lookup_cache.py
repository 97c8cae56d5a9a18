"""Results of look-ups of committed rows, kept so that the database need not be asked again.

See docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_CACHED = 10_000

CacheKey = tuple[str, str]
"""What was looked up, such as a table, and which of its rows."""


class LookupCache:
    """Which rows there are in an open workspace, and which there are not.

    While a workspace is open, this process alone writes to it, one unit of work at a time. What one of them looked up
    and committed stays true until one deletes rows or hands its session out.

    Attributes
    ----------
    epoch : int
        Another number after each `invalidate`: what was read under the same number is still there.
    """

    def __init__(self) -> None:
        self._entries: dict[CacheKey, Any] = {}
        self.epoch = 0

    def get(self, key: CacheKey) -> Any:
        """Return what was found: False if there is no such row; None if it was not looked up."""
        return self._entries.get(key)

    def put(self, entries: Mapping[CacheKey, Any]) -> None:
        """Add what a unit of work has looked up and committed."""
        if len(self._entries) + len(entries) > MAX_CACHED:
            self._entries.clear()
        self._entries.update(entries)

    def invalidate(self) -> None:
        """Drop all entries: rows may be gone."""
        self._entries.clear()
        self.epoch += 1
