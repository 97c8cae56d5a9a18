"""The gate of pickles: what it lists, what it lets through, and that this is loaded as it would be without."""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from bundles import LABELS, RIDGE, RNG, X, Y
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nirs4all_store import UntrustedArtifactError
from nirs4all_store.pickles import HARMLESS, UnlistableError, load_with, names_in


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
    stream = io.BytesIO()
    joblib.dump(fitted, stream)
    for content in (stream.getvalue(), *(pickle.dumps(fitted, protocol) for protocol in (2, 3, 4, 5))):
        names = [name for name in names_in(content) if name not in HARMLESS]
        loaded = load_with(content, names)
        assert repr(loaded) == repr(fitted)
        if hasattr(fitted, "predict"):
            np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
        for left_out in names:
            with pytest.raises(UntrustedArtifactError, match=left_out):
                load_with(content, [name for name in names if name != left_out])


def dumped(value: Any) -> bytes:
    """Return what joblib would write."""
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


DTYPES = [
    "f8", ">f8", ">i4", "S5", ">U3", "V7", "M8[ns]", ">m8[25s]", "m8", "?", "c8", [("a", "i4"), ("b", ">f8")],
    np.dtype([("a", "i1"), ("b", "f8")], align=True), [("t", [("x", ">i2")])],
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dump", [pickle.dumps, dumped], ids=["pickle", "joblib"])
def test_arrays_of_every_dtype_pass_the_gate_as_they_would_without(dtype: Any, dump: Callable[[Any], bytes]) -> None:
    raw = RNG.integers(0, 2, 60 * np.dtype(dtype).itemsize, dtype=np.uint8).tobytes()
    array = np.frombuffer(raw, dtype)
    content = dump([array, array[::2].copy(), array.dtype])
    expected, found = joblib.load(io.BytesIO(content)), load_with(content, [])
    assert found[2] == expected[2] == array.dtype
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")  # joblib itself gives native ones.
        assert one.dtype.isalignedstruct == other.dtype.isalignedstruct
        np.testing.assert_array_equal(one, other)


def test_a_dtype_with_a_lying_state_once_killed_the_process() -> None:
    class Lying:
        def __reduce__(self) -> Any:
            return np.dtype, ("m8", False, True), (3, "<", None, None, None, -1, -1, 247)

    kind = load_with(pickle.dumps(Lying()), [])
    assert str(np.zeros(3, kind)) == "[0 0 0]"
    assert np.dtype("m8") == kind


def test_a_pickle_once_could_change_a_class_that_was_trusted() -> None:
    content = b"\x80\x04\x8c\x1bsklearn.linear_model._ridge\x8c\x05Ridge\x93N}\x8c\x07predictK\x05s\x86b."
    with pytest.raises(UntrustedArtifactError, match="changes <class"):
        load_with(content, [RIDGE])
    assert callable(Ridge.predict)


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
            names_in(content)
        with pytest.raises(UntrustedArtifactError, match="cannot be told"):
            load_with(content, [RIDGE])
