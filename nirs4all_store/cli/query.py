"""The commands that only read: runs, datasets, pipelines, top, show, compare, log, sql."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .. import views
from ..errors import InvalidInputError, UsageError
from . import completion, tables
from .output import (
    ANY_ID,
    CHAIN_WORDS,
    DEFAULT_WORKSPACE,
    MIN_ID_LENGTH,
    PATH_OPTIONS,
    RUN_ID,
    Average,
    Csv,
    Json,
    Limit,
    Overwrite,
    Workspace,
    find,
    parse_path,
    print_details,
    print_json,
    print_line,
    print_rows,
    reading,
    refuse_output,
    show_rankings,
    show_rows,
)
from .terminal import cell, has, put

if TYPE_CHECKING:
    import polars as pl

    from ..views import Details

app = typer.Typer()
Run = Annotated[
    str | None,
    typer.Argument(metavar="RUN", autocompletion=completion.runs, help=f"{RUN_ID}; by default all runs."),
]
STATUSES = ("running", "completed", "failed", "interrupted")
CHOICES = {
    "dataset_name": ("is of the dataset", "--dataset takes"),
    "fold_id": ("has the fold", "--fold takes any,"),
    "metric": ("is ranked by", "--metric takes"),
}
"""The words of the error if no prediction matches an option, by the option's column."""
BOXES = str.maketrans("─│┌┐└┘┤┬├┴┼", "-|+++++++++")
"""ASCII characters for a terminal that cannot show the lines of boxes."""


