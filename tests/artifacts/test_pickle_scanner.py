"""The gate of pickles: what it lists, what it lets through, and that this is loaded as it would be without."""

import io
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from bundles import LABELS, RIDGE, RNG, X, Y
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nirs4all_store import UntrustedArtifactError
from nirs4all_store.artifacts.safe_loading.pickle_scanner import UnlistableError, imported_globals
from nirs4all_store.artifacts.safe_loading.safe_unpickler import SAFE_GLOBALS, load_with


@pytest.mark.parametrize(
    "fitted",
    [
        StandardScaler().fit(X),
        Ridge().fit(X, Y),
        make_pipeline(StandardScaler(), Ridge()).fit(X, Y),
        RandomForestClassifier(3, random_state=0).fit(X, LABELS),
        {"fortran": np.asfortranarray(X), "objects": np.array([{1}, "x"], dtype=object), "bytes": bytearray(b"x" * 9)},
    ],
)
def test_what_may_import_all_it_needs_loads_as_it_would_otherwise(fitted: Any) -> None:
    for content in (dumped(fitted), *(pickle.dumps(fitted, protocol) for protocol in (2, 3, 4, 5))):
        is_joblib = content == dumped(fitted)
        names = [name for name in imported_globals(content, is_joblib=is_joblib) if name not in SAFE_GLOBALS]
        loaded = load_with(content, names, is_joblib=is_joblib)
        assert repr(loaded) == repr(fitted)
        if hasattr(fitted, "predict"):
            np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
        for left_out in names:
            with pytest.raises(UntrustedArtifactError, match=left_out):
                load_with(content, [name for name in names if name != left_out], is_joblib=is_joblib)


def dumped(value: Any) -> bytes:
    """Return what joblib would write."""
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


