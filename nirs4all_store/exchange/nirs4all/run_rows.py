"""Adds a run of nirs4all with its pipelines, predictions and log lines, as far as they are not here yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import InvalidInputError
from ...identifiers import new_id, utc_now
from ...storage import RESULT_LINKS, Base, Chain, Label, Log, Pipeline, Prediction, PredictionArrays, Run, UnitOfWork
from . import chain_rows
from .objects import Import
from .report import ImportReport
from .rows import left_over, own_row, without_best, without_zeros
from .source import ODD, Row

BEYOND_COLUMNS = "nirs4all"
"""The kind of a result that holds what a row of nirs4all says beyond our columns."""
RUNNING = "running"
ENDED = ("status", "completed_at", "error", "summary")
PIPELINE_ENDED = ("status", "completed_at", "best_val", "best_test", "metric", "duration_ms", "error")
"""What runs and pipelines say anew when they have ended."""
LASTING: dict[type[Base], tuple[str, ...]] = {
    Run: ("name",),
    Pipeline: ("run_id", "name", "dataset_name", "dataset_hash"),
    Chain: ("pipeline_id",),
    Prediction: ("pipeline_id", "fold_id", "partition", "model_name", "val_score", "test_score", "train_score"),
}
"""What of a row never changes, so that one with the same id and another value is of another workspace."""
STORED = ("y_true", "y_pred", "y_proba", "sample_indices", "weights")
DESCRIBED = ("sample_metadata", "result_metadata")


def add_run(uow: UnitOfWork, job: Import, row: Row) -> str | None:
    """Add what a run has that is not here yet; return its first pipeline, or None if it has none.

    Raises
    ------
    InvalidInputError
        A value cannot be stored, or another run has its id.
    """
    run, odd = own_row(Run, row, job.source, utc_now())
    known = uow.runs.get(run["run_id"])
    if known is None:
        add(uow, job, Run, run, row, odd)
        for told in run["datasets"] if isinstance(run["datasets"], list) else []:
            if isinstance(told, dict) and isinstance(told.get("name"), str) and "\0" not in told["name"]:
                uow.datasets.add_told(told)
    elif uow.whole_rows.others(Run, [run], LASTING[Run]):
        raise InvalidInputError(
            f"a run here has its id, and is called {known['name']!r}, not {run['name']!r}; import this one into "
            "another workspace"
        )
    elif known["status"] == RUNNING != run["status"]:  # Here nobody has said since how it ended.
        uow.whole_rows.change(Run, run["run_id"], {name: run[name] for name in ENDED})
    _link_project(uow, job, row)
    pipelines = list(job.source.database.rows("pipelines", "run_id", run["run_id"]))
    _add_pipelines(uow, job, pipelines, run)
    ids = [row["pipeline_id"] for row in pipelines]
    predictions = {one["prediction_id"]: one for one in _rows_below(job, "predictions", ids)}
    predicted = {one.get("chain_id") for one in predictions.values()}
    _tell_others(uow, job, Chain, list(_rows_below(job, "chains", ids)))
    for own, chain, told in chain_rows.of_run(uow, job, pipelines, predicted):
        add(uow, job, Chain, own, chain, chain.get(ODD), told)
    _add_predictions(uow, job, predictions, run)
    _add_logs(uow, job, ids, run)
    return ids[0] if ids else None


def add(
    uow: UnitOfWork, job: Import, model: Any, own: Row, row: Row, odd: Row | None = None, more: Row | None = None
) -> None:
    """Add a row, and beside it, as a result, what our table has no column for, or cannot hold.

    Parameters
    ----------
    uow : UnitOfWork
    job : Import
    model : type
        The mapped class.
    own, row : dict
        Our row, and theirs.
    odd : dict, optional
        Values that fit no column of ours.
    more : dict, optional
        What else is to be kept.
    """
    odd = dict(odd or {})
    try:
        key = uow.whole_rows.add(model, own)
    except InvalidInputError:
        own, misfits = uow.whole_rows.fitting(model, own)
        odd |= misfits
        key = uow.whole_rows.add(model, own)
    job.report.rows[model.__tablename__] += 1
    if odd:
        job.report.not_carried[f"values of {model.__tablename__} that fit no column, and are kept as results"] += len(
            odd
        )
    rest = left_over(model, row, odd | (more or {}))
    link = next((name for name, linked in RESULT_LINKS.items() if linked is model), None)
    if rest is not None and link is not None:
        name, created_at = model.__tablename__, own["created_at"]
        uow.results.write(BEYOND_COLUMNS, rest, {link: key}, name=name, created_at=created_at)
        job.report.rows["results"] += 1


def _tell_others(uow: UnitOfWork, job: Import, model: Any, rows: list[Row]) -> None:
    """Count rows that are here already with other values: they stay as they are here."""
    if others := uow.whole_rows.others(model, rows, LASTING[model]):
        what = f"{model.__tablename__} whose ids are here with other values, such as {min(others)}: these stay"
        job.report.not_carried[what] += len(others)


def _link_project(uow: UnitOfWork, job: Import, row: Row) -> None:
    project = row.get("project_id")
    if project and uow.whole_rows.known(Label, [project]):
        if uow.labels.link(project, "run", row["run_id"]):
            job.report.rows["label_links"] += 1
    elif project:
        job.report.not_carried[f"a project that is gone, {project}"] += 1


def _add_pipelines(uow: UnitOfWork, job: Import, rows: list[Row], run: Row) -> None:
    known = uow.whole_rows.known(Pipeline, [row["pipeline_id"] for row in rows])
    before = []
    for row in rows:
        own, odd = own_row(Pipeline, row, job.source, run["created_at"])
        own = without_best(own)
        if row["pipeline_id"] not in known:
            own["dataset_id"] = uow.datasets.of_name(own["dataset_name"], own["dataset_hash"])
            add(uow, job, Pipeline, own, row, odd)
            continue
        before.append(own)
        if (uow.runs.get_pipeline(row["pipeline_id"]) or {})["status"] == RUNNING != own["status"]:
            uow.whole_rows.change(Pipeline, row["pipeline_id"], {name: own[name] for name in PIPELINE_ENDED})
    _tell_others(uow, job, Pipeline, before)


def _rows_below(job: Import, table: str, pipeline_ids: list[str]) -> Iterator[Row]:
    for pipeline_id in pipeline_ids:
        yield from job.source.database.rows(table, "pipeline_id", pipeline_id)


def _add_predictions(uow: UnitOfWork, job: Import, rows: dict[str, Row], run: Row) -> None:
    """Add predictions, and the arrays that were not there when a prediction was imported."""
    known = uow.whole_rows.known(Prediction, rows)
    _tell_others(uow, job, Prediction, [_own_prediction(job, rows[one], run)[0] for one in known])
    wanted = rows.keys() - (uow.whole_rows.known(PredictionArrays, known) if known else set())
    chains = uow.whole_rows.known(Chain, {row["chain_id"] for row in rows.values() if row.get("chain_id")})
    n_samples = {prediction_id: row.get("n_samples") for prediction_id, row in rows.items()}
    with_arrays = set()
    for prediction_id, told in job.source.arrays.of([one for one in rows if one in wanted], n_samples):
        with_arrays.add(prediction_id)
        if prediction_id not in known:
            _add_prediction(uow, job, rows[prediction_id], told, chains, run)
        _add_arrays(uow, job, prediction_id, told)
    for prediction_id in rows.keys() - known - with_arrays:
        _add_prediction(uow, job, rows[prediction_id], {}, chains, run)


def _own_prediction(job: Import, row: Row, run: Row) -> tuple[Row, Row]:
    own, odd = own_row(Prediction, row, job.source, run["created_at"])
    return without_zeros(own), odd


def _add_prediction(uow: UnitOfWork, job: Import, row: Row, told: Row, chains: set[str], run: Row) -> None:
    own, odd = _own_prediction(job, row, run)
    more = {name: told[name] for name in DESCRIBED if name in told}
    if own["chain_id"] is not None and own["chain_id"] not in chains:
        odd["chain_id"], own["chain_id"] = own["chain_id"], None
    add(uow, job, Prediction, own, row, odd, more)


def _add_arrays(uow: UnitOfWork, job: Import, prediction_id: str, told: Row) -> None:
    stored = {name: told[name] for name in STORED if name in told}
    if stored:
        uow.whole_rows.add_arrays(prediction_id, stored)
        job.report.rows["prediction_arrays"] += 1
    for name in told.keys() & {"X", "spectra"}:
        job.report.not_carried[f"{name} of predictions: spectra belong to datasets"] += 1


def _add_logs(uow: UnitOfWork, job: Import, pipeline_ids: list[str], run: Row) -> None:
    rows = {row["log_id"]: row for row in _rows_below(job, "logs", pipeline_ids)}
    known = uow.whole_rows.known(Log, rows)
    for log_id, row in rows.items():
        if log_id not in known:
            own, odd = own_row(Log, row, job.source, run["created_at"])
            if odd or (own["details"] is not None and not isinstance(own["details"], dict)):
                own["details"] = {"details": own["details"]} | odd
            add(uow, job, Log, own, row)


def tell(uow: UnitOfWork, pipeline_id: str, told: ImportReport) -> None:
    """Write what an import has brought of a run, and what is known of its chains, into its log."""
    counts = {**told.rows, **{f"{verdict} chains": count for verdict, count in told.verdicts.items()}}
    message = f"imported from {told.source}: {', '.join(f'{count} {what}' for what, count in counts.items())}"
    details = {"rows": dict(told.rows), "chains": told.chains, "not_carried": dict(told.not_carried)}
    own = {"log_id": new_id(), "pipeline_id": pipeline_id, "step_idx": 0, "event": "import", "level": "info"}
    uow.whole_rows.add(Log, own | {"message": message, "details": details, "created_at": utc_now()})
