"""Writes workspaces as nirs4all 0.8 to 1.4 does: a database of SQLite or DuckDB, arrays in Parquet, fitted objects."""

import hashlib
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import polars as pl
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

RNG = np.random.default_rng(3)
X = RNG.normal(size=(30, 8))
Y = X @ RNG.normal(size=8) + RNG.normal(size=30) / 10
TRAIN, TEST = np.arange(20), np.arange(20, 30)
FOLDS = (TRAIN[::2], TRAIN[1::2])
COLUMNS = {
    "runs": "run_id name config datasets status created_at completed_at summary error project_id",
    "pipelines": "pipeline_id run_id name expanded_config original_template generator_choices dataset_name "
    "dataset_hash status created_at completed_at best_val best_test metric duration_ms error",
    "chains": "chain_id pipeline_id steps model_step_idx model_class preprocessings fold_strategy fold_artifacts "
    "shared_artifacts branch_path source_index model_name created_at",
    "predictions": "prediction_id pipeline_id chain_id dataset_name model_name model_class fold_id partition val_score "
    "test_score train_score metric task_type n_samples n_features scores best_params preprocessings branch_id "
    "branch_name exclusion_count exclusion_rate refit_context unit_id created_at",
    "artifacts": "artifact_id artifact_path content_hash operator_class artifact_type format size_bytes ref_count "
    "created_at",
    "logs": "log_id pipeline_id step_idx operator_class event duration_ms message details level created_at",
    "projects": "project_id name description color created_at updated_at",
    "tuning_results": "tuning_id name run_id pipeline_id chain_id tuning_json result_json metadata created_at",
}
NUMBERS = {"model_step_idx": "INTEGER", "step_idx": "INTEGER", "n_samples": "INTEGER"} | dict.fromkeys(
    ("val_score", "test_score", "train_score", "best_val", "best_test"), "DOUBLE"
)
UTC_SECONDS = "2026-03-29 12:00:00"
LOCAL = "2026-03-29 12:00:00.250000"


class OldWorkspace:
    """A workspace of nirs4all that is being written; `close` writes its arrays."""

    def __init__(self, folder: Path, engine: str = "sqlite") -> None:
        self.folder = folder
        (folder / "arrays").mkdir(parents=True)
        (folder / "artifacts").mkdir()
        self.is_sqlite = engine == "sqlite"
        path = str(folder / f"store.{engine}")
        self.database: Any = sqlite3.connect(path) if self.is_sqlite else duckdb.connect(path)
        self.when = UTC_SECONDS if self.is_sqlite else LOCAL
        self.arrays: list[dict[str, Any]] = []
        self.count = 0
        for table, names in COLUMNS.items():
            kinds = (f"{name} {self._kind(name)}" for name in names.split())
            self.database.execute(f"CREATE TABLE {table} ({', '.join(kinds)})")

    def _kind(self, name: str) -> str:
        is_time = name.endswith("_at") and not self.is_sqlite
        return "TIMESTAMP" if is_time else NUMBERS.get(name, "TEXT" if self.is_sqlite else "VARCHAR")

    def add(self, table: str, **values: Any) -> str:
        """Add a row; return its key, which is made if none is given."""
        self.count += 1
        key = COLUMNS[table].split()[0]
        row = {key: f"{table}-{self.count}", "created_at": self.when} | values
        texts = [json.dumps(value) if isinstance(value, dict | list) else value for value in row.values()]
        marks = ", ".join("?" * len(row))
        self.database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", texts)
        return str(row[key])

    def run(self, name: str, **values: Any) -> str:
        return self.add("runs", **{"name": name, "status": "completed", "datasets": [{"name": "wheat"}]} | values)

    def pipeline(self, run_id: str, name: str, **values: Any) -> str:
        told = {"run_id": run_id, "name": name, "status": "completed", "dataset_name": "wheat", "dataset_hash": "h"}
        return self.add("pipelines", **told | {"metric": "rmse", "expanded_config": {"steps": []}} | values)

    def artifact(self, fitted: Any, artifact_id: str, artifact_type: str = "model", *, with_row: bool = True) -> str:
        """Write a fitted object; `with_row=False` is what nirs4all does with an id that it has already."""
        stream = io.BytesIO()
        joblib.dump(fitted, stream, compress=3)
        digest = hashlib.sha256(stream.getvalue()).hexdigest()
        name = type(fitted).__name__
        path = f"{digest[:2]}/{artifact_type}_{name}_{digest[:12]}.joblib"
        (self.folder / "artifacts" / path).parent.mkdir(exist_ok=True)
        (self.folder / "artifacts" / path).write_bytes(stream.getvalue())
        if with_row:
            told = {"artifact_id": artifact_id, "artifact_path": path, "content_hash": f"sha256:{digest}"}
            told |= {"operator_class": name, "artifact_type": artifact_type, "format": "joblib", "ref_count": 1}
            self.add("artifacts", **told)
        return artifact_id

    def chain(self, pipeline_id: str, steps: list[dict[str, Any]], folds: Any, shared: Any, **values: Any) -> str:
        """Add a chain whose model is the last step."""
        steps = [{"params": {}, "stateless": False, "artifact_ids": []} | step for step in steps]
        told = {"pipeline_id": pipeline_id, "steps": steps, "fold_artifacts": folds, "shared_artifacts": shared}
        told |= {"model_step_idx": steps[-1]["step_idx"], "model_class": steps[-1]["operator_class"]}
        return self.add(
            "chains", **told | {"preprocessings": "", "fold_strategy": "per_fold", "model_name": "m"} | values
        )

    def prediction(self, pipeline_id: str, chain_id: str | None, fold_id: str, partition: str, **values: Any) -> str:
        """Add a prediction; `y_true`, `y_pred`, `sample_indices` and other columns of the Parquet file are arrays."""
        names = COLUMNS["predictions"].split()
        told = {"pipeline_id": pipeline_id, "chain_id": chain_id, "fold_id": fold_id, "partition": partition}
        told |= {"dataset_name": "wheat", "model_name": "m", "model_class": "Ridge", "metric": "rmse"}
        told |= {"task_type": "regression", "n_samples": len(values.get("y_pred", []))}
        prediction_id = self.add("predictions", **told | {name: values[name] for name in values if name in names})
        arrays = {name: value for name, value in values.items() if name not in names}
        if arrays:
            self.arrays.append({"prediction_id": prediction_id, "dataset_name": "wheat"} | arrays)
        return prediction_id

    def close(self) -> None:
        self.database.commit()
        self.database.close()
        if self.arrays:
            names = dict.fromkeys(name for row in self.arrays for name in row)
            rows = [
                {name: np.ravel(v).tolist() if isinstance(v := row.get(name), np.ndarray) else v for name in names}
                for row in self.arrays
            ]
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(self.folder / "arrays" / "wheat.parquet")