DTYPES = [
    "f8",
    ">f8",
    ">i4",
    "S5",
    ">U3",
    "V7",
    "M8[ns]",
    ">m8[25s]",
    "m8",
    "?",
    "c8",
    [("a", "i4"), ("b", ">f8")],
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    [("t", [("x", ">i2")])],
    "M8",
    ">m8[3D]",
    "f2",
    "f16",
    [("a", "f4", (2,)), ("b", "u1", (2, 3))],
    [(("a title", "a"), "f4"), ("b", "i2")],
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dump", [pickle.dumps, dumped], ids=["pickle", "joblib"])
def test_arrays_of_every_dtype_pass_the_gate_as_they_would_without(dtype: Any, dump: Callable[[Any], bytes]) -> None:
    raw = RNG.integers(0, 2, 60 * np.dtype(dtype).itemsize, dtype=np.uint8).tobytes()
    array = np.frombuffer(raw, dtype)
    content = dump([array, array[::2].copy(), array.dtype])
    expected, found = joblib.load(io.BytesIO(content)), load_with(content, [], is_joblib=dump is dumped)
    assert found[2].__reduce__() == array.dtype.__reduce__()
    assert found[2] == expected[2] == array.dtype
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")  # joblib itself gives native ones.
        assert one.dtype.isalignedstruct == other.dtype.isalignedstruct
        np.testing.assert_array_equal(one, other)


def test_a_dtype_with_a_lying_state_once_killed_the_process() -> None:
    class Lying:
        def __reduce__(self) -> Any:
            return np.dtype, ("m8", False, True), (3, "<", None, None, None, -1, -1, 247)

    with pytest.raises(UntrustedArtifactError, match="dtype"):
        load_with(pickle.dumps(Lying()), [], is_joblib=False)


def test_a_pickle_once_could_change_a_class_that_was_trusted() -> None:
    content = b"\x80\x04\x8c\x1bsklearn.linear_model._ridge\x8c\x05Ridge\x93N}\x8c\x07predictK\x05s\x86b."
    with pytest.raises(UntrustedArtifactError, match="changes <class"):
        load_with(content, [RIDGE], is_joblib=False)
    assert callable(Ridge.predict)


class Touches:
    """Makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_what_was_refused_halfway_had_run_what_stood_before(tmp_path: Path) -> None:
    content = pickle.dumps([Touches(tmp_path / "touched"), Ridge()])
    others = [name for name in imported_globals(content, is_joblib=False) if name != RIDGE]
    with pytest.raises(UntrustedArtifactError, match=RIDGE):
        load_with(content, others, is_joblib=False)
    assert not (tmp_path / "touched").exists()
    load_with(content, [*others, RIDGE], is_joblib=False)
    assert (tmp_path / "touched").exists()


def test_what_cannot_be_listed_is_said_to_be_so(tmp_path: Path) -> None:
    compressed = io.BytesIO()
    joblib.dump(Ridge().fit(X, Y), compressed, compress=3)
    whole = pickle.dumps(Ridge().fit(X, Y))
    for content, why in [
        (compressed.getvalue(), "compressed"),
        (whole[:-20], "damaged"),
        (b"\x80\x05" + pickle.EXT1 + b"\x01.", "number"),
        (b"\x80\x05Pxyz\n.", "outside itself"),
        (b"\x80\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**62), "damaged"),
    ]:
        with pytest.raises(UnlistableError, match=why):
            imported_globals(content, is_joblib=False)
        with pytest.raises(UntrustedArtifactError, match="cannot be told"):
            load_with(content, [RIDGE], is_joblib=False)


def test_a_length_that_lies_took_memory_before_anything_was_read() -> None:
    content = b"\x80\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 10**8)
    tracemalloc.start()
    with pytest.raises(UnlistableError, match="damaged"):
        imported_globals(content, is_joblib=False)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


class Op:
    """The opcodes of a pickle, by name."""

    TEXT = staticmethod(lambda text: b"X" + struct.pack("<I", len(text)) + text.encode())
    RAW = staticmethod(lambda content: b"B" + struct.pack("<I", len(content)) + content)
    NAME = staticmethod(lambda module, name: f"c{module}\n{name}\n".encode())


WRAPPER = Op.NAME("joblib.numpy_pickle", "NumpyArrayWrapper")
NDARRAY, RECONSTRUCT = Op.NAME("numpy", "ndarray"), Op.NAME("numpy.core.multiarray", "_reconstruct")
SYSTEM = Op.NAME("os", "system") + b"(" + Op.TEXT("true") + b"tR0"
F8_STATE = b"(K\x03" + Op.TEXT("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def dtype(kind: str, state: bytes = F8_STATE) -> bytes:
    return Op.NAME("numpy", "dtype") + b"(" + Op.TEXT(kind) + b"\x89\x88tR" + state


def state_of(kind: bytes, length: int, more: bytes = b"") -> bytes:
    """The state that joblib gives its wrapper, without what ends it."""
    return (
        b"}("
        + Op.TEXT("subclass")
        + NDARRAY
        + Op.TEXT("shape")
        + b"(K"
        + bytes([length])
        + b"t"
        + Op.TEXT("order")
        + Op.TEXT("C")
        + Op.TEXT("dtype")
        + kind
        + Op.TEXT("allow_mmap")
        + b"\x88"
        + more
        + b"u"
    )


def behind_array(hidden: bytes, *, made: bytes = WRAPPER + b")\x81", kind: bytes = dtype("f8")) -> bytes:
    """Return a pickle that hides opcodes where joblib has the bytes of an array."""
    hidden += b"N."
    length = -(-len(hidden) // 8)
    return b"\x80\x04" + made + state_of(kind, length) + b"b" + hidden.ljust(8 * length, b".") + b"."


def test_a_plain_pickle_once_hid_names_where_joblib_has_the_bytes_of_an_array() -> None:
    content = behind_array(b"0" + SYSTEM)
    assert "os.system" in imported_globals(content, is_joblib=False)
    assert "os.system" not in imported_globals(content, is_joblib=True)  # joblib reads over it.
    assert isinstance(joblib.load(io.BytesIO(content)), np.ndarray)


def array_of(inner: bytes) -> bytes:
    """Return what joblib writes for an array of objects, whose bytes are a pickle."""
    object_state = F8_STATE.replace(b"<", b"|").replace(b"K\x00t", b"K?t")
    return b"\x80\x04" + WRAPPER + b")\x81" + state_of(dtype("O8", object_state), 1) + b"b" + inner + b"."


def test_the_pickle_of_an_array_of_objects_is_listed_too() -> None:
    assert "os.system" in imported_globals(array_of(b"\x80\x04" + SYSTEM + b"N."), is_joblib=True)
    assert RIDGE in imported_globals(dumped(np.array([Ridge(), "x"], dtype=object)), is_joblib=True)
    old = imported_globals(array_of(b"\x80\x02c__builtin__\neval\n."), is_joblib=True)
    assert {"__builtin__.eval", "builtins.eval"} <= set(old)  # Versions of joblib differ in which they import.


NOT_JOBLIBS = {
    "called": behind_array(SYSTEM, made=WRAPPER + b")R"),
    "made with arguments": behind_array(SYSTEM, made=WRAPPER + b"K\x01\x85\x81"),
    "made by a function": behind_array(SYSTEM, made=Op.NAME("copyreg", "__newobj__") + b"(" + WRAPPER + b"tR"),
    "in another place": b"\x80\x04" + WRAPPER + b"0N.",
    "of another name": behind_array(SYSTEM, made=Op.NAME("joblib.memory", "NumpyArrayWrapper") + b")\x81"),
    "of an older joblib": b"\x80\x04" + Op.NAME("joblib.numpy_pickle", "NDArrayWrapper") + b"0N.",
    "changed itself": behind_array(SYSTEM, made=WRAPPER + b"N}" + Op.TEXT("shape") + b")s\x86b" + b")\x81"),
    "with a state from elsewhere": b"\x80\x04"
    + WRAPPER
    + b")\x81"
    + state_of(dtype("f8"), 1)
    + b"q\x010h\x01b"
    + b"." * 8
    + b".",
    "with a key more": b"\x80\x04"
    + WRAPPER
    + b")\x81"
    + state_of(dtype("f8"), 1, Op.TEXT("more") + b"N")
    + b"b"
    + b"." * 8
    + b".",
    "with a key that is made": b"\x80\x04"
    + WRAPPER
    + b")\x81"
    + state_of(dtype("f8"), 1, Op.NAME("numpy", "str_") + b"(" + Op.TEXT("shape") + b"tR(K\x00t")
    + b"b"
    + b"." * 8
    + b".",
    "of a dtype with another state": behind_array(SYSTEM, kind=dtype("V8", F8_STATE.replace(b"<", b"|"))),
    "of a dtype with a state of six": behind_array(
        SYSTEM, kind=dtype("f8", b"(K\x03" + Op.TEXT("<") + b"NNK\x08K\x08tb")
    ),
    "of a dtype that says it has objects": behind_array(
        SYSTEM, kind=dtype("f8", F8_STATE.replace(b"K\x00t", b"K\x01t"))
    ),
    "of a dtype that changes twice": behind_array(SYSTEM, kind=dtype("f8", F8_STATE + F8_STATE)),
    "built again from the memo": b"\x80\x04"
    + WRAPPER
    + b")\x81q\x09"
    + state_of(dtype("f8"), 1)
    + b"b"
    + b"." * 8
    + b"h\x09}b.",
    "in an array of objects": array_of(behind_array(SYSTEM)),
    "changed once its objects are read": array_of(b"\x80\x04N.")[:-1] + b"}b.",
    "copied on the stack": b"\x80\x04N20.",
    "that is reached by way of a function": b"\x80\x04" + Op.NAME("joblib", "load.__globals__") + b"0N.",
}


@pytest.mark.parametrize("case", NOT_JOBLIBS)
def test_what_joblib_would_not_write_once_hid_names_and_now_cannot_be_told(case: str) -> None:
    with pytest.raises(UnlistableError):
        imported_globals(NOT_JOBLIBS[case], is_joblib=True)


FRESH = RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85" + Op.RAW(b"b") + b"tR"
ENCODED = {"bytes": Op.RAW(b"\0" * 8), "objects": b"]Na"}


def array_state(kind: bytes, content: bytes, length: int = 1) -> bytes:
    return b"(K\x01K" + bytes([length]) + b"\x85" + kind + b"\x89" + content + b"tb"


O8 = dtype("O8", F8_STATE.replace(b"<", b"|").replace(b"K\x00t", b"K?t"))
RECORDS = dtype(
    "V8", b"(K\x03" + Op.TEXT("|") + b"N" + Op.TEXT("a") + b"\x85}" + Op.TEXT("a") + O8 + b"K\x00\x86sK\x08K\x01K\x1btb"
)
SCALAR = Op.NAME("numpy.core.multiarray", "scalar")
ARRAY = FRESH + array_state(dtype("f8"), ENCODED["bytes"])
NOT_NUMPYS = {
    "ndarray called over bytes": NDARRAY + b"(K\x01\x85" + Op.TEXT("O") + Op.RAW(b"A" * 8) + b"tR",
    "ndarray made anew": NDARRAY + b"K\x01\x85\x85\x81",
    "ndarray made by copyreg": Op.NAME("copyreg", "_reconstructor") + b"(" + NDARRAY + NDARRAY + b"K\x05tR",
    "an array of another shape to begin with": RECONSTRUCT + b"(" + NDARRAY + b"K\x09\x85" + Op.TEXT("O") + b"tR",
    "a state twice": ARRAY + array_state(dtype("f8"), ENCODED["bytes"]),
    "an item put into an array": ARRAY + b"K\x00K\x01s",
    "items put into an array": ARRAY + b"(K\x00K\x01u",
    "an item added to an array": ARRAY + b"Na",
    "items added to a bytearray": b"\x96" + b"\x01" + b"\0" * 7 + b"x" + b"(K\x01e",
    "an array without a state": FRESH,
    "an array that refers to itself": FRESH + b"q\x01" + b"(K\x01K\x01\x85" + O8 + b"\x89]h\x01atb",
    "an array of objects over bytes": FRESH + array_state(O8, ENCODED["bytes"]),
    "an array of records with objects": FRESH + array_state(RECORDS, ENCODED["bytes"]),
    "an array that is too long": FRESH + array_state(dtype("f8"), ENCODED["bytes"], 2),
    "an array that is too short": FRESH + array_state(dtype("f8"), Op.RAW(b"\0" * 16)),
    "an array of objects made of bytes": FRESH + array_state(O8, ENCODED["bytes"], 8),
    "an array of objects in another": FRESH + array_state(O8, b"]" + FRESH + array_state(O8, b"]Na") + b"a"),
    "a scalar of objects": SCALAR + b"(" + O8 + b"NtR",
    "a scalar of a record with objects": SCALAR + b"(" + RECORDS + ENCODED["bytes"] + b"tR",
    "a scalar that is an array": SCALAR + b"(" + O8 + ARRAY + b"tR",
    "a buffer of objects": Op.NAME("numpy.core.numeric", "_frombuffer")
    + b"("
    + ENCODED["bytes"]
    + O8
    + b"K\x01\x85"
    + Op.TEXT("C")
    + b"tR",
    "a buffer over an array": Op.NAME("numpy.core.numeric", "_frombuffer")
    + b"("
    + ARRAY
    + dtype("f8")
    + b"K\x01\x85"
    + Op.TEXT("C")
    + b"tR",
    "a buffer over an array of bytes": Op.NAME("numpy.core.numeric", "_frombuffer")
    + b"("
    + FRESH
    + array_state(dtype("u1", F8_STATE.replace(b"<", b"|")), ENCODED["bytes"], 8)
    + dtype("f8")
    + b"K\x01\x85"
    + Op.TEXT("C")
    + b"tR",
    "a dtype without a state": Op.NAME("numpy", "dtype") + b"(" + Op.TEXT("f8") + b"\x89\x88tR",
    "a dtype of a type": Op.NAME("numpy", "dtype") + b"(" + NDARRAY + b"\x89\x88tR" + F8_STATE,
    "a dtype that says it has objects": dtype("f8", F8_STATE.replace(b"K\x00t", b"K\x01t")),
    "a dtype of no bytes": FRESH
    + array_state(dtype("V0", b"(K\x03" + Op.TEXT("|") + b"NNNK\x00K\x01K\x00tb"), b"B" + b"\0" * 4, 255),
    "a scalar type called": Op.NAME("numpy", "bytes_") + b"J\xff\xff\xff\x7f\x85R",
    "many bytes from a number": Op.NAME("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R",
    "another codec": Op.NAME("_codecs", "encode") + b"(" + Op.TEXT("x") + Op.TEXT("zlib") + b"tR",
    "a slice of slices": Op.NAME("builtins", "slice") + Op.NAME("builtins", "slice") + b"N\x85R\x85R",
    "an object made the old way": b"(" + Op.NAME("numpy", "ndarray") + b"K\x05o",
    "a key of tuples in tuples": b"})" + b"\x85" * 200_000 + b"Ns",
    "a set of tuples in tuples": b"\x8f()" + b"\x85" * 200_000 + b"\x90",
    "a frozen set of tuples in tuples": b"()" + b"\x85" * 200_000 + b"\x91",
    "a set made of tuples in tuples": Op.NAME("builtins", "set") + b"])" + b"\x85" * 200_000 + b"a\x85R",
    "a __setstate__ of its own": Op.NAME("sklearn.linear_model._ridge", "Ridge")
    + b")\x81}"
    + Op.TEXT("__setstate__")
    + RECONSTRUCT
    + b"s"
    + Op.TEXT("_sklearn_version")
    + Op.TEXT(sklearn.__version__)
    + b"sbNb",
    "a class for an object": Op.NAME("sklearn.linear_model._ridge", "Ridge") + b")\x81)\x81",
}


@pytest.mark.parametrize("case", NOT_NUMPYS)
def test_values_that_no_pickler_writes_once_reached_memory_that_was_not_theirs(case: str) -> None:
    content = b"\x80\x05" + NOT_NUMPYS[case] + b"."
    imported_globals(content, is_joblib=False)
    with pytest.raises(UntrustedArtifactError):
        load_with(content, [RIDGE], is_joblib=False)


@pytest.mark.parametrize("case", [case for case in NOT_NUMPYS if "tuples in tuples" in case])
def test_to_list_what_a_pickle_imports_once_ended_the_process(case: str) -> None:
    program = "import sys; from nirs4all_store.artifacts.safe_loading import pickle_scanner as scanner; "
    program += "scanner.imported_globals(sys.stdin.buffer.read(), is_joblib=False)"
    subprocess.run([sys.executable, "-c", program], input=b"\x80\x05" + NOT_NUMPYS[case] + b".", check=True)


def test_the_values_that_cannot_be_refused_are_those_that_picklers_write() -> None:
    for sound in (
        ARRAY,
        FRESH + array_state(O8, b"]Na"),
        RECORDS,
        SCALAR + b"(" + dtype("f8") + Op.RAW(b"8" * 8) + b"tR",
    ):
        content = b"\x80\x05" + sound + b"."
        expected = pickle.loads(content)
        np.testing.assert_array_equal(load_with(content, [], is_joblib=False), expected)


VALUES = [
    np.array([np.array(5), [1, 2], np.zeros(3), {"a": None}], dtype=object),
    np.asfortranarray(np.array([["a", {1}], [2.5, b"b"]], dtype=object)),
    np.zeros((2, 3, 4)).transpose(1, 0, 2),
    np.zeros((0, 3)),
    np.array(3.0),
    np.array("", dtype="U2"),
    np.str_(""),
    np.str_("x\0y"),
    np.float32(1.5),
    np.datetime64("2020-01-01"),
    np.zeros(2, [("a", "i4"), ("b", "f8")])[1],
    np.bool_(True),
    bytearray(b"abc"),
    1 + 2j,
    frozenset([1, (2, 3)]),
    slice(1, None, 2),
    OrderedDict(b=1, a=2),
    object,
    np.float64,
    set,
    np.arange(6.0).reshape(2, 3)[:, ::2],
    np.frombuffer(b"12345678", "f8"),
    np.dtype("O"),
    np.longdouble(2),
    b"",
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_the_gate_makes_is_what_was_saved(value: Any, protocol: int) -> None:
    for found in (
        load_with(pickle.dumps(value, protocol), [], is_joblib=False),
        load_with(dumped(value), [], is_joblib=True),
    ):
        assert type(found) is type(value)
        assert repr(found) == repr(value)
        if isinstance(value, np.ndarray):
            assert (found.dtype, found.shape, found.flags.f_contiguous) == (
                value.dtype,
                value.shape,
                value.flags.f_contiguous,
            ) or value.base is not None
            assert [type(item) for item in found.flat] == [type(item) for item in value.flat]


@pytest.mark.parametrize(
    "value",
    [
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([[1.0]]).view(np.memmap),
        np.dtype("f8", metadata={"a": 1}),
        np.array([(1, {2})], dtype=[("a", "i4"), ("b", "O")]),
    ],
    ids=["recarray", "memmap", "metadata", "records with objects"],
)
def test_what_the_gate_cannot_make_exactly_is_refused_and_was_once_changed(value: Any) -> None:
    for content, is_joblib in ((pickle.dumps(value), False), (dumped(value), True)):
        names = imported_globals(content, is_joblib=is_joblib)
        with pytest.raises(UntrustedArtifactError, match="only trusted=True"):
            load_with(content, names, is_joblib=is_joblib)
