"""`Adapter`, what both versions of nirs4all ask of a workspace, by their names and in their shapes, on our store."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Self

import polars as pl

from ...errors import DuplicateError, WorkspaceError
from ...identifiers import new_id
from ...store import WorkspaceStore
from .arrays import Arrays
from .documents import OF_PREDICTION, Row, plain, text_of
from .installation import FINAL, kept, their_store
from .own_store import REFIT, OwnStore

Key = tuple[Any, ...]
KEY = ("chain_id", "fold_id", "partition", "model_name", "branch_id")
"""What says that two predictions of a pipeline are the same."""
SCORES = {"val_score": "val", "test_score": "test", "train_score": "train"}
PREDICTION_FIELDS = [name for name in signature(WorkspaceStore.save_prediction).parameters if name != "self"]
RELATION = {
    "prediction_scope",
    "prediction_level",
    "evaluation_scope",
    "reduction_role",
    "reduction_id",
    "physical_sample_id",
    "origin_sample_id",
    "derived_unit_id",
    "unit_level",
    "unit_id",
    "row_id",
    "sample_influence_weight",
}
"""What nirs4all says since 1.0 of predictions of several sources."""
JSON_OF_CHAIN = ("steps", "fold_artifacts", "shared_artifacts", "branch_path")
CHAIN_SCHEMA = {
    "chain_id": pl.String,
    "pipeline_id": pl.String,
    "steps": pl.String,
    "model_step_idx": pl.Int64,
    "model_class": pl.String,
    "preprocessings": pl.String,
    "fold_strategy": pl.String,
    "fold_artifacts": pl.String,
    "shared_artifacts": pl.String,
    "branch_path": pl.String,
    "source_index": pl.Int64,
    "dataset_name": pl.String,
    "created_at": pl.Datetime,
}


@dataclass
class Waiting:
    """The artifacts and chains of one thread that wait to be saved together."""

    artifacts: list[Row] = field(default_factory=list)
    chains: list[Row] = field(default_factory=list)


class Adapter:
    """A workspace as nirs4all uses it. What is not here is a method of our `WorkspaceStore`.

    nirs4all saves a chain before the artifacts that it names, and looks at both only afterwards. So chains and
    artifacts wait for the next call of another kind, and are saved together then: all of them or none.

    Parameters
    ----------
    workspace_path : path-like
    read_only : bool

    Raises
    ------
    WorkspaceError
        It is a workspace of nirs4all's own, or cannot be opened as it is.
    """

    def __init__(self, workspace_path: Any, *, read_only: bool = False) -> None:
        path = Path(workspace_path)
        is_theirs, is_ours = ((path / name).exists() for name in ("store.sqlite", "store.duckdb"))
        bring = f"bring what is there into another folder: nirs4all-store import {path} --workspace FOLDER"
        if is_theirs and not is_ours:
            raise WorkspaceError(
                f"{path} is a workspace of nirs4all's own (store.sqlite), and nothing was changed: give nirs4all "
                f"another folder, or {bring}"
            )
        self._own = OwnStore(path, read_only=read_only)
        if is_theirs:
            warnings.warn(
                f"{path} has a database of nirs4all's own (store.sqlite), too, which is not seen here; {bring}",
                stacklevel=2,
            )
        self._waiting: dict[int, Waiting] = {}  # Each thread trains a pipeline of its own.
        self._keys: tuple[str, dict[Key, str]] = ("", {})

    @property
    def own(self) -> OwnStore:
        """Our store, after what waited was saved."""
        self._save_waiting()
        return self._own

    def _save_waiting(self, thread: int | None = None) -> None:
        waiting = self._waiting.pop(threading.get_ident() if thread is None else thread, None)
        if waiting is not None:
            self._own.save_together(waiting.artifacts, waiting.chains)

    @property
    def _of_this_thread(self) -> Waiting:
        return self._waiting.setdefault(threading.get_ident(), Waiting())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(OwnStore, name):
            raise AttributeError(f"nirs4all's store has {name!r}, which is not carried; see train-with-nirs4all.md")
        found = getattr(self.own, name)
        # A call keeps the adapter, whose end would close the store, as in `WorkspaceStore(folder).list_runs()`.
        return partial(_call, self, found) if callable(found) else found

    # -- life ---------------------------------------------------------------------------------

    @property
    def workspace_path(self) -> Path:
        """The folder."""
        return self._own.workspace_path

    def close(self) -> None:
        """Save what waits, and release the workspace; closing twice is fine."""
        own = self.__dict__.get("_own")
        if own is None:  # It could not be opened.
            return
        try:
            for thread in [*self._waiting]:  # A thread may have ended before what it made was asked for.
                self._save_waiting(thread)
        finally:
            own.close()

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all calls in a block one transaction; nested use joins the outer one."""
        with self.own.transaction():
            try:
                yield
            except BaseException:  # What was made in a block goes with it.
                self._waiting.pop(threading.get_ident(), None)
                raise
            self._save_waiting()

    # -- runs and pipelines -------------------------------------------------------------------

    def begin_run(self, name: str, config: Any = None, datasets: Any = None) -> str:
        """Begin a run; see `WorkspaceStore.begin_run`."""
        return self.own.begin_run(name, plain(config), plain(datasets))

    def complete_run(self, run_id: str, summary: Any = None) -> None:
        """Mark a run completed."""
        self.own.complete_run(run_id, plain(summary))

    def begin_pipeline(
        self,
        run_id: str,
        name: str,
        expanded_config: Any,
        generator_choices: Any,
        dataset_name: str,
        dataset_hash: str,
        original_template: Any = None,
    ) -> str:
        """Begin a pipeline; see `WorkspaceStore.begin_pipeline`."""
        return self.own.begin_pipeline(
            run_id,
            name,
            plain(expanded_config),
            plain(generator_choices),
            dataset_name,
            dataset_hash,
            original_template=plain(original_template),
        )

    def complete_pipeline(self, pipeline_id: str, best_val: Any, best_test: Any, metric: str, duration_ms: Any) -> None:
        """Mark a pipeline completed. A refit validates nothing: its 0.0 is no score."""
        own = self.own
        pipeline = own.get_pipeline(pipeline_id) or {"name": ""}
        is_filled = best_val == 0.0 and REFIT in pipeline["name"]
        own.complete_pipeline(pipeline_id, None if is_filled else best_val, best_test, metric, duration_ms)

    def _drop_waiting(self, pipeline_id: str) -> None:
        """Forget the chains of a pipeline that failed; artifacts without a chain are collected later."""
        waiting = self._of_this_thread
        waiting.chains = [chain for chain in waiting.chains if chain["pipeline_id"] != pipeline_id]

    # -- chains and artifacts -----------------------------------------------------------------

    def save_chain(
        self,
        pipeline_id: str,
        steps: Sequence[Mapping[str, Any]],
        model_step_idx: int,
        model_class: str,
        preprocessings: str,
        fold_strategy: str,
        fold_artifacts: Mapping[str, Any],
        shared_artifacts: Mapping[str, Any],
        branch_path: Sequence[int] | None = None,
        source_index: int | None = None,
        dataset_name: str | None = None,
        relation_replay_manifest: Any = None,
    ) -> str:
        """Let a chain wait for its artifacts; return its id.

        One that names what never comes is refused at the next call of another kind, with the names.
        """
        manifest = relation_replay_manifest
        chain = {
            "chain_id": new_id(),
            "pipeline_id": pipeline_id,
            "steps": steps,
            "model_step_idx": model_step_idx,
            "model_class": model_class,
            "preprocessings": preprocessings,
            "fold_strategy": fold_strategy,
            "fold_artifacts": fold_artifacts,
            "shared_artifacts": shared_artifacts,
            "branch_path": branch_path,
            "source_index": source_index,
            "relation_replay_manifest": manifest.to_dict() if hasattr(manifest, "to_dict") else manifest,
        }
        self._of_this_thread.chains.append(plain(chain))
        return str(chain["chain_id"])

    def get_chain(self, chain_id: str) -> Row | None:
        """Return a chain as nirs4all wrote it, or None."""
        return next(iter(self.own.chains_as_written([chain_id])), None)

    def get_chains_for_pipeline(self, pipeline_id: str) -> pl.DataFrame:
        """Return a pipeline's chains as nirs4all wrote them, oldest first, with JSON as text."""
        own = self.own
        rows = own.chains_as_written(own.get_chains_for_pipeline(pipeline_id)["chain_id"].to_list())
        told = [row | {name: text_of(row[name]) for name in JSON_OF_CHAIN} for row in rows]
        return pl.DataFrame([{name: row.get(name) for name in CHAIN_SCHEMA} for row in told], schema=CHAIN_SCHEMA)

    def register_existing_artifact(
        self,
        artifact_id: str,
        path: str,
        content_hash: str,
        operator_class: str,
        artifact_type: str,
        format: str,
        size_bytes: int,
    ) -> str:
        """Let a file that is there become an artifact, together with the chain that names it; return the id."""
        row = {
            "artifact_id": artifact_id,
            "path": path,
            "content_hash": content_hash,
            "operator_class": operator_class,
            "artifact_type": artifact_type,
            "format": format,
            "size_bytes": size_bytes,
        }
        self._of_this_thread.artifacts.append(row)
        return artifact_id

    def cleanup_transient_artifacts(self, run_id: str, dataset_name: str, winning_pipeline_ids: Any = None) -> int:
        """Remove the fitted objects of a run that are not of its final models, if only these are kept; see `install`.

        Return how many files were removed. nirs4all calls it after a refit.
        """
        return self.own.drop_folds(run_id, dataset_name) if kept() == FINAL else 0

    def export_run(self, run_id: str, output_path: Any) -> Path:
        """Write a run with its pipelines and chains as nirs4all's YAML."""
        self._save_waiting()
        return Path(their_store().export_run(self, run_id, output_path))

    def _fetch_pl(self, sql: str, params: Any = None) -> pl.DataFrame:
        """Run a SELECT over our tables; nirs4all asks by it for the pipelines of a run as they were begun."""
        return self.own.sql(sql, params)

    # -- predictions --------------------------------------------------------------------------

    def save_prediction(self, *args: Any, **more: Any) -> str:
        """Save a prediction, in the place of the same one of the pipeline, whose id it gets; see `WorkspaceStore`."""
        row = dict(zip(PREDICTION_FIELDS, args, strict=False)) | more
        told = {name: plain(row.pop(name)) for name in RELATION & row.keys()}
        said = {name: value for name, value in told.items() if value is not None}
        row |= {name: plain(row[name]) for name in ("scores", "best_params")} | {"chain_id": row["chain_id"] or None}
        for name, partition in SCORES.items():
            if row["scores"] and row[name] == 0.0 and not row["scores"].get(partition):
                row[name] = None  # nirs4all 0.7 has 0.0 where there is no score, which would be the best of all.
        own = self.own
        keys = self._keys_of(row["pipeline_id"])
        key = tuple(row[name] for name in KEY)
        row["prediction_id"] = keys.get(key, row.get("prediction_id"))
        with own.transaction():
            try:
                prediction_id = own.save_prediction(**row)
            except DuplicateError:
                before = own.get_prediction(row["prediction_id"]) or {}
                if before.get("pipeline_id") != row["pipeline_id"]:
                    raise
                prediction_id = own.replace_prediction(row)
            if said:
                own.save_result(OF_PREDICTION, None, said, prediction_id=prediction_id)
        keys[key] = prediction_id
        return prediction_id

    def _keys_of(self, pipeline_id: str) -> dict[Key, str]:
        """Return the predictions of a pipeline by what says that two are the same; of the last one they are kept."""
        if self._keys[0] != pipeline_id:
            rows = self._own.query_predictions(pipeline_id=pipeline_id).select(*KEY, "prediction_id").rows()
            self._keys = pipeline_id, {row[:-1]: row[-1] for row in rows}
        return self._keys[1]

    @property
    def array_store(self) -> Arrays:
        """The arrays of predictions."""
        return Arrays(lambda: self.own, self.workspace_path)

    def get_prediction_arrays(self, prediction_id: str) -> Row | None:
        """Return the arrays of a prediction, or None."""
        return self.array_store.load_single(prediction_id)

    def get_chain_predictions(
        self, chain_id: str, partition: str | None = None, fold_id: str | None = None
    ) -> pl.DataFrame:
        """Return the predictions of a chain, by partition and fold."""
        found = self.own.query_predictions(chain_id=chain_id, partition=partition, fold_id=fold_id)
        return found.sort("partition", "fold_id", maintain_order=True)

    def delete_prediction(self, prediction_id: str) -> bool:
        """Delete a prediction, its chain if that has no other one, and its pipeline if that has no other chain."""
        return self._delete([prediction_id]) > 0

    def _delete(self, prediction_ids: Sequence[str]) -> int:
        own = self.own
        self._keys = ("", {})
        with own.transaction():
            rows = [row for row in map(own.get_prediction, prediction_ids) if row is not None]
            for row in rows:
                own.delete_prediction(row["prediction_id"])
            own.drop_empty({row["chain_id"] for row in rows if row["chain_id"] is not None})
        return len(rows)


def _call(_adapter: Adapter, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return method(*args, **options)
