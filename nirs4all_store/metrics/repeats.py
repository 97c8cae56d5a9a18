"""Which folds of a cross-validation belong to one repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def repeats_of(held_out: Sequence[Any], n_samples: int) -> list[list[int]]:
    """Return the folds of each repeat, by number; in each repeat every sample is held out once.

    Parameters
    ----------
    held_out : sequence of arrays of int
        Which samples each fold holds out, as numbers from 0 on.
    n_samples : int

    Returns
    -------
    list of list of int
        Empty if the folds do not come in such repeats: those of `ShuffleSplit` hold some samples out several times and
        others never, those of `TimeSeriesSplit` never the first ones.
    """
    repeats: list[list[int]] = []
    times = np.zeros(n_samples, dtype=int)
    for number, samples in enumerate(held_out):
        if not times.any():
            repeats.append([])
        repeats[-1].append(number)
        np.add.at(times, samples, 1)
        if times.max() > 1:
            return []
        if times.all():
            times[:] = 0
    return [] if times.any() else repeats
