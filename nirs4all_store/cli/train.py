"""The commands that train: demo and run.

What takes long to import is imported inside the commands: others, and `--help`, do not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .. import views
from ..errors import UsageError
from .data_options import (
    Data,
    Groups,
    Join,
    References,
    Sample,
    Split,
    Target,
    Test,
    Unit,
    Weights,
    given_parts,
)
from .output import (
    DEFAULT_WORKSPACE,
    MIN_ID_LENGTH,
    WORKSPACE_OPTIONS,
    Average,
    Csv,
    Json,
    Workspace,
    print_error,
    print_line,
    show_rankings,
)
from .predict import count_of_missing

if TYPE_CHECKING:
    from ..datasets import TrainingData
    from ..store import WorkspaceStore

app = typer.Typer()
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended, by the convention of shells (128 + SIGINT)."""
MOST_LEFT_OUT = 20


@app.command(epilog="nirs4all-store demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="The workspace to create or add to.", **WORKSPACE_OPTIONS)] = Path(
        "nirs4all-demo"
    ),
) -> None:
    """Train on real spectra, rank, predict, export and delete, and show what each step does."""
    try:
        from .demo import Demo
    except ModuleNotFoundError as error:
        print_error(f"the demo needs {error.name}: pip install 'nirs4all-store[demo]'")
        raise typer.Exit(1) from error
    Demo(folder, Console()).run()


@app.command(epilog="nirs4all-store run pls.yaml wheat.csv --target protein")
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A JSON or YAML file, or a template's name.")],
    data: Data,
    target: Target = None,
    unit: Unit = None,
    groups: Groups = None,
    weights: Weights = None,
    sample: Sample = None,
    test: Test = None,
    split: Split = None,
    y: References = None,
    join: Join = None,
    name: Annotated[str | None, typer.Option(help="The run's name; by default that of the file.")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="How many pipelines to train at once; -1: one for each core.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Do not train pipelines again that the workspace has.")
    ] = False,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Fit a final model on all samples, which then predicts.")
    ] = True,
    keep: Annotated[
        str, typer.Option(help="Whose fitted objects to store: all, final (the final model's alone) or folds.")
    ] = "all",
    keep_spectra: Annotated[
        bool, typer.Option("--keep-spectra", help="Keep the spectra in the workspace, too.")
    ] = False,
    weighted_scores: Annotated[
        bool, typer.Option("--weighted-scores", help="Let the weights of samples count in the scores, too.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take over transformers that were fitted alike before.")
    ] = True,
    average: Average = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the best models to show.")] = 10,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Train all pipelines of a configuration, store them, and rank them.

    Without a cross-validator in the configuration, each is validated on five shuffled folds, always the same ones; with
    --groups, samples of a group stay in one fold. Then a final model is fitted on all samples.
    """
    from ..chains import check_average
    from ..datasets import read_dataset, samples_of
    from ..store import WorkspaceStore
    from ..training import PipelineLibrary, PipelineRunner, find_config, line_of_refusals, pipelines_of

    if data.suffix.lower() in (".yaml", ".yml", ".json"):
        raise UsageError(f"{data} is no data by its name: the configuration comes first, as in `run {data} {config}`")
    parts = {"y": y, "unit": unit, "groups": groups, "join": join, "weights": weights, "sample": sample}
    dataset = read_dataset(given_parts(data, **parts, test=test, split=split), target)
    if average is not None:
        check_average(samples_of(dataset), average)
    # A wrong configuration is refused before a workspace is made.
    steps = find_config(config, PipelineLibrary(workspace).load_template)
    pipelines = pipelines_of(steps)
    with WorkspaceStore(workspace) as store:
        runner = PipelineRunner(store, n_jobs=jobs)
        _tell(dataset)
        refused = line_of_refusals(pipelines, dataset)
        print_line(Console(stderr=True), *([] if refused is None else [refused]))
        try:
            found = runner.run(
                steps,
                dataset,
                name=name,
                resume=resume,
                refit=refit,
                keep=keep,
                keep_spectra=keep_spectra,
                weighted_scores=weighted_scores,
                cache=cache,
            )
        except KeyboardInterrupt:
            print_error("interrupted; every pipeline that was finished is stored, and --resume goes on with the others")
            raise typer.Exit(INTERRUPTED) from None
        if runner.run_id is None:
            print_line(Console(stderr=True), "nothing was trained: the workspace has all of these pipelines")
        print_line(Console(stderr=True), *views.lines_of_left_out(found, dataset))
        best = views.list_rankings(store, views.held_out(found), average, limit)
        show_rankings(store, best, as_json=as_json, as_csv=as_csv)
        if runner.run_id is not None:
            _tell_failures(store, runner.run_id)


def _tell_failures(store: WorkspaceStore, run_id: str) -> None:
    """Print how many pipelines of a run have failed, and how to see why."""
    pipelines = store.list_pipelines(run_id)
    failed = pipelines.filter(status="failed")["pipeline_id"].to_list()
    if failed:
        short = store.shorten_ids([run_id, failed[-1]], MIN_ID_LENGTH)
        print_error(
            f"{len(failed):,} of {pipelines.height:,} pipelines failed; `nirs4all-store show {short[failed[-1]]}` says "
            f"why the first did, `nirs4all-store pipelines {short[run_id]} -n {pipelines.height}` which they are"
        )


def _tell(dataset: TrainingData) -> None:
    """Print which samples and columns are used, since they may not be those that the user expects."""
    columns = dataset.columns or [""]
    test = "" if dataset.X_test is None else f", {len(dataset.X_test):,} to test with"
    left_out = [(dataset.excluded, ""), (dataset.excluded_test, " to test with")]
    told = [f"{count_of_missing(count)}{purpose}" for count, purpose in left_out if count]
    without = f", without {' and '.join(told)}" if told else ""
    lines = [
        f"{dataset.name}: {len(dataset.X):,} samples{test}, {len(columns):,} columns of X from {columns[0]} to "
        f"{columns[-1]}{without}"
    ]
    if dataset.metadata is not None:
        names = dataset.metadata.columns
        more = "" if len(names) <= MOST_LEFT_OUT else f" and {len(names) - MOST_LEFT_OUT} more"
        lines.append(f"left out: {', '.join(names[:MOST_LEFT_OUT])}{more}")
    for line in lines:
        print_line(Console(stderr=True), line)
