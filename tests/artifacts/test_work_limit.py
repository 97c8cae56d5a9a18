"""The work of reading what few bytes ask for: it is counted, whatever it is that grows without end."""

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from samples import slow
from test_pickle_scanner import FRESH, RECONSTRUCT, Op, array_of, array_state, dtype

from nirs4all_store import ArtifactLoadError, UntrustedArtifactError
from nirs4all_store.artifacts import codecs
from nirs4all_store.artifacts.safe_loading.pickle_scanner import UnlistableError, imported_globals
from nirs4all_store.artifacts.safe_loading.safe_numpy import MAX_NESTED, MAX_PARTS, dtype_of
from nirs4all_store.artifacts.safe_loading.safe_unpickler import load_with
from nirs4all_store.artifacts.safe_loading.work_limit import UNITS, UNITS_A_BYTE, TooMuchWorkError, WorkLimit


def many(levels: int = 19, first: bytes = b"K\x01\x85") -> bytes:
    """Return opcodes for a tuple that has one tuple three times, and so on: 3 ** levels to whoever unfolds it."""
    return first + b"\x94" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x87\x94" for i in range(levels))


def looked_for(memo: int) -> bytes:
    """Return opcodes for a frozen set that has another in it twice, and so on, from a place of the memo on."""
    made = b"(K\x01\x91\x94"
    for level in range(memo, memo + 18):
        inner = b"h" + bytes([level])
        made += b"0(" + inner + b"K\x01\x86" + inner + b"K\x02\x86\x91\x94"
    return made


def nested_dtype(fields: int, levels: int) -> bytes:
    """Return opcodes for a dtype of fields that are all the same dtype, and so on, all in the same place."""
    made = dtype("f8") + b"\x94"
    for level in range(levels):
        names = [Op.TEXT(f"f{number}") for number in range(fields)]
        told = b"".join(name + b"h" + bytes([level]) + b"K\x00\x86" for name in names)
        state = b"(K\x03" + Op.TEXT("|") + b"N(" + b"".join(names) + b"t}(" + told + b"uK\x08K\x01K\x10tb"
        made += b"0" + dtype("V8", state) + b"\x94"
    return made


