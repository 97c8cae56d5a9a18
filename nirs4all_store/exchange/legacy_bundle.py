"""Reads bundles that nirs4all 0.7 wrote. They have no hashes, and do not say which file belongs to which artifact id.

A file's name contains the class of its object and the first twelve digits of its SHA-256. Files are matched to ids by
the class; if several files of one class would give different predictions, the bundle is refused. Why that is enough:
docs/decisions/0009.
"""

from __future__ import annotations

import re
from typing import Any

from ..artifacts import CODECS, sha256
from ..chains import SOURCE_MAP, as_ids, is_of_y, own_chain
from ..errors import BundleError

NAME = re.compile(r"artifacts/(?P<kind_and_class>.+)_(?P<digits>[0-9a-f]{12})(?P<extension>\.[a-z]+)")

Row = dict[str, Any]


def read_old(manifest: Row, chain: Row, members: dict[str, bytes]) -> tuple[Row, list[Row]]:
    """Return the chain of such a bundle in the form of this package, and a description of each artifact.

    Raises
    ------
    BundleError
        It is damaged, or its files cannot be matched to the artifact ids.
    """
    folds = {fold: as_ids(entry) for fold, entry in (chain["fold_artifacts"] or {}).items()}
    shared = {idx: as_ids(entry) for idx, entry in (chain["shared_artifacts"] or {}).items() if idx != SOURCE_MAP}
    models = list(dict.fromkeys(item for ids in folds.values() for item in ids))
    classes = {item: step["operator_class"] for step in chain["steps"] for item in as_ids(step.get("artifact_ids"))}
    wanted = {item: classes.get(item) for ids in shared.values() for item in ids}
    wanted |= dict.fromkeys(models, manifest["model_class"])
    rows = _rows(wanted, set(models), members)
    if any(map(is_of_y, chain["steps"])):
        described = {"chain_id": manifest["chain_id"], "branch_path": None, "source_index": None}
        described |= {name: manifest[name] for name in ("model_class", "preprocessings", "fold_strategy")}
        own = own_chain(described | chain, {row["artifact_id"]: row for row in rows})
        return own | {"chain_id": manifest["chain_id"]}, rows
    return {
        "chain_id": manifest["chain_id"],
        "steps": [_own_step(step) for step in chain["steps"] if _belongs(step, chain["model_step_idx"], wanted)],
        "model_step_idx": chain["model_step_idx"],
        "model_class": manifest["model_class"],
        "preprocessings": manifest["preprocessings"],
        "fold_strategy": manifest["fold_strategy"],
        "fold_artifacts": folds,
        "shared_artifacts": shared,
    }, rows


def _belongs(step: Row, model_step_idx: int, wanted: Row) -> bool:
    """Tell whether a step is this chain's: nirs4all lists those of its pipeline's other models and branches, too."""
    if step.get("stateless") or step["step_idx"] == model_step_idx:
        return True
    return any(item in wanted for item in as_ids(step.get("artifact_ids")))


def _own_step(step: Row) -> Row:
    # The ids are under fold_artifacts and shared_artifacts, which is where a replay takes them from.
    return {key: value for key, value in step.items() if key != "artifact_ids"} | {"artifact_id": None}


def _rows(wanted: dict[str, str | None], models: set[str], members: dict[str, bytes]) -> list[Row]:
    files = sorted(name for name in members if name.startswith("artifacts/"))
    by_class: dict[str, list[str]] = {}
    for artifact_id, operator_class in wanted.items():
        by_class.setdefault(str(operator_class).split(".")[-1], []).append(artifact_id)
    rows = []
    for name, ids in by_class.items():
        own = [file for file in files if _is_of_class(file, name)]
        # The folds' models are averaged: which of them is whose makes no difference. Everything else does.
        if len(own) != len(ids) or (len(ids) > 1 and not models.issuperset(ids)):
            raise BundleError(
                f"it does not tell which of its {len(own)} files of {name} are those of {len(ids)} artifacts; "
                "upgrade the workspace that it comes from, and export the chain again"
            )
        rows += [
            _row(artifact_id, name, artifact_id in models, file, members[file])
            for artifact_id, file in zip(ids, own, strict=True)
        ]
    return rows


def _is_of_class(file: str, name: str) -> bool:
    found = NAME.fullmatch(file)
    return found is not None and f"_{found['kind_and_class']}".endswith(f"_{name}")


def _row(artifact_id: str, name: str, is_model: bool, file: str, content: bytes) -> Row:
    found = NAME.fullmatch(file)
    content_hash = sha256(content)
    formats = [key for key, codec in CODECS.items() if found and codec.extension == found["extension"]]
    if found is None or not formats or not content_hash.startswith(found["digits"]):
        raise BundleError(f"its {file} is damaged, or of an unknown format; export it again")
    return {
        "artifact_id": artifact_id,
        "content_hash": content_hash,
        "operator_class": name,
        "artifact_type": "model" if is_model else "transformer",
        "format": formats[0],
        "size_bytes": len(content),
        "provenance": None,
        "member": file,
    }
