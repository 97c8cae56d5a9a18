"""How far new spectra are from those of the calibration. Needs numpy alone: exported scripts carry this very file.

Why, and how often it is wrong: docs/decisions/0026.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.99
"""The share of fresh spectra of the calibration's own population that is within each limit."""

Domain = dict[str, Any]
"""The arrays that `fit_domain` returns, by name."""


class Distances(NamedTuple):
    """How far each spectrum is from those of the calibration.

    Attributes
    ----------
    t2 : ndarray of shape (n_samples,)
        Hotelling's T²: how far it is from their mean, along the directions in which they differ most.
    q : ndarray of shape (n_samples,)
        The sum of squares of what these directions leave of it (also called SPE), in the unit of X squared.
    outside_t2, outside_q : ndarray of bool of shape (n_samples,)
        It is beyond the limit.
    outside_envelope : ndarray of int of shape (n_samples,)
        At how many wavelengths it is below the least or above the greatest value of the calibration.
    """

    t2: Any
    q: Any
    outside_t2: Any
    outside_q: Any
    outside_envelope: Any

    @property
    def outside(self) -> Any:
        """Which spectra are beyond one limit or both."""
        return self.outside_t2 | self.outside_q


def distances(domain: Domain, X: Any) -> Distances:
    """Return how far spectra are from those of the calibration.

    Parameters
    ----------
    domain : dict of str to ndarray
        As `fit_domain` returns it.
    X : array of shape (n_samples, n_features)
        What the model sees of them, that is after all preprocessing.

    Raises
    ------
    ValueError
        X has another number of columns than the calibration.
    """
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    mean, loadings = (domain[name].astype(np.float64) for name in ("mean", "loadings"))
    if X.shape[1:] != mean.shape:
        raise ValueError(f"X of shape {X.shape} has not the {len(mean)} columns that the model was calibrated with")
    limit_t2, limit_q = domain["limits"].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        centred = X - mean
        scores = centred @ loadings.T
        t2 = np.sum((scores / domain["deviations"]) ** 2, axis=1)
        # The squares of `centred - scores @ loadings` without that array; float32 loadings are not quite orthonormal.
        overlap = 2 * np.eye(len(loadings)) - loadings @ loadings.T
        q = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", scores @ overlap, scores)
        rounded = X.astype(np.float32)
    beyond = (rounded < domain["lowest"]) | (rounded > domain["highest"])
    # Not `>`: what is not a number is beyond each limit.
    return Distances(t2, q, ~(t2 <= limit_t2), ~(q <= limit_q**2), np.count_nonzero(beyond, axis=1))


def by_chance(n_samples: int) -> int:
    """Return how many of fresh spectra of the calibration's own population are beyond one limit or both, on average."""
    return round(n_samples * (1 - LEVEL**2))
