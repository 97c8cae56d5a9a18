"""Imports a workspace of nirs4all 0.8 or later: each run in a transaction of its own.

Why what becomes what: docs/decisions/0032.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...artifacts import Trust, sha256
from ...chains import artifact_ids, as_ids, own_chain, problem_of, with_ids, without_objects
from ...datasets import read_spectra
from ...errors import ArtifactCorruptError, ArtifactMissingError, ChainReplayError, InvalidInputError
from ...identifiers import new_id, utc_now
from ...storage import Chain, Label, Log, Pipeline, Prediction, Result, Run, UnitOfWork
from . import checking
from .objects import Import, Writing, add_lost_files, add_object, add_unused_objects
from .refits import models_below, refits_of
from .report import DOUBTFUL, FAILS, NO_FILES, NOT_CHECKED, ImportReport
from .rows import left_over, own_row, without_best, without_zeros
from .source import Row, Source, decoded, open_source

KIND = "nirs4all"
"""The kind of a result that holds what a row of nirs4all says beyond our columns."""
FAMILIES = {"conformal_results": "result_json", "tuning_results": "result_json", "robustness_results": "report_json"}
"""Their tables of results, and the column that is the document of ours."""
LINKS = {"run_id": Run, "pipeline_id": Pipeline, "chain_id": Chain, "prediction_id": Prediction}
CHANGING = ("status", "completed_at", "error", "summary")
"""What a run says anew while it goes on."""
STORED = ("y_true", "y_pred", "y_proba", "sample_indices", "weights")
DESCRIBED = ("sample_metadata", "result_metadata")


def import_workspace(
    writing: Writing,
    path: Path,
    *,
    trust: Trust,
    spectra: dict[str, Any],
    timezone: str | None,
    dry_run: bool,
    progress: Callable[[str, int, int], None],
) -> ImportReport:
    """Import a workspace; see `WorkspaceStore.import_workspace`. A dry run's `writing` keeps nothing."""
    with open_source(path, timezone) as source:
        report = ImportReport(source.folder, dry_run)
        job = Import(source, writing, trust, _arrays_of(spectra), report, _first_users(source))
        with writing() as uow:
            _add_projects(uow, job)
        runs = sorted(source.database.rows("runs"), key=lambda row: (str(row.get("created_at")), row["run_id"]))
        for number, row in enumerate(runs):
            progress(f"run {row['name']}", number, len(runs))
            with writing() as uow:
                _import_run(uow, job, row)
            if not dry_run:
                checking.check_run(job, row["run_id"])
        with writing() as uow:
            _add_results(uow, job)
            add_unused_objects(uow, job)
        _count_what_has_no_run(job, {row["run_id"] for row in runs})
        progress("done", len(runs), len(runs))
        return report


def _arrays_of(spectra: dict[str, Any]) -> dict[str, Any]:
    """Return the spectra of each dataset as one array; parts stand one below the other."""
    found = {}
    for name, given in spectra.items():
        parts = given if isinstance(given, list) and isinstance(given[0], str | Path | np.ndarray) else [given]
        found[name] = np.vstack(
            [read_spectra(Path(part)).X if isinstance(part, str | Path) else part for part in parts]
        )
    return found


def _first_users(source: Source) -> dict[str, str]:
    """Return, for each artifact, the pipeline whose chain was the first to name it."""
    found: dict[str, str] = {}
    order = [(str(row.get("created_at")), number) for number, row in enumerate(source.database.rows("chains"))]
    chains = [row for _, row in sorted(zip(order, source.database.rows("chains"), strict=True), key=lambda one: one[0])]
    for row in chains:
        named = [decoded(row.get(name)) or {} for name in ("fold_artifacts", "shared_artifacts")]
        for entries in named:
            for key, entry in entries.items():
                for artifact_id in as_ids(entry) if not key.startswith("_") else []:
                    found.setdefault(artifact_id, row["pipeline_id"])
    return found


def _add_projects(uow: UnitOfWork, job: Import) -> None:
    rows = list(job.source.database.rows("projects"))
    known = uow.whole_rows.known(Label, [row["project_id"] for row in rows])
    for row in rows:
        if row["project_id"] not in known:
            told = {"label_id": row["project_id"], "kind": "project", "name": row["name"]}
            told |= {name: row.get(name) for name in ("description", "color")}
            made = job.source.time(row.get("created_at")) or utc_now()
            changed = job.source.time(row.get("updated_at")) or made
            uow.whole_rows.add(Label, told | {"created_at": made, "updated_at": changed})
            job.report.rows["labels"] += 1


