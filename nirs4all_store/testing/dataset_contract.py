"""`DatasetContract`: what `StoreContract` promises of datasets, one test each."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from ..store import WorkspaceStore
from .hooks import StoreHooks

NOW = timedelta(0)
X = np.random.default_rng(0).normal(size=(40, 12))
Y = X[:, :3].sum(axis=1)


class DatasetContract(StoreHooks):
    """The part of `StoreContract` that is about datasets."""

    def test_a_dataset_is_one_however_often_it_is_saved_and_comes_back(self, store: WorkspaceStore) -> None:
        names = [f"group {i % 4}" for i in range(len(Y))]
        data = {"X": X, "y": Y, "groups": names, "X_test": X[:2], "y_test": Y[:2], "name": "wheat"}
        dataset_id = store.save_dataset(data)
        assert store.save_dataset(data | {"name": "another name"}, keep_spectra=True) == dataset_id
        other = store.save_dataset((X, Y + 1), keep_spectra=True)
        assert store.list_datasets()["dataset_id"].to_list() == [other, dataset_id]
        frame = store.load_dataset(dataset_id)
        assert frame["partition"].to_list() == ["train"] * len(Y) + ["test"] * 2
        assert frame["group"].to_list() == [*names, None, None]
        np.testing.assert_array_equal(frame["y"], [*Y, *Y[:2]])
        np.testing.assert_array_equal(frame.select("x0", "x11"), np.vstack([X, X[:2]])[:, [0, 11]])
        store.update_dataset(dataset_id, name="wheat of 2026", unit="%")
        described = store.get_dataset(dataset_id)
        assert described is not None
        assert (described["name"], described["units"], described["n_samples"]) == ("wheat of 2026", {"y": "%"}, 40)

    def test_two_datasets_that_are_told_are_one_if_name_and_hash_agree(self, store: WorkspaceStore) -> None:
        for name, content_hash in (("wheat", "1"), ("wheat", "2"), ("rye", "1"), ("wheat", "1")):
            run_id = store.begin_run("run", {}, [{"name": name, "hash": content_hash, "n_samples": 40}])
        rows = store.list_datasets().select("name", "content_hash", "n_samples").rows()
        assert sorted(rows) == [("rye", "1", 40), ("wheat", "1", 40), ("wheat", "2", 40)]
        pipeline = store.get_pipeline(store.begin_pipeline(run_id, "p", {}, [], "wheat", "1"))
        assert pipeline is not None
        described = store.get_dataset(pipeline["dataset_id"])
        assert described is not None
        assert (described["name"], described["content_hash"]) == ("wheat", "1")

    def test_a_dataset_goes_with_the_last_pipeline_that_was_trained_on_it(self, store: WorkspaceStore) -> None:
        dataset_id = store.save_dataset((X, Y), keep_spectra=True)
        runs = [store.begin_run("run", {}, [{"name": "d", "dataset_id": dataset_id}]) for _ in range(2)]
        for run_id in runs:
            store.begin_pipeline(run_id, "p", {}, [], "d", dataset_id=dataset_id)
        store.delete_run(runs[0])
        assert store.gc_artifacts(grace=NOW) == 0
        assert store.load_dataset(dataset_id).height == len(Y)
        # a run, a pipeline, a dataset, its samples and its spectra
        assert store.delete_run(runs[1]) == 5
        assert self.files_of(store) == set()
        unused = store.save_dataset((X, Y))
        assert store.gc_artifacts() == 0
        assert store.gc_artifacts(grace=NOW) == 1
        assert store.get_dataset(unused) is None
