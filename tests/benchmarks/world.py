"""A workspace with many predictions, and the same rows in a database of its own for the bare programs."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.engine.duckdb.connection import SAFE_CONFIG
from nirs4all_store.storage.columns import table_of
from nirs4all_store.storage.models import Prediction, PredictionArrays

from .leaderboard import Leaderboard

WITH_ARRAYS = 20_000
"""How many of the predictions have arrays at most; 200 values each."""
RNG = np.random.default_rng(0)
Y = RNG.normal(size=200)
INDICES = np.arange(200)
X = RNG.normal(size=(200, 1000))
SCORES = {"val": {"rmse": 0.5, "r2": 0.9}, "test": {"rmse": 0.6, "r2": 0.8}}
PARAMS = {"n_components": 10}
LAYOUT = (
    '{"y_true": {"dtype": "<f8", "shape": [200]}, "y_pred": {"dtype": "<f8", "shape": [200]}, '
    '"sample_indices": {"dtype": "<i8", "shape": [200]}}'
)
STEPS = [{"step_idx": i, "operator_class": "o", "params": {}, "artifact_id": None, "stateless": False} for i in (0, 1)]


class World:
    """An open store, and an open DuckDB connection to a file with the same tables and rows.

    Parameters
    ----------
    folder : Path
    predictions : int
        How many there are.
    arrays : int
        How many of them have arrays.
    """

    def __init__(self, folder: Path, predictions: int = 0, arrays: int = WITH_ARRAYS) -> None:
        self.folder = folder
        self.predictions = predictions
        folder.mkdir(parents=True, exist_ok=True)
        with WorkspaceStore(self.workspace) as store:
            self.run_id = store.begin_run("benchmark", {}, [{"name": "wheat"}])
            self.pipeline_id = store.begin_pipeline(self.run_id, "pls", {}, [], "wheat", "")
            self._save_chain(store)
        with duckdb.connect(str(self.database)) as connection:
            self._fill(connection, predictions, min(arrays, predictions))
        shutil.copyfile(self.database, self.bare_database)
        self.open()

    @property
    def workspace(self) -> Path:
        """The store's folder."""
        return self.folder / "workspace"

    @property
    def database(self) -> Path:
        """The store's database."""
        return self.workspace / "store.duckdb"

    @property
    def bare_database(self) -> Path:
        """The database of the bare programs."""
        return self.folder / "bare.duckdb"

    def open(self) -> None:
        """Open both sides."""
        self.open_store()
        self.open_bare()

    def open_store(self) -> None:
        """Open the store's side."""
        self.store = WorkspaceStore(self.workspace)

    def open_bare(self) -> None:
        """Open the bare side, with the settings that the store uses where they cost or save time."""
        config = {name: value for name, value in SAFE_CONFIG.items() if name != "enable_external_access"}
        self.bare = duckdb.connect(str(self.bare_database), config=config)  # COPY TO needs external access.

    def close_store(self) -> None:
        """Close the store's side."""
        self.store.close()

    def close_bare(self) -> None:
        """Close the bare side."""
        self.bare.close()

    def reopen(self) -> None:
        """Let the store know nothing from earlier calls."""
        self.close_store()
        self.open_store()

    def close(self) -> None:
        """Close both sides."""
        self.close_store()
        self.close_bare()

    def _save_chain(self, store: WorkspaceStore) -> None:
        y = X[:, :3].sum(axis=1)
        self.scaler = StandardScaler().fit(X)
        Z = self.scaler.transform(X)
        self.models = [
            PLSRegression(10).fit(np.delete(Z, np.s_[fold::5], 0), np.delete(y, np.s_[fold::5])) for fold in range(5)
        ]
        ids = [store.save_artifact(fitted, "o", "m", "joblib") for fitted in (self.scaler, *self.models)]
        folds = {str(fold): artifact_id for fold, artifact_id in enumerate(ids[1:])}
        self.chain_id = store.save_chain(self.pipeline_id, STEPS, 1, "PLS", "SS", "per_fold", folds, {"0": ids[0]})
        self.paths = [store.get_artifact_path(artifact_id) for artifact_id in ids]

    def _fill(self, connection: duckdb.DuckDBPyConnection, predictions: int, arrays: int) -> None:
        """Add predictions of ten models, as fast as the engine can."""
        values = {
            "prediction_id": "'p' || i",
            "pipeline_id": "?",
            "chain_id": "?",
            "dataset_name": "'wheat'",
            "model_name": "'model' || (i % 10)",
            "model_class": "'PLS'",
            "fold_id": "(i % 5)::VARCHAR",
            "partition": "'val'",
            "val_score": "random()",
            "test_score": "random()",
            "train_score": "random()",
            "metric": "'rmse'",
            "task_type": "'regression'",
            "n_samples": "200",
            "n_features": "1000",
            "scores": """'{"val": {"rmse": 0.5}}'""",
            "best_params": """'{"n_components": 10}'""",
            "preprocessings": "'SS'",
            "exclusion_count": "0",
            "exclusion_rate": "0.0",
            "created_at": "TIMESTAMP '2026-01-01' + to_microseconds(i)",
        }
        assert values.keys() <= set(table_of(Prediction).columns.keys())
        connection.execute(
            f"INSERT INTO predictions({', '.join(values)}) SELECT {', '.join(values.values())} FROM range(?) t(i)",
            [self.pipeline_id, self.chain_id, predictions],
        )
        assert {"y_true", "y_pred", "sample_indices", "layout"} <= set(table_of(PredictionArrays).columns.keys())
        connection.execute(
            "INSERT INTO prediction_arrays(prediction_id, y_true, y_pred, sample_indices, layout) "
            "SELECT 'p' || i, ?, ?, ?, ? FROM range(?) t(i)",
            [Y, Y, INDICES, LAYOUT, arrays],
        )

    def save(self) -> str:
        """Save a prediction through the store."""
        return self.store.save_prediction(
            self.pipeline_id,
            self.chain_id,
            "wheat",
            "model1",
            "PLS",
            "0",
            "val",
            0.5,
            0.4,
            0.3,
            "rmse",
            "regression",
            200,
            1000,
            SCORES,
            PARAMS,
            None,
            None,
            0,
            0.0,
            "SS",
        )

    def save_with_arrays(self) -> None:
        """Save a prediction and its arrays through the store."""
        self.store.save_prediction_arrays(self.save(), Y, Y, None, INDICES)

    def save_batch(self, count: int) -> None:
        """Save predictions and their arrays in one transaction, call by call."""
        with self.store.transaction():
            for _ in range(count):
                self.save_with_arrays()

    def count(self, side: str, table: str, what: str = "count(*)") -> int:
        """Count the rows of a table on one of the sides, or sum up a column."""
        statement = f"SELECT {what} FROM {table}"
        if side == "bare":
            return int(self.bare.execute(statement).fetchall()[0][0])
        from sqlalchemy import text

        with self.store.unit_of_work() as uow:
            return int(uow.session.execute(text(statement)).scalar_one())


