"""Intervals around predictions, from how wrong they were for samples held out. Needs numpy alone, as `domain` does.

What they promise, and what they cannot: docs/decisions/0028.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

SAMPLES_AT_ONCE = 1_000

RESIDUALS = "residuals"
"""The role, among the attachments of a chain, of what `held_out_residuals` returns; bundles have it."""

Residuals = dict[str, Any]
"""The arrays that `held_out_residuals` returns, by name."""


def checked_residuals(value: Any) -> Residuals:
    """Return what was loaded as residuals, if it is that.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        targets = range(len(value) // 2)
        folds = value["folds"]
        pairs = [(value[f"residuals_{target}"], value[f"fold_{target}"]) for target in targets]
        is_one = folds.dtype.kind == "U" and folds.ndim == 1 and bool(pairs) and len(value) == 1 + 2 * len(pairs)
        for residuals, places in pairs:
            is_one = is_one and residuals.dtype == np.float64 and places.dtype == np.int64
            is_one = is_one and residuals.ndim == 1 and residuals.shape == places.shape
            is_one = is_one and bool(np.all((places >= 0) & (places < len(folds))))
    except (AttributeError, KeyError, TypeError, ValueError):
        is_one = False
    if not is_one:
        raise ValueError("its arrays are not those of residuals")
    return dict(value)


def one_a_group(residuals: Array, folds: Array, groups: Array) -> tuple[Array, Array]:
    """Return the largest absolute residual of each group, and its fold: scans of one sample are not several samples.

    Parameters
    ----------
    residuals : array of shape (n_samples,)
        Reference minus prediction of samples held out, in the unit of y.
    folds : array of int of shape (n_samples,)
        Which fold held each out.
    groups : array of shape (n_samples,)

    Returns
    -------
    residuals, folds : ndarray of shape (n_groups,)

    Raises
    ------
    ValueError
        Two folds hold out samples of one group, so that its residuals are those of a sample that training knew.
    """
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    if not np.array_equal(folds[first][members], folds):
        raise ValueError("samples of one group are held out by several folds; split by groups, as GroupKFold does")
    largest = np.zeros(len(first))
    # A sample that its model predicts nothing of (NaN) is as far off as can be.
    np.maximum.at(largest, members, np.nan_to_num(np.abs(residuals), nan=np.inf, posinf=np.inf))
    return largest, folds[first]


def cv_plus(residuals: Array, folds: Array, predictions: Array, level: float = 0.9) -> tuple[Array, Array]:
    """Return intervals by CV+ (Barber, Candès, Ramdas and Tibshirani 2021, Annals of Statistics 49, 486-507).

    An interval for `level` 0.9 covers a new sample of the same population with a probability of about 90 %, and of no
    less than about 80 % whatever the model and the population: the promise is 1 - 2 * (1 - level). Of one fold, whose
    model has not seen the samples held out, it is split conformal (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018,
    JASA 113, 1094-1111): the prediction and a residual to each side, and the promise is `level`.

    Parameters
    ----------
    residuals : array of shape (n_samples,)
        Reference minus prediction of each calibration sample, by the fold that held it out; see `one_a_group`.
    folds : array of int of shape (n_samples,)
        Which fold that was: a place in `predictions`.
    predictions : array of shape (n_folds, n_new)
        What each fold's model predicts of new samples.
    level : float

    Returns
    -------
    lower, upper : ndarray of shape (n_new,)
        Infinite where there are too few samples for such a level.
    """
    predictions, width = np.asarray(predictions, np.float64), np.abs(np.asarray(residuals, np.float64))[:, None]
    rank = _rank(len(width), level)
    found = []
    for start in range(0, predictions.shape[1], SAMPLES_AT_ONCE):
        by_fold = predictions[folds, start : start + SAMPLES_AT_ONCE]
        found.append((-_smallest(width - by_fold, rank), _smallest(by_fold + width, rank)))
    lower, upper = (np.concatenate([pair[side] for pair in found] or [np.empty(0)]) for side in (0, 1))
    return lower, upper


def _rank(n_samples: int, level: float) -> int:
    """Return which of the residuals, from the smallest on, one more is at most equal to with a probability `level`."""
    return int(np.ceil(round(level * (n_samples + 1), 9)))  # 0.7 * 10 is 7.000000000000001 or the like.


def _smallest(values: Array, rank: int) -> Array:
    """Return of each column the value of a rank; infinity if there are not so many."""
    values = np.where(np.isnan(values), np.inf, values)
    if rank > len(values):
        return np.full(values.shape[1:], np.inf)
    return np.partition(values, rank - 1, axis=0)[rank - 1]
