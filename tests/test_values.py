import json
from datetime import UTC, date, datetime, timedelta
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nirs4all_store import InvalidInputError, InvalidTypeError
from nirs4all_store.values import MAX_JSON_DEPTH, checked_float, checked_int, json_text, new_id, time_before


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": (1, 2), 0: True, None: None}, {"a": [1, 2], "0": True, "null": None}),
        ({3, 1, 2}, [1, 2, 3]),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), [[1, 2], [3, 4]]),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        ({np.int64(1): Path("a/b")}, {"1": "a/b"}),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        ([Colour.RED, Level.HIGH], ["red", 3]),
        (2**70, 2**70),
        ("é\n\u2028", "é\n\u2028"),
    ],
)
def test_what_json_can_hold_is_taken(given: Any, expected: Any) -> None:
    assert json.loads(json_text(given, "x") or "") == expected


def test_nan_and_infinities_come_back_as_the_same_floats() -> None:
    found = json.loads(json_text([float("nan"), float("inf"), -np.inf], "x") or "")
    assert np.isnan(found[0])
    assert found[1:] == [float("inf"), float("-inf")]


@pytest.mark.parametrize("value", [object(), b"x", date(2026, 1, 1), 1j, np.datetime64("2026"), print, {(1, 2): 3}])
def test_anything_else_is_a_type_error_and_never_becomes_text(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"config\.deep\[0\]"):
        json_text({"deep": [value]}, "config")


def test_what_would_lose_something_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="two keys"):
        json_text({0: "a", "0": "b"}, "config")
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInputError, match="holds itself"):
        json_text(endless, "config")
    deep: list[Any] = []
    for _ in range(MAX_JSON_DEPTH):
        deep = [deep]
    assert json_text(deep, "config") == "[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1)
    with pytest.raises(InvalidInputError, match="deeper"):
        json_text([deep], "config")


def test_numbers_are_checked_not_cut() -> None:
    assert checked_int(np.int16(5), "n", 32) == 5
    assert checked_int(5.0, "n", 32) == 5
    assert checked_int(-(2**31), "n", 32) == -(2**31)
    assert checked_float(np.array(0.5), "x") == 0.5
    for bad in (5.5, True, "5", None, 2**31):
        with pytest.raises(InvalidInputError, match="n "):
            checked_int(bad, "n", 32)
    for bad in ("0.5", True, None, [0.5], 10**400):
        with pytest.raises(InvalidInputError, match="x "):
            checked_float(bad, "x")


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_a_grace_time_of_any_length_is_taken() -> None:
    assert time_before(timedelta.max) == datetime.min
    assert time_before(timedelta(0)) > time_before(timedelta(days=1))
