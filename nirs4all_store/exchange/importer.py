"""Imports a bundle into a workspace, as a run of its own.

See docs/decisions/0009.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ..artifacts import Trust, codec
from ..chains import with_ids
from ..errors import ArtifactCorruptError, BundleError, InvalidInputError
from ..storage import ChainRecord, UnitOfWork
from .bundle_reader import CHAIN_KEYS, Bundle, Row


@dataclass(frozen=True)
class ImportedBundle:
    """What an import did.

    Attributes
    ----------
    path : Path
    run_id, pipeline_id, chain_id : str
    is_new : bool
        False: the workspace had the bundle already, and nothing was added.
    has_hashes : bool
        Whether the file has the SHA-256 of its members. Bundles that nirs4all 0.7 wrote have none: damage on their way
        cannot be detected.
    content_sha256 : str
        The SHA-256 of the chain, its pipeline and scores; equal for every export of the same chain.
    """

    path: Path
    run_id: str
    pipeline_id: str
    chain_id: str
    is_new: bool
    has_hashes: bool
    content_sha256: str


def import_bundle(uow: UnitOfWork, bundle: Bundle, trust: Literal[True] | list[str]) -> ImportedBundle:
    """Add a bundle as a run with one pipeline and one chain, unless it was imported before.

    See `WorkspaceStore.import_bundle`.

    Raises
    ------
    BundleError
        A value of it cannot be stored, or an artifact's row in the workspace has a path outside `artifacts/`.
    """
    content = bundle.content_sha256
    run_id = f"bundle-{content[:32]}"
    try:
        _add_run(uow, bundle, run_id)
        known = _stored(uow, bundle, run_id)
        pipeline_id, chain_id = known or _add(uow, bundle, run_id, trust)
        uow.artifacts.trust_also(uow.chains.artifact_ids(chain_id), trust)
        _write_files(uow, bundle)
    except (InvalidInputError, ArtifactCorruptError) as error:
        raise BundleError(f"{bundle.path} holds what cannot be stored: {error}; nothing was imported") from error
    return ImportedBundle(bundle.path, run_id, pipeline_id, chain_id, known is None, bundle.has_hashes, content)


def _add_run(uow: UnitOfWork, bundle: Bundle, run_id: str) -> None:
    if uow.runs.get(run_id) is not None:
        return
    origin = {
        "file": bundle.path.name,
        "content_sha256": bundle.content_sha256,
        "has_hashes": bundle.has_hashes,
        "versions": bundle.manifest.get("versions"),
    }
    name, dataset = _names(bundle)
    uow.runs.add(name, {"imported": origin}, [{"name": dataset}], run_id=run_id)
    uow.runs.complete(run_id, None)


def _names(bundle: Bundle) -> tuple[str, str]:
    """Return the name of a bundle's pipeline, and of its dataset."""
    return bundle.pipeline.get("name") or bundle.path.stem, bundle.pipeline.get("dataset_name") or ""


def _stored(uow: UnitOfWork, bundle: Bundle, run_id: str) -> tuple[str, str] | None:
    """Return the pipeline and chain of a run that are the bundle's, by what they hold; None if none is.

    A user may have added chains of their own to the run, or the bundle's may be damaged.
    """
    wanted = _comparable(bundle.chain, _hashes(bundle.artifacts.values()))
    hashes = _hashes(uow.artifacts.all())
    pipelines = uow.runs.list_pipelines(run_id=run_id)["pipeline_id"].to_list()
    chains = uow.chains.uses(pipelines).chains
    for chain in sorted(chains, key=lambda chain: (chain["created_at"], chain["chain_id"])):
        if _comparable(chain, hashes) == wanted:
            return chain["pipeline_id"], chain["chain_id"]
    return None


def _hashes(artifacts: Iterable[Row]) -> dict[str, str]:
    return {row["artifact_id"]: f"{row['format']}:{row['content_hash']}" for row in artifacts}


def _comparable(chain: Row, hashes: dict[str, str]) -> Any:
    """Return what a chain does, with its artifacts named by their bytes, in a form that is equal for the same."""
    try:
        named = with_ids({key: chain.get(key) for key in CHAIN_KEYS}, hashes)
    except (AttributeError, KeyError, TypeError):  # Its row is damaged, or an artifact's is gone.
        return None
    # As numbers: a bundle may say 1.0 where the row has 1.
    return json.loads(json.dumps(named), parse_float=Decimal, parse_constant=str)


def _add(uow: UnitOfWork, bundle: Bundle, run_id: str, trust: Trust) -> tuple[str, str]:
    told = bundle.pipeline
    name, dataset = _names(bundle)
    pipeline_id = uow.runs.add_pipeline(
        run_id,
        name,
        told.get("expanded_config"),
        told.get("generator_choices"),
        dataset,
        told.get("dataset_hash"),
        original_template=told.get("original_template"),
        judged_by=told.get("judged_by"),
    )
    ids = {
        key: _add_artifact(uow, row, bundle.contents[row["content_hash"]], trust)
        for key, row in bundle.artifacts.items()
    }
    chain = with_ids(bundle.chain, ids) | {"pipeline_id": pipeline_id, "chain_id": None}
    chain_id = uow.chains.add(ChainRecord.of(chain))
    named = uow.chains.artifact_ids(chain_id)
    if {*named} != {*ids.values()}:
        raise InvalidInputError("it has artifacts that its chain does not name")
    uow.artifacts.claim(named)
    uow.predictions.add_many(pipeline_id, [row | {"chain_id": chain_id} for row in bundle.predictions])
    uow.runs.complete_pipeline(
        pipeline_id, told.get("best_val"), told.get("best_test"), told.get("metric"), told.get("duration_ms")
    )
    return pipeline_id, chain_id


def _add_artifact(uow: UnitOfWork, row: Row, content: bytes, trust: Trust) -> str:
    return uow.artifacts.add(
        _path(uow, row),
        row["content_hash"],
        row.get("operator_class"),
        row.get("artifact_type"),
        row["format"],
        len(content),
        row["provenance"],
        trust,
    )


def _path(uow: UnitOfWork, row: Row) -> str:
    known = uow.artifacts.path_of(row["content_hash"], row["format"])
    return known or uow.blobs.path_for(row["content_hash"], codec(row["format"]).extension)


def _write_files(uow: UnitOfWork, bundle: Bundle) -> None:
    """Make the objects durable: after every row was accepted, and before any is committed.

    Also when nothing is added: a file that was damaged since becomes whole again.
    """
    known = [(row, uow.artifacts.path_of(row["content_hash"], row["format"])) for row in bundle.artifacts.values()]
    uow.blobs.put_many({path: bundle.contents[row["content_hash"]] for row, path in known if path})
