"""The cases that read predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from nirs4all_store.datasets import read_dataset, table_files

from . import bare
from .cases import Case, Side
from .world import World, Worlds, rows_of

READ = 100_000
SPECTRA = 10_000
RANKED = "val_score IS NOT NULL AND NOT isnan(val_score) AND partition = 'val'"
TOP = f"SELECT * FROM predictions WHERE {RANKED} ORDER BY val_score, prediction_id LIMIT 5"
TOP_BY_MODEL = f"""
    SELECT * FROM predictions WHERE prediction_id IN (
        SELECT prediction_id FROM (
            SELECT prediction_id, row_number() OVER (PARTITION BY model_name ORDER BY val_score, prediction_id) AS place
            FROM predictions WHERE {RANKED}
        ) WHERE place <= 5
    ) ORDER BY val_score, prediction_id
"""
OLDEST_FIRST = "SELECT * FROM predictions ORDER BY created_at, prediction_id"


def top(worlds: Worlds) -> Case:
    """Rank all."""
    return _ranking("4a", "top_predictions(5)", worlds.large, TOP, None, 5)


def top_by_model(worlds: Worlds) -> Case:
    """Rank within each model."""
    return _ranking("4b", 'top_predictions(5, group_by="model_name")', worlds.large, TOP_BY_MODEL, "model_name", 50)


def _ranking(number: str, work: str, world: World, query: str, group_by: str | None, rows: int) -> Case:
    return Case(
        number,
        f"{work} over {world.predictions:,}",
        Side(lambda: rows_of(world.store.top_predictions(5, group_by=group_by), rows)),
        Side(lambda: rows_of(bare.frame(world.bare, query, []), rows)),
        1.3,
        rounds=9,
        calls=3,
    )


def query(worlds: Worlds) -> Case:
    """Read many rows."""
    world, count = worlds.large, min(worlds.many, READ)
    limited = f"SELECT * FROM predictions WHERE dataset_name = ? ORDER BY created_at, prediction_id LIMIT {count}"
    return Case(
        "5",
        f"query_predictions of {count:,} to polars",
        Side(lambda: rows_of(world.store.query_predictions(dataset_name="wheat", limit=count), count)),
        Side(lambda: rows_of(bare.frame(world.bare, limited, ["wheat"]), count)),
        1.3,
    )


def one(worlds: Worlds) -> Case:
    """Read one prediction with its arrays."""
    world = worlds.large

    def store() -> None:
        found = world.store.get_prediction("p777", load_arrays=True)
        assert found is not None and len(found["y_true"]) == 200

    return Case(
        "6",
        f"get_prediction(load_arrays=True) among {world.predictions:,}",
        Side(store),
        Side(lambda: bare.get_prediction(world, "p777")),
        1.5,
        rounds=9,
        calls=20,
    )


def export(worlds: Worlds) -> Case:
    """Write all predictions to Parquet."""
    world = worlds.large
    store, plain = world.folder / "store.parquet", world.folder / "bare.parquet"
    rows = {side: world.count(side, "predictions") for side in ("store", "bare")}
    return Case(
        "13",
        f"export_predictions_parquet of {world.predictions:,}",
        Side(
            lambda: world.store.export_predictions_parquet(store),
            check=lambda: bare.check_parquet(store, rows["store"]),
        ),
        Side(lambda: bare.export(world, OLDEST_FIRST, plain), check=lambda: bare.check_parquet(plain, rows["bare"])),
        2,
        rounds=3,
    )


def file(worlds: Worlds) -> Case:
    """Read spectra from a CSV."""
    return _of_file(worlds, "15a", "table_files.read", lambda path: table_files.read(path).frame, 1.5)


def dataset(worlds: Worlds) -> Case:
    """Read spectra from a CSV, check and hash them."""
    return _of_file(worlds, "15b", "read_dataset", lambda path: read_dataset(path, "protein").content_hash, 1.5)


def _of_file(worlds: Worlds, number: str, name: str, read: Callable[[Path], object], bound: float | None) -> Case:
    count, path = min(worlds.many, SPECTRA), worlds.large.folder / "spectra.csv"
    X = np.round(np.random.default_rng(0).normal(size=(count, 2000)), 5)
    frame = pl.DataFrame(X, schema=[f"{400 + place / 2:g}" for place in range(2000)], orient="row")
    frame.with_columns(protein=pl.Series(X[:, 0])).write_csv(path)
    bare = Side(lambda: rows_of(pl.read_csv(path), count))
    work = f"{name} of a CSV of {count:,} x 2,000; bare: polars.read_csv"
    return Case(number, work, Side(lambda: read(path)), bare, bound, rounds=3)
