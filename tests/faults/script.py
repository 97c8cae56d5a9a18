"""A random script of operations that tells what it begins and what was acknowledged, and what must hold after it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nirs4all_store import NotFoundError, StoreError, WorkspaceStore, load_bundle

from . import content
from .processes import Say

Message = dict[str, Any]


class Script:
    """Operations one after the other; `say` gets a message before each one and after each one.

    Parameters
    ----------
    store : WorkspaceStore
    outside : Path
        A folder for exports and backups.
    rng : random.Random
    say : callable
    """

    def __init__(self, store: WorkspaceStore, outside: Path, rng: random.Random, say: Say) -> None:
        self.store = store
        self.outside = outside
        self.rng = rng
        self.say = say
        self.runs: list[tuple[str, str]] = []
        self.number = 0
        self.operations: dict[Callable[[], None], int] = {
            self.run_call_by_call: 6,
            self.run_in_transaction: 6,
            self.save_artifact: 3,
            self.delete_run: 4,
            self.collect: 3,
            self.vacuum: 1,
            self.export_chain: 1,
            self.export_parquet: 1,
            self.back_up: 1,
        }

    def one(self) -> None:
        """Do one operation of the dozen."""
        self.rng.choices([*self.operations], [*self.operations.values()])[0]()

    def each(self) -> None:
        """Do each operation once, and the ones that need what others have left; go on after a typed error."""
        for operation in self.operations:
            try:
                operation()
            except StoreError as error:
                self.say({"refused": type(error).__name__})

    def run_call_by_call(self) -> None:
        """Save a run; each call is acknowledged by itself."""
        number, kind = self._next(), self.rng.randrange(content.CONTENTS)
        run_id = self.store.begin_run(f"run {number}", {"number": number}, [{"name": "d"}])
        self.say({"run": run_id, "number": number})
        pipeline_id = self.store.begin_pipeline(run_id, "p", {"number": number}, [], "d", "")
        self.say({"pipeline": pipeline_id, "of": run_id})
        artifact_id = content.save_artifact(self.store, kind)
        self.say({"artifact": artifact_id, "content": kind})
        chain_id = content.save_chain(self.store, pipeline_id, artifact_id)
        self.say({"chain": chain_id, "of": run_id, "artifact_of_chain": artifact_id, "content": kind})
        self.runs.append((run_id, chain_id))
        for i in range(2):
            key, n = f"{number}-{i}", 100 * number + i
            content.save_prediction(self.store, pipeline_id, chain_id, key, n)
            self.say({"prediction": key, "of": run_id})
            self.store.save_prediction_arrays(key, **content.arrays(n))
            self.say({"arrays": key, "of": run_id, "n": n})

    def run_in_transaction(self) -> None:
        """Save a run and all below it in one transaction."""
        number, kind = self._next(), self.rng.randrange(content.CONTENTS)
        self.say({"whole": number, "predictions": 3})
        with self.store.transaction():
            run_id, pipeline_id, chain_id = content.save_run(self.store, number, kind)
            artifact_id = self.store.get_chain(chain_id)["fold_artifacts"]["all"]
        self.runs.append((run_id, chain_id))
        self.say({"run": run_id, "number": number})
        self.say({"pipeline": pipeline_id, "of": run_id})
        self.say({"chain": chain_id, "of": run_id, "artifact_of_chain": artifact_id, "content": kind})
        for i in range(3):
            self.say({"arrays": f"{number}-{i}", "of": run_id, "n": 100 * number + i})

    def save_artifact(self) -> None:
        """Save one that no chain claims."""
        kind = self.rng.randrange(content.CONTENTS)
        self.say({"artifact": content.save_artifact(self.store, kind), "content": kind})

    def delete_run(self) -> None:
        """Delete one of the runs."""
        if self.runs:
            run_id, _ = self.runs.pop(self.rng.randrange(len(self.runs)))
            self.say({"deleting": run_id})
            self.store.delete_run(run_id)
            self.say({"deleted": run_id})

    def collect(self) -> None:
        """Collect without grace: saves that no chain has claimed go too."""
        self.say({"collecting": True})
        self.store.gc_artifacts(grace=content.NO_GRACE)

    def vacuum(self) -> None:
        """Compact the database."""
        self.store.vacuum()

    def export_chain(self) -> None:
        """Export the last run's chain."""
        if self.runs:
            path = self.outside / f"{self._next()}.n4a"
            self.say({"writing": str(path)})
            self.store.export_chain(self.runs[-1][1], path)
            self.say({"wrote": str(path)})

    def export_parquet(self) -> None:
        """Export all predictions."""
        path = self.outside / f"{self._next()}.parquet"
        self.say({"writing": str(path)})
        self.store.export_predictions_parquet(path)
        self.say({"wrote": str(path)})

    def back_up(self) -> None:
        """Back the workspace up."""
        path = self.outside / f"{self._next()}.backup"
        self.say({"writing": str(path)})
        self.store.backup(path)
        self.say({"wrote": str(path)})

    def _next(self) -> int:
        self.number += 1
        return self.number


