"""The commands that maintain a workspace.

init, delete, prune, gc, vacuum, upgrade, recover, restore, info, check, repair.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .. import engine, views
from ..errors import StoreError, UsageError
from . import completion
from .output import (
    DEFAULT_WORKSPACE,
    RUN_ID,
    Csv,
    Folder,
    Json,
    Workspace,
    Yes,
    confirm,
    existing,
    find,
    print_error,
    print_json,
    print_line,
    print_rows,
    progress_bar,
    reading,
    show_rows,
)
from .terminal import escape_what_the_terminal_lacks

if TYPE_CHECKING:
    from ..engine import Migrations, RecoveryReport, UpgradePlan, UpgradeReport
    from ..views import Sizes
    from ..workspace import PruneReport

app = typer.Typer()
MOST_RUNS = 3
"""How many of the largest runs `info` names."""
PRUNED = ("chain_id", "model_name", "preprocessings", "metric", "val_score")
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for another process that uses the workspace.")]
Deep = Annotated[bool, typer.Option("--deep", help="Also read every value, and compute the SHA-256 of every file.")]


@app.command(epilog="nirs4all-store init spectra")
def init(folder: Folder = None, workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Create a workspace; an existing one is not changed."""
    from ..store import WorkspaceStore

    with WorkspaceStore(folder or workspace) as store:
        print_line(Console(), f"{store.workspace_path} is ready; train into it with: nirs4all-store run CONFIG DATA")


@app.command(epilog="nirs4all-store delete last --yes")
def delete(
    beginning: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.deleted,
            help="A run by its name or last; a run, pipeline or prediction by a part of its id.",
        ),
    ],
    yes: Yes = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Delete a run, a pipeline or a prediction, and all that belongs to it.

    Artifacts that nothing else uses are deleted, too, and so are datasets that nothing else was trained on, with the
    spectra that are kept of them.
    """
    with existing(workspace) as store:
        kind, name = find(store, beginning, "runs", "pipelines", "predictions")
        if not yes:
            confirm(f"Delete {views.described(store, kind, name)} and all below it?")
        if kind == "predictions":
            rows = int(store.delete_prediction(name))
        else:
            rows = store.delete_run(name) if kind == "runs" else store.delete_pipeline(name)
    print_line(Console(), f"deleted {rows:,} rows")


@app.command(epilog="nirs4all-store prune last --keep-best 5 --dry-run")
def prune(
    beginning: Annotated[
        str,
        typer.Argument(metavar="RUN", autocompletion=completion.runs, help=f"{RUN_ID}."),
    ],
    keep_best: Annotated[int, typer.Option(min=1, help="How many of the best models can predict afterwards.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Remove the fitted objects of all models of a run but the best; with --dry-run, only list them.

    The scores and predictions of all models stay. A pruned model cannot predict any more.
    """
    if (as_json or as_csv) and not dry_run:
        raise UsageError("--json and --csv print what would be removed; give them with --dry-run")
    with existing(workspace, read_only=dry_run) as store:
        run_id = find(store, beginning, "runs")[1]
        report = store.prune(run_id, keep_best, dry_run=True)
        if dry_run:
            show_rows(store, views.Listing.of(report.chains, PRUNED), as_json=as_json, as_csv=as_csv)
        else:
            if not yes:
                confirm(f"Of {views.described(store, 'runs', run_id)} remove {_objects(report)}?")
            report = store.prune(run_id, keep_best)
    if not (as_json or as_csv):
        print_line(Console(), f"{'would remove' if dry_run else 'removed'} {_objects(report)}")


def _objects(report: PruneReport) -> str:
    return f"the fitted objects of {report.chains.height:,} chains: {report.files:,} files, {_size(report.size_bytes)}"


