"""Reads a bundle (`.n4a`) from any source: everything in it is checked before it is used, and nothing is unpickled.

It also reads bundles that nirs4all wrote, most of which have no hashes.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from ..artifacts import CODECS, SKOPS, sha256
from ..chains import artifact_ids, checked_attachments, plan_replay, with_ids
from ..errors import BundleError, StoreError
from ..filesystem import near_files
from ..storage import ChainRecord, Pipeline, PredictionRecord, Record
from ..validation import reject_duplicate_keys
from .legacy_bundle import read_old
from .nirs4all.bundles import MEMBERS, is_of_steps, read_of_steps

FORMAT = "nirs4all_store.n4a"
FORMAT_VERSION = 2
# Readers of version 1 take the objects that stand for NaN and infinities for other content, and so for damage, and
# would average a final model among the folds. What has anything of the kind says that it is newer, all else is for
# them, too.
FIRST_VERSION = 1
MANIFEST, CHAIN = "manifest.json", "chain.json"
MEMBER = re.compile(
    rf"manifest\.json|chain\.json|{'|'.join(map(re.escape, MEMBERS))}|artifacts/[0-9A-Za-z_][0-9A-Za-z_.+-]{{0,199}}"
)
MAX_MEMBERS = 10_000
MAX_BYTES = 4 * 2**30
# What a member may expand to: fitted objects full of zeros shrink to a hundredth.
MAX_RATIO = 200
BYTES_AT_ANY_RATIO = 64 * 2**20
CHUNK = 2**20
# Every workspace has ids of its own, which mean nothing elsewhere.
IDS = ("prediction_id", "chain_id", "pipeline_id")
FIELDS: dict[type[Record | Pipeline], dict[str, bool]] = {
    kind: {field.name: field.default is MISSING for field in fields(kind) if field.name not in IDS}
    for kind in (ChainRecord, PredictionRecord)
}
FIELDS[Pipeline] = {
    "name": True,
    "expanded_config": True,
    "generator_choices": True,
    "dataset_name": True,
    "dataset_hash": True,
    "best_val": True,
    "best_test": True,
    "metric": True,
    "duration_ms": True,
    "original_template": False,
    "judged_by": False,
}
"""What a bundle has of a row, and whether bundles had it from the first on: then it has no default."""
CHAIN_KEYS, PREDICTION_KEYS, PIPELINE_KEYS = (tuple(FIELDS[kind]) for kind in (ChainRecord, PredictionRecord, Pipeline))
# Those, and what says which chain it was.
TOLD_CHAIN_KEYS = ("chain_id", "pipeline_id", "created_at", *CHAIN_KEYS)
MANIFEST_KEYS = (
    "format",
    "format_version",
    "created_at",
    "exported_at",  # Not in each: the first bundles have `created_at` only.
    "chain_id",
    "model_class",
    "versions",
    "content_sha256",
    "sha256",
)
ARTIFACT_KEYS = ("artifact_id", "content_hash", "operator_class", "artifact_type", "format", "size_bytes", "provenance")

Row = dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle (`.n4a`).

    Attributes
    ----------
    path : Path
    manifest : dict
    chain : dict
        The keys of a chain's row that have a meaning outside its workspace.
    artifacts : dict of str to dict
        By the id that the chain names.
    contents : dict of str to bytes
        By SHA-256.
    pipeline : dict
        The pipeline that the chain comes from; empty if the bundle has none.
    predictions : list of dict
        The scores that the chain had, without their arrays.
    has_hashes : bool
        Whether the file has the SHA-256 of its members.
    """

    path: Path
    manifest: Row
    chain: Row
    artifacts: dict[str, Row]
    contents: dict[str, bytes]
    pipeline: Row
    predictions: list[Row]
    has_hashes: bool

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of the chain, its pipeline and scores; equal for every export of the same chain."""
        return content_sha256(self.chain, self.artifacts, self.pipeline, self.predictions)


def content_sha256(chain: Row, artifacts: dict[str, Row], pipeline: Row, predictions: list[Row]) -> str:
    """Return the SHA-256 of a chain, its pipeline and predictions, with artifacts named by their bytes."""
    hashes = {key: f"{row['format']}:{row['content_hash']}" for key, row in artifacts.items()}
    named = with_ids(without_unused(ChainRecord, {key: chain.get(key) for key in CHAIN_KEYS}), hashes)
    texts = sorted(_canonical(without_unused(PredictionRecord, row)) for row in predictions)
    return sha256(_canonical([named, without_unused(Pipeline, pipeline), texts]).encode())


def without_unused(kind: type[Record | Pipeline], row: Row) -> Row:
    """Return a row without the columns that were added since the first bundles, where they are None.

    So a bundle from before keeps the hash that it has, and where the column is not known yet, bundles that make no use
    of it are read.
    """
    return {name: value for name, value in row.items() if value is not None or FIELDS[kind].get(name, True)}


def uses_newer_columns(kind: type[Record | Pipeline], row: Row) -> bool:
    """Tell whether a row has a value in a column that the first bundles did not have."""
    return any(row.get(name) is not None for name, was_there in FIELDS[kind].items() if not was_there)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_bundle(path: Path) -> Bundle:
    """Read and check a `.n4a`.

    Raises
    ------
    BundleError
        The file is not a bundle, is damaged, has a newer format, or contains something that a bundle does not.
    """
    try:
        if not path.is_file():
            raise BundleError(f"it is no file{near_files(path) or '; give the path of a .n4a'}")
        with zipfile.ZipFile(path) as archive:
            members = _read_members(archive, path)
        manifest = _json_of(members, MANIFEST)
        if "format" not in manifest and manifest.keys() & {"chain_id", "bundle_format_version"}:
            if is_of_steps(members):
                chain, rows = read_of_steps(manifest, members, partial(_json_of, members))
            else:
                chain, rows = read_old(manifest, _json_of(members, CHAIN), members)
            return _bundle(path, manifest, chain, rows, members, {}, [], has_hashes=False)
        _check_manifest(manifest, members)
        parts = _with_keys(_json_of(members, CHAIN), ("chain", "artifacts", "pipeline", "predictions"))
        pipeline = _with_keys(parts["pipeline"], PIPELINE_KEYS) if parts["pipeline"] else {}
        predictions = [_with_keys(row, PREDICTION_KEYS) for row in parts["predictions"] or []]
        rows = [_with_keys(row, (*ARTIFACT_KEYS, "member")) for row in parts["artifacts"]]
        chain = _with_keys(parts["chain"], TOLD_CHAIN_KEYS)
        return _bundle(path, manifest, chain, rows, members, pipeline, predictions, has_hashes=True)
    except BundleError as error:
        raise BundleError(f"{path} cannot be read as a bundle: {error}") from error
    except StoreError as error:
        raise BundleError(f"{path} holds a chain that cannot be used: {error}") from error
    except Exception as error:  # A damaged ZIP, deep JSON, a missing key: zipfile and json raise what they like.
        raise BundleError(f"{path} cannot be read as a bundle: {error!r:.500}; export it again") from error


def _read_members(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """Return the bytes of every member, once the list of them is sound."""
    infos = _checked_members(archive)
    for info in infos:
        if info.orig_filename != info.filename or not MEMBER.fullmatch(info.filename):
            raise BundleError(
                f"it has a member named {info.orig_filename!r:.200}, which a bundle has not; nothing was read"
            )
    names = [info.filename.casefold() for info in infos]
    twins = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twins:
        raise BundleError(f"it has several members named {twins[0]!r}")
    budget = _budget(path)
    members = {}
    for info in infos:
        members[info.filename] = content = _read_member(archive, info, budget)
        budget -= len(content)
    return members


def _budget(path: Path) -> int:
    """Return how many bytes a bundle may expand to."""
    return min(MAX_BYTES, max(BYTES_AT_ANY_RATIO, MAX_RATIO * path.stat().st_size))


def _expanded(name: str, content: bytes, budget: int) -> int:
    """Return how many bytes a fitted object of skops', a ZIP itself, expands to, before skops reads it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = 0
            for info in _checked_members(archive):
                size += len(_read_member(archive, info, budget - size))
        return size
    except BundleError as error:
        raise BundleError(f"its member {name!r} is a ZIP itself, of which: {error}") from error