class Expected:
    """What must be true of a workspace after the messages of a script."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.runs: dict[str, list[Message]] = {}
        self.state: dict[str, str] = {}
        self.kept: dict[str, bool] = {}
        self.contents: dict[str, int] = {}
        self.whole: dict[int, int] = {}
        self.outputs: dict[str, bool] = {}
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case {"run": run_id}:
                self.runs[run_id], self.state[run_id] = [message], "there"
            case {"of": run_id}:
                self.runs[run_id].append(message)
                if "artifact_of_chain" in message:
                    self.contents[message["artifact_of_chain"]] = message["content"]
            case {"artifact": artifact_id, "content": kind}:
                self.kept[artifact_id], self.contents[artifact_id] = True, kind
            case {"whole": number, "predictions": count}:
                self.whole[number] = count
            case {"deleting": run_id}:
                self.state[run_id], self.kept = "unknown", {}
            case {"deleted": run_id}:
                self.state[run_id] = "gone"
            case {"collecting": _}:
                self.kept = {}
            case {"writing": path}:
                self.outputs[path] = False
            case {"wrote": path}:
                self.outputs[path] = True

    def look(self, store: WorkspaceStore) -> None:
        """Compare a workspace with it, after everything in it was read."""
        content.read_all(store)
        for run_id, state in self.state.items():
            is_there = store.get_run(run_id) is not None
            assert state == "unknown" or is_there == (state == "there"), f"run {run_id} should be {state}"
            for message in self.runs[run_id]:
                self._look_at(store, message, is_there)
        for number, count in self.whole.items():
            found = [store.get_prediction(f"{number}-{i}", load_arrays=True) for i in range(count)]
            assert all(found) or not any(found), f"run {number} is there in part"
            for i, prediction in enumerate(found):
                if prediction is not None:
                    content.equal(prediction, 100 * number + i)
        for artifact_id in self.kept:
            self._loads(store, artifact_id)
        for path, is_acknowledged in self.outputs.items():
            _look_at_output(Path(path), is_acknowledged)
        content.is_usable(store)

    def _look_at(self, store: WorkspaceStore, message: Message, is_there: bool) -> None:
        match message:
            case {"pipeline": key}:
                assert (store.get_pipeline(key) is not None) == is_there, key
            case {"chain": key}:
                assert (store.get_chain(key) is not None) == is_there, key
                if is_there:
                    self._loads(store, message["artifact_of_chain"])
                    np.testing.assert_array_equal(
                        store.replay_chain(key, content.X), content.model(message["content"]).predict(content.X)
                    )
            case {"prediction": key}:
                assert (store.get_prediction(key) is not None) == is_there, key
            case {"arrays": key}:
                found = store.get_prediction(key, load_arrays=True)
                assert (found is not None) == is_there, key
                if found is not None:
                    content.equal(found, message["n"])

    def _loads(self, store: WorkspaceStore, artifact_id: str) -> None:
        try:
            found = store.load_artifact(artifact_id)
        except NotFoundError:
            raise AssertionError(f"artifact {artifact_id} was acknowledged and is gone") from None
        wanted = content.model(self.contents[artifact_id])
        np.testing.assert_array_equal(found.predict(content.X), wanted.predict(content.X))


def _look_at_output(path: Path, is_acknowledged: bool) -> None:
    """Make sure that a file or backup is whole, or not there if nobody was told that it is."""
    if not path.exists():
        assert not is_acknowledged, f"{path} was acknowledged and is not there"
    elif path.suffix == ".n4a":
        load_bundle(path, trusted=True).predict(content.X)
    elif path.suffix == ".parquet":
        pl.read_parquet(path)
    else:
        with WorkspaceStore(path) as store:
            content.read_all(store)