@app.command(epilog="nirs4all-store gc --dry-run")
def gc(
    folder: Folder = None,
    days: Annotated[
        float, typer.Option(min=0, help="How many days an unused object is kept after it was saved.")
    ] = 1.0,
    dry_run: DryRun = False,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Remove artifacts that no chain uses, with their files; with --dry-run, only list them."""
    grace = timedelta(days=days)
    if (as_json or as_csv) and not dry_run:
        raise UsageError("--json and --csv print what would be removed; give them with --dry-run")
    with existing(folder or workspace, read_only=dry_run) as store:
        if not dry_run:
            print_line(Console(), f"removed {store.gc_artifacts(grace=grace):,} files")
            return
        plan = store.plan_gc(grace=grace)
        if plan.height or as_json or as_csv:
            show_rows(store, views.Listing.of(plan), as_json=as_json, as_csv=as_csv)
    if not (as_json or as_csv):
        print_line(Console(), f"would remove {plan.height:,} files")


@app.command(epilog="nirs4all-store vacuum")
def vacuum(folder: Folder = None, workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Make the database file smaller, by the space that deleted rows have left."""
    with existing(folder or workspace) as store:
        done = store.vacuum()
    print_line(Console(), f"the database took {_size(done.before)} and takes {_size(done.after)}")


@app.command(epilog="nirs4all-store upgrade old_workspace --dry-run")
def upgrade(
    folder: Folder = None, dry_run: DryRun = False, timeout: Timeout = 600, workspace: Workspace = DEFAULT_WORKSPACE
) -> None:
    """Upgrade a workspace of an older version, or of nirs4all 0.7; a copy is kept."""
    show_upgrade(folder or workspace, dry_run=dry_run, timeout=timeout)


def show_upgrade(
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 600,
    migrations: Migrations | None = None,
) -> None:
    """Upgrade a workspace, and print the plan, the progress and the result; see `upgrade_workspace`.

    Alembic's own command line calls it, too, with its own `migrations`.
    """
    from ..workspace import upgrade_workspace

    escape_what_the_terminal_lacks()  # Alembic's command line has not called it yet.
    console = Console()
    _print_plan(console, upgrade_workspace(folder, dry_run=True, timeout=timeout).plan)
    if dry_run:
        print_line(console, "Nothing was changed (dry run).")
        return
    with progress_bar(console) as tell:
        report = upgrade_workspace(
            folder, timeout=timeout, migrations=migrations or engine.run_migrations, progress=tell
        )
    if report.copy is None:
        print_line(console, "There was nothing to do.")
        return
    _print_report(console, report)


def _print_plan(console: Console, plan: UpgradePlan) -> None:
    author = " (written by nirs4all)" if "alembic_version" not in plan.rows else ""
    print_line(console, f"{plan.database} stands at revision {plan.found}{author}, {_size(plan.size)}")
    print_line(console, _rows(plan.rows))
    for revision, title in plan.steps:
        print_line(console, f"to do: revision {revision}, {title[0].lower()}{title[1:]}")
    if plan.steps:
        print_line(console, f"it takes up to {_size(plan.needed)} of disk on its way; {_size(plan.free)} are free")


def _print_report(console: Console, report: UpgradeReport) -> None:
    plan, took = report.plan, f"{report.seconds:.1f} s"
    logs = "".join(f" and {log}" for log in engine.logs_of(report.copy)) if report.copy else ""
    print_line(
        console,
        f"Upgraded to revision {plan.target} in {took}: every row and value was compared.",
        f"The database now takes {_size(report.size)}; vacuum() gives back what it does not need.",
        f"The old one, byte for byte: {report.copy}{logs}",
        f"To go back: {report.way_back}",
    )


@app.command(epilog="nirs4all-store recover workspace --dry-run")
def recover(
    folder: Folder = None, dry_run: DryRun = False, timeout: Timeout = 600, workspace: Workspace = DEFAULT_WORKSPACE
) -> None:
    """Recover a workspace whose write-ahead log is damaged; a copy is kept."""
    from ..workspace import recover_workspace

    place = folder or workspace
    report = recover_workspace(place, dry_run=dry_run, timeout=timeout)
    _print_recovery(Console(), report, quote(str(place)))


def _print_recovery(console: Console, report: RecoveryReport, folder: str) -> None:
    if report.log is None:
        print_line(console, f"{report.database} opens; there was nothing to do.", f"rows       {_rows(report.rows)}")
        return
    lost = report.size - report.used
    print_line(
        console,
        f"{report.database} does not open: {report.problem}",
        f"damaged    {report.log}",
        f"saved      the first {report.used:,} of its {report.size:,} bytes, {report.commits:,} commits",
        f"lost       {lost:,} bytes, which show the end of {report.lost_commits:,} commits",
        f"rows       {_rows(report.rows)}; each was read",
    )
    if report.copy is None:
        print_line(console, "Nothing was changed (dry run).")
        return
    logs = "".join(f" and {log}" for log in engine.logs_of(report.copy))
    print_line(console, f"The original, byte for byte: {report.copy}{logs}", f"To go back: {report.way_back}")
    if report.findings is None:
        print_line(console, f"Not checked: it stands at revision {report.revision} or is in use.")
    else:
        print_line(console, f"{len(report.findings)} findings: nirs4all-store check {folder}")


@app.command(epilog="nirs4all-store restore backups/monday workspace")
def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder of the backup; it is not changed.")],
    folder: Folder = None,
    timeout: Timeout = 600,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Replace a workspace by a backup; the old workspace is kept in a folder inside it."""
    from ..workspace import restore_workspace

    report = restore_workspace(backup, folder or workspace, timeout=timeout)
    console = Console()
    print_line(console, f"{report.workspace} is as {report.backup} is: {_rows(report.rows)}, {report.files:,} files")
    if report.kept is not None:
        print_line(console, f"What was there before: {report.kept}", f"To go back: {report.way_back}")


@app.command(epilog="nirs4all-store info workspace")
def info(
    folder: Folder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, and the bytes of each run.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show how much is in a workspace of any version, which runs take most, and what gc would free."""
    from ..workspace import inspect_workspace

    found = inspect_workspace(folder or workspace)
    same = found.revision == found.newest
    # Of another version nobody but `upgrade` reads the rows.
    with reading(found.path) if same else nullcontext() as store:
        sizes = None if store is None else views.sizes_of(store)
    if as_json:
        print_json(asdict(found) | ({} if sizes is None else asdict(sizes)))
        return
    advice = "" if same else f"; this version works on {found.newest}"
    if engine.UNSTAMPED <= found.revision < found.newest:
        advice += f": nirs4all-store upgrade {quote(str(found.path))}"
    print_line(
        Console(),
        f"{found.path}",
        f"revision   {found.revision}{advice}",
        f"rows       {_rows(found.rows)}",
        f"database   {_size(found.database_bytes)}, its log {_size(found.log_bytes)}",
        f"artifacts  {found.artifact_files} files, {_size(found.artifact_bytes)}",
        *(f"kept copy  {copy.name}, {_size(copy.stat().st_size)}" for copy in found.copies),
        *([] if sizes is None else _lines_of_sizes(sizes)),
    )


def _lines_of_sizes(sizes: Sizes) -> list[str]:
    runs = [
        f"run        {run['name']}: {run['predictions']:,} predictions, {_size(run['own_bytes'])} of its own"
        for run in sizes.runs[:MOST_RUNS]
    ]
    return [*runs, f"gc         would free {sizes.unused_files:,} files, {_size(sizes.unused_bytes)}"]


@app.command(epilog="nirs4all-store check --deep")
def check(
    folder: Folder = None,
    deep: Deep = False,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Check all rows and files of a workspace; nothing is changed.

    The exit code is 0 if there are no problems, 1 if there are some, and 2 if the workspace cannot be checked.
    """
    console = Console()
    try:
        with existing(folder or workspace, read_only=True) as store:
            report = store.check(deep)
    except StoreError as error:
        print_error(str(error))
        raise typer.Exit(2) from error
    if as_json or as_csv:
        print_rows(views.list_findings(report.findings), as_json=as_json, as_csv=as_csv)
    else:
        for finding in report.findings:
            advice = f"would {finding.repair}" if finding.repair else "can do nothing about it"
            print_line(console, f"{finding.code}: {finding.subject}: {finding.message}", f"  repair {advice}")
        print_line(console, f"{len(report.findings)} findings in {_rows(report.rows)}, {report.files} files")
    if not report.is_sound:
        raise typer.Exit(1)


@app.command(epilog="nirs4all-store repair --apply")
def repair(
    folder: Folder = None,
    apply: Annotated[bool, typer.Option("--apply", help="Repair; otherwise only show what would be repaired.")] = False,
    deep: Deep = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what can be repaired of the problems that `check` finds; with --apply, repair it.

    No file is deleted: damaged and unlisted files are moved to artifacts/.quarantine.
    """
    console = Console()
    with existing(folder or workspace, read_only=not apply) as store:
        report = store.repair(dry_run=not apply, deep=deep)
    for finding in report.repaired:
        print_line(console, f"{'done' if apply else 'to do'}: {finding.subject}: {finding.repair}")
    for finding in report.left:
        print_line(console, f"left: {finding.subject}: {finding.message}")
    if not report.repaired and not report.left:
        print_line(console, "There is nothing to repair.")
    if report.repaired and not apply:
        print_line(console, "Nothing was changed; do it with --apply.")


@app.command("alembic-ini", epilog='alembic -c "$(nirs4all-store alembic-ini)" -x workspace=FOLDER upgrade head')
def alembic_ini() -> None:
    """Print the path of alembic.ini, the configuration for Alembic's own command line."""
    typer.echo(str(engine.migrator.alembic_ini()))


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in rows.items() if table != "alembic_version")


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
