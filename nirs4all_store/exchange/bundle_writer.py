"""Exports a chain as a bundle (`.n4a`): a ZIP file that `load_bundle` reads anywhere."""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..artifacts import SCRIPTS, codec, codecs, is_only_here, packages_in, sha256
from ..chains import RESIDUALS, TrainedOn, plan_replay
from ..errors import InvalidInputError, StoreError
from ..filesystem import atomic_write, with_suffix_added
from ..identifiers import __version__, utc_now
from ..storage import ChainRecord, Pipeline, PredictionRecord
from ..validation import FLOAT_KEY, reject_duplicate_keys, without_odd_floats
from .bundle_loader import imports_of
from .bundle_reader import (
    ARTIFACT_KEYS,
    CHAIN,
    FIRST_VERSION,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PIPELINE_KEYS,
    PREDICTION_KEYS,
    Row,
    content_sha256,
    uses_newer_columns,
    without_unused,
)


def write_bundle(chain: Row, artifacts: list[Row], contents: dict[str, bytes], results: Row, output_path: Path) -> Path:
    """Write a `.n4a`; its manifest says when, so that two exports of a chain are equal but for that.

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
    plan_replay(chain)  # What cannot replay here would not be read elsewhere.
    row = results["pipeline"]
    pipeline = without_unused(Pipeline, {key: row[key] for key in PIPELINE_KEYS}) if row else {}
    predictions = [
        without_unused(PredictionRecord, {key: row[key] for key in PREDICTION_KEYS}) for row in results["predictions"]
    ]
    text = _json(
        {
            "chain": without_unused(ChainRecord, chain),
            "artifacts": described,
            "pipeline": pipeline,
            "predictions": predictions,
        }
    )
    has_newer = (
        FLOAT_KEY.encode() in text
        or uses_newer_columns(ChainRecord, chain)
        or TrainedOn.of(chain).votes  # An older reader would not let the folds vote.
        or uses_newer_columns(Pipeline, pipeline)
        or any(uses_newer_columns(PredictionRecord, row) for row in predictions)
    )
    read = json.loads(text, object_pairs_hook=reject_duplicate_keys)  # As readers have it, who compare the hash of it.
    members = {CHAIN: text}
    members |= {_member(row): contents[row["content_hash"]] for row in artifacts}
    now = utc_now()
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if has_newer else FIRST_VERSION,
        "created_at": now,
        "exported_at": now.replace(tzinfo=UTC),  # As readers of nirs4all 0.7's bundles look for it, with its zone.
        "chain_id": chain["chain_id"],
        "model_class": chain["model_class"],
        "versions": {
            "nirs4all_store": __version__,
            "python": platform.python_version(),
            "packages": packages_of(artifacts),
        },
        "content_sha256": content_sha256(
            read["chain"], {row["artifact_id"]: row for row in artifacts}, read["pipeline"], read["predictions"]
        ),
        "sha256": {name: sha256(content) for name, content in members.items()},
    }
    output_path = with_suffix_added(output_path, ".n4a")
    with atomic_write(output_path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MANIFEST: _json(manifest), **members}.items():
            archive.writestr(name, content)
    return output_path


def with_residuals(
    chain: Row, artifacts: list[Row], contents: dict[str, bytes], residuals: Callable[[], Row]
) -> tuple[Row, list[Row], dict[str, bytes]]:
    """Return what `write_bundle` takes with the residuals that intervals need, where the chain can have intervals.

    Parameters
    ----------
    chain, artifacts, contents
        As for `write_bundle`.
    residuals : callable
        Returns what `chains.held_out_residuals` does, which are numbers without the names of samples, or raises
        `StoreError`.
    """
    folds, attachments = plan_replay(chain).folds, chain["attachments"] or {}
    if RESIDUALS in attachments:
        return chain, artifacts, contents
    try:
        arrays = residuals()
    except StoreError:  # It predicts classes, its folds are those of time series, its predictions are gone...
        return chain, artifacts, contents
    if not {*arrays["folds"].tolist()} <= {fold.removeprefix("fold_") for fold in folds}:
        return chain, artifacts, contents
    content = codecs.dump(arrays, "npz")
    row: Row = {"artifact_id": RESIDUALS, "content_hash": sha256(content), "operator_class": "Residuals"}
    row |= {"artifact_type": RESIDUALS, "format": "npz", "size_bytes": len(content)}
    row["provenance"] = codecs.versions_of({}, "npz")
    attached = chain | {"attachments": attachments | {RESIDUALS: RESIDUALS}}
    return attached, [*artifacts, row], contents | {row["content_hash"]: content}


def check_loads_elsewhere(artifacts: list[Row], contents: dict[str, bytes]) -> None:
    """Refuse objects whose class is defined in a script or beside one: the export could not be loaded anywhere else.

    Raises
    ------
    InvalidInputError
        The message names the class.
    """
    for row in artifacts:
        names, _ = imports_of(row["format"], contents[row["content_hash"]])
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


def packages_of(artifacts: list[Row]) -> dict[str, str | None]:
    """Return the packages that the artifacts were made with, and their versions."""
    found: dict[str, str | None] = {}
    for row in artifacts:
        found |= packages_in(row["provenance"])
    return dict(sorted(found.items()))
