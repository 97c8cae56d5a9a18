"""How much a pickle may make its reader do: a few bytes can ask for more than any machine does in a year.

A tuple that holds one tuple twice, which holds one twice, and so on: 200 bytes are 2**30 values to hash or to compare.
So it is work that is counted, with every value as often as it is met, and what it may come to depends on the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

MAX_NESTED_KEY = 20
"""Tuples in tuples without end would end the process when they are hashed."""
UNITS = 100_000
UNITS_A_BYTE = 16
# Python hashes text and bytes once, and nobody can foresee how; ints below this all have hashes of their own.
_HASHED_ONCE = (str, bytes, bool, type(None))
_SMALL = 2**61 - 1
_BITS_A_UNIT = 60


class TooMuchWorkError(Exception):
    """What was read makes more work than its size accounts for."""


class WorkLimit:
    """What is left to do for something of a size in bytes: a value that is hashed or copied is a unit."""

    def __init__(self, size: int) -> None:
        self._left = UNITS + UNITS_A_BYTE * size
        # By identity, with the values themselves, so that no other one gets the identity.
        self._measured: dict[int, tuple[Any, int, int]] = {}
        self._hashes: dict[int, tuple[Any, Counter[int]]] = {}

    def spend(self, units: int) -> None:
        """Take units away.

        Raises
        ------
        TooMuchWorkError
            There are not so many left.
        """
        self._left -= units
        if self._left < 0:
            raise TooMuchWorkError("makes more work than anything of its size should")

    def hash(self, target: Any, keys: Iterable[Any]) -> None:
        """Count what it takes to put keys into a dict or set: to hash each, and to compare it with those of its hash.

        Raises
        ------
        TooMuchWorkError
            It is too much, or a key has too many levels.
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
        """Return how many units a value is, each part as often as it is in it, and how many levels it has."""
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
