"""Wavelengths of two tables: which are the same but for rounding, and spectra interpolated from one to the other.

Needs numpy alone: exported scripts carry this very file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError

Array = Any

# A header that was rounded to whole numbers differs by up to 0.13 of the step, if that is 4 cm-1 (3.857 in fact).
SAME_PART_OF_STEP = 0.15
# The step between a few selected wavelengths says nothing of how exact they are.
SAME_PART_OF_WAVELENGTH = 0.001


def places_on(found: Array, wavelengths: Array, where: str) -> Array:
    """Return where the wavelengths of training stand among others, which may be rounded.

    Two are the same if they differ by at most 0.15 of the step to the next wavelength, and by at most 0.001 of
    themselves.

    Parameters
    ----------
    found : ndarray of shape (n_found,)
        The wavelengths of a table, in any order, each once.
    wavelengths : ndarray of shape (n_features,)
        Those of training, in the same unit.
    where : str
        What messages call the table.

    Returns
    -------
    ndarray of int, shape (n_features,)

    Raises
    ------
    InvalidInputError
        One is missing. The message says by how much the nearest ones differ.
    """
    order = np.argsort(found)
    right = np.searchsorted(found[order], wavelengths).clip(max=len(found) - 1)
    left = order[(right - 1).clip(min=0)]
    right = order[right]
    is_left = np.abs(found[left] - wavelengths) <= np.abs(found[right] - wavelengths)
    nearest = np.where(is_left, left, right)
    apart = np.abs(found[nearest] - wavelengths)
    step = np.minimum(_steps(wavelengths), _steps(found)[nearest])
    missing = apart > np.minimum(SAME_PART_OF_STEP * step, SAME_PART_OF_WAVELENGTH * np.abs(wavelengths))
    if missing.any():
        lacks = (
            f"{where} lacks {missing.sum()} of the {len(wavelengths)} wavelengths that the chain was trained on, the "
            f"first {wavelengths[missing][0]:g}; "
        )
        if found.min() > wavelengths.max() or found.max() < wavelengths.min():
            raise InvalidInputError(
                f"{lacks}it has {found.min():g} to {found.max():g}, and those of training are {wavelengths.min():g} to "
                f"{wavelengths.max():g}: give spectra of that range, and in the unit of training (nm, cm-1, µm)"
            )
        is_covered = not _uncovered(found, wavelengths).any()
        advice = ", or predict with resample (--resample), which interpolates them" if is_covered else ""
        raise InvalidInputError(
            f"{lacks}the nearest that it has differ by up to {apart[missing].max():g}, where the step is "
            f"{step.min():g}: give spectra of the same instrument{advice}"
        )
    return nearest


def resampled(X: Array, found: Array, wavelengths: Array, where: str) -> Array:
    """Return spectra at the wavelengths of training, by linear interpolation between those that were measured.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_found)
    found, wavelengths, where
        As for `places_on`.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        NaN where a value beside it is missing.

    Raises
    ------
    InvalidInputError
        A wavelength of training is outside of the range that was measured.
    """
    outside = _uncovered(found, wavelengths)
    if outside.any():
        raise InvalidInputError(
            f"{where} has wavelengths from {found.min():g} to {found.max():g}, and the chain was trained on "
            f"{wavelengths.min():g} to {wavelengths.max():g}; {outside.sum()} of these cannot be interpolated: measure "
            "the whole range, or train on the part that both instruments have"
        )
    order = np.argsort(found)
    return np.array([np.interp(wavelengths, found[order], spectrum[order]) for spectrum in X])


def _uncovered(found: Array, wavelengths: Array) -> Array:
    """Tell which wavelengths are outside of a range, by more than rounding may explain."""
    rounding = SAME_PART_OF_STEP * np.min(_steps(found))
    return (wavelengths < found.min() - rounding) | (wavelengths > found.max() + rounding)


def _steps(grid: Array) -> Array:
    """Return the distance of each wavelength to the next one on either side, whichever is nearer."""
    order = np.argsort(grid)
    gaps = np.diff(grid[order], prepend=-np.inf, append=np.inf)
    steps = np.empty(len(grid))
    steps[order] = np.minimum(gaps[:-1], gaps[1:])
    return steps
