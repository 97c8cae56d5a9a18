"""Cells of a table: text and missing values become numbers, or an error names the row and the column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from .column_names import Array
from .input_checks import ROWS_COUNT_FROM_ZERO
from .table_layout import CODE, MISSING


def with_points(cells: pl.Series) -> pl.Series:
    """Return a column with points for its decimal commas, if it has numbers and nothing else.

    Where some have a comma and others a point, one of both separates thousands, and the column stays as it is.
    """
    commas, has_points = cells.str.contains(",", literal=True), cells.str.contains(".", literal=True).any()
    if not commas.any() or has_points or _are_names(cells):
        return cells
    points = cells.str.replace(",", ".", literal=True)
    return cells if _all_numbers(points) is None else points


def values_of(column: pl.Series, *, are_names: bool) -> pl.Series:
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


def refuse_text_among_measurements(column: pl.Series) -> None:
    """Refuse a column of text of which most cells are numbers, some with decimals: it would be taken for classes.

    Raises
    ------
    InvalidInputError
        It says which value is none.
    """
    if column.dtype == pl.String:
        texts = _without_missing(column)
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.count() * 2 > texts.count() and (numbers.drop_nulls() % 1 != 0).any():
            numbers_of(column)


def numbers_or_texts(column: pl.Series) -> pl.Series:
    """Return a column as numbers if it has nothing else, and no codes such as `0007`; else as texts."""
    if column.dtype != pl.String:
        return column.cast(pl.Float64) if column.dtype.is_numeric() else column.cast(pl.String).str.strip_chars()
    numbers = None if _are_names(column) else _all_numbers(column)
    return column.str.strip_chars() if numbers is None else numbers.cast(pl.Float64)


def _without_missing(column: pl.Series) -> pl.Series:
    """Return a column of text, null where the text stands for a missing number."""
    return column.to_frame().select(_unless_missing(pl.first())).to_series()


def _unless_missing(cells: pl.Expr) -> pl.Expr:
    texts = cells.str.strip_chars()
    return pl.when(~texts.str.to_lowercase().is_in(MISSING)).then(texts)


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
            f"column {column.name!r} has {column[commas[0]]!r} in row {commas[0]} {ROWS_COUNT_FROM_ZERO}; write "
            "numbers with a decimal point and without separators of thousands, or leave the column out"
        )


def _finite(column: pl.Series) -> pl.Series:
    if column.dtype.is_float() and column.is_infinite().any():
        row = column.is_infinite().arg_true()[0]
        raise InvalidInputError(
            f"column {column.name!r} has an infinite value in row {row} {ROWS_COUNT_FROM_ZERO}; correct it, or leave "
            "the cell empty and the row is left out"
        )
    return column


def is_of_numbers(column: pl.Series, *, may_be_text: bool) -> bool:
    """Tell whether a column has numbers, or, where it may, texts that are numbers."""
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    _refuse_commas(column)
    return may_be_text and not _are_names(column) and _all_numbers(column) is not None


def is_mostly_numbers(column: pl.Series) -> bool:
    """Tell whether at least half of the cells of a column that has no name are numbers."""
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    texts = _without_missing(column)
    return texts.cast(pl.Float64, strict=False).count() * 2 >= texts.count() > 0


def matrix_of(table: pl.DataFrame, columns: Sequence[str]) -> Array:
    """Return some columns of a table as a matrix of finite numbers, nan where one is missing."""
    series = [table.get_column(name) for name in columns]
    texts = [column.name for column in series if column.dtype == pl.String]
    if texts:
        # All at once, which is faster; if one is no number, `numbers_of` says which.
        cells = table.select(_unless_missing(pl.col(texts)))
        numbers = cells.select(pl.all().cast(pl.Float64, strict=False))
        if numbers.null_count().equals(cells.null_count()):
            found = {column.name: column for column in numbers}
            series = [found.get(column.name, column) for column in series]
    if not all(column.dtype == pl.Float64 for column in series):
        return pl.DataFrame([_finite(numbers_of(column)) for column in series]).to_numpy()
    X = pl.DataFrame(series).to_numpy()
    if np.isinf(X).any():
        for column in series:
            _finite(column)  # Says which it is.
    return X


def numbers_of(column: pl.Series) -> pl.Series:
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
            f"column {column.name!r} has {column[wrong[0]]!r} in row {wrong[0]} {ROWS_COUNT_FROM_ZERO}, which is no "
            "number; correct it, or leave the cell empty and the row is left out"
        )
    _refuse_commas(column)
    return numbers
