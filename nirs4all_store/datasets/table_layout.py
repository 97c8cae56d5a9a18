"""Where a table begins in a file: lines above it, its line of names or none, and a line of units below that.

Why a first line is read as names, as a sample, or refused: docs/decisions/0027.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInputError
from .cells import MISSING
from .column_names import Array, is_number, key

Row = Sequence[str]
LINES_LOOKED_AT = 100
ROWS_COMPARED = 20
"""How many samples are compared with the first line: they may have thousands of cells each."""
LEAST_IN_ORDER = 5
"""Of how many numbers it is told that they rise or fall by no chance."""
LEAST_LIKE_A_SAMPLE = 10
"""How many numbers beside a text make a line that is rather a sample than a line of names."""


@dataclass(frozen=True)
class Layout:
    """Where a table begins.

    Attributes
    ----------
    start : int
        The place of the first row of the table, which has the names of the columns or is the first sample.
    names : list of str, or None
        The names of the columns; None if no row has them.
    units : int or None
        The place of a row that has the units of the columns.
    width : int
        The number of columns.
    numeric : list of bool
        Of each column, whether it has numbers.
    """

    start: int
    names: list[str] | None
    units: int | None
    width: int
    numeric: list[bool]


def find_layout(rows: Sequence[Row], where: str) -> Layout:
    """Return where a table begins among the first rows of a file.

    Parameters
    ----------
    rows : list of list of str
        The cells of the first rows, blank rows too.
    where : str
        What messages call the file.

    Raises
    ------
    InvalidInputError
        Nobody can tell whether the first row has names or a sample.
    """
    filled = [_filled(row) for row in rows]
    counts = Counter(count for count in filled if count)
    width = max((count for count, times in counts.items() if times > 1), default=max(counts, default=0))
    # Titles and metadata are shorter than the table below them; a line of names lacks a name at most.
    start = next((place for place, count in enumerate(filled) if count > width / 2), 0)
    first = rows[start] if rows else []
    width = max(width, len(first))
    below = [place for place in range(start + 1, len(rows)) if filled[place]][: ROWS_COMPARED + 1]
    numeric = [_has_numbers([rows[place][column : column + 1] for place in below]) for column in range(width)]
    if not _has_names(first, [rows[place] for place in below], numeric, where):
        return Layout(start, None, None, width, _of_sample(first, numeric) if not below else numeric)
    has_units = len(below) > 1 and _has_units(rows[below[0]], numeric)
    return Layout(start, list(first), below[0] if has_units else None, len(first), numeric)


def _filled(row: Row) -> int:
    """Return how many cells a row has, without empty ones at its end."""
    return next((place for place in range(len(row), 0, -1) if row[place - 1].strip()), 0)


def _has_numbers(cells: Sequence[Row]) -> bool:
    """Tell whether at least half of the cells of a column, each in a list of its own, are numbers."""
    values = [cell[0] for cell in cells if cell and not _is_missing(cell[0])]
    return bool(values) and sum(map(is_number, values)) * 2 >= len(values)


def _of_sample(row: Row, numeric: list[bool]) -> list[bool]:
    return [place < len(row) and is_number(row[place]) for place in range(len(numeric))]


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _has_units(row: Row, numeric: Sequence[bool]) -> bool:
    """Tell whether a row has only texts where the others have numbers."""
    cells = [cell for cell, is_one in zip(row, numeric, strict=False) if is_one and not _is_missing(cell)]
    return bool(cells) and not any(map(is_number, cells))


def _has_names(first: Row, below: Sequence[Row], numeric: Sequence[bool], where: str) -> bool:
    """Tell whether the first row names the columns, by its shape and by its values."""
    above = [cell for cell, is_one in zip(first, numeric, strict=False) if is_one and not _is_missing(cell)]
    numbers = np.array([key(cell) for cell in above if is_number(cell)], dtype=float)
    has_texts = len(numbers) < len(above)
    if not below:
        return not all(map(is_number, filter(str.strip, first))) or _is_in_order(_numbers(first))
    if not len(numbers):
        return has_texts or not _is_repeated(first, below)
    is_like_samples, is_in_order = _is_like(numbers, below, numeric), _is_in_order(numbers)
    if not is_like_samples:
        if has_texts or is_in_order:
            return True
    elif len(numbers) == 1 and not has_texts:
        return False
    elif is_in_order:
        samples_are, is_long = np.mean([_is_in_order(_numbers(row)) for row in below]) > 0.5, len(numbers)
        if has_texts or (is_long >= LEAST_IN_ORDER and not samples_are):
            return True
    elif not has_texts or len(numbers) < LEAST_LIKE_A_SAMPLE:
        return has_texts
    raise InvalidInputError(
        f"nobody can tell whether the first line of {where}, {', '.join([*first[:4], '...'])}, names the columns or is "
        "a sample; write a line of names above it, with a text for each column that is no wavelength"
    )


def _numbers(row: Row) -> Array:
    return np.array([key(cell) for cell in row if is_number(cell)], dtype=float)


def _is_in_order(numbers: Array) -> bool:
    """Tell whether numbers only rise or only fall, as wavelengths do."""
    steps = np.diff(numbers)
    return bool(np.all(steps > 0) or np.all(steps < 0))


def _is_like(numbers: Array, below: Sequence[Row], numeric: Sequence[bool]) -> bool:
    """Tell whether most numbers are as large as those of the samples."""
    cells = [cell for row in below for cell, is_one in zip(row, numeric, strict=False) if is_one and is_number(cell)]
    samples = np.array([key(cell) for cell in cells], dtype=float)
    lowest, highest = samples.min(), samples.max()
    room = highest - lowest
    return bool(np.mean((numbers >= lowest - room) & (numbers <= highest + room)) > 0.5)


def _is_repeated(first: Row, below: Sequence[Row]) -> bool:
    """Tell whether each text of a first row stands below it again, as a class does and a name does not."""
    cells = [(place, cell) for place, cell in enumerate(first) if cell.strip()]
    return bool(cells) and all(any(cell in row[place : place + 1] for row in below) for place, cell in cells)
