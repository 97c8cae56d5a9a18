"""Converts the parameters of a query (numbers, text, times, numpy values) to values that DuckDB takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np

from ...errors import InvalidInputError, InvalidTypeError
from ...validation import check_size, checked_text

# The types that DuckDB takes as they are. With some hundred levels of lists in lists it would take a minute.
PLAIN_PARAMETERS = (bool, int, float, str, bytes, bytearray, datetime, date, time, timedelta, Decimal, UUID)
MAX_PARAMETER_DEPTH = 20
MAX_PARAMETER_VALUES = 1_000_000


def checked_parameter(value: Any, where: str) -> Any:
    """Return a parameter as plain Python values: scalars and arrays of numpy become numbers, text, times and lists.

    Parameters
    ----------
    value : object
        The value of a parameter, or a list or dict of all of them.
    where : str
        How error messages name it.

    Raises
    ------
    InvalidTypeError
        The value, or a part of it, is an object of another type.
    InvalidInputError
        It is nested too deeply, or has too many values.
    """
    left = MAX_PARAMETER_VALUES

    def plain(value: Any, where: str, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > MAX_PARAMETER_DEPTH or left < 0:
            raise InvalidInputError(
                f"{where[:80]} has more than {MAX_PARAMETER_DEPTH} levels or {MAX_PARAMETER_VALUES:,} values; "
                "give fewer"
            )
        if isinstance(value, np.datetime64 | np.timedelta64) and not np.isnat(value):
            value = value.astype(f"{value.dtype.kind}8[us]")  # Python's times have no finer unit.
        if isinstance(value, np.ndarray):
            check_size(value, where)
        if isinstance(value, np.generic | np.ndarray):
            value = value.tolist()
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, PLAIN_PARAMETERS):
            return checked_text(value, where) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            return {checked_text(key, where): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, where, depth + 1) for item in value]
        raise InvalidTypeError(
            f"{where} has an object of type {type(value).__name__} in it; give numbers, text, moments, or lists of them"
        )

    return plain(value, where, 0)
