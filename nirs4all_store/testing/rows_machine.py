"""A model of a workspace made of dicts, and rules that save, delete, collect and roll back beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy import text

from ..datasets import FINAL
from ..storage import UnitOfWork
from .hooks import StoreHooks

TABLES = ("runs", "datasets", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs")

DATASET: dict[str, Any] = {"X": np.arange(12.0).reshape(4, 3), "name": "kept"}
TRAINED_ON = ("d", "h")
"""The name and hash of the dataset of each pipeline."""
CONTENTS = st.integers(0, 2)  # Few, so that runs share them.


class RolledBackError(Exception):
    """Leaves a transaction on purpose."""


class RowsMachine(StoreHooks, RuleBasedStateMachine):
    """Begins, saves, deletes, collects, reopens and rolls back, held against a model made of dicts.

    What is compared is read behind the store's back, through `StoreHooks`.
    Override `open_store` to run it over another store.
    """

    runs = Bundle("runs")
    pipelines = Bundle("pipelines")
    chains = Bundle("chains")
    predictions = Bundle("predictions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.open_store(self.folder)
        self.run_ids: set[str] = set()
        self.pipeline_runs: dict[str, str] = {}
        self.chain_pipelines: dict[str, tuple[str, set[str]]] = {}
        self.prediction_arrays: dict[str, tuple[str, list[float] | None]] = {}
        self.unclaimed: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.artifact_ids: dict[int, str] = {}
        self.logs: Counter[str] = Counter()
        self.told: set[tuple[str, str | None]] = set()
        self.kept: dict[int, str] = {}
        self.with_spectra: set[int] = set()

    def teardown(self) -> None:
        """Close and remove the workspace."""
        self.store.close()
        shutil.rmtree(self.folder)

    @initialize(target=pipelines)
    def begin_first_pipeline(self) -> Any:
        """Begin with a pipeline, so that there is something to add to."""
        return self.begin_pipeline(self.begin_run("first"))

    @rule(target=runs, name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def begin_run(self, name: str) -> str:
        """Begin a run; its name comes back."""
        run_id = self.store.begin_run(name, {"name": name}, [{"name": name}])
        self.run_ids.add(run_id)
        self._tell(name, None)
        run = self.store.get_run(run_id)
        assert run is not None
        assert run["name"] == name
        return run_id

    @rule(target=pipelines, run=runs)
    def begin_pipeline(self, run: str) -> Any:
        """Begin a pipeline in a run that may have been deleted."""
        if run not in self.run_ids:
            return multiple()
        pipeline_id = self.store.begin_pipeline(run, "p", {}, [], "d", "h")
        self.pipeline_runs[pipeline_id] = run
        self._tell(*TRAINED_ON)
        self.store.log_step(pipeline_id, 0, "op", "end", 1)
        self.logs[pipeline_id] += 1
        return pipeline_id

    def _tell(self, name: str, content_hash: str | None) -> None:
        """Add a dataset that is told by its name: without a hash where none has the name, and that one gets a hash."""
        if content_hash is not None:
            self.told.discard((name, None))
            self.told.add((name, content_hash))
        elif name and name not in {known for known, _ in self.told} | {"kept" for _ in self.kept}:
            self.told.add((name, None))

    @rule(content=st.integers(0, 1), keep_spectra=st.booleans())
    def save_dataset(self, content: int, keep_spectra: bool) -> None:
        """Save one of two datasets with the same spectra; each is one row, and the spectra are one artifact."""
        y = DATASET["X"][:, 0] + content
        dataset_id = self.store.save_dataset(DATASET | {"y": y}, keep_spectra=keep_spectra)
        assert self.kept.setdefault(content, dataset_id) == dataset_id
        if keep_spectra:
            self.with_spectra = {*self.kept}
        frame = self.store.load_dataset(dataset_id)
        np.testing.assert_array_equal(frame["y"], y)
        assert ("x1" in frame.columns) is (content in self.with_spectra)

    @rule(run=runs)
    def resume_run(self, run: str) -> None:
        """Resume a run; what it is told to have is what the model has."""
        if run not in self.run_ids:
            return
        there = self.store.resume_run(run).select("pipeline_id", "chain_count", "prediction_count").rows()
        chains = Counter(pipeline for pipeline, _ in self.chain_pipelines.values())
        predictions = Counter(pipeline for pipeline, _ in self.prediction_arrays.values())
        pipelines = [pipeline for pipeline, owner in self.pipeline_runs.items() if owner == run]
        assert there == [(pipeline, chains[pipeline], predictions[pipeline]) for pipeline in pipelines]

    @rule(content=CONTENTS)
    def save_artifact(self, content: int) -> None:
        """Save one of three contents, for a chain to come; the same content has the same id as long as it is there."""
        self.waiting[self._save(content)] += 1

    @rule(content=CONTENTS)
    def save_artifact_and_roll_back(self, content: int) -> None:
        """Save in a transaction that is left by an exception."""
        try:
            with self.store.transaction():
                self.store.save_artifact({"content": content}, "dict", "model", "joblib")
                self.store.begin_run("never")
                raise RolledBackError
        except RolledBackError:
            return

    def _save(self, content: int) -> str:
        artifact_id = self.store.save_artifact({"content": content}, "dict", "model", "joblib")
        assert self.artifact_ids.setdefault(content, artifact_id) == artifact_id
        self.unclaimed[artifact_id] += 1
        return artifact_id

    @rule(target=chains, pipeline=pipelines, contents=st.lists(CONTENTS, min_size=1, max_size=3))
    def save_chain(self, pipeline: str, contents: list[int]) -> Any:
        """Save artifacts and a chain that names them, in one transaction."""
        if pipeline not in self.pipeline_runs:
            return multiple()
        with self.store.transaction():
            ids = [self._save(content) for content in contents]
            chain_id = self._add_chain(pipeline, ids)
        for artifact_id in set(ids):
            self.unclaimed[artifact_id] -= 1
        return chain_id

    @rule(target=chains, pipeline=pipelines, content=CONTENTS, count=st.integers(1, 3), together=st.booleans())
    def save_chains_that_share(self, pipeline: str, content: int, count: int, together: bool) -> Any:
        """Save one artifact and some chains that name it, in one transaction or in one each."""
        if pipeline not in self.pipeline_runs:
            return multiple()
        run = self.pipeline_runs[pipeline]
        of_run = {name for name, owner in self.pipeline_runs.items() if owner == run}
        with self.store.transaction() if together else nullcontext():
            artifact_id = self._save(content)
            is_named = any(artifact_id in ids for owner, ids in self.chain_pipelines.values() if owner in of_run)
            ids = [self._add_chain(pipeline, [artifact_id]) for _ in range(count)]
        if together or not is_named:
            self.unclaimed[artifact_id] -= 1
        return multiple(*ids)

    def _add_chain(self, pipeline: str, ids: list[str]) -> str:
        step = {"step_idx": 0, "operator_class": "m", "params": {}, "artifact_id": None, "stateless": False}
        folds = {str(fold): artifact_id for fold, artifact_id in enumerate(ids[:-1])} | {FINAL: ids[-1]}
        predicts = FINAL if len(ids) > 1 else None  # The last of several is the final model.
        chain_id = self.store.save_chain(pipeline, [step], 0, "m", "", "per_fold", folds, {}, predict_fold=predicts)
        self.chain_pipelines[chain_id] = (pipeline, set(ids))
        return chain_id

    @rule(target=predictions, chain=chains, y=st.none() | st.lists(st.floats(width=64), max_size=4))
    def save_prediction(self, chain: str, y: list[float] | None) -> Any:
        """Save a prediction, with or without arrays."""
        if chain not in self.chain_pipelines:
            return multiple()
        pipeline = self.chain_pipelines[chain][0]
        prediction_id = self.store.save_prediction(
            pipeline,
            chain,
            "d",
            "m",
            "m",
            "0",
            "val",
            0.5,
            None,
            None,
            "rmse",
            "regression",
            1,
            1,
            {},
            {},
            None,
            None,
            0,
            0.0,
        )
        if y is not None:
            self.store.save_prediction_arrays(prediction_id, np.array(y, dtype=float), np.array(y, dtype=float))
        self.prediction_arrays[prediction_id] = (pipeline, y)
        return prediction_id

    @rule(
        target=predictions, chain=chains, ys=st.lists(st.none() | st.lists(st.floats(width=64), max_size=4), max_size=3)
    )
    def save_predictions(self, chain: str, ys: list[list[float] | None]) -> Any:
        """Save several predictions together."""
        if chain not in self.chain_pipelines:
            return multiple()
        pipeline = self.chain_pipelines[chain][0]
        row = {
            "chain_id": chain,
            "dataset_name": "d",
            "model_name": "m",
            "model_class": "m",
            "fold_id": "0",
            "partition": "val",
            "val_score": 0.5,
            "metric": "rmse",
            "task_type": "regression",
        }
        arrays = [y if y is None else np.array(y, dtype=float) for y in ys]
        ids = self.store.save_predictions(pipeline, [row | {"y_true": y, "y_pred": y} for y in arrays])
        self.prediction_arrays.update(zip(ids, ((pipeline, y) for y in ys), strict=True))
        return multiple(*ids)

    @rule(prediction=consumes(predictions))
    def delete_prediction(self, prediction: str) -> None:
        """Delete a prediction; False when it was gone already."""
        assert self.store.delete_prediction(prediction) is (prediction in self.prediction_arrays)
        self.prediction_arrays.pop(prediction, None)

    @rule(pipeline=pipelines)
    def fail_pipeline(self, pipeline: str) -> None:
        """Fail a pipeline: its results go, its log and its artifacts stay."""
        if pipeline in self.pipeline_runs:
            self.store.fail_pipeline(pipeline, "broken")
            self._forget_results({pipeline})

    @rule(pipeline=consumes(pipelines))
    def delete_pipeline(self, pipeline: str) -> None:
        """Delete a pipeline with all below it."""
        self.store.delete_pipeline(pipeline)
        self._forget_with_dataset({pipeline} & set(self.pipeline_runs))

    @rule(run=consumes(runs), delete_artifacts=st.booleans())
    def delete_run(self, run: str, delete_artifacts: bool) -> None:
        """Delete a run with all below it; the count is what is missing afterwards."""
        before = sum(self._row_counts().values())
        deleted = self.store.delete_run(run, delete_artifacts)
        self.run_ids.discard(run)
        pipelines = {pipeline for pipeline, owner in self.pipeline_runs.items() if owner == run}
        self._forget_with_dataset(pipelines, delete_artifacts=delete_artifacts)
        assert deleted == before - sum(self._row_counts().values())

    @rule()
    def collect(self) -> None:
        """Collect without grace: exactly what no chain names goes, and the datasets without a pipeline."""
        self.store.gc_artifacts(grace=timedelta(0))
        self.told = {TRAINED_ON} if self.pipeline_runs else set()
        self.kept.clear()
        self.with_spectra.clear()
        for artifact_id in set(self.artifact_ids.values()) - self._used():
            self._forget_artifact(artifact_id)

    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self.store.close()
        self.store = self.open_store(self.folder)

    def _forget_with_dataset(self, pipelines: set[str], *, delete_artifacts: bool = True) -> None:
        """Forget pipelines, and their dataset with the last of them."""
        self._forget_pipelines(pipelines, delete_artifacts=delete_artifacts)
        if pipelines and not self.pipeline_runs:
            self.told.discard(TRAINED_ON)

    def _forget_pipelines(self, pipelines: set[str], *, delete_artifacts: bool = True) -> None:
        released = self._forget_results(pipelines)
        for pipeline in pipelines:
            del self.pipeline_runs[pipeline]
            self.logs.pop(pipeline, None)
        for artifact_id in released - self._used() if delete_artifacts else ():
            if self.unclaimed[artifact_id] == 0:
                self._forget_artifact(artifact_id)

    def _forget_results(self, pipelines: set[str]) -> set[str]:
        released: set[str] = set()
        for chain, (pipeline, ids) in list(self.chain_pipelines.items()):
            if pipeline in pipelines:
                released |= ids
                del self.chain_pipelines[chain]
        for prediction, (pipeline, _) in list(self.prediction_arrays.items()):
            if pipeline in pipelines:
                del self.prediction_arrays[prediction]
        return released

    def _forget_artifact(self, artifact_id: str) -> None:
        self.artifact_ids = {content: saved for content, saved in self.artifact_ids.items() if saved != artifact_id}
        self.unclaimed.pop(artifact_id, None)
        self.waiting.pop(artifact_id, None)

    def _gone(self) -> set[str]:
        """Return the artifacts whose files somebody has taken away."""
        return set()

    def _used(self) -> set[str]:
        return {artifact_id for _, ids in self.chain_pipelines.values() for artifact_id in ids}

    def _row_counts(self) -> dict[str, int]:
        with self.store.unit_of_work() as uow:
            return {table: _count(uow, table) for table in TABLES}

    @invariant()
    def rows_and_files_are_the_models(self) -> None:
        """Compare the workspace with the model."""
        assert self._row_counts() == {
            "runs": len(self.run_ids),
            "datasets": len(self.told) + len(self.kept),
            "pipelines": len(self.pipeline_runs),
            "chains": len(self.chain_pipelines),
            "predictions": len(self.prediction_arrays),
            "prediction_arrays": sum(y is not None for _, y in self.prediction_arrays.values()),
            "artifacts": len(self.artifact_ids) + len(self._of_datasets()),
            "logs": sum(self.logs.values()),
        }
        self._check_reference_counts()

    def _check_reference_counts(self) -> None:
        with self.store.unit_of_work() as uow:
            rows = uow.session.execute(text("SELECT artifact_id, ref_count, unclaimed, artifact_path FROM artifacts"))
            found = {row[0]: tuple(row[1:]) for row in rows}
        users = Counter(artifact_id for _, ids in self.chain_pipelines.values() for artifact_id in ids)
        expected = {
            artifact_id: (self.unclaimed[artifact_id] + users[artifact_id], self.unclaimed[artifact_id])
            for artifact_id in self.artifact_ids.values()
        }
        expected |= {artifact_id: (count, 0) for artifact_id, count in self._of_datasets().items()}
        assert {artifact_id: row[:2] for artifact_id, row in found.items()} == expected
        files = self.files_of(self.store)
        assert {artifact_id for artifact_id, row in found.items() if row[2] not in files} == self._gone()

    def _of_datasets(self) -> Counter[str]:
        """Return how many datasets name each of their artifacts."""
        rows = {content: self.store.get_dataset(dataset_id) or {} for content, dataset_id in self.kept.items()}
        assert {content for content, row in rows.items() if row["spectra_artifact"]} == self.with_spectra
        spectra = [rows[content]["spectra_artifact"] for content in self.with_spectra]
        assert len({*spectra}) <= 1
        return Counter([row["samples_artifact"] for row in rows.values()] + spectra)

    @rule(prediction=predictions)
    def arrays_come_back(self, prediction: str) -> None:
        """Read a prediction's arrays."""
        if prediction not in self.prediction_arrays:
            assert self.store.get_prediction(prediction) is None
            return
        found = self.store.get_prediction(prediction, load_arrays=True)
        y = self.prediction_arrays[prediction][1]
        assert found is not None
        if y is None:
            assert found["y_true"] is None
        else:
            np.testing.assert_array_equal(found["y_pred"], np.array(y, dtype=float))

    @rule()
    def waiting_saves_load(self) -> None:
        """Load what was saved and waits for its chain, whatever others did with the same bytes meanwhile."""
        for artifact_id in self.waiting:
            assert self.waiting[artifact_id] <= self.unclaimed[artifact_id]
            self.loads(artifact_id)

    @rule(chain=chains)
    def live_artifacts_load(self, chain: str) -> None:
        """Every artifact that a stored chain names can be loaded."""
        for artifact_id in self.chain_pipelines.get(chain, ("", set()))[1]:
            self.loads(artifact_id)

    def loads(self, artifact_id: str) -> None:
        """Load an artifact, which is one of the contents that are saved here."""
        assert self.store.load_artifact(artifact_id) in [{"content": content} for content in range(3)]


def _count(uow: UnitOfWork, table: str) -> int:
    return int(uow.session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608  # a constant
