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


class Lookups:
    """What one unit of work has looked up itself, before what those before it have.

    Parameters
    ----------
    committed : LookupCache, optional
        What those before it have looked up, to which its own is added at its commits; nothing by default.

    Attributes
    ----------
    may_lack_rows : bool
        Whether rows may be gone that were there when the transaction began.
    is_off : bool
        Whether nothing is kept any more.
    """

    def __init__(self, committed: LookupCache | None) -> None:
        self.may_lack_rows = False
        self.is_off = False
        self._committed = committed
        self._own: dict[CacheKey, Any] = {}

    def get(self, key: CacheKey) -> Any:
        """Return what was found before; None if it was not looked up, or may not be true any more."""
        value = self._own.get(key)
        if value is None and self._committed is not None and not self.may_lack_rows:
            value = self._committed.get(key)
        return value

    def put(self, key: CacheKey, value: Any) -> None:
        """Keep what was found, so that the database need not be asked again; False: there is no such row."""
        if self.is_off:
            return
        if len(self._own) >= MAX_CACHED:
            self.invalidate()
        self._own[key] = value

    def invalidate(self) -> None:
        """Use no entry that was made so far: rows may have been deleted."""
        self.may_lack_rows = True
        self._own.clear()

    def turn_off(self) -> None:
        """Keep nothing from now on: somebody else may use the session."""
        self.is_off = True
        self.invalidate()

    def commit(self) -> None:
        """Give what is known to the units of work to come; `roll_back` follows."""
        if self._committed is not None:
            if self.may_lack_rows:
                self._committed.invalidate()
            self._committed.put(self._own)

    def roll_back(self) -> None:
        """Forget what the transaction has looked up, which has ended."""
        self._own.clear()
        self.may_lack_rows = self.is_off
