"""Bounds the work of loading a pickle: a few bytes can ask for more work than a machine does in a year.

For example, a tuple that has the same tuple as both its items, which again has one tuple twice, and so on: 200 bytes
stand for 2**30 values to hash or compare. So values are counted each time that they are hashed or copied, and the limit
depends on the size of the pickle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

MAX_NESTED_KEY = 20
"""How many tuples may be inside each other in a key. Hashing very deep ones ends the process (stack overflow)."""
UNITS = 100_000
UNITS_A_BYTE = 16
# Python hashes a text or bytes only once, with a random seed, so that nobody can make equal hashes. Ints below _SMALL
# have different hashes.
_HASHED_ONCE = (str, bytes, bool, type(None))
_SMALL = 2**61 - 1
_BITS_A_UNIT = 60


class TooMuchWorkError(Exception):
    """A pickle makes more work than one of its size may."""


class WorkLimit:
    """The work that is left for a pickle. One unit is a value that is hashed or copied.

    Parameters
    ----------
    size : int
        The size of the pickle, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = UNITS + UNITS_A_BYTE * size
        # By `id`, with the values themselves, so that no other object gets the same `id`.
        self._measured: dict[int, tuple[Any, int, int]] = {}
        self._hashes: dict[int, tuple[Any, Counter[int]]] = {}

    def spend(self, units: int) -> None:
        """Count work that is done.

        Raises
        ------
        TooMuchWorkError
            Fewer than `units` are left.
        """
        self._left -= units
        if self._left < 0:
            raise TooMuchWorkError("makes more work than anything of its size should")

    def hash(self, target: Any, keys: Iterable[Any]) -> None:
        """Count the work of putting keys into a dict or set: to hash each key, and to compare it with equal hashes.

        Parameters
        ----------
        target : dict or set
        keys : iterable

        Raises
        ------
        TooMuchWorkError
            It is too much work, or a key has too many tuples inside each other.
        """
        for key in keys:
            if type(key) in _HASHED_ONCE or (type(key) is int and -_SMALL < key < _SMALL):
                continue
            units, _ = self._measure(key, 0)
            self.spend(units)
            found = self._hashes.setdefault(id(target), (target, Counter()))[1]
            value = hash(key)
            self.spend(units * found[value])
            found[value] += 1

    def _measure(self, value: Any, depth: int) -> tuple[int, int]:
        """Return the units of a value, with each part as often as it occurs, and how many levels it has."""
        if not isinstance(value, tuple | frozenset):
            return _units(value), 0
        known = self._measured.get(id(value))
        if known is None:
            if depth > MAX_NESTED_KEY:
                raise TooMuchWorkError("has a key of tuples in tuples")
            parts = [self._measure(part, depth + 1) for part in value]
            height = 1 + max((levels for _, levels in parts), default=0)
            known = self._measured[id(value)] = value, 1 + sum(units for units, _ in parts), height
        _, units, height = known
        if depth + height > MAX_NESTED_KEY:
            raise TooMuchWorkError("has a key of tuples in tuples")
        return units, height


def _units(value: Any) -> int:
    if isinstance(value, slice):
        return sum(_units(limit) for limit in (value.start, value.stop, value.step))
    if isinstance(value, np.generic):
        return 1 + value.nbytes
    return 1 + (value.bit_length() // _BITS_A_UNIT if isinstance(value, int) else 0)
