"""Tables of spectra: how a file is read, which columns are X, and what is wrong with a value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from ..errors import InvalidInputError
from ..filesystem.atomic_files import checked_path
from ..filesystem.file_types import refuse_odd_given
from . import column_names
from .column_names import MOST_NAMED, is_number, refuse_twins, wavelengths_of

Array = Any

TABLES = (".csv", ".tsv", ".parquet")
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # By this first line a spreadsheet knows it.
QUOTED = re.compile(r'"[^"]*"')
PANDAS_INDEX = r"^__index_level_\d+__$"
# As a number it would lose its zeros, or the last of more digits than a float has.
CODE = r"^\s*(0[0-9]+|[0-9]{16,})\s*$"
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "-")


@dataclass(frozen=True)
class Spectra:
    """The columns of a table that are X.

    Attributes
    ----------
    X : ndarray of float, shape (n_samples, n_features)
        NaN where a value is missing.
    columns : list of str
        Their names.
    wavelengths : ndarray of shape (n_features,), or None
        What the names say, if they are numbers.
    others : polars.DataFrame
        The columns that are not X.
    """

    X: Array
    columns: list[str]
    wavelengths: Array | None
    others: pl.DataFrame


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
    refuse_twins([str(name) for name in getattr(table, "column_names", table.columns)], "the table")
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
    return found.select(pl.exclude(PANDAS_INDEX))


def _read_csv(path: Path, stream: BinaryIO) -> pl.DataFrame:
    content = stream.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8; save it as UTF-8, which spreadsheets offer") from error
    first, _, rest = text.partition("\n")
    told = SEPARATOR.fullmatch(first.rstrip("\r"))
    header = rest.partition("\n")[0] if told else first
    bare = QUOTED.sub("", header)
    separator = told[1] if told else next((mark for mark in (";", "\t") if mark in bare), ",")
    names = next(csv.reader([header], delimiter=separator), [])
    refuse_twins(names, str(path))
    try:
        table = pl.read_csv(content, separator=separator, infer_schema=False, skip_lines=1 if told else 0)
    except pl.exceptions.ComputeError:
        _refuse_long_rows(path, text, separator, len(names))
        raise
    has_something = table.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    table = table.head(has_something[-1] + 1 if len(has_something) else 0)  # Empty lines at the end are no samples.
    return table if separator == "," else table.select(map(_with_points, table))


def _refuse_long_rows(path: Path, text: str, separator: str, width: int) -> None:
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    for row in rows:
        if len(row) > width:
            advice = (
                f"correct the line, and put a text that has {separator!r} in it in quotes" if any(row[width:]) else
                f"remove the {separator!r} at the end of the line, or add it to the header"
            )  # fmt: skip
            raise InvalidInputError(
                f"{path} has {len(row)} fields in line {rows.line_num} and {width} columns in its header; {advice}"
            )


def _with_points(cells: pl.Series) -> pl.Series:
    """Return a column with points for its decimal commas, if it has numbers and nothing else.

    Where some have a comma and others a point, one of both separates thousands, and the column stays as it is.
    """
    commas, has_points = cells.str.contains(",", literal=True), cells.str.contains(".", literal=True).any()
    if not commas.any() or has_points or _are_names(cells):
        return cells
    points = cells.str.replace(",", ".", literal=True)
    return cells if _all_numbers(points) is None else points


def spectra_of(table: pl.DataFrame, without: Collection[str] = ()) -> Spectra:
    """Return X of a table: the columns that are named by numbers, else all columns of numbers.

    In a table that has only text, as that of a CSV, columns of numbers are those whose text can be read as such.

    Raises
    ------
    InvalidInputError
        A column that is named by a number has something else in it, there are no columns for X, or several kinds of
        columns that each could be X.
    """
    names = column_names.without_index(table.columns, without)
    columns, wavelengths = column_names.spectral(names, "the table")
    # Beside columns that have another type, text is meant to be text.
    is_text = all(kind == pl.String for kind in table.dtypes)
    columns = columns or [name for name in names if _is_of_numbers(table[name], may_be_text=is_text)]
    if not columns:
        raise InvalidInputError(f"no column of {names[:MOST_NAMED]} has numbers; give spectra, a column a wavelength")
    return Spectra(_matrix(table, columns), columns, wavelengths, table.drop(columns))


def columns_of(table: pl.DataFrame, columns: Sequence[str], where: str) -> Spectra:
    """Return X made of the columns of a table that have certain names, in their order; `1100.0` is `1100`.

    Raises
    ------
    InvalidInputError
        One is missing, is there twice, or has something else than numbers.
    """
    places = column_names.places_by_name(table.columns, columns, where)
    return picked(table, [table.columns[place] for place in places], list(columns), wavelengths_of(columns))


def picked(table: pl.DataFrame, found: Sequence[str], columns: list[str], wavelengths: Array | None) -> Spectra:
    """Return X made of the columns that were found, with the names and wavelengths that are known of them."""
    return Spectra(_matrix(table, found), columns, wavelengths, table.drop(found))


def names_in(table: pl.DataFrame, value: Any) -> list[str] | None:
    """Return the names of columns that something is; None if it is values itself."""
    if isinstance(value, str):
        return [value]
    are_names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return list(value) if are_names and (not value or set(value) & set(table.columns)) else None


def targets_of(table: pl.DataFrame, targets: Sequence[str], where: str, *, are_names: bool = False) -> Array:
    """Return the named columns: one as an array of shape (n_samples,), several as (n_samples, n_targets).

    Text that can be read as numbers becomes numbers, unless it is told that they are names.

    Raises
    ------
    InvalidInputError
        There is no such column, one is named twice, or one has text and another one numbers.
    """
    missing = [name for name in targets if name not in table.columns]
    if missing or not targets:
        texts = [name for name in table.columns if not is_number(name)] or table.columns
        raise InvalidInputError(
            f"{where} has no column {', '.join(map(repr, missing)) or 'that is known to be y'}; name one of "
            f"{texts[:MOST_NAMED]} as target=, in a shell with --target"
        )
    refuse_twins(targets, "the target")
    columns = [_values(table[name], are_names=are_names) for name in targets]
    if len({column.dtype == pl.String for column in columns}) > 1:
        for column in columns:
            _numbers(column)  # Says which value is none.
    y = table.select(columns).to_numpy()
    return y[:, 0] if len(targets) == 1 else y


def _values(column: pl.Series, *, are_names: bool) -> pl.Series:
    """Return a column as numbers if it has nothing else and they are no names; of other texts only "" is missing.

    Among numbers `-` and `n/a` stand for a missing one; among texts they may be the names of classes.
    """
    if column.dtype != pl.String:
        return _finite(column.cast(pl.Float64) if column.dtype.is_decimal() else column)
    are_names = are_names or _are_names(column)
    if not are_names:
        _refuse_commas(column)
    numbers = _all_numbers(column)
    if numbers is not None:
        return _without_missing(column) if are_names else _finite(numbers)
    texts = column.str.strip_chars()
    return texts.set(texts == "", None)


def _without_missing(column: pl.Series) -> pl.Series:
    """Return a column of text, null where the text stands for a missing number."""
    texts = pl.first().str.strip_chars()
    # One expression, since a file may have thousands of columns.
    return column.to_frame().select(pl.when(~texts.str.to_lowercase().is_in(MISSING)).then(texts)).to_series()


def _all_numbers(column: pl.Series) -> pl.Series | None:
    """Return a column of text as numbers, null where one is missing; None if it has something else, or nothing."""
    texts = _without_missing(column)
    for kind in (pl.Int64, pl.Float64):
        numbers = texts.cast(kind, strict=False)
        if numbers.null_count() == texts.null_count() < len(texts):
            return numbers
    return None


def _are_names(column: pl.Series) -> bool:
    """Tell whether digits are names, as `0007` is."""
    return bool(column.str.contains(CODE).any())


def _refuse_commas(column: pl.Series) -> None:
    """Refuse numbers of which one has a comma: before its decimals or between its thousands, nobody can tell."""
    commas = column.str.contains(",", literal=True).arg_true()
    if len(commas) and _all_numbers(column.str.replace_all(",", "", literal=True)) is not None:
        raise InvalidInputError(
            f"column {column.name!r} has {column[commas[0]]!r} in row {commas[0] + 1}; write numbers with a decimal "
            "point and without separators of thousands, or leave the column out"
        )


def _finite(column: pl.Series) -> pl.Series:
    if column.dtype.is_float() and column.is_infinite().any():
        row = column.is_infinite().arg_true()[0] + 1
        raise InvalidInputError(
            f"column {column.name!r} has an infinite value in row {row}; correct it, or leave the cell empty and the "
            "row is left out"
        )
    return column


def _is_of_numbers(column: pl.Series, *, may_be_text: bool) -> bool:
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    _refuse_commas(column)
    return may_be_text and not _are_names(column) and _all_numbers(column) is not None


def _matrix(table: pl.DataFrame, columns: Sequence[str]) -> Array:
    return pl.DataFrame([_finite(_numbers(table[name])) for name in columns]).to_numpy()


def _numbers(column: pl.Series) -> pl.Series:
    """Return a column as numbers, null where one is missing."""
    if column.dtype != pl.String:
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            raise InvalidInputError(f"column {column.name!r} is {column.dtype} and no numbers")
        return column.cast(pl.Float64)
    texts = _without_missing(column)
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    without_commas = texts.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    wrong = (texts.is_not_null() & without_commas.is_null()).arg_true()
    if len(wrong):
        raise InvalidInputError(
            f"column {column.name!r} has {column[wrong[0]]!r} in row {wrong[0] + 1}, which is no number; correct it, "
            "or leave the cell empty and the row is left out"
        )
    _refuse_commas(column)
    return numbers