def step(step_idx: int, operator_class: str, *artifact_ids: str, **more: Any) -> dict[str, Any]:
    return {"step_idx": step_idx, "operator_class": operator_class, "artifact_ids": [*artifact_ids]} | more


def told_of(y_pred: Any, rows: Any, y: Any = Y) -> dict[str, Any]:
    return {"y_true": y[rows], "y_pred": y_pred, "sample_indices": [int(row) for row in rows]}


def add_models(old: OldWorkspace, run_id: str, name: str, x: Any = X, y: Any = Y, **kept: Any) -> tuple[str, str]:
    """Add a cross-validated pipeline of a scaler and a ridge, and its refit; return both chains."""
    pipeline_id = old.pipeline(run_id, name, best_val=0.5)
    scaler = StandardScaler().fit(x[TRAIN])
    ids = [old.artifact(scaler, f"{name}$s:all", "transformer", **kept)]
    models = [Ridge().fit(scaler.transform(x[rows]), y[rows]) for rows in FOLDS]
    ids += [old.artifact(model, f"{name}$m:{fold}", **kept) for fold, model in enumerate(models)]
    steps = [step(1, "StandardScaler", ids[0]), step(2, "KFold", stateless=True), step(3, "Ridge", *ids[1:])]
    folds = {"fold_0": ids[1], "fold_1": ids[2]}
    chain_id = old.chain(pipeline_id, steps, folds, {"1": [ids[0]]}, preprocessings="Std")
    for fold, model in enumerate(models):
        for partition, rows in (("train", FOLDS[fold]), ("val", FOLDS[1 - fold]), ("test", TEST)):
            told = told_of(model.predict(scaler.transform(x[rows])), rows, y)
            old.prediction(pipeline_id, chain_id, str(fold), partition, val_score=0.5, **told)
    held = np.concatenate([models[0].predict(scaler.transform(x[FOLDS[1]])), models[1].predict(x[FOLDS[0]])])
    order = np.concatenate([FOLDS[1], FOLDS[0]])
    scores = {"val": {"rmse": 0.5}}
    old.prediction(
        pipeline_id, chain_id, "avg", "val", val_score=0.5, scores=scores, weights=[0.5, 0.5], **told_of(held, order, y)
    )
    return chain_id, add_refit(old, run_id, f"{name}_refit", x, y, **kept)


def add_refit(old: OldWorkspace, run_id: str, name: str, x: Any, y: Any, **kept: Any) -> str:
    pipeline_id = old.pipeline(run_id, name, best_val=0.0)
    scaler = StandardScaler().fit(x[TRAIN])
    model = Ridge().fit(scaler.transform(x[TRAIN]), y[TRAIN])
    ids = [old.artifact(scaler, f"{name}$s:all", "transformer", **kept), old.artifact(model, f"{name}$m:0", **kept)]
    steps = [step(1, "StandardScaler", ids[0]), step(3, "Ridge", ids[1])]
    chain_id = old.chain(pipeline_id, steps, {"fold_final": ids[1]}, {"1": [ids[0]]}, preprocessings="Std")
    for partition, rows in (("train", TRAIN), ("test", TEST)):
        told = told_of(model.predict(scaler.transform(x[rows])), rows, y)
        scores = {"test": {"rmse": 0.7}, "train": {"rmse": 0.4}}
        told |= {"val_score": 0.0, "test_score": 0.7, "train_score": 0.4, "scores": scores}
        old.prediction(pipeline_id, chain_id, "final", partition, refit_context="standalone", **told)
    return chain_id


def write_screening(folder: Path) -> tuple[str, str]:
    """Write a workspace with one run; return its cross-validated and its refitted chain."""
    old = OldWorkspace(folder)
    project = old.add("projects", project_id="p", name="Wheat 2026", color="#14b8a6", updated_at=old.when)
    chains = add_models(old, old.run("screen", run_id="the run", project_id=project), "screen_a")
    old.close()
    return chains
