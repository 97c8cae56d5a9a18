"""What is known for sure is never wrong: after deletes, rollbacks, raw statements, and commits that others made."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sqlalchemy import text

from nirs4all_store import NotFoundError, TransactionAbortedError, WorkspaceStore
from nirs4all_store.chains import loader
from nirs4all_store.engine.duckdb import connection, database, file_database
from nirs4all_store.engine.duckdb.row_io import DuckDBRows
from nirs4all_store.engine.duckdb.schema import make_tables_in
from nirs4all_store.identifiers import utc_now
from nirs4all_store.storage import lookup_cache, write_buffer
from nirs4all_store.storage.models import Artifact, Run
from nirs4all_store.storage.repositories.artifacts import SAVED_AGAIN
from nirs4all_store.testing.contract import NOW, X, add_chain, add_pipeline, add_prediction


def delete_with_the_session(store: WorkspaceStore, run_id: str, pipeline_id: str) -> None:
    with store.unit_of_work() as uow:
        uow.session.execute(text("DELETE FROM pipelines"))
        uow.commit()


def delete_with_the_session_and_its_own_commit(store: WorkspaceStore, run_id: str, pipeline_id: str) -> None:
    with store.unit_of_work() as uow:
        uow.session.execute(text("DELETE FROM pipelines"))
        uow.session.commit()


def delete_in_another_thread(store: WorkspaceStore, run_id: str, pipeline_id: str) -> None:
    thread = threading.Thread(target=store.delete_run, args=(run_id,))
    thread.start()
    thread.join()


def delete_by_another_store(store: WorkspaceStore, run_id: str, pipeline_id: str) -> None:
    with WorkspaceStore(store.workspace_path) as other:
        other.delete_pipeline(pipeline_id)


DELETES: dict[str, Callable[[WorkspaceStore, str, str], Any]] = {
    "delete_run": lambda store, run_id, pipeline_id: store.delete_run(run_id),
    "delete_pipeline": lambda store, run_id, pipeline_id: store.delete_pipeline(pipeline_id),
    "the session": delete_with_the_session,
    "the session's own commit": delete_with_the_session_and_its_own_commit,
    "another thread": delete_in_another_thread,
    "another store": delete_by_another_store,
}


@pytest.mark.parametrize("name", DELETES)
def test_nothing_is_saved_below_what_was_deleted(store: WorkspaceStore, name: str) -> None:
    run_id, pipeline_id = add_pipeline(store)
    add_prediction(store, pipeline_id)
    DELETES[name](store, run_id, pipeline_id)
    with pytest.raises(NotFoundError, match=pipeline_id):
        add_prediction(store, pipeline_id)


def test_nothing_is_saved_below_what_was_rolled_back(store: WorkspaceStore) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        _, pipeline_id = add_pipeline(store)
        add_prediction(store, pipeline_id)
        raise ZeroDivisionError
    with pytest.raises(NotFoundError, match=pipeline_id):
        add_prediction(store, pipeline_id)


def test_nothing_is_saved_below_what_was_deleted_in_the_same_transaction(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.delete_run(run_id)
        with pytest.raises(NotFoundError, match=pipeline_id):
            add_prediction(store, pipeline_id)
        raise ZeroDivisionError
    add_prediction(store, pipeline_id)


def test_a_session_that_was_kept_may_delete_what_was_just_asked_for(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    with store.unit_of_work() as uow:
        session = uow.session
        add_prediction(store, pipeline_id)
        session.execute(text("DELETE FROM pipelines"))
        with pytest.raises(NotFoundError, match=pipeline_id):
            add_prediction(store, pipeline_id)


def test_arrays_are_replaced_whoever_saved_those_before(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    prediction_id = add_prediction(store, pipeline_id)
    for value in range(3):
        store.save_prediction_arrays(prediction_id, [value], [value])
    with store.transaction():
        for value in range(3, 6):
            store.save_prediction_arrays(prediction_id, [value], [value])
        assert (store.get_prediction(prediction_id, load_arrays=True) or {})["y_true"] == [5]
        store.save_prediction_arrays(prediction_id, [6], [6])
    store.delete_prediction(prediction_id)
    assert add_prediction(store, pipeline_id, prediction_id=prediction_id) == prediction_id
    assert (store.get_prediction(prediction_id, load_arrays=True) or {})["y_true"] is None
    store.save_prediction_arrays(prediction_id, [7], [7])
    assert (store.get_prediction(prediction_id, load_arrays=True) or {})["y_true"] == [7]


@pytest.mark.parametrize("together", [False, True])
def test_more_than_can_be_known_is_asked_for(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setattr(lookup_cache, "MAX_CACHED", 3)
    monkeypatch.setattr(write_buffer, "MAX_WAITING_BYTES", 3000)
    _, pipeline_id = add_pipeline(store)

    def save() -> None:
        ids = [add_prediction(store, pipeline_id) for _ in range(5)]
        for again in range(2):
            for number, prediction_id in enumerate(ids):
                store.save_prediction_arrays(prediction_id, [number + again], [0])

    if together:
        with store.transaction():
            save()
    else:
        save()
    ids = store.query_predictions()["prediction_id"]
    assert [(store.get_prediction(i, load_arrays=True) or {})["y_true"][0] for i in ids] == [1, 2, 3, 4, 5]


def test_a_content_that_was_collected_is_saved_anew(store: WorkspaceStore) -> None:
    first = store.save_artifact([1], "list", "other")
    assert store.gc_artifacts(grace=NOW) == 1
    second = store.save_artifact([1], "list", "other")
    assert second != first
    assert store.load_artifact(second) == [1]
    with pytest.raises(ZeroDivisionError), store.transaction():
        third = store.save_artifact([2], "list", "other")
        raise ZeroDivisionError
    fourth = store.save_artifact([2], "list", "other")
    assert fourth != third
    assert store.load_artifact(fourth) == [2]


@pytest.mark.parametrize("most", [0, 1, 5_000])
def test_saves_count_for_the_oldest_row_of_a_content(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    from nirs4all_store.storage.repositories import artifacts

    monkeypatch.setattr(artifacts, "MAX_CONTENTS", most)
    monkeypatch.setattr(artifacts, "FEW_CONTENTS", artifacts.FEW_CONTENTS.limit(most + 1))
    saved = store.save_artifact([1], "list", "other")
    path = store.get_artifact_path(saved)
    store.register_existing_artifact("adopted", path, path.stem, "list", "other", "joblib", 1)
    assert store.save_artifact([1], "list", "other") == saved
    store.close()
    with WorkspaceStore(store.workspace_path) as reopened:
        reopened.register_existing_artifact("adopted too", path, path.stem, "list", "other", "joblib", 1)
        assert reopened.save_artifact([1], "list", "other") == saved
        other = reopened.save_artifact([2], "list", "other")
        assert reopened.save_artifact([2], "list", "other") == other


# -- kept chains


def test_a_kept_chain_is_gone_when_it_was_deleted(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    expected = store.replay_chain(chain_id, X)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.delete_run(run_id)
        with pytest.raises(NotFoundError):
            store.replay_chain(chain_id, X)
        raise ZeroDivisionError
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)
    store.delete_run(run_id)
    with pytest.raises(NotFoundError):
        store.replay_chain(chain_id, X)


def test_a_chain_that_was_rolled_back_is_not_kept(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    with pytest.raises(ZeroDivisionError), store.transaction():
        chain_id = add_chain(store, pipeline_id)
        store.replay_chain(chain_id, X)
        raise ZeroDivisionError
    with pytest.raises(NotFoundError):
        store.replay_chain(chain_id, X)


def test_a_chain_that_is_deleted_while_it_is_loaded_is_not_kept(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    load = loader.ChainLoader.fitted

    def delete_meanwhile(self: Any, *args: Any, **options: Any) -> Any:
        loaded = load(self, *args, **options)
        store.delete_run(run_id)
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(loader.ChainLoader, "fitted", delete_meanwhile)
        store.replay_chain(chain_id, X)
    with pytest.raises(NotFoundError):
        store.replay_chain(chain_id, X)


def test_a_kept_chain_asks_the_database_nothing(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    expected = store.replay_chain(chain_id, X)
    monkeypatch.setattr(database.DuckDBDatabase, "session", None)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)


def test_chains_are_kept_no_longer_than_their_objects(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_CHAINS", 2)
    _, pipeline_id = add_pipeline(store)
    chains = [add_chain(store, pipeline_id, components=k) for k in (1, 2, 3)]
    expected = [store.replay_chain(chain_id, X) for chain_id in chains]
    assert len(store._here.loader._chains) == 1
    store._here.loader._max_bytes = 0
    fourth = add_chain(store, pipeline_id, components=4)
    store.replay_chain(fourth, X)
    assert not store._here.loader._chains
    for chain_id, y in zip(chains, expected, strict=True):
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), y)


# -- commits that must not be believed


def test_an_error_that_was_caught_after_a_change_aborts_the_transaction(store: WorkspaceStore) -> None:
    artifact_id = store.save_artifact([1], "list", "other")
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        uow.artifacts.claim([artifact_id])
        with pytest.raises(duckdb.Error):
            uow.artifacts._tables.frame(text("SELECT error('no')"))  # type: ignore[arg-type]
        uow.commit()
    with store.unit_of_work() as uow:
        assert (uow.artifacts.get(artifact_id) or {})["unclaimed"] == 1


@pytest.mark.parametrize("asked_for", ["before the change", "after it"])
def test_an_error_of_a_session_that_was_handed_out_aborts_the_transaction(
    store: WorkspaceStore, asked_for: str
) -> None:
    artifact_id = store.save_artifact([1], "list", "other")
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        if asked_for == "before the change":
            assert uow.session is not None
        uow.artifacts.claim([artifact_id])
        connection = uow.session.connection()
        with pytest.raises(Exception, match="no"):
            connection.exec_driver_sql("SELECT error('no')")
        uow.commit()


def test_a_row_goes_in_by_the_names_of_its_columns(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:  # As another program may have left it: the columns in another order.
        make_tables_in(uow.session.connection())
        uow.session.execute(text("CREATE TABLE turned AS SELECT * FROM logs WHERE false"))
        uow.session.execute(text("DROP TABLE logs"))
        columns = [row[0] for row in uow.session.execute(text("DESCRIBE turned")).all()]
        uow.session.execute(text(f"CREATE TABLE logs AS SELECT {', '.join(reversed(columns))} FROM turned"))
        uow.session.execute(text("DROP TABLE turned"))
        uow.commit()
    _, pipeline_id = add_pipeline(store)
    with store.transaction():
        for step in range(3):
            store.log_step(pipeline_id, step, "PLS", "end", 7, "message")
    log = store.get_pipeline_log(pipeline_id)
    assert log.select("step_idx", "operator_class", "event", "message").rows() == [
        (step, "PLS", "end", "message") for step in range(3)
    ]


def test_an_array_that_was_filled_anew_once_was_stored_as_it_was_at_the_end(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    y, indices, labels = np.zeros(3), np.zeros(3, dtype=int), np.array(["a", "b", "c"], dtype=object)
    with store.transaction():
        ids = [add_prediction(store, pipeline_id) for _ in range(3)]
        for number, prediction_id in enumerate(ids):
            y[:], indices[:], labels[:] = number, number, str(number)
            store.save_prediction_arrays(prediction_id, y, labels, None, indices, y[:3])
    for number, prediction_id in enumerate(ids):
        found = store.get_prediction(prediction_id, load_arrays=True) or {}
        assert found["y_true"].tolist() == found["sample_indices"].tolist() == found["weights"].tolist() == [number] * 3
        assert found["y_pred"].tolist() == [str(number)] * 3


# -- memory


@pytest.mark.in_a_folder
def test_a_database_that_is_full_is_opened_anew_between_two_transactions(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_database, "MAX_NEW_KEYS", 3)
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    opened = []
    connect = file_database.connect

    def counting(path: Path, **options: Any) -> Any:
        opened.append(path)
        return connect(path, **options)

    monkeypatch.setattr(file_database, "connect", counting)
    with store.transaction():
        ids = [add_prediction(store, pipeline_id) for _ in range(10)]
    assert len(opened) <= 1
    for _ in range(10):
        ids.append(add_prediction(store, pipeline_id, chain_id=chain_id))
        assert store.get_run("no") is None
    assert 3 <= len(opened) <= 6
    assert sorted(store.query_predictions()["prediction_id"]) == sorted(ids)
    with store.unit_of_work() as reading:
        assert reading.predictions.get(ids[0]) is not None


@pytest.mark.in_a_folder
def test_a_full_database_is_not_closed_under_a_reader(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_database, "MAX_NEW_KEYS", 0)
    _, pipeline_id = add_pipeline(store)
    anchor = store._workspace.database._anchor
    with store._reading() as reading:
        assert reading.runs.list().height == 1
        thread = threading.Thread(target=add_prediction, args=(store, pipeline_id))
        thread.start()
        thread.join()
        assert store._workspace.database._anchor is anchor
        assert reading.predictions.query().is_empty()
    add_prediction(store, pipeline_id)
    assert store._workspace.database._anchor is not anchor
    assert store.query_predictions().height == 2


def test_what_is_known_took_memory_without_bound(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_cache, "MAX_CACHED", 3)
    _, pipeline_id = add_pipeline(store)
    for _ in range(5):
        add_prediction(store, pipeline_id)
        assert len(store._workspace.cache._entries) <= 3
    with store.unit_of_work() as uow:
        for number in range(5):
            uow._tables.lookups.put(("runs", str(number)), False)
            assert len(uow._tables.lookups._own) <= 3


def test_what_was_rolled_back_was_believed_to_be_there_in_the_same_unit_of_work(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        run_id = uow.runs.add("lost")
        assert uow.runs.get(run_id) is not None
        uow.rollback()
        with pytest.raises(NotFoundError):
            uow.runs.add_pipeline(run_id, "below it")


@pytest.mark.parametrize("is_prepared", [False, True])
def test_an_error_after_a_change_beside_a_session_was_forgotten(store: WorkspaceStore, is_prepared: bool) -> None:
    artifact_id = store.save_artifact([1], "list", "other")
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        connection = uow.session.connection()
        if is_prepared:
            uow._tables.execute_prepared(SAVED_AGAIN, {"wanted": artifact_id, "now": utc_now()})
        else:
            uow._tables.update(Artifact, artifact_id, unclaimed=7)
        with pytest.raises(Exception, match="no"):
            connection.exec_driver_sql("SELECT error('no')")
        uow.commit()


def test_an_error_of_a_question_after_a_change_was_forgotten(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(io: DuckDBRows, *_: Any) -> None:
        connection.raw_connection(io.session).execute("SELECT error('no')")

    artifact_id = store.save_artifact([1], "list", "other")
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        uow.artifacts.claim([artifact_id])
        monkeypatch.setattr(DuckDBRows, "has_key", fails)
        with pytest.raises(duckdb.Error):
            uow._tables.exists(Run, "x")
        uow.commit()
