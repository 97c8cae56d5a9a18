"""Whatever the order of saving, sharing, failing, deleting: what a chain names stays; in the end nothing does."""

import hashlib
import os
import pickle
from contextlib import nullcontext
from datetime import timedelta
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import slow
from sqlalchemy import text

from nirs4all_store import ArtifactLoadError, NotFoundError, WorkspaceStore
from nirs4all_store.artifacts import codecs
from nirs4all_store.chains.loader import ChainLoader
from nirs4all_store.testing.contract import add_pipeline

NOW = timedelta(0)


def save(store: WorkspaceStore, content: Any = "model") -> str:
    return store.save_artifact(content, "str", "model", "joblib")


def chain(store: WorkspaceStore, pipeline_id: str, *ids: str) -> str:
    step = {"step_idx": 0, "operator_class": "m", "params": {}, "artifact_id": None, "stateless": False}
    return store.save_chain(pipeline_id, [step], 0, "m", "", "per_fold", dict(zip("0123", ids, strict=False)), {})


def counts(store: WorkspaceStore, artifact_id: str) -> tuple[int, int]:
    with store.unit_of_work() as uow:
        row = uow.artifacts.get(artifact_id)
        assert row is not None
        return row["ref_count"], row["unclaimed"]


def files(store: WorkspaceStore) -> list[Path]:
    return [path for path in (store.workspace_path / "artifacts").rglob("*") if path.is_file()]


def artifact_rows(store: WorkspaceStore) -> int:
    with store.unit_of_work() as uow:
        return len(uow.artifacts.paths())


