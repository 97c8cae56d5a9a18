"""A chain as one file: `.n4a`, a ZIP to load anywhere, and `.n4a.py`, a script that predicts by itself."""

from __future__ import annotations

import base64
import inspect
import json
import platform
import textwrap
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from . import inference
from .blobs import sha256
from .chain_plan import Plan, plan
from .codecs import codec
from .codecs import load as load_object
from .errors import BundleError, StoreError, UntrustedArtifactError
from .estimator import ChainClassifier, ChainRegressor, as_estimator
from .files import checked_path, whole_file, with_suffix_added, write_whole
from .fitted import FittedChain
from .script_template import SCRIPT
from .values import utc_now
from .version import __version__

FORMAT = "nirs4all_store.n4a"
FORMAT_VERSION = 1
EXPORTED_ARTIFACT_KEYS = ("artifact_id", "content_hash", "operator_class", "artifact_type", "format", "size_bytes",
                          "provenance")  # fmt: skip

Row = dict[str, Any]


def write_bundle(chain: Row, artifacts: list[Row], contents: dict[str, bytes], output_path: Path) -> Path:
    """Write a `.n4a`.

    Parameters
    ----------
    chain : dict
        As `ChainRepo.get` gives it.
    artifacts : list of dict
        The rows of every artifact that the chain names.
    contents : dict of str to bytes
        Their checked bytes, by content hash.
    output_path : Path

    Returns
    -------
    Path
        The file, whole and on the disk.
    """
    described = [{key: row[key] for key in EXPORTED_ARTIFACT_KEYS} | {"member": _member(row)} for row in artifacts]
    members = {"chain.json": _json({"chain": chain, "artifacts": described})}
    members |= {_member(row): contents[row["content_hash"]] for row in artifacts}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_at": utc_now(),
        "chain_id": chain["chain_id"],
        "model_class": chain["model_class"],
        "versions": {"nirs4all_store": __version__,
                     "python": platform.python_version(), "packages": _packages(artifacts)},
        "sha256": {name: sha256(content) for name, content in members.items()},
    }  # fmt: skip
    output_path = with_suffix_added(output_path, ".n4a")
    with whole_file(output_path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"manifest.json": _json(manifest), **members}.items():
            archive.writestr(name, content)
    return output_path


def _member(row: Row) -> str:
    return f"artifacts/{row['content_hash']}{codec(row['format']).extension}"


def _json(value: Any) -> bytes:
    # What it holds was checked when it was saved, on its own: here it lies deeper.
    return json.dumps(value, ensure_ascii=False, default=datetime.isoformat).encode()


def _packages(artifacts: list[Row]) -> dict[str, str | None]:
    """Return the packages that the artifacts were made with, and their versions."""
    found: dict[str, str | None] = {}
    for row in artifacts:
        found |= (row["provenance"] or {}).get("packages", {})
    return dict(sorted(found.items()))


def load_bundle(path: str | Path, *, trusted: Literal[True, False] = False) -> ChainRegressor | ChainClassifier:
    """Read a `.n4a` as a fitted scikit-learn estimator, without any workspace.

    Parameters
    ----------
    path : path-like
    trusted : bool
        Loading runs code that the file names. Say True if you know who made the file.

    Returns
    -------
    ChainRegressor or ChainClassifier
        `predict`, and for classifiers `predict_proba` and `classes_`.

    Raises
    ------
    UntrustedArtifactError
        `trusted` is False; nothing of the file was unpickled.
    BundleError
        The file is no bundle, is damaged, or has a newer format.
    """
    path = checked_path(path, "path")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            _check_manifest(manifest, path)
            members = {
                name: _checked_member(archive, name, digest, path) for name, digest in manifest["sha256"].items()
            }
        described = json.loads(members["chain.json"])
        rows = {row["artifact_id"]: row for row in described["artifacts"]}
        wanted = plan(described["chain"])
        saved = {item: (members[rows[item]["member"]], rows[item]["format"]) for item in wanted.ids}
    except StoreError:
        raise
    except Exception as error:  # A damaged ZIP, bad JSON or a missing key: zipfile and json raise what they like.
        raise BundleError(f"{path} cannot be read as a bundle: {error!r}; export it again") from error
    if trusted is not True:
        raise UntrustedArtifactError(
            f"{path} holds {len(saved)} pickled objects, and unpickling runs whatever code they name; "
            "pass trusted=True if you know who made the file"
        )
    loaded = {item: load_object(*saved[item], rows[item].get("provenance")) for item in wanted.ids}
    return as_estimator(_fitted(f"bundle {path.name}", wanted, loaded))


def _check_manifest(manifest: Row, path: Path) -> None:
    if manifest["format"] != FORMAT or not isinstance(manifest["format_version"], int):
        raise BundleError(f"{path} is no bundle of this package: its format is {manifest['format']!r}")
    if manifest["format_version"] > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {manifest['format_version']}, this package reads up to {FORMAT_VERSION}; "
            "install a newer nirs4all-store"
        )
    if "chain.json" not in manifest["sha256"]:
        raise BundleError(f"{path} has no chain.json in its manifest; export it again")


def _checked_member(archive: zipfile.ZipFile, name: str, digest: str, path: Path) -> bytes:
    content = archive.read(name)
    if sha256(content) != digest:
        raise BundleError(f"{path} is damaged: the SHA-256 of {name} is not the manifest's; export it again")
    return content


def _fitted(name: str, wanted: Plan, loaded: dict[str, Any]) -> FittedChain:
    shared = [(label, loaded[item]) for label, item in wanted.shared]
    folds = {fold: [(label, loaded[item]) for label, item in entries] for fold, entries in wanted.folds.items()}
    return FittedChain(name, shared, folds)


def write_script(chain: Row, artifacts: list[Row], contents: dict[str, bytes], output_path: Path) -> Path:
    """Write a `.n4a.py`: one Python file that predicts where this package is not installed.

    Parameters and result are those of `write_bundle`.
    """
    wanted = plan(chain)
    rows = {row["artifact_id"]: row for row in artifacts}
    objects = {
        rows[item]["content_hash"]: (rows[item]["format"], _base64(contents[rows[item]["content_hash"]]))
        for item in wanted.ids
    }
    script = SCRIPT.format(
        about={"chain_id": chain["chain_id"], "model_class": chain["model_class"],
               "exported_at": utc_now().isoformat(timespec="seconds")},
        packages=_packages([rows[item] for item in wanted.ids]),
        inference=inspect.getsource(inference).split("from typing import Any\n", 1)[1].strip(),
        shared=[(label, rows[item]["content_hash"]) for label, item in wanted.shared],
        folds={fold: [(label, rows[item]["content_hash"]) for label, item in entries]
               for fold, entries in wanted.folds.items()},
        objects=_objects_source(objects),
    )  # fmt: skip
    return write_whole(with_suffix_added(output_path, ".n4a.py"), script.encode())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _objects_source(objects: dict[str, tuple[str, str]]) -> str:
    """Return the objects as source text: hash to format and base64, in lines that an editor can show."""
    entries = []
    for digest, (kind, text) in objects.items():
        lines = "\n".join(f"        {line!r}" for line in textwrap.wrap(text, 100))
        entries.append(f"    {digest!r}: ({kind!r}, (\n{lines}\n    )),")
    return "\n".join(entries)
