"""Commands that do the work: demo, run, predict, export, import.

What needs scikit-learn is imported by the commands that need it: that takes longer than the others run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console

from ..chains.training_columns import TrainedOn
from ..datasets.dataset import AVERAGE, PARTITIONS, Dataset, read_dataset
from ..datasets.input_checks import FROM_0
from ..datasets.spectra_columns import Spectra
from ..errors import ChainInputError, InvalidInputError
from ..filesystem.atomic_files import identity, whole_file, with_suffix_added
from ..store import WorkspaceStore
from ..training.config_files import find_config
from ..training.template_library import PipelineLibrary
from .output import (
    DEFAULT_WORKSPACE,
    GIVEN,
    LEAST_ID,
    Csv,
    Json,
    Overwrite,
    Workspace,
    complain,
    find,
    print_csv,
    reading,
    refuse_output,
    say,
)
from .query import show_ranked

app = typer.Typer()

ENDINGS = {"chains": (".n4a", ".n4a.py"), "pipelines": (".json",), "runs": (".yaml", ".parquet")}
INTERRUPTED = 130
"""The exit code of what Ctrl-C has ended, as shells have it."""

Target = Annotated[list[str] | None, typer.Option("--target", "-t", help="The column of y; again for several.")]
Trusted = Annotated[bool, typer.Option("--trusted", help="You trust whoever made it: its objects may run code.")]


@app.command(epilog="nirs4all-store demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="The workspace to create or add to.", **GIVEN)] = Path("nirs4all-demo"),
) -> None:
    """Train on real spectra, rank, replay, export, delete and collect, telling what each step did."""
    try:
        from .demo import Demo
    except ModuleNotFoundError as error:
        complain(f"the demo needs {error.name}: pip install 'nirs4all-store[demo]'")
        raise typer.Exit(1) from error
    Demo(folder, Console()).run()


@app.command(epilog="nirs4all-store run pls.yaml wheat.csv --target protein")
def run(
    config: Annotated[str, typer.Argument(help="A JSON or YAML file, or a template's name.")],
    data: Annotated[Path, typer.Argument(help="A CSV or Parquet file of spectra, a row a sample.", **GIVEN)],
    target: Target = None,
    name: Annotated[str | None, typer.Option(help="The run's name; by default the file's.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="How many pipelines side by side; -1 for all cores.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what the workspace has already.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the best to show.")] = 10,
    as_json: Json = False,
    as_csv: Csv = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Train every pipeline of a configuration and rank them."""
    from ..training.pipeline_config import pipelines_of
    from ..training.runner import PipelineRunner

    dataset = read_dataset(data, target)
    # What is wrong with it is said before a workspace is made.
    steps = find_config(config, PipelineLibrary(workspace).load_template)
    pipelines_of(steps)
    with WorkspaceStore(workspace) as store:
        runner = PipelineRunner(store, n_jobs=jobs)
        _tell(dataset)
        try:
            found = runner.run(steps, dataset, name=name, resume=resume)
        except KeyboardInterrupt:
            complain("interrupted; every pipeline that was finished is stored, and --resume goes on with the others")
            raise typer.Exit(INTERRUPTED) from None
        best = found.filter(pl.col("fold_id") == AVERAGE, pl.col("partition") == PARTITIONS[0]).head(limit)
        show_ranked(store, best, as_json=as_json, as_csv=as_csv)
        if runner.run_id is not None:
            _tell_failures(store, runner.run_id)


def _tell_failures(store: WorkspaceStore, run_id: str) -> None:
    """Say how many pipelines of a run are not among those ranked, and how to see why."""
    pipelines = store.list_pipelines(run_id)
    failed = pipelines.filter(pl.col("status") == "failed")["pipeline_id"].to_list()
    if failed:
        short = store.shorten_ids([run_id, failed[-1]], LEAST_ID)
        complain(
            f"{len(failed):,} of {pipelines.height:,} pipelines failed; `nirs4all-store show {short[failed[-1]]}` says "
            f"why the first did, `nirs4all-store pipelines {short[run_id]} -n {pipelines.height}` which they are"
        )


def _tell(dataset: Dataset) -> None:
    """Say what is trained on, since it may not be what one thinks."""
    columns = dataset.columns or [""]
    left_out = f", without {_rows(dataset.excluded)}" if dataset.excluded else ""
    line = (
        f"{dataset.name}: {len(dataset.X):,} samples, {len(columns):,} columns of X from {columns[0]} to {columns[-1]}"
    )
    say(Console(stderr=True), f"{line}{left_out}")


