"""Removes the fitted objects of chains that are not among the best of a run; see docs/decisions/0025."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from ..artifacts import normalize
from ..chains import artifact_ids, problem_of
from ..datasets import AVERAGE, PARTITIONS
from ..errors import ChainReplayError, InvalidInputError, NotFoundError
from ..storage import UnitOfWork
from ..validation import checked_int, checked_text
from .deletion import drop_artifacts

SHOWN = ("chain_id", "pipeline_id", "dataset_name", "model_name", "preprocessings", "metric", "val_score")


@dataclass(frozen=True)
class PruneReport:
    """What was pruned, or would be.

    Attributes
    ----------
    chains : polars.DataFrame
        The chains that lose their fitted objects, those that were trained first at the top: `chain_id, pipeline_id,
        dataset_name, model_name, preprocessings, metric, val_score`.
    files : int
        How many files no other chain needs, and are removed.
    size_bytes : int
        How many bytes these have.
    """

    chains: pl.DataFrame
    files: int
    size_bytes: int


def prune(uow: UnitOfWork, run_id: str, keep_best: int, *, dry_run: bool) -> PruneReport:
    """Remove the fitted objects of all chains of a run but the best; see `WorkspaceStore.prune`."""
    run_id, keep_best = checked_text(run_id, "run_id"), checked_int(keep_best, "keep_best", 32)
    if keep_best < 1:
        raise InvalidInputError(f"keep_best is {keep_best}; keep one chain at least, or delete the run")
    if uow.runs.get(run_id) is None:
        raise NotFoundError(f"there is no run {run_id!r}; see list_runs()")
    judged = _judged(uow, run_id)
    best = _best(uow, run_id, judged, keep_best)
    _check_best(uow, best)
    losers = judged.filter(~pl.col("chain_id").is_in(best)).unique("chain_id", maintain_order=True)
    found = uow.chains.uses(losers["pipeline_id"].unique())
    chains = [chain for chain in found.chains if chain["chain_id"] in set(losers["chain_id"]) and artifact_ids(chain)]
    ids = [chain["chain_id"] for chain in chains]
    files = _files_of(uow, _only_of(uow, chains))
    report = PruneReport(
        losers.filter(pl.col("chain_id").is_in(ids)).select(SHOWN), len(files), sum(map(uow.blobs.size, files))
    )
    if not dry_run:
        drop_objects(uow, chains)
    return report


def drop_objects(uow: UnitOfWork, chains: list[dict[str, Any]]) -> int:
    """Remove the fitted objects of chains, whose scores stay; return how many files no other chain needs, and go."""
    rows = _only_of(uow, chains)
    uow.artifacts.release(artifact_id for chain in chains for artifact_id in artifact_ids(chain))
    uow.chains.forget_objects(chains)
    _, files = drop_artifacts(uow, uow.artifacts.collectable(None, among=[row["artifact_id"] for row in rows]))
    return len(uow.blobs.existing(files))


def _judged(uow: UnitOfWork, run_id: str) -> pl.DataFrame:
    """Return the scores of a run by which its chains are ranked; chains without one are not among them."""
    uow.predictions.refuse_other_columns()
    judged = uow.predictions.query(run_id=run_id, fold_id=AVERAGE, partition=PARTITIONS[0])
    return judged.filter(pl.col("val_score").is_finite(), pl.col("chain_id").is_not_null())


def _best(uow: UnitOfWork, run_id: str, judged: pl.DataFrame, keep_best: int) -> set[str]:
    """Return the best chains of a run, of each dataset and metric."""
    best: set[str] = set()
    # What was judged by other data or metrics is no better and no worse.
    for dataset, metric, task in judged.select("dataset_name", "metric", "task_type").unique().iter_rows():
        filters = {"dataset_name": dataset, "score_metric": metric, "task_type": task}
        best.update(uow.predictions.top(keep_best, run_id=run_id, fold_id=AVERAGE, **filters)["chain_id"].drop_nulls())
    return best


def _check_best(uow: UnitOfWork, chain_ids: set[str]) -> None:
    """Refuse to take the objects of sound chains for the sake of one that is damaged."""
    for chain_id in sorted(chain_ids):
        chain = uow.chains.get(chain_id)
        problem = "its row is gone; restore the workspace from a backup" if chain is None else problem_of(chain)
        if problem is not None:
            raise ChainReplayError(
                f"chain {chain_id} is among the best, which are to be kept, and cannot predict: {problem}; "
                "nothing was pruned"
            )


def _only_of(uow: UnitOfWork, chains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of artifacts of some chains that no other one needs, nor a save that waits for its chain."""
    chain_ids = {chain["chain_id"] for chain in chains}
    wanted = {artifact_id for chain in chains for artifact_id in artifact_ids(chain)}
    for found in uow.chains.uses_in_parts():
        wanted = {
            artifact_id
            for artifact_id in wanted
            if chain_ids.issuperset(found.users.get(artifact_id, ())) and not found.might_reference(artifact_id)
        }
    return [row for row in uow.artifacts.get_many(wanted).values() if row["unclaimed"] <= 0]


def _files_of(uow: UnitOfWork, rows: list[dict[str, Any]]) -> set[str]:
    """Return the files that are there of these artifacts, and of no others."""
    ids = {row["artifact_id"] for row in rows}
    others = {normalize(row["artifact_path"]) for row in uow.artifacts.all() if row["artifact_id"] not in ids}
    return uow.blobs.existing({normalize(row["artifact_path"]) for row in rows} - others)
