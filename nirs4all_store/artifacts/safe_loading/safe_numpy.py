"""Makes numpy's dtypes, arrays and scalars from their pickled states with numpy's public functions.

numpy's own `__setstate__` does not check a state: some make a dtype that ends the process at its next use, others an
array over memory that is not its own. Here a value is made by public functions and then compared with the state; if it
differs, it is refused. All functions raise ValueError, or an error of numpy, for a state that numpy would not write.

See docs/decisions/0009.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import numpy as np

# How numpy pickles the kind and size of a dtype, as in `f8`.
KIND = re.compile(r"[biufcmMOSUV][0-9]{1,18}")
ALIGNED = 0x80
"""The flag of a dtype whose fields are aligned as a C compiler would align them."""
NDARRAY_ARGS = (np.ndarray, (0,), b"b")
"""The arguments with which numpy's pickles call `_reconstruct`, to make an empty array that gets its state later."""
MAX_NESTED = 10
MAX_PARTS = 10_000
"""numpy visits each field of each field of a dtype, also if they are one object. So their number is bounded."""


def dtype_of(args: Any, state: Any) -> np.dtype[Any]:
    """Return the dtype for these pickled arguments and this state.

    It is pickled again for comparison: if numpy writes it differently, it is refused.
    """
    if type(args) is not tuple or type(state) is not tuple or len(state) not in (8, 9):
        raise ValueError("a dtype that numpy does not write")
    if type(args[0]) is not str or not KIND.fullmatch(args[0]):
        raise ValueError(f"a dtype of {shown(args[0])}")
    made = _dtype(args[0], *state)
    parts_of(made)
    reduced: Any = made.__reduce__()
    if reduced[1:] != (args, state):
        raise ValueError(f"a dtype of {args[0]!r} that is more than its fields, sizes and unit")
    return made


def parts_of(dtype: np.dtype[Any]) -> int:
    """Return how many dtypes a dtype consists of, itself included; raise ValueError if there are too many."""
    parts, left = 0, [(dtype, 1)]
    while left:
        part, depth = left.pop()
        parts += 1
        if depth > MAX_NESTED or parts + len(left) > MAX_PARTS:
            raise ValueError("a dtype of too many dtypes")
        inner: list[Any] = [item for item, *_ in (part.fields or {}).values()] or list(part.subdtype or ())[:1]
        left += [(item, depth + 1) for item in inner]
    return parts


def shown(value: Any) -> str:
    """Return a short text for a value in a message: the repr of a container may not fit in memory."""
    return f"{value!r:.60}" if isinstance(value, str | type) else f"a {type(value).__name__}"


def _dtype(
    kind: str,
    version: Any,
    order: Any,
    part: Any,
    names: Any,
    fields: Any,
    size: Any,
    _: Any,
    flags: Any,
    more: Any = None,
) -> np.dtype[Any]:
    if part is not None:
        base, shape = part
        return np.dtype((_checked_dtype(base), _checked_shape(shape)))
    if names is not None:
        texts = [*names, *(title for _, _, *rest in fields.values() for title in rest)]
        if any(type(text) is not str for text in texts):  # Others can take very long to hash.
            raise ValueError("a dtype with names that are no text")
        told = [fields[name] for name in names]
        for item, *_rest in told:
            _checked_dtype(item)
        parts: dict[str, Any] = {
            "names": list(names),
            "formats": [item for item, *_ in told],
            "offsets": [offset for _, offset, *_ in told],
            "itemsize": size,
        }
        if len(fields) > len(names):
            parts["titles"] = [rest[0] if rest else None for _, _, *rest in told]
        return np.dtype(parts, align=bool(flags & ALIGNED))  # type: ignore[call-overload, no-any-return]  # a dict of any
    made = np.dtype(kind)
    if made.kind in "mM" and more is not None:
        unit, number, *_ = more[1]
        unit = unit.decode()
        made = np.dtype(f"{made.kind}8" if unit == "generic" else f"{made.kind}8[{int(number)}{unit}]")
    return made.newbyteorder(order)


def _checked_dtype(value: Any) -> np.dtype[Any]:
    if not isinstance(value, np.dtype):
        raise ValueError("a dtype of what is none")
    return value


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"an array of the shape {shown(shape)}")
    return shape


def size_of(dtype: Any, shape: Any) -> int:
    """Return the size of an array of plain values (no objects), in bytes."""
    if _checked_dtype(dtype).itemsize == 0 or dtype.subdtype is not None:
        raise ValueError(f"an array of items of {dtype}")
    return math.prod(_checked_shape(shape)) * int(dtype.itemsize)


def array_over(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """Return an array of plain values (no objects) that uses the memory of `content`, bytes or a bytearray."""
    size = size_of(dtype, shape)
    if dtype.hasobject or type(content) not in (bytes, bytearray) or len(content) != size or order not in ("C", "F"):
        raise ValueError(f"an array of {dtype} and the shape {shape} in {len(content)} bytes")
    return np.ndarray(shape, dtype, content, order=order)


def filled_array(state: Any) -> np.ndarray[Any, Any]:
    """Return the array for a pickled call of `_reconstruct` and this state."""
    if type(state) is not tuple or len(state) != 5 or state[0] != 1:
        raise ValueError("an array that numpy does not write")
    _, shape, dtype, is_fortran, content = state
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    if not _checked_dtype(dtype).hasobject:
        return array_over(content, dtype, shape, order).copy(order)
    if dtype.kind != "O" or type(content) is not list or len(content) != math.prod(_checked_shape(shape)):
        raise ValueError(f"an array of {dtype}")
    if any(isinstance(item, np.ndarray) and item.dtype.hasobject for item in content):
        raise ValueError("an array of arrays of objects")  # Releasing thousands inside each other ends the process.
    # `fromiter` takes an item that is an array as one item; `np.array` would not.
    array: np.ndarray[Any, Any] = np.fromiter(content, dtype, len(content)).reshape(shape)
    return array.copy(order)


def buffered_array(content: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> np.ndarray[Any, Any]:
    """Return the array for a pickled call of `_frombuffer` (protocol 5)."""
    if order == "K":
        return array_over(content, dtype, shape, "C").transpose(_checked_shape(axis_order))
    return array_over(content, dtype, shape, order)


def scalar_of(dtype: Any, content: Any) -> Any:
    """Return the scalar for a pickled call of numpy's `scalar`."""
    if _checked_dtype(dtype).kind in "SU" and dtype.itemsize == 0 and content == b"":
        return dtype.type()
    return array_over(content, dtype, (), "C").copy()[()]
