"""Several scans of one sample: what they say together, beside what each says, and how good both are."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ..errors import InvalidInputError
from ..metrics import Scores, scores_of
from ..validation import did_you_mean

N_SCANS = "n_scans"


def check_average(frame: pl.DataFrame, average: str) -> None:
    """Refuse to average by a column that is not there.

    Raises
    ------
    InvalidInputError
    """
    if average not in frame.columns:
        groups = "; 'group' has what was given as groups" if "group" in frame.columns else ""
        raise InvalidInputError(
            f"there is no column {average!r} that says which scans are of one sample"
            f"{did_you_mean(average, frame.columns)}; average by one of "
            f"{', '.join(map(repr, frame.columns[:20])) or 'no column'}{groups}"
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


def scores_by_scan(rows: pl.DataFrame, *, are_classes: bool) -> Scores:
    """Return the scores of those rows that have a `reference` and `predicted`; see `metrics.scores_of`.

    If they have a `weight`, it counts.
    """
    rows = rows.drop_nulls(["reference", "predicted"])
    if not rows.height:
        return {"n": 0}
    task = "classification" if are_classes else "regression"
    weights = rows["weight"].to_numpy() if "weight" in rows.columns else None
    return scores_of(task, rows["reference"].to_numpy(), rows["predicted"].to_numpy(), weights=weights)


def scores_by_sample(rows: pl.DataFrame, *, are_classes: bool) -> Scores:
    """Return the scores of what the scans of each `sample` say together; those without a name do not count.

    Scans without a reference do: often one of them alone has that of the sample.

    If they have a `weight`, that of a sample is the mean.
    """
    columns = [together(name, are_classes=are_classes).alias(name) for name in ("reference", "predicted")]
    columns += [pl.col("weight").mean()] if "weight" in rows.columns else []
    samples = rows.drop_nulls("sample").group_by("sample", maintain_order=True).agg(columns)
    return scores_by_scan(samples, are_classes=are_classes)
