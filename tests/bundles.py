"""Bundles for tests: sound ones, and such as only a hostile program would write."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nirs4all_store import WorkspaceStore
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.testing.store_machine import TABLES

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 5)), RNG.normal(size=30)
LABELS = np.array(list("abc") * 10, dtype=object)
RIDGE = "sklearn.linear_model._ridge.Ridge"
SCALER = "sklearn.preprocessing._data.StandardScaler"


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def chain_in(store: WorkspaceStore, models: list[Any], scaler: Any = None, format: str = "joblib") -> str:
    """Save a pipeline with one chain, and two predictions of it."""
    run_id = store.begin_run("wheat", {}, [{"name": "wheat"}])
    pipeline_id = store.begin_pipeline(run_id, "ridge", {"model": "Ridge"}, [1], "wheat", "hash")
    names = ["Scaler", "Model"] if scaler is not None else ["Model"]
    steps = [
        {"step_idx": i, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False}
        for i, name in enumerate(names)
    ]
    shared = {} if scaler is None else {"0": store.save_artifact(scaler, "Scaler", "transformer", format)}
    folds = {str(i): store.save_artifact(model, "Model", "model", format) for i, model in enumerate(models)}
    chain_id = store.save_chain(pipeline_id, steps, len(steps) - 1, "Model", "SS", "per_fold", folds, shared)
    for score in (0.5, float("nan")):
        store.save_prediction(
            pipeline_id,
            chain_id,
            "wheat",
            "m",
            "Model",
            "0",
            "val",
            score,
            None,
            None,
            "rmse",
            "regression",
            30,
            5,
            {"val": {"rmse": score}},
            {"alpha": 1.0},
            None,
            None,
            0,
            0.0,
        )
    store.complete_pipeline(pipeline_id, 0.5, None, "rmse", 12)
    return chain_id


def counts(store: WorkspaceStore) -> dict[str, int]:
    """Return how many rows each table has."""
    with store.unit_of_work() as uow:
        return {
            table: uow.session.connection().exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in TABLES
        }


def remade(path: Path, change: Callable[[dict[str, bytes]], None], *, fix: bool = True) -> Path:
    """Write a bundle anew with changed members; with `fix` the manifest has their hashes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if fix:
        manifest = json.loads(members["manifest.json"])
        manifest.pop("content_sha256", None)
        manifest["sha256"] = {name: sha256(content) for name, content in members.items() if name != "manifest.json"}
        members["manifest.json"] = json.dumps(manifest).encode()
    target = path.with_name("remade.n4a")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def replace_member(members: dict[str, bytes], name: str, content: bytes) -> None:
    """Give a member another content."""
    members[name] = content


def with_chain(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a bundle anew with another `chain.json`."""

    def changed(members: dict[str, bytes]) -> None:
        told = json.loads(members["chain.json"])
        change(told)
        members["chain.json"] = json.dumps(told).encode()

    return remade(path, changed)
