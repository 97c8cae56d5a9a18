"""The commands `export`, `import` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import exchange, views
from ..errors import InvalidInputError, UsageError
from ..filesystem import with_suffix_added
from . import completion
from .output import (
    CHAIN_WORDS,
    DEFAULT_WORKSPACE,
    Json,
    Overwrite,
    Trusted,
    Workspace,
    existing,
    find,
    parse_path,
    print_json,
    print_line,
    progress_bar,
    reading,
    refuse_output,
)

app = typer.Typer()
Spectra = Annotated[
    list[str] | None,
    typer.Option(
        "--spectra",
        metavar="DATASET=FILE",
        help="Spectra with which models are checked, the calibration first; imported ones need --trusted, too. Give it "
        "again for the test set.",
    ),
]
EXPORTED = ("chains", "pipelines", "runs")


def _endings(kind: str) -> tuple[str, ...]:
    """Return how the names of files end to which one of these is exported; by default as the first."""
    if kind == "chains":
        return tuple(f".{name}" for name in exchange.FORMATS)
    return (".json",) if kind == "pipelines" else (".yaml", ".parquet")


@app.command(epilog="nirs4all-store export best model.n4a")
def export(
    beginning: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.anything,
            help=f"A chain by {CHAIN_WORDS}; a run by its name or last; any by a part of its id.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            parser=parse_path, metavar="OUTPUT", help="Chain: .n4a or .n4a.py; pipeline: .json; run: .yaml or .parquet."
        ),
    ],
    overwrite: Overwrite = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a chain, a pipeline or a run to a file.

    A chain becomes a bundle (.n4a) or a script (.n4a.py), a pipeline its configuration (.json), and a run a description
    of all its results (.yaml) or a table of its predictions (.parquet).
    """
    with reading(workspace) as store:
        kind, name = find(store, beginning, *EXPORTED)
        suffix, endings = output.suffix.lower(), _endings(kind)
        if suffix and not output.name.lower().endswith(endings):
            raise InvalidInputError(
                f"a {kind[:-1]} cannot be written as {output}; give a name that ends in {' or '.join(endings)}"
            )
        if not suffix:
            output = with_suffix_added(output, endings[0])
        refuse_output(output, workspace, overwrite=overwrite)
        if kind == "chains":
            format = next(format for format in exchange.FORMATS if output.name.lower().endswith(f".{format}"))
            path = store.export_chain(name, output, format)
        elif kind == "pipelines":
            path = store.export_pipeline_config(name, output)
        elif suffix == ".parquet":
            path = store.export_predictions_parquet(output, run_id=name)
        else:
            path = store.export_run(name, output)
    print_line(Console(), f"wrote {path}")


@app.command("import", epilog="nirs4all-store import model.n4a")
def import_(
    source: Annotated[
        Path,
        typer.Argument(parser=parse_path, metavar="SOURCE", help="A .n4a file, or a workspace of nirs4all 0.8 to 1.4."),
    ],
    trusted: Trusted = False,
    spectra: Spectra = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Where nirs4all 0.8 ran, as Europe/Paris; its times are local."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come of a workspace, and change nothing.")
    ] = False,
    as_json: Json = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Import a bundle as a new run, or all runs of a workspace of nirs4all.

    Importing again adds only what is new.
    """
    if source.is_dir():
        _import_workspace(source, workspace, trusted, _files_of(spectra or []), timezone, dry_run, as_json)
        return
    if spectra or timezone or dry_run:
        raise UsageError(f"{source} is no folder; --spectra, --timezone and --dry-run are for workspaces of nirs4all")
    _import_bundle(source, workspace, trusted, as_json)


def _import_bundle(bundle: Path, workspace: Path, trusted: bool, as_json: bool) -> None:
    from ..store import WorkspaceStore

    exchange.inspect_bundle(bundle)  # A file that is no bundle is refused before a workspace is made.
    with WorkspaceStore(workspace) as store:
        done = store.import_bundle(bundle, trusted)
    if as_json:
        print_json({"run_id": done.run_id, "chain_id": done.chain_id, "is_new": done.is_new})
        return
    print_line(Console(), f"chain {done.chain_id} of run {done.run_id}")
    if not trusted:
        line = "It predicts once you trust it: store.trust_chain(chain_id, True), or import it with --trusted."
        print_line(Console(), line)


def _files_of(given: list[str]) -> dict[str, list[Path]]:
    """Return the files of each dataset, of `DATASET=FILE`."""
    found: dict[str, list[Path]] = {}
    for text in given:
        name, is_given, file = text.rpartition("=")
        if not is_given:
            raise UsageError(f"--spectra {text}: give DATASET=FILE, such as wheat=train.csv")
        found.setdefault(name, []).append(parse_path(file))
    return found


def _import_workspace(
    folder: Path,
    workspace: Path,
    trusted: bool,
    spectra: dict[str, list[Path]],
    timezone: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from ..store import WorkspaceStore

    console = Console()
    exchange.refuse_same(exchange.database_of(folder).parent, workspace)  # Before a workspace is made.
    is_new = dry_run and not workspace.exists()
    with WorkspaceStore("memory:dry run" if is_new else workspace) as store, progress_bar(console) as tell:
        report = store.import_workspace(
            folder, trusted=trusted, spectra=spectra, timezone=timezone, dry_run=dry_run, progress=tell
        )
        lines = views.lines_of_import(store, report)
    if as_json:
        print_json(report.as_dict())
    else:
        print_line(console, *lines)


@app.command(epilog="nirs4all-store verify best")
def verify(
    beginnings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.verified,
            help=f"Chains by {CHAIN_WORDS}, runs by their name or last, either by a part of its id. By default all "
            "imported chains that are not verified.",
        ),
    ] = None,
    trusted: Trusted = False,
    spectra: Spectra = None,
    as_json: Json = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Check whether models predict what they did at their training, as after an import or an upgrade of packages.

    Spectra that the workspace keeps need not be given. The exit code is 1 if a model differs, or cannot predict here.
    """
    console = Console()
    with existing(workspace) as store, progress_bar(console) as tell:
        ids = [find(store, beginning, "chains", "runs")[1] for beginning in beginnings or []]
        report = store.verify(ids or None, trusted=trusted, spectra=_files_of(spectra or []), progress=tell)
        lines = views.lines_of_verification(store, report)
    if as_json:
        print_json(report.as_dict())
    else:
        print_line(console, *lines)
    if not report.is_sound:
        raise typer.Exit(1)
