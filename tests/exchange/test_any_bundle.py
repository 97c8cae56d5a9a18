"""Whatever comes as a bundle is imported whole or refused whole, and nothing of it is run."""

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from anything import JSON, MANY, NASTY, TEXTS, attempt
from bundles import Canary, chain_in, counts
from canary import listening
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from nirs4all_store import BundleError, WorkspaceStore, inspect_bundle
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.artifacts.safe_loading.safe_unpickler import SAFE_GLOBALS

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=12)
Members = dict[str, bytes]
MANIFEST, CHAIN = "manifest.json", "chain.json"


@dataclass(frozen=True)
class World:
    """A store to import into, the members of a sound bundle of each kind, and where a canary would land."""

    store: WorkspaceStore
    bundles: list[Members]
    canaries: list[bytes]
    outside: Path
    file: Path


@dataclass(frozen=True)
class Zip:
    """The bytes of a file, which nobody wants to see in a message, and what was done to it."""

    content: bytes = field(repr=False)
    changes: list[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bundles")
    bundles = []
    with WorkspaceStore(folder / "origin") as origin:
        for format in ("joblib", "skops"):
            fitted = StandardScaler().fit(X)
            chain_id = chain_in(origin, [Ridge(1).fit(X, Y), Ridge(2).fit(X, Y)], fitted, format)
            path = origin.export_chain(chain_id, folder / format)
            with zipfile.ZipFile(path) as archive:
                bundles.append({name: archive.read(name) for name in archive.namelist()})
    outside = folder / "outside"
    outside.mkdir()
    with WorkspaceStore(folder / "here") as store:
        yield World(store, bundles, canaries(outside / "canary"), outside, folder / "any.n4a")
    assert list(outside.iterdir()) == []


def places(value: Any) -> list[tuple[Any, ...]]:
    """Return the path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [(), *[(key, *path) for key, item in inner for path in places(item)]]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another value at a path."""
    if not path:
        return new
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


@st.composite
def changed_json(draw: st.DrawFn, text: bytes) -> bytes:
    """Return a JSON text in which some values are others, some keys are gone, and some are new."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        all_places = places(value)
        path = all_places[draw(st.integers(0, len(all_places) - 1))]
        what = draw(st.sampled_from(["replace", "remove", "add", "swap"]))
        if what == "remove" and path:
            parent = value
            for key in path[:-1]:
                parent = parent[key]
            del parent[path[-1]]
        elif what == "add":
            value = put(value, path, {draw(TEXTS): draw(JSON)})
        elif what == "swap":
            other = value
            for key in all_places[draw(st.integers(0, len(all_places) - 1))]:
                other = other[key]
            value = put(value, path, copy.deepcopy(other))
        else:
            value = put(value, path, draw(JSON))
    return json.dumps(value).encode("utf-8", "surrogatepass")


def canaries(path: Path) -> list[bytes]:
    """Return pickles that would create a file: every protocol, inside joblib's files, inside their arrays."""
    canary = Canary(path)
    found = [pickle.dumps(canary, protocol) for protocol in range(6)]
    for value in (canary, [np.array([canary], dtype=object), Ridge()], {"model": Ridge(), "more": canary}):
        for compress in (0, 3, ("lzma", 3)):
            buffer = io.BytesIO()
            joblib.dump(value, buffer, compress=compress)
            found.append(buffer.getvalue())
    return found


@st.composite
def objects(draw: st.DrawFn, world: World, content: bytes) -> bytes:
    """Return bytes for a fitted object: a pickle that would create a file, a damaged one, or anything."""
    kind = draw(st.sampled_from(["canary", "canary", "flip", "cut", "any"]))
    if kind == "canary":
        return world.canaries[draw(st.integers(0, len(world.canaries) - 1))]
    if kind == "any":
        return draw(st.binary(max_size=60))
    at = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:at]
    return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]


def with_object(members: Members, number: int, content: bytes) -> Members:
    """Give a bundle another object, under the hash that it has."""
    told = json.loads(members[CHAIN])
    row = told["artifacts"][number % len(told["artifacts"])]
    old, digest = row["member"], sha256(content)
    row |= {"content_hash": digest, "size_bytes": len(content), "member": old.replace(row["content_hash"], digest)}
    return {
        row["member"] if name == old else name: content if name == old else kept for name, kept in members.items()
    } | {CHAIN: json.dumps(told).encode()}


def with_hashes(members: Members) -> Members:
    """Let the manifest have the hashes of the members as they are."""
    try:
        manifest = json.loads(members[MANIFEST])
        manifest["sha256"] = {name: sha256(content) for name, content in members.items() if name != MANIFEST}
        manifest.pop("content_sha256", None)
    except (TypeError, AttributeError, ValueError):
        return members
    return members | {MANIFEST: json.dumps(manifest).encode("utf-8", "surrogatepass")}


