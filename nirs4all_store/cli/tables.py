"""Lays out the rows of a table for a terminal: how wide each column is, and where a long cell is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len

Rows = Sequence[Sequence[str]]

GAP = 2
"""How many blanks are between two columns."""
# A short word after a number belongs to it, as in `1.8 s`.
WORD = re.compile(r"\S+(?:(?<=\d) [^\s±]\S{,2}(?=$| \d))*\s*|\s+")
NUMBER = re.compile(r"[-+±]?\d")
MARKS = (r"(?=\()|(?<=pre)(?=processing)", r"(?<=,)(?!\d)", r"(?<=_)", r"(?<=[A-Za-z])(?=[A-Z][a-z])", r"(?<==)")
"""Where a word is broken that is too long: before brackets, then after commas and so on, last after equals signs."""
ANYWHERE = len(MARKS) + 1
MOST_OF_A_WORD, LEAST_OF_A_WORD = 36, 4
"""How wide a column is at most for a word that is longer, and at least where no word fits."""


def lines_of(rows: Rows, right: Sequence[bool], widths: Sequence[int]) -> Iterator[list[str]]:
    """Give the lines of each row, without blanks at their ends.

    Parameters
    ----------
    rows : sequence of sequence of str
        The first one has the titles, which stand just above the others.
    right : sequence of bool
        Whether the cells of a column end at the same place; the others begin there.
    widths : sequence of int
        Of the columns, in cells of the terminal, of which some letters take two.
    """
    for number, row in enumerate(rows):
        broken = [broken_at(width, text) for text, width in zip(row, widths, strict=True)]
        if number == 0:
            broken = [[""] * (max(map(len, broken)) - len(lines)) + lines for lines in broken]
        yield [
            (" " * GAP).join(map(_padded, line, widths, right)).rstrip() for line in zip_longest(*broken, fillvalue="")
        ]


def _padded(text: str, width: int, is_right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if is_right else text + blanks


def natural_widths(rows: Rows) -> list[int]:
    """Return the width of each column if no cell is broken."""
    return [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]


def widths_within(available: int, rows: Rows, whole: Sequence[bool]) -> list[int]:
    """Return the width of each column of a table that fits into the terminal, if that is possible.

    The widest columns become narrower first, and words are broken only where it does not fit with whole ones.

    Parameters
    ----------
    available : int
        The width of the terminal.
    rows : sequence of sequence of str
        The first one has the titles.
    whole : sequence of bool
        Whether the cells of a column are never broken, but for its title: a number that is cut is another number.
    """
    room = available - GAP * (len(whole) - 1)
    natural = natural_widths(rows)
    widths = [width if is_whole else min(width, available) for width, is_whole in zip(natural, whole, strict=True)]
    columns = [*zip(*rows, strict=True)]
    for level in range(ANYWHERE + 1):
        least = [_least(cells, is_whole, level) for cells, is_whole in zip(columns, whole, strict=True)]
        if level in (0, ANYWHERE):
            _narrow_the_widest(widths, least, room)
        # As few columns as possible have broken words.
        for place in sorted(range(len(widths)), key=lambda place: least[place] - widths[place]):
            widths[place] = max(least[place], widths[place] - max(0, sum(widths) - room))
        if sum(widths) <= room:
            return widths
    # The terminal will break the lines; so the words are whole.
    return [_least(cells, is_whole, 0) for cells, is_whole in zip(columns, whole, strict=True)]


def _narrow_the_widest(widths: list[int], least: Sequence[int], room: int) -> None:
    while sum(widths) > room:
        wide = [place for place, width in enumerate(widths) if width > least[place]]
        if not wide:
            return
        widths[max(wide, key=widths.__getitem__)] -= 1


def _least(cells: Sequence[str], is_whole: bool, level: int) -> int:
    """Return the width of a column in which nothing is broken that stays together at a level; see `_parts`."""
    if is_whole:
        return max([_least(cells[:1], False, level), *map(cell_len, cells[1:])])
    parts = [part.rstrip() for text in cells for part in _parts(text, level)]
    most = [MOST_OF_A_WORD if level < ANYWHERE or NUMBER.match(part) else LEAST_OF_A_WORD for part in parts]
    return max(map(min, map(cell_len, parts), most), default=1)


def _parts(text: str, level: int) -> list[str]:
    """Return the words of a text, with the blanks after them; at a higher level broken also at the first MARKS."""
    words = WORD.findall(text)
    marks = "|".join(MARKS[:level])
    return [part for word in words for part in re.split(marks, word) if part] if marks else words


def broken_at(width: int, text: str) -> list[str]:
    """Return the lines of a text of which none is wider, broken between words, or inside one that is wider."""
    if cell_len(text) <= width:
        return [text.rstrip()]
    return [line.rstrip() for line in _broken(width, text, 0)]


def _broken(width: int, text: str, level: int) -> list[str]:
    lines, line = [], ""
    for part in _parts(text, level) if level < ANYWHERE else text:
        if cell_len((line + part).rstrip()) <= width:
            line += part
            continue
        lines += [line] if line else []
        is_too_long = level < ANYWHERE and cell_len(part.rstrip()) > width
        *others, line = _broken(width, part, level + 1) if is_too_long else [part]
        lines += others
    return [*lines, line]
