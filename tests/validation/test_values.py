import json
import math
import os
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirs4all_store import InvalidInputError, InvalidTypeError
from nirs4all_store.identifiers import new_id, time_before
from nirs4all_store.validation.size_limits import MAX_JSON_DEPTH
from nirs4all_store.validation.values import (
    checked_float,
    checked_int,
    checked_text,
    checked_texts,
    checked_timeout,
    json_text,
    shown,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
PRINT_SETS = """
from nirs4all_store.validation.size_limits import MAX_JSON_DEPTH
from nirs4all_store.validation.values import json_text
print(json_text({frozenset("a"), frozenset("b"), frozenset("c")}, "x"))
print(json_text({("a", 1), ("b", "x"), ("b", 2)}, "x"), json_text({"a", "b", 1, None}, "x"))
"""


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
    before = time.time()
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    made = uuid.UUID(ids[0])
    assert (str(made), made.version, made.variant) == (ids[0], 7, uuid.RFC_4122)
    assert int(1000 * before) <= made.int >> 80 <= 1000 * time.time()


def test_the_first_half_of_an_id_tells_it_from_the_others() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len({name[:18] for name in ids}) == 1000


def test_a_grace_time_of_any_length_is_taken() -> None:
    assert time_before(timedelta.max) == datetime.min
    assert time_before(timedelta(0)) > time_before(timedelta(days=1))


def same(first: Any, second: Any) -> bool:
    """Tell whether two JSON values are equal in type and value; NaN equals NaN here, and 0.0 is not -0.0."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return (math.isnan(first) and math.isnan(second)) or (first, str(first)) == (second, str(second))
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    return bool(first == second)


@settings(max_examples=100, deadline=None)
@given(value=JSON.filter(lambda value: value is not None))
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    assert same(json.loads(json_text(value, "x") or ""), value)


def test_none_is_no_json_text_but_stays_none_inside() -> None:
    assert json_text(None, "x") is None
    assert json_text([None], "x") == "[null]"


@settings(max_examples=50, deadline=None)
@given(value=TEXT)
def test_text_is_returned_as_it_is(value: str) -> None:
    assert checked_text(value, "name") == value
    assert type(checked_text(np.str_(value), "name")) is str


def test_an_enum_of_text_is_its_text() -> None:
    assert checked_text(Colour.RED, "name") == "red"


@pytest.mark.parametrize("value", [None, 1, b"x", Level.HIGH, Path("x"), ["x"]])
def test_what_is_no_text_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^name must be text"):
        checked_text(value, "name")


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x\udfff", "\ud83d\ude00"])
def test_text_that_no_back_end_can_hold_is_refused_wherever_it_stands(bad: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^name (holds a NUL|is not valid Unicode)"):
        checked_text(bad, "name")
    for value, where in (({"a": [bad]}, r"config\.a\[0\]"), ({bad: 1}, "a key of config"), (Path(bad), "config")):
        with pytest.raises(InvalidInputError, match=rf"^{where} (holds a NUL|is not valid Unicode)"):
            json_text(value, "config")


@pytest.mark.parametrize("value", [np.arange(3), np.array(["a", "é"]), np.array([[True], [False]]), np.zeros((0, 2))])
def test_an_array_becomes_the_lists_of_its_values(value: Any) -> None:
    assert json.loads(json_text({"a": value}, "x") or "") == {"a": value.tolist()}


def test_an_array_of_variable_length_text_becomes_a_list() -> None:
    assert json_text(np.array(["a", "bc"], dtype=np.dtypes.StringDType()), "x") == '["a", "bc"]'


@pytest.mark.parametrize("value", [np.longdouble(1), np.array([1], dtype=np.longdouble), np.array([1j])])
def test_a_number_that_json_cannot_hold_is_named_by_its_type(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"config\.a"):
        json_text({"a": value}, "config")


def test_an_object_in_an_array_is_found() -> None:
    with pytest.raises(InvalidTypeError, match=r"config\[1\] is an object of type object"):
        json_text(np.array([1, object()], dtype=object), "config")


@pytest.mark.parametrize("keys", [(0, "0"), (None, "null"), (True, "true"), (1.5, "1.5"), (Colour.RED, "red")])
def test_two_keys_that_become_one_text_are_refused_with_their_path(keys: tuple[Any, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"config\.a has two keys"):
        json_text({"a": dict.fromkeys(keys, 1)}, "config")


@pytest.mark.parametrize("value", [{"a": {"b": {1j}}}, {"a": {"b": ({1, object()},)}}])
def test_what_is_refused_in_a_set_is_named_by_its_path(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^config\.a\.b(\[0\])?\{\}"):
        json_text(value, "config")


def test_a_dict_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["me"] = [value]
    with pytest.raises(InvalidInputError, match="holds itself"):
        json_text(value, "config")


def test_a_set_is_written_in_the_same_order_by_every_process() -> None:
    def printed(seed: int) -> str:
        command = [sys.executable, "-c", PRINT_SETS]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert len({printed(seed) for seed in range(1, 6)}) == 1


def test_nan_in_a_set_has_one_place_wherever_its_hash_puts_it() -> None:
    several = [float("nan") for _ in range(200)]
    assert len({json_text({nan, 3.0, 1.0, 2.0}, "x") for nan in several}) == 1


@settings(max_examples=100, deadline=None)
@given(number=st.integers(), bits=st.sampled_from([32, 64]))
def test_an_int_is_returned_exactly_or_refused(number: int, bits: int) -> None:
    if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        assert checked_int(number, "n", bits) == number
    else:
        with pytest.raises(InvalidInputError, match=f"^n is {number}"):
            checked_int(number, "n", bits)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("nan"), np.bool_(True), 1j, b"1", np.array([1])])
def test_what_is_no_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^n must be a whole number"):
        checked_int(value, "n", 64)


@settings(max_examples=100, deadline=None)
@given(number=st.floats())
def test_every_float_is_taken_as_it_is(number: float) -> None:
    assert same(checked_float(number, "x"), number)
    assert same(checked_float(np.float64(number), "x"), number)


@pytest.mark.parametrize("value", [np.bool_(True), 1j, b"1", np.longdouble(1), np.array([1.0]), np.str_("1")])
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^x must be a number"):
        checked_float(value, "x")


def test_a_number_too_long_to_print_is_refused_like_any_other_too_large() -> None:
    huge = 10**5000
    for check in (lambda: checked_int(huge, "n", 64), lambda: checked_float(huge, "n"), lambda: json_text([huge], "n")):
        with pytest.raises(InvalidInputError, match=r"^n"):
            check()


@pytest.mark.parametrize("value", [-5, -1, None, "3", math.nan, -math.inf, True, [1]])
def test_a_timeout_that_is_none_once_failed_in_the_first_call_that_waited(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="timeout"):
        checked_timeout(value)


@pytest.mark.parametrize("value", [0, 0.5, np.float64(3), 1e12, math.inf])
def test_a_long_timeout_is_one_that_a_thread_can_wait(value: float) -> None:
    seconds = checked_timeout(value)
    assert seconds == min(value, threading.TIMEOUT_MAX)
    assert threading.Lock().acquire(timeout=seconds)


def test_a_text_that_lies_about_itself_once_lost_what_it_says() -> None:
    class Liar(str):
        def __str__(self) -> str:
            return "lie"

    kept = checked_text(Liar("truth"), "x")
    assert type(kept) is str
    assert kept == "truth"


def test_texts_are_one_several_or_none() -> None:
    assert checked_texts(None, "x") == []
    assert checked_texts("ab", "x") == ["ab"]
    assert checked_texts(iter(["a", "b"]), "x") == ["a", "b"]
    for bad in (5, [5], [["a"]], b"a"):
        with pytest.raises(InvalidTypeError, match="x must be"):
            checked_texts(bad, "x")


def test_ids_that_were_made_while_the_clock_stood_back_sorted_before_older_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    made = [new_id() for _ in range(3)]
    assert [before, *made] == sorted({before, *made})


def test_a_message_looked_at_all_of_a_long_list() -> None:
    class Counted:
        asked = 0

        def __repr__(self) -> str:
            Counted.asked += 1
            return "x"

    assert len(shown([Counted() for _ in range(1000)])) <= 200
    assert Counted.asked <= 10


def test_an_array_was_a_list_before_its_length_was_looked_at() -> None:
    class Unlisted(np.ndarray[Any, Any]):
        def tolist(self) -> Any:
            raise AssertionError("it would take all memory")

    for array in (np.broadcast_to(1.0, (10**6, 10**6)), np.broadcast_to(np.array("x" * 10**6), (10**6,))):
        with pytest.raises(InvalidInputError, match=r"there are more than|has more than"):
            json_text({"a": array.view(Unlisted)}, "c")


def test_an_array_of_objects_was_a_list_before_its_length_was_looked_at() -> None:
    many = np.broadcast_to(np.array(None, dtype=object), (10**6, 10**6))
    with pytest.raises(InvalidInputError, match="has more than"):
        json_text({"a": [0] * 10_001, "b": many}, "c")


def test_text_in_many_places_had_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nirs4all_store.validation.values.MAX_CHARACTERS", 1000)
    assert json_text(["a" * 300] * 3, "x") is not None
    with pytest.raises(InvalidInputError, match=r"x\[3\] there are more than"):
        json_text(["a" * 300] * 10, "x")
