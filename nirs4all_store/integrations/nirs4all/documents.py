"""What nirs4all says, and our tables have no column for: small documents beside the rows, as results.

A chain is stored as our replay needs it; its document has it as nirs4all wrote it, for nirs4all's own readers. A
prediction has a document if nirs4all says more of it than our columns hold. See docs/decisions/0033.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...exchange import BEYOND_COLUMNS

Row = dict[str, Any]

OF_CHAIN, OF_PREDICTION = "nirs4all chain", BEYOND_COLUMNS
"""The kinds of the results. An import keeps what it finds of predictions under the same kind and names."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it: an object that JSON cannot hold becomes its text, as nirs4all stores it."""
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def text_of(value: Any) -> str | None:
    """Return JSON text, or None for None."""
    return None if value is None else json.dumps(value)
