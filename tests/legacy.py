"""Workspaces as nirs4all 0.7 wrote them, made with raw SQL and real fitted objects."""

import functools
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import MinMaxScaler, StandardScaler

FIRST_REVISION = next((Path(__file__).parents[1] / "migrations" / "versions").glob("0001_*.py"))
RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 12))
Y = X[:, :3].sum(axis=1)
LABELS = np.where(Y > 0, "high", "low")
X_NEW = RNG.normal(size=(6, 12))
FOLDS = [np.arange(len(X)) % 2 == fold for fold in range(2)]

# What 0.7.1 has more than 0.7.0.
NEWER = (
    "ALTER TABLE predictions ADD COLUMN refit_context VARCHAR DEFAULT NULL",
    "ALTER TABLE artifacts ADD COLUMN chain_path_hash VARCHAR",
    "ALTER TABLE artifacts ADD COLUMN input_data_hash VARCHAR",
    "ALTER TABLE artifacts ADD COLUMN dataset_hash VARCHAR",
    "CREATE INDEX idx_artifacts_cache_key ON artifacts(chain_path_hash, input_data_hash)",
    "CREATE UNIQUE INDEX idx_predictions_natural_key_v2 ON "
    'predictions(pipeline_id, chain_id, fold_id, "partition", model_name, branch_id)',
    "CREATE VIEW v_aggregated_predictions AS SELECT chain_id, avg(val_score) AS avg_val_score FROM predictions "
    "WHERE refit_context IS NULL GROUP BY chain_id",
)


def make_schema(connection: Any, version: str = "0.7.0") -> None:
    """Create the tables of a version with any duckdb's connection."""
    names: dict[str, Any] = {}
    exec(FIRST_REVISION.read_text().replace("from alembic import op", ""), names)
    for statement in (*names["TABLES"], *names["INDEXES"]):
        connection.execute(statement)
    for statement in NEWER if version == "0.7.1" else ():
        connection.execute(statement)


