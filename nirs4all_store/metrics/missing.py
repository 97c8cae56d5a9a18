"""Which references are not known."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def is_missing(y: Array) -> Array:
    """Tell which values of y are missing: NaN; of several targets that are texts, empty ones.

    NumPy's texts have no other way to say that a row misses a target. Where there is one target, rows that miss it were
    left out, and an empty text is a label.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)

    Returns
    -------
    ndarray of bool, of the shape of y
    """
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.ndim == 2 and y.dtype.kind in "UO":
        return np.asarray(y == "", dtype=bool)
    return np.zeros(y.shape, dtype=bool)
