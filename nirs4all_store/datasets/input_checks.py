"""Values as people give them: masked, mixed, with missing ones among them; read as numbers or as labels of classes."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InvalidInputError

Array = Any

NUMBERS = "biuf"
"""The kinds of NumPy's types that are numbers."""
FROM_0 = "(the first is 0)"


def as_array(value: Any) -> Array:
    """Return values as an array; what is none yet as objects, since NumPy makes texts of what is beside a text."""
    value = unmasked(value, None)
    return np.asarray(value) if hasattr(value, "__array__") else np.asarray(value, dtype=object)


def refuse_mixture(values: Array, name: str) -> None:
    """Refuse objects that are neither numbers nor texts, and both together."""
    if values.dtype.kind != "O":
        return
    missing = _each(_is_missing, values)
    texts, numbers = _each(lambda value: isinstance(value, str | bytes), values), _each(_is_number, values) & ~missing
    others = ~(missing | texts | numbers)
    if others.any():
        row = np.argwhere(others)[0][0]
        raise InvalidInputError(f"{name} has {values[row]!r} in row {row} {FROM_0}; give numbers or text")
    if texts.any() and numbers.any():
        text, number = (np.argwhere(found)[0][0] for found in (texts, numbers))
        raise InvalidInputError(
            f"{name} has a text in row {text} and a number in row {number} {FROM_0}; give either numbers or text"
        )


def _each(test: Callable[[Any], bool], values: Array) -> Array:
    """Tell of each object what a test says."""
    return np.frompyfunc(test, 1, 1)(values).astype(bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.bool_)


def unmasked(value: Any, missing: Any) -> Any:
    """Return the values of a masked array, those that are masked as missing ones."""
    if not np.ma.isMaskedArray(value):
        return value
    return np.where(np.ma.getmaskarray(value), missing, np.asarray(value, dtype=object))


def refuse_infinite(values: Array, name: str) -> None:
    """Refuse infinities, naming the first one's row."""
    if values.dtype.kind == "O":
        infinite = _each(lambda value: isinstance(value, float | np.floating) and bool(np.isinf(value)), values)
    else:
        infinite = np.isinf(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if infinite.any():
        row = np.argwhere(infinite)[0][0]
        raise InvalidInputError(
            f"{name} has an infinite value in row {row} {FROM_0}; correct it, or make it NaN to leave it out"
        )


def misses(values: Array) -> Array:
    """Tell which rows have a missing value: NaN, or None among labels."""
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = _each(_is_missing, values)
    else:
        missing = np.zeros(values.shape, dtype=bool)
    return missing if missing.ndim == 1 else missing.any(axis=1)


def _is_missing(value: Any) -> bool:
    # pandas' own NA cannot be compared.
    is_null = value is None or type(value).__name__ in ("NAType", "NaTType")
    return is_null or (_is_number(value) and bool(value != value))


def labels(y: Array, name: str) -> Array:
    """Return labels as text or numbers, not as objects."""
    y = np.asarray(y.tolist()) if y.dtype.kind == "O" else y
    y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
    if y.dtype.kind not in f"{NUMBERS}U":
        raise InvalidInputError(f"{name} has values of type {y.dtype}; give numbers or text")
    return y
