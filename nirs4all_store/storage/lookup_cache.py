"""`LookupCache` keeps results of look-ups of committed rows; `Lookups` adds those of one unit of work.

Why a cached result stays true, and when it is dropped: docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_CACHED = 10_000

CacheKey = tuple[str, str]
"""What was looked up: a table (or another kind of look-up), and a key in it."""


class LookupCache:
    """Results of look-ups in an open workspace: which rows exist, and which do not.

    While the database is open, only this process writes to it, one unit of work at a time. So a result of a committed
    unit of work stays true until another one deletes rows or gives its session to a user.

    Attributes
    ----------
    epoch : int
        The number of calls of `invalidate`. What was read under the same number still exists.
    """

    def __init__(self) -> None:
        self._entries: dict[CacheKey, Any] = {}
        self.epoch = 0

    def get(self, key: CacheKey) -> Any:
        """Return the cached result; False if there is no such row, and None if it was not looked up."""
        return self._entries.get(key)

    def put(self, entries: Mapping[CacheKey, Any]) -> None:
        """Add the results of a unit of work that has committed."""
        if len(self._entries) + len(entries) > MAX_CACHED:
            self._entries.clear()
        self._entries.update(entries)

    def invalidate(self) -> None:
        """Drop all results, since rows may have been deleted."""
        self._entries.clear()
        self.epoch += 1


class Lookups:
    """The results of look-ups that one unit of work sees: its own, and the cached ones.

    Parameters
    ----------
    committed : LookupCache, optional
        The cache of the workspace. The own results are added to it at a commit. By default there is none.

    Attributes
    ----------
    may_lack_rows : bool
        Whether rows may have been deleted since the transaction began, so that the cache is not used.
    is_off : bool
        Whether results are not kept any more.
    """

    def __init__(self, committed: LookupCache | None) -> None:
        self.may_lack_rows = False
        self.is_off = False
        self._committed = committed
        self._own: dict[CacheKey, Any] = {}

    def get(self, key: CacheKey) -> Any:
        """Return the result of an earlier look-up; None if there is none, or if it may not be true any more."""
        value = self._own.get(key)
        if value is None and self._committed is not None and not self.may_lack_rows:
            value = self._committed.get(key)
        return value

    def put(self, key: CacheKey, value: Any) -> None:
        """Keep the result of a look-up; False means that there is no such row."""
        if self.is_off:
            return
        if len(self._own) >= MAX_CACHED:
            self.invalidate()
        self._own[key] = value

    def invalidate(self) -> None:
        """Drop the own results and stop using the cache, since rows may have been deleted."""
        self.may_lack_rows = True
        self._own.clear()

    def turn_off(self) -> None:
        """Keep no results from now on, since a user may do anything with the session."""
        self.is_off = True
        self.invalidate()

    def commit(self) -> None:
        """Add the own results to the cache, after a commit; call `roll_back` then."""
        if self._committed is not None:
            if self.may_lack_rows:
                self._committed.invalidate()
            self._committed.put(self._own)

    def roll_back(self) -> None:
        """Drop the own results, since the transaction has ended."""
        self._own.clear()
        self.may_lack_rows = self.is_off
