"""A chain as one file: `.n4a`, a ZIP to load anywhere, and `.n4a.py`, a script that predicts by itself."""

from __future__ import annotations

import ast
import base64
import inspect
import json
import platform
import textwrap
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from ..artifacts.codecs import Trust, checked_trust, codec, packages_in
from ..artifacts.codecs import load as load_object
from ..artifacts.local_store import sha256
from ..artifacts.packages import SCRIPTS, is_only_here
from ..call_boundary import public
from ..chains import inference, probabilities
from ..chains.estimator import ChainClassifier, ChainRegressor, as_estimator
from ..chains.fitted import FittedChain
from ..chains.plan import plan
from ..chains.training_columns import TrainedOn
from ..datasets import column_names
from ..errors import InvalidInputError, UntrustedArtifactError
from ..filesystem.atomic_files import checked_path, whole_file, with_suffix_added, write_whole
from ..validation.values import FLOAT_KEY, utc_now, without_odd_floats, without_twins
from ..version import __version__
from .bundle_reader import (
    ARTIFACT_KEYS,
    CHAIN,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PIPELINE_KEYS,
    PREDICTION_KEYS,
    VERSION_WITHOUT_ODD_FLOATS,
    Bundle,
    content_sha256,
    read_bundle,
)
from .script_template import SCRIPT

FORMATS = ("n4a", "n4a.py")

Row = dict[str, Any]


def write_bundle(chain: Row, artifacts: list[Row], contents: dict[str, bytes], results: Row, output_path: Path) -> Path:
    """Write a `.n4a`.

    Parameters
    ----------
    chain : dict
        As `ChainRepo.get` gives it.
    artifacts : list of dict
        The rows of every artifact that the chain names.
    contents : dict of str to bytes
        Their checked bytes, by content hash.
    results : dict
        The `pipeline` that the chain comes from, None if it is gone, and the scores of its `predictions`.
    output_path : Path

    Returns
    -------
    Path
        The file, whole and on the disk.

    Raises
    ------
    ChainReplayError
        The chain cannot replay as it is stored.
    """
    described = [{key: row[key] for key in ARTIFACT_KEYS} | {"member": _member(row)} for row in artifacts]
    plan(chain)  # What cannot replay here would not be read elsewhere.
    row = results["pipeline"]
    pipeline = {key: row[key] for key in PIPELINE_KEYS} if row else {}
    predictions = [{key: row[key] for key in PREDICTION_KEYS} for row in results["predictions"]]
    told = _json({"chain": chain, "artifacts": described, "pipeline": pipeline, "predictions": predictions})
    read = json.loads(told, object_pairs_hook=without_twins)  # As readers have it, who compare the hash of it.
    members = {CHAIN: told}
    members |= {_member(row): contents[row["content_hash"]] for row in artifacts}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if FLOAT_KEY.encode() in told else VERSION_WITHOUT_ODD_FLOATS,
        "created_at": utc_now(),
        "chain_id": chain["chain_id"],
        "model_class": chain["model_class"],
        "versions": {"nirs4all_store": __version__,
                     "python": platform.python_version(), "packages": _packages(artifacts)},
        "content_sha256": content_sha256(
            read["chain"], {row["artifact_id"]: row for row in artifacts}, read["pipeline"], read["predictions"]
        ),
        "sha256": {name: sha256(content) for name, content in members.items()},
    }  # fmt: skip
    output_path = with_suffix_added(output_path, ".n4a")
    with whole_file(output_path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MANIFEST: _json(manifest), **members}.items():
            archive.writestr(name, content)
    return output_path


def check_loads_elsewhere(artifacts: list[Row], contents: dict[str, bytes]) -> None:
    """Refuse objects of classes that only one script or folder has: an export of them could be used nowhere.

    Raises
    ------
    InvalidInputError
        The message names the class.
    """
    for row in artifacts:
        names, _ = _imports(row["format"], contents[row["content_hash"]])
        for name in names or []:
            if is_only_here(name):
                module = name.split(".")[0]
                by_value = (
                    "" if module in SCRIPTS else f"call cloudpickle.register_pickle_by_value({module}) there, and "
                )
                raise InvalidInputError(
                    f"artifact {row['artifact_id']} needs {name}, which only the script or folder that it is from has; "
                    f"{by_value}train it there again with PipelineRunner, or save it with format='cloudpickle'; or put "
                    "the class into a package that is installed, and train again; nothing was exported"
                )


