"""Prediction arrays to columns and back, without losing a bit.

Numbers are kept as native lists, so that SQL can work on them. What such a list cannot tell is
recorded beside it: the dtype and shape of each array in one JSON `layout`, and text, integers that
the list would round, or floats where it holds integers in a list of text. Probabilities of several
targets, an array for each, are in the same lists one after the other, with a layout for each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ..engine import parse_json
from ..errors import InvalidInputError, InvalidTypeError, WorkspaceCorruptError
from ..validation import refuse_deep

Array = npt.NDArray[Any]
Given = Array | list[Array] | None
"""An array, one for each target, or nothing."""

NATIVE_DTYPES: dict[str, np.dtype[Any]] = {
    "y_true": np.dtype(np.float64),
    "y_pred": np.dtype(np.float64),
    "y_proba": np.dtype(np.float64),
    "sample_indices": np.dtype(np.int64),
    "weights": np.dtype(np.float64),
}
ARRAY_NAMES = tuple(NATIVE_DTYPES)
STRICT_TEXT = "T, coerce=False"
EXACT_IN_FLOAT = (-(2**53), 2**53)
INT64 = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Columns:
    """One array as the database keeps it: a native list, a list of text, or both."""

    native: Array | None
    text: list[str] | None
    dtype: str
    shape: tuple[int, ...]


def checked_arrays(value: Any, name: str) -> Given:
    """Like `checked_array`; probabilities may have three dimensions, or be a list of an array a target.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        As of `checked_array`.
    """
    if value is None or name != "y_proba":
        return None if value is None else checked_array(value, name)
    if isinstance(value, list | tuple) and value and all(len(getattr(item, "shape", ())) == 2 for item in value):
        return [checked_array(item, f"{name}[{number}]") for number, item in enumerate(value)]
    return checked_array(value, name, most=3)


def checked_array(value: Any, name: str, most: int = 2) -> Array:
    """Return `value` as a 1-D or 2-D array of floats, ints, bools or text.

    Parameters
    ----------
    value : array_like
        A numpy array, a list, or anything that numpy converts.
    name : str
        Which array it is, for the message.
    most : int
        How many dimensions it may have.

    Raises
    ------
    InvalidInputError
        It is ragged, masked, or has no or more than two dimensions.
    InvalidTypeError
        Its elements are neither floats of up to 64 bits, ints, bools nor text.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(f"{name} is a masked array, whose mask cannot be stored; fill it first")
    refuse_deep(value, name, most)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInputError(f"{name} is ragged: {error}; give rows of equal length") from None
    if not 1 <= array.ndim <= most:
        allowed = " or ".join(f"{count}-D" for count in range(1, most + 1))
        raise InvalidInputError(f"{name} has {array.ndim} dimensions, shape {array.shape}; give a {allowed} array")
    _check_elements(value, array, name)
    return array


def _check_elements(value: Any, array: Array, name: str) -> None:
    kind = array.dtype.kind
    if kind in "OUT":
        # numpy turns a list like ["a", 1] into text without a word: look at what was given.
        given = array if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
        items = given.ravel().tolist()
        if hasattr(array.dtype, "na_object") or not all(isinstance(item, str) for item in items):
            raise InvalidTypeError(
                f"{name} holds objects that are not all text; give an array of numbers, bools or str"
            )
        try:
            "".join(items).encode()
        except UnicodeEncodeError:
            raise InvalidInputError(f"{name} holds text with a lone surrogate, which is not Unicode") from None
    elif kind == "f" and not isinstance(value, np.ndarray):
        _check_integers(_items(value), name)
    if kind not in "biufOUT" or (kind == "f" and array.dtype.itemsize > 8):
        raise InvalidTypeError(f"{name} has dtype {array.dtype}; give floats of up to 64 bits, ints, bools or text")


def _items(value: Any) -> list[Any]:
    """Return the elements as they were given, before numpy made floats of them."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    elif isinstance(value, pl.DataFrame):
        value = value.rows()
    elif hasattr(value, "to_pylist"):  # pyarrow's
        value = value.to_pylist()
    return list(np.asarray(value, dtype=object).ravel().tolist())


def _check_integers(items: list[Any], name: str) -> None:
    """Refuse integers that became floats because of a null, or because of floats that they cannot be among."""
    if any(item is None for item in items) and any(isinstance(item, int) for item in items):
        raise InvalidInputError(f"{name} holds integers and nulls, which no array of integers can; fill the nulls")
    if any(map(_is_rounded, items)):
        raise InvalidInputError(f"{name} mixes floats with integers that a float rounds; give one array of integers")


def _is_rounded(item: Any) -> bool:
    return isinstance(item, int) and int(float(item)) != item


def sample_counts(arrays: Mapping[str, Given]) -> dict[str, int]:
    """Return how many samples each array has; of probabilities in three dimensions, those may be the second."""
    counts = {name: len(array) for name, array in arrays.items() if isinstance(array, np.ndarray)}
    others = {count for name, count in counts.items() if name != "y_proba"}
    proba = arrays.get("y_proba")
    if isinstance(proba, list):
        counts |= {f"y_proba[{number}]": len(target) for number, target in enumerate(proba)}
    elif proba is not None and proba.ndim == 3 and proba.shape[1] in others:
        counts["y_proba"] = proba.shape[1]
    return counts


def encode(array: Array, name: str) -> Columns:
    """Return how the database keeps `array`, which `checked_array` has accepted."""
    flat = array.ravel()
    shape = array.shape
    kind = array.dtype.kind
    if kind in "OUT":
        return Columns(None, [str.__str__(item) for item in flat.tolist()], _text_dtype(array.dtype), shape)
    native_dtype = NATIVE_DTYPES[name]
    if native_dtype.kind == "i" and (kind == "f" or (kind == "u" and _exceeds(flat, *INT64))):
        return Columns(None, [repr(item) for item in flat.tolist()], array.dtype.str, shape)
    rounded = native_dtype.kind == "f" and kind in "iu" and _exceeds(flat, *EXACT_IN_FLOAT)
    text = [repr(item) for item in flat.tolist()] if rounded else None
    # A copy: the caller may fill the array anew while the row waits.
    return Columns(np.array(flat, dtype=native_dtype), text, array.dtype.str, shape)


def _text_dtype(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype of text; a StringDType has none of its own that numpy reads back."""
    if isinstance(dtype, np.dtypes.StringDType):
        return "T" if dtype.coerce else STRICT_TEXT
    return dtype.str


