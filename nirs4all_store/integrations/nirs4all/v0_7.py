"""What nirs4all 0.7.1 asks of a workspace.

nirs4all is imported where something of it is needed, so that this module can be imported without it.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import polars as pl

from ...metrics import lower_is_better
from .adapter import Adapter
from .aggregated import by_metric
from .documents import text_of
from .installation import their_store
from .summaries import matching, ranked


def prepare() -> None:
    """Let nirs4all save the predictions of a pipeline and their arrays in one transaction, instead of one each."""
    from nirs4all.data.predictions import Predictions

    flush = Predictions.flush

    @wraps(flush)
    def flush_together(self: Any, *args: Any, **options: Any) -> None:
        store = options.get("store") or self._store
        if store is None:
            return
        with store.transaction():
            flush(self, *args, **options)

    Predictions.flush = flush_together


class Store(Adapter):
    """A workspace, in the place of nirs4all's `WorkspaceStore`."""

    def fail_pipeline(self, pipeline_id: str, error: str) -> None:
        """Mark a pipeline failed and delete its chains, predictions and arrays; its log stays."""
        self._drop_waiting(pipeline_id)
        self.own.fail_pipeline(pipeline_id, error)

    def save_prediction_arrays(
        self,
        prediction_id: str,
        y_true: Any,
        y_pred: Any,
        y_proba: Any = None,
        sample_indices: Any = None,
        weights: Any = None,
    ) -> None:
        """Save the arrays of a prediction; they replace those that it has."""
        arrays = {"y_true": y_true, "y_pred": y_pred, "y_proba": y_proba}
        of_samples = {"sample_indices": sample_indices, "weights": weights}
        self.array_store.save_batch([{"prediction_id": prediction_id} | arrays | of_samples])

    def export_chain(self, chain_id: str, output_path: Any, format: str = "n4a") -> Path:
        """Write a chain as nirs4all's own bundle, which its `predict` and our `import_bundle` read."""
        self.own.refuse_pruned(chain_id)
        return Path(their_store().export_chain(self, chain_id, output_path, format))

    def query_aggregated_predictions(
        self,
        run_id: str | None = None,
        pipeline_id: str | None = None,
        chain_id: str | None = None,
        dataset_name: str | None = None,
        model_class: str | None = None,
        metric: str | None = None,
    ) -> pl.DataFrame:
        """Return a row for each chain, metric and dataset: counts, and the least, largest and mean scores."""
        own = self.own
        predictions = own.query_predictions(dataset_name, pipeline_id=pipeline_id, run_id=run_id, chain_id=chain_id)
        ids = predictions["chain_id"].drop_nulls().unique(maintain_order=True).to_list()
        chains = [row | {"branch_path": text_of(row["branch_path"])} for row in own.chains_as_written(ids)]
        return matching(by_metric(chains, predictions), model_class=model_class, metric=metric)

    def query_top_aggregated_predictions(
        self,
        metric: str,
        n: int = 10,
        score_column: str = "avg_val_score",
        ascending: bool | None = None,
        **filters: Any,
    ) -> pl.DataFrame:
        """Return the best rows of `query_aggregated_predictions` by a score; those without it come last."""
        found = self.query_aggregated_predictions(metric=metric, **filters)
        is_ascending = lower_is_better(metric) is not False if ascending is None else ascending
        return ranked(found, score_column, ascending=is_ascending).head(n)
