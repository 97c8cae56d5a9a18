"""The command line; no logic of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from . import migrate
from .duckdb_files import logs_of
from .errors import StoreError
from .inspection import inspect_workspace, recover_workspace, upgrade_workspace
from .migrate import UNSTAMPED, Migrations, run_migrations
from .recovery import RecoveryReport
from .store import WorkspaceStore
from .upgrade import UpgradePlan, UpgradeReport
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


WORKSPACE = typer.Argument(help="The workspace.", envvar="NIRS4ALL_WORKSPACE")
Workspace = Annotated[Path, WORKSPACE]
DEFAULT_WORKSPACE = Path("workspace")


@contextmanager
def _errors_in_red() -> Iterator[None]:
    """Print an error of this package as one line on stderr and end with exit code 1."""
    try:
        yield
    except StoreError as error:
        _complain(str(error))
        raise typer.Exit(1) from error


def _complain(problem: str) -> None:
    _say(Console(stderr=True), problem, style="red")


def _say(console: Console, line: str, style: str | None = None) -> None:
    """Print one line: what a name has of line ends and of what steers a terminal is printed as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    console.print(shown, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="The workspace to create or add to.")] = Path("nirs4all-demo"),
) -> None:
    """Train on real spectra, rank, replay, export, delete and collect, telling what each step did."""
    try:
        from .demo import Demo
    except ModuleNotFoundError as error:
        _complain(f"the demo needs {error.name}: pip install 'nirs4all-store[demo]'")
        raise typer.Exit(1) from error
    with _errors_in_red():
        Demo(folder, Console()).run()


@app.command()
def upgrade(
    folder: Workspace = DEFAULT_WORKSPACE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for another process that uses it.")] = 600,
) -> None:
    """Bring a workspace of an older version, or of nirs4all 0.7, to this version; a copy is kept."""
    with _errors_in_red():
        show_upgrade(folder, dry_run=dry_run, timeout=timeout)


