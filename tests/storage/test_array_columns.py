"""Prediction arrays come back as they went in: values, dtype and shape, bit for bit."""

from enum import Enum
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from anything import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nirs4all_store import InvalidInputError, InvalidTypeError, WorkspaceCorruptError
from nirs4all_store.storage.array_columns import (
    ARRAY_NAMES,
    Array,
    checked_array,
    checked_classes,
    decode_all,
    encode_all,
)

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=6)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4)
NUMBERS = ["?"] + [order + kind for order in "<>" for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8")]
NUMBERS += [order + kind for order in "<>" for kind in ("u1", "u2", "u4", "u8")]
EDGES = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**53) + 1, -(2**53), -(2**53) - 1, -(2**53) - 2, -(2**63), 0]


def through(array: Array, name: str) -> Array:
    """Return what comes back of an array that is stored under a name."""
    found = decode_all(encode_all({**dict.fromkeys(ARRAY_NAMES), name: checked_array(array, name)}))
    assert [key for key, value in found.items() if value is not None] == [name]
    back = found[name]
    assert back is not None
    return back


def assert_same(found: Array, given: Array) -> None:
    assert found.dtype == given.dtype
    assert found.shape == given.shape
    np.testing.assert_array_equal(found, given)
    if given.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(found), np.signbit(given))


def with_dtype(dtype: Any) -> st.SearchStrategy[Array]:
    number = np.dtype(dtype)
    # A NaN with a minus sign has no text of its own.
    elements = hnp.from_dtype(number).filter(lambda item: not (item != item and np.signbit(item)))
    return hnp.arrays(number, SHAPES, elements=elements)


@pytest.mark.parametrize("name", ARRAY_NAMES)
@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_numbers_of_every_dtype_come_back(name: str, dtype: str, data: st.DataObject) -> None:
    array = data.draw(with_dtype(dtype))
    assert_same(through(array, name), array)


@pytest.mark.parametrize("name", ARRAY_NAMES)
@settings(max_examples=examples(300), deadline=None)
@given(data=st.data(), dtype=hnp.unicode_string_dtypes(endianness="?", max_len=6))
def test_text_of_fixed_length_comes_back(name: str, data: st.DataObject, dtype: Any) -> None:
    array = data.draw(hnp.arrays(dtype, SHAPES, elements=hnp.from_dtype(dtype, alphabet=CHARACTERS)))
    assert_same(through(array, name), array)


@pytest.mark.parametrize("name", ARRAY_NAMES)
@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()], ids=["object", "StringDType"])
@settings(max_examples=examples(200), deadline=None)
@given(shape=SHAPES, data=st.data())
def test_text_of_any_length_comes_back(name: str, dtype: Any, shape: tuple[int, ...], data: st.DataObject) -> None:
    count = int(np.prod(shape))
    items = data.draw(st.lists(TEXT, min_size=count, max_size=count))
    array = np.array(items, dtype=dtype).reshape(shape)
    assert_same(through(array, name), array)


def test_a_string_dtype_that_does_not_coerce_comes_back() -> None:
    array = np.array(["a", "bc"], dtype=np.dtypes.StringDType(coerce=False))
    assert_same(through(array, "y_true"), array)


@pytest.mark.parametrize("name", ARRAY_NAMES)
@pytest.mark.parametrize("edge", EDGES)
def test_ints_about_the_limits_of_a_float_come_back_exactly(name: str, edge: int) -> None:
    for array in (np.array([edge], dtype=np.int64), np.array([[edge, 1], [0, edge]], dtype=">i8")):
        found = through(array, name)
        assert_same(found, array)
        assert found.ravel().tolist() == array.ravel().tolist()


@pytest.mark.parametrize("name", ARRAY_NAMES)
@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_the_largest_unsigned_ints_come_back_exactly(name: str, number: int) -> None:
    found = through(np.array([number, 0], dtype=np.uint64), name)
    assert (found.dtype, found.tolist()) == (np.dtype(np.uint64), [number, 0])


@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_nan_infinities_and_minus_zero_come_back(name: str) -> None:
    for dtype in ("f2", "f4", "f8", ">f8"):
        array = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0], dtype=dtype)
        assert_same(through(array, name), array)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("dtype", ["f4", "i8", "u8", "?", "U3", "O", "T"])
