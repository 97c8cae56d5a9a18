"""Converts the arrays of predictions to columns of `prediction_arrays` and back, without losing a bit.

Numbers are stored as lists of the database, so that SQL can work on them. A JSON column, `layout`, has the dtype and
shape of each array. Values that such a list cannot hold exactly are in a list of text beside it: text, integers that a
float would round, and floats in a list of integers. If the probabilities have one array for each target, all of them
are in the same lists, one after the other, and `layout` has an entry for each. There, too, is what the columns of the
probabilities are called (`classes`).
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

from ..errors import InvalidInputError, InvalidTypeError, WorkspaceCorruptError
from ..validation import parse_json, refuse_deep

Array = npt.NDArray[Any]
Given = Array | list[Array] | None
"""An array, a list of arrays with one for each target (of probabilities), or None."""

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
    """One array as it is stored: a list of numbers, a list of text, or both, with its dtype and shape."""

    native: Array | None
    text: list[str] | None
    dtype: str
    shape: tuple[int, ...]


def checked_arrays(value: Any, name: str) -> Given:
    """Return the value of an argument as an array, as a list of arrays, or as None; see `checked_array`.

    Parameters
    ----------
    value : array_like, list of array_like, or None
        Only probabilities (`y_proba`) may be a list with one array of shape (n_samples, n_classes) for each target, or
        have three dimensions.
    name : str
        One of `ARRAY_NAMES`.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        See `checked_array`.
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
        The name of the array, for the message.
    most : int
        How many dimensions it may have.

    Raises
    ------
    InvalidInputError
        It is ragged or masked, or has no dimensions or more than `most`.
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
        # numpy turns a list like ["a", 1] into text without a warning. So the original values are looked at.
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
    """Return the elements of the original value, before numpy made floats of them."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    elif isinstance(value, pl.DataFrame):
        value = value.rows()
    elif hasattr(value, "to_pylist"):  # pyarrow's
        value = value.to_pylist()
    return list(np.asarray(value, dtype=object).ravel().tolist())


def _check_integers(items: list[Any], name: str) -> None:
    """Raise if integers would become floats and be changed: beside a null, or beside floats if one would be rounded."""
    if any(item is None for item in items) and any(isinstance(item, int) for item in items):
        raise InvalidInputError(f"{name} holds integers and nulls, which no array of integers can; fill the nulls")
    if any(isinstance(item, int) and int(float(item)) != item for item in items):
        raise InvalidInputError(f"{name} mixes floats with integers that a float rounds; give one array of integers")


def checked_classes(value: Any, proba: Given) -> Any:
    """Return the names of the columns of probabilities as a list, or as one for each target; None if there are none.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        There is not one for each column, or one is neither a number nor text; see `checked_array`.
    """
    if value is None:
        return None
    if isinstance(proba, list) and len(value) == len(proba):
        return [checked_classes(own, target) for own, target in zip(value, proba, strict=True)]
    names = checked_array(value, "classes", most=1)
    if not isinstance(proba, np.ndarray) or proba.ndim != 2 or proba.shape[1] != len(names):
        shape = [target.shape for target in proba] if isinstance(proba, list) else getattr(proba, "shape", None)
        raise InvalidInputError(f"classes are {value!r:.200} for y_proba of shape {shape}; name each of its columns")
    return names.tolist()


def sample_counts(arrays: Mapping[str, Given]) -> dict[str, int]:
    """Return how many samples each array has, by its name.

    For probabilities with three dimensions it is the second one if that is the number of samples of another array
    (n_targets, n_samples, n_classes), else the first.
    """
    counts = {name: len(array) for name, array in arrays.items() if isinstance(array, np.ndarray)}
    others = {count for name, count in counts.items() if name != "y_proba"}
    proba = arrays.get("y_proba")
    if isinstance(proba, list):
        counts |= {f"y_proba[{number}]": len(target) for number, target in enumerate(proba)}
    elif proba is not None and proba.ndim == 3 and proba.shape[1] in others:
        counts["y_proba"] = proba.shape[1]
    return counts


def encode(array: Array, name: str) -> Columns:
    """Return the columns in which an array is stored; `checked_array` must have accepted it."""
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
    # A copy, since the caller may change the array while the row waits for its insert.
    return Columns(np.array(flat, dtype=native_dtype), text, array.dtype.str, shape)


def _text_dtype(dtype: np.dtype[Any]) -> str:
    """Return a name for a dtype of text. The name that numpy gives a StringDType could not be read back."""
    if isinstance(dtype, np.dtypes.StringDType):
        return "T" if dtype.coerce else STRICT_TEXT
    return dtype.str


def _exceeds(flat: Array, lowest: int, highest: int) -> bool:
    return flat.size > 0 and (int(flat.max()) > highest or int(flat.min()) < lowest)


def decode(native: Array | None, text: list[str] | None, layout: dict[str, Any] | None) -> Array | None:
    """Return the array that is stored in two columns; the inverse of `encode`.

    Parameters
    ----------
    native : ndarray or None
        The list of numbers.
    text : list of str or None
        The list of text.
    layout : dict or None
        `dtype` and `shape`. None for an array that nirs4all stored: it is 1-D and has the dtype of its list.
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


