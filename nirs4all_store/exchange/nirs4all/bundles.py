"""Reads bundles that nirs4all 1.0 and later, and its `BundleGenerator` of any version, wrote.

Their files are named by the step and the fold of their objects. Some have the chain itself (`chain.json`), some the
configuration of its pipeline alone (`pipeline.json`), which says the same for a chain without models over models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...artifacts import checked_hash, sha256
from ...chains import ENCODER, as_ids, is_of_y, is_over_models, of_shared, own_chain
from ...errors import BundleError

Row = dict[str, Any]
FILE = re.compile(
    r"artifacts/step_(?P<idx>\d+)(?:_fold(?P<fold>[0-9A-Za-z]+))?(?P<name>(?:_(?!sub\d+\.)[A-Za-z0-9.-]+)*)"
    r"(?:_sub(?P<sub>\d+))?(?P<extension>\.[a-z]+)"
)
MEMBERS = ("pipeline.json", "train_pipeline.json", "trace.json", "fold_weights.json", "relation_replay_manifest.json")
"""What their bundles have beside objects, the manifest and the chain."""
ENDINGS = {".joblib": "joblib", ".pkl": "pickle"}
"""In which format files are that end so."""
HASHES, WEIGHTS, CONFIG = "artifact_integrity", "fold_weights.json", "pipeline.json"

Json = Callable[[str], Row]


def is_of_steps(members: dict[str, bytes]) -> bool:
    """Tell whether the files of a bundle are named by steps."""
    return any(FILE.fullmatch(name) for name in members)


def read_of_steps(manifest: Row, members: dict[str, bytes], json_of: Json) -> tuple[Row, list[Row]]:
    """Return the chain of such a bundle in the form of this package, and a description of each object.

    Parameters
    ----------
    manifest : dict
    members : dict of str to bytes
        Its files by name.
    json_of : callable
        Returns what stands in one of them.

    Raises
    ------
    BundleError
        It is damaged, or this package cannot say what its chain does.
    """
    files = _files(members)
    for name, digest in (manifest.get(HASHES) or {}).items():
        if name not in members or sha256(members[name]) != checked_hash(digest, BundleError):
            raise BundleError(f"it is damaged: the SHA-256 of {name} is not the one that its manifest names")
    config = json_of(CONFIG).get("steps") if CONFIG in members else None
    _check_weights(json_of(WEIGHTS) if WEIGHTS in members else {})
    if "chain.json" in members:
        chain = _told_chain(manifest, json_of("chain.json"))
        member_of = _members_of(chain, files)
    else:
        chain = _chain_of(manifest, config or [], files)
        member_of = {file["member"]: file["member"] for file in files}
    if is_over_models(chain):
        raise BundleError("it is a model over models, and has nothing of these; import the workspace it comes from")
    types = _types(chain)
    by_member = {file["member"]: file for file in files}
    rows = [_row(item, types.get(item), by_member[member], members[member]) for item, member in member_of.items()]
    own = own_chain(chain, {row["artifact_id"]: row for row in rows}, None, config)
    return own | {"chain_id": manifest.get("chain_id") or manifest.get("pipeline_uid")}, rows


def _files(members: dict[str, bytes]) -> list[Row]:
    """Return what the names of the files say, in the order of steps and of objects in a step."""
    found = [(name, FILE.fullmatch(name)) for name in members if name.startswith("artifacts/")]
    if odd := [name for name, told in found if told is None or told["extension"] not in ENDINGS]:
        raise BundleError(f"it has {odd[0]!r:.100}, whose name says no step, or whose format nothing here loads")
    files = [
        {"member": name, "idx": int(told["idx"]), "fold": told["fold"], "sub": int(told["sub"] or 0)}
        | {"name": told["name"].strip("_"), "extension": told["extension"]}
        for name, told in found
        if told is not None
    ]
    return sorted(files, key=lambda file: (file["idx"], file["sub"]))


def _check_weights(weights: Row) -> None:
    if len({round(float(weight), 9) for weight in weights.values()}) > 1:
        raise BundleError(
            "it weights the models of its folds, and here each counts the same; export the final model, or import the "
            "workspace it comes from"
        )


def _told_chain(manifest: Row, told: Row) -> Row:
    described = {name: manifest.get(name) or "" for name in ("model_class", "preprocessings", "fold_strategy")}
    nothing = {"chain_id": manifest.get("chain_id"), "branch_path": None, "source_index": None}
    return nothing | described | told


def _members_of(chain: Row, files: list[Row]) -> dict[str, str]:
    """Return the file of each object that a chain names."""
    shared = of_shared(chain)
    found: dict[str, str] = {}
    folds = {fold.removeprefix("fold_"): as_ids(entry) for fold, entry in (chain["fold_artifacts"] or {}).items()}
    for file in files:
        ids = shared.get(file["idx"], []) if file["fold"] is None else folds.get(file["fold"], [])
        if file["sub"] >= len(ids):
            raise BundleError(f"its {file['member']} belongs to no object of its chain; export it again")
        found[ids[file["sub"]]] = file["member"]
    missing = {*(item for ids in [*shared.values(), *folds.values()] for item in ids)} - found.keys()
    if missing:
        raise BundleError(f"it has no file of {len(missing)} of the objects of its chain; export it again")
    return found


def _chain_of(manifest: Row, config: list[Any], files: list[Row]) -> Row:
    """Return a chain as nirs4all would store it, of the configuration and the names of the files."""
    model_idx: int = manifest["model_step_index"]
    folds = {f"fold_{file['fold']}": file["member"] for file in files if file["fold"] is not None}
    models = [file for file in files if file["fold"] is not None]
    if not models or any(file["idx"] != model_idx for file in models) or len(folds) < len(models):
        raise BundleError("it does not tell which of its files is its model; import the workspace it comes from")
    shared: dict[str, list[str]] = {}
    for file in files:
        if file["fold"] is None:
            shared.setdefault(str(file["idx"]), []).append(file["member"])
    steps = [
        _step(number, told, [file for file in files if file["idx"] == number])
        for number, told in enumerate(config, 1)
        if number <= model_idx
    ]
    described = {"model_class": models[0]["name"], "preprocessings": "", "fold_strategy": manifest["fold_strategy"]}
    return _told_chain(described, {"steps": steps, "model_step_idx": model_idx}) | {
        "fold_artifacts": folds,
        "shared_artifacts": shared,
    }


def _step(number: int, told: Any, files: list[Row]) -> Row:
    inner = told.get("step", told) if isinstance(told, dict) else told
    name = ", ".join(dict.fromkeys(file["name"] for file in files)) or str(inner).rpartition(".")[2][:100]
    return {
        "step_idx": number,
        "operator_class": name,
        "params": inner if isinstance(inner, dict) else {},
        "artifact_ids": [file["member"] for file in files],
        "stateless": not files,
    }


def _types(chain: Row) -> dict[str, str]:
    """Return of which type the objects of a chain are, as far as its steps say: `encoder` transforms y."""
    found = {item: ENCODER for step in filter(is_of_y, chain["steps"]) for item in as_ids(step.get("artifact_ids"))}
    return found | {item: "model" for entry in (chain["fold_artifacts"] or {}).values() for item in as_ids(entry)}


def _row(artifact_id: str, artifact_type: str | None, file: Row, content: bytes) -> Row:
    return {
        "artifact_id": artifact_id,
        "content_hash": sha256(content),
        "operator_class": file["name"] or None,
        "artifact_type": artifact_type or "transformer",
        "format": ENDINGS[file["extension"]],
        "size_bytes": len(content),
        "provenance": None,
        "member": file["member"],
    }
