"""Values as people give them: masked, mixed, with missing ones among them; read as numbers or as labels of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..metrics import is_missing

Array = Any
NUMBERS = "biuf"
"""The kinds of NumPy's types that are numbers."""
FLOAT_BYTES = 8
"""The bytes of the longest float that is stored; a long double becomes one of these."""
ROWS_COUNT_FROM_ZERO = "(the first is 0)"


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
        raise InvalidInputError(f"{name} has {values[row]!r} in row {row} {ROWS_COUNT_FROM_ZERO}; give numbers or text")
    if texts.any() and numbers.any():
        text, number = (np.argwhere(found)[0][0] for found in (texts, numbers))
        raise InvalidInputError(
            f"{name} has a text in row {text} and a number in row {number} {ROWS_COUNT_FROM_ZERO}; "
            "give either numbers or text"
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
            f"{name} has an infinite value in row {row} {ROWS_COUNT_FROM_ZERO}; correct it, or make it NaN "
            "to leave it out"
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


def serve_nothing(y: Array, name: str) -> Array:
    """Tell which rows have no value of y to learn from: of several targets, no value of any.

    Raises
    ------
    InvalidInputError
        A target has no value in any row.
    """
    if y.ndim == 1:
        return misses(y)
    missing = is_missing(y)
    if missing.all(axis=0).any():
        raise InvalidInputError(
            f"{name} has no value in its column {np.argmax(missing.all(axis=0))} {ROWS_COUNT_FROM_ZERO}; leave it out"
        )
    return missing.all(axis=1)


def _is_missing(value: Any) -> bool:
    # pandas' own NA cannot be compared.
    is_null = value is None or type(value).__name__ in ("NAType", "NaTType")
    return is_null or (_is_number(value) and bool(value != value))


def labels(y: Array, name: str) -> Array:
    """Return labels as text or numbers, not as objects; but texts that end in NUL stay objects.

    NumPy's own texts would lose the NUL, and two classes would be one.
    """
    if y.dtype.kind == "O" and not _each(lambda value: isinstance(value, str) and value.endswith("\0"), y).any():
        y = np.asarray(y.tolist())
    y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
    if y.dtype.kind not in f"{NUMBERS}UO":
        raise InvalidInputError(f"{name} has values of type {y.dtype}; give numbers or text")
    return y.astype(float) if y.dtype.kind == "f" and y.itemsize > FLOAT_BYTES else y


def groups_of(parts: Mapping[str, Any], X: Array, kept: Array) -> Array | None:
    """Return whose samples the rows that are kept are, or None."""
    if parts.get("groups") is None:
        return None
    groups = as_array(parts["groups"])
    check_length(groups, "groups", X, "X")
    refuse_mixture(groups, "groups")
    missing = np.flatnonzero(misses(groups) & kept)
    if len(missing):
        raise InvalidInputError(
            f"groups has no value in row {missing[0]} {ROWS_COUNT_FROM_ZERO}; say whose sample it is"
        )
    return labels(groups[kept], "groups")


def names_of(parts: Mapping[str, Any], part: str, kept: Array) -> Array | None:
    """Return of which sample each of the rows that are kept is a scan, or None."""
    if parts.get(part) is None:
        return None
    names, X = as_array(parts[part]), parts["X_test" if part == "test_sample" else "X"]
    check_length(names, part, np.asarray(X), "X")
    texts = ["" if _is_missing(name) else str(name) for name in names[kept].tolist()]
    return labels(np.array(texts, dtype=object), part)


def weights_of(parts: Mapping[str, Any], X: Array, kept: Array) -> Array | None:
    """Return what the rows that are kept count, or None."""
    if parts.get("weights") is None:
        return None
    weights = np.asarray(parts["weights"])
    check_length(weights, "weights", X, "X")
    if weights.ndim != 1 or weights.dtype.kind not in NUMBERS:
        raise InvalidInputError(
            f"weights must be one number for each sample, and begin with {weights.ravel().tolist()[0]!r}"
        )
    wrong = np.flatnonzero(kept & ~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InvalidInputError(
            f"weights has {weights[wrong[0]]} in row {wrong[0]} {ROWS_COUNT_FROM_ZERO}; give finite numbers from 0 up"
        )
    return weights[kept].astype(float)


def wavelengths_of(parts: Mapping[str, Any], features: int) -> Array | None:
    """Return the wavelengths of the columns of X, or None."""
    if parts.get("wavelengths") is None:
        return None
    try:
        wavelengths = np.asarray(parts["wavelengths"], dtype=float)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"wavelengths must be numbers: {error}") from error
    if wavelengths.shape != (features,):
        raise InvalidInputError(f"there are {wavelengths.size} wavelengths for {features} columns of X")
    return wavelengths


def test_data_of(parts: Mapping[str, Any], X: Array, y: Array) -> tuple[Array, Array | None, Array | None]:
    """Return which rows of the test data have a y, if any is given, and their X and y."""
    if parts.get("X_test") is None:
        if parts.get("y_test") is not None:
            raise InvalidInputError("y_test is given without X_test; give both")
        return np.arange(0), None, None
    X_test, y_test = spectra_of(parts["X_test"], "X_test"), targets_of(parts.get("y_test"), "y_test")
    if X_test.shape[1] != X.shape[1]:
        raise InvalidInputError(f"X_test has {X_test.shape[1]} columns and X has {X.shape[1]}; give the same")
    kept = np.ones(len(X_test), dtype=bool)
    if y_test is not None:
        check_length(y_test, "y_test", X_test, "X_test")
        kept = ~serve_nothing(y_test, "y_test")
    if not kept.any():
        raise InvalidInputError(f"every one of the {len(X_test)} rows to test has a missing value in y_test")
    if y_test is None:
        return np.flatnonzero(kept), rows_of(X_test, kept), None
    y_test = labels(y_test[kept], "y_test")
    if y_test.shape[1:] != y.shape[1:] or (y_test.dtype.kind in NUMBERS) != (y.dtype.kind in NUMBERS):
        raise InvalidInputError(
            f"y_test is {y_test.dtype} of shape {y_test.shape}, y is {y.dtype} of shape {y.shape}; give the same kind, "
            "or leave its column out of X_test"
        )
    return np.flatnonzero(kept), rows_of(X_test, kept), y_test


def spectra_of(value: Any, name: str) -> Array:
    """Return X as numbers, lying in memory as replaying will have it."""
    try:
        X = np.asarray(unmasked(value, np.nan))
        if X.dtype.kind not in f"{NUMBERS}O":
            raise TypeError(f"{X.dtype} is not real numbers")
        X = X if X.dtype.kind == "f" and X.itemsize <= FLOAT_BYTES else X.astype(float)
        X = X if X.flags.forc else np.ascontiguousarray(X)  # As `chains.inference.contiguous` leaves it.
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} has something else than numbers: {error}") from error
    if X.ndim != 2 or 0 in X.shape:
        raise InvalidInputError(f"{name} has shape {X.shape}; give (n_samples, n_features)")
    refuse_infinite(X, name)
    return X


def targets_of(value: Any, name: str) -> Array | None:
    """Return y as a column of values, or as several; None where none was given."""
    if value is None:
        return None
    y = as_array(value)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or y.size == 0:
        raise InvalidInputError(f"{name} has shape {y.shape}; give (n_samples,) or (n_samples, n_targets)")
    refuse_mixture(y, name)
    refuse_infinite(y, name)
    missing = _each(_is_missing, y) if y.dtype.kind == "O" and y.ndim == 2 else np.zeros(1, dtype=bool)
    if missing.any() and _each(_is_number, y[~missing]).all():
        return np.where(missing, np.nan, y).astype(float)
    return np.where(missing, "", y) if missing.any() else y


def rows_of(X: Array, kept: Array) -> Array:
    """Return some rows; X itself where it is all of them, since sums depend on how it lies in memory."""
    return X if kept.all() else X[kept]


def check_length(column: Array, name: str, X: Array, name_X: str) -> None:
    """Refuse a column that has not one value for each row of X."""
    if column.ndim == 0 or len(column) != len(X):
        raise InvalidInputError(f"{name} has {column.size} samples and {name_X} has {len(X)}; give the same")