def encode_all(arrays: Mapping[str, Given], classes: Any = None) -> dict[str, Any]:
    """Return the columns of a row of `prediction_arrays` for arrays by name; None stands for an absent array.

    `classes` is what `checked_classes` returns.
    """
    row: dict[str, Any] = {}
    layout: list[tuple[str, Any]] = []
    for name, given in arrays.items():
        row[name] = row[f"{name}_text"] = None
        if isinstance(given, list):
            targets = [encode(array, name) for array in given]
            natives = [target.native for target in targets if target.text is None and target.native is not None]
            row[name] = np.concatenate(natives) if natives else None
            row[f"{name}_text"] = [item for target in targets for item in target.text or ()] or None
            layout.append((name, tuple((target.dtype, target.shape, target.text is not None) for target in targets)))
        elif given is not None:
            columns = encode(given, name)
            row[name], row[f"{name}_text"] = columns.native, columns.text
            layout.append((name, (columns.dtype, columns.shape)))
    row["layout"] = _layout_text(tuple(layout), None if classes is None else json.dumps(classes))
    return row


@lru_cache
def _layout_text(layout: tuple[tuple[str, Any], ...], classes: str | None) -> str:
    described: dict[str, Any] = {
        name: {"dtype": told[0], "shape": told[1]}
        if isinstance(told[0], str)
        else [{"dtype": dtype, "shape": shape, "is_text": is_text} for dtype, shape, is_text in told]
        for name, told in layout
    }
    return json.dumps(described if classes is None else described | {"classes": json.loads(classes)})


def _decoded(native: Array | None, text: list[str] | None, layout: Any) -> Given:
    if isinstance(native, str):  # The column is another one, which a reader may look at.
        raise TypeError(f"{native!r:.100} is no array")
    return _decode_targets(native, text, layout) if isinstance(layout, list) else decode(native, text, layout)


def _decode_targets(native: Array | None, text: list[str] | None, layouts: list[dict[str, Any]]) -> list[Array]:
    """Return the arrays of several targets, which are stored one after the other in the same two columns."""
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


def decode_all(row: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a row of `prediction_arrays` by name, and `classes`; the inverse of `encode_all`.

    Raises
    ------
    WorkspaceCorruptError
        The values of the row do not make arrays.
    """
    try:
        layouts = parse_json(row["layout"], "layout") if row["layout"] else {}
        found = {name: _decoded(row[name], row[f"{name}_text"], layouts.get(name)) for name in ARRAY_NAMES}
        return found | {"classes": layouts.get("classes")}
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
