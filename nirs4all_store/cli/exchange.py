"""The commands `export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import exchange
from ..errors import InvalidInputError
from ..filesystem import with_suffix_added
from . import completion
from .output import (
    CHAIN_WORDS,
    DEFAULT_WORKSPACE,
    Overwrite,
    Trusted,
    Workspace,
    find,
    parse_path,
    print_line,
    reading,
    refuse_output,
)

app = typer.Typer()
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
    bundle: Annotated[Path, typer.Argument(parser=parse_path, metavar="BUNDLE", help="A .n4a file.")],
    trusted: Trusted = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Import a bundle into the workspace, as a new run."""
    from ..store import WorkspaceStore

    exchange.inspect_bundle(bundle)  # A file that is no bundle is refused before a workspace is made.
    with WorkspaceStore(workspace) as store:
        done = store.import_bundle(bundle, trusted)
    print_line(Console(), f"chain {done.chain_id} of run {done.run_id}")
    if not trusted:
        line = "It predicts once you trust it: store.trust_chain(chain_id, True), or import it with --trusted."
        print_line(Console(), line)
