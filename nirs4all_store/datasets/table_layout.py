"""Where a table begins in a file: lines above it, its lines of names or none, and a line of units below these.

Why a first line is read as names, as a sample, or refused: docs/decisions/0027.
Needs numpy alone: exported scripts carry this very file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from ..errors import InvalidInputError
from .column_names import Array, is_number, key

Row = Sequence[str]
# As a number it would lose its zeros, or the last of more digits than a float has.
CODE = r"^\s*(0[0-9]+|[0-9]{16,})\s*$"
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "-")
LINES_LOOKED_AT = 100
ROWS_COMPARED = 20
"""How many samples are compared with the first line: they may have thousands of cells each."""
LEAST_IN_ORDER = 5
"""Of how many numbers it is told that they rise or fall by no chance."""
LEAST_LIKE_A_SAMPLE = 10
"""How many numbers beside a text make a line that is rather a sample than a line of names."""
FAR = 10
"""How many times the range of samples that rise numbers are away which rise and are none of a sample."""
MOST_GROUPS = 2
"""How many lines of groups may stand above the names."""


@dataclass(frozen=True)
class Layout:
    """Where a table begins.

    Attributes
    ----------
    start : int
        The place of the row that has the names of the columns, else of the first sample.
    first : int
        The place of the first sample.
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
    first: int
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
        Nobody can tell whether the first row has names or a sample, or the first two rows both have names.
    """
    filled = [_filled(row) for row in rows]
    counts = Counter(count for count in filled if count)
    width = max((count for count, times in counts.items() if times > 1), default=max(counts, default=0))
    # Titles and metadata are shorter than the table below them; a line of names lacks a name at most.
    start = next((place for place, count in enumerate(filled) if count > width / 2), 0)
    groups = _places_of_groups(rows, start, width)
    start = next(place for place in range(groups[-1] + 1, len(rows)) if filled[place]) if groups else start
    first = rows[start] if rows else []
    width = max(width, len(first))
    levels = [rows[place] for place in [*groups, start]] if rows else [first]
    names = _names_of(levels)
    below = [place for place in range(start + 1, len(rows)) if filled[place]][: ROWS_COMPARED + 1]
    if groups and below and (named := _names_of_index(rows[below[0]], levels)):
        names[: len(named)], below = named, below[1:]
    line = _Cells.of([first], width)
    samples = _Cells.of([rows[place] for place in below], width)
    numeric = samples.have_numbers() if below else line.have_numbers()
    if not _has_names([first, *(rows[place] for place in below)], line, samples, numeric, where):
        return Layout(start, start, None, None, width, numeric.tolist())
    if len(below) < 2:
        return Layout(start, below[0] if below else len(rows), names, None, len(first), numeric.tolist())
    second, others = samples.select(numeric).parted()
    count = np.sum(~np.isnan(second.numbers))
    if count >= LEAST_IN_ORDER and _are_wavelengths(second, others):
        raise InvalidInputError(
            f"two lines of {where}, {_begin(first)} and {_begin(rows[below[0]])}, could both name the columns; remove "
            "one of them"
        )
    units = below[0] if second.is_text.any() and not count else None
    return Layout(start, below[units is not None], names, units, len(first), numeric.tolist())


def _places_of_groups(rows: Sequence[Row], start: int, width: int) -> list[int]:
    """Return where lines stand that name groups of columns, above the line that names each; none if `start` has names.

    So pandas writes the levels of its columns, and spreadsheets with empty cells for the rest of a group.
    """
    places = [place for place in range(start, len(rows)) if _filled(rows[place])][: ROWS_COMPARED + MOST_GROUPS + 1]
    for count in range(1, min(MOST_GROUPS + 1, len(places) - 1)):
        names = rows[places[count]]
        if len({*_texts(names)}) < len(_texts(names)) or not all(_are_groups(rows[at], names) for at in places[:count]):
            continue
        samples = _Cells.of([rows[place] for place in places[count + 1 :]], width)
        numeric = samples.have_numbers()
        line, below = _Cells.of([names], width).select(numeric), samples.select(numeric)
        has_texts, has_numbers = bool(line.is_text.any()), not np.isnan(line.numbers).all()
        is_named = has_texts and (not has_numbers or _is_in_order(line.numbers[0]))
        if is_named or _are_wavelengths(line, below):
            return places[:count]
    return []


def _are_groups(row: Row, names: Row) -> bool:
    """Tell whether a line names groups of columns: its texts repeat, or are missing where the line below has names."""
    texts = _texts(row)
    missing = [name for cell, name in zip_longest(row, names, fillvalue="") if name.strip() and not cell.strip()]
    return not any(map(is_number, texts)) and (len({*texts}) < len(texts) or len(missing) > 1)


def _texts(row: Row) -> list[str]:
    return [cell.strip() for cell in row if cell.strip()]


def _names_of(levels: Sequence[Row]) -> list[str]:
    """Return the names in the last of some lines; where it has none, those of the groups above."""
    *groups, names = levels
    for row in groups[::-1]:
        names = [name if name.strip() or place >= len(row) else row[place] for place, name in enumerate(names)]
    return list(names)


def _names_of_index(row: Row, levels: Sequence[Row]) -> list[str]:
    """Return what a line below the levels of pandas' columns calls its index, of as many columns; none if it has more.

    Above the index stand the names of the levels, or nothing.
    """
    count = _filled(row)
    above = [[cell.strip() for cell in level[:count]] for level in levels]
    is_index = all(not any(cells[1:]) for cells in above) and len({bool(cells[0]) for cells in above}) == 1
    is_shorter = count < max(map(len, levels)) / 2
    return list(row[:count]) if is_index and is_shorter and not any(map(is_number, row[:count])) else []


def _are_wavelengths(line: _Cells, samples: _Cells) -> bool:
    """Tell whether the numbers of a line only rise or fall, and are unlike those of the samples below.

    Where several samples do not rise or fall themselves, unlike most columns of them is enough; where they do, the
    numbers must be unlike all of them by far.
    """
    numbers, below = line.numbers[0], samples.numbers
    if np.isnan(numbers).all() or not _is_in_order(numbers):
        return False
    samples_are = np.mean([_is_in_order(row) for row in below]) > 0.5
    if len(below) < LEAST_IN_ORDER or samples_are:
        return not _is_like(numbers[~np.isnan(numbers)], below, FAR if samples_are else 1)
    lowest, highest = np.fmin.reduce(below), np.fmax.reduce(below)
    room = highest - lowest
    is_like = (numbers >= lowest - room) & (numbers <= highest + room)
    return bool(np.sum(is_like) * 2 < np.sum(~np.isnan(numbers)))


def _begin(row: Row) -> str:
    return ", ".join([*row[:4], "..."])


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

    def parted(self) -> tuple[_Cells, _Cells]:
        """Return the first row, and the others."""
        return _Cells(self.numbers[:1], self.is_text[:1]), _Cells(self.numbers[1:], self.is_text[1:])


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
        f"nobody can tell whether the first line of {where}, {_begin(rows[0])}, names the columns or "
        "is a sample; write a line of names above it, with a text for each column that is no wavelength"
    )


def _is_in_order(numbers: Array) -> bool:
    """Tell whether numbers only rise or only fall, as wavelengths do."""
    steps = np.diff(numbers[~np.isnan(numbers)])
    return bool(np.all(steps > 0) or np.all(steps < 0))


def _is_like(numbers: Array, samples: Array, times: int = 1) -> bool:
    """Tell whether most numbers are as large as those of the samples, or so many times their range away."""
    lowest, highest = np.nanmin(samples), np.nanmax(samples)
    room = times * (highest - lowest)
    return bool(np.mean((numbers >= lowest - room) & (numbers <= highest + room)) > 0.5)


def _is_repeated(first: Row, rows: Sequence[Row]) -> bool:
    """Tell whether each text of a first row stands below it again, as a class does and a name does not."""
    cells = [(place, cell) for place, cell in enumerate(first) if cell.strip()]
    return bool(cells) and all(any(cell in row[place : place + 1] for row in rows) for place, cell in cells)
