"""What all commands share: the options for the workspace, printing of rows, and printing of errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ..datasets import table_files
from ..errors import InvalidInputError, OutputPathError, WorkspaceNotFoundError
from ..filesystem import atomic_write, checked_path, refuse_below, refuse_no_file
from ..store import WorkspaceStore
from ..validation import printable
from ..views import IDS, Listing, cells, csv_rows, json_rows, lines_of, to_json
from ..workspace import ARTIFACTS_NAME, DATABASE_NAME, checked_folder, is_in_memory
from .terminal import cell, for_programs, put

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
    return table_files.read_stream(sys.stdin.buffer, "stdin")


def parse_workspace(text: str | Path) -> Path:
    """Return the folder of a workspace; refuse `memory:NAME`, which would end with the command."""
    path = parse_path(text)
    return checked_folder(text, "the workspace") if is_in_memory(path) else path


PATH_OPTIONS: dict[str, Any] = {"parser": parse_path, "metavar": "PATH"}
WORKSPACE_OPTIONS: dict[str, Any] = {"parser": parse_workspace, "metavar": "PATH"}
Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar=ENVIRONMENT, help="The workspace's folder.", **WORKSPACE_OPTIONS)
]
Folder = Annotated[
    Path | None, typer.Argument(help="The workspace's folder; the same as --workspace.", **WORKSPACE_OPTIONS)
]


def _refuse_both(context: typer.Context, value: bool) -> bool:
    if value and (context.params.get("as_json") or context.params.get("as_csv")):
        raise InvalidInputError("--json and --csv are two ways to print the same rows; give one")
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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
MIN_ID_LENGTH = 8
MAX_IDS_LISTED = 5
MOST_OF_A_WORD = 36
LEAST_OF_A_WORD = 16
GAP = 2


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
        console.print(printable(line), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    put(f"{for_programs(to_json(value, indent=1))}\n")


def print_csv(frame: pl.DataFrame) -> None:
    """Print rows as CSV."""
    put(for_programs(frame.write_csv()))


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
    refuse_no_file(path)
    refuse_below(path, workspace / ARTIFACTS_NAME)
    if path.exists() and not overwrite:
        raise OutputPathError(f"{path} is there already and stays as it is; give another name, or --overwrite")


def refuse_no_table(path: Path) -> None:
    """Raise if the name of an output file says neither CSV nor Parquet.

    Raises
    ------
    InvalidInputError
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InvalidInputError(f"{path} says neither CSV nor Parquet; give a name that ends in .csv or .parquet")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as a whole to a CSV or Parquet file, as its name says."""
    with atomic_write(path) as unfinished:
        (frame.write_csv if path.suffix.lower() == ".csv" else frame.write_parquet)(unfinished)


def print_details(kind: str, values: dict[str, Any]) -> None:
    """Print all that is stored of one thing, a line for each value."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(kind, "")
    for name, text in lines_of(values):
        table.add_row(cell(name), cell(text))
    Console().print(table)


def show_rows(store: WorkspaceStore, listing: Listing, *, as_json: bool, as_csv: bool) -> None:
    """Print a listing as a table, JSON or CSV; a table has the shortest unique prefix of each id."""
    short = {} if as_json or as_csv else store.shorten_ids(listing.ids, MIN_ID_LENGTH)
    print_rows(listing, short, as_json=as_json, as_csv=as_csv)


def print_rows(listing: Listing, short: dict[str, str] | None = None, *, as_json: bool, as_csv: bool) -> None:
    """Print a listing as `show_rows` does; `short` has the text to show for each id in a table."""
    if as_json:
        print_json(json_rows(listing.rows))
        return
    if as_csv:
        print_csv(csv_rows(listing.rows))
        return
    schema = listing.table.schema
    titles = [cell(column) for column in schema]
    rows = [[cell(text) for text in row] for row in cells(listing.table, short or {})]
    whole = [kind.is_numeric() or column in IDS for column, kind in schema.items()]
    console = Console()
    widths = _widths(
        [*zip(*([text.plain for text in row] for row in (titles, *rows)), strict=True)], whole, console.width
    )
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold")
    for kind, title, width in zip(schema.values(), titles, widths, strict=True):
        justify: Literal["left", "right"] = "right" if kind.is_numeric() else "left"
        table.add_column(title, justify=justify, width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A number that is cut would be another number. So the table may be wider than the terminal, which breaks its lines.
    Console(width=max(console.width, sum(widths) + GAP * len(widths))).print(table)
    for note in listing.notes:
        print_line(console, note)


def _widths(columns: Sequence[Sequence[str]], whole: Sequence[bool], available: int) -> list[int]:
    """Return the width of each column; `whole` tells which columns are never broken.

    The others are broken between words and, if there is not enough space, inside words.
    """
    natural = [max(map(cell_len, cells)) for cells in columns]
    words = [max((cell_len(word) for cell in cells for word in cell.split()), default=1) for cells in columns]
    widths = [
        full if is_whole else min(full, longest, MOST_OF_A_WORD)
        for full, longest, is_whole in zip(natural, words, whole, strict=True)
    ]
    spare = available - sum(widths) - GAP * len(widths)
    while spare < 0:
        widest = max((i for i in range(len(widths)) if not whole[i]), key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= LEAST_OF_A_WORD:
            break
        widths[widest] -= 1
        spare += 1
    while spare > 0 and widths != natural:
        narrowest = min((i for i in range(len(widths)) if widths[i] < natural[i]), key=lambda i: widths[i])
        widths[narrowest] += 1
        spare -= 1
    return widths


def find(store: WorkspaceStore, beginning: str, *kinds: str) -> tuple[str, str]:
    """Return the table and the whole id of the row whose id begins with the given characters.

    Parameters
    ----------
    store : WorkspaceStore
    beginning : str
    *kinds : str
        The tables to look in; by default all that have ids.

    Raises
    ------
    InvalidInputError
        There is no such id, or there are several.
    """
    found = [row for row in store.find_ids(beginning) if not kinds or row[0] in kinds] if beginning else []
    if len(found) == 1:
        return found[0]
    what = " or ".join(kind.removesuffix("s") for kind in kinds) or "thing"
    if not found:
        shown = "`datasets` shows" if kinds == ("datasets",) else "`top` and `runs` show"
        raise InvalidInputError(f"no {what} has an id that begins with {beginning!r}; {shown} ids")
    named = ", ".join(f"{kind.removesuffix('s')} {name}" for kind, name in found[:MAX_IDS_LISTED])
    raise InvalidInputError(f"{len(found)} ids begin with {beginning!r}, as {named}; give more of it")


Trusted = Annotated[
    bool, typer.Option("--trusted", help="You trust whoever made the bundle: loading its objects may run code.")
]