def _exceeds(flat: Array, lowest: int, highest: int) -> bool:
    return flat.size > 0 and (int(flat.max()) > highest or int(flat.min()) < lowest)


def decode(native: Array | None, text: list[str] | None, layout: dict[str, Any] | None) -> Array | None:
    """Return the array that `encode` was given.

    Parameters
    ----------
    native, text : ndarray or None, list of str or None
        The two columns.
    layout : dict or None
        `dtype` and `shape`; None for an array that nirs4all stored, which is 1-D and has the
        dtype of its list.
    """
    if layout is None:
        return native
    dtype, shape = layout["dtype"], layout["shape"]
    if text is None:
        return None if native is None else native.astype(dtype).reshape(shape)
    if dtype in ("T", STRICT_TEXT):
        return np.array(text, dtype=np.dtypes.StringDType(coerce=dtype == "T")).reshape(shape)
    kind = np.dtype(dtype).kind
    if kind in "OU":
        return np.array(text, dtype=dtype).reshape(shape)
    number = float if kind == "f" else int
    return np.array([number(item) for item in text], dtype=dtype).reshape(shape)


def encode_all(arrays: Mapping[str, Given]) -> dict[str, Any]:
    """Return the columns of one row of `prediction_arrays` for arrays by name (None: absent)."""
    row: dict[str, Any] = {}
    layout: list[tuple[str, Any]] = []
    for name, given in arrays.items():
        row[name] = row[f"{name}_text"] = None
        if isinstance(given, list):
            targets = [encode(array, name) for array in given]
            row[name] = _joined([target.native for target in targets if target.text is None])
            row[f"{name}_text"] = [item for target in targets for item in target.text or ()] or None
            layout.append((name, tuple((target.dtype, target.shape, target.text is not None) for target in targets)))
        elif given is not None:
            columns = encode(given, name)
            row[name], row[f"{name}_text"] = columns.native, columns.text
            layout.append((name, (columns.dtype, columns.shape)))
    row["layout"] = _layout_text(tuple(layout))
    return row


def _joined(parts: list[Array | None]) -> Array | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


@lru_cache
def _layout_text(layout: tuple[tuple[str, Any], ...]) -> str:
    return json.dumps(
        {
            name: {"dtype": told[0], "shape": told[1]}
            if isinstance(told[0], str)
            else [{"dtype": dtype, "shape": shape, "is_text": is_text} for dtype, shape, is_text in told]
            for name, told in layout
        }
    )


def _decoded(native: Array | None, text: list[str] | None, layout: Any) -> Given:
    return _decode_targets(native, text, layout) if isinstance(layout, list) else decode(native, text, layout)


def _decode_targets(native: Array | None, text: list[str] | None, layouts: list[dict[str, Any]]) -> list[Array]:
    """Return the arrays of several targets, which lie one after the other in the two columns."""
    columns: dict[bool, Any] = {False: () if native is None else native, True: text or ()}
    ends = {False: 0, True: 0}
    targets = []
    for layout in layouts:
        is_text = layout["is_text"]
        start, ends[is_text] = ends[is_text], ends[is_text] + math.prod(layout["shape"])
        own = columns[is_text][start : ends[is_text]]
        array = decode(None, own, layout) if is_text else decode(np.asarray(own), None, layout)
        targets.append(cast(Array, array))
    if any(len(columns[is_text]) != end for is_text, end in ends.items()):
        raise ValueError("its lists are longer than its layout tells")
    return targets


def decode_all(row: dict[str, Any]) -> dict[str, Given]:
    """Return the arrays by name from one row of `prediction_arrays`; the inverse of `encode_all`.

    Raises
    ------
    WorkspaceCorruptError
        The row holds no arrays.
    """
    try:
        layouts = parse_json(row["layout"], "layout") if row["layout"] else {}
        return {name: _decoded(row[name], row[f"{name}_text"], layouts.get(name)) for name in ARRAY_NAMES}
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
        WorkspaceCorruptError,
    ) as error:
        raise WorkspaceCorruptError(
            f"the arrays of prediction {row['prediction_id']} are damaged: {error!r}; restore them from a backup"
        ) from error
