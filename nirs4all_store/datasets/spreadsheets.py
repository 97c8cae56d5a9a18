"""Tables in workbooks of Excel and LibreOffice, read by fastexcel, the reader that polars uses."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np
import polars as pl

from ..errors import DataWarning, InvalidInputError
from .cells import numbers_or_texts
from .column_names import reject_duplicate_names
from .table_layout import LINES_LOOKED_AT, find_layout
from .text_tables import Table, units_of, without_empty_end


def read_excel(content: bytes, where: str, texts: Collection[str] = ()) -> Table:
    """Read the first sheet of a workbook; where its table begins is found as in a CSV.

    Raises
    ------
    InvalidInputError
        It is no workbook, its sheet is empty, or two columns have one name.
    """
    import fastexcel  # Few files are workbooks, and every command would wait for it.

    try:
        book = fastexcel.read_excel(content)
        sheets = book.sheet_names
        sheet = book.load_sheet(0, header_row=None, dtypes="string").to_polars()
        # The texts of numbers have nine digits after the point.
        numbers = book.load_sheet(0, header_row=None, dtypes="float").to_polars()
    except fastexcel.FastExcelError as error:
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    if len(sheets) > 1:
        warnings.warn(
            f"{where} has {len(sheets)} sheets, of which the first, {sheets[0]!r}, is read; save another one as a file "
            "of its own to read that",
            DataWarning,
            stacklevel=2,
        )
    rows = [[cell or "" for cell in row] for row in sheet.head(LINES_LOOKED_AT).iter_rows()]
    layout = find_layout(rows, where)
    is_sample = np.arange(sheet.height) >= layout.first
    table = pl.DataFrame(
        [_typed(sheet[name].filter(is_sample), numbers[name].filter(is_sample)) for name in sheet.columns]
    )
    names = layout.names or [""] * layout.width
    reject_duplicate_names(names, where)
    # The first one without a name may be the index of pandas.
    columns = [name or (f"column_{place}" if place or not layout.names else "") for place, name in enumerate(names)]
    table = table.select(sheet.columns[: len(columns)]).rename(dict(zip(sheet.columns, columns, strict=False)))
    return Table(without_empty_end(table), units_of(layout, rows))


def _typed(texts: pl.Series, numbers: pl.Series) -> pl.Series:
    """Return a column as numbers, if its texts are numbers, else the texts."""
    found = numbers_or_texts(texts)
    if not found.dtype.is_numeric():
        return texts
    return found.cast(pl.Int64) if (found.drop_nulls() % 1 == 0).all() else numbers