class Legacy:
    """One workspace: a regression with what is odd in old chains, a classifier, a run that failed.

    Parameters
    ----------
    connection : a connection of any duckdb
    folder : Path
        The workspace; its artifacts are written here.
    """

    def __init__(self, connection: Any, folder: Path) -> None:
        self.connection = connection
        self.folder = folder
        self.expected: dict[str, Any] = {}

    def insert(self, table: str, **values: Any) -> None:
        """Insert a row; what is no text, number or list of numbers becomes JSON."""
        marks = ", ".join("?" * len(values))
        columns = ", ".join(f'"{name}"' for name in values)
        row = [json.dumps(value) if name in JSON_COLUMNS else value for name, value in values.items()]
        self.connection.execute(f"INSERT INTO {table}({columns}) VALUES ({marks})", row)

    def artifact(self, artifact_id: str, fitted: Any) -> str:
        """Write a fitted object under one of nirs4all's names, and its row."""
        stream = io.BytesIO()
        joblib.dump(fitted, stream)
        digest = hashlib.sha256(stream.getvalue()).hexdigest()
        kind = type(fitted).__name__
        path = f"{digest[:2]}/model_{kind}_{digest[:12]}.joblib"
        file = self.folder / "artifacts" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stream.getvalue())
        self.insert(
            "artifacts",
            artifact_id=artifact_id,
            artifact_path=path,
            content_hash=f"sha256:{digest}",
            operator_class=kind,
            artifact_type="model",
            size_bytes=file.stat().st_size,
            created_at="2026-02-03 04:05:06.789",
        )
        return artifact_id

    def prediction(self, prediction_id: str, chain: str, score: float | None, **more: Any) -> None:
        """Insert a prediction with its arrays."""
        row = {
            "prediction_id": prediction_id,
            "pipeline_id": f"pipeline-{chain}",
            "chain_id": f"chain-{chain}",
            "dataset_name": "wheat",
            "model_name": chain,
            "model_class": chain,
            "fold_id": prediction_id[-1],
            "partition": "val",
            "val_score": score,
            "metric": "mse",
            "task_type": "regression",
            "n_samples": 3,
            "scores": {"val": {"mse": score}},
            "best_params": {},
        }
        self.insert("predictions", **(row | more))
        self.insert(
            "prediction_arrays",
            prediction_id=prediction_id,
            y_true=[0.1, None, 0.3],
            y_pred=[1.0, 2.0, 3.5],
            sample_indices=[4, 5, 6],
            weights=[0.25, 0.75],
        )

    def fill(self) -> dict[str, Any]:
        """Fill it; return what must be true of it ever after."""
        for run, status in (("run-1", "completed"), ("run-2", "failed")):
            self.insert(
                "runs",
                run_id=run,
                name=f"{run} of José",
                status=status,
                config={"seed": 1, "note": None},
                datasets=[{"name": "wheat"}],
            )
        for chain, run in (("Ridge", "run-1"), ("Logistic", "run-1"), ("Broken", "run-2")):
            self.insert(
                "pipelines",
                pipeline_id=f"pipeline-{chain}",
                run_id=run,
                name=chain,
                duration_ms=12,
                expanded_config=[{"model": chain}],
                generator_choices=[1],
                dataset_name="wheat",
            )
            self.insert(
                "logs",
                log_id=f"log-{chain}",
                pipeline_id=f"pipeline-{chain}",
                step_idx=1,
                event="end",
                duration_ms=7,
                details={"n": 1},
            )
        self._regression()
        self._classifier()
        return self.expected

    def _regression(self) -> None:
        standard = StandardScaler().fit(X)
        minmax = MinMaxScaler().fit(standard.transform(X))
        Z = minmax.transform(standard.transform(X))
        scalers = [
            self.artifact("config_aa26ca$7c1fa10edc2c:all", standard),
            self.artifact("config$minmax:all", minmax),
        ]
        models = [Ridge().fit(Z[fold], Y[fold]) for fold in FOLDS]
        folds = {f"fold_{i}": self.artifact(f"config_aa26ca$2d4c:{i}", model) for i, model in enumerate(models)}
        self.artifact("config_bb$2d4c:0", models[0])  # A second row for one file, which no chain names.
        steps = [
            {"step_idx": 1, "operator_class": "StandardScaler", "params": {}, "artifact_ids": scalers[:1]},
            {"step_idx": 1, "operator_class": "MinMaxScaler", "params": {}, "artifact_ids": scalers[1:]},
            {"step_idx": 2, "operator_class": "KFold", "params": {}, "artifact_ids": [], "stateless": True},
            {"step_idx": 3, "operator_class": "Ridge", "params": {}, "artifact_ids": [*folds.values()]},
        ]
        self.insert(
            "chains",
            chain_id="chain-Ridge",
            pipeline_id="pipeline-Ridge",
            steps=steps,
            model_step_idx=3,
            model_class="Ridge",
            fold_artifacts=folds,
            shared_artifacts={"1": scalers, "_source_map": {"1": {"0": scalers}}},
        )
        for i, score in enumerate([0.3, 0.1, None, float("nan"), 0.2]):
            self.prediction(f"0123456789abcde{i}", "Ridge", score)
        Z_new = minmax.transform(standard.transform(X_NEW))
        self.expected["chain-Ridge"] = np.mean([model.predict(Z_new) for model in models], axis=0).tolist()
        self.expected["best"] = ["0123456789abcde1", "0123456789abcde4", "0123456789abcde0"]

    def _classifier(self) -> None:
        model = LogisticRegression().fit(X, LABELS)
        steps = [{"step_idx": 1, "operator_class": "LogisticRegression", "params": {}, "artifact_id": None}]
        self.insert(
            "chains",
            chain_id="chain-Logistic",
            pipeline_id="pipeline-Logistic",
            steps=steps,
            model_step_idx=1,
            model_class="LogisticRegression",
            fold_artifacts={"fold_final": self.artifact("cfg$log:0", model)},
            shared_artifacts=None,
        )
        self.prediction("fedcba9876543210", "Logistic", 0.9, metric="accuracy", task_type="classification")
        self.expected["chain-Logistic"] = model.predict(X_NEW).tolist()


JSON_COLUMNS = {
    "config",
    "datasets",
    "expanded_config",
    "generator_choices",
    "steps",
    "fold_artifacts",
    "shared_artifacts",
    "scores",
    "best_params",
    "details",
}


def make_legacy(folder: Path, version: str = "0.7.0") -> dict[str, Any]:
    """Write a workspace as a version of nirs4all did; return what must be true of it ever after."""
    files, expected = _made(version)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return expected


@functools.cache
def _made(version: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Make one, row by row; return its files, and what must be true of it."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        with duckdb.connect(f"{folder}/store.duckdb") as connection:
            make_schema(connection, version)
            expected = Legacy(connection, Path(folder)).fill()
            if version == "0.7.1":
                connection.execute("UPDATE predictions SET refit_context = 'standalone' WHERE prediction_id LIKE 'f%'")
                connection.execute("UPDATE artifacts SET chain_path_hash = 'cache' WHERE artifact_id = 'cfg$log:0'")
        return contents(Path(folder)), expected


def leave_a_log(workspace: Path) -> None:
    """Add a run in a transaction that stands in the log only, as a process that was killed leaves it."""
    import duckdb

    with duckdb.connect(str(workspace / "store.duckdb")) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("INSERT INTO runs(run_id, name) VALUES ('in-the-log', 'r')")
    assert (workspace / "store.duckdb.wal").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".store.lock"
    }
