"""Tables in files: how a file is read, and which files are refused."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from ..errors import InvalidInputError
from ..filesystem import checked_path, refuse_odd_given
from .cells import with_points
from .column_names import reject_duplicate_names

TABLES = (".csv", ".tsv", ".parquet")
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # By this first line a spreadsheet knows it.


def is_table(value: Any) -> bool:
    """Tell whether something is a frame, or the path of a file that is one by its name."""
    if isinstance(value, str | Path):
        return Path(value).suffix.lower() in TABLES
    return is_frame(value)


def is_frame(value: Any) -> bool:
    """Tell whether something is a frame of polars or pandas, a table of Arrow, or what is handed over as one."""
    return (hasattr(value, "iloc") or hasattr(value, "__arrow_c_stream__")) and hasattr(value, "columns")


def frame(table: Any) -> pl.DataFrame:
    """Return a table as a polars frame.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or two columns have one name.
    """
    if isinstance(table, str | Path):
        return read(checked_path(table, "the table"))
    if isinstance(table, pl.DataFrame):
        return table
    reject_duplicate_names([str(name) for name in getattr(table, "column_names", table.columns)], "the table")
    try:
        return pl.from_pandas(table.rename(columns=str)) if hasattr(table, "iloc") else pl.DataFrame(table)
    except Exception as error:  # What pandas and Arrow raise of a column of several types is not of one kind.
        raise InvalidInputError(f"the table has a column of several types: {error}; leave it out") from error


def has_names(given: Any) -> bool:
    """Tell whether somebody named the columns of a frame, instead of pandas or polars, which count them."""
    if type(given.columns).__name__ == "RangeIndex":
        return False
    return not isinstance(given, pl.DataFrame) or given.columns != [f"column_{i}" for i in range(given.width)]


def read(path: Path) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet file; with semicolons or tabs between its columns, decimals may have commas.

    The cells of a CSV are text: which of them are numbers is known where a column is used.

    Raises
    ------
    InvalidInputError
        It cannot be read, is not UTF-8, has no rows or one that is too long, or two columns have one name.
    """
    kind = path.suffix.lower()
    if kind not in TABLES:
        raise InvalidInputError(f"{path} is no table by its name; give one that ends in {', '.join(TABLES)}")
    refuse_odd_given(path)
    try:
        with path.open("rb") as stream:  # By its path it could be a pattern for several files, or an address.
            found = pl.read_parquet(stream) if kind == ".parquet" else _read_csv(path, stream)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    if not found.height:
        raise InvalidInputError(f"{path} has no rows")
    return found.select(pl.exclude(r"^__index_level_\d+__$"))  # The index of pandas.


def _read_csv(path: Path, stream: BinaryIO) -> pl.DataFrame:
    content = stream.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8; save it as UTF-8, which spreadsheets offer") from error
    first, _, rest = text.partition("\n")
    told = SEPARATOR.fullmatch(first.rstrip("\r"))
    header = rest.partition("\n")[0] if told else first
    bare = re.sub(r'"[^"]*"', "", header)
    separator = told[1] if told else next((mark for mark in (";", "\t") if mark in bare), ",")
    names = next(csv.reader([header], delimiter=separator), [])
    reject_duplicate_names(names, str(path))
    try:
        table = pl.read_csv(content, separator=separator, infer_schema=False, skip_lines=1 if told else 0)
    except pl.exceptions.ComputeError:
        _refuse_long_rows(path, text, separator, len(names))
        raise
    has_something = table.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    table = table.head(has_something[-1] + 1 if len(has_something) else 0)  # Empty lines at the end are no samples.
    return table if separator == "," else table.select(map(with_points, table))


def _refuse_long_rows(path: Path, text: str, separator: str, width: int) -> None:
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    for row in rows:
        if len(row) > width:
            advice = (
                f"correct the line, and put a text that has {separator!r} in it in quotes"
                if any(row[width:])
                else f"remove the {separator!r} at the end of the line, or add it to the header"
            )
            raise InvalidInputError(
                f"{path} has {len(row)} fields in line {rows.line_num} and {width} columns in its header; {advice}"
            )
