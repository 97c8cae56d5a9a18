"""The command `predict`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console

from ..chains import TrainedOn
from ..datasets import ROWS_COUNT_FROM_ZERO, Spectra
from ..errors import ChainInputError, InvalidInputError
from ..filesystem import atomic_write, file_id
from .output import (
    DEFAULT_WORKSPACE,
    PATH_OPTIONS,
    Overwrite,
    Trusted,
    Workspace,
    find,
    print_csv,
    print_error,
    print_line,
    reading,
    refuse_output,
)

app = typer.Typer()


@app.command(epilog="nirs4all-store predict 01a2 new.csv -o predicted.csv")
def predict(
    chain: Annotated[str, typer.Argument(help="The first characters of a chain's id, or the path of a bundle.")],
    data: Annotated[
        Path, typer.Argument(help="A CSV, Parquet or NPY file of spectra, one row for each sample.", **PATH_OPTIONS)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A CSV or Parquet file to write; by default they are printed.", **PATH_OPTIONS
        ),
    ] = None,
    overwrite: Overwrite = False,
    trusted: Trusted = False,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Interpolate spectra of another instrument to the wavelengths of training."),
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Predict new spectra with a stored chain or with a bundle.

    Columns of the file that are not spectra, such as names of samples, are written before the predictions.
    """
    if output is not None:
        refuse_output(output, workspace, overwrite=overwrite)
        if file_id(output) is not None and file_id(output) == file_id(data):
            raise InvalidInputError(f"{output} has the spectra themselves; give the predictions another name")
        if output.suffix.lower() not in (".csv", ".parquet"):
            raise InvalidInputError(f"{output} says neither CSV nor Parquet; give a name that ends in .csv or .parquet")
    if chain.lower().endswith(".n4a"):
        from ..exchange import inspect_bundle, load_bundle

        model = load_bundle(chain, trusted=trusted)
        spectra = TrainedOn.of(inspect_bundle(chain).chain).read(data, resample=resample)
        frame = _predicted(lambda X: model.predict(X, spectra.wavelengths), spectra)
    else:
        with reading(workspace) as store:
            chain_id = find(store, chain, "chains")[1]
            spectra = TrainedOn.of(store.get_chain(chain_id) or {}).read(data, resample=resample)
            frame = _predicted(lambda X: store.replay_chain(chain_id, X, spectra.wavelengths), spectra)
    if output is None:
        print_csv(frame)
        return
    with atomic_write(output) as unfinished:
        (frame.write_csv if output.suffix.lower() == ".csv" else frame.write_parquet)(unfinished)
    print_line(Console(stderr=True), f"wrote {frame.height:,} predictions to {output}")


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'} with a missing value"


def _predicted(predict: Callable[[Any], Any], spectra: Spectra) -> pl.DataFrame:
    """Return the predictions beside the other columns; a row with a missing value has none."""
    X = spectra.X
    whole = ~np.isnan(X).any(axis=1)
    if not whole.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value")
    if not whole.all():
        print_error(f"no prediction for {_rows(int(np.sum(~whole)))}")
    try:
        columns = np.atleast_2d(predict(X if whole.all() else X[whole]).T)
    except ChainInputError as error:
        row = getattr(error.__cause__, "row", None)
        if row is None or whole.all():
            raise
        in_file = np.flatnonzero(whole)[row]
        raise ChainInputError(f"{error}; in the file that is row {in_file} {ROWS_COUNT_FROM_ZERO}") from error
    names = ["predicted"] if len(columns) == 1 else [f"predicted_{place}" for place in range(len(columns))]
    found = pl.DataFrame(dict(zip(names, columns, strict=True)))
    places = pl.Series(np.cumsum(whole) - 1).set(pl.Series(~whole), None)
    others = spectra.others.drop(names, strict=False)
    return pl.concat([others, found.select(pl.all().gather(places))], how="horizontal")