class Worlds:
    """The workspaces that the cases share, each made when it is first asked for.

    Parameters
    ----------
    folder : Path
        Where they are made.
    many : int
        How many predictions the large ones have.
    """

    def __init__(self, folder: Path, many: int) -> None:
        self.folder = folder
        self.many = many

    @cached_property
    def small(self) -> World:
        """A new workspace."""
        return World(self.folder / "small")

    @cached_property
    def large(self) -> World:
        """A workspace of many predictions, for reading."""
        return World(self.folder / "large", self.many)

    @cached_property
    def growing(self) -> World:
        """A workspace of many predictions, for writing: what was just written is read at another speed."""
        return World(self.folder / "growing", self.many)

    @cached_property
    def leaderboard(self) -> Leaderboard:
        """A workspace of many chains, for asking."""
        return Leaderboard(self.folder / "leaderboard", self.many)

    @cached_property
    def trained(self) -> Path:
        """The folder of a workspace in which two models were trained."""
        folder = self.folder / "trained"
        sweep = [{"_or_": [StandardScaler(), MinMaxScaler()]}, {"model": PLSRegression(2)}]
        PipelineRunner(folder, progress=False).run(sweep, (X[:, :50], X[:, :3].sum(axis=1)))
        return folder

    def close(self) -> None:
        """Close all."""
        for world in vars(self).values():
            if isinstance(world, World | Leaderboard):
                world.close()


class OneSize(Worlds):
    """The same, for a curve: also what is written is written among many."""

    @property
    def small(self) -> World:  # type: ignore[override]  # a view of another one
        """A workspace of many predictions."""
        return self.growing


def rows_of(frame: Any, count: int) -> None:
    """Make sure that a frame has its rows."""
    assert frame.height == count, frame.height
