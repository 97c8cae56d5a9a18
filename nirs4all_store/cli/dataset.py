"""The commands `nirs4all-store dataset ...`, for one dataset; `datasets` lists all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import views
from . import completion
from .data_options import (
    Data,
    Groups,
    Join,
    References,
    Sample,
    Split,
    Target,
    Test,
    Unit,
    Weights,
    given_parts,
)
from .output import (
    DEFAULT_WORKSPACE,
    Limit,
    Overwrite,
    Workspace,
    existing,
    find,
    parse_path,
    print_details,
    print_json,
    print_line,
    reading,
    refuse_no_table,
    refuse_output,
    show_rows,
    write_table,
)

app = typer.Typer(
    no_args_is_help=True, help="Show, correct and export a dataset, and keep its spectra; `datasets` lists all."
)
Beginning = Annotated[
    str,
    typer.Argument(metavar="ID", autocompletion=completion.datasets, help="A dataset: its name, or a part of its id."),
]


@app.command("show", epilog="nirs4all-store dataset show wheat")
def show(
    beginning: Beginning,
    limit: Limit = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print what describes it as JSON.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what describes a dataset, and its first samples."""
    with reading(workspace) as store:
        dataset_id = find(store, beginning, "datasets")[1]
        values = views.details_of(store, "datasets", dataset_id)
        if as_json:
            print_json(values)
            return
        print_details(views.lines_of(values))
        show_rows(store, views.list_samples(store, dataset_id, limit), as_json=False, as_csv=False)


@app.command("attach", epilog="nirs4all-store dataset attach wheat.csv --target protein")
def attach(
    data: Data,
    target: Target = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The dataset that it must be; by default any that has these spectra."),
    ] = None,
    groups: Groups = None,
    weights: Weights = None,
    sample: Sample = None,
    test: Test = None,
    split: Split = None,
    y: References = None,
    join: Join = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Keep the spectra of a dataset that was trained on without them; a hash tells whether they are the same.

    Give the file with the options with which it was given to `run`.
    """
    parts = given_parts(data, y=y, join=join, groups=groups, weights=weights, sample=sample, test=test, split=split)
    with existing(workspace) as store:
        wanted = None if dataset is None else find(store, dataset, "datasets")[1]
        print_line(
            Console(), f"the spectra of dataset {store.attach_dataset(parts, target, dataset_id=wanted)} are kept"
        )


@app.command("update", epilog="nirs4all-store dataset update wheat --name 'wheat of 2026' --unit %")
def update(
    beginning: Beginning,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    unit: Unit = None,
    task_type: Annotated[str | None, typer.Option(help="regression or classification.")] = None,
    wavelength_unit: Annotated[str | None, typer.Option(help="Such as nm or cm-1.")] = None,
    origin: Annotated[str | None, typer.Option(help="The name of the file that it comes from.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Correct what a dataset says of itself; nothing that was computed changes."""
    given = {"name": name, "unit": unit, "task_type": task_type, "wavelength_unit": wavelength_unit, "origin": origin}
    with existing(workspace) as store:
        dataset_id = find(store, beginning, "datasets")[1]
        store.update_dataset(dataset_id, **{key: value for key, value in given.items() if value is not None})
        print_details(views.lines_of(views.details_of(store, "datasets", dataset_id)))


@app.command("export", epilog="nirs4all-store dataset export wheat wheat.csv")
def export(
    beginning: Beginning,
    output: Annotated[
        Path, typer.Argument(parser=parse_path, metavar="OUTPUT", help="A CSV or Parquet file to write.")
    ],
    overwrite: Overwrite = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write the samples of a dataset to a file, and their spectra where they are kept."""
    refuse_output(output, workspace, overwrite=overwrite)
    refuse_no_table(output)
    with reading(workspace) as store:
        dataset_id = find(store, beginning, "datasets")[1]
        frame = store.load_dataset(dataset_id)
        has_spectra = views.details_of(store, "datasets", dataset_id)["spectra_artifact"] is not None
    write_table(frame, output)
    what = "samples with their spectra" if has_spectra else "samples without spectra, which `dataset attach` keeps,"
    print_line(Console(), f"wrote {frame.height:,} {what} to {output}")
