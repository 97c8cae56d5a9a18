"""Several scans of one sample: what they say together, beside what each says."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ..errors import InvalidInputError

N_SCANS = "n_scans"


def check_column(frame: pl.DataFrame, average: str) -> None:
    """Refuse to average by a column that is not there.

    Raises
    ------
    InvalidInputError
    """
    if average not in frame.columns:
        raise InvalidInputError(
            f"there is no column {average!r} that says which scans are of one sample; average by one of "
            f"{', '.join(map(repr, frame.columns[:20])) or 'no column'}"
        )


def together(column: str, *, are_classes: bool) -> pl.Expr:
    """Return what the scans of a sample say together: their mean; the most frequent class, of several the first."""
    values = pl.col(column).drop_nulls()
    return values.mode().min() if are_classes else values.mean()


def with_averages(
    frame: pl.DataFrame, columns: Sequence[str], average: str, within: Sequence[str] = (), *, are_classes: bool
) -> pl.DataFrame:
    """Return a frame of scans with what the scans of each sample say together.

    Parameters
    ----------
    frame : polars.DataFrame
        A row for each scan.
    columns : list of str
        Those with predictions.
    average : str
        The column that names the samples. A scan without a name is averaged with no other one.
    within : list of str
        Scans are averaged only where these are equal, too.
    are_classes : bool
        Whether the predictions are classes.

    Returns
    -------
    polars.DataFrame
        After the others, `protein_predicted_by_sample` for each such column, with `average` at its end, and `n_scans`.
    """
    keys = [average, *within]
    is_named = pl.col(average).is_not_null()
    means = {f"{name}_by_{average}": together(name, are_classes=are_classes) for name in columns}
    counted = means | {N_SCANS: pl.col(columns[0]).count()}
    return frame.with_columns(pl.when(is_named).then(value.over(keys)).alias(name) for name, value in counted.items())
