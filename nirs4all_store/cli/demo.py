"""The whole life of a workspace on real spectra, as `nirs4all-store demo` shows it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

from ..artifacts import sha256
from ..chains import ChainBuilder, ExecutionStep, ExecutionTrace, StepArtifacts
from ..errors import InvalidInputError
from ..exchange import load_bundle
from ..store import WorkspaceStore
from ..training import PipelineLibrary

Array = Any
RUNS = {"fermentation": "fermentation sweep", "coffee": "coffee sweep"}
MINUTES_BETWEEN_SPECTRA = 1.25
METRICS = {
    "regression": {"rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r2_score},
    "classification": {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score},
}


@dataclass(frozen=True)
class DemoData:
    """Spectra and what is known of them.

    `X` is (n_samples, n_wavenumbers) in absorbance; `X_test, y_test` are never trained on.
    """

    name: str
    task: str
    X: Array
    y: Array
    X_test: Array
    y_test: Array
    excluded: int = 0

    @property
    def folds(self) -> list[tuple[Array, Array]]:
        """The five splits of the training spectra, as indices."""
        kind = KFold if self.task == "regression" else StratifiedKFold
        return list(kind(5, shuffle=True, random_state=0).split(self.X, self.y))


@dataclass(frozen=True)
class Candidate:
    """One pipeline to try: what comes before the scaler and the model, and the model."""

    preprocessings: str
    transformers: list[Any]
    model: Any


def fermentation() -> tuple[DemoData, Array]:
    """Return the glucose data, and its wavenumbers (1/cm).

    The test spectra come from a sensor that measured every 1.25 minutes; the reference values were
    taken by hand at the times given. Spectra that the sensor left flat are excluded.
    """
    X, y = load_fermentation_train(set_output="polars")
    online, reference = load_fermentation_test(set_output="polars")
    spectra = online.to_numpy()
    alive = np.flatnonzero(spectra.std(axis=1) > 0)
    taken = reference["time"].to_numpy() * 60 / MINUTES_BETWEEN_SPECTRA
    nearest = alive[np.abs(alive[None, :] - taken[:, None]).argmin(axis=1)]
    wavenumbers = np.array([float(name) for name in X.columns])
    data = DemoData(
        "fermentation", "regression", X.to_numpy(), y["glucose"].to_numpy(),
        spectra[nearest], reference["glucose"].to_numpy(), len(spectra) - len(alive),
    )  # fmt: skip
    return data, wavenumbers


def coffee() -> DemoData:
    """Return the coffees of three countries, a quarter of them kept for the test."""
    X, labels = load_coffee(set_output="polars")
    X, X_test, y, y_test = train_test_split(
        X.to_numpy(), labels["labels"].to_numpy().astype(str), test_size=0.25, stratify=labels, random_state=0
    )
    return DemoData("coffee", "classification", X, y, X_test, y_test)


def candidates(data: DemoData, wavenumbers: Array | None) -> list[Candidate]:
    """Return the pipelines to compare on a data set."""
    derivative = [LinearCorrection(), SavitzkyGolay(window_length=15, polyorder=2, deriv=1)]
    if data.task == "regression":
        cut = RangeCut(start=950, end=1500, x_axis=wavenumbers)
        before = {"cut": [cut], "cut SNV": [cut, StandardNormalVariate()], "cut baseline SG1": [cut, *derivative]}
        models = [*(PLSRegression(n_components=k, scale=False) for k in (2, 4, 6)), Ridge(alpha=1e-3)]
    else:
        before = {"SNV": [StandardNormalVariate()], "SG1": derivative}
        models = [LogisticRegression(max_iter=2000), RandomForestClassifier(n_estimators=30, random_state=0)]
    return [Candidate(name, steps, model) for name, steps in before.items() for model in models]


class Trainer:
    """Trains candidates on one data set and stores all that comes of it."""

    def __init__(self, store: WorkspaceStore, run_id: str, data: DemoData) -> None:
        self._store = store
        self._run_id = run_id
        self._data = data

    def train(self, candidate: Candidate) -> None:
        """Fit one candidate on every fold, then store its chain, scores, arrays and log in one transaction."""
        store, data, model_name = self._store, self._data, type(candidate.model).__name__
        pipeline_id = store.begin_pipeline(
            self._run_id,
            f"{candidate.preprocessings} {model_name}",
            [{"class": type(step).__name__} for step in candidate.transformers] + [{"model": str(candidate.model)}],
            [{"preprocessing": candidate.preprocessings, "model": str(candidate.model)}],
            data.name,
            sha256(data.X.tobytes()),
        )
        began = time.perf_counter()
        shared, transformed = [], data.X
        for step in candidate.transformers:
            fitted = clone(step).fit(transformed)
            transformed = fitted.transform(transformed)
            shared.append(fitted)
        folds = []
        for train, _ in data.folds:
            scaler = StandardScaler(with_std=False).fit(transformed[train])
            folds.append((scaler, clone(candidate.model).fit(scaler.transform(transformed[train]), data.y[train])))
        milliseconds = round(1000 * (time.perf_counter() - began))
        with store.transaction():
            chain_id = self._save_chain(pipeline_id, candidate, shared, folds)
            scores = self._save_predictions(pipeline_id, chain_id, candidate, shared, folds)
            for position, step in enumerate([*shared, *folds[0]]):
                store.log_step(pipeline_id, position, type(step).__name__, "end", milliseconds // (len(shared) + 2))
            metric = next(iter(METRICS[data.task]))
            store.complete_pipeline(pipeline_id, scores["val"], scores["test"], metric, milliseconds)

    def _save_chain(self, pipeline_id: str, candidate: Candidate, shared: list[Any], folds: list[Any]) -> str:
        def save(fitted: Any, kind: str) -> str:
            return self._store.save_artifact(fitted, type(fitted).__name__, kind, "joblib")

        steps = [
            ExecutionStep(i, type(step).__name__, artifacts=StepArtifacts([save(step, "transformer")]))
            for i, step in enumerate(shared)
        ]
        scalers = {str(fold): save(scaler, "transformer") for fold, (scaler, _) in enumerate(folds)}
        models = {str(fold): save(model, "model") for fold, (_, model) in enumerate(folds)}
        n = len(steps)
        steps.append(ExecutionStep(n, "StandardScaler", artifacts=StepArtifacts(fold_artifact_ids=scalers)))
        steps.append(
            ExecutionStep(n + 1, type(candidate.model).__name__, {"model": str(candidate.model)},
                          artifacts=StepArtifacts(fold_artifact_ids=models))
        )  # fmt: skip
        trace = ExecutionTrace(steps, model_step_index=n + 1, preprocessing_chain=candidate.preprocessings)
        return self._store.save_chain(pipeline_id=pipeline_id, **ChainBuilder(trace).build())

    def _save_predictions(
        self, pipeline_id: str, chain_id: str, candidate: Candidate, shared: list[Any], folds: list[Any]
    ) -> dict[str, float]:
        """Store each fold's predictions, and those of all folds together; return the scores of the latter."""
        data = self._data
        transformed = {"train": data.X, "test": data.X_test}
        for step in shared:
            transformed = {name: step.transform(X) for name, X in transformed.items()}
        out_of_fold = np.empty_like(data.y)
        for fold, ((scaler, model), (train, val)) in enumerate(zip(folds, data.folds, strict=True)):
            predicted = {name: np.ravel(model.predict(scaler.transform(X))) for name, X in transformed.items()}
            out_of_fold[val] = predicted["train"][val]
            parts = {
                "train": (data.y[train], predicted["train"][train], train),
                "val": (data.y[val], predicted["train"][val], val),
                "test": (data.y_test, predicted["test"], np.arange(len(data.y_test))),
            }
            self._save_fold(pipeline_id, chain_id, candidate, str(fold), parts)
        y_test = self._store.replay_chain(chain_id, data.X_test)
        everything = np.arange(len(data.y))
        parts = {
            "val": (data.y, out_of_fold, everything),
            "test": (data.y_test, y_test, np.arange(len(data.y_test))),
        }
        return self._save_fold(pipeline_id, chain_id, candidate, "avg", parts)

    def _save_fold(
        self, pipeline_id: str, chain_id: str, candidate: Candidate, fold: str, parts: dict[str, Any]
    ) -> dict[str, float]:
        data, metrics, model = self._data, METRICS[self._data.task], type(candidate.model).__name__
        scores = {name: {metric: float(score(y, y_pred)) for metric, score in metrics.items()}
                  for name, (y, y_pred, _) in parts.items()}  # fmt: skip
        main = next(iter(metrics))
        best = {name: values[main] for name, values in scores.items()}
        for partition, (y_true, y_pred, indices) in parts.items():
            prediction_id = self._store.save_prediction(
                pipeline_id, chain_id, data.name, model, model, fold, partition, best.get("val"), best.get("test"),
                best.get("train"), main, data.task, len(y_true), data.X.shape[1], scores,
                candidate.model.get_params(), None, None, data.excluded, data.excluded / len(data.X_test),
                candidate.preprocessings,
            )  # fmt: skip
            self._store.save_prediction_arrays(prediction_id, y_true, y_pred, sample_indices=indices)
        return best