@app.command(epilog="nirs4all-store runs --status completed --json")
def runs(
    status: Annotated[str | None, typer.Option(help="running, completed, failed or interrupted.")] = None,
    dataset: Annotated[
        str | None, typer.Option(autocompletion=completion.datasets, help="Only runs with a dataset of this name.")
    ] = None,
    limit: Limit = 20,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """List the runs, newest first."""
    _check_status(status, "run")
    with reading(workspace) as store:
        show_rows(store, views.list_runs(store, status, dataset, limit), as_json=as_json, as_csv=as_csv)


def _check_status(status: str | None, what: str) -> None:
    if status not in (None, *STATUSES):
        raise UsageError(f"no {what} is ever {status!r}; --status takes {', '.join(STATUSES)}")


@app.command(epilog="nirs4all-store datasets --json")
def datasets(
    limit: Limit = 20, as_json: Json = False, as_csv: Csv = False, workspace: Workspace = DEFAULT_WORKSPACE
) -> None:
    """List the datasets, newest first: what they are of, and how much there is."""
    with reading(workspace) as store:
        show_rows(store, views.list_datasets(store, limit), as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store pipelines last")
def pipelines(
    run: Run = None,
    status: Annotated[str | None, typer.Option(help="running, completed, failed or interrupted.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """List the pipelines, newest first; of those that failed, why."""
    _check_status(status, "pipeline")
    with reading(workspace) as store:
        run_id = None if run is None else find(store, run, "runs")[1]
        show_rows(store, views.list_pipelines(store, run_id, limit, status), as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store top --metric rpd --partition test -n 5")
def top(
    run: Run = None,
    metric: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.metrics,
            help="What to rank by: rmse, mae, r2, bias, sep, rpd, rpiq or slope; accuracy, balanced_accuracy, f1, mcc, "
            "roc_auc or log_loss; rmsec, rmsecv or rmsep. By default the score that models were trained for.",
        ),
    ] = None,
    partition: Annotated[
        str, typer.Option(help="Whose predictions to rank by: val (held out in cross-validation), test or train.")
    ] = "val",
    target: Annotated[str | None, typer.Option(help="The target to rank by, where models predict several.")] = None,
    dataset: Annotated[
        str | None, typer.Option(autocompletion=completion.datasets, help="Only models of this dataset.")
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            help="The fold: avg for all folds together, any for each of them. By default avg; of test and train the "
            "final model, where there is one."
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also show models that were trained again with the same configuration.")
    ] = False,
    average: Average = None,
    limit: Limit = 10,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Rank the models, best first; what other data or folds have judged is ranked apart."""
    from ..datasets import PARTITIONS

    if partition not in PARTITIONS:
        raise UsageError(f"no partition is ever {partition!r}; --partition takes {', '.join(PARTITIONS)}")
    with reading(workspace) as store:
        run_id = None if run is None else find(store, run, "runs")[1]
        filters = {"dataset_name": dataset, "run_id": run_id, "target": target}

        def ranked(count: int) -> pl.DataFrame:
            return views.rank(store, count, metric, partition, fold, once=not all_, **filters)

        try:
            found = ranked(limit)
        except InvalidInputError as error:
            views.refuse_without_scores(store, metric, partition, run_id=run_id, dataset_name=dataset)
            problem, _, advice = str(error).partition(";")
            if "target=" in advice:
                raise InvalidInputError(f"{problem};{advice.replace('target=', '--target')}") from error
            raise InvalidInputError(
                f"{problem}; choose one of them with --metric, or name a run, as in `top last`"
            ) from error
        if found.is_empty():
            wanted = {"dataset_name": dataset, "fold_id": None if fold == "any" else fold, "metric": metric}
            rows = store.query_predictions(partition=partition, run_id=run_id)
            views.refuse_without_scores(store, metric, partition, run_id=run_id, dataset_name=dataset)
            _refuse_unmatched(rows, wanted, f"{partition}_score")
        best = views.list_rankings(store, found, average, limit, ranked, target, metric)
        show_rankings(store, best, as_json=as_json, as_csv=as_csv)


def _refuse_unmatched(predictions: pl.DataFrame, wanted: dict[str, str | None], score: str) -> None:
    """Raise an error that names the first option which no prediction matches, and the values that it could have."""
    unmatched = views.first_unmatched(predictions, wanted, score)
    if unmatched is not None:
        column, known = unmatched
        problem, takes = CHOICES[column]
        raise InvalidInputError(f"nothing here {problem} {wanted[column]!r}; {takes} {', '.join(known)}")


@app.command(epilog="nirs4all-store log best")
def log(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.pipelines,
            help=f"By a part of its id, or as its chain: {CHAIN_WORDS}.",
        ),
    ],
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what each step of a pipeline did and how long it took."""
    with reading(workspace) as store:
        pipeline_id = find(store, pipeline, "pipelines")[1]
        show_rows(store, views.list_log(store, pipeline_id), as_json=as_json, as_csv=as_csv)


@app.command(
    epilog="nirs4all-store sql "
    "\"SELECT model_name, min(val_score) FROM predictions WHERE fold_id = 'avg' GROUP BY ALL\""
)
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT.")],
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Run a query (one SELECT) and print its rows; nothing can be changed."""
    with reading(workspace) as store:
        show_rows(store, views.Listing.of(store.sql(query)), as_json=as_json, as_csv=as_csv)


@app.command(epilog="nirs4all-store show best --plot predicted.png")
def show(
    beginning: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.anything,
            help=f"{ANY_ID}; a bundle by its path.",
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(help="Save predicted against measured as a PNG, SVG, PDF or HTML file.", **PATH_OPTIONS),
    ] = None,
    overwrite: Overwrite = False,
    average: Average = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Of what failed, print where, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show a run, dataset, pipeline, chain, prediction, artifact or bundle: first the answer in one line, ids last.

    For a chain or prediction, a picture shows the predicted against the measured values.
    """
    from ..figures import check_figure, save

    if plot is not None:
        refuse_output(plot, workspace, overwrite=overwrite)
        try:
            check_figure(plot)
        except InvalidInputError as error:
            raise UsageError(str(error)) from error
    if beginning.lower().endswith(".n4a"):
        _print_shown(views.show_bundle(parse_path(beginning)), {}, as_json=as_json)
        return
    with reading(workspace) as store:
        kind, name = find(store, beginning)
        found = views.show(store, kind, name, average)
        if plot is not None:  # Before anything is printed.
            save(found.drawn and views.drawing_of(store, found.drawn), plot)
        short = store.shorten_ids(found.rows.ids, MIN_ID_LENGTH)
        _print_shown(found, short, as_json=as_json, traceback=traceback)
    if plot is not None:
        print_line(Console(stderr=as_json), f"saved {plot}")


def _print_shown(found: Details, short: dict[str, str], *, as_json: bool, traceback: bool = False) -> None:
    from ..figures import draw

    if as_json:
        print_json(found.values)
        return
    console = Console()
    answer = tables.broken_at(console.width, cell(found.answer)) if console.is_terminal else [found.answer]
    print_line(console, *answer, style="bold")
    if found.drawn is not None:
        picture = draw(found.drawn)
        put((picture if has(picture) else picture.translate(BOXES)) + "\n")
    if found.rows.rows.height:
        print_rows(found.rows, short, as_json=False, as_csv=False)
    print_details(views.lines_of(found.values, traceback=traceback))


@app.command(epilog="nirs4all-store compare best @2")
def compare(
    one: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=completion.anything,
            help=f"{ANY_ID}.",
        ),
    ],
    other: Annotated[
        str, typer.Argument(metavar="OTHER", autocompletion=completion.anything, help="Another one of the same kind.")
    ],
    ids: Annotated[
        bool, typer.Option("--ids", help="Of runs and chains also compare ids, times and artifacts.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show where two runs, datasets, pipelines, chains, predictions or artifacts differ.

    Of chains: scores, fold by fold, the steps that differ, and whether their errors for the same samples do. Of runs:
    the scores of their best models, and whether the errors of these differ.
    """
    with reading(workspace) as store:
        kind, first = find(store, one)
        second = find(store, other, kind)[1]
        if kind == "chains" and first != second:
            found = views.compare_chains(store, first, second, ids=ids)
        elif kind == "runs" and first != second:
            found = views.compare_runs(store, first, second, ids=ids)
        else:
            found = views.compare(store, kind, first, second)
        show_rows(store, found, as_json=as_json, as_csv=as_csv)
