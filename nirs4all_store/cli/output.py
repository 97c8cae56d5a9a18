"""What all commands share: the options for the workspace, printing of rows, and printing of errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import validation, views
from ..errors import OutputPathError, UsageError, WorkspaceNotFoundError
from ..filesystem import atomic_write, checked_path, refuse_below, refuse_no_file
from ..workspace import checked_folder, is_in_memory
from . import tables
from .last_ranking import recall, remember
from .terminal import cell, for_programs, put

if TYPE_CHECKING:
    import polars as pl

    from ..store import WorkspaceStore
    from ..views import Listing

DEFAULT_WORKSPACE = Path("workspace")
ENVIRONMENT = "NIRS4ALL_WORKSPACE"


def parse_path(text: str | Path) -> Path:
    """Return a path of the command line; `~` is the home folder, also where a shell leaves it (`--workspace=~/w`)."""
    return checked_path(text, "the path")


def is_stdin(path: Path) -> bool:
    """Tell whether a path of the command line stands for standard input."""
    return str(path) == "-"


def table_of_stdin() -> pl.DataFrame:
    """Return the CSV that stands on standard input."""
    from ..datasets import table_files

    return table_files.read_stream(sys.stdin.buffer, "stdin")


def parse_workspace(text: str | Path) -> Path:
    """Return the folder of a workspace; refuse `memory:NAME`, which would end with the command."""
    path = parse_path(text)
    return checked_folder(text, "the workspace") if is_in_memory(path) else path


def _given_anywhere(context: typer.Context, value: Path) -> Path:
    """Return the workspace that is given after the command, else the one before it."""
    before = context.find_root().params.get("workspace")
    source = context.get_parameter_source("workspace")
    is_given = source is not None and source.name == "COMMANDLINE"
    return value if is_given or not isinstance(before, Path) else before


PATH_OPTIONS: dict[str, Any] = {"parser": parse_path, "metavar": "PATH"}
WORKSPACE_OPTIONS: dict[str, Any] = {"parser": parse_workspace, "metavar": "PATH"}
Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        envvar=ENVIRONMENT,
        callback=_given_anywhere,
        help="The workspace's folder.",
        **WORKSPACE_OPTIONS,
    ),
]
Folder = Annotated[
    Path | None, typer.Argument(help="The workspace's folder; the same as --workspace.", **WORKSPACE_OPTIONS)
]


def _refuse_both(context: typer.Context, value: bool) -> bool:
    if value and (context.params.get("as_json") or context.params.get("as_csv")):
        raise UsageError("--json and --csv are two ways to print the same rows; give one")
    return value


# Options that exclude each other are refused before a command does anything.
Json = Annotated[
    bool, typer.Option("--json", callback=_refuse_both, help="Print the rows as JSON, all columns and whole ids.")
]
Csv = Annotated[
    bool, typer.Option("--csv", callback=_refuse_both, help="Print the rows as CSV, all columns and whole ids.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="The largest number of rows.")]
Average = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="sample, or another column that names the samples of which rows are scans: also score them by sample.",
    ),
]
CHAIN_WORDS = "best, best@RUN, or @3 (row 3 of the last `top` in this shell)"
"""The words for a chain, for the help of arguments."""
ANY_ID = f"A run by its name or last; a chain by {CHAIN_WORDS}; anything by a part of its id"
RUN_ID = "A run: its name, a part of its id, or last"
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
MIN_ID_LENGTH = 8


def print_error(problem: str) -> None:
    """Print an error as one red line on stderr."""
    print_line(Console(stderr=True), problem, style="red")


def warns_once() -> Callable[..., None]:
    """Return a function that prints each warning as one yellow line on stderr, and the same warning only once.

    Training gives the same warning for each fold of each pipeline, and scikit-learn resets Python's own filter.
    """
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = f"{category.__name__}: {message}"
        if text not in told:
            told.add(text)
            print_line(Console(stderr=True), text, style="yellow")

    return show


def print_line(console: Console, *lines: str, style: str | None = None) -> None:
    """Print one or several lines; line ends and control characters inside a line are printed as escapes."""
    for line in lines:
        text = validation.printable(line)
        console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    put(f"{for_programs(views.to_json(value, indent=1))}\n")


def print_csv(frame: pl.DataFrame) -> None:
    """Print rows as CSV."""
    put(for_programs(frame.write_csv()))


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on a terminal; what it gives is told what is done, how much of it, and of how much."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=validation.printable(what), completed=done, total=total)

        yield tell


def confirm(question: str) -> None:
    """Ask before something is removed; if the answer is not yes, or nobody is there to give it, end the command."""
    try:
        typer.confirm(validation.printable(question), abort=True)
    except typer.Abort:
        print_error("nothing was removed; answer y, or give --yes not to be asked")
        raise typer.Exit(1) from None


def reading(workspace: Path) -> WorkspaceStore:
    """Open an existing workspace for reading; for the error see `existing`."""
    return existing(workspace, read_only=True)


def existing(workspace: Path, *, read_only: bool = False) -> WorkspaceStore:
    """Open an existing workspace.

    Raises
    ------
    WorkspaceNotFoundError
        There is no workspace in this folder; none is made.
    """
    from ..store import WorkspaceStore
    from ..workspace import DATABASE_NAME

    if not any(workspace.glob(f"{DATABASE_NAME}*")):
        raise WorkspaceNotFoundError(
            f"there is no workspace at {workspace}; name one with --workspace or {ENVIRONMENT}, or make one with "
            "`nirs4all-store init` or `run`"
        )
    return WorkspaceStore(workspace, read_only=read_only)


def refuse_output(path: Path, workspace: Path, *, overwrite: bool) -> None:
    """Raise if an output file exists and `overwrite` is False, or if it would be below `artifacts/`.

    Raises
    ------
    OutputPathError
    """
    from ..workspace import ARTIFACTS_NAME

    refuse_no_file(path)
    refuse_below(path, workspace / ARTIFACTS_NAME)
    if path.exists() and not overwrite:
        raise OutputPathError(f"{path} is there already and stays as it is; give another name, or --overwrite")


def refuse_no_table(path: Path) -> None:
    """Raise if the name of an output file says neither CSV nor Parquet.

    Raises
    ------
    UsageError
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"{path} says neither CSV nor Parquet; give a name that ends in .csv or .parquet")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as a whole to a CSV or Parquet file, as its name says."""
    with atomic_write(path) as unfinished:
        (frame.write_csv if path.suffix.lower() == ".csv" else frame.write_parquet)(unfinished)


def print_details(lines: Sequence[tuple[str, str]]) -> None:
    """Print all that is stored of one thing, a line for each value."""
    rows = [[cell(name), cell(text)] for name, text in lines]
    if not Console().is_terminal:
        _print_for_pipe(rows, [False, False])
        return
    table = Table(box=None, show_header=False, padding=(0, tables.GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _print_for_pipe(rows: tables.Rows, right: Sequence[bool]) -> None:
    """Print each row on one line of any length, for programs that look for a word in a line."""
    for lines in tables.lines_of(rows, right, tables.natural_widths(rows)):
        put("".join(f"{line}\n" for line in lines))


def show_rows(store: WorkspaceStore, listing: Listing, *, as_json: bool, as_csv: bool) -> None:
    """Print a listing as a table, JSON or CSV; a table has the shortest unique ending of each id."""
    short = {} if as_json or as_csv else store.shorten_ids(listing.ids, MIN_ID_LENGTH)
    print_rows(listing, short, as_json=as_json, as_csv=as_csv)


def show_rankings(store: WorkspaceStore, listings: Sequence[Listing], *, as_json: bool, as_csv: bool) -> None:
    """Print rankings as `show_rows` does, for programs as one; `@3` means row 3 from then on, if people saw it."""
    if as_json or as_csv:
        print_rows(views.Listing.together(listings), as_json=as_json, as_csv=as_csv)
        return
    for number, listing in enumerate(listings):
        if number:
            put("\n")
        show_rows(store, listing, as_json=False, as_csv=False)
    places = [views.place_of(mark) for listing in listings for mark in listing.table["#"]]
    remember(store.workspace_path, zip(places, views.Listing.together(listings).rows["chain_id"], strict=True))


def print_rows(listing: Listing, short: dict[str, str] | None = None, *, as_json: bool, as_csv: bool) -> None:
    """Print a listing as `show_rows` does, in a pipe one line for each row.

    `short` has the text to show for each id in a table.
    """
    if as_json:
        print_json(views.json_rows(listing.rows))
        return
    if as_csv:
        print_csv(views.csv_rows(listing.rows))
        return
    schema = listing.table.schema
    titles = [cell(column) for column in schema]
    rows = [[cell(text) for text in row] for row in views.cells(listing.table, short or {})]
    numeric = [kind.is_numeric() for kind in schema.values()]
    console = Console()
    if console.is_terminal:
        _print_table([titles, *rows], numeric, [column in views.IDS for column in schema])
        for note in listing.notes:
            print_line(console, *tables.broken_at(console.width, cell(note)))
    else:
        _print_for_pipe([titles, *rows], numeric)
        print_line(Console(stderr=True), *listing.notes)


def _print_table(rows: tables.Rows, numeric: Sequence[bool], of_ids: Sequence[bool]) -> None:
    """Print rows, of which the first has the titles, in the width of the terminal; numbers and ids are never broken."""
    console = Console()
    whole = [any(kinds) for kinds in zip(numeric, of_ids, strict=True)]
    widths = tables.widths_within(console.width, rows, whole)
    for number, lines in enumerate(tables.lines_of(rows, numeric, widths)):
        for line in lines:
            print_line(console, line, style=None if number else "bold")


def find(store: WorkspaceStore, text: str, *kinds: str) -> tuple[str, str]:
    """Return the table and the whole id of what a word of the command line means; see `find_id` of the views."""
    return views.find_id(store, text, kinds, lambda: recall(store.workspace_path))


Trusted = Annotated[
    bool, typer.Option("--trusted", help="You trust whoever made it: loading its objects may run code.")
]
