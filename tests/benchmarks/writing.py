"""The cases that save and delete predictions."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine.duckdb.files import copy_compacted

from . import bare
from .cases import Case, Side
from .world import World, Worlds

BATCH = 2_000
DELETED = 100_000
KEPT = 10_000
TABLES = ("predictions", "prediction_arrays")


def one_at_a_time(worlds: Worlds) -> Case:
    """Save a prediction and its arrays, each committed."""
    world = worlds.small
    return Case(
        "1",
        "save a prediction and its arrays, each committed",
        adding(world, "store", 40, world.save_with_arrays),
        adding(world, "bare", 40, lambda: bare.save(world)),
        1.5,
        rounds=9,
        calls=40,
    )


def in_a_transaction(worlds: Worlds) -> Case:
    """Save many in one transaction, call by call."""
    world = worlds.small
    return Case(
        "2",
        f"{BATCH:,} of them inside transaction(), call by call",
        adding(world, "store", BATCH, lambda: world.save_batch(BATCH)),
        adding(world, "bare", BATCH, lambda: bare.save_many(world, BATCH)),
        2,
        per_call=BATCH,
    )


def among_many(worlds: Worlds) -> Case:
    """Save many where there are very many."""
    small, large = worlds.small, worlds.growing
    return Case(
        "3",
        f"row 2 among {large.predictions:,} predictions; bare: row 2's store",
        adding(large, "store", BATCH, lambda: large.save_batch(BATCH)),
        adding(small, "store", BATCH, lambda: small.save_batch(BATCH)),
        1.2,
        per_call=BATCH,
    )


def adding(world: World, side: str, rows: int, work: Callable[[], object]) -> Side:
    """Return a side that must add so many rows to both tables in a round."""
    before: list[int] = []

    def counts() -> list[int]:
        return [world.count(side, table) for table in TABLES]

    def prepare() -> None:
        before[:] = counts()

    def check() -> None:
        assert counts() == [count + rows for count in before]

    return Side(work, prepare, check)


def deleting(worlds: Worlds) -> Case:
    """Delete a large run beside a small one, and give its space back."""
    deleted, kept = (min(worlds.many, count) for count in (DELETED, KEPT))
    world = World(worlds.folder / "deleting", deleted, deleted)
    run_id = world.store.begin_run("kept", {}, [])
    pipeline_id = world.store.begin_pipeline(run_id, "kept", {}, [], "wheat", "")
    world.store.close()
    world.bare.close()
    moved = "SELECT * REPLACE ('k' || prediction_id AS prediction_id"
    with bare.connect(world.database) as connection:
        for table, columns in zip(TABLES, (f"{moved}, ? AS pipeline_id)", f"{moved})"), strict=True):
            values = [pipeline_id] if table == "predictions" else []
            connection.execute(f"INSERT INTO {table} {columns} FROM {table} LIMIT {kept}", values)
    full = world.folder / "full.duckdb"
    shutil.copyfile(world.database, full)
    fresh = world.folder / "fresh.duckdb"

    def store() -> None:
        with WorkspaceStore(world.workspace) as opened:
            assert opened.delete_run(world.run_id, delete_artifacts=False) == 2 * deleted + 3
            opened.vacuum()

    def check_store() -> None:
        with bare.connect(world.database) as connection:
            assert bare.count(connection, "predictions") == bare.count(connection, "prediction_arrays") == kept

    def note() -> str:
        fresh.unlink(missing_ok=True)
        copy_compacted(world.database, fresh)
        ratio = world.database.stat().st_size / fresh.stat().st_size
        assert ratio <= 1.2, ratio
        return f"the file is {ratio:.2f} times a fresh copy"

    return Case(
        "12",
        f"delete_run of {deleted:,} predictions with arrays, then vacuum()",
        Side(store, lambda: shutil.copyfile(full, world.database), check_store),
        Side(
            lambda: bare.delete_and_compact(world),
            lambda: shutil.copyfile(full, world.bare_database),
            lambda: bare.check_count(world.bare_database, "prediction_arrays", kept),
        ),
        2,
        rounds=3,
        note=note,
    )
