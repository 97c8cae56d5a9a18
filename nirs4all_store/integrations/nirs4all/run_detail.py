"""One call for a whole run, as nirs4all's Studio asks for it: the run, its pipelines with what they logged."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from .documents import Row
from .families import WithFamilies

RUN = ("run_id", "name", "config", "datasets", "status", "created_at", "completed_at", "summary", "error", "project_id")
PIPELINE = (
    *("pipeline_id", "run_id", "name", "expanded_config", "original_template", "generator_choices", "dataset_name"),
    *(
        "dataset_hash",
        "status",
        "created_at",
        "completed_at",
        "best_val",
        "best_test",
        "metric",
        "duration_ms",
        "error",
    ),
)
RUNTIME = (
    *("engine", "engine_requested", "engine_diagnostics", "runtime_manifest", "fallback_policy"),
    "native_result_refs",
)
ABSENT = "absent_in_store_v5"
"""What nirs4all says of columns that a workspace does not have; none of its own has them, either."""


class WithRunDetail(WithFamilies):
    """A workspace that tells all of a run at once, as JSON has it."""

    @classmethod
    def get_studio_run_detail_v1(cls, workspace_path: Any, run_id: str) -> Row | None:
        """Return a run with its pipelines, newest first, and a summary of their logs; None for an unknown one."""
        with cls(workspace_path, read_only=True) as store:
            run = store.get_run(run_id)
            if run is None:
                return None
            logs = store.own.get_run_log_summary(run_id).rows(named=True)
            of_pipelines = {row["pipeline_id"]: row for row in logs}
            ids = store.own.list_pipelines(run_id)["pipeline_id"]
            rows = [store.own.get_pipeline(pipeline_id) or {} for pipeline_id in ids]
            contexts = store.own.query_predictions(run_id=run_id)["refit_context"]
        config = {"has_refit": contexts.is_not_null().any()} | (run["config"] or {})
        pipelines = [
            {name: row[name] for name in PIPELINE} | of_pipelines.get(row["pipeline_id"], {})
            for row in sorted(rows, key=lambda row: (row["created_at"], row["pipeline_id"]), reverse=True)
        ]
        told = {name: run[name] for name in RUN}
        told |= {"config": {name: value for name, value in config.items() if value is not None}}
        told |= {"datasets": run["datasets"] or [], "summary": run["summary"] or {}}
        found: Row = _strict(told | {"pipelines": pipelines, "log_summary": logs})
        return found

    @classmethod
    def get_studio_run_detail_runtime_v1(cls, workspace_path: Any, run_id: str) -> Row | None:
        """Return the pipelines of a run, of whose engines nothing is kept; None for an unknown run."""
        with cls(workspace_path, read_only=True) as store:
            if store.get_run(run_id) is None:
                return None
            ids = store.own.list_pipelines(run_id)["pipeline_id"]
        rows = [{"pipeline_id": pipeline_id} | dict.fromkeys(RUNTIME) for pipeline_id in ids]
        return {"pipeline_runtime": rows, "runtime_column_provenance": dict.fromkeys(RUNTIME, ABSENT)}


def _strict(value: Any) -> Any:
    """Return a value as strict JSON has it: times as text, and None for NaN and infinities."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
