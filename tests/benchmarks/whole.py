"""The cases of whole workspaces: import, create, open."""

from __future__ import annotations

import itertools
import subprocess
import sys

from nirs4all_store import WorkspaceStore

from . import bare
from .cases import Case, Side
from .world import World, Worlds

LIBRARIES = "sqlalchemy, duckdb, polars, numpy"
TIMED_IMPORT = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
CREATE_BOUND_MS = 300


def open_empty(worlds: Worlds) -> Case:
    """Open a small workspace."""
    return _opening("10a", worlds.small, "hardly any")


def open_large(worlds: Worlds) -> Case:
    """Open a large workspace."""
    return _opening("10b", worlds.large, f"{worlds.large.predictions:,}")


def _opening(number: str, world: World, predictions: str) -> Case:
    """Open a workspace and read one row."""

    def store() -> None:
        world.open_store()
        run = world.store.get_run(world.run_id)
        assert run is not None and run["name"] == "benchmark"

    def plain() -> None:
        world.open_bare()
        rows = world.bare.execute("SELECT * FROM runs WHERE run_id = ?", [world.run_id]).fetchall()
        assert len(rows) == 1

    return Case(
        number,
        f"open a workspace with {predictions} predictions and read one row",
        Side(store, prepare=world.close_store),
        Side(plain, prepare=world.close_bare),
        2,
        rounds=9,
    )


class TimedImport(Side):
    """An import, timed by a new interpreter without its own start."""

    def __init__(self, statement: str) -> None:
        super().__init__(self._run)
        self._program = TIMED_IMPORT.format(statement)

    def _run(self) -> float:
        done = subprocess.run([sys.executable, "-c", self._program], capture_output=True, check=True, text=True)
        return float(done.stdout)

    def time(self, calls: int) -> float:
        """Return the milliseconds of one import."""
        return self._run() * 1000


def importing(worlds: Worlds) -> Case:
    """Import the package."""
    return Case(
        "11a",
        f"import nirs4all_store; bare: {LIBRARIES}",
        TimedImport("import nirs4all_store"),
        TimedImport(f"import {LIBRARIES}"),
        1.2,
        rounds=9,
    )


def importing_the_store(worlds: Worlds) -> Case:
    """Import what opens a workspace."""
    return Case(
        "11b",
        "from nirs4all_store import WorkspaceStore; bare: the same",
        TimedImport("from nirs4all_store import WorkspaceStore"),
        TimedImport(f"import {LIBRARIES}"),
        rounds=9,
    )


def creating(worlds: Worlds) -> Case:
    """Create a workspace."""
    numbers = itertools.count()
    folder = worlds.folder / "created"
    folder.mkdir()
    tables = [sql for (sql,) in worlds.small.bare.execute("SELECT sql FROM duckdb_tables()").fetchall()]

    def store() -> None:
        with WorkspaceStore(folder / f"workspace{next(numbers)}") as created:
            assert created.list_runs().height == 0

    return Case(
        "14",
        f"create a workspace; under {CREATE_BOUND_MS} ms is promised",
        Side(store),
        Side(lambda: bare.create(folder / f"{next(numbers)}.duckdb", tables)),
        rounds=9,
    )
