"""The barest honest programs: raw DuckDB statements, files, joblib, the objects in memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import polars as pl
import pyarrow as pa
import uuid_utils

from .world import INDICES, PARAMS, SCORES, World, Y

PREDICTION = (
    "prediction_id, pipeline_id, chain_id, dataset_name, model_name, model_class, fold_id, partition, val_score, "
    "test_score, train_score, metric, task_type, n_samples, n_features, scores, best_params, preprocessings, "
    "exclusion_count, exclusion_rate, created_at"
)
ARRAYS = "prediction_id, y_true, y_pred, sample_indices, layout"
INSERT_PREDICTION = f"INSERT INTO predictions({PREDICTION}) VALUES ({', '.join('?' * 21)})"
INSERT_ARRAYS = f"INSERT INTO prediction_arrays({ARRAYS}) VALUES ({', '.join('?' * 5)})"


def now() -> datetime:
    """Return the time as the tables keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def layout() -> str:
    """Return what an array's list cannot tell, as JSON."""
    given = {"y_true": Y, "y_pred": Y, "sample_indices": INDICES}
    return json.dumps({name: {"dtype": y.dtype.str, "shape": y.shape} for name, y in given.items()})


def prediction(world: World) -> list[Any]:
    """Return the values of one prediction, with an id and JSON made now."""
    return [
        str(uuid_utils.uuid7()),
        world.pipeline_id,
        world.chain_id,
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
        json.dumps(SCORES),
        json.dumps(PARAMS),
        "SS",
        0,
        0.0,
        now(),
    ]


def save(world: World) -> None:
    """Insert a prediction and its arrays, each committed."""
    row = prediction(world)
    world.bare.execute(INSERT_PREDICTION, row)
    world.bare.execute(INSERT_ARRAYS, [row[0], Y, Y, INDICES, layout()])


def save_many(world: World, count: int) -> None:
    """Insert predictions and their arrays in one transaction, each table in one Arrow insert."""
    rows = [prediction(world) for _ in range(count)]
    layouts = [layout() for _ in range(count)]
    predictions = pl.DataFrame(rows, schema=PREDICTION.split(", "), orient="row", infer_schema_length=None).to_arrow()
    offsets = pl.Series(np.arange(0, (count + 1) * len(Y), len(Y)), dtype=pl.Int32).to_arrow()
    lists = [
        pa.ListArray.from_arrays(offsets, pl.Series(np.concatenate([y] * count)).to_arrow()) for y in (Y, Y, INDICES)
    ]
    keys = pl.Series([row[0] for row in rows]).to_arrow()
    arrays = pa.Table.from_arrays([keys, *lists, pl.Series(layouts).to_arrow()], names=ARRAYS.split(", "))
    world.bare.begin()
    for table, columns, content in (("predictions", PREDICTION, predictions), ("prediction_arrays", ARRAYS, arrays)):
        world.bare.register(f"arrow_{table}", content)
        world.bare.execute(f"INSERT INTO {table}({columns}) SELECT {columns} FROM arrow_{table}")
        world.bare.unregister(f"arrow_{table}")
    world.bare.commit()


def frame(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any]) -> pl.DataFrame:
    """Return the rows of a query as a polars frame."""
    return pl.DataFrame(connection.sql(query, params=parameters).to_arrow_table())


def get_prediction(world: World, prediction_id: str) -> dict[str, Any]:
    """Read a prediction and its arrays."""
    row = frame(world.bare, "SELECT * FROM predictions WHERE prediction_id = ?", [prediction_id]).row(0, named=True)
    for name in ("scores", "best_params"):
        row[name] = json.loads(row[name])
    lists = frame(world.bare, "SELECT * FROM prediction_arrays WHERE prediction_id = ?", [prediction_id])
    return row | {name: lists[name][0].to_numpy() for name in ("y_true", "y_pred", "sample_indices")}


def replay(world: World, X: Any) -> Any:
    """Predict with the objects in memory."""
    Z = world.scaler.transform(X)
    return np.mean([model.predict(Z) for model in world.models], axis=0)


def load_and_replay(world: World, X: Any) -> Any:
    """Load the objects from their files, hashed, and predict."""
    objects = []
    for path in world.paths:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        objects.append(joblib.load(io.BytesIO(content)))
    Z = objects[0].transform(X)
    return np.mean([model.predict(Z) for model in objects[1:]], axis=0)


def save_artifact(world: World, fitted: Any, *, is_there: bool) -> None:
    """Dump, hash, write durably if it is new, and commit one row."""
    stream = io.BytesIO()
    joblib.dump(fitted, stream)
    content = stream.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    if is_there:
        world.bare.execute(
            "UPDATE artifacts SET ref_count = ref_count + 1, unclaimed = unclaimed + 1, saved_at = ? "
            "WHERE content_hash = ? AND format = 'joblib'",
            [now(), digest],
        )
        return
    folder = world.folder / "bare-artifacts" / digest[:2]
    if not folder.exists():
        folder.mkdir(parents=True)
        _fsync(folder.parent)
    temporary = folder / f".writing-{secrets.token_hex(8)}"
    with temporary.open("wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(folder / digest)
    _fsync(folder)
    world.bare.execute(
        "INSERT INTO artifacts VALUES (?, ?, ?, 'o', 'm', 'joblib', ?, 1, 1, ?, ?, ?, NULL)",
        [str(uuid_utils.uuid7()), f"{digest[:2]}/{digest}", digest, len(content), now(), '{"python": "3"}', now()],
    )


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a database."""
    return duckdb.connect(str(path))


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Count the rows of a table."""
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def check_count(path: Path, table: str, rows: int) -> None:
    """Make sure that a table of a database has so many rows."""
    with connect(path) as connection:
        assert count(connection, table) == rows


def delete_and_compact(world: World) -> None:
    """Delete a run and all below it, and put a copy without free space in the database's place."""
    path = world.bare_database
    of_run = "IN (SELECT pipeline_id FROM pipelines WHERE run_id = ?)"
    predictions = f"(SELECT prediction_id FROM predictions WHERE pipeline_id {of_run})"
    with connect(path) as connection:
        connection.begin()
        for statement in (
            f"DELETE FROM prediction_arrays WHERE prediction_id IN {predictions}",
            f"DELETE FROM predictions WHERE pipeline_id {of_run}",
            f"DELETE FROM chains WHERE pipeline_id {of_run}",
            f"DELETE FROM logs WHERE pipeline_id {of_run}",
            "DELETE FROM pipelines WHERE run_id = ?",
            "DELETE FROM runs WHERE run_id = ?",
        ):
            connection.execute(statement, [world.run_id])
        connection.commit()
    compact = path.with_name("compact.duckdb")
    compact.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS source (READ_ONLY)")
        connection.execute(f"ATTACH '{compact}' AS target")
        connection.execute("COPY FROM DATABASE source TO target")
    _fsync(compact)
    compact.replace(path)
    _fsync(path.parent)


def export(world: World, query: str, path: Path) -> None:
    """Write the rows of a query with `COPY TO`, durably."""
    world.bare.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    _fsync(path)


def check_parquet(path: Path, rows: int) -> None:
    """Make sure that a Parquet file has so many rows."""
    assert pl.scan_parquet(path).select(pl.len()).collect().item() == rows


def create(path: Path, statements: list[str]) -> None:
    """Create a database with these tables."""
    with connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("CHECKPOINT")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
