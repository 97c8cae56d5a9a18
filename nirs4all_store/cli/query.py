"""Commands that look: runs, pipelines, top, show, compare, log, sql."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InvalidInputError
from ..figures import draw, save
from ..store import WorkspaceStore
from ..views import brief, decoded, details_of, differences, local, predictions_of, to_json
from .output import (
    DEFAULT_WORKSPACE,
    PATH_OPTIONS,
    Csv,
    Json,
    Limit,
    Overwrite,
    Workspace,
    find,
    print_json,
    print_line,
    reading,
    refuse_output,
    show_rows,
    shown,
)
from .terminal import cell, has, put

app = typer.Typer()
Run = Annotated[str | None, typer.Argument(help="The beginning of a run's id; by default all runs.")]
STATUSES = ("running", "completed", "failed", "interrupted")
LISTED_RUNS = ("run_id", "name", "status", "created_at", "completed_at")
LISTED_PIPELINES = ("pipeline_id", "name", "status", "metric", "best_val", "best_test", "duration_ms")
LISTED_TOP = ("chain_id", "model", "preprocessings", "metric", "val", "test", "train")
LISTED_PREDICTIONS = ("prediction_id", "fold_id", "partition", "metric", "score")
LONGEST_VALUE = 60
LISTED_LOG = ("created_at", "step_idx", "operator_class", "event", "level", "duration_ms", "message")


@app.command(epilog="nirs4all-store runs --status completed --json")
def runs(
    status: Annotated[str | None, typer.Option(help="running, completed, failed or interrupted.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The name of a dataset they used.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """List the runs, newest first."""
    if status not in (None, *STATUSES):
        raise InvalidInputError(f"no run is ever {status!r}; --status takes {', '.join(STATUSES)}")
    with reading(workspace) as store:
        show_rows(store, store.list_runs(status, dataset, limit), LISTED_RUNS, as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store pipelines 01a2")
def pipelines(
    run: Run = None,
    limit: Limit = 20,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """List the pipelines, newest first."""
    with reading(workspace) as store:
        found = store.list_pipelines(find(store, run, "runs")[1] if run else None).head(limit)
        show_rows(store, found, _with_something(LISTED_PIPELINES, found), as_json=as_json, as_csv=as_csv)


def _with_something(columns: Sequence[str], frame: pl.DataFrame) -> list[str]:
    """Return the columns without the score of test data, where there are none."""
    empty = {name for name in ("test", "best_test") if name in frame.columns and frame[name].is_null().all()}
    return [name for name in columns if name not in empty]


@app.command(epilog="nirs4all-store top --metric rmse -n 5")
def top(
    run: Run = None,
    metric: Annotated[str | None, typer.Option(help="Only those ranked by it, as rmse or balanced_accuracy.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those of a dataset.")] = None,
    fold: Annotated[str, typer.Option(help="The fold: avg is all of them together, any is each.")] = "avg",
    limit: Limit = 10,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Rank the models by their validation score, best first."""
    with reading(workspace) as store:
        run_id = find(store, run, "runs")[1] if run else None
        fold_id = None if fold == "any" else fold
        try:
            found = store.top_predictions(
                limit, score_metric=metric, dataset_name=dataset, run_id=run_id, fold_id=fold_id
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{str(error).partition(';')[0]}; choose one of them with --metric") from error
        if found.is_empty():
            _refuse_what_nothing_has(store.query_predictions(partition="val", run_id=run_id), dataset, fold_id, metric)
        show_ranked(store, found, as_json=as_json, as_csv=as_csv)


def _refuse_what_nothing_has(
    predictions: pl.DataFrame, dataset: str | None, fold: str | None, metric: str | None
) -> None:
    """Name the first choice that leaves nothing to rank, and what it leaves to choose from."""
    left = predictions.filter(pl.col("val_score").is_not_nan())
    if left.is_empty():
        return
    for column, chosen, problem, takes in (
        ("dataset_name", dataset, "is of the dataset", "--dataset takes"),
        ("fold_id", fold, "has the fold", "--fold takes any,"),
        ("metric", metric, "is ranked by", "--metric takes"),
    ):
        if chosen is None:
            continue
        known = left[column].unique().sort()
        if chosen not in known:
            raise InvalidInputError(f"nothing here {problem} {chosen!r}; {takes} {', '.join(known)}")
        left = left.filter(pl.col(column) == chosen)


def show_ranked(store: WorkspaceStore, found: pl.DataFrame, *, as_json: bool, as_csv: bool) -> None:
    """Print predictions as one chooses among models."""
    scores = {f"{partition}_score": partition for partition in ("val", "test", "train")}
    rows = [decoded(row) for row in found.select("model_name", "best_params").to_dicts()]
    params = [
        ", ".join(f"{name}={clipped(repr(value))}" for name, value in (row["best_params"] or {}).items())
        for row in rows
    ]
    # With a space, at which a narrow terminal breaks it.
    models = [f"{row['model_name']}" + f" ({own})" * bool(own) for row, own in zip(rows, params, strict=True)]
    for_people = found.rename(scores).with_columns(model=pl.Series(models, dtype=pl.String))
    frame = found if as_json or as_csv else for_people
    show_rows(store, frame, _with_something(LISTED_TOP, for_people), as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store log 01a2")
def log(
    pipeline: Annotated[str, typer.Argument(help="The beginning of a pipeline's id.")],
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what each step of a pipeline did and how long it took."""
    with reading(workspace) as store:
        found = store.get_pipeline_log(find(store, pipeline, "pipelines")[1])
        show_rows(store, found, LISTED_LOG, as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store sql 'SELECT model_name, min(val_score) FROM predictions GROUP BY ALL'")
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT.")],
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Ask a question of your own; nothing can be changed."""
    with reading(workspace) as store:
        found = store.sql(query)
        show_rows(store, found, found.columns, as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store show 01a2 --plot predicted.png")
def show(
    beginning: Annotated[str, typer.Argument(metavar="ID", help="The beginning of any id.")],
    plot: Annotated[
        Path | None, typer.Option(help="Save predicted against true as a PNG or HTML file.", **PATH_OPTIONS)
    ] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show a run, pipeline, chain, prediction or artifact; of a chain or prediction also predicted against true."""
    if plot is not None:
        refuse_output(plot, workspace, overwrite=overwrite)
    with reading(workspace) as store:
        kind, name = find(store, beginning)
        found = details_of(store, kind, name)
        predictions = predictions_of(store, found) if kind == "chains" else pl.DataFrame()
        drawn = found if kind == "predictions" else None
        if predictions.height:
            drawn = store.get_prediction(predictions["prediction_id"][0], load_arrays=True)
        if as_json:
            print_json(found)
        else:
            _print_details(Console(), kind[:-1], found)
            if predictions.height:
                show_rows(store, predictions, LISTED_PREDICTIONS, as_json=False, as_csv=False)
    if drawn is not None and not as_json:
        print_picture(draw(drawn))
    if plot is not None:
        print_line(Console(stderr=as_json), f"saved {save(drawn, plot)}")


def _print_details(console: Console, kind: str, found: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(kind, "")
    for name, value in found.items():
        if hasattr(value, "shape"):
            table.add_row(name, cell(f"{value.dtype} {value.shape}"))
        elif value in (None, ""):
            continue
        elif name == "scores" and isinstance(value, dict) and all(isinstance(part, dict) for part in value.values()):
            for part, scores in value.items():
                shown_scores = ", ".join(f"{metric} {shown(score)}" for metric, score in scores.items())
                table.add_row(cell(f"scores, {part}"), cell(shown_scores))
        elif name == "error":
            table.add_row(name, Text("\n").join(map(cell, value.splitlines())))
        elif isinstance(value, dict | list) and value:
            table.add_row(name, cell(to_json(brief(value))))
        else:
            table.add_row(name, cell(str(local(value)) if isinstance(value, datetime) else shown(value)))
    console.print(table)


@app.command(epilog="nirs4all-store compare 01a2 01b7")
def compare(
    one: Annotated[str, typer.Argument(help="The beginning of an id.")],
    other: Annotated[str, typer.Argument(help="The beginning of another one of the same kind.")],
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show where two runs, pipelines, chains, predictions or artifacts differ."""
    with reading(workspace) as store:
        kind, first = find(store, one)
        second = find(store, other, kind)[1]
        rows = differences(details_of(store, kind, first), details_of(store, kind, second))
        if as_csv:
            rows = [(what, to_json(a), to_json(b)) for what, a, b in rows]
        elif not as_json:
            rows = [(what, *apart(a, b)) for what, a, b in rows]
        value = pl.Object if as_json else pl.String
        frame = pl.DataFrame(rows, schema={"what": pl.String, "one": value, "other": value}, orient="row")
        show_rows(store, frame, frame.columns, as_json=as_json, as_csv=as_csv)


def apart(one: Any, other: Any) -> tuple[str, str]:
    """Return what tells two values apart, as short as may be; of long ones, from where they differ."""
    exact = (to_json(one), to_json(other))
    short = (shown(one), shown(other))
    if short[0] != short[1] and max(map(len, short)) <= LONGEST_VALUE:
        return short
    same = next((place for place, (a, b) in enumerate(zip(*exact, strict=False)) if a != b), min(map(len, exact)))
    start = max(0, same - LONGEST_VALUE // 3)
    first, second = (("..." if start else "") + clipped(text[start:]) for text in exact)
    return first, second


def clipped(text: str) -> str:
    """Return text of a length that a table has room for."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


BOXES = str.maketrans("─│┌┐└┘┤┬├┴┼", "-|+++++++++")


def print_picture(picture: str) -> None:
    """Print what is drawn of characters: where the terminal has no lines of boxes, of simpler ones."""
    put((picture if has(picture) else picture.translate(BOXES)) + "\n")