COLLIDING = [1 + number * (2**61 - 1) for number in range(5_000)]
ENDLESS = {
    "a key": b"}" + many() + b"Ns",
    "keys": b"}(" + many() + b"Nu",
    "keys of a dict that is made at once": b"(" + many() + b"Nd",
    "members of a set": b"\x8f(" + many() + b"\x90",
    "members of a frozen set": b"(" + many() + b"\x91",
    "a set of a list": Op.NAME("builtins", "set") + b"]" + many() + b"a\x85R",
    "a frozen set of a list": Op.NAME("builtins", "frozenset") + b"]" + many() + b"a\x85R",
    "a frozen set of frozen sets": b"}(" + looked_for(0) + b"N" + looked_for(19) + b"Nu",
    "a name of a field": dtype("V8", b"(K\x03" + Op.TEXT("|") + b"N" + many() + b"\x85}" + b"K\x08K\x01K\x10tb"),
    "what reconstruct is given": RECONSTRUCT + b"(" + many() + b"K\x00\x85" + Op.RAW(b"b") + b"tR",
    "an encoding": Op.NAME("_codecs", "encode") + b"(" + Op.TEXT("x") + many() + b"tR",
    "the shape of an array": FRESH + array_state(dtype("f8"), Op.RAW(b"\0" * 8)).replace(b"K\x01\x85", many(), 1),
    "a base that is reconstructed": Op.NAME("copyreg", "_reconstructor") + b"(" + many() + many() + b"NtR",
    "a dtype of dtypes": nested_dtype(20, 9),
    "keys with one hash": pickle.dumps(dict.fromkeys(COLLIDING))[2:-1],
    "one long number as key of many": b"\x8b"
    + (100_000).to_bytes(4, "little")
    + b"\x01" * 100_000
    + b"\x940"
    + b"]("
    + b"}h\x00Ns" * 40_000
    + b"e",
    "bytes that are copied again and again": Op.RAW(b"x" * 200)
    + b"\x940"
    + Op.NAME("builtins", "bytearray")
    + b"\x940]("
    + b"h\x01h\x00\x85R" * 60_000
    + b"e",
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_few_bytes_once_made_the_gate_work_for_ever(case: str) -> None:
    content = b"\x80\x05" + ENDLESS[case] + b"."
    assert len(list(pickletools.genops(content))) > 3
    for is_joblib in (False, True):
        try:
            imported_globals(content, is_joblib=is_joblib)
        except UnlistableError:
            continue
        with pytest.raises(UntrustedArtifactError, match="only trusted=True"):
            load_with(content, [], is_joblib=is_joblib)


@pytest.mark.parametrize(("fields", "levels"), [(1, MAX_NESTED + 2), (22, 3)], ids=["deep", "many"])
def test_a_dtype_was_made_of_more_dtypes_than_numpy_goes_through(fields: int, levels: int) -> None:
    content = b"\x80\x05" + nested_dtype(fields, levels) + b"."
    with pytest.raises(UntrustedArtifactError, match="has a dtype of too many dtypes"):
        load_with(content, [], is_joblib=False)


def test_many_dtypes_of_many_dtypes_were_listed_one_after_the_other() -> None:
    field = Op.TEXT("f")
    state = b"(K\x03" + Op.TEXT("|") + b"N(" + field + b"t}(" + field + b"h\x03K\x00\x86uK\x08K\x01K\x10tb"
    with pytest.raises(UnlistableError, match="more work"):
        imported_globals(b"\x80\x05" + nested_dtype(21, 3) + 40 * (b"0" + dtype("V8", state)) + b".", is_joblib=False)


def test_a_name_of_a_field_was_hashed_before_it_was_looked_at() -> None:
    class Unhashed:
        def __hash__(self) -> int:
            raise AssertionError("it would take for ever")

    with pytest.raises(ValueError, match="names that are no text"):
        dtype_of(("V8", False, True), (3, "|", None, (Unhashed(),), {}, 8, 1, 16))


def test_a_tuple_was_hashed_before_it_was_counted() -> None:
    key: Any = (1,)
    for _ in range(11):
        key = (key, key, key)
    with pytest.raises(TooMuchWorkError):
        WorkLimit(0).hash({}, [key])


def test_a_key_was_deeper_than_it_may_be_since_a_part_of_it_was_known() -> None:
    work = WorkLimit(0)
    key: Any = ()
    for _ in range(15):
        key = (key,)
    work.hash({}, [key])
    for _ in range(10):
        key = (key,)
    with pytest.raises(TooMuchWorkError, match="tuples in tuples"):
        work.hash({}, [key])


def test_objects_in_an_array_share_what_may_be_done_with_the_rest() -> None:
    content = array_of(b"\x80\x05" + ENDLESS["a key"] + b".")
    with pytest.raises(UntrustedArtifactError, match=r"more work|cannot be told"):
        load_with(content, [], is_joblib=True)


@pytest.mark.parametrize(
    "value",
    [
        {(("a", 1), (2.5, None), (b"x", (True, (3,)))): 1, 2**200: 2, frozenset({(1, 2)}): {(1, (2, 3))}},
        {(number, "a", (number, number + 1)): number for number in range(20_000)},
        slow({"shared": [dict.fromkeys([(1, 2, 3)], number) for number in range(20_000)]}),
        np.zeros(3, [(f"w{number}", "f8") for number in range(2151)]),
        slow({2**61 * number for number in range(20_000)} | {float(number) for number in range(20_000)}),
    ],
    ids=["odd keys", "keys of tuples", "one key in many", "a field a wavelength", "long numbers"],
)
def test_what_people_save_is_no_more_work_than_it_may_be(value: Any) -> None:
    for protocol in (2, 4, 5):
        found = load_with(pickle.dumps(value, protocol), [], is_joblib=False)
        assert found.tobytes() == value.tobytes() if isinstance(value, np.ndarray) else found == value


def of_skops(change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Return a file of skops whose object was changed in its text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(codecs.dump([1], "skops"))) as sound, zipfile.ZipFile(buffer, "w") as made:
        schema = json.loads(sound.read("schema.json"))
        made.writestr("schema.json", json.dumps(schema | change(schema)))
    return buffer.getvalue()


def doubled(schema: dict[str, Any], kind: str, levels: int) -> dict[str, Any]:
    """Return an object of skops that has one in it twice, which has one twice, and so on."""
    part = schema["content"][0]
    for level in range(levels):
        part = {
            "__class__": kind,
            "__module__": "builtins",
            "__loader__": f"{kind.capitalize()}Node",
            "content": [part, {"__id__": level - 1} if level else part],
            "__id__": level,
        }
    return {"content": [part]}


@pytest.mark.parametrize("kind", ["list", "tuple"])
@pytest.mark.parametrize("levels", [20, 60])
def test_an_object_of_skops_once_was_many_by_its_name(kind: str, levels: int) -> None:
    content = of_skops(lambda schema: doubled(schema, kind, levels))
    with pytest.raises(UntrustedArtifactError, match="more work"):
        codecs.load(content, "skops", None, ["builtins.list"])
    with pytest.raises(ArtifactLoadError, match="more work"):
        codecs.load(content, "skops", None, True)
    assert codecs.load(of_skops(lambda schema: {}), "skops", None, []) == [1]


def test_the_limits_are_those_that_the_page_on_security_tells() -> None:
    assert (UNITS, UNITS_A_BYTE, MAX_NESTED, MAX_PARTS) == (100_000, 16, 10, 10_000)
