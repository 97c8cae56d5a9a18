"""Tables of spectra: how a file is read, which columns are X, and what is wrong with a value."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from .errors import InvalidInputError

Array = Any

READERS = {".csv": pl.read_csv, ".tsv": pl.read_csv, ".parquet": pl.read_parquet}
QUOTED = re.compile(r'"[^"]*"')
PANDAS_INDEX = r"^__index_level_\d+__$"
MISSING = ("", "na", "n/a", "nan", "null", "-")
DECIMAL_COMMA = re.compile(r"\d,\d")
# As R and spreadsheets name columns of spectra: X1100, 1100.5 nm, wl_1100.
NUMBERED = re.compile(r"(\D*?)(\d+(?:\.\d+)?)(\D*)")
LEAST_NUMBERED = 10
MOST_NAMED = 20


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
    """

    X: Array
    columns: list[str]
    wavelengths: Array | None


def is_table(value: Any) -> bool:
    """Tell whether something is a frame, or the path of a file that is one by its name."""
    if isinstance(value, str | Path):
        return Path(value).suffix.lower() in READERS
    return isinstance(value, pl.DataFrame) or (hasattr(value, "columns") and hasattr(value, "iloc"))


def frame(table: Any) -> pl.DataFrame:
    """Return a table as a polars frame.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or two columns have one name.
    """
    if isinstance(table, str | Path):
        return read(Path(table))
    if isinstance(table, pl.DataFrame):
        return table
    _refuse_twins([str(name) for name in table.columns], "the table")
    try:
        return pl.from_pandas(table.rename(columns=str))
    except Exception as error:  # What pandas and Arrow raise of a column of several types is not of one kind.
        raise InvalidInputError(f"the table has a column of several types: {error}; leave it out") from error


def read(path: Path) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet file; a CSV may have semicolons and decimal commas.

    Raises
    ------
    InvalidInputError
        It cannot be read, has no rows, or two columns have one name.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path} is no table by its name; give one that ends in {', '.join(READERS)}")
    try:
        found = reader(path) if reader is pl.read_parquet else pl.read_csv(path, **_dialect(path))
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    if not found.height:
        raise InvalidInputError(f"{path} has no rows")
    return found.select(pl.exclude(PANDAS_INDEX))


def _dialect(path: Path) -> dict[str, Any]:
    """Return how a CSV file is to be read: what separates its columns, and whether its decimals have a comma."""
    header, _, rows = path.read_text(encoding="utf-8-sig").partition("\n")
    bare = QUOTED.sub("", header)
    separator = next((mark for mark in (";", "\t") if mark in bare), ",")
    _refuse_twins(next(csv.reader([header], delimiter=separator), []), str(path))
    decimal_comma = separator != "," and DECIMAL_COMMA.search(QUOTED.sub("", rows)) is not None
    return {
        "separator": separator, "decimal_comma": decimal_comma, "infer_schema_length": None,
        "null_values": [*MISSING, *(text.upper() for text in MISSING), "NaN"],
    }  # fmt: skip


def wavelengths_of(columns: Sequence[str]) -> Array | None:
    """Return the numbers that columns are named by; None if they are not."""
    found, wavelengths = _spectral(columns)
    return wavelengths if len(found) == len(columns) else None


def _refuse_twins(names: Sequence[str], where: str) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        raise InvalidInputError(f"{where} has several columns with the name {', '.join(map(repr, twins[:MOST_NAMED]))}")


def spectra_of(table: pl.DataFrame, without: Collection[str] = ()) -> Spectra:
    """Return X of a table: the columns that are named by numbers, else all columns of numbers.

    Raises
    ------
    InvalidInputError
        A column that is named by a number has something else in it, or there are no columns for X.
    """
    names = [name for name in table.columns if name not in without]
    columns, wavelengths = _spectral(names)
    _refuse_twins([str(_key(name)) for name in columns], "the table")
    columns = columns or [name for name in names if table.schema[name].is_numeric()]
    if not columns:
        raise InvalidInputError(f"no column of {names[:MOST_NAMED]} has numbers; give spectra, a column a wavelength")
    return Spectra(_matrix(table, columns), columns, wavelengths)