def show_upgrade(
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 600,
    migrations: Migrations = run_migrations,
) -> None:
    """Upgrade a workspace, telling what was found and what was done; see `upgrade_workspace`."""
    console = Console()
    _print_plan(console, upgrade_workspace(folder, dry_run=True, timeout=timeout).plan)
    if dry_run:
        _say(console, "Nothing was changed (dry run).")
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        report = upgrade_workspace(
            folder,
            timeout=timeout,
            migrations=migrations,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    if report.copy is None:
        _say(console, "There was nothing to do.")
        return
    _print_report(console, report)


def _print_plan(console: Console, plan: UpgradePlan) -> None:
    author = " (written by nirs4all)" if "alembic_version" not in plan.rows else ""
    _say(console, f"{plan.database} stands at revision {plan.found}{author}, {_size(plan.size)}")
    _say(console, _rows(plan.rows))
    for revision, title in plan.steps:
        _say(console, f"to do: revision {revision}, {title[0].lower()}{title[1:]}")
    if plan.steps:
        _say(console, f"it takes up to {_size(plan.needed)} of disk on its way; {_size(plan.free)} are free")


def _print_report(console: Console, report: UpgradeReport) -> None:
    plan = report.plan
    _say(console, f"Upgraded to revision {plan.target} in {report.seconds:.1f} s: every row and value was compared.")
    _say(console, f"The database now takes {_size(report.size)}; vacuum() gives back what it does not need.")
    logs = "".join(f" and {log}" for log in logs_of(report.copy)) if report.copy else ""
    _say(console, f"The old one, byte for byte: {report.copy}{logs}")
    _say(console, f"To go back: {report.way_back}")


@app.command()
def recover(
    folder: Workspace = DEFAULT_WORKSPACE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for another process that uses it.")] = 600,
) -> None:
    """Let a workspace open again whose write-ahead log is damaged; the original is kept."""
    with _errors_in_red():
        report = recover_workspace(folder, dry_run=dry_run, timeout=timeout)
    _print_recovery(Console(soft_wrap=True, highlight=False, markup=False), report, quote(str(folder)))


def _print_recovery(console: Console, report: RecoveryReport, folder: str) -> None:
    if report.log is None:
        console.print(f"{report.database} opens; there was nothing to do.")
        console.print(f"rows       {_rows(report.rows)}")
        return
    console.print(f"{report.database} does not open: {report.problem}")
    console.print(f"damaged    {report.log}")
    console.print(f"saved      the first {report.used:,} of its {report.size:,} bytes, {report.commits:,} commits")
    lost = report.size - report.used
    console.print(f"lost       {lost:,} bytes, which show the end of {report.lost_commits:,} commits")
    console.print(f"rows       {_rows(report.rows)}; each was read")
    if report.copy is None:
        console.print("Nothing was changed (dry run).")
        return
    logs = "".join(f" and {log}" for log in logs_of(report.copy))
    console.print(f"The original, byte for byte: {report.copy}{logs}")
    console.print(f"To go back: {report.way_back}")
    if report.findings is None:
        console.print(f"Not checked: it stands at revision {report.revision} or is in use.")
    else:
        console.print(f"{len(report.findings)} findings: nirs4all-store check {folder}")


@app.command()
def info(folder: Workspace = DEFAULT_WORKSPACE) -> None:
    """Tell what is in a workspace, also in one of an older or newer version, and change nothing."""
    with _errors_in_red():
        found = inspect_workspace(folder)
    console = Console()
    same = found.revision == found.newest
    advice = "" if same else f"; this version works on {found.newest}"
    if UNSTAMPED <= found.revision < found.newest:
        advice += f": nirs4all-store upgrade {quote(str(found.path))}"
    _say(console, f"{found.path}")
    _say(console, f"revision   {found.revision}{advice}")
    _say(console, f"rows       {_rows(found.rows)}")
    _say(console, f"database   {_size(found.database_bytes)}, its log {_size(found.log_bytes)}")
    _say(console, f"artifacts  {found.artifact_files} files, {_size(found.artifact_bytes)}")
    for copy in found.copies:
        _say(console, f"kept copy  {copy.name}, {_size(copy.stat().st_size)}")


@app.command()
def check(
    folder: Workspace = DEFAULT_WORKSPACE,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every value and hash every file.")] = False,
) -> None:
    """Compare every row and file with each other: exit code 0 for all well, 1 for findings, 2 if it cannot be done."""
    console = Console()
    try:
        with WorkspaceStore(folder, read_only=True) as store:
            report = store.check(deep)
    except StoreError as error:
        _complain(str(error))
        raise typer.Exit(2) from error
    for finding in report.findings:
        _say(console, f"{finding.code}: {finding.subject}: {finding.message}")
        _say(console, f"  repair would {finding.repair}" if finding.repair else "  repair can do nothing about it")
    _say(console, f"{len(report.findings)} findings in {_rows(report.rows)}, {report.files} files")
    if not report.is_sound:
        raise typer.Exit(1)


@app.command()
def repair(
    folder: Workspace = DEFAULT_WORKSPACE,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; otherwise it is only shown.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every value and hash every file.")] = False,
) -> None:
    """Do what check says can be done; no bytes of an artifact are deleted."""
    console = Console()
    with _errors_in_red(), WorkspaceStore(folder, read_only=not apply) as store:
        report = store.repair(dry_run=not apply, deep=deep)
    for finding in report.repaired:
        _say(console, f"{'done' if apply else 'to do'}: {finding.subject}: {finding.repair}")
    for finding in report.left:
        _say(console, f"left: {finding.subject}: {finding.message}")
    if report.repaired and not apply:
        _say(console, "Nothing was changed; do it with --apply.")


@app.command("alembic-ini")
def alembic_ini() -> None:
    """Print the path of the configuration for Alembic: alembic -c "$(nirs4all-store alembic-ini)" ..."""
    typer.echo(str(migrate.alembic_ini()))


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in rows.items() if table != "alembic_version")


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
