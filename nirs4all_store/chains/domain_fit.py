"""What a calibration covers: a PCA of its spectra, and how far fresh ones of the same population may be from it.

Why, and how often it is wrong: docs/decisions/0026.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .domain import LEVEL, Domain

Array = Any

MOST_COMPONENTS = 10
MOST_PARTS = 5
SAMPLES_PER_COMPONENT = 4
LEAST_SHARE = 0.05
FEWEST_SAMPLES = 10
MANY = 300
"""Of so many samples three are beyond a limit of 99 %, which then needs no assumption."""
LARGEST = 1e30
"""What is no less cannot be squared and summed within float32, and is no spectrum."""


def parts_of(folds: list[tuple[Array, Array]], n_samples: int) -> Array:
    """Return for each sample by which of a few parts it is held out, by the folds of the training.

    What a fold holds out together stays together, so that scans of one sample do not vouch for each other. A sample
    that several folds hold out belongs to the first, one that none does to part -1.

    Parameters
    ----------
    folds : list of (array of int, array of int)
        Of each fold the places of the samples to train on, and those held out.
    n_samples : int

    Returns
    -------
    ndarray of int of shape (n_samples,)
    """
    parts = np.full(n_samples, -1)
    for number, (_, held_out) in reversed([*enumerate(folds)]):
        parts[held_out] = number % MOST_PARTS
    return parts


def fit_domain(X: Array, parts: Array) -> Domain | None:
    """Return what a calibration covers, as plain arrays.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        What the final model sees of its calibration samples, after all preprocessing.
    parts : array of int of shape (n_samples,)
        See `parts_of`. The limits come from distances of samples to PCAs that were fitted without their part.

    Returns
    -------
    dict of str to ndarray of float32, or None
        `mean`, `lowest` and `highest` of shape (n_features,); `loadings` of shape (n_components, n_features) and
        `deviations` of shape (n_components,), which are those of the scores; `limits` of T² and of the root of Q. None
        where X is not numbers, or has a missing one, or where there are too few samples to tell.
    """
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X)
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        return None
    X = X.astype(np.float64)
    held_out = [parts == part for part in np.unique(parts[parts >= 0])]
    fewest = min((np.count_nonzero(~rows) for rows in held_out), default=0)
    most = min(MOST_COMPONENTS, X.shape[1], fewest // SAMPLES_PER_COMPONENT)
    if most == 0 or np.count_nonzero(parts >= 0) < FEWEST_SAMPLES or not np.all(np.abs(X) < LARGEST):
        return None
    rounding = np.finfo(np.float32).eps * np.sqrt(np.sum(X**2, axis=1).max()) + np.finfo(np.float32).tiny
    found = [_fresh_distances(X[~rows], X[rows], most, rounding) for rows in held_out]
    t2, q = (np.concatenate([pair[which] for pair in found]) for which in (0, 1))
    n_components = _number_of_components(q.sum(axis=0), X.shape[1])
    mean, loadings, deviations = _pca(X, n_components, rounding)
    # Squares of standard scores are 1 on average; less is rounding, where the spectra do not differ at all.
    limits = max(upper_limit(t2[:, n_components]), 1), np.sqrt(upper_limit(q[:, n_components])) + rounding
    arrays = {"mean": mean, "loadings": loadings, "deviations": deviations, "limits": limits}
    arrays |= {"lowest": X.min(axis=0), "highest": X.max(axis=0)}
    return {name: np.asarray(values, np.float32) for name, values in arrays.items()}


def _pca(X: Array, n_components: int, rounding: float) -> tuple[Array, Array, Array]:
    # Imported only here: a program that only predicts does not need it.
    from sklearn.utils.extmath import randomized_svd

    mean = X.mean(axis=0)
    # Exact where spectra differ by more than noise; elsewhere any direction is as good as another. Fast: a training has
    # to wait for it. Directions are kept in float32, and made of it; distances are not.
    centred = np.asarray(X - mean, np.float32)
    options = {"n_oversamples": 6, "n_iter": 2, "power_iteration_normalizer": "LU", "random_state": 0}
    _, lengths, loadings = randomized_svd(centred, n_components, **options)
    orthonormal, _ = np.linalg.qr(loadings.T.astype(np.float64))
    return mean, orthonormal.T, np.maximum(lengths.astype(np.float64) / np.sqrt(len(X) - 1), rounding)


def _fresh_distances(X: Array, fresh: Array, most: int, rounding: float) -> tuple[Array, Array]:
    """Return T² and Q of samples that a PCA has not seen: a column for each number of components, from 0 on."""
    mean, loadings, deviations = _pca(X, most, rounding)
    centred = fresh - mean
    scores = np.pad(centred @ loadings.T, ((0, 0), (1, 0)))
    t2 = np.cumsum((scores / np.append(1, deviations)) ** 2, axis=1)
    q = np.sum(centred**2, axis=1, keepdims=True) - np.cumsum(scores**2, axis=1)
    # In the end there are more samples to fit it to: each is as much smaller as theory says, of normal noise.
    numbers = np.arange(most + 1)
    ratio = [1 + (numbers + 1) / n for n in (len(X), len(X) + len(fresh))]
    ratio_t2 = [(n**2 - 1) / n / (n - numbers - 2) for n in (len(X), len(X) + len(fresh))]
    return t2 * ratio_t2[1] / ratio_t2[0], np.maximum(q, 0) * ratio[1] / ratio[0]


def _number_of_components(left: Array, n_features: int) -> int:
    """Return how many components are worth it, at least 1, from what each number of them leaves of samples held out.

    One more takes a share of that; a direction of mere noise takes one of as many as there are directions left.
    """
    for number in range(1, len(left)):
        share = 1 - left[number] / left[number - 1] if left[number - 1] else 0
        if share < max(LEAST_SHARE, 2 / (n_features - number + 1)):
            return max(number - 1, 1)
    return len(left) - 1


def upper_limit(values: Array) -> float:
    """Return what one more value of the same kind is below, with a probability of about `LEVEL`.

    Of many values that is one of the largest, whatever their distribution, since the one more is as likely to have each
    of the n + 1 ranks (conformal prediction: Bates et al. 2023, Annals of Statistics 51, 149-178). T² and Q are sums of
    squares, nearly `g * chi2(h)` (Box 1954), whose cube roots are nearly normal (Wilson and Hilferty 1931), and the
    prediction limit of normal values knows how few they are (Krishnamoorthy, Mathew and Mukherjee 2008, Technometrics
    50, 69-78). It is wrong where spectra differ in another way, and so the limit of few values is halfway between both.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Not negative, of samples that the PCA has not seen.
    """
    from scipy.special import stdtrit  # The quantile of Student's t.

    roots, n = np.cbrt(values), len(values)
    by_rank = np.quantile(roots, LEVEL, method="weibull")  # The largest, if there are fewer than 99.
    by_chi2 = np.mean(roots) + stdtrit(n - 1, LEVEL) * np.std(roots, ddof=1) * np.sqrt(1 + 1 / n)
    if n * (1 - LEVEL) < 1:  # The largest of so few is no limit, but what is larger than it may still be of them.
        by_rank = max(by_rank, by_chi2)
    return float((by_rank if n >= MANY else (by_rank + by_chi2) / 2) ** 3)