def _member(row: Row) -> str:
    return f"artifacts/{row['content_hash']}{codec(row['format']).extension}"


def _json(value: Any) -> bytes:
    # What it holds was checked when it was saved, on its own: here it lies deeper.
    plain = without_odd_floats(value)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, default=datetime.isoformat).encode()


def _packages(artifacts: list[Row]) -> dict[str, str | None]:
    """Return the packages that the artifacts were made with, and their versions."""
    found: dict[str, str | None] = {}
    for row in artifacts:
        found |= packages_in(row["provenance"])
    return dict(sorted(found.items()))


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
    wanted = plan(bundle.chain)
    loaded = {item: _load(bundle, item, trust, name) for item in wanted.ids}
    shared = [(label, loaded[item]) for label, item in wanted.shared]
    folds = {fold: [(label, loaded[item]) for label, item in entries] for fold, entries in wanted.folds.items()}
    return as_estimator(FittedChain(name, shared, folds, TrainedOn.of(bundle.chain)))


def _load(bundle: Bundle, artifact_id: str, trust: Trust, name: str) -> Any:
    row = bundle.artifacts[artifact_id]
    try:
        return load_object(bundle.contents[row["content_hash"]], row["format"], row["provenance"], trust)
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
    imports, problem = _imports(row["format"], content)
    return BundledObject(row["member"], row["content_hash"], len(content), row["format"], row.get("operator_class"),
                         imports, problem)  # fmt: skip


def _imports(format: str, content: bytes) -> tuple[list[str] | None, str | None]:
    """Return what an object would import, or why that cannot be told."""
    try:
        return codec(format).names(content), None
    except Exception as error:  # skops raises what it likes, too.
        return None, str(error)


def write_script(chain: Row, artifacts: list[Row], contents: dict[str, bytes], output_path: Path) -> Path:
    """Write a `.n4a.py`: one Python file that predicts where this package is not installed.

    Parameters and result are those of `write_bundle`.

    Raises
    ------
    UntrustedArtifactError
        It would unpickle what was imported and is not trusted.
    """
    wanted, trained_on = plan(chain), TrainedOn.of(chain)
    rows = {row["artifact_id"]: row for row in artifacts}
    untrusted = [row["artifact_id"] for row in artifacts if row["trust"] not in (None, True)]
    if untrusted:
        raise UntrustedArtifactError(
            f"chain {chain['chain_id']} was imported, and a script would unpickle {untrusted} unasked; "
            "call trust_chain(chain_id, True) first, if you know who made it"
        )
    objects = {
        rows[item]["content_hash"]: (rows[item]["format"], _base64(contents[rows[item]["content_hash"]]))
        for item in wanted.ids
    }
    script = SCRIPT.format(
        about={"chain_id": chain["chain_id"], "model_class": chain["model_class"],
               "exported_at": utc_now().isoformat(timespec="seconds")},
        packages=_packages([rows[item] for item in wanted.ids]),
        inference="\n\n\n".join(map(_source_below_imports, (probabilities, inference, column_names))),
        columns=trained_on.columns,
        wavelengths=trained_on.wavelengths,
        shared=[(label, rows[item]["content_hash"]) for label, item in wanted.shared],
        folds={fold: [(label, rows[item]["content_hash"]) for label, item in entries]
               for fold, entries in wanted.folds.items()},
        objects=_objects_source(objects),
    )  # fmt: skip
    return write_whole(with_suffix_added(output_path, ".n4a.py"), script.encode())


def _source_below_imports(module: ModuleType) -> str:
    """Return the text of a module that needs numpy alone and others that go into the script before it."""
    source = inspect.getsource(module)
    last = max(node.end_lineno or 0 for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(source.splitlines()[last:]).strip()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _objects_source(objects: dict[str, tuple[str, str]]) -> str:
    """Return the objects as source text: hash to format and base64, in lines that an editor can show."""
    entries = []
    for digest, (kind, text) in objects.items():
        lines = "\n".join(f"        {line!r}" for line in textwrap.wrap(text, 100))
        entries.append(f"    {digest!r}: ({kind!r}, (\n{lines}\n    )),")
    return "\n".join(entries)
