"""Imports a workspace of nirs4all 0.8 or later: each run in a transaction of its own.

Why what becomes what: docs/decisions/0032.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...artifacts import Trust
from ...call_boundary import keeping_interrupts
from ...errors import ArtifactCorruptError, ChainReplayError, InvalidInputError
from ...identifiers import utc_now
from ...storage import PROJECT, RESULT_LINKS, Label, Result, UnitOfWork
from ..samples import given_spectra
from . import chain_rows, checking, run_rows
from .objects import Import, Writing, add_unused_objects
from .report import ImportReport
from .source import Row, Source, open_source

FAMILIES = {"conformal_results": "result_json", "tuning_results": "result_json", "robustness_results": "report_json"}
"""Their tables of results, and the column that is the document of ours."""
TABLES = {"runs", "pipelines", "chains", "predictions", "artifacts", "logs", "projects", "prediction_arrays", *FAMILIES}
FOLDERS = ("native_results", "exports", "outputs")
"""What nirs4all writes beside, which repeats what its tables and objects say."""
ODD_ROWS = (
    InvalidInputError,
    ChainReplayError,
    ArtifactCorruptError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What is raised by rows that nirs4all never writes, and others may have: the run stays out, and the next one comes."""


def import_workspace(
    writing: Writing,
    path: Path,
    *,
    target: Path | None,
    trust: Trust,
    spectra: Mapping[str, Any],
    timezone: str | None,
    dry_run: bool,
    progress: Callable[[str, int, int], None],
) -> ImportReport:
    """Import a workspace; see `WorkspaceStore.import_workspace`. A dry run's `writing` keeps nothing."""
    with keeping_interrupts() as check_interrupts, open_source(path, timezone, target) as source:
        report = ImportReport(source.folder, dry_run)
        job = Import(source, writing, trust, given_spectra(spectra), report, _first_users(source))
        with writing() as uow:
            _add_projects(uow, job)
        runs = sorted(source.database.rows("runs"), key=lambda row: _moment(source, row))
        for number, row in enumerate(runs):
            check_interrupts()
            progress(f"run {row.get('name')}", number, len(runs))
            _import_run(job, row)
        with writing() as uow:
            _add_results(uow, job)
            add_unused_objects(uow, job)
        _tell_what_is_left(job, {row["run_id"] for row in runs})
        progress("done", len(runs), len(runs))
        return report


def _moment(source: Source, row: Row) -> str:
    return str(source.time(row.get("created_at")) or "")


def _first_users(source: Source) -> dict[str, str]:
    """Return, for each artifact, the pipeline that was the first of which a chain names it."""
    found: dict[str, str] = {}
    began = {row["run_id"]: _moment(source, row) for row in source.database.rows("runs")}
    pipelines = sorted(
        source.database.rows("pipelines"), key=lambda row: (began.get(row["run_id"], ""), _moment(source, row))
    )
    for pipeline in pipelines:
        for chain in source.chains_of(pipeline["pipeline_id"]):
            for artifact_id in chain_rows.named_by(chain):
                found.setdefault(artifact_id, pipeline["pipeline_id"])
    return found


def _add_projects(uow: UnitOfWork, job: Import) -> None:
    rows = list(job.source.database.rows("projects"))
    known = uow.whole_rows.known(Label, [row["project_id"] for row in rows])
    for row in rows:
        if row["project_id"] not in known:
            told = {"label_id": row["project_id"], "kind": PROJECT, "name": row["name"]}
            told |= {name: row.get(name) for name in ("description", "color")}
            made = job.source.time(row.get("created_at")) or utc_now()
            changed = job.source.time(row.get("updated_at")) or made
            uow.whole_rows.add(Label, told | {"created_at": made, "updated_at": changed})
            job.report.rows["labels"] += 1


def _import_run(job: Import, row: Row) -> None:
    """Add what a run has that is not here yet, compare its chains, and write a line about it into its log."""
    before = job.report.copy()
    try:
        with job.writing() as uow:
            pipeline_id = run_rows.add_run(uow, job, row)
    except ODD_ROWS as error:
        job.report.take_back(before)
        job.report.not_carried[f"run {row['run_id']}, which stays out: {error!s:.300}"] += 1
        return
    checked = not job.report.is_dry_run and checking.check_run(job, row["run_id"])
    told = job.report.since(before)
    if told.rows:
        job.report.runs.append(row["run_id"])
    if (told.rows or checked) and pipeline_id is not None:
        with job.writing() as uow:
            run_rows.tell(uow, pipeline_id, told)


def _add_results(uow: UnitOfWork, job: Import) -> None:
    """Add calibrations, searches and tests of robustness; each document stays as it is, character by character."""
    for table, document in FAMILIES.items():
        rows = list(job.source.database.rows(table))
        key = next(iter(job.source.database.columns.get(table, ["id"])))
        known = uow.whole_rows.known(Result, [row[key] for row in rows])
        for row in rows:
            if row[key] in known:
                continue
            links = {name: row.get(name) for name in RESULT_LINKS}
            uow.results.write(
                table.removesuffix("_results"),
                row.get(document) or "",
                {
                    name: value
                    for name, value in links.items()
                    if value and uow.whole_rows.known(RESULT_LINKS[name], [value])
                },
                result_id=row[key],
                name=row.get("name"),
                details={name: value for name, value in row.items() if name not in (document, "created_at")},
                created_at=job.source.time(row.get("created_at")),
            )
            job.report.rows["results"] += 1


def _tell_what_is_left(job: Import, runs: set[str]) -> None:
    """Say what hangs on nothing, what could not be read, and what is not looked at."""
    database, told = job.source.database, job.report.not_carried
    runs_of = {row["pipeline_id"]: row["run_id"] for row in database.rows("pipelines")}
    pipelines = {pipeline_id for pipeline_id, run_id in runs_of.items() if run_id in runs}
    lost = {"pipelines": len(runs_of) - len(pipelines)}
    predictions = set()
    for table in ("chains", "predictions", "logs"):
        for row in database.rows(table):
            lost[table] = lost.get(table, 0) + (row["pipeline_id"] not in pipelines)
            if table == "predictions":
                predictions.add(row["prediction_id"])
    lost = {f"{table} whose run is gone": count for table, count in lost.items()}
    lost["arrays of predictions that were deleted"] = len(job.source.arrays.ids - predictions)
    lost["arrays of predictions that have none in nirs4all, or in a file that cannot be read"] = len(
        predictions - job.source.arrays.ids
    )
    for table in database.columns.keys() - TABLES:
        lost[f"rows of the table {table}, which this package does not know"] = sum(1 for _ in database.rows(table))
    for name in FOLDERS:
        files = [path for path in (job.source.folder / name).rglob("*") if path.is_file()]
        lost[f"files in {name}/, beside the workspace's tables"] = len(files)
    told.update({what: count for what, count in lost.items() if count})
    told.update(job.source.arrays.problems)
