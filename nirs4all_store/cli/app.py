"""The application that has all commands, and shows errors and warnings."""

from __future__ import annotations

import gc
import warnings
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from .. import views
from ..errors import StoreError, UsageError, WorkspaceNotFoundError
from ..identifiers import __version__
from ..validation import nearest
from . import admin, dataset, exchange, library, predict, query, train
from .admin import show_upgrade
from .output import DEFAULT_WORKSPACE, Workspace, print_error, print_line, reading, warns_once
from .terminal import escape_what_the_terminal_lacks

__all__ = ["app", "show_upgrade"]

ALIASES = {"list": "runs", "ls": "runs"}
RARELY = 10_000
"""After so many new objects Python looks for garbage."""
USAGE_ERROR = 2
"""The exit code where the command line itself is wrong, as that of typer's own errors."""


class _Commands(TyperGroup):
    """All commands. An error is printed as one red line, each warning once.

    The exit code is 2 where the command line is wrong whatever the workspace has, and 1 where anything else failed.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; characters that the terminal cannot show are printed as escapes."""
        escape_what_the_terminal_lacks()
        usual = gc.get_threshold()
        # What is imported is no garbage: to look for it 300 times takes a twentieth of the time of a listing.
        gc.set_threshold(RARELY, *usual[1:])
        try:
            return super().main(*args, **options)
        finally:
            gc.set_threshold(*usual)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` anywhere in the line, also after the command, and `help` as a command."""
        words = [word for word in args if word != "--debug"]
        debug = ["--debug"] if len(words) < len(args) else []
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        parsed: list[str] = super().parse_args(ctx, [*debug, *words])
        return parsed

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command by its name, or by what other programs call it."""
        if cmd_name == "resume":  # typer would ask whether `restore` was meant, which replaces the workspace.
            raise UsageError("there is no command resume; `run CONFIG DATA --resume` goes on where a run has stopped")
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = warns_once()
            try:
                return super().invoke(ctx)
            except typer.TyperException as error:
                about: dict[str, Any] = vars(error)
                if about.get("possibilities"):  # Of an unknown option. typer takes --json for nearly --sort.
                    about["possibilities"] = nearest(about["option_name"], about["possibilities"])
                raise
            except (typer.Exit, typer.Abort, BrokenPipeError):
                raise
            except Exception as error:
                if ctx.params.get("debug"):
                    raise
                is_ours = isinstance(error, StoreError)
                print_error(
                    str(error) if is_ours else f"{type(error).__name__}: {error}; --debug shows where it comes from"
                )
                raise typer.Exit(USAGE_ERROR if isinstance(error, UsageError) else 1) from error


app = typer.Typer(
    cls=_Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Train models on spectra, store all results, and find them again.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Train models on spectra, store all results, and find them again. Without a command: show the workspace."""
    if context.invoked_subcommand is not None:
        return
    try:
        with reading(workspace) as store:
            lines = views.overview_of(store)
    except WorkspaceNotFoundError:
        lines = [
            ("workspace", f"there is none at {workspace}"),
            ("next", "`nirs4all-store run CONFIG DATA --target COLUMN` makes one and trains models into it"),
            ("or", "`nirs4all-store demo` shows on real spectra all that one can do"),
        ]
    width = max(len(name) for name, _ in lines)
    print_line(Console(), *(f"{name:<{width}}  {text}" for name, text in lines))


# The order in which --help shows them.
PANELS: tuple[tuple[str, typer.Typer], ...] = (
    ("Train", train.app),
    ("Look", query.app),
    ("Models", predict.app),
    ("Models", exchange.app),
    ("Upkeep", admin.app),
)
for panel, commands in PANELS:
    for command in commands.registered_commands:
        command.rich_help_panel = panel
    app.add_typer(commands)
app.add_typer(library.app, name="library", rich_help_panel="Train")
app.add_typer(dataset.app, name="dataset", rich_help_panel="Look")