@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_an_empty_array_keeps_its_shape_and_dtype(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.empty(shape, dtype=np.dtypes.StringDType() if dtype == "T" else dtype)
    assert_same(through(array, name), array)


@pytest.mark.parametrize("array", [np.arange(12.0).reshape(3, 4).T, np.arange(12)[::-2], np.asfortranarray(np.eye(3))])
def test_an_array_that_is_not_contiguous_comes_back(array: Array) -> None:
    assert_same(through(array, "y_proba"), array)


def test_all_five_arrays_of_a_row_come_back_together() -> None:
    given = {
        "y_true": np.array(["a", "b"]),
        "y_pred": np.array([1, 2**60]),
        "y_proba": np.array([[0.5, 0.5], [np.nan, 1]], dtype=np.float32),
        "sample_indices": np.array([7, 9], dtype=np.uint8),
        "weights": np.array([True, False]),
    }
    found = decode_all(encode_all({name: checked_array(value, name) for name, value in given.items()}))
    assert list(found) == [*given, "classes"]
    for name, value in given.items():
        back = found[name]
        assert back is not None
        assert_same(back, value)


PROBA = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("proba", "classes", "expected"),
    [
        (PROBA, np.array(["no", "yes"]), ["no", "yes"]),
        (PROBA, [1, 2], [1, 2]),
        (PROBA, np.array([1.0, 2.0]), [1.0, 2.0]),
        ([PROBA, PROBA[:, :1]], [np.array([False, True]), ["a"]], [[False, True], ["a"]]),
        (PROBA, None, None),
    ],
)
def test_the_columns_of_probabilities_had_no_names(proba: Any, classes: Any, expected: Any) -> None:
    found = decode_all(encode_all(dict.fromkeys(ARRAY_NAMES) | {"y_proba": proba}, checked_classes(classes, proba)))[
        "classes"
    ]
    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("proba", "classes"),
    [
        (PROBA, ["a"]),
        (None, ["a", "b"]),
        ([PROBA, PROBA], ["a", "b"]),
        (PROBA[None], ["a", "b"]),
        (PROBA, [["a"], "b"]),
    ],
)
def test_names_that_are_not_one_for_each_column_are_refused(proba: Any, classes: Any) -> None:
    with pytest.raises(InvalidInputError):
        checked_classes(classes, proba)


def test_what_a_list_holds_is_what_numpy_makes_of_it() -> None:
    values: list[Any] = [[1, 2], [1.5, 2], [True], ["a", "bc"], [[1, 2], [3, 4]], ("a",), [], [[]]]
    for value in values:
        assert_same(checked_array(value, "y_true"), np.asarray(value))


@pytest.mark.parametrize(
    "value",
    [
        np.array([1j]),
        np.array([1j], dtype=np.complex64),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.array([1], dtype="timedelta64[s]"),
        np.array([b"a"]),
        np.array([1.5], dtype=np.longdouble),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
        np.array(["a", None], dtype=object),
        np.array(["a", 1], dtype=object),
        np.array([1, 2], dtype=object),
        np.array(["a"], dtype=np.dtypes.StringDType(na_object=None)),
        ["a", 1],
        [["a", "b"], ["c", 1.5]],
        ("a", True),
        ["a", None],
        ["a", b"b"],
        [None],
        [1, 2**64],
        [object],
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_elements_that_cannot_come_back_are_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=f"^{name} "):
        checked_array(value, name)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(1.5), "0 dimensions"),
        (1.5, "0 dimensions"),
        ("abc", "0 dimensions"),
        (np.zeros((2, 2, 2)), "3 dimensions"),
        ([[1, 2], [3]], "ragged"),
        ([["a"], ["b", "c"]], "ragged"),
        (np.ma.array([1, 2], mask=[True, False]), "masked"),
        (np.ma.array([1, 2]), "masked"),
        (np.array(["a", "\ud800"]), "surrogate"),
        (["\udfff"], "surrogate"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_arrays_of_a_shape_or_text_that_cannot_be_kept_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} .*{message}"):
        checked_array(value, name)


def test_an_array_of_enums_once_came_back_as_the_names_of_their_members() -> None:
    class Kind(str, Enum):  # noqa: UP042  # str() of a StrEnum is its value
        A = "arab"

    class Liar(str):
        def __str__(self) -> str:
            return "lie"

    found = through(np.array([Kind.A, Liar("truth")], dtype=object), "y_true")
    assert [type(item) for item in found] == [str, str]
    assert found.tolist() == ["arab", "truth"]


@pytest.mark.parametrize(
    "value",
    [
        pl.Series([2**53 + 1, None]),
        pl.DataFrame({"a": [2**53 + 1, None]}),
        pa.array([2**53 + 1, None]),
        pl.DataFrame({"a": [2**53 + 1], "b": [0.5]}),
    ],
    ids=["series", "frame", "arrow", "beside floats"],
)
def test_integers_beside_a_null_or_floats_were_rounded(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="y_true holds integers and nulls|y_true mixes floats"):  # noqa: RUF043
        checked_array(value, "y_true")


def test_a_series_without_nulls_and_one_of_floats_are_taken() -> None:
    assert_same(checked_array(pl.Series([2**53 + 1]), "y_true"), np.array([2**53 + 1]))
    assert_same(checked_array(pl.Series([1.5, None]), "y_true"), np.array([1.5, np.nan]))
    assert_same(checked_array(pl.DataFrame({"a": [1], "b": [0.5]}), "y_true"), np.array([[1, 0.5]]))


def test_a_damaged_layout_gave_a_part_of_the_probabilities_for_all() -> None:
    row = encode_all({"y_proba": [np.ones((2, 2)), np.zeros((2, 3))]}) | {"prediction_id": "p"}
    empty: dict[str, Any] = dict.fromkeys(name for array in ARRAY_NAMES for name in (array, f"{array}_text"))
    assert decode_all(empty | row)["y_proba"] is not None
    row["layout"] = row["layout"].replace("[2, 3]", "[2, 2]")
    with pytest.raises(WorkspaceCorruptError, match="longer than its layout"):
        decode_all(empty | row)