def columns_of(table: pl.DataFrame, columns: Sequence[str], where: str) -> Array:
    """Return the columns of a table that have certain names, in their order; `1100.0` is `1100`.

    Raises
    ------
    InvalidInputError
        One is missing, or has something else than numbers.
    """
    known = {_key(name): name for name in table.columns}
    missing = [name for name in columns if _key(name) not in known]
    if missing:
        raise InvalidInputError(
            f"{where} lacks {len(missing)} of the {len(columns)} columns that the spectra were trained on, as "
            f"{', '.join(map(repr, missing[:3]))}; give spectra of the same instrument, or name the columns as there"
        )
    return _matrix(table, [known[_key(name)] for name in columns])


def targets_of(table: pl.DataFrame, targets: Sequence[str], where: str) -> Array:
    """Return the named columns: one as an array of shape (n_samples,), several as (n_samples, n_targets).

    Raises
    ------
    InvalidInputError
        There is no such column, or one is named twice.
    """
    missing = [name for name in targets if name not in table.columns]
    if missing or not targets:
        texts = [name for name in table.columns if not _is_number(name)] or table.columns
        raise InvalidInputError(
            f"{where} has no column {', '.join(map(repr, missing)) or 'that is known to be y'}; name one of "
            f"{texts[:MOST_NAMED]}"
        )
    _refuse_twins(targets, "the target")
    y = table.select([_values(table[name]) for name in targets]).to_numpy()
    return y[:, 0] if len(targets) == 1 else y


def _values(column: pl.Series) -> pl.Series:
    """Return a column in which texts that stand for a missing value are missing, as numbers if all others are."""
    if column.dtype != pl.String:
        return column
    texts, numbers = _read_as_numbers(column)
    return numbers if numbers.null_count() == texts.null_count() < len(texts) else texts


def _read_as_numbers(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return a column of text in which what stands for a missing value is missing, and what of it is a number."""
    texts = column.str.strip_chars()
    texts = texts.set(texts.str.to_lowercase().is_in(MISSING), None)
    return texts, texts.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)


def _spectral(names: Sequence[str]) -> tuple[list[str], Array | None]:
    """Return the columns that are named by numbers, and these.

    `X1100` and `1100 nm` are numbers if there are many of them, all alike and in order; others may only be counted.
    """
    plain = [name for name in names if _is_number(name)]
    if plain:
        return plain, np.array([_key(name) for name in plain])
    groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for name in names:
        if match := NUMBERED.fullmatch(name):
            groups.setdefault((match[1], match[3]), []).append((name, float(match[2])))
    largest = max(groups.values(), key=len, default=[])
    numbers = np.array([number for _, number in largest])
    steps = np.diff(numbers)
    if len(largest) < LEAST_NUMBERED or not (np.all(steps > 0) or np.all(steps < 0)):
        return [], None
    is_counted = np.all(steps == 1) and numbers[0] in (0, 1)
    return [name for name, _ in largest], None if is_counted else numbers


def _is_number(name: str) -> bool:
    try:
        return bool(np.isfinite(float(name.replace(",", "."))))
    except ValueError:
        return False


def _key(name: str) -> Any:
    return float(name.replace(",", ".")) if _is_number(name) else name


def _matrix(table: pl.DataFrame, columns: Sequence[str]) -> Array:
    return pl.DataFrame([_numbers(table[name]) for name in columns]).to_numpy()


def _numbers(column: pl.Series) -> pl.Series:
    """Return a column as numbers, null where one is missing."""
    if column.dtype != pl.String:
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            raise InvalidInputError(f"column {column.name!r} is {column.dtype} and no numbers")
        return column.cast(pl.Float64)
    texts, numbers = _read_as_numbers(column)
    wrong = (texts.is_not_null() & numbers.is_null()).arg_true()
    if len(wrong):
        raise InvalidInputError(
            f"column {column.name!r} has {column[wrong[0]]!r} in row {wrong[0] + 1}, which is no number; correct it, "
            "or leave the cell empty and the row is left out"
        )
    return numbers
