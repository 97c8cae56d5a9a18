"""Alternatives in a configuration (`_or_`, `_range_`) and all combinations of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidInputError
from ..validation import did_you_mean, shown
from .operators import describe

OR, RANGE = "_or_", "_range_"
# How exactly a range must hit its end for the end to be in it.
NEARLY = 1e-9
MOST_PIPELINES = 100_000
# Of all pipelines together.
MOST_VALUES = 20_000_000
MOST_DIGITS = 15
MOST = 1e300
# Steps of a range have the digits that one would write.
DIGITS = 12
Alternative = tuple[Any, list[dict[str, Any]]]
"""A value in which every choice is made, and the choices."""


class _Size(NamedTuple):
    """How many alternatives a value has, and how many values all of them have together."""

    alternatives: int
    values: int


def size_of(value: Any, known: dict[int, _Size]) -> _Size:
    """Return the size of a value without making its alternatives; for invalid parts of it, any size.

    `known` has the sizes of parts that were computed before: with YAML's aliases, one part may be in many places.
    """
    if not isinstance(value, Mapping | list):
        return _Size(1, 1)
    if id(value) not in known:
        if isinstance(value, Mapping) and isinstance(value.get(OR), range):
            size = _Size(len(value[OR]), len(value[OR]))
        elif isinstance(value, Mapping) and isinstance(_listed(value.get(OR)), list):
            parts = [size_of(item, known) for item in _listed(value[OR])]
            size = _Size(sum(part.alternatives for part in parts), sum(part.values for part in parts))
        elif isinstance(value, Mapping) and RANGE in value:
            steps = max(1, _steps_of(_listed(value[RANGE])))
            size = _Size(steps, steps)
        else:
            parts = [size_of(item, known) for item in (value.values() if isinstance(value, Mapping) else value)]
            count = math.prod(part.alternatives for part in parts)
            size = _Size(
                count, count + sum(part.values * (count // part.alternatives) for part in parts if part.alternatives)
            )
        known[id(value)] = _Size(*(min(number, 10**MOST_DIGITS) for number in size))
    return known[id(value)]


def count_text(count: int) -> str:
    """Return a number of pipelines as text; of a huge one, how many digits it has."""
    return f"{count:,}" if count < 10**MOST_DIGITS else f"more than 10^{MOST_DIGITS}"


def alternatives_of(value: Any, where: str) -> Iterator[Alternative]:
    """Yield each value that a part of a configuration stands for, with the choices that lead to it."""
    if isinstance(value, Mapping) and (OR in value or RANGE in value):
        yield from _choices(value, where)
    elif isinstance(value, Mapping):
        _refuse_no_generator(value, where)
        for chosen, choices in _products(list(value.values()), where):
            yield dict(zip(value, chosen, strict=True)), choices
    elif isinstance(value, list):
        yield from _products(value, where)
    else:
        yield value, []


def _products(values: Sequence[Any], where: str) -> Iterator[Alternative]:
    for chosen in itertools.product(*(list(alternatives_of(value, where)) for value in values)):
        yield [value for value, _ in chosen], [choice for _, choices in chosen for choice in choices]


def _refuse_no_generator(value: Mapping[Any, Any], where: str) -> None:
    """Refuse a dict of one key that is written as those of alternatives are, or nearly so, and is none."""
    key = next(iter(value)) if len(value) == 1 else None
    if not isinstance(key, str) or "_" not in (key[:1], key[-1:]):
        return
    near = did_you_mean(key, (OR, RANGE))
    if near or key[:1] == key[-1:]:
        raise InvalidInputError(f"{where}: {key!r:.200} makes no alternatives{near or f'; write {OR} or {RANGE}'}")


def _choices(value: Mapping[str, Any], where: str) -> Iterator[Alternative]:
    if len(value) > 1:
        raise InvalidInputError(f"{where} has {sorted(map(str, value))} in one place; give {OR} or {RANGE} alone")
    ((key, given),) = value.items()
    items = list(given) if key == OR and isinstance(given, range) else _listed(given)
    if not isinstance(items, list) or not items:
        raise InvalidInputError(f"{where}: {key} needs a list, not {shown(given)}")
    for item in _range(items, where) if key == RANGE else items:
        for chosen, choices in alternatives_of(item, where):
            yield chosen, [{key: describe(chosen)}, *choices]


def _listed(given: Any) -> Any:
    """Return a list with Python's own numbers, also of a tuple or an array; anything else as it is."""
    if isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim):
        return [item.item() if isinstance(item, np.generic) else item for item in given]
    return given


def _range(given: Sequence[Any], where: str) -> list[Any]:
    count = _steps_of(given)
    if not count:
        raise InvalidInputError(
            f"{where}: {RANGE} takes [first, last] or [first, last, step], from which the last can be reached, "
            f"not {shown(given)}"
        )
    first, _, step = (*given, 1)[:3]
    numbers = [first + i * step for i in range(count)]
    return [float(f"{number:.{DIGITS}g}") if isinstance(number, float) else number for number in numbers]


def _steps_of(given: Any) -> int:
    """Return how many numbers a range has; 0 if it is none."""
    if not isinstance(given, list) or len(given) not in (2, 3):
        return 0
    if not all(isinstance(item, int | float) and abs(item) <= MOST for item in given):
        return 0
    first, last, step = (*given, 1)[:3]
    steps = (last - first) / step if step else -1
    return math.floor(steps + NEARLY) + 1 if 0 <= steps < math.inf else 0
