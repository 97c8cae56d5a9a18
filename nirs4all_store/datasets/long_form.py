"""Tables in long form, of which each row has one wavelength of a spectrum, as a row a spectrum."""

from __future__ import annotations

import polars as pl

from ..errors import InvalidInputError
from .cells import numbers_or_texts
from .column_names import AXIS, families

LEAST_WAVELENGTHS = 10


def to_wide(table: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return a table that has a row for each wavelength as one with a row for each spectrum; another one as it is.

    In long form one column has wavelengths, one has the value at each, and the others are the same in all rows of a
    spectrum. Where each wavelength stands in one row, the other columns are spectra, and their names become `sample`.

    Raises
    ------
    InvalidInputError
        A column of wavelengths repeats, and the rows are not the same wavelengths of each spectrum.
    """
    axis = next((name for name in table.columns if AXIS.fullmatch(name)), None)
    if axis is None or not _is_numeric(table[axis]):
        return table
    others, count = [name for name in table.columns if name != axis], table[axis].n_unique()
    numbers = [name for name in others if _is_numeric(table[name])]
    if count >= LEAST_WAVELENGTHS and _only_rises_or_falls(table[axis]) and others and others == numbers:
        names = table[axis].cast(pl.String).str.strip_chars().to_list()
        return table.select(others).transpose(include_header=True, header_name="sample", column_names=names)
    if count < LEAST_WAVELENGTHS or count == table.height or _has_spectra(table):
        return table
    found = [name for name in numbers if _are_spectra(table, axis, name)]
    if len(found) != 1:
        raise InvalidInputError(
            f"{where} seems to have a row for each wavelength, as {axis!r} repeats {count} values in {table.height} "
            "rows, but not the same ones for each spectrum with one value at each; give a table with a row for each "
            "spectrum and a column for each wavelength"
        )
    index = [name for name in others if name != found[0]]
    return table.pivot(axis, index=index, values=found[0], maintain_order=True)


def _is_numeric(column: pl.Series) -> bool:
    return numbers_or_texts(column).dtype.is_numeric()


def _only_rises_or_falls(column: pl.Series) -> bool:
    steps = numbers_or_texts(column).diff().drop_nulls()
    return bool((steps > 0).all() or (steps < 0).all())


def _has_spectra(table: pl.DataFrame) -> bool:
    try:
        return bool(families(table.columns))
    except InvalidInputError:
        return True  # What is refused there is refused where it is used.


def _are_spectra(table: pl.DataFrame, axis: str, values: str) -> bool:
    """Tell whether each combination of the other columns has each wavelength once."""
    index = [name for name in table.columns if name not in (axis, values)]
    if not index or table.select(*index, axis).is_duplicated().any():
        return False
    return table.select(index).n_unique() * table[axis].n_unique() == table.height