def _import_run(uow: UnitOfWork, job: Import, row: Row) -> None:
    """Add what a run has that is not here yet."""
    before = job.report.rows.copy()
    run = own_row(Run, row, job.source, utc_now())
    known = uow.runs.get(run["run_id"])
    if known is None:
        _add(uow, job, Run, run, row)
        _link_project(uow, job, row)
        for told in run["datasets"] or []:
            if isinstance(told, dict) and isinstance(told.get("name"), str):
                uow.datasets.add_told(told)
    elif changed := {name: run[name] for name in CHANGING if run[name] != known[name]}:
        uow.whole_rows.change(Run, run["run_id"], changed)
    pipelines = list(job.source.database.rows("pipelines", "run_id", run["run_id"]))
    _add_pipelines(uow, job, pipelines, run)
    chains = {row["pipeline_id"]: job.source.chains_of(row["pipeline_id"]) for row in pipelines}
    _add_chains(uow, job, pipelines, chains)
    _add_predictions(uow, job, [row["pipeline_id"] for row in pipelines], run)
    _add_logs(uow, job, [row["pipeline_id"] for row in pipelines], run)
    added = job.report.rows - before
    if added:
        job.report.runs.append(run["run_id"])
    if added and pipelines:
        _tell(uow, pipelines[0]["pipeline_id"], job, added)


def _add(uow: UnitOfWork, job: Import, model: Any, own: Row, row: Row, more: Row | None = None) -> None:
    """Add a row, and beside it, as a result, what our table has no column for."""
    key = uow.whole_rows.add(model, own)
    job.report.rows[model.__tablename__] += 1
    rest = left_over(model, row, more)
    link = next((name for name, linked in LINKS.items() if linked is model), None)
    if rest is not None and link is not None:
        told = {"result_id": new_id(), "kind": KIND, "name": model.__tablename__, link: key, "document": rest}
        uow.whole_rows.add(Result, told | {"fingerprint": sha256(rest.encode()), "created_at": own["created_at"]})
        job.report.rows["results"] += 1


def _link_project(uow: UnitOfWork, job: Import, row: Row) -> None:
    project = row.get("project_id")
    if project and uow.whole_rows.known(Label, [project]):
        uow.labels.link(project, "run", row["run_id"])
        job.report.rows["label_links"] += 1
    elif project:
        job.report.not_carried[f"a project that is gone, {project}"] += 1


def _add_pipelines(uow: UnitOfWork, job: Import, rows: list[Row], run: Row) -> None:
    known = uow.whole_rows.known(Pipeline, [row["pipeline_id"] for row in rows])
    for row in rows:
        own = without_best(own_row(Pipeline, row, job.source, run["created_at"]))
        if row["pipeline_id"] not in known:
            own["dataset_id"] = uow.datasets.of_name(own["dataset_name"], own["dataset_hash"])
            _add(uow, job, Pipeline, own, row)
        elif own["status"] != (uow.runs.get_pipeline(row["pipeline_id"]) or {})["status"]:
            ended = ("status", "completed_at", "best_val", "best_test", "metric", "duration_ms", "error")
            uow.whole_rows.change(Pipeline, row["pipeline_id"], {name: own[name] for name in ended})


def _add_chains(uow: UnitOfWork, job: Import, pipelines: list[Row], chains: dict[str, list[Row]]) -> None:
    """Add the chains of a run, with the objects that they name."""
    known = uow.whole_rows.known(Chain, [row["chain_id"] for rows in chains.values() for row in rows])
    refits = refits_of(pipelines, chains, job.source.artifacts)
    contents: dict[str, bytes] = {}
    ids: dict[str, str] = {}
    add_artifact = partial(add_object, uow, job, contents, ids)
    for pipeline in pipelines:
        for row in chains[pipeline["pipeline_id"]]:
            if row["chain_id"] not in known:
                own, told = _translated(job, row, models_below(row, chains, refits), pipeline, add_artifact)
                if told["verdict"] == DOUBTFUL:
                    own["attachments"] = _perhaps_its_own(uow, job, contents, own)
                made = (
                    job.source.time(row.get("created_at")) or job.source.time(pipeline.get("created_at")) or utc_now()
                )
                own |= {"refit_of": refits.get(row["chain_id"]), "verification": told, "created_at": made}
                _add(uow, job, Chain, own, row, _as_it_was(row) if told["verdict"] in (NO_FILES, FAILS) else None)
                uow.artifacts.claim(artifact_ids(own))
                job.report.chains[row["chain_id"]] = told
    if not job.report.is_dry_run:
        uow.blobs.put_many(contents)


