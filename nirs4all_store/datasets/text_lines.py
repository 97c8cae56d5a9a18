"""The lines of a text file with a table: what separates their cells, and the cells of the first.

Needs numpy alone: exported scripts carry this very file and `table_layout`.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError
from .column_names import is_number
from .table_layout import LINES_LOOKED_AT

SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # By this first line a spreadsheet knows it.
SEPARATORS = (";", "\t", "|", ",")
"""In this order: a comma may stand in decimals."""


@dataclass(frozen=True)
class TextLines:
    """A text file with a table.

    Attributes
    ----------
    content : bytes
        Without the mark of its encoding; with tabs for the spaces that separate columns.
    first_lines : list of str
    separator : str
    rows : list of list of str
        The cells of the first rows, below a line that only names the separator.
    ends : list of int
        The number of lines above each of these rows, and above what follows.
    """

    content: bytes
    first_lines: list[str]
    separator: str
    rows: list[list[str]]
    ends: list[int]


def lines_of(content: bytes, where: str) -> TextLines:
    """Return what separates the columns of a text file, and the cells of its first rows.

    Raises
    ------
    InvalidInputError
        It is not UTF-8, or a cell is too long.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\n" not in content:  # As old spreadsheets of the Mac end their lines.
        content = content.replace(b"\r", b"\n")
    lines = _first_lines(content, where)
    told = SEPARATOR.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    separator = told[1] if told else _separator(lines)
    if separator == " ":
        content, separator = re.sub(rb"[ \t]+(?=[^ \t\r\n])", b"\t", re.sub(rb"(?m)^[ \t]+", b"", content)), "\t"
        lines = _first_lines(content, where)
    rows, ends = _cells_of(lines, separator, int(bool(told)), where)
    return TextLines(content, lines, separator, rows, ends)


def refuse_long_rows(lines: TextLines, start: int, width: int, where: str) -> None:
    """Refuse a table, below the first `start` lines, of which a row has more cells than its columns.

    Raises
    ------
    InvalidInputError
        It names the line. Or the file is not UTF-8.
    """
    try:
        text = lines.content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(where) from error
    rows = csv.reader(io.StringIO(text), delimiter=lines.separator)
    for row in rows:
        if len(row) > width and rows.line_num > start:
            advice = (
                f"correct the line, and put a text that has {lines.separator!r} in it in quotes"
                if any(row[width:])
                else f"remove the {lines.separator!r} at the end of the line, or add it to the header"
            )
            raise InvalidInputError(
                f"{where} has {len(row)} fields in line {rows.line_num} and {width} columns in its header; {advice}"
            )


def _first_lines(content: bytes, where: str) -> list[str]:
    try:
        return [line.decode() for line in itertools.islice(io.BytesIO(content), LINES_LOOKED_AT)]
    except UnicodeDecodeError as error:
        raise _not_utf8(where) from error


def _not_utf8(where: str) -> InvalidInputError:
    return InvalidInputError(f"{where} is not UTF-8; save it as UTF-8, which spreadsheets offer")


def _cells_of(lines: Sequence[str], separator: str, skipped: int, where: str) -> tuple[list[list[str]], list[int]]:
    """Return the cells of the first rows, and the number of lines above each, and above what follows."""
    reader = csv.reader(lines[skipped:], delimiter=separator)
    rows, ends = [], [skipped]
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num + skipped)
    except csv.Error as error:
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    return rows, ends


def _separator(lines: Sequence[str]) -> str:
    """Return what separates columns: what stands equally often in most lines, and not far less often than others."""
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines if line.strip()]
    explained = {}
    for mark in SEPARATORS:
        counts = Counter(line.count(mark) for line in bare)
        explained[mark] = max((times * count for count, times in counts.items()), default=0)
    most = max(explained.values())
    if most:
        return next(mark for mark in SEPARATORS if explained[mark] * 2 >= most)
    words = bare[-1].split() if bare else []
    return " " if len(words) > 1 and sum(map(is_number, words)) * 2 >= len(words) else ","