@app.command(epilog="nirs4all-store predict 01a2 new.csv -o predicted.csv")
def predict(
    chain: Annotated[str, typer.Argument(help="The beginning of a chain's id, or a bundle's path.")],
    data: Annotated[Path, typer.Argument(help="A CSV, Parquet or NPY file of spectra, a row a sample.", **GIVEN)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A CSV or Parquet file; else printed.", **GIVEN)
    ] = None,
    overwrite: Overwrite = False,
    trusted: Trusted = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Predict new spectra with a stored chain or with a bundle; columns that are no spectra stand before it."""
    if output is not None:
        refuse_output(output, workspace, overwrite=overwrite)
        if identity(output) is not None and identity(output) == identity(data):
            raise InvalidInputError(f"{output} has the spectra themselves; give the predictions another name")
        if output.suffix.lower() not in (".csv", ".parquet"):
            raise InvalidInputError(f"{output} says neither CSV nor Parquet; give a name that ends in .csv or .parquet")
    if chain.lower().endswith(".n4a"):
        from ..exchange.bundle_writer import inspect_bundle, load_bundle

        model = load_bundle(chain, trusted=trusted)
        spectra = TrainedOn.of(inspect_bundle(chain).chain).read(data)
        frame = _predicted(lambda X: model.predict(X, spectra.wavelengths), spectra)
    else:
        with reading(workspace) as store:
            chain_id = find(store, chain, "chains")[1]
            spectra = TrainedOn.of(store.get_chain(chain_id) or {}).read(data)
            frame = _predicted(lambda X: store.replay_chain(chain_id, X, spectra.wavelengths), spectra)
    if output is None:
        print_csv(frame)
        return
    with whole_file(output) as unfinished:
        (frame.write_csv if output.suffix.lower() == ".csv" else frame.write_parquet)(unfinished)
    say(Console(stderr=True), f"wrote {frame.height:,} predictions to {output}")


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'} with a missing value"


def _predicted(predict: Callable[[Any], Any], spectra: Spectra) -> pl.DataFrame:
    """Predict each row that has all its values; of the others there is nothing."""
    X = spectra.X
    whole = ~np.isnan(X).any(axis=1)
    if not whole.any():
        raise InvalidInputError(f"every one of the {len(X)} rows has a missing value")
    if not whole.all():
        complain(f"no prediction for {_rows(int(np.sum(~whole)))}")
    try:
        columns = np.atleast_2d(predict(X if whole.all() else X[whole]).T)
    except ChainInputError as error:
        row = getattr(error.__cause__, "row", None)
        if row is None or whole.all():
            raise
        raise ChainInputError(f"{error}; in the file that is row {np.flatnonzero(whole)[row]} {FROM_0}") from error
    names = ["predicted"] if len(columns) == 1 else [f"predicted_{place}" for place in range(len(columns))]
    found = pl.DataFrame(dict(zip(names, columns, strict=True)))
    places = pl.Series(np.cumsum(whole) - 1).set(pl.Series(~whole), None)
    others = spectra.others.drop(names, strict=False)
    return pl.concat([others, found.select(pl.all().gather(places))], how="horizontal")


@app.command(epilog="nirs4all-store export 01a2 model.n4a")
def export(
    beginning: Annotated[str, typer.Argument(metavar="ID", help="The beginning of a chain's, pipeline's or run's id.")],
    output: Annotated[
        Path, typer.Argument(help="Chain: .n4a or .n4a.py; pipeline: .json; run: .yaml or .parquet.", **GIVEN)
    ],
    overwrite: Overwrite = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a chain as a bundle or a script, a pipeline's configuration, or a run's story or predictions."""
    with reading(workspace) as store:
        kind, name = find(store, beginning, *ENDINGS)
        suffix = output.suffix.lower()
        if suffix and not output.name.lower().endswith(ENDINGS[kind]):
            endings = " or ".join(ENDINGS[kind])
            raise InvalidInputError(f"a {kind[:-1]} cannot be written as {output}; give a name that ends in {endings}")
        if not suffix:
            output = with_suffix_added(output, ENDINGS[kind][0])
        refuse_output(output, workspace, overwrite=overwrite)
        if kind == "chains":
            path = store.export_chain(name, output, format="n4a.py" if suffix == ".py" else "n4a")
        elif kind == "pipelines":
            path = store.export_pipeline_config(name, output)
        elif suffix == ".parquet":
            path = store.export_predictions_parquet(output, run_id=name)
        else:
            path = store.export_run(name, output)
    say(Console(), f"wrote {path}")


@app.command("import", epilog="nirs4all-store import model.n4a")
def import_(
    bundle: Annotated[Path, typer.Argument(help="A .n4a file.", **GIVEN)],
    trusted: Trusted = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Take a bundle into the workspace as a run of its own."""
    from ..exchange.bundle_writer import inspect_bundle

    inspect_bundle(bundle)  # What is none is refused before a workspace is made.
    with WorkspaceStore(workspace) as store:
        done = store.import_bundle(bundle, trusted)
    say(Console(), f"chain {done.chain_id} of run {done.run_id}")
    if not trusted:
        say(Console(), "It predicts once you trust it: store.trust_chain(chain_id, True), or import it with --trusted.")
