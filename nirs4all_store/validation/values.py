"""What may be stored: checks of text, numbers and JSON, and the making of ids and times.

Everything is checked here before the engine sees it, so that a refused value never costs a
transaction.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import threading
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from ..errors import InvalidInputError, InvalidTypeError, WorkspaceCorruptError
from .size_limits import (
    MAX_CHARACTERS,
    MAX_JSON_DEPTH,
    MAX_VALUES,
    check_size,
    inside_of,
    refuse_endless,
    too_deep,
    too_long,
    too_many,
)

UNCHECKED = 10_000
# Python itself refuses to turn much longer ones into text.
MAX_INT_BITS = 10_000
FLOAT_KEY = "_float_"
_encode = json.JSONEncoder(ensure_ascii=False).encode
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 4, 200, 200
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _BRIEF.maxfrozenset = 10


def checked_text(value: object, where: str) -> str:
    """Return `value` if it is text that every back end can hold.

    Parameters
    ----------
    value : object
        What was given.
    where : str
        The name of the parameter or key path, for the message.

    Raises
    ------
    InvalidTypeError
        `value` is not a `str`.
    InvalidInputError
        It holds a NUL character or half of a surrogate pair.
    """
    if type(value) is str and value.isascii() and "\0" not in value:
        return value  # Nearly every text: the rest is for the others.
    if isinstance(value, Enum) and isinstance(value.value, str):
        value = value.value
    if not isinstance(value, str):
        raise InvalidTypeError(f"{where} must be text, not {type_text(value)}; give a str")
    if "\0" in value:
        raise InvalidInputError(f"{where} holds a NUL character: {value[:60]!r}; remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{where} is not valid Unicode text: {value[:60]!r} ({error.reason}); replace the lone surrogate"
        ) from None
    return str.__str__(value)  # A subclass may say anything in its own.


def checked_fold(value: object, where: str) -> str:
    """Return the name of a fold, which some have as a number; see `checked_text`."""
    if isinstance(value, int | np.integer):
        return str(checked_int(int(value), where, 64))
    return checked_text(value, where)


def checked_texts(values: Any, where: str) -> list[str]:
    """Return one text, several of them, or None (none at all) as a list; see `checked_text`."""
    values = [] if values is None else [values] if isinstance(values, str) else values
    if not isinstance(values, Iterable):
        raise InvalidTypeError(f"{where} must be a list of texts, not {type_text(values)}")
    return [checked_text(value, where) for value in values]


def checked_int(value: object, where: str, bits: int) -> int:
    """Return `value` as an int of at most `bits` bits; numpy integers and whole floats are accepted."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidTypeError(f"{where} must be a whole number, not {type_text(value)}")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        shown = number if number.bit_length() < MAX_INT_BITS else f"an integer of {number.bit_length()} bits"
        raise InvalidInputError(f"{where} is {shown}, which does not fit into {bits} bits")
    return number


def checked_page(limit: object, offset: object) -> tuple[int | None, int]:
    """Return a limit (None: no limit) and an offset of a listing, both whole and not negative."""
    checked = [
        None if value is None else checked_int(value, name, 64)
        for value, name in ((limit, "limit"), (offset, "offset"))
    ]
    for value, name in zip(checked, ("limit", "offset"), strict=True):
        if value is not None and value < 0:
            raise InvalidInputError(f"{name} must not be negative, but is {value}")
    return checked[0], checked[1] or 0


def checked_float(value: object, where: str) -> float:
    """Return `value` as a float; numpy scalars, ints, NaN and infinities are accepted."""
    number = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidTypeError(f"{where} must be a number, not {type_text(value)}")
    try:
        return float(number)
    except OverflowError:
        raise InvalidInputError(f"{where} is too large for a float of 64 bits") from None


def checked_timeout(value: object) -> float:
    """Return how many seconds to wait, none below 0; infinity becomes the longest that a thread can wait."""
    seconds = checked_float(value, "timeout")
    if not seconds >= 0:  # NaN is not, either.
        raise InvalidInputError(f"timeout is {seconds}; give seconds, 0 or more")
    return min(seconds, threading.TIMEOUT_MAX)


def json_text(value: Any, where: str) -> str | None:
    """Return `value` as JSON text, or None for None.

    Parameters
    ----------
    value : Any
        None, bool, int, float (NaN and infinities too), str, list, dict; also numpy scalars and
        arrays (numbers and lists), tuples and sets (lists), paths and datetimes (text) and enums
        (their value), at any depth down to 200.
    where : str
        The name of the parameter, the beginning of the key path in a message.

    Raises
    ------
    InvalidTypeError
        An object of another type is in it; the message names its key path.
    InvalidInputError
        It is too deep, holds itself, has too many values, or two keys become the same text.
    """
    if value is None:
        return None
    return _encode(_json_value(value, where, 0, _Room(value, where)))


