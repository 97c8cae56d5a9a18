"""The command `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from .. import exchange, views
from ..errors import UsageError
from ..filesystem import file_id
from . import completion
from .output import (
    CHAIN_WORDS,
    DEFAULT_WORKSPACE,
    MIN_ID_LENGTH,
    PATH_OPTIONS,
    Overwrite,
    Trusted,
    Workspace,
    find,
    is_stdin,
    parse_path,
    print_csv,
    print_error,
    print_line,
    reading,
    refuse_no_table,
    refuse_output,
    table_of_stdin,
    write_table,
)

app = typer.Typer()


@app.command(epilog="nirs4all-store predict best new.csv -o predicted.csv")
def predict(
    chain: Annotated[
        str,
        typer.Argument(
            metavar="CHAIN",
            autocompletion=completion.chains,
            help=f"A chain by {CHAIN_WORDS}, or by a part of its id; or the path of a bundle.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_path, metavar="DATA", help="A file of spectra, one row for each sample; -: a CSV from stdin."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A CSV or Parquet file to write; by default they are printed.", **PATH_OPTIONS
        ),
    ] = None,
    overwrite: Overwrite = False,
    trusted: Trusted = False,
    keep: Annotated[
        Literal["ids", "all", "none"],
        typer.Option(
            help="What to write before the predictions. ids: columns that are no spectra, such as names of samples; "
            "all: the spectra that predict, too; none: nothing."
        ),
    ] = "ids",
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Interpolate spectra of another instrument to the wavelengths of training."),
    ] = False,
    folds: Annotated[
        str | None,
        typer.Option(
            help="mean: predict with the models of all folds together; 0, 1, ...: with that of one fold. By default "
            "the final model predicts, and all folds together if there is none."
        ),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Names the sample of which each row is a scan; also write what its scans say together.",
        ),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Also write the bounds of an interval that is to cover this share of new samples, such as 0.9.",
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Predict new spectra with a stored chain or with a bundle.

    The column of a prediction is called after its target, as in protein_predicted. If the file has the target's column,
    too, its values are references: how good the predictions are is told, and which are the worst.
    """
    if output is not None:
        refuse_output(output, workspace, overwrite=overwrite)
        if file_id(output) is not None and file_id(output) == file_id(data):
            raise UsageError(f"{output} has the spectra themselves; give the predictions another name")
        refuse_no_table(output)
    spectra = table_of_stdin() if is_stdin(data) else data
    if chain.lower().endswith(".n4a"):
        model = exchange.load_bundle(chain, trusted=trusted, folds=folds)
        found = model.predict_table(spectra, keep=keep, resample=resample, average=average, interval=interval)
    else:
        with reading(workspace) as store:
            chain_id = find(store, chain, "chains")[1]
            # A word, or little of an id, may mean another one than was meant.
            if len(chain) < MIN_ID_LENGTH or not (chain_id.startswith(chain) or chain_id.endswith(chain)):
                print_line(Console(stderr=True), f"with {views.described(store, 'chains', chain_id)}")
            found = store.predict_table(
                chain_id, spectra, keep=keep, resample=resample, folds=folds, average=average, interval=interval
            )
    frame = found.frame
    if found.n_missing:
        print_error(f"no prediction for {count_of_missing(found.n_missing)}")
    print_line(Console(stderr=True), *views.lines_of_scores(found))
    if found.warning is not None:
        print_line(Console(stderr=True), found.warning, style="yellow")
    if output is None:
        print_csv(frame)
        return
    write_table(frame, output)
    print_line(Console(stderr=True), f"wrote {frame.height:,} predictions to {output}")


def count_of_missing(count: int) -> str:
    """Return how many rows have a missing value, as people say it."""
    return f"{count:,} {'row' if count == 1 else 'rows'} with a missing value"
