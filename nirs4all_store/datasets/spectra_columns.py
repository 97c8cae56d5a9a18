"""Tables of spectra: how a file is read, which columns are X, and what is wrong with a value."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import polars as pl

from ..errors import DataWarning, InvalidInputError
from ..validation import did_you_mean
from . import column_names
from .cells import is_mostly_numbers, is_of_numbers, matrix_of, numbers_of, refuse_text_among_measurements, values_of
from .column_names import (
    MAX_NAMES_LISTED,
    Array,
    reject_duplicate_names,
    wavelengths_of,
    without_wavelengths,
)
from .table_files import has_names

UNIT = re.compile(r"(?<![A-Za-z])(nm|µm|um|cm-1|cm\^-1|cm⁻¹|1/cm|THz)(?![A-Za-z])")


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
    if not has_names(table):
        columns = [name for name in names if is_mostly_numbers(table[name])]
        return picked(table, columns, columns, None) if columns else _refuse_no_numbers(names)
    columns, wavelengths = column_names.spectral(names, "the table")
    # Beside columns that have another type, text is meant to be text.
    is_text = all(kind == pl.String for kind in table.dtypes)
    columns = columns or [name for name in names if is_of_numbers(table[name], may_be_text=is_text)]
    if not columns:
        _refuse_no_numbers(names)
    return Spectra(matrix_of(table, columns), columns, wavelengths, _without(table, columns))


def without_empty(spectra: Spectra, where: str) -> Spectra:
    """Return spectra without columns that have no value in any row, and warn of them: no row would be complete.

    Warns
    -----
    DataWarning
        It names the columns.
    """
    first = np.flatnonzero(np.isnan(spectra.X[0]))
    empty = first[np.isnan(spectra.X[:, first]).all(axis=0)]
    if not 0 < len(empty) < len(spectra.columns):
        return spectra
    names = [spectra.columns[place] for place in empty]
    warnings.warn(
        f"{where} has no value in any row of {', '.join(map(repr, names[:MAX_NAMES_LISTED]))}; left out of X",
        DataWarning,
        stacklevel=5,
    )
    kept = np.delete(np.arange(len(spectra.columns)), empty)
    columns = [spectra.columns[place] for place in kept]
    wavelengths = None if spectra.wavelengths is None else spectra.wavelengths[kept]
    return Spectra(spectra.X[:, kept], columns, wavelengths, spectra.others)


def _refuse_no_numbers(names: Sequence[str]) -> NoReturn:
    raise InvalidInputError(f"no column of {names[:MAX_NAMES_LISTED]} has numbers; give spectra, a column a wavelength")


def columns_of(
    table: pl.DataFrame, columns: Sequence[str], where: str, wavelengths: Sequence[float] | None = None
) -> Spectra:
    """Return X made of the columns of a table that have certain names, in their order; `1100.0` is `1100`.

    Where they have other names, they are found by their wavelengths, if these are known; see `column_names.places`.

    Raises
    ------
    InvalidInputError
        One is missing, is there twice, or has something else than numbers.
    """
    names = table.columns  # Polars makes the list anew each time.
    places = column_names.places(names, columns, wavelengths, where) or []
    return picked(table, [names[place] for place in places], list(columns), wavelengths_of(columns))


def picked(table: pl.DataFrame, found: Sequence[str], columns: list[str], wavelengths: Array | None) -> Spectra:
    """Return X made of the columns that were found, with the names and wavelengths that are known of them."""
    return Spectra(matrix_of(table, found), columns, wavelengths, _without(table, found))


def _without(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the other columns of a table: to select some of thousands takes polars as long as to copy all."""
    left_out = {*columns}
    others = [table.get_column(name) for name in table.columns if name not in left_out]
    return pl.DataFrame(others or None, height=table.height)


def unit_of(columns: Sequence[str], units: Mapping[str, str]) -> str | None:
    """Return the unit of the wavelengths of columns: what most of them say in `units`, else in their names."""
    told = Counter(units[name] for name in columns if name in units)
    told = told or Counter(found[0] for found in map(UNIT.search, columns) if found)
    unit, count = told.most_common(1)[0] if told else (None, 0)
    return unit if count * 2 > len(columns) else None


def names_in(table: pl.DataFrame, value: Any) -> list[str] | None:
    """Return the names of columns that something is; None if it is values itself.

    `("ref", "protein")` is one column where pandas has levels of names.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple) and str(tuple(map(str, value))) in table.columns:
        return [str(tuple(map(str, value)))]
    are_names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return list(value) if are_names and (not value or set(value) & set(table.columns)) else None


def _no_column(names: Sequence[str], missing: Sequence[str], where: str, part: str) -> InvalidInputError:
    """Return an error that names the columns which were probably meant, else those that are no spectra."""
    others = without_wavelengths(names)
    near = did_you_mean(missing[0], names) if missing else ""
    advice = f"{near} Give it" if near else f"; name one of {others[:MAX_NAMES_LISTED]}"
    if not near and not others:
        advice = ", and all its columns are spectra; name one of another file with y=, in a shell --y FILE, and give it"
    return InvalidInputError(
        f"{where} has no column {', '.join(map(repr, missing)) or 'that is known to be y'}{advice} as {part}=, in a "
        f"shell with --{part}"
    )


def targets_of(
    table: pl.DataFrame, targets: Sequence[str], where: str, *, are_names: bool = False, part: str = "target"
) -> Array:
    """Return the named columns: one as an array of shape (n_samples,), several as (n_samples, n_targets).

    Text that can be read as numbers becomes numbers, unless it is told that they are names. `part` is what messages
    advise to give another name as.

    Raises
    ------
    InvalidInputError
        There is no such column, one is named twice, or one has text and another one numbers.
    """
    missing = [name for name in targets if name not in table.columns]
    if missing and not has_names(table):
        raise InvalidInputError(
            f"{where} has no line of names, so that no column of it is {missing[0]!r}; write one above its table, or "
            "give these values in a file of their own"
        )
    if missing or not targets:
        raise _no_column(table.columns, missing, where, part)
    reject_duplicate_names(targets, "the target")
    for name in [] if are_names else targets:
        refuse_text_among_measurements(table[name])
    columns = [values_of(table[name], are_names=are_names) for name in targets]
    if len({column.dtype == pl.String for column in columns}) > 1:
        for column in columns:
            numbers_of(column)  # Says which value is none.
    y = pl.DataFrame(columns).to_numpy()
    return y[:, 0] if len(targets) == 1 else y