def _as_it_was(row: Row) -> Row:
    """Return what nirs4all says of the objects of a chain that has none here."""
    return {f"nirs4all_{name}": row.get(name) for name in ("steps", "fold_artifacts", "shared_artifacts")}


def _translated(
    job: Import, row: Row, below: list[Row] | None, pipeline: Row, add: Callable[[str], str]
) -> tuple[Row, Row]:
    """Return the row of a chain, with its objects as far as these are there, and what is told of its replay."""
    named = {"chain_id": row["chain_id"], "pipeline_id": row["pipeline_id"], "attachments": None}
    described = {name: row.get(name) for name in ("branch_path", "source_index", "preprocessings", "fold_strategy")}
    described["model_class"] = row.get("model_class") or row.get("model_name") or ""
    bare = {"steps": _bare_steps(row), "model_step_idx": row.get("model_step_idx") or 0}
    nothing = named | described | bare | without_objects(bare)
    if not (row.get("fold_artifacts") or row.get("shared_artifacts")):
        return nothing, {"verdict": NO_FILES, "reason": "nirs4all kept no fitted objects of it"}
    try:
        own = named | own_chain(row, job.source.artifacts, below, decoded(pipeline.get("expanded_config")))
    except ChainReplayError as error:
        return nothing, {"verdict": FAILS, "reason": str(error)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # A row that nirs4all never writes.
        return nothing, {"verdict": FAILS, "reason": f"its steps are not understood: {error!r:.300}"}
    ids, missing = _ids_of(own, add)
    own = _without_folds(own, missing)
    if missing.keys() & {*artifact_ids(own)} or not own["fold_artifacts"]:
        return nothing | without_objects(own), {"verdict": NO_FILES, "reason": _shortly([*missing.values()])}
    own = with_ids(own, ids)
    problem = problem_of(own)
    if problem:
        return nothing, {"verdict": FAILS, "reason": problem}
    is_doubtful = any(job.first_users.get(item, row["pipeline_id"]) != row["pipeline_id"] for item in ids)
    return own, {"verdict": DOUBTFUL if is_doubtful else NOT_CHECKED}


def _shortly(reasons: list[str]) -> str:
    return reasons[0] + (f", and {len(reasons) - 1} more" if len(reasons) > 1 else "")


def _perhaps_its_own(uow: UnitOfWork, job: Import, contents: dict[str, bytes], own: Row) -> Row | None:
    """Return the lost files that may be those of a chain, which keeps them until it is verified."""
    rows = uow.artifacts.get_many(artifact_ids(own)).values()
    lost = add_lost_files(uow, job, contents, {(row["artifact_type"], row["operator_class"]) for row in rows})
    return {f"perhaps its own {number}": item for number, item in enumerate(dict.fromkeys(lost), 1)} or None


def _bare_steps(row: Row) -> list[Row]:
    steps = row.get("steps") if isinstance(row.get("steps"), list) else []
    return [
        {"step_idx": step.get("step_idx") or 0, "operator_class": step.get("operator_class"), "params": {}}
        for step in steps or []
        if isinstance(step, dict)
    ]


def _ids_of(own: Row, add: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return our ids of the artifacts that a chain names, and why others are not there."""
    ids, missing = {}, {}
    for artifact_id in artifact_ids(own):
        try:
            ids[artifact_id] = add(artifact_id)
        except (ArtifactMissingError, ArtifactCorruptError, InvalidInputError) as error:
            missing[artifact_id] = str(error)
    return ids, missing


def _without_folds(own: Row, missing: Iterable[str]) -> Row:
    """Return a chain without the folds whose model is gone: the others still predict."""
    gone = {*missing}
    folds = {fold: entry for fold, entry in own["fold_artifacts"].items() if not gone & {*as_ids(entry)}}
    if own["predict_fold"] is not None and own["predict_fold"] not in folds:
        folds = {}
    return own | {"fold_artifacts": folds}


def _add_predictions(uow: UnitOfWork, job: Import, pipeline_ids: list[str], run: Row) -> None:
    rows = {row["prediction_id"]: row for row in _rows_below(job, "predictions", pipeline_ids)}
    for prediction_id in uow.whole_rows.known(Prediction, rows):
        del rows[prediction_id]
    chains = uow.whole_rows.known(Chain, {row["chain_id"] for row in rows.values() if row.get("chain_id")})
    n_samples = {prediction_id: row.get("n_samples") for prediction_id, row in rows.items()}
    for prediction_id, told in job.source.arrays.of(rows, n_samples):
        _add_prediction(uow, job, rows.pop(prediction_id), told, chains, run)
    for row in rows.values():
        _add_prediction(uow, job, row, {}, chains, run)


def _rows_below(job: Import, table: str, pipeline_ids: list[str]) -> Iterator[Row]:
    for pipeline_id in pipeline_ids:
        yield from job.source.database.rows(table, "pipeline_id", pipeline_id)


def _add_prediction(uow: UnitOfWork, job: Import, row: Row, told: Row, chains: set[str], run: Row) -> None:
    """Add a prediction, and its arrays as far as it has some."""
    own = without_zeros(own_row(Prediction, row, job.source, run["created_at"]))
    more = {name: told[name] for name in DESCRIBED if name in told}
    if own["chain_id"] is not None and own["chain_id"] not in chains:
        more["chain_id"], own["chain_id"] = own["chain_id"], None
    _add(uow, job, Prediction, own, row, more)
    stored = {name: told[name] for name in STORED if name in told}
    if stored:
        uow.whole_rows.add_arrays(own["prediction_id"], stored)
        job.report.rows["prediction_arrays"] += 1
    for name in told.keys() & {"X", "spectra"}:
        job.report.not_carried[f"{name} of predictions: spectra belong to datasets"] += 1


def _add_logs(uow: UnitOfWork, job: Import, pipeline_ids: list[str], run: Row) -> None:
    rows = {row["log_id"]: row for row in _rows_below(job, "logs", pipeline_ids)}
    known = uow.whole_rows.known(Log, rows)
    for log_id, row in rows.items():
        if log_id not in known:
            own = own_row(Log, row, job.source, run["created_at"])
            if own["details"] is not None and not isinstance(own["details"], dict):
                own["details"] = {"details": own["details"]}
            _add(uow, job, Log, own, row)


def _tell(uow: UnitOfWork, pipeline_id: str, job: Import, added: Counter[str]) -> None:
    """Write the report of a run into its log."""
    message = f"imported from {job.source.folder}: {', '.join(f'{count} {table}' for table, count in added.items())}"
    own = {"log_id": new_id(), "pipeline_id": pipeline_id, "step_idx": 0, "event": "import", "level": "info"}
    uow.whole_rows.add(Log, own | {"message": message, "details": {"rows": dict(added)}, "created_at": utc_now()})


def _add_results(uow: UnitOfWork, job: Import) -> None:
    """Add calibrations, searches and tests of robustness; each document stays as it is, character by character."""
    for table, document in FAMILIES.items():
        rows = list(job.source.database.rows(table))
        key = next(iter(job.source.database.columns.get(table, ["id"])))
        known = uow.whole_rows.known(Result, [row[key] for row in rows])
        for row in rows:
            if row[key] in known:
                continue
            links = {name: row.get(name) for name in LINKS}
            there = {
                name: value for name, value in links.items() if value and uow.whole_rows.known(LINKS[name], [value])
            }
            text = row.get(document) or ""
            own = {
                "result_id": row[key],
                "kind": table.removesuffix("_results"),
                "name": row.get("name"),
                "fingerprint": sha256(text.encode()),
                "document": text,
                "details": {name: value for name, value in row.items() if name not in (document, "created_at")},
                "created_at": job.source.time(row.get("created_at")) or utc_now(),
            }
            uow.whole_rows.add(Result, own | there)
            job.report.rows["results"] += 1


def _count_what_has_no_run(job: Import, runs: set[str]) -> None:
    """Say what hangs on nothing: rows whose run or pipeline is gone, arrays whose prediction is gone."""
    database, told = job.source.database, job.report.not_carried
    pipelines = {row["pipeline_id"] for row in database.rows("pipelines") if row["run_id"] in runs}
    lost = {"pipelines": sum(row["run_id"] not in runs for row in database.rows("pipelines"))}
    predictions = set()
    for table in ("chains", "predictions", "logs"):
        for row in database.rows(table):
            lost[table] = lost.get(table, 0) + (row["pipeline_id"] not in pipelines)
            if table == "predictions":
                predictions.add(row["prediction_id"])
    told.update({f"{table} whose run is gone": count for table, count in lost.items() if count})
    orphans = len(job.source.arrays.ids - predictions)
    if orphans:
        told["arrays of predictions that were deleted"] += orphans
    empty = sum(1 for prediction_id in predictions if prediction_id not in job.source.arrays.ids)
    if empty:
        told["predictions without arrays: there are none"] += empty
