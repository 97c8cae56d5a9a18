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
    line = _Cells.of([first], width)
    samples = _Cells.of([rows[place] for place in below], width)
    numeric = samples.have_numbers() if below else line.have_numbers()
    if not _has_names([first, *(rows[place] for place in below)], line, samples, numeric, where):
        return Layout(start, None, None, width, numeric.tolist())
    units = samples.select(numeric)
    has_units = len(below) > 1 and bool(units.is_text[0].any()) and bool(np.isnan(units.numbers[0]).all())
    return Layout(start, list(first), below[0] if has_units else None, len(first), numeric.tolist())


@dataclass(frozen=True)
class _Cells:
    """The cells of rows: numbers (nan where there is none), and which are texts that stand for no missing number."""

    numbers: Array
    is_text: Array

    @classmethod
    def of(cls, rows: Sequence[Row], width: int) -> _Cells:
        numbers = np.full((len(rows), width), np.nan)
        is_text = np.zeros((len(rows), width), dtype=bool)
        for place, row in enumerate(rows):
            for column, cell in enumerate(row[:width]):
                try:
                    number = float(cell)
                except ValueError:
                    number = key(cell) if is_number(cell) else np.nan
                    is_text[place, column] = np.isnan(number) and cell.strip().lower() not in MISSING
                numbers[place, column] = number
        numbers[np.isinf(numbers)] = np.nan
        return cls(numbers, is_text)

    def have_numbers(self) -> Array:
        """Tell of each column whether at least half of its cells, not counting missing ones, are numbers."""
        are_numbers = np.sum(~np.isnan(self.numbers), axis=0)
        return (are_numbers > 0) & (are_numbers >= np.sum(self.is_text, axis=0))

    def select(self, columns: Array) -> _Cells:
        return _Cells(self.numbers[:, columns], self.is_text[:, columns])


def _filled(row: Row) -> int:
    """Return how many cells a row has, without empty ones at its end."""
    return next((place for place in range(len(row), 0, -1) if row[place - 1].strip()), 0)


def _has_names(rows: Sequence[Row], line: _Cells, samples: _Cells, numeric: Array, where: str) -> bool:
    """Tell whether the first row names the columns, by its shape and by its values."""
    if not len(samples.numbers):
        return bool(line.is_text.any()) or _is_in_order(line.numbers[0])
    above, below = line.select(numeric), samples.select(numeric)
    numbers, has_texts = above.numbers[~np.isnan(above.numbers)], bool(above.is_text.any())
    if not len(numbers):
        return has_texts or not _is_repeated(rows[0], rows[1:])
    is_like_samples, is_in_order = _is_like(numbers, below.numbers), _is_in_order(numbers)
    if not is_like_samples:
        if has_texts or is_in_order:
            return True
    elif len(numbers) == 1 and not has_texts:
        return False
    elif is_in_order:
        samples_are = np.mean([_is_in_order(row) for row in below.numbers]) > 0.5
        if has_texts or (len(numbers) >= LEAST_IN_ORDER and not samples_are):
            return True
    elif not has_texts or len(numbers) < LEAST_LIKE_A_SAMPLE:
        return has_texts
    raise InvalidInputError(
        f"nobody can tell whether the first line of {where}, {', '.join([*rows[0][:4], '...'])}, names the columns or "
        "is a sample; write a line of names above it, with a text for each column that is no wavelength"
    )


def _is_in_order(numbers: Array) -> bool:
    """Tell whether numbers only rise or only fall, as wavelengths do."""
    steps = np.diff(numbers[~np.isnan(numbers)])
    return bool(np.all(steps > 0) or np.all(steps < 0))


def _is_like(numbers: Array, samples: Array) -> bool:
    """Tell whether most numbers are as large as those of the samples."""
    lowest, highest = np.nanmin(samples), np.nanmax(samples)
    room = highest - lowest
    return bool(np.mean((numbers >= lowest - room) & (numbers <= highest + room)) > 0.5)


def _is_repeated(first: Row, rows: Sequence[Row]) -> bool:
    """Tell whether each text of a first row stands below it again, as a class does and a name does not."""
    cells = [(place, cell) for place, cell in enumerate(first) if cell.strip()]
    return bool(cells) and all(any(cell in row[place : place + 1] for row in rows) for place, cell in cells)
