"""What nirs4all 0.7.1 asks of a workspace.

nirs4all is imported where something of it is needed, so that this module can be imported without it.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

from .adapter import Adapter
from .installation import their_store


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
        self._save_waiting()
        return Path(their_store().export_chain(self, chain_id, output_path, format))
