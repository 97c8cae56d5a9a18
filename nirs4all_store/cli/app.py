"""The application that has all commands, and shows errors and warnings."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import StoreError
from ..version import __version__
from . import admin, dataset, exchange, library, predict, query, train
from .admin import show_upgrade
from .output import print_error, warns_once
from .terminal import escape_what_the_terminal_lacks

__all__ = ["app", "show_upgrade"]


class _Commands(TyperGroup):
    """All commands. An error is printed as one red line, with exit code 1; each warning is printed once."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; characters that the terminal cannot show are printed as escapes."""
        escape_what_the_terminal_lacks()
        return super().main(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` anywhere in the line, also after the command."""
        others = [word for word in args if word != "--debug"]
        parsed: list[str] = super().parse_args(ctx, ["--debug", *others] if len(others) < len(args) else args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = warns_once()
            try:
                return super().invoke(ctx)
            except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
                raise
            except Exception as error:
                if ctx.params.get("debug"):
                    raise
                is_ours = isinstance(error, StoreError)
                print_error(
                    str(error) if is_ours else f"{type(error).__name__}: {error}; --debug shows where it comes from"
                )
                raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train models on spectra, store all results, and find them again.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train models on spectra, store all results, and find them again."""


for commands in (train.app, predict.app, exchange.app, query.app, admin.app):
    app.add_typer(commands)
app.add_typer(dataset.app, name="dataset")
app.add_typer(library.app, name="library")
