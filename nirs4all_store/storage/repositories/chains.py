"""The repository of chains: their steps from X to y, and which artifacts they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from sqlalchemy import select

from ...chains import (
    SCORE_ONLY,
    artifact_ids,
    check_nothing_is_left_out,
    check_order,
    check_predict_fold,
    checked_artifacts,
    checked_attachments,
    checked_steps,
    without_objects,
)
from ...errors import NotFoundError
from ...identifiers import new_id, utc_now
from ...validation import checked_int, checked_text
from ..columns import table_of
from ..models import Artifact, Chain, Pipeline
from ..records import ChainRecord
from ..table_gateway import Repository
from .artifact_references import ArtifactReferences, references_in_parts, references_of

CHAINS, PIPELINES = table_of(Chain), table_of(Pipeline)


class ChainRepo(Repository):
    """Reads and writes chains inside one unit of work."""

    def add(self, record: ChainRecord) -> str:
        """Add a chain; return its id, which is a new one if the record has none.

        The caller counts the use of its artifacts, with `ArtifactRepo.claim`.

        Raises
        ------
        NotFoundError
            The pipeline, or an artifact that the chain names, does not exist.
        InvalidInputError
            The chain does not have the form that `WorkspaceStore.save_chain` describes, or its steps could not be
            applied in their order.
        """
        row = record.row() | {
            "chain_id": record.chain_id or new_id(),
            "pipeline_id": self._tables.require(Pipeline, record.pipeline_id),
            "steps": checked_steps(record.steps),
            "model_step_idx": checked_int(record.model_step_idx, "model_step_idx", 32),
            "fold_artifacts": checked_artifacts(record.fold_artifacts, "fold_artifacts"),
            "shared_artifacts": checked_artifacts(record.shared_artifacts, "shared_artifacts"),
            "attachments": checked_attachments(record.attachments),
            "created_at": utc_now(),
        }
        check_predict_fold(row["predict_fold"], row["fold_artifacts"])
        check_order(row["steps"], row["model_step_idx"], row["shared_artifacts"])
        missing = [item for item in artifact_ids(row) if not self._tables.exists(Artifact, item)]
        if missing:
            raise NotFoundError(f"the chain names artifacts that do not exist: {missing}; save_artifact() them first")
        check_nothing_is_left_out(row)
        self._tables.add(Chain, row)
        return str(row["chain_id"])

    def require(self, chain_id: str) -> str:
        """Return the id of a chain that exists; another one raises `NotFoundError`."""
        return self._tables.require(Chain, chain_id)

    def get(self, chain_id: str) -> dict[str, Any] | None:
        """Return a chain as a dict, or None if there is none with this id."""
        return self._tables.row(Chain, chain_id)

    def get_many(self, chain_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of these chains by id, as far as they exist."""
        return {row["chain_id"]: row for row in self._tables.rows_of(Chain, chain_ids)}

    def list(self, pipeline_id: str) -> pl.DataFrame:
        """Return the chains of a pipeline as a frame, oldest first."""
        query = select(CHAINS).where(CHAINS.c.pipeline_id == checked_text(pipeline_id, "pipeline_id"))
        return self._tables.frame(query.order_by(CHAINS.c.created_at, CHAINS.c.chain_id))

    def of_run(self, run_id: str) -> Any:
        """Return the chains of all pipelines of a run as a list of dicts, oldest first."""
        of_run = CHAINS.c.pipeline_id.in_(
            select(PIPELINES.c.pipeline_id).where(PIPELINES.c.run_id == checked_text(run_id, "run_id"))
        )
        return self._tables.rows(select(CHAINS).where(of_run).order_by(CHAINS.c.created_at, CHAINS.c.chain_id))

    def verifications(self) -> dict[str, Any]:
        """Return what is known of each chain of which something was told, such as an imported one, oldest first."""
        query = select(CHAINS.c.chain_id, CHAINS.c.verification).where(CHAINS.c.verification.is_not(None))
        rows = self._tables.rows(query.order_by(CHAINS.c.created_at, CHAINS.c.chain_id))
        return {row["chain_id"]: row["verification"] for row in rows}

    def delete(self, *chain_ids: str) -> int:
        """Delete the rows of chains, and nothing that names them; return how many there were."""
        return self._tables.delete(Chain, CHAINS.c.chain_id, chain_ids)

    def forget_objects(self, chains: Iterable[dict[str, Any]]) -> None:
        """Let chains name no artifacts any more, as the rows of pruned ones do; the caller releases the artifacts."""
        for chain in chains:
            self._tables.update(
                Chain,
                chain["chain_id"],
                **without_objects(chain),
            )
        self._tables.lookups.invalidate()  # A chain that was loaded would predict on.

    def refits_of(self, chain_id: str) -> Sequence[str]:
        """Return the ids of the chains with fitted objects that are final models of another one, oldest first."""
        can_predict = CHAINS.c.fold_strategy.is_distinct_from(SCORE_ONLY)
        query = select(CHAINS.c.chain_id).where(CHAINS.c.refit_of == chain_id, can_predict)
        return [row["chain_id"] for row in self._tables.rows(query.order_by(CHAINS.c.created_at, CHAINS.c.chain_id))]

    def artifact_ids(self, chain_id: str) -> Any:
        """Return the ids of the artifacts that a chain names, each once; an empty list for an unknown chain."""
        chain = self.get(chain_id)
        return artifact_ids(chain) if chain else []

    def uses(self, pipeline_ids: Iterable[str] | None = None) -> ArtifactReferences:
        """Return which artifacts the chains of these pipelines name (None: of all); see `references_of`."""
        return references_of(self._tables, pipeline_ids)

    def uses_in_parts(self, pipeline_ids: Iterable[str] | None = None) -> Iterator[ArtifactReferences]:
        """Yield what `uses` returns for some chains at a time; the caller may delete those that it has got."""
        return references_in_parts(self._tables, pipeline_ids)