class Demo:
    """Runs the steps and tells what each of them did."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._step = 0

    def run(self) -> None:
        """Train, rank, replay, export, predict elsewhere, delete, collect."""
        began = time.perf_counter()
        self._console.rule("[bold]nirs4all_store on real spectra")
        glucose, wavenumbers = fermentation()
        beans = coffee()
        is_new = not self._folder.is_dir() or not any(self._folder.iterdir())
        with WorkspaceStore(self._folder) as store:
            if not is_new:
                _refuse_others(store)
            self._say(f"opened the workspace [cyan]{store.workspace_path}[/]")
            regression = self._train(store, glucose, wavenumbers)
            classification = self._train(store, beans, None)
            best = self._rank(store, regression, "rmse")
            self._rank(store, classification, "accuracy")
            self._deploy(store, best["chain_id"], glucose)
            self._write(store, regression, best["pipeline_id"])
            self._clean_up(store, classification)
        self._console.rule(f"[bold green]done in {time.perf_counter() - began:.1f} s")

    @contextmanager
    def _timed(self, text: str) -> Iterator[dict[str, Any]]:
        """Say `text`, filled with what the block put into the dict, and how long the block took."""
        figures: dict[str, Any] = {}
        began = time.perf_counter()
        yield figures
        self._say(f"{text.format(**figures)} [dim]{1000 * (time.perf_counter() - began):,.0f} ms[/]")

    def _say(self, text: str) -> None:
        self._step += 1
        self._console.print(f"[bold]{self._step:>2}[/]  {text}", highlight=False)

    def _train(self, store: WorkspaceStore, data: DemoData, wavenumbers: Array | None) -> str:
        tried = candidates(data, wavenumbers)
        columns = (
            TextColumn("    training on {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with self._timed("{name}: {pipelines} pipelines x 5 folds, {rows} predictions stored") as said:
            run_id = store.begin_run(RUNS[data.name], {"folds": 5}, [{"name": data.name, "task": data.task}])
            trainer = Trainer(store, run_id, data)
            with Progress(
                *columns, console=self._console, transient=True, disable=not self._console.is_terminal
            ) as progress:
                for candidate in progress.track(tried, description=data.name):
                    trainer.train(candidate)
            store.complete_run(run_id, {"total_pipelines": len(tried)})
            rows = store.query_predictions(run_id=run_id).height
            said.update(name=data.name, pipelines=len(tried), rows=rows)
        return run_id

    def _rank(self, store: WorkspaceStore, run_id: str, metric: str) -> dict[str, Any]:
        """Show the best three pipelines of a run; return the best one's prediction."""
        with self._timed("the best of {pipelines} pipelines, by {metric} over all folds") as said:
            top = store.top_predictions(3, score_metric=metric, run_id=run_id, group_by="fold_id")
            top = top.filter(pl.col("fold_id") == "avg")
            said.update(pipelines=store.list_pipelines(run_id=run_id).height, metric=metric)
        table = Table("preprocessing", "model", f"{metric} (val)", f"{metric} (test)", box=None, padding=(0, 2))
        for row in top.iter_rows(named=True):
            table.add_row(
                row["preprocessings"], row["model_name"], f"{row['val_score']:.3f}", f"{row['test_score']:.3f}"
            )
        self._console.print(table)
        return top.row(0, named=True)

    def _deploy(self, store: WorkspaceStore, chain_id: str, data: DemoData) -> None:
        with self._timed("replayed the best on {n} unseen spectra: glucose rmse {rmse:.2f} g/l") as said:
            y = store.replay_chain(chain_id, data.X_test)
            said.update(n=len(y), rmse=root_mean_squared_error(data.y_test, y))
        exports = self._folder / "exports"
        with self._timed("exported [cyan]{bundle}[/] and [cyan]{script}[/] ({size:,} kB)") as said:
            bundle = store.export_chain(chain_id, exports / "glucose.n4a")
            script = store.export_chain(chain_id, exports / "glucose.n4a.py", format="n4a.py")
            said.update(bundle=bundle.name, script=script.name, size=round(script.stat().st_size / 1000))
        with self._timed("the bundle, without the workspace, predicts the same: {same}") as said:
            said["same"] = _yes(np.array_equal(load_bundle(bundle, trusted=True).predict(data.X_test), y))
        spectra = exports / "unseen.npy"
        np.save(spectra, data.X_test)
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
    """Refuse somebody's own workspace: the demo replaces exports and a template, and collects without grace."""
    names = set(store.list_runs(limit=None)["name"])
    if not names or not names <= set(RUNS.values()):
        raise InvalidInputError(
            f"{store.workspace_path} is not the demo's own: it has runs of {sorted(names)[:3]}; give the demo another "
            "folder"
        )


def predict_elsewhere(script: Path, spectra: Path) -> Array:
    """Run an exported script in a process that cannot import this package; return what it printed."""
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
    """Return the size of a workspace's rows and artifacts in kB."""
    files = [*folder.glob("store.duckdb*"), *(folder / "artifacts").rglob("*")]
    return round(sum(path.stat().st_size for path in files if path.is_file()) / 1000)
