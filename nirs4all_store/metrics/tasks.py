"""Whether predictions are of classes or of numbers; without scikit-learn, which commands that only look do not load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def are_classes(predictions: Sequence[dict[str, Any]]) -> bool:
    """Tell whether predictions are of classes, whatever who wrote them calls that: nirs4all `binary_classification`."""
    return any(
        "classification" in (row["task_type"] or "") or _are_labels(row.get("y_true")) or _are_labels(row.get("y_pred"))
        for row in predictions
    )


def _are_labels(values: Any) -> bool:
    return values is not None and np.asarray(values).dtype.kind not in "biuf"
