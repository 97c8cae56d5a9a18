"""Warns of what is probably not meant: markers among values, leaks between rows, columns and tests."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataWarning
from .cells import numbers_or_texts
from .dataset import Array, TrainingData
from .input_checks import ROWS_COUNT_FROM_ZERO

MARKERS = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, 999.0, 9999.0, 99999.0, 1e30, -1e30)
"""What programs write for a value that is missing."""
FAR = 3
"""A constant is far outside if the next value is this many times as far from it as all others from each other."""
LEAST_VALUES = 10
"""Of fewer values, as of codes for classes, nobody can tell what is far outside, or a copy by no chance."""
SAMPLED = 200_000
SCAN = re.compile(r"(?i)[ _.-]+(?:rep|scan|r|s)?[ _.-]*(?:[0-9]{1,2}|[a-z])$")
"""The end of the name of one of several scans: `S07_2`, `S07 rep 1`, `S07-b`."""

NO_NAMES = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary, pl.Duration)
"""The types of columns that are no text, and name nothing."""
GROUPS = re.compile(r"(?i)(^|[ _.-])(sample|group|lot|batch|plot|block|plate|subject|animal|plant|site|id)s?([ _.-]|$)")
"""What columns are called whose whole numbers are names."""


def warn_of_data(data: TrainingData) -> None:
    """Warn of each thing that is probably not meant in a dataset."""
    for message in (*_of_values(data), *_of_copies(data), *_of_scans(data)):
        warnings.warn(message, DataWarning, stacklevel=4)


def warn_of_known_tests(data: TrainingData) -> None:
    """Warn of spectra by which models are to be tested, and that are among those that they are trained on."""
    if data.X_test is None or data.y_test is None or data.X.shape[1] < LEAST_VALUES:
        return
    # One file may have the spectra with fewer digits.
    kind = min(data.X.dtype, data.X_test.dtype, key=lambda kind: kind.itemsize)
    known = {*_keys(data.X, kind)} - {None}
    found = data.test_rows[[key in known for key in _keys(data.X_test, kind)]]
    if len(found):
        message = (
            f"{len(found):,} of {len(data.X_test):,} rows to test have the same spectrum as a row that models are "
            f"trained on, the first of them in row {found[0]} {ROWS_COUNT_FROM_ZERO}: scores of the test set are then "
            "too good (a leak); give samples that are not in the calibration"
        )
        warnings.warn(message, DataWarning, stacklevel=4)


def _of_values(data: TrainingData) -> Iterator[str]:
    """Name values that stand for missing ones, and constants far outside the rest."""
    for value in implausible(data.X):
        rows, columns = np.nonzero(value == data.X)
        column = f"column {data.columns[columns[0]]!r}" if data.columns else f"column {columns[0]}"
        yield _implausible("X", value, len(rows), f"{column}, row {data.rows[rows[0]]}")
    if data.y.dtype.kind not in "iuf":
        return
    for place, column in enumerate(data.y.reshape(len(data.y), -1).T):
        name = data.target_names[place] if data.target_names else "y"
        for value in implausible(column):
            rows = np.flatnonzero(column == value)
            yield _implausible(name, value, len(rows), f"row {data.rows[rows[0]]}")


def _implausible(name: str, value: float, count: int, where: str) -> str:
    cells = "1 cell" if count == 1 else f"{count:,} cells"
    return (
        f"{name} has {value:g} in {cells}, the first in {where} {ROWS_COUNT_FROM_ZERO}, far outside the other values; "
        "if it stands for a missing value, leave the cell empty"
    )


def implausible(values: Array) -> list[float]:
    """Return the smallest and the largest value, where they are a marker or a constant far outside the rest.

    Parameters
    ----------
    values : ndarray of numbers
        Of any shape.
    """
    flat = values.ravel(order="K")
    lowest, highest = np.fmin.reduce(flat), np.fmax.reduce(flat)
    some = flat[:: flat.size // SAMPLED + 1]
    some = some[(some > lowest) & (some < highest)]
    if not some.size:
        return []
    room = some.max() - some.min()
    if some.min() - lowest <= room and highest - some.max() <= room and (lowest >= 0 or some.min() < 0):
        return []  # Of millions of values, all are looked at only where some of them tell that there may be something.
    rest = flat[(flat > lowest) & (flat < highest)]
    least, most = rest.min(), rest.max()
    has_many = len(np.unique(rest[:SAMPLED])) >= LEAST_VALUES
    found = []
    for value, gap in ((lowest, least - lowest), (highest, highest - most)):
        is_marker = value in MARKERS and (gap > most - least or value < 0 <= least)
        is_constant = has_many and gap > FAR * (most - least) and np.count_nonzero(flat == value) > 1
        if is_marker or is_constant:
            found.append(float(value))
    return found


def _of_copies(data: TrainingData) -> Iterator[str]:
    """Name columns of X that are a target, where no wavelengths tell which columns are spectra."""
    columns = data.columns if data.wavelengths is None and len(data.y) >= LEAST_VALUES else None
    if columns is None or data.y.dtype.kind not in "iuf":
        return
    for place, target in enumerate(data.y.reshape(len(data.y), -1).T):
        for column in np.flatnonzero(data.X[0] == target[0]):
            if np.array_equal(data.X[:, column], target, equal_nan=True):
                name = data.target_names[place] if data.target_names else "y"
                yield (
                    f"column {columns[column]!r} of X has the values of {name}: a model would read the answer "
                    "from its input, and scores are then too good (a leak); leave that column out of the spectra"
                )


def _of_scans(data: TrainingData) -> Iterator[str]:
    """Name the column that says that rows belong together, if the dataset has no groups, or groups of one scan each."""
    if data.groups is not None:
        columns = {"groups": pl.Series(data.groups.tolist())}
    else:
        told: Any = [] if data.metadata is None else data.metadata
        columns = {column.name: column for column in told if column.dtype not in NO_NAMES}
        if data.sample_names is not None:
            columns = {"sample": pl.Series(data.sample_names), **columns}
    scans = [(name, _count_named_as_scans(column, data.y)) for name, column in columns.items()]
    found = [] if data.groups is not None else [(name, *_repeats(column, data.y)) for name, column in columns.items()]
    # Where all rows of a value have the same y, they are scans of one sample; the finest of several columns tells most.
    found = sorted((one for one in found if one[1]), key=lambda one: (one[2], one[1]), reverse=True)
    name, count = max(scans, key=lambda one: one[1], default=("", 0))
    if count and not (found and found[0][2]):
        yield (
            f"{len(data.X):,} rows are named in {name!r} as scans of {count:,} samples, as {columns[name][0]!r}: scans "
            "of one sample may stand on both sides of a fold, and scores are then too good (a leak); add a column with "
            "the name of the sample alone, and give that as groups, in a shell --groups COLUMN"
        )
        return
    if not found:
        return
    name, count, _ = found[0]
    use = "names the samples" if name == "sample" and data.sample_names is not None else "is left out"
    others = "".join(f"; {other!r} repeats, too" for other, _, _ in found[1:])
    yield (
        f"{len(data.X):,} rows have {count:,} different values in column {name!r}, which {use}: rows of one value may "
        "stand on both sides of a fold, and scores are then too good (a leak); give that column as groups, in a shell "
        f"--groups {name}{others}"
    )


def _keys(X: Array, kind: Any) -> Iterator[int | None]:
    """Give a number for each row that tells it from others, and None for a row without a value.

    The rows themselves would take the memory of X.
    """
    with np.errstate(over="ignore"):
        for row in X:
            values = row.astype(kind) + 0  # -0.0 becomes 0.0, which is the same value.
            yield None if np.isnan(values).all() else hash(values.tobytes())


def _count_named_as_scans(column: pl.Series, y: Array) -> int:
    """Return of how many samples the rows are scans, as their names tell, which all differ (`S07_1`, `S07_2`); or 0."""
    keys = numbers_or_texts(column)
    if keys.dtype != pl.String or not keys.filter(keys != "").is_unique().all():
        return 0
    count, are_scans = _same_y(keys.set(keys == "", None).str.replace(SCAN.pattern, ""), y)
    are_classes = y.dtype.kind not in "iuf" and count <= len(np.unique(y))  # `wheat_1`, of which the class is wheat.
    return count if are_scans and not are_classes else 0


def _repeats(column: pl.Series, y: Array) -> tuple[int, bool]:
    """Return how many values a column has if they repeat, else 0; and whether all rows of each have the same y."""
    keys = numbers_or_texts(column)
    is_text = keys.dtype == pl.String
    keys = keys.set(keys == "", None) if is_text else keys
    if not is_text and (keys.drop_nulls() % 1 != 0).any():
        return 0, False  # Measurements.
    count, are_scans = _same_y(keys, y)
    # Numbers may be measurements, which repeat by chance.
    are_names = is_text or are_scans or GROUPS.search(column.name) or keys.rle().len() == keys.n_unique()
    return (count, are_scans) if are_names else (0, False)


def _same_y(keys: pl.Series, y: Array) -> tuple[int, bool]:
    """Return how many values repeat as a whole, 0 if there is but one or none repeats; and whether y is one in each."""
    targets = {f"y{place}": column for place, column in enumerate(y.reshape(len(y), -1).T)}
    groups = pl.DataFrame({"key": keys, **targets}).drop_nulls("key").group_by("key")
    counts = groups.agg(pl.len(), same=pl.all_horizontal(pl.col(*targets).n_unique() == 1))
    if counts.height < 2 or not (counts["len"] > 1).any():
        return 0, False
    return counts.height, bool(counts["same"].all())
