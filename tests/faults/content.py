"""What trials save, made from numbers alone, so that another process knows what must come back."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from legacy import leave_a_log, make_legacy
from sklearn.linear_model import Ridge
from sqlalchemy import text

from nirs4all_store import WorkspaceStore

from .processes import in_new_process
from .programme import scratch

CONTENTS = 6
NO_GRACE = timedelta(0)
X = np.random.default_rng(3).normal(size=(30, 8))


@functools.cache
def model(content: int) -> Ridge:
    """Return a fitted model, one for each number."""
    return Ridge(alpha=1.0 + content).fit(X, X[:, 0] + content)


def arrays(number: int) -> dict[str, Any]:
    """Return the arrays of a prediction."""
    rng = np.random.default_rng(number)
    return {
        "y_true": rng.normal(size=20),
        "y_pred": rng.normal(size=20),
        "sample_indices": np.arange(number, number + 20),
    }


def save_artifact(store: WorkspaceStore, content: int) -> str:
    """Save a fitted model."""
    return store.save_artifact(model(content), "Ridge", "model", "joblib")


def save_chain(store: WorkspaceStore, pipeline_id: str, artifact_id: str) -> str:
    """Save a chain of one model."""
    step = {"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}
    return store.save_chain(pipeline_id, [step], 0, "Ridge", "", "shared", {"all": artifact_id}, {})


def save_prediction(
    store: WorkspaceStore, pipeline_id: str, chain_id: str | None, prediction_id: str, n: int, fold_id: str = "0"
) -> None:
    """Save a prediction without its arrays."""
    store.save_prediction(
        pipeline_id,
        chain_id,
        "d",
        "m",
        "Ridge",
        fold_id,
        "val",
        n / 7,
        None,
        None,
        "rmse",
        "regression",
        20,
        8,
        {"val": {"rmse": n / 7}},
        {"n": n},
        None,
        None,
        0,
        0.0,
        "",
        prediction_id,
    )


def save_run(store: WorkspaceStore, number: int, content: int, predictions: int = 3) -> tuple[str, str, str]:
    """Save a run with a chain and predictions; return the ids of the run, the pipeline and the chain."""
    run_id = store.begin_run(f"run {number}", {"number": number}, [{"name": "d"}])
    pipeline_id = store.begin_pipeline(run_id, "p", {"number": number}, [], "d", "")
    chain_id = save_chain(store, pipeline_id, save_artifact(store, content))
    for i in range(predictions):
        save_prediction(store, pipeline_id, chain_id, f"{number}-{i}", 100 * number + i)
        store.save_prediction_arrays(f"{number}-{i}", **arrays(100 * number + i))
    return run_id, pipeline_id, chain_id


def equal(found: dict[str, Any], number: int) -> None:
    """Make sure that a prediction is the one that was saved under a number, with its arrays."""
    assert found["val_score"] == number / 7
    assert found["best_params"] == {"n": number}
    for name, values in arrays(number).items():
        np.testing.assert_array_equal(found[name], values, strict=True)


def read_all(store: WorkspaceStore) -> dict[str, int]:
    """Read every column of every row and every artifact; return how many rows there are."""
    report = store.check(deep=True)
    assert report.is_sound, report.findings
    with store.unit_of_work() as uow:  # And not with `sql`, which must plan each question before it asks it.
        found = {table: uow.session.execute(text(f"SELECT * FROM {table}")).mappings().all() for table in report.rows}
    assert {table: len(rows) for table, rows in found.items()} == report.rows
    for row in found["artifacts"]:
        store.load_artifact(row["artifact_id"])
    for row in found["chains"]:
        chain = store.get_chain(row["chain_id"]) or {}
        is_pruned = not chain["fold_artifacts"]
        if row["model_class"] == "Ridge" and not row["chain_id"].startswith("chain-") and not is_pruned:
            store.replay_chain(row["chain_id"], X)
    return report.rows


def is_usable(store: WorkspaceStore) -> None:
    """Make sure that one can go on working."""
    run_id = store.begin_run("after the fault")
    assert store.get_run(run_id) is not None
    assert store.delete_run(run_id) == 1


def copy_of(make: Callable[[Path], object], folder: Path) -> Path:
    """Let `make` fill a template once, in a new process, and copy it to a folder."""
    template = scratch() / f"template-{make.__name__}"
    if not template.exists():
        unfinished = template.with_name(f"{template.name}-unfinished")
        unfinished.mkdir()
        in_new_process(lambda: make(unfinished) and None)
        unfinished.rename(template)
    return shutil.copytree(template, folder)


def write_json(path: Path, value: Any) -> None:
    """Leave something to the parent that is too long for a message."""
    path.write_text(json.dumps(value))


def read_json(path: Path) -> Any:
    """Return what a child has left."""
    return json.loads(path.read_text())


def used(folder: Path) -> None:
    """Fill a workspace with two runs that share a model, and an artifact that no chain claims."""
    with WorkspaceStore(folder) as store:
        for number, content in ((901, 0), (902, 0), (903, 1)):
            save_run(store, number, content)
        save_artifact(store, 2)


def old(folder: Path) -> None:
    """Write a workspace of nirs4all 0.7.1."""
    make_legacy(folder, "0.7.1")


def old_with_log(folder: Path) -> None:
    """Write one in whose log stands a transaction, as a process that was killed leaves it."""
    old(folder)
    leave_a_log(folder)
