"""Turns chains of nirs4all into ours, with the fitted objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ...chains import artifact_ids, as_ids, own_chain, problem_of, with_ids, without_objects
from ...errors import ArtifactCorruptError, ArtifactMissingError, ChainReplayError, InvalidInputError
from ...identifiers import utc_now
from ...storage import Chain, UnitOfWork
from ..lost_files import perhaps
from ..verdicts import DOUBTFUL, FAILS, NO_FILES, NOT_CHECKED
from .json_text import readable
from .objects import Contents, Import, add_lost_files, add_object
from .refits import models_below, refits_of
from .rows import COMPUTED
from .source import Row

HEALED = (
    "steps",
    "model_step_idx",
    "model_class",
    "fold_strategy",
    "fold_artifacts",
    "shared_artifacts",
    "attachments",
    "predict_fold",
    "verification",
)
"""What a chain says anew whose objects were not there when it was imported."""


def of_run(
    uow: UnitOfWork, job: Import, pipelines: list[Row], predicted: set[Any]
) -> Iterator[tuple[Row, Row, Row | None]]:
    """Give the chains of a run that are new: our row, theirs, and what else is to be kept. The others are brought up.

    Parameters
    ----------
    uow : UnitOfWork
    job : Import
    pipelines : list of dict
        Those of the run.
    predicted : set
        The chains that have predictions. The scores of others stand in their rows alone.
    """
    chains = {row["pipeline_id"]: job.source.chains_of(row["pipeline_id"]) for row in pipelines}
    known = uow.whole_rows.known(Chain, [row["chain_id"] for rows in chains.values() for row in rows])
    ours = {chain["chain_id"]: chain for chain in map(uow.chains.get, known) if chain is not None}
    refits = refits_of(pipelines, chains, job.source.artifacts)
    contents: Contents = {}
    add = partial(add_object, uow, job, contents, {})
    for pipeline in pipelines:
        for row in chains[pipeline["pipeline_id"]]:
            here = ours.get(row["chain_id"])
            if here is not None and not _lacks_objects(here):
                if here["refit_of"] is None and row["chain_id"] in refits:
                    uow.whole_rows.change(Chain, row["chain_id"], {"refit_of": refits[row["chain_id"]]})
                continue
            own, told = _translated(job, row, models_below(row, chains, refits), pipeline, add)
            if told["verdict"] == DOUBTFUL:
                own["attachments"] = _perhaps_its_own(uow, job, contents, own)
            made = job.source.time(row.get("created_at")) or job.source.time(pipeline.get("created_at")) or utc_now()
            own |= {"refit_of": refits.get(row["chain_id"]), "verification": told, "created_at": made}
            if here is None:
                yield own, row, _kept(row, told, has_scores=row["chain_id"] not in predicted)
                job.report.chains[row["chain_id"]] = told
            elif artifact_ids(own):
                uow.whole_rows.change(Chain, row["chain_id"], {name: own.get(name) for name in HEALED})
                job.report.chains[row["chain_id"]] = told
            else:
                continue
            uow.artifacts.claim(artifact_ids(own))
    if not job.report.is_dry_run:
        uow.blobs.put_many(contents)


def _lacks_objects(here: Row) -> bool:
    """Tell whether a chain got no objects when it was imported; one that was pruned since is left as it is."""
    return (here["verification"] or {}).get("verdict") in (NO_FILES, FAILS) and not artifact_ids(here)


def _kept(row: Row, told: Row, *, has_scores: bool) -> Row | None:
    """Return what nirs4all says of a chain that nothing here says again."""
    kept: Row = {}
    if told["verdict"] in (NO_FILES, FAILS):
        kept |= {f"nirs4all_{name}": row.get(name) for name in ("steps", "fold_artifacts", "shared_artifacts")}
    if has_scores:
        kept |= {name: row[name] for name in COMPUTED[Chain] if row.get(name) is not None}
    return kept or None


def _translated(
    job: Import, row: Row, below: list[Row] | None, pipeline: Row, add: Callable[[str], str]
) -> tuple[Row, Row]:
    """Return the row of a chain, with its objects if these are there, and what is told of its replay."""
    nothing = _without_objects(row)
    if not (row["fold_artifacts"] or row["shared_artifacts"]):
        return nothing, {"verdict": NO_FILES, "reason": "nirs4all kept no fitted objects of it"}
    try:
        config = readable(pipeline.get("expanded_config"))
        own = nothing | own_chain(row, job.source.artifacts, below, config)
    except ChainReplayError as error:
        return nothing, {"verdict": FAILS, "reason": str(error)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # A row that nirs4all never writes.
        return nothing, {"verdict": FAILS, "reason": f"its steps are not understood: {error!r:.300}"}
    ids, problem = _ids_of(own, add)
    if own["predict_fold"] is not None and problem is not None:  # It predicts without the models of the folds.
        final = {own["predict_fold"]: own["fold_artifacts"][own["predict_fold"]]}
        own |= {"fold_artifacts": final}
        ids, problem = _ids_of(own, add)
    if problem is not None:
        return nothing, problem
    own = with_ids(own, ids)
    if said := problem_of(own):
        return nothing, {"verdict": FAILS, "reason": said}
    is_doubtful = any(job.first_users.get(item, row["pipeline_id"]) != row["pipeline_id"] for item in named_by(row))
    return own, {"verdict": DOUBTFUL if is_doubtful else NOT_CHECKED}


def named_by(row: Row) -> list[str]:
    """Return the ids of the artifacts that a chain of nirs4all names, in order, some of them twice."""
    parts = (row["fold_artifacts"], row["shared_artifacts"])
    entries = [entry for part in parts for key, entry in part.items() if not key.startswith("_")]
    return [item for entry in entries if isinstance(entry, str | list) for item in as_ids(entry)]


def _without_objects(row: Row) -> Row:
    described = {name: row.get(name) for name in ("branch_path", "source_index", "preprocessings", "fold_strategy")}
    steps = [
        {"step_idx": step.get("step_idx") or 0, "operator_class": step.get("operator_class"), "params": {}}
        for step in row["steps"]
    ]
    bare = {"steps": steps, "model_step_idx": row["model_step_idx"]}
    named = {"chain_id": row["chain_id"], "pipeline_id": row["pipeline_id"], "attachments": None}
    model = {"model_class": row.get("model_class") or row.get("model_name") or ""}
    return named | described | model | bare | without_objects(bare)


def _ids_of(own: Row, add: Callable[[str], str]) -> tuple[dict[str, str], Row | None]:
    """Return our ids of the artifacts that a chain names, and what is told of it if one of them is not there."""
    ids: dict[str, str] = {}
    missing: list[str] = []
    for artifact_id in artifact_ids(own):
        try:
            ids[artifact_id] = add(artifact_id)
        except (ArtifactMissingError, ArtifactCorruptError) as error:
            missing.append(str(error))
        except InvalidInputError as error:  # The file is there, and nothing here loads it.
            return ids, {"verdict": FAILS, "reason": str(error)}
    if not missing:
        return ids, None
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return ids, {"verdict": NO_FILES, "reason": missing[0] + more}


def _perhaps_its_own(uow: UnitOfWork, job: Import, contents: Contents, own: Row) -> Row | None:
    """Return the lost files that may be those of a chain, which keeps them until it is verified."""
    rows = uow.artifacts.get_many(artifact_ids(own)).values()
    lost = add_lost_files(uow, job, contents, {(row["artifact_type"], row["operator_class"]) for row in rows})
    return perhaps(lost)