class _Room:
    """How much a walk may still meet: a few hundred bytes of YAML or lists may stand for more than has any end."""

    __slots__ = ("_characters", "_is_checked", "_value", "_values", "_where")

    def __init__(self, value: Any, where: str) -> None:
        self._value, self._where, self._is_checked = value, where, False
        self._values, self._characters = UNCHECKED, MAX_CHARACTERS

    def take(self, values: int, where: str) -> None:
        """Count some more values; once they are many, those of the whole are counted, which takes little time."""
        self._values -= values
        if self._values < 0 and not self._is_checked:
            refuse_endless(self._value, self._where, inside_of)
            self._is_checked = True
            self._values += MAX_VALUES - UNCHECKED
        if self._values < 0:
            raise too_many(where)

    def take_text(self, text: str, where: str) -> None:
        """Count some more characters."""
        self._characters -= len(text)
        if self._characters < 0:
            raise too_long(where)


def shown(value: Any) -> str:
    """Return how a value looks, or the beginning of it, in a message: `repr` of one with aliases may have no end."""
    return _BRIEF.repr(value)[:200]


def file_text(value: Any) -> str:
    """Return plain values as JSON for a file, which any reader of JSON takes.

    JSON has no NaN and no infinities: they are written as `{"_float_": "nan"}`, `"inf"` or `"-inf"`, which
    `reject_duplicate_keys` reads back.
    """
    return json.dumps(without_odd_floats(value), indent=2, ensure_ascii=False, allow_nan=False)


def without_odd_floats(value: Any) -> Any:
    """Return plain values with an object in the place of each NaN and infinity, which JSON has not; see `file_text`."""
    if isinstance(value, dict):
        return {key: without_odd_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_odd_floats(item) for item in value]
    return {FLOAT_KEY: str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> Any:
    """Return an object of JSON as a dict; json itself would keep the last of two values and drop the first.

    What `file_text` writes for a NaN or an infinity is that number again.
    """
    if len(pairs) == 1 and pairs[0][0] == FLOAT_KEY and pairs[0][1] in ("nan", "inf", "-inf"):
        return float(pairs[0][1])
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidInputError(f"the key {key!r:.200} is given twice in one object")
        found[key] = value
    return found


def parse_json(value: Any, name: str) -> Any:
    """Return the value that the JSON text in a column stands for.

    Parameters
    ----------
    value : object
        A str, in a database that is not damaged.
    name : str
        The column, for the message.

    Raises
    ------
    WorkspaceCorruptError
        `value` is not JSON.
    """
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:  # A file from elsewhere may have no text there.
        raise WorkspaceCorruptError(
            f"column {name} holds {value!r:.100}, which is no JSON ({error}); restore the workspace from a backup"
        ) from error


def _json_value(value: Any, where: str, depth: int, room: _Room) -> Any:
    """Return `value` rebuilt from what the json module writes by itself."""
    if value is None or type(value) in (float, bool):
        return value
    if depth > MAX_JSON_DEPTH:
        raise too_deep(where)
    if type(value) is str:
        room.take_text(value, where)
        return checked_text(value, where)
    if isinstance(value, Enum):
        return _json_value(value.value, where, depth + 1, room)
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise InvalidInputError(f"{where} is an integer of {value.bit_length()} bits, too long for JSON; give text")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        room.take_text(value, where)
        return checked_text(value, where)
    if isinstance(value, dict | list | tuple | set | frozenset):
        room.take(len(value), where)
    if isinstance(value, dict):
        return _json_dict(value, where, depth, room)
    if isinstance(value, list | tuple):
        return [_json_value(item, f"{where}[{i}]", depth + 1, room) for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return _in_stable_order([_json_value(item, f"{where}{{}}", depth + 1, room) for item in value])
    if isinstance(value, np.ndarray | np.generic) and (value.dtype.kind in "biuUTO" or value.dtype.char in "efd"):
        if isinstance(value, np.ndarray):
            check_size(value, where)
        return _json_value(value.tolist(), where, depth + 1, room)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return checked_text(os.fspath(value), where)
    raise InvalidTypeError(
        f"{where} is {type_text(value)}, which JSON cannot hold; convert it to numbers, text, lists or dicts"
    )


def _json_dict(value: dict[Any, Any], where: str, depth: int, room: _Room) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        is_plain = type(key) is str and key.isascii() and "\0" not in key
        text = key if is_plain else _key_text(key, where)
        if text in plain:
            raise InvalidInputError(f"{where} has two keys that are both {text!r} as JSON text; rename one")
        plain[text] = _json_value(item, f"{where}.{text}", depth + 1, room)
    return plain


def _key_text(key: object, where: str) -> str:
    """Return an object key as JSON has it: the json module's text for numbers, booleans and None."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, str):
        return checked_text(key, f"a key of {where}")
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    raise InvalidTypeError(f"{where} has a key that is {type_text(key)}; JSON keys are text: convert it to str")


def _in_stable_order(items: list[Any]) -> list[Any]:
    """Return what was in a set, sorted: its own order changes between processes."""
    texts = all(isinstance(item, str) for item in items)
    alike = texts or all(isinstance(item, int | float) and item == item for item in items)  # NaN sorts nowhere
    return sorted(items) if alike else sorted(items, key=json.dumps)


def type_text(value: object) -> str:
    """Return what kind of object a value is, for a message."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "None" if value is None else f"an object of type {name}"


def printable(text: str) -> str:
    """Return text on one line that steers no terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