def test_the_count_is_unclaimed_saves_plus_chains(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    model = save(store)
    assert counts(store, model) == (1, 1)
    save(store)
    assert counts(store, model) == (2, 2)
    chain(store, pipeline_id, model)
    assert counts(store, model) == (2, 1)
    chain(store, pipeline_id, model, model)  # The other save may be another run's.
    assert counts(store, model) == (3, 1)
    with store.transaction():
        save(store)
        chain(store, pipeline_id, model)
    assert counts(store, model) == (4, 1)
    store.fail_pipeline(pipeline_id, "broken")
    assert counts(store, model) == (1, 1)
    _, another = add_pipeline(store)
    chain(store, another, model)  # It was saved before that run began.
    assert counts(store, model) == (2, 1)
    save(store)
    chain(store, add_pipeline(store)[1], model)
    assert counts(store, model) == (4, 2)


FEW_WAYS = [(1, True, False, False), (2, True, True, True), (2, False, True, False), (5, False, False, True)]


@pytest.mark.parametrize(
    ("chains", "in_one_transaction", "reopened", "saves_first"),
    [
        pytest.param(*way, marks=[pytest.mark.slow] * (way not in FEW_WAYS))
        for way in product([1, 2, 5], [True, False], [True, False], [True, False])
    ],
)
def test_a_save_was_lost_when_a_run_that_had_saved_the_same_bytes_was_deleted(
    store: WorkspaceStore, chains: int, in_one_transaction: bool, reopened: bool, saves_first: bool
) -> None:
    run_b, pipeline_b = add_pipeline(store)
    run_a, pipeline_a = add_pipeline(store)
    if saves_first:
        model = save(store)  # By run a.
    with store.transaction() if in_one_transaction else nullcontext():
        model = save(store)
        chain(store, pipeline_b, model)
    if not saves_first:
        save(store)
    store = WorkspaceStore(store.workspace_path) if reopened else store
    for _ in range(chains - 1):
        chain(store, store.begin_pipeline(run_b, "another"), model)
    store.delete_run(run_b)
    assert store.gc_artifacts() == 0
    assert store.load_artifact(model) == "model"
    chain(store, pipeline_a, model)
    store.delete_run(run_a)
    assert files(store) == []


@pytest.mark.parametrize("saved_by", ["nobody", "an earlier run"])
def test_a_run_that_named_what_it_had_not_saved_took_it_with_it(store: WorkspaceStore, saved_by: str) -> None:
    if saved_by != "nobody":
        add_pipeline(store)
    model = save(store)
    run_b, pipeline_b = add_pipeline(store)
    chain(store, pipeline_b, model)
    chain(store, pipeline_b, model)
    store.delete_run(run_b)
    assert store.gc_artifacts() == 0
    assert store.load_artifact(model) == "model"
    assert store.gc_artifacts(grace=NOW) == 1


def test_a_run_whose_chains_each_saved_what_they_share_leaves_nothing(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    for number in range(3):
        with store.transaction():
            ids = save(store, "shared"), save(store, number)
            chain(store, pipeline_id, *ids)
            chain(store, pipeline_id, *ids)
    store.delete_run(run_id)
    assert files(store) == []


def test_a_save_that_was_rolled_back_is_taken_over_by_no_chain(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    model = save(store)
    chain(store, pipeline_id, model)
    waiting = save(store)
    with store.unit_of_work():
        save(store)
    with store.unit_of_work() as uow:
        save(store)
        uow.rollback()
        chain(store, pipeline_id, model)
        uow.commit()
    store.delete_run(run_id)
    assert store.load_artifact(waiting) == "model"


def test_an_id_with_quotes_is_known_where_a_chain_of_the_run_names_it(store: WorkspaceStore) -> None:
    odd = 'a"\\é%_'
    path = store.get_artifact_path(save(store))
    store.register_existing_artifact(odd, path, path.stem, "str", "model", "joblib", None)
    _, pipeline_id = add_pipeline(store)
    with store.unit_of_work() as uow:  # As if it had been saved again since.
        again = "unclaimed = 2, ref_count = 2, saved_at = now() + INTERVAL 1 DAY"
        uow.session.execute(text(f"UPDATE artifacts SET {again}"))
        uow.commit()
    chain(store, pipeline_id, odd)
    chain(store, pipeline_id, odd)
    assert counts(store, odd) == (3, 1)


@pytest.mark.parametrize("every", [29, slow(1)])
def test_every_order_keeps_what_a_chain_names_and_ends_empty(store: WorkspaceStore, every: int) -> None:
    for order in [*permutations(["delete a", "delete b", "fail a", "collect", "save"])][::every]:
        play(store, order)
        store.gc_artifacts(grace=NOW)
        assert files(store) == [], order
        assert artifact_rows(store) == 0, order


def play(store: WorkspaceStore, order: tuple[str, ...]) -> None:
    run_a, pipeline_a = add_pipeline(store)
    run_b, pipeline_b = add_pipeline(store)
    shared, own = save(store, "shared"), save(store, "own")
    chain(store, pipeline_a, shared, own)
    chain_b = chain(store, pipeline_b, save(store, "shared"))
    for step in order:
        if step == "delete a":
            store.delete_run(run_a)
        elif step == "delete b":
            store.delete_run(run_b)
        elif step == "fail a" and store.get_pipeline(pipeline_a):
            store.fail_pipeline(pipeline_a, "broken")
        elif step == "collect":
            store.gc_artifacts(grace=NOW)
        elif step == "save":
            save(store, "shared")
        if store.get_chain(chain_b):
            assert store.load_artifact(shared) == "shared", order


def test_a_shared_artifact_is_not_collected_while_in_use_by_another_run(store: WorkspaceStore) -> None:
    run_a, pipeline_a = add_pipeline(store)
    _, pipeline_b = add_pipeline(store)
    model = save(store)
    chain(store, pipeline_a, model)
    chain(store, pipeline_b, model)
    store.delete_run(run_a)
    assert store.gc_artifacts(grace=NOW) == 0
    assert store.load_artifact(model) == "model"


def test_a_save_that_waits_for_its_chain_survives_the_deletion_of_the_run_it_shares_with(store: WorkspaceStore) -> None:
    run_a, pipeline_a = add_pipeline(store)
    _, pipeline_b = add_pipeline(store)
    chain(store, pipeline_a, save(store))
    model = save(store)  # Run b saved, and is about to save its chain.
    store.delete_run(run_a)
    assert store.gc_artifacts() == 0
    chain(store, pipeline_b, model)
    assert store.load_artifact(model) == "model"


def test_a_wrong_count_never_costs_a_live_artifact(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    model = save(store)
    chain(store, pipeline_id, model)
    with store.unit_of_work() as uow:
        uow.artifacts.release([model, model, model])
        uow.commit()
    assert counts(store, model) == (0, 0)
    assert store.gc_artifacts(grace=NOW) == 0
    assert store.load_artifact(model) == "model"


def test_deleting_and_saving_the_same_bytes_in_one_transaction_keeps_the_file(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain(store, pipeline_id, save(store))
    with store.transaction():
        store.delete_run(run_id)
        again = save(store)
    assert store.load_artifact(again) == "model"


def test_a_rolled_back_deletion_removes_no_file(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    model = save(store)
    chain(store, pipeline_id, model)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.delete_run(run_id)
        raise ZeroDivisionError
    assert store.load_artifact(model) == "model"


@pytest.mark.in_a_folder
def test_a_file_without_a_row_goes_after_the_grace_time_only(store: WorkspaceStore) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        save(store)
        raise ZeroDivisionError
    (stray,) = files(store)
    assert store.gc_artifacts() == 0
    two_days_ago = stray.stat().st_mtime - 2 * 86400
    os.utime(stray, (two_days_ago, two_days_ago))
    assert store.gc_artifacts() == 1
    assert files(store) == []


@pytest.mark.in_a_folder
def test_files_that_are_gone_or_replaced_by_a_folder_were_counted_as_removed(store: WorkspaceStore) -> None:
    gone, folder, there = (store.get_artifact_path(save(store, content)) for content in "abc")
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    assert store.gc_artifacts(grace=NOW) == 1
    assert not there.exists()
    assert artifact_rows(store) == 0


def test_a_file_that_two_rows_name_goes_with_the_last_of_them(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    model = save(store)
    path = store.get_artifact_path(model)
    store.register_existing_artifact("adopted", path, path.stem, "str", "model", "joblib", path.stat().st_size)
    chain(store, pipeline_id, model)
    store.delete_run(run_id)
    assert store.load_artifact("adopted") == "model"
    assert store.gc_artifacts(grace=NOW) == 1
    with pytest.raises(NotFoundError):
        store.load_artifact("adopted")
    assert files(store) == []


def test_a_new_save_of_adopted_bytes_joins_the_oldest_row(store: WorkspaceStore) -> None:
    first = save(store)
    path = store.get_artifact_path(first)
    store.register_existing_artifact("adopted", path, path.stem, "str", "model", "joblib", path.stat().st_size)
    assert save(store) == first


@pytest.mark.in_a_folder
def test_a_save_of_adopted_bytes_makes_no_second_file(store: WorkspaceStore) -> None:
    foreign = store.workspace_path / "artifacts" / "model_foreign.pkl"
    foreign.write_bytes(pickle.dumps("model"))
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    store.register_existing_artifact("adopted", foreign, digest, "str", "model", "pickle", 10)
    assert store.save_artifact("model", "str", "model", "pickle") == "adopted"
    assert files(store) == [foreign]


@pytest.mark.in_a_folder
def test_a_file_adopted_under_a_wrong_format_once_made_later_saves_unloadable(store: WorkspaceStore) -> None:
    model = np.arange(3)  # joblib does not write an array as a plain pickle.
    content = codecs.dump(model, "joblib")
    (store.workspace_path / "artifacts" / "my.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    store.register_existing_artifact("wrong", "my.bin", digest, "array", "model", "pickle", len(content))
    saved = store.save_artifact(model, "array", "model", "joblib")
    np.testing.assert_array_equal(store.load_artifact(saved), model)
    with store.unit_of_work() as uow:
        rows = uow.artifacts.get_many(["wrong", saved])
        assert (uow.artifacts.get_by_hash(digest) or {})["artifact_id"] == "wrong"
        assert (uow.artifacts.get_by_hash(digest, "joblib") or {})["artifact_id"] == saved
    loader = ChainLoader(store._workspace.blobs)
    np.testing.assert_array_equal(loader._keep(rows[saved]), model)
    with pytest.raises(ArtifactLoadError):
        loader._keep(rows["wrong"])


def test_a_lost_file_is_healed_by_the_next_save_of_its_bytes(store: WorkspaceStore) -> None:
    model = save(store)
    store.get_artifact_path(model).unlink()
    assert save(store) == model
    assert store.load_artifact(model) == "model"


def test_a_damaged_file_is_healed_by_the_next_save_of_its_bytes(store: WorkspaceStore) -> None:
    path = store.get_artifact_path(save(store))
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert store.load_artifact(save(store)) == "model"


def spell_otherwise(store: WorkspaceStore) -> None:
    """Register every artifact under a second id, with another spelling of its path."""
    for row in store.sql("FROM artifacts").to_dicts():
        store.register_existing_artifact(
            f"also {row['artifact_id']}", row["artifact_path"], row["content_hash"], "M", "m", "joblib", None
        )
    with store.unit_of_work() as uow:
        uow.session.execute(
            text("UPDATE artifacts SET artifact_path = './/' || artifact_path WHERE artifact_id LIKE 'also %'")
        )
        uow.commit()


@pytest.mark.in_a_folder
def test_a_file_that_another_row_spells_otherwise_was_once_collected(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    model = save(store)
    chain(store, pipeline_id, model)
    spell_otherwise(store)
    assert store.plan_gc(grace=NOW).rows() == []
    assert store.gc_artifacts(grace=NOW) == 0
    assert store.load_artifact(model) == "model"
    spell_otherwise(store)
    store.delete_pipeline(pipeline_id)  # The other row's save is unclaimed.
    assert len(files(store)) == 1
    assert store.plan_gc(grace=NOW).height == 1 == store.gc_artifacts(grace=NOW)
    assert files(store) == []


def test_one_file_of_two_spellings_is_planned_and_counted_once(store: WorkspaceStore) -> None:
    save(store)
    spell_otherwise(store)
    assert store.plan_gc(grace=NOW).height == 1 == store.gc_artifacts(grace=NOW)
    assert files(store) == []


@pytest.mark.in_a_folder
def test_a_file_name_that_is_no_utf_8_once_stopped_collection_for_good(store: WorkspaceStore) -> None:
    path = store.workspace_path / "artifacts" / os.fsdecode(b"stray\xff")
    path.touch()
    os.utime(path, (1, 1))
    assert store.plan_gc()["path"].to_list() == ["stray\\xff"]
    assert store.gc_artifacts() == 1
    assert files(store) == []
    assert store.plan_gc().rows() == []
