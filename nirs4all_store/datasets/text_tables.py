"""Tables in text files, which polars reads fast once it is known what separates their columns and where they begin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ..errors import InvalidInputError
from . import column_names
from .cells import with_points
from .column_names import reject_duplicate_names
from .table_layout import Layout, Row, find_layout
from .text_lines import TextLines, lines_of, refuse_long_rows


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
    lines = lines_of(content, where)
    layout = find_layout(lines.rows, where)
    if layout.names is not None:
        reject_duplicate_names(layout.names, where)
    start = lines.ends[layout.start]
    try:
        table = _parsed(lines, layout, texts)
    except pl.exceptions.ComputeError as error:
        refuse_long_rows(lines, start, layout.width, where)
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    if layout.names is not None and layout.names != lines.rows[layout.start]:
        table.columns = layout.names
    return Table(without_empty_end(table), units_of(layout, lines.rows))


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


def _parsed(lines: TextLines, layout: Layout, texts: Collection[str]) -> pl.DataFrame:
    """Return the cells, spectra as numbers if all of them are, else all of them as text."""
    content, separator = lines.content, lines.separator
    first = lines.ends[layout.first]
    names = layout.names or [f"column_{place}" for place in range(layout.width)]
    options: dict[str, Any] = {"separator": separator, "infer_schema": False, "skip_lines": lines.ends[layout.start]}
    if layout.names:
        options["skip_rows_after_header"] = first - lines.ends[layout.start + 1]
    else:
        options |= {"has_header": False, "new_columns": names}
    numbers = dict.fromkeys(_numeric(names, layout, texts), pl.Float64)
    has_commas = separator != "," and b"," in content
    try:
        table = pl.read_csv(content, schema_overrides=numbers, decimal_comma=has_commas, **options)
        # Beside decimal commas polars takes points for decimal ones, too; they may separate thousands.
        above = sum(len(line.encode()) for line in lines.first_lines[:first])
        are_numbers = not has_commas or content.count(b".", above) == _points(table)
    except pl.exceptions.ComputeError:
        are_numbers = False
    if not are_numbers:
        table = pl.read_csv(content, **options)
    if separator == ",":
        return table
    return pl.DataFrame([with_points(column) if column.dtype == pl.String else column for column in table])


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
