"""Predicting from a `.n4a` and looking into one, without a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Trust, checked_trust, codec, codecs
from ..call_boundary import public
from ..chains import ChainClassifier, ChainRegressor, FittedChain, TrainedOn, as_estimator, plan_replay
from ..errors import UntrustedArtifactError
from ..filesystem import checked_path
from .bundle_reader import Bundle, Row, read_bundle


@public
def load_bundle(path: str | Path, *, trusted: Any = False) -> ChainRegressor | ChainClassifier:
    """Read a `.n4a` as a fitted scikit-learn estimator, without any workspace.

    Parameters
    ----------
    path : path-like
    trusted : bool or list of types
        Unpickling runs code that the file names. True: you know who made the file. A list of types, or of their
        full names: it may import these, and nothing else. skops' own types need no trust.

    Returns
    -------
    ChainRegressor or ChainClassifier
        `predict`, and for classifiers `predict_proba` and `classes_`.

    Raises
    ------
    UntrustedArtifactError
        An object would import more than is trusted; nothing of it was unpickled. `inspect_bundle` lists it all.
    BundleError
        The file is no bundle, is damaged, or has a newer format.
    """
    trust = checked_trust(trusted)
    bundle = read_bundle(checked_path(path, "path"))
    name = f"bundle {bundle.path.name}"
    wanted = plan_replay(bundle.chain)
    loaded = {item: _load(bundle, item, trust, name) for item in wanted.ids}
    shared = [(label, loaded[item]) for label, item in wanted.shared]
    folds = {fold: [(label, loaded[item]) for label, item in entries] for fold, entries in wanted.folds.items()}
    return as_estimator(FittedChain(name, shared, folds, TrainedOn.of(bundle.chain)))


def _load(bundle: Bundle, artifact_id: str, trust: Trust, name: str) -> Any:
    row = bundle.artifacts[artifact_id]
    try:
        return codecs.load(bundle.contents[row["content_hash"]], row["format"], row["provenance"], trust)
    except UntrustedArtifactError as error:
        raise UntrustedArtifactError(f"{name}, {row['member']}: {error}; inspect_bundle() lists it all") from error


@dataclass(frozen=True)
class BundledObject:
    """One fitted object in a bundle.

    Attributes
    ----------
    member : str
        Its name in the ZIP.
    content_hash : str
        The SHA-256 of its bytes.
    size_bytes : int
    format, operator_class : str
        As the bundle says.
    imports : list of str or None
        The full names of the classes and functions that loading it would import; for skops, those that skops does
        not trust by itself. None: they cannot be told without running it.
    problem : str or None
        Why they cannot.
    """

    member: str
    content_hash: str
    size_bytes: int
    format: str
    operator_class: str | None
    imports: list[str] | None
    problem: str | None


@dataclass(frozen=True)
class BundleInfo:
    """What `inspect_bundle` found.

    Attributes
    ----------
    path : Path
    chain : dict
        Its steps and which artifacts they use.
    versions : dict
        What it was made with, as it says.
    content_sha256 : str
        The same wherever and whenever the chain was exported.
    has_hashes : bool
        Whether the file itself says what its bytes must be; nirs4all's own bundles do not.
    objects : list of BundledObject
    """

    path: Path
    chain: Row
    versions: Row
    content_sha256: str
    has_hashes: bool
    objects: list[BundledObject]


@public
def inspect_bundle(path: str | Path) -> BundleInfo:
    """Tell what is in a `.n4a`, and what loading it would import, without executing anything of it.

    Raises
    ------
    BundleError
        The file is no bundle, is damaged, or has a newer format.
    """
    bundle = read_bundle(checked_path(path, "path"))
    objects = [_described(row, bundle.contents[row["content_hash"]]) for row in bundle.artifacts.values()]
    versions = bundle.manifest.get("versions") or {}
    return BundleInfo(bundle.path, bundle.chain, versions, bundle.content_sha256, bundle.has_hashes, objects)


def _described(row: Row, content: bytes) -> BundledObject:
    imports, problem = imports_of(row["format"], content)
    return BundledObject(row["member"], row["content_hash"], len(content), row["format"], row.get("operator_class"),
                         imports, problem)  # fmt: skip


def imports_of(format: str, content: bytes) -> tuple[list[str] | None, str | None]:
    """Return what an object would import, or why that cannot be told."""
    try:
        return codec(format).names(content), None
    except Exception as error:  # skops raises what it likes, too.
        return None, str(error)
