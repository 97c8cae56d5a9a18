"""The program of `nirs4all-store demo`: trains on real spectra, and shows all that a workspace can do."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from chemotools.baseline import LinearCorrection
from chemotools.datasets import load_coffee, load_fermentation_test, load_fermentation_train
from chemotools.derivative import SavitzkyGolay
from chemotools.feature_selection import RangeCut
from chemotools.scatter import StandardNormalVariate
from rich.console import Console
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from ..errors import InvalidInputError
from ..exchange import load_bundle
from ..store import WorkspaceStore
from ..training import PipelineLibrary, PipelineRunner
from ..views import held_out, list_models
from .output import print_line, show_rows

Array = Any
RUNS = {"fermentation": "fermentation sweep", "coffee": "coffee sweep"}
MINUTES_BETWEEN_SPECTRA = 1.25
FIRST_DERIVATIVE = [LinearCorrection(), SavitzkyGolay(window_length=15, polyorder=2, deriv=1)]


def fermentation() -> tuple[dict[str, Any], list[Any]]:
    """Return a dataset to predict glucose in a fermentation, and a configuration of twelve pipelines.

    The spectra are those of chemotools, of shape (n_samples, n_wavenumbers) in absorbance. For the test, a sensor took
    one every 1.25 minutes. The reference values in g/l were taken by hand, and each belongs to the spectrum nearest in
    time. Spectra that the sensor left flat are not used.
    """
    X, y = load_fermentation_train(set_output="polars")
    online, reference = load_fermentation_test(set_output="polars")
    spectra = online.to_numpy()
    not_flat = np.flatnonzero(spectra.std(axis=1) > 0)
    taken = reference["time"].to_numpy() * 60 / MINUTES_BETWEEN_SPECTRA
    nearest = not_flat[np.abs(not_flat[None, :] - taken[:, None]).argmin(axis=1)]
    wavenumbers = np.array([float(name) for name in X.columns])
    data = {
        "name": "fermentation",
        "X": X.to_numpy(),
        "y": y["glucose"].to_numpy(),
        "X_test": spectra[nearest],
        "y_test": reference["glucose"].to_numpy(),
        "wavelengths": wavenumbers,
    }
    models = [*(PLSRegression(components, scale=False) for components in (2, 4, 6)), Ridge(alpha=1e-3)]
    return data, [
        RangeCut(start=950, end=1500),  # Where glucose absorbs, in 1/cm.
        {"_or_": [None, StandardNormalVariate(), FIRST_DERIVATIVE]},
        StandardScaler(with_std=False),
        {"model": {"_or_": models}},
    ]


def coffee() -> tuple[dict[str, Any], list[Any]]:
    """Return a dataset of coffees of three countries, a quarter for the test, and a configuration of four pipelines."""
    X, labels = load_coffee(set_output="polars")
    X, X_test, y, y_test = train_test_split(
        X.to_numpy(), labels["labels"].to_numpy().astype(str), test_size=0.25, stratify=labels, random_state=0
    )
    models = [LogisticRegression(max_iter=2000), RandomForestClassifier(n_estimators=10, random_state=0)]
    return {"name": "coffee", "X": X, "y": y, "X_test": X_test, "y_test": y_test}, [
        {"_or_": [StandardNormalVariate(), FIRST_DERIVATIVE]},
        StandardScaler(with_std=False),
        {"model": {"_or_": models}},
    ]


class Demo:
    """Runs the steps of the demo and prints what each did.

    Parameters
    ----------
    folder : Path
        The workspace.
    console : Console
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._step = 0

    def run(self) -> None:
        """Train, rank, replay, export, predict in another process, delete, and compact."""
        began = time.perf_counter()
        self._console.rule("[bold]nirs4all_store on real spectra")
        is_new = not self._folder.is_dir() or not any(self._folder.iterdir())
        with WorkspaceStore(self._folder) as store:
            if not is_new:
                _refuse_others(store)
            self._say(f"opened the workspace [cyan]{store.workspace_path}[/]")
            glucose, pipelines = fermentation()
            regression, best = self._train(store, glucose, pipelines)
            self._tell_test(store, regression)
            classification, _ = self._train(store, *coffee())
            self._deploy(store, best["chain_id"], glucose)
            self._write(store, regression, best["pipeline_id"])
            self._clean_up(store, classification)
        self._console.rule(f"[bold green]done in {time.perf_counter() - began:.1f} s")
        folder = shlex.quote(str(self._folder))
        print_line(self._console, f"now: nirs4all-store top -w {folder}, and nirs4all-store show best -w {folder}")

    @contextmanager
    def _timed(self, text: str) -> Iterator[dict[str, Any]]:
        """Print `text` and how long the block took; the block puts the values for `text` into the dict."""
        figures: dict[str, Any] = {}
        began = time.perf_counter()
        yield figures
        self._say(f"{text.format(**figures)} [dim]{1000 * (time.perf_counter() - began):,.0f} ms[/]")

    def _say(self, text: str) -> None:
        self._step += 1
        self._console.print(f"[bold]{self._step:>2}[/]  {text}", highlight=False)

    def _train(self, store: WorkspaceStore, data: dict[str, Any], config: list[Any]) -> tuple[str, dict[str, Any]]:
        """Train, and show the best three pipelines; return the run's id, and the prediction of the best one."""
        runner = PipelineRunner(store)
        with self._timed("{name}: {pipelines} pipelines x 5 folds, {rows} predictions stored") as said:
            ranked = runner.run(config, data, name=RUNS[data["name"]])
            said.update(name=data["name"], pipelines=ranked["pipeline_id"].n_unique(), rows=ranked.height)
        judged = held_out(ranked)
        show_rows(store, list_models(store, judged, limit=3), as_json=False, as_csv=False)
        return str(runner.run_id), judged.row(0, named=True)

    def _tell_test(self, store: WorkspaceStore, run_id: str) -> None:
        """Print what can be learnt from the scores of new spectra, beside those of cross-validation."""
        scores = store.rank_chains(run_id=run_id).rows
        best, worst = scores.row(0, named=True), max(scores["rmsep"].to_list())
        print_line(
            self._console,
            f"RMSEP is of spectra that were measured later. There the best model errs by {best['rmsep']:.1f} g/l, not "
            f"by {best['rmsecv']:.1f}; one without a correction of the baseline by {worst:.0f}.",
        )

    def _deploy(self, store: WorkspaceStore, chain_id: str, data: dict[str, Any]) -> None:
        with self._timed("replayed the best on {n} unseen spectra: glucose rmse {rmse:.2f} g/l") as said:
            y = store.replay_chain(chain_id, data["X_test"])
            said.update(n=len(y), rmse=root_mean_squared_error(data["y_test"], y))
        exports = self._folder / "exports"
        with self._timed("exported [cyan]{bundle}[/] and [cyan]{script}[/] ({size:,} kB)") as said:
            bundle = store.export_chain(chain_id, exports / "glucose.n4a")
            script = store.export_chain(chain_id, exports / "glucose.n4a.py", format="n4a.py")
            said.update(bundle=bundle.name, script=script.name, size=round(script.stat().st_size / 1000))
        with self._timed("the bundle, without the workspace, predicts the same: {same}") as said:
            said["same"] = _yes(np.array_equal(load_bundle(bundle, trusted=True).predict(data["X_test"]), y))
        spectra = exports / "unseen.npy"
        np.save(spectra, data["X_test"])
        with self._timed("the script, run without this package, predicts the same: {same}") as said:
            said["same"] = _yes(np.array_equal(predict_elsewhere(script, spectra), y))

    def _write(self, store: WorkspaceStore, run_id: str, pipeline_id: str) -> None:
        exports = self._folder / "exports"
        with self._timed("wrote [cyan]{run}[/] and [cyan]{parquet}[/] ({rows} rows)") as said:
            run = store.export_run(run_id, exports / "fermentation.yaml")
            parquet = store.export_predictions_parquet(exports / "predictions.parquet", run_id=run_id)
            said.update(run=run.name, parquet=parquet.name, rows=pl.read_parquet(parquet).height)
        with self._timed("kept the best pipeline as the template [cyan]{name}[/]") as said:
            pipeline = store.get_pipeline(pipeline_id) or {}
            library = PipelineLibrary(self._folder)
            library.save_template(pipeline["expanded_config"], "glucose_pls", "regression", overwrite=True)
            said["name"] = "glucose_pls"

    def _clean_up(self, store: WorkspaceStore, run_id: str) -> None:
        with self._timed("deleted the coffee run: {rows} rows; collected {files} more files") as said:
            said.update(rows=store.delete_run(run_id), files=store.gc_artifacts(grace=timedelta(0)))
        with self._timed("compacted: rows and artifacts now take {size:,} kB") as said:
            store.vacuum()
            said.update(size=_size(self._folder))


def _refuse_others(store: WorkspaceStore) -> None:
    """Raise for a workspace with other runs: the demo replaces exports and a template, and removes unused artifacts."""
    names = set(store.list_runs(limit=None)["name"])
    if not names or not names <= set(RUNS.values()):
        raise InvalidInputError(
            f"{store.workspace_path} is not the demo's own: it has runs of {sorted(names)[:3]}; give the demo another "
            "folder"
        )


def predict_elsewhere(script: Path, spectra: Path) -> Array:
    """Run an exported script in a process that cannot import this package; return the predictions that it prints."""
    program = (
        "import runpy, sys; sys.modules['nirs4all_store'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", program, str(script), str(spectra)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own export
    return np.array([float(line) for line in done.stdout.split()])


def _yes(same: bool) -> str:
    return "[green]yes[/]" if same else "[bold red]NO[/]"


def _size(folder: Path) -> int:
    """Return the size of a workspace's database and artifacts in kB."""
    files = [*folder.glob("store.duckdb*"), *(folder / "artifacts").rglob("*")]
    return round(sum(path.stat().st_size for path in files if path.is_file()) / 1000)
