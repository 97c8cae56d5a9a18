"""What nirs4all 1.4.10 asks of a workspace.

nirs4all is imported where something of it is needed, so that this module can be imported without it.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any, Self

import polars as pl

from .adapter import JSON_OF_CHAIN, RELATION
from .aggregated import with_scope
from .artifact_cache import WithArtifactCache
from .bundles import AsLine, is_line
from .documents import OF_PREDICTION, Row, text_of
from .installation import their_store
from .run_detail import WithRunDetail
from .summaries import SCORES, known, matching, ranked, summaries

TASKS = {
    "reg": ("regression",),
    "classification": ("classification", "binary_classification", "multiclass_classification"),
    "clf": ("classification", "binary_classification", "multiclass_classification"),
    "binary": ("binary_classification",),
    "multiclass": ("multiclass_classification",),
}
"""The short names of tasks, and which tasks they mean."""
OLD_SCORES = {f"{kind}_{name}": f"cv_{name}" for kind in ("min", "max", "avg") for name in SCORES}
"""Older names of columns of summaries, and the columns that they mean."""


def prepare() -> None:
    """Let nirs4all write the file of each fitted object at once, and let it know which files are ours.

    It would write those of a variant of a sweep only once it is known to be the best so far, after its chain was saved.
    And what `store.sqlite` does not name, it takes for leftovers of failed runs, which it deletes when it is asked to.
    """
    from nirs4all.pipeline.storage.artifacts.artifact_registry import ArtifactRegistry

    ArtifactRegistry.begin_deferred = lambda registry: None
    scan = ArtifactRegistry._scan_all_manifest_references

    @wraps(scan)
    def scan_ours_too(registry: Any, include_memory: bool = True, include_store: bool = True) -> set[str]:
        found: set[str] = scan(registry, include_memory, include_store)
        return found | (_files_of(registry.workspace) if include_store else set())

    ArtifactRegistry._scan_all_manifest_references = scan_ours_too


class Store(WithRunDetail, WithArtifactCache):
    """A workspace, in the place of nirs4all's `WorkspaceStore`."""

    @classmethod
    def open_readonly(cls, workspace_path: Any) -> Self:
        """Open a workspace that is there, for reading."""
        return cls(workspace_path, read_only=True)

    def fail_pipeline(self, pipeline_id: str, error: str) -> None:
        """Mark a pipeline failed. The models that it had finished stay: nirs4all has saved them just before."""
        self._drop_waiting(pipeline_id)
        self.own.mark_failed(pipeline_id, error)

    # -- predictions --------------------------------------------------------------------------

    def get_prediction(self, prediction_id: str, load_arrays: bool = False) -> Row | None:
        """Return a prediction, or None; with `load_arrays` also its arrays and what belongs to them."""
        row = self.own.get_prediction(prediction_id)
        if row is None:
            return None
        beside = self._own.documents(OF_PREDICTION, "prediction_id", [prediction_id]).get(prediction_id, {})
        said = {name: beside[name] for name in RELATION & beside.keys()}
        arrays: Row = (load_arrays and self.array_store.load_single(prediction_id)) or {}
        return row | said | arrays

    def query_predictions(
        self,
        dataset_name: str | None = None,
        model_class: str | None = None,
        partition: str | None = None,
        fold_id: str | None = None,
        branch_id: int | None = None,
        pipeline_id: str | None = None,
        run_id: str | None = None,
        task_type: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> pl.DataFrame:
        """Return the predictions that match; those of the last second first, and within a second the oldest first."""
        found = self.own.query_predictions(
            dataset_name,
            model_class,
            partition,
            fold_id,
            branch_id,
            pipeline_id,
            run_id,
            task_type=TASKS.get(task_type or "", task_type),
        )
        second = pl.col("created_at").dt.truncate("1s")
        return found.sort(second, descending=True, maintain_order=True).slice(offset, limit)

    def top_predictions(
        self,
        n: int,
        metric: str = "val_score",
        ascending: bool = True,
        partition: str = "val",
        dataset_name: str | None = None,
        task_type: str | None = None,
        group_by: str | None = None,
    ) -> pl.DataFrame:
        """Return the best predictions by a column, of all or of each group, whatever judged them."""
        found = self.query_predictions(dataset_name, partition=partition, task_type=task_type)
        best = ranked(found, metric, ascending=ascending)
        return best.head(n) if group_by is None else best.group_by(known(best, group_by), maintain_order=True).head(n)

    def delete_dataset_predictions(self, dataset_name: str) -> int:
        """Delete the predictions of a dataset, and the chains and pipelines that have none then."""
        return self._delete(self.own.query_predictions(dataset_name=dataset_name)["prediction_id"].to_list())

    def compact_arrays(self, dataset_name: str | None = None) -> dict[str, Row]:
        """Change nothing: what is deleted is gone at once."""
        return {}

    # -- chains -------------------------------------------------------------------------------

    def update_chain_summary(self, chain_id: str) -> None:
        """Change nothing: a summary is computed when it is asked for."""
        self._save_waiting()

    def bulk_update_chain_summaries(self, chain_ids: list[str]) -> None:
        """Change nothing, as `update_chain_summary`."""
        self._save_waiting()

    def query_chain_summaries(
        self,
        run_id: Any = None,
        pipeline_id: Any = None,
        chain_id: Any = None,
        dataset_name: Any = None,
        model_class: Any = None,
        metric: str | None = None,
        task_type: str | None = None,
    ) -> pl.DataFrame:
        """Return a row for each chain: the means over folds, and the scores of the refit."""
        own = self.own
        wanted = {"run_id": run_id, "pipeline_id": pipeline_id, "chain_id": chain_id, "dataset_name": dataset_name}
        wanted = {name: value for name, value in wanted.items() if value not in (None, [], ())}
        predictions = own.query_predictions(**wanted)
        chains = own.chains_as_written(predictions["chain_id"].drop_nulls().unique(maintain_order=True).to_list())
        found = summaries(map(_as_text, chains), predictions)
        return matching(found, model_class=model_class, metric=metric, task_type=task_type)

    def count_chain_summaries(self, *args: Any, **filters: Any) -> int:
        """Return how many rows `query_chain_summaries` has."""
        return len(self.query_chain_summaries(*args, **filters))

    def query_top_chains(
        self,
        metric: str | None = None,
        n: int = 10,
        offset: int = 0,
        score_column: str = "cv_val_score",
        ascending: bool | None = None,
        **filters: Any,
    ) -> pl.DataFrame:
        """Return the best rows of `query_chain_summaries` by a score; those without it come last."""
        found = self.query_chain_summaries(metric=metric, **filters)
        column = OLD_SCORES.get(score_column, score_column)
        return ranked(found, column, ascending=_is_ascending(metric, ascending)).slice(offset, n)

    def query_aggregated_predictions(
        self,
        run_id: Any = None,
        pipeline_id: Any = None,
        chain_id: Any = None,
        dataset_name: Any = None,
        model_class: Any = None,
        metric: str | None = None,
        score_scope: str = "cv",
    ) -> pl.DataFrame:
        """Return the summaries of chains, with the least, largest and mean scores of their predictions in a scope.

        The scope is `cv` (what folds predict), `final` (what final models predict) or `all`.
        """
        found = self.query_chain_summaries(run_id, pipeline_id, chain_id, dataset_name, model_class, metric)
        return with_scope(found, self.own.query_predictions(dataset_name=dataset_name or None), score_scope)

    def query_top_aggregated_predictions(
        self,
        metric: str,
        n: int = 10,
        offset: int = 0,
        score_column: str = "avg_val_score",
        ascending: bool | None = None,
        score_scope: str = "cv",
        **filters: Any,
    ) -> pl.DataFrame:
        """Return the best rows of `query_aggregated_predictions`; final models, by default, by their test scores."""
        found = self.query_aggregated_predictions(metric=metric, score_scope=score_scope, **filters)
        is_by_test = score_scope == "final" and score_column == "avg_val_score"
        column = "avg_test_score" if is_by_test else score_column
        return ranked(found, column, ascending=_is_ascending(metric, ascending)).slice(offset, n)

    # -- out ----------------------------------------------------------------------------------

    def export_chain(
        self, chain_id: str, output_path: Any, format: str = "n4a", relation_replay_manifest: Any = None
    ) -> Path:
        """Write a chain as nirs4all's own bundle, which its `predict` and our `import_bundle` read."""
        self.own.refuse_pruned(chain_id)
        chain = self.own.get_chain(chain_id)
        is_branch = chain is not None and chain["branch_path"] and is_line(chain)
        store = AsLine(self, chain) if chain is not None and is_branch else self
        return Path(their_store().export_chain(store, chain_id, output_path, format, relation_replay_manifest))

    def _validate_chain_export(self, chain_id: str) -> None:
        their_store()._validate_chain_export(self, chain_id)


def _files_of(folder: Path) -> set[str]:
    """Return the files of fitted objects that a workspace of ours in a folder names."""
    if not (folder / "store.duckdb").exists():
        return set()
    with Store.open_readonly(folder) as store:
        return {*store.own.sql("SELECT artifact_path FROM artifacts")["artifact_path"]}


def _as_text(chain: Row) -> Row:
    """Return a chain with JSON as text, as the columns of a summary have it."""
    manifest = chain["relation_replay_manifest"] or {}
    told = {f"relation_replay_{name}": manifest.get(name) for name in ("version", "fingerprint")}
    return chain | told | {name: text_of(chain[name]) for name in (*JSON_OF_CHAIN, "relation_replay_manifest")}


def _is_ascending(metric: str | None, ascending: bool | None) -> bool:
    """Tell whether lower is better, as nirs4all does where nobody says it."""
    if ascending is not None or not metric:
        return ascending is not False
    from nirs4all.core.metrics import infer_ascending

    return bool(infer_ascending(metric))