def _checked_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise BundleError(f"it has {len(infos)} members; a bundle has at most {MAX_MEMBERS}")
    for info in infos:
        _check_member(info)
    return infos


def _check_member(info: zipfile.ZipInfo) -> None:
    shown = repr(info.orig_filename)[:200]
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BundleError(f"its member {shown} is a link or no file; nothing was read")
    if info.flag_bits & 1:
        raise BundleError(f"its member {shown} is encrypted; export it again")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(f"its member {shown} is compressed in a way that bundles are not; export it again")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> bytes:
    """Read a member, counting: what its header says of its size is not believed."""
    chunks, size = [], 0
    with archive.open(info) as stream:
        while chunk := stream.read(CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > budget:
                raise BundleError(
                    f"it expands to more than {MAX_RATIO} times its size, or {MAX_BYTES >> 30} GiB; no bundle does"
                )
    if size != info.file_size:
        raise BundleError(f"its member {info.filename!r} has {size} bytes and says {info.file_size}")
    return b"".join(chunks)


def _json_of(members: dict[str, bytes], name: str) -> Row:
    if name not in members:
        raise BundleError(f"it has no {name}; export it again")
    found = json.loads(members[name], object_pairs_hook=reject_duplicate_keys)
    if not isinstance(found, dict):
        raise BundleError(f"its {name} is no JSON object")
    return found


def _check_manifest(manifest: Row, members: dict[str, bytes]) -> None:
    if manifest.get("format") != FORMAT or type(manifest.get("format_version")) is not int:
        raise BundleError(f"it is no bundle of this package: its format is {manifest.get('format')!r:.100}")
    if not 1 <= manifest["format_version"] <= FORMAT_VERSION:
        raise BundleError(
            f"it has format version {manifest['format_version']}, this package reads up to {FORMAT_VERSION}; "
            "install a newer nirs4all-store"
        )
    hashes = _with_keys(manifest, MANIFEST_KEYS)["sha256"]
    if hashes.keys() != members.keys() - {MANIFEST}:
        different = sorted(hashes.keys() ^ (members.keys() - {MANIFEST}))
        raise BundleError(f"its members are not those that its manifest names: {different[:5]}")
    for name, digest in hashes.items():
        if sha256(members[name]) != digest:
            raise BundleError(f"it is damaged: the SHA-256 of {name} is not the manifest's; export it again")


def _bundle(
    path: Path,
    manifest: Row,
    chain: Row,
    rows: list[Row],
    members: dict[str, bytes],
    pipeline: Row,
    predictions: list[Row],
    *,
    has_hashes: bool,
) -> Bundle:
    """Return a bundle whose parts belong together."""
    artifacts = {_checked_artifact(row, members)["artifact_id"]: row for row in rows}
    budget = _budget(path)
    for row in rows:
        if row["format"] == SKOPS:
            budget -= _expanded(row["member"], members[row["member"]], budget)
    unnamed = {name for name in members if name.startswith("artifacts/")} - {row["member"] for row in rows}
    if len(artifacts) < len(rows) or unnamed:
        raise BundleError(f"it has artifacts twice, or without a description: {sorted(unnamed)[:5]}")
    bundle = Bundle(
        path,
        manifest,
        {key: chain.get(key) for key in CHAIN_KEYS}
        | {"chain_id": chain.get("chain_id"), "attachments": checked_attachments(chain.get("attachments"))},
        artifacts,
        {row["content_hash"]: members[row["member"]] for row in rows},
        pipeline,
        predictions,
        has_hashes,
    )
    missing = [item for item in artifact_ids(bundle.chain) if item not in artifacts]
    if missing:
        raise BundleError(f"its chain names artifacts that are not in it: {missing[:5]}")
    plan_replay(bundle.chain)
    said = manifest.get("content_sha256", bundle.content_sha256)
    if said != bundle.content_sha256:
        raise BundleError("its content is not the one that its manifest names; export it again")
    return bundle


def _with_keys(row: Any, keys: tuple[str, ...]) -> Row:
    """Return a row with these keys, None where it says nothing; one with others is refused."""
    if not isinstance(row, dict) or not row.keys() <= {*keys}:
        others = sorted(row.keys() - {*keys}) if isinstance(row, dict) else row
        raise BundleError(f"it tells {others!r:.100}, where only {keys} belong; if newer versions do, install one")
    return {key: row.get(key) for key in keys}


def _is_provenance(value: Any) -> bool:
    """Tell whether this is what `codecs.versions_of` gives, or revision 0002 made; scripts have it as source text."""
    if value is None:
        return True
    if not isinstance(value, dict) or not value.keys() <= {"python", "packages", "nirs4all_cache"}:
        return False
    inner = [value.get(key, {}) for key in ("packages", "nirs4all_cache")]
    return all(isinstance(found, dict) for found in inner) and all(
        isinstance(text, str | None) for text in (value.get("python"), *(v for found in inner for v in found.values()))
    )


def _checked_artifact(row: Row, members: dict[str, bytes]) -> Row:
    expected: dict[str, Callable[[Any], bool]] = {
        "artifact_id": lambda value: isinstance(value, str),
        "member": lambda value: value in members,
        "content_hash": lambda value: sha256(members[row["member"]]) == value,
        "format": lambda value: value in CODECS,
        "provenance": _is_provenance,
    }
    for key, fits in expected.items():
        if not fits(row.get(key)):
            raise BundleError(f"the {key} of one of its artifacts is {row.get(key)!r:.100}; export it again")
    return row
