"""Refuses what stands for more values than there is memory or time: in few bytes of YAML, of lists, or of a view."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Any

import numpy as np

from ..errors import InvalidInputError

MAX_JSON_DEPTH = 200
# Each as often as it is met: a list that holds one list ten times, which holds one ten times, and so on, is soon more.
MAX_VALUES = 2_000_000
MAX_CHARACTERS = 2**28

Inside = Callable[[Any], Collection[Any]]
"""Gives what is in an object that is neither a list nor a dict."""


def refuse_endless(value: Any, where: str, inside: Inside = lambda _: ()) -> None:
    """Refuse a value of lists and dicts that has too many others in it, each as often as it is met, or itself.

    It takes as long as there are different ones.

    Parameters
    ----------
    value : object
    where : str
        The beginning of the key path in a message.
    inside : callable, optional

    Raises
    ------
    InvalidInputError
        The message names the key path.
    """
    _measure(value, where, 0, inside, {})


def inside_of(value: Any) -> Collection[Any]:
    """Return what an array of objects, or a member of an enum, has in it."""
    if isinstance(value, Enum):
        return [value.value]
    is_short = isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.size <= MAX_VALUES
    return np.ravel(value).tolist() if is_short else ()


def _measure(
    value: Any, where: str, depth: int, inside: Inside, known: dict[int, tuple[int, int, Any]]
) -> tuple[int, int]:
    """Return how many values are in one, and how deep.

    `known` are those of others, with their parts: an id is only theirs as long as they live.
    """
    if value is None or type(value) in (str, int, float, bool):
        return 0, 0
    count, height, _ = known.get(id(value), (0, -1, None))
    if depth + max(height, 0) > MAX_JSON_DEPTH:
        raise too_deep(where)
    if height < 0:
        if isinstance(value, Mapping):
            parts: Any = [(f"{where}.{key}" if isinstance(key, str) else where, item) for key, item in value.items()]
        else:
            several = value if isinstance(value, list | tuple | set | frozenset) else inside(value)
            parts = [(f"{where}[{i}]", item) for i, item in enumerate(several)]
        found = [_measure(item, path, depth + 1, inside, known) for path, item in parts]
        count = len(found) + sum(inner for inner, _ in found)
        height = 1 + max((levels for _, levels in found), default=-1)
        known[id(value)] = count, height, (value, parts)
    if count > MAX_VALUES:
        raise too_many(where)
    return count, height


def check_size(array: np.ndarray[Any, Any], where: str) -> None:
    """Refuse an array that is too long as a list: a view of one number may say that it is millions of millions.

    Raises
    ------
    InvalidInputError
        It has too many values, or lists of none, or too much text.
    """
    if sum(math.prod(array.shape[:i]) for i in range(1, array.ndim + 1)) > MAX_VALUES:
        raise too_many(where)
    if array.nbytes > MAX_CHARACTERS:
        raise too_long(where)


def too_long(where: str) -> InvalidInputError:
    """Return the error for too much text."""
    return InvalidInputError(f"with {where:.200} there are more than {MAX_CHARACTERS:,} characters; give less")


def too_many(where: str) -> InvalidInputError:
    """Return the error for too many values."""
    return InvalidInputError(
        f"{where:.200} has more than {MAX_VALUES:,} values, each as often as it is met; give less, or numbers as "
        "arrays of a prediction"
    )


def too_deep(where: str) -> InvalidInputError:
    """Return the error for too many levels."""
    return InvalidInputError(f"{where[:80]}... is nested deeper than {MAX_JSON_DEPTH} levels, or holds itself")


def refuse_deep(value: Any, name: str, most: int = 2) -> None:
    """Refuse lists in lists before numpy makes an array of them: with one list in many places, that has no end."""
    inner = value
    for _ in range(4):
        if not isinstance(inner, list | tuple) or not inner:
            return
        inner = inner[0]
    raise InvalidInputError(f"{name} is lists in lists, more than 3 deep; give an array of up to {most} dimensions")
