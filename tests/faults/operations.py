"""Every operation that changes a workspace or writes a file, to be stopped at each of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import text

from nirs4all_store import WorkspaceStore, load_bundle, restore_workspace, upgrade_workspace

from . import content

BUNDLE = "other.n4a"
BACKUP = "b"


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    act : callable
        Does it, given the open store and a folder for what it writes; if it opens the workspace itself,
        given the workspace's folder.
    begin : callable or None
        Makes the workspace that it begins with; None: there is none.
    opens : bool
        Whether it opens the workspace itself.
    is_exact : bool
        Whether it makes the same rows each time, their ids and times included.
    repeats : bool
        Whether it may be done again when its rows are there, for what it does after them.
    """

    act: Callable[[Any, Path], object]
    begin: Callable[[Path], object] | None
    opens: bool = False
    is_exact: bool = False
    repeats: bool = False


def ready(folder: Path) -> None:
    """Make a workspace with a bundle beside it that it does not have."""
    with WorkspaceStore(folder / "elsewhere") as other:
        chain_id = content.save_run(other, 77, 4)[2]
        other.export_chain(chain_id, folder / BUNDLE)
    content.used(folder)


def faulty(folder: Path) -> None:
    """Make one with rows whose parents are gone, and a file that no row names."""
    content.used(folder)
    stray = folder / "artifacts" / "zz" / "stray.joblib"
    stray.parent.mkdir()
    stray.write_bytes(b"x")
    os.utime(stray, (0, 0))
    with WorkspaceStore(folder) as store, store.unit_of_work() as uow:
        uow.session.execute(text("DELETE FROM runs WHERE name = 'run 902'"))
        uow.commit()


def backed_up(folder: Path) -> None:
    """Make one with a backup in it that lacks its last run."""
    content.used(folder)
    with WorkspaceStore(folder) as store:
        store.backup(folder / BACKUP)
        content.save_run(store, 904, 3)


def ranked(folder: Path) -> None:
    """Make one with a run whose worse chain, judged by all folds together, has an object of its own."""
    content.used(folder)
    with WorkspaceStore(folder) as store:
        _, pipeline_id, best = content.save_run(store, 905, 3)
        worse = content.save_chain(store, pipeline_id, content.save_artifact(store, 4))
        for number, chain_id in enumerate((best, worse)):
            content.save_prediction(store, pipeline_id, chain_id, f"avg-{number}", 905 + number, "avg")


def pipeline_of(store: WorkspaceStore, number: int) -> str:
    """Return the id of the pipeline of a run."""
    query = "SELECT pipeline_id FROM pipelines JOIN runs USING (run_id) WHERE runs.name = ?"
    return store.sql(query, [f"run {number}"])["pipeline_id"][0]


def chain_of(store: WorkspaceStore, number: int) -> str:
    """Return the id of the chain of a run."""
    return store.get_chains_for_pipeline(pipeline_of(store, number))["chain_id"][0]


def run_of(store: WorkspaceStore, number: int) -> str:
    """Return the id of a run."""
    return store.get_pipeline(pipeline_of(store, number))["run_id"]


def save_prediction(store: WorkspaceStore, outside: Path) -> None:
    """Save a prediction and its arrays in one transaction."""
    with store.transaction():
        content.save_prediction(store, pipeline_of(store, 901), None, "7", 7)
        store.save_prediction_arrays("7", **content.arrays(7))


def save_chain(store: WorkspaceStore, outside: Path) -> None:
    """Save a chain of an artifact that another one uses."""
    used = store.get_chain(chain_of(store, 901))["fold_artifacts"]["all"]
    content.save_chain(store, pipeline_of(store, 902), used)


def save_dataset(store: WorkspaceStore, outside: Path) -> None:
    """Save a dataset with its samples and its spectra, which are files."""
    store.save_dataset({"X": content.X, "y": content.X[:, 0], "name": "kept"}, keep_spectra=True)


OPERATIONS = {
    "create": Operation(lambda folder, outside: WorkspaceStore(folder).close(), None, opens=True),
    "save_prediction": Operation(save_prediction, content.used),
    "save_artifact": Operation(lambda store, outside: content.save_artifact(store, 5), content.used),
    "save_artifact_again": Operation(lambda store, outside: content.save_artifact(store, 0), content.used),
    "save_chain": Operation(save_chain, content.used),
    "delete_run": Operation(lambda store, outside: store.delete_run(run_of(store, 903)), content.used),
    "save_dataset": Operation(save_dataset, content.used),
    "prune": Operation(lambda store, outside: store.prune(run_of(store, 905), 1), ranked),
    "gc_artifacts": Operation(lambda store, outside: store.gc_artifacts(grace=content.NO_GRACE), content.used),
    "vacuum": Operation(lambda store, outside: store.vacuum(), content.used),
    "backup": Operation(lambda store, outside: store.backup(outside / "b.backup"), content.used),
    "export_chain": Operation(
        lambda store, outside: store.export_chain(chain_of(store, 901), outside / "c.n4a"), content.used
    ),
    "export_script": Operation(
        lambda store, outside: store.export_chain(chain_of(store, 901), outside / "c.n4a.py", "n4a.py"), content.used
    ),
    "export_parquet": Operation(
        lambda store, outside: store.export_predictions_parquet(outside / "p.parquet"), content.used
    ),
    "import_bundle": Operation(
        lambda store, outside: store.import_bundle(store.workspace_path / BUNDLE, trusted=True), ready
    ),
    "repair": Operation(lambda store, outside: store.repair(dry_run=False), faulty, repeats=True),
    "restore": Operation(lambda folder, outside: restore_workspace(folder / BACKUP, folder), backed_up, opens=True),
    "upgrade": Operation(lambda folder, outside: upgrade_workspace(folder), content.old, opens=True, is_exact=True),
    "upgrade_with_log": Operation(
        lambda folder, outside: upgrade_workspace(folder), content.old_with_log, opens=True, is_exact=True
    ),
}


def look_at_outputs(outside: Path, *, is_acknowledged: bool) -> None:
    """Make sure that what an operation writes is whole, or absent if nobody was told that it is there."""
    for path in outside.iterdir() if outside.exists() else []:
        match path.name:
            case "b.backup":
                with WorkspaceStore(path) as store:
                    content.read_all(store)
            case "c.n4a":
                load_bundle(path, trusted=True).predict(content.X)
            case "c.n4a.py":
                compile(path.read_text(), path, "exec")
                assert path.read_text().rstrip().endswith("main()"), "a script is there in part"
            case "p.parquet":
                assert pl.read_parquet(path).height == 9
            case name:
                assert name.startswith(".writing-"), name
                assert not is_acknowledged, f"{name} was left behind"
