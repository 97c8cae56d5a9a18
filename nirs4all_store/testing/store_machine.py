"""Tests for whoever writes a back end: `StoreContract`, every promise as a test, and `StoreMachine`.

Both need pytest and Hypothesis: `pip install 'nirs4all-store[test]'`.

Examples
--------
>>> class TestMyStore(StoreContract):  # doctest: +SKIP
...     def open_store(self, folder):
...         return MyStore(folder)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, initialize, multiple, rule

from ..datasets import AVERAGE
from ..errors import ArtifactCorruptError, ArtifactMissingError, UntrustedArtifactError
from .contract import StoreContract
from .rows_machine import TABLES, TRAINED_ON, RowsMachine

__all__ = ["TABLES", "StoreContract", "StoreMachine"]

DAMAGES = {"flip": "damaged-file", "cut": "damaged-file", "empty": "damaged-file", "remove": "missing-file"}
Findings = set[tuple[str, str]]


class StoreMachine(RowsMachine):
    """Also exports, imports, checks, repairs, and changes rows and files behind the store's back.

    After every sequence `check(deep=True)` finds exactly what was tampered with and not made good since.
    Override `open_store` to run it over another store.
    """

    files = Bundle("files")
    chains = RowsMachine.chains
    predictions = RowsMachine.predictions
    runs = RowsMachine.runs

    def __init__(self) -> None:
        super().__init__()
        self.damaged: dict[str, str] = {}
        self.untrusted: set[str] = set()
        self.orphans: set[str] = set()
        self.exports = 0

    @initialize(target=chains)
    def begin_first_chain(self) -> Any:
        """Begin with a chain, too: most rules are about one."""
        return self.save_chain(self.begin_pipeline(self.begin_run("second")), [0, 1])

    def teardown(self) -> None:
        """Check all of it, then remove the workspace."""
        try:
            self.check(deep=True)
        finally:
            super().teardown()

    @rule(deep=st.booleans())
    def check(self, deep: bool) -> None:
        """Check, and compare with the model; without `deep` damage that leaves the size is missed."""
        assert self._found(deep=deep) == self._expected(deep=deep)

    @rule(deep=st.booleans())
    def repair(self, deep: bool) -> None:
        """Repair does what the dry run said, once; a damaged file that it moves away is missing then."""
        self._repair(set(), deep=deep)

    @rule(content=st.integers(0, 4), damage=st.sampled_from(sorted(DAMAGES)))
    def damage_file(self, content: int, damage: str) -> None:
        """Flip a bit of an artifact's file, cut it, empty it, or remove it."""
        artifact_id = self.artifact_ids.get(content)
        if artifact_id is None or artifact_id in self.damaged:
            return
        name = dict(self._select("SELECT artifact_id, artifact_path FROM artifacts"))[artifact_id]
        data = self.read_file(self.store, name)
        if damage == "remove":
            self.remove_file(self.store, name)
        else:
            damaged = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "empty": b""}[damage]
            self.write_file(self.store, name, damaged)
        self.damaged[artifact_id] = damage

    @rule(name=st.sampled_from(["stray", "ab/stray.joblib", "ab/cd/stray"]))
    def leave_file(self, name: str) -> None:
        """Put a file where no artifact is."""
        self.write_file(self.store, name, b"stray")
        self.orphans.add(name)

    @rule(content=st.integers(0, 4), by=st.sampled_from([-1, 1, 7]))
    def miscount(self, content: int, by: int) -> None:
        """Write down a wrong count; repair counts anew."""
        if content in self.artifact_ids:
            artifact_id = self.artifact_ids[content]
            self._change(
                "UPDATE artifacts SET ref_count = ref_count + :by WHERE artifact_id = :id", by=by, id=artifact_id
            )
            self._repair({("wrong-count", f"artifacts {artifact_id}")})

    @rule(run=consumes(runs))
    def lose_run(self, run: str) -> None:
        """Remove a run's row alone; repair removes what was below it, and keeps the artifacts."""
        if run not in self.run_ids:
            return
        lost = {pipeline for pipeline, owner in self.pipeline_runs.items() if owner == run}
        chains = {chain for chain, (pipeline, _) in self.chain_pipelines.items() if pipeline in lost}
        predictions = {key: y for key, (pipeline, y) in self.prediction_arrays.items() if pipeline in lost}
        logs = {key for key, pipeline in self._select("SELECT log_id, pipeline_id FROM logs") if pipeline in lost}
        arrays = {key for key, y in predictions.items() if y is not None}
        below = {
            "pipelines": lost,
            "chains": chains,
            "predictions": {*predictions},
            "prediction_arrays": arrays,
            "logs": logs,
        }
        orphans = {("orphan", f"{table} {key}") for table, keys in below.items() for key in keys}
        self._change("DELETE FROM runs WHERE run_id = :id", id=run)
        self._repair(orphans | self._wrong_counts(chains))
        self.run_ids.discard(run)
        self._forget_pipelines(lost, delete_artifacts=False)

    @rule(chain=consumes(chains))
    def lose_chain(self, chain: str) -> None:
        """Remove a chain's row alone; its predictions stay, and name none after repair."""
        if chain not in self.chain_pipelines:
            return
        named = {key for key, of in self._select("SELECT prediction_id, chain_id FROM predictions") if of == chain}
        self._change("DELETE FROM chains WHERE chain_id = :id", id=chain)
        self._repair({("chain-gone", f"predictions {key}") for key in named} | self._wrong_counts({chain}))
        del self.chain_pipelines[chain]

    @rule(prediction=predictions)
    def change_an_array(self, prediction: str) -> None:
        """Make an array longer than the others; only its owner can put that right."""
        if self.prediction_arrays.get(prediction, ("", None))[1] is None:
            return
        change = (
            "UPDATE prediction_arrays SET y_true = list_resize(y_true, len(y_true) + :by) WHERE prediction_id = :id"
        )
        self._change(change, by=1, id=prediction)
        assert self._found(deep=True) == self._expected(deep=True) | {
            ("unreadable-value", f"prediction_arrays {prediction}")
        }
        self._change(change, by=-1, id=prediction)

    @rule(target=predictions, chain=chains, score=st.integers(0, 9))
    def judge(self, chain: str, score: int) -> Any:
        """Save what all folds together have predicted, by which chains are ranked."""
        if chain not in self.chain_pipelines:
            return multiple()
        pipeline = self.chain_pipelines[chain][0]
        row: dict[str, Any] = {"chain_id": chain, "dataset_name": "d", "model_name": "m", "model_class": "m"}
        row |= {
            "fold_id": AVERAGE,
            "partition": "val",
            "val_score": score / 7,
            "metric": "rmse",
            "task_type": "regression",
        }
        (prediction_id,) = self.store.save_predictions(pipeline, [row])
        self.prediction_arrays[prediction_id] = (pipeline, None)
        return prediction_id

    @rule(run=runs)
    def prune(self, run: str) -> None:
        """Keep the objects of the best chain of a run; what nothing else names goes, and scores stay."""
        if run not in self.run_ids:
            return
        of_run = {chain for chain, (pipeline, _) in self.chain_pipelines.items() if self.pipeline_runs[pipeline] == run}
        scores = self.store.query_predictions(fold_id=AVERAGE, run_id=run).drop_nulls("chain_id")
        judged = dict(scores.group_by("chain_id").min().select("chain_id", "val_score").rows())
        said = self.store.prune(run, 1, dry_run=True)
        done = self.store.prune(run, 1)
        assert done.chains.equals(said.chains)
        losers = {*done.chains["chain_id"]}
        assert losers <= {*judged} <= of_run
        left = {*judged} - losers
        assert not losers or min(judged[chain] for chain in left) == min(judged.values())
        assert sum(bool(self.chain_pipelines[chain][1]) for chain in left) <= 1
        released = {artifact_id for chain in losers for artifact_id in self.chain_pipelines[chain][1]}
        for chain in losers:
            self.chain_pipelines[chain] = (self.chain_pipelines[chain][0], set())
        for artifact_id in released - self._used():
            if self.unclaimed[artifact_id] == 0:
                self._forget_artifact(artifact_id)

    @rule(target=files, chain=chains)
    def export(self, chain: str) -> Any:
        """Write a bundle; the file comes back with what it holds. Objects that are not whole are not exported."""
        if not self.chain_pipelines.get(chain, ("", set()))[1]:  # A pruned one has nothing to export.
            return multiple()
        self.exports += 1
        path = self.folder / f"{self.exports}.n4a"
        if self.chain_pipelines[chain][1] & {*self.damaged}:
            with pytest.raises((ArtifactCorruptError, ArtifactMissingError)):
                self.store.export_chain(chain, path)
            assert not path.exists()
            return multiple()
        self.store.export_chain(chain, path)
        contents = {artifact_id: content for content, artifact_id in self.artifact_ids.items()}
        folds = (self.store.get_chain(chain) or {})["fold_artifacts"]
        named = sum(of == chain for (of,) in self._select("SELECT chain_id FROM predictions"))
        return path, [contents[folds[fold]] for fold in sorted(folds)], named

    @rule(target=chains, file=files, trusted=st.booleans())
    def import_once(self, file: tuple[Path, list[int], int], trusted: bool) -> Any:
        """Import a bundle; where it is already, it adds nothing, and makes damaged files whole."""
        path, contents, named = file
        found = self.store.import_bundle(path, trusted=trusted)
        ids = (self.store.get_chain(found.chain_id) or {})["fold_artifacts"]
        assert found.is_new is (found.chain_id not in self.chain_pipelines)
        for content, artifact_id in zip(contents, (ids[fold] for fold in sorted(ids)), strict=True):
            if content not in self.artifact_ids:
                self.artifact_ids[content] = artifact_id
                self.untrusted.add(artifact_id)
            assert self.artifact_ids[content] == artifact_id
            self.damaged.pop(artifact_id, None)
            if trusted:
                self.untrusted.discard(artifact_id)
        if not found.is_new:
            return multiple()
        if found.run_id not in self.run_ids:
            self._tell(TRAINED_ON[0], None)
        self._tell(*TRAINED_ON)
        self.run_ids.add(found.run_id)
        self.pipeline_runs[found.pipeline_id] = found.run_id
        self.chain_pipelines[found.chain_id] = (found.pipeline_id, {*ids.values()})
        rows = self._select("SELECT prediction_id FROM predictions WHERE pipeline_id = :id", id=found.pipeline_id)
        assert len(rows) == named
        self.prediction_arrays.update((key, (found.pipeline_id, None)) for (key,) in rows)
        return found.chain_id

    def _repair(self, more: Findings, *, deep: bool = False) -> None:
        said = self.store.repair(deep=deep)
        assert {(found.code, found.subject) for found in said.repaired + said.left} == self._expected(deep=deep) | more
        before = self._quarantined()
        done = self.store.repair(dry_run=False, deep=deep)
        assert done.repaired == said.repaired
        moved = [found for found in done.repaired if found.code in ("damaged-file", "unlisted-file")]
        assert self._quarantined() == before + len(moved)
        assert self.store.repair(deep=deep).repaired == []
        self.orphans.clear()
        for artifact_id, damage in self.damaged.items():
            if deep or damage != "flip":
                self.damaged[artifact_id] = "remove"

    def _wrong_counts(self, chains: set[str]) -> Findings:
        ids = {artifact_id for chain in chains for artifact_id in self.chain_pipelines[chain][1]}
        return {("wrong-count", f"artifacts {artifact_id}") for artifact_id in ids}

    def _found(self, *, deep: bool) -> Findings:
        return {(found.code, found.subject) for found in self.store.check(deep=deep).findings}

    def _expected(self, *, deep: bool) -> Findings:
        paths = dict(self._select("SELECT artifact_id, artifact_path FROM artifacts"))
        return {("unlisted-file", name) for name in self.orphans} | {
            (DAMAGES[damage], paths[artifact_id])
            for artifact_id, damage in self.damaged.items()
            if deep or damage != "flip"
        }

    def _quarantined(self) -> int:
        return sum(name.startswith(".quarantine/") for name in self.files_of(self.store))

    def _select(self, statement: str, **parameters: Any) -> list[Any]:
        return self.select(self.store, statement, **parameters)

    def _change(self, statement: str, **parameters: Any) -> None:
        self.change(self.store, statement, **parameters)

    def _gone(self) -> set[str]:
        return {artifact_id for artifact_id, damage in self.damaged.items() if damage == "remove"}

    def _save(self, content: int) -> str:
        artifact_id = super()._save(content)
        self.damaged.pop(artifact_id, None)
        self.untrusted.discard(artifact_id)
        return artifact_id

    def _forget_artifact(self, artifact_id: str) -> None:
        super()._forget_artifact(artifact_id)
        self.damaged.pop(artifact_id, None)
        self.untrusted.discard(artifact_id)

    @rule()
    def collect(self) -> None:
        """Collect without grace: what no chain names goes, and files that no row names."""
        super().collect()
        self.orphans.clear()

    @rule(content=st.integers(0, 4))
    def save_artifact_and_roll_back(self, content: int) -> None:
        """Save in a transaction that is left by an exception; a damaged file is whole again nevertheless."""
        super().save_artifact_and_roll_back(content)
        self.damaged.pop(self.artifact_ids.get(content, ""), None)

    def loads(self, artifact_id: str) -> None:
        """Load an artifact, one of those that are saved here; one that is damaged or not trusted is refused."""
        if artifact_id in self.damaged:
            with pytest.raises((ArtifactCorruptError, ArtifactMissingError, UntrustedArtifactError)):
                self.store.load_artifact(artifact_id)
        elif artifact_id in self.untrusted:
            with pytest.raises(UntrustedArtifactError):
                self.store.load_artifact(artifact_id)
        else:
            assert self.store.load_artifact(artifact_id) in [{"content": content} for content in range(5)]
