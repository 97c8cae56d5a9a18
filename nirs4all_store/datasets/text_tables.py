"""Tables in text files: what separates their columns, where they begin, and how polars reads them fast."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ..errors import InvalidInputError
from . import column_names
from .cells import with_points
from .column_names import is_number, reject_duplicate_names
from .table_layout import LINES_LOOKED_AT, Layout, Row, find_layout

SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # By this first line a spreadsheet knows it.
SEPARATORS = (";", "\t", "|", ",")
"""In this order: a comma may stand in decimals."""


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes
    ----------
    frame : polars.DataFrame
        Columns without names are called `column_0`, `column_1`, ...
    units : dict of str to str
        Of the columns that have one in a line below their names.
    """

    frame: pl.DataFrame
    units: dict[str, str] = field(default_factory=dict)


def read_text(content: bytes, where: str, texts: Collection[str] = ()) -> Table:
    """Read a CSV, or what differs from one by its separators, decimal commas or the lines above its table.

    Columns that are named by wavelengths are read as numbers at once. The cells of the others are text: which of them
    are numbers is known where a column is used.

    Parameters
    ----------
    content : bytes
    where : str
        What messages call the file.
    texts : collection of str
        Names of columns that stay text, such as groups.

    Raises
    ------
    InvalidInputError
        It is not UTF-8, has a row that is too long, two columns of one name, or a first line of which nobody can tell
        whether it has names.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    lines = _first_lines(content, where)
    told = SEPARATOR.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    separator = told[1] if told else _separator(lines)
    if separator == " ":
        content, separator = re.sub(rb"[ \t]+(?=[^ \t\r\n])", b"\t", re.sub(rb"(?m)^[ \t]+", b"", content)), "\t"
        lines = _first_lines(content, where)
    rows, ends = _rows(lines, separator, int(bool(told)), where)
    layout = find_layout(rows, where)
    if layout.names is not None:
        reject_duplicate_names(layout.names, where)
    start = ends[layout.start]
    above = 0 if layout.names is None else ends[layout.first] - ends[layout.start + 1]
    below = sum(len(line.encode()) for line in lines[: ends[layout.first]])
    try:
        table = _parsed(content, separator, layout, (start, above, below), texts)
    except pl.exceptions.ComputeError as error:
        _refuse_long_rows(content, separator, start, layout.width, where)
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    if layout.names is not None and layout.names != rows[layout.start]:
        table.columns = layout.names
    return Table(without_empty_end(table), units_of(layout, rows))


def units_of(layout: Layout, rows: Sequence[Row]) -> dict[str, str]:
    """Return the unit of each column that has one."""
    if layout.units is None or layout.names is None:
        return {}
    pairs = zip(layout.names, map(str.strip, rows[layout.units]), strict=False)
    return {name: unit for name, unit in pairs if unit}


def without_empty_end(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table without empty rows at its end, which are no samples."""
    if not table.height or any(cell is not None for cell in table.row(-1)):
        return table
    has_something = table.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return table.head(has_something[-1] + 1 if len(has_something) else 0)


def _first_lines(content: bytes, where: str) -> list[str]:
    try:
        return [line.decode() for line in itertools.islice(io.BytesIO(content), LINES_LOOKED_AT)]
    except UnicodeDecodeError as error:
        raise _not_utf8(where) from error


def _not_utf8(where: str) -> InvalidInputError:
    return InvalidInputError(f"{where} is not UTF-8; save it as UTF-8, which spreadsheets offer")


def _rows(lines: Sequence[str], separator: str, skipped: int, where: str) -> tuple[list[list[str]], list[int]]:
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


def _parsed(
    content: bytes, separator: str, layout: Layout, lines: tuple[int, int, int], texts: Collection[str]
) -> pl.DataFrame:
    """Return the cells, spectra as numbers if all of them are, else all of them as text.

    Parameters
    ----------
    lines : (int, int, int)
        How many lines are above the table, how many below its names are none of it, and where its first sample begins.
    """
    start, above, below = lines
    names = layout.names or [f"column_{place}" for place in range(layout.width)]
    options: dict[str, Any] = {"separator": separator, "infer_schema": False, "skip_lines": start}
    options |= {"skip_rows_after_header": above} if layout.names else {"has_header": False, "new_columns": names}
    numbers = dict.fromkeys(_numeric(names, layout, texts), pl.Float64)
    has_commas = separator != "," and b"," in content
    try:
        table = pl.read_csv(content, schema_overrides=numbers, decimal_comma=has_commas, **options)
        # Beside decimal commas polars takes points for decimal ones, too; they may separate thousands.
        are_numbers = not has_commas or content.count(b".", below) == _points(table)
    except pl.exceptions.ComputeError:
        are_numbers = False
    if not are_numbers:
        table = pl.read_csv(content, **options)
    return table if separator == "," else table.with_columns(map(with_points, table.select(pl.col(pl.String))))


def _numeric(names: Sequence[str], layout: Layout, texts: Collection[str]) -> list[str]:
    """Return the names of columns that are numbers if each of their cells is."""
    if layout.names is None:
        return [name for name, is_one in zip(names, layout.numeric, strict=True) if is_one]
    try:
        return column_names.spectral(column_names.without_index(names, texts), "")[0]
    except InvalidInputError:  # What is chosen, or refused, knows more than the file.
        return []


def _points(table: pl.DataFrame) -> int:
    """Return how many points stand in the columns of text."""
    counts = table.select(pl.col(pl.String).str.count_matches(".", literal=True).sum())
    return sum(counts.row(0)) if counts.width else 0


def _refuse_long_rows(content: bytes, separator: str, start: int, width: int, where: str) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(where) from error
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    for row in rows:
        if len(row) > width and rows.line_num > start:
            advice = (
                f"correct the line, and put a text that has {separator!r} in it in quotes"
                if any(row[width:])
                else f"remove the {separator!r} at the end of the line, or add it to the header"
            )
            raise InvalidInputError(
                f"{where} has {len(row)} fields in line {rows.line_num} and {width} columns in its header; {advice}"
            )