@st.composite
def member_infos(draw: st.DrawFn) -> zipfile.ZipInfo:
    """Describe a member of a ZIP as only a hostile program would."""
    info = zipfile.ZipInfo("x")
    info.filename = draw(TEXTS | st.sampled_from([MANIFEST, CHAIN, "Chain.json", "artifacts/x.joblib", "artifacts/"]))[
        :60_000
    ]
    info.external_attr = draw(st.sampled_from([0, 0o120777 << 16, 0o040755 << 16, 0o020644 << 16, 2**32 - 1]))
    info.compress_type = draw(st.sampled_from([0, 8, 12, 14]))
    return info


@st.composite
def zips(draw: st.DrawFn, world: World) -> Zip:
    """Return a ZIP that began as a sound bundle."""
    members = dict(draw(st.sampled_from(world.bundles)))
    changes = draw(st.lists(st.sampled_from(["manifest", "chain", "object", "remove"]), max_size=2))
    for what in changes:
        if what == "object":
            name = draw(st.sampled_from(sorted(name for name in members if name.startswith("artifacts/")) or [CHAIN]))
            if CHAIN in members and name in members and name != CHAIN:
                try:
                    members = with_object(members, draw(st.integers(0, 2)), draw(objects(world, members[name])))
                except (KeyError, TypeError, AttributeError, ZeroDivisionError):
                    continue  # The JSON was changed before.
        elif what == "remove":
            members.pop(draw(st.sampled_from(sorted(members) or [""])), None)
        else:
            name = {"manifest": MANIFEST, "chain": CHAIN}[what]
            if name in members:
                members[name] = draw(changed_json(members[name]))
    if draw(st.integers(0, 9)):
        members = with_hashes(members) if MANIFEST in members else members
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for info in draw(st.just([]) | st.lists(member_infos(), max_size=2)):
            try:
                archive.writestr(info, b"x")
            except (UnicodeError, UserWarning, ValueError):
                continue  # zipfile itself does not write it.
    content = buffer.getvalue()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(content) - 1))
        content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
    return Zip(draw(st.sampled_from([b""] * 9 + [b"PK", b"#!/bin/sh\n"])) + content, changes)


def forget(world: World) -> None:
    """Remove what an example that failed has left behind, so that the next is not about it."""
    for run_id in world.store.list_runs()["run_id"]:
        world.store.delete_run(run_id)
    world.store.gc_artifacts(grace=timedelta(0))


def import_it(world: World, content: bytes, trusted: Any) -> bool:
    """Import a file, use what came of it in every way, and remove it; tell whether it was taken."""
    store = world.store
    world.file.write_bytes(content)
    before = counts(store)
    files = {*(store.workspace_path / "artifacts").rglob("*")}
    names = {*SAFE_GLOBALS, *(f"{kind.__module__}.{kind.__qualname__}" for kind in trusted or [])}
    with listening(store.workspace_path, may_unpickle=names):
        info = attempt(inspect_bundle, world.file)
        try:
            found = store.import_bundle(world.file, trusted=trusted)
        except BundleError as error:
            assert str(error)
            assert counts(store) == before
            assert {*(store.workspace_path / "artifacts").rglob("*")} == files
            return False
        assert info.content_sha256 == found.content_sha256
        assert store.check(deep=True).is_sound
        assert store.top_predictions(3).height <= 3
        attempt(store.replay_chain, found.chain_id, X)
        attempt(store.load_chain, found.chain_id)
    exports = world.file.parent / "exports"
    exports.mkdir(exist_ok=True)
    with listening(store.workspace_path, exports):
        again = store.export_chain(found.chain_id, exports / "again.n4a")
        second = store.import_bundle(again)
        third = store.export_chain(second.chain_id, exports / "third.n4a")
        assert inspect_bundle(third).content_sha256 == second.content_sha256 == inspect_bundle(again).content_sha256
        forget(world)
    assert set(counts(store).values()) == {0}
    return True


@MANY
@given(data=st.data())
def test_any_bundle_is_imported_whole_or_refused_whole(world: World, data: st.DataObject) -> None:
    forget(world)
    trusted = data.draw(st.sampled_from([False, False, [Ridge, StandardScaler], [Ridge]]))
    import_it(world, data.draw(zips(world)).content, trusted)


@MANY
@given(content=st.binary(max_size=200) | st.sampled_from([b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(26)]))
def test_any_file_that_is_no_bundle_is_refused(world: World, content: bytes) -> None:
    assert not import_it(world, content, [])


@pytest.mark.parametrize("number", range(2))
def test_the_sound_bundles_that_these_began_as_are_imported(world: World, number: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in world.bundles[number].items():
            archive.writestr(name, content)
    assert import_it(world, buffer.getvalue(), [Ridge, StandardScaler])


@pytest.mark.parametrize("name", [name for name in NASTY if name and "\0" not in name and len(name) < 60_000])
def test_any_path_of_a_bundle_is_read_or_refused(world: World, name: str) -> None:
    with listening(world.store.workspace_path):
        assert attempt(world.store.import_bundle, f"{world.outside}/{name}") is None
