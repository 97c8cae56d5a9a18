"""The command line; no logic of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .errors import StoreError
from .version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A workspace store for spectra people.")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Keep runs, models, predictions and fitted objects in one workspace."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="The workspace to create or add to.")] = Path("nirs4all-demo"),
) -> None:
    """Train on real spectra, rank, replay, export, delete and collect, telling what each step did."""
    console = Console()
    try:
        from .demo import Demo
    except ModuleNotFoundError as error:
        problem = f"the demo needs {error.name}: pip install 'nirs4all-store[demo]'"
        Console(stderr=True).print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    try:
        Demo(folder, console).run()
    except StoreError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
