"""How far new spectra are from those of the calibration. Needs numpy alone: exported scripts carry this very file.

Why, and how often it is wrong: docs/decisions/0026.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.99
"""The share of fresh spectra of the calibration's own population that is within each limit."""

DOMAIN = "domain"
"""The role of the artifact among the attachments of a chain."""

UNKNOWN = (
    "nothing tells whether these spectra are like the calibration: what that covers is not known of this chain, or not "
    "of these folds"
)

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


def checked_domain(value: Any) -> Domain:
    """Return what was loaded as a domain, if it is one.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        n_components, n_features = value["loadings"].shape
        shapes = [(n_features,)] * 3 + [(n_components,), (2,)]
        names = ("mean", "lowest", "highest", "deviations", "limits")
        is_one = all(value[name].shape == shape for name, shape in zip(names, shapes, strict=True))
        is_one = is_one and all(value[name].dtype == np.float32 for name in (*names, "loadings"))
    except (AttributeError, KeyError, TypeError, ValueError):
        is_one = False
    if not is_one:
        raise ValueError("its arrays are not those of a domain")
    return dict(value)


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
    # What was no less than the least before it became float32 is not below it.
    lowest = np.nextafter(domain["lowest"], -np.inf).astype(np.float64)
    highest = np.nextafter(domain["highest"], np.inf).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # |x - mean|² - |scores|² in one product and one sum over X, without an array as large as X.
        products = X @ np.column_stack([loadings.T, mean])
        scores = products[:, :-1] - loadings @ mean
        t2 = np.sum((scores / domain["deviations"]) ** 2, axis=1)
        squares = np.einsum("ij,ij->i", X, X) - 2 * products[:, -1] + mean @ mean
        # Float32 loadings are not quite orthonormal.
        overlap = 2 * np.eye(len(loadings)) - loadings @ loadings.T
        q = np.maximum(squares - np.einsum("ij,ij->i", scores @ overlap, scores), 0)
    beyond = lowest > X
    beyond |= highest < X
    # Not `>`: what is not a number is beyond each limit.
    return Distances(t2, q, ~(t2 <= limit_t2), ~(q <= limit_q**2), np.count_nonzero(beyond, axis=1))


def leverage(model: Any, X: Any) -> Any:
    """Return the leverage of spectra in a PLS model: 1/n + the sum of t² / (the sum of t² of its n samples).

    Parameters
    ----------
    model : object
        A fitted model.
    X : array of shape (n_samples, n_features)
        What it sees.

    Returns
    -------
    ndarray of shape (n_samples,), or None
        None where it is no PLS.
    """
    model = getattr(model, "regressor_", model)  # Inside a transformation of y.
    known = getattr(model, "x_scores_", None)
    if known is None:
        return None
    return 1 / len(known) + np.sum(model.transform(X) ** 2 / np.sum(known**2, axis=0), axis=1)


def outside_range(y: Any, y_range: Any) -> Any:
    """Return which rows of predictions have a value outside of the calibration's; `y_range` has a pair a target."""
    lowest, highest = np.transpose(y_range)
    return ~np.all((y >= lowest) & (y <= highest), axis=1)  # What is not a number is in no range.


def summary(outside_x: Any, outside_y: Any = None) -> str | None:
    """Return in one sentence how many spectra and predictions are unlike the calibration; None if none is.

    Parameters
    ----------
    outside_x, outside_y : array of bool of shape (n_samples,), or None
        Without `outside_x` the sentence says that nobody can tell: no flag is not the same as a good one.
    """
    told = []
    if outside_x is None:
        told.append(UNKNOWN)
    elif np.any(outside_x):
        count, n = np.count_nonzero(outside_x), len(outside_x)
        told.append(
            f"{count:,} of {n:,} spectra {'is' if count == 1 else 'are'} unlike the calibration; by chance alone "
            f"{by_chance(n) or 'hardly one'} would be"
        )
    if outside_y is not None and np.any(outside_y):
        count, n = np.count_nonzero(outside_y), len(outside_y)
        told.append(f"{count:,} of {n:,} predictions {'is' if count == 1 else 'are'} outside the calibration's range")
    return "; ".join(told) or None


def by_chance(n_samples: int) -> int:
    """Return how many of fresh spectra of the calibration's own population are beyond one limit or both, on average."""
    return round(n_samples * (1 - LEVEL**2))
