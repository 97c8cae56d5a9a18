"""The unit of work commits, rolls back by default and on errors, and never reports a success that kept nothing."""

import asyncio
import threading
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import case, func, literal_column, select, text

from nirs4all_store import (
    EngineError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    TransactionAbortedError,
    UnitOfWorkError,
    WorkspaceBusyError,
    WorkspaceStore,
)
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction


def run_names(store: WorkspaceStore) -> set[str]:
    return set(store.list_runs()["name"].to_list())


def test_commit_keeps_what_the_repositories_added(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        run_id = uow.runs.add("kept")
        uow.commit()
    assert store.get_run(run_id) is not None


def test_leaving_without_commit_rolls_back(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        run_id = uow.runs.add("lost")
        assert uow.runs.get(run_id) is not None
    assert store.get_run(run_id) is None


def test_an_exception_rolls_back_and_goes_up(store: WorkspaceStore) -> None:
    with pytest.raises(ZeroDivisionError), store.unit_of_work() as uow:
        uow.runs.add("lost")
        raise ZeroDivisionError
    assert run_names(store) == set()


def test_work_after_a_commit_is_a_transaction_of_its_own(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        uow.runs.add("first")
        uow.commit()
        uow.runs.add("second")
    assert run_names(store) == {"first"}


def test_rollback_undoes_and_goes_on(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        uow.runs.add("lost")
        uow.rollback()
        uow.runs.add("kept")
        uow.commit()
    assert run_names(store) == {"kept"}


def test_a_swallowed_engine_error_ends_in_transaction_aborted_never_in_a_success(store: WorkspaceStore) -> None:
    with pytest.raises(TransactionAbortedError), store.transaction():
        store.begin_run("lost")
        with store._reading() as uow, pytest.raises(Exception, match="no_such_table"):
            uow.session.execute(text("SELECT * FROM no_such_table"))
        # Nothing more is written: only the commit itself could notice.
    assert run_names(store) == set()


def test_a_swallowed_engine_error_without_any_write_is_noticed_too(store: WorkspaceStore) -> None:
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        with pytest.raises(Exception, match="no_such_table"):
            uow.session.execute(text("SELECT * FROM no_such_table"))
        uow.commit()


def test_a_swallowed_error_on_the_raw_connection_is_noticed_too(store: WorkspaceStore) -> None:
    with pytest.raises(TransactionAbortedError), store.unit_of_work() as uow:
        uow.runs.add("lost")
        uow.session.execute(text("SELECT 1")).all()
        with pytest.raises(duckdb.Error):
            uow.session.connection().connection.driver_connection.execute("SELECT * FROM no_such_table")
        uow.commit()
    assert run_names(store) == set()


def test_a_call_that_fails_halfway_dooms_the_transaction(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pipeline_id = add_pipeline(store)

    def fails(*_: object) -> None:
        raise MemoryError

    with pytest.raises(TransactionAbortedError), store.transaction():
        monkeypatch.setattr("nirs4all_store.storage.repositories.ArtifactRepo.claim", fails)
        with pytest.raises(MemoryError):
            add_chain(store, pipeline_id)
    assert store.get_chains_for_pipeline(pipeline_id).is_empty()


def test_what_the_engine_refuses_is_an_error_of_ours(store: WorkspaceStore) -> None:
    with pytest.raises(EngineError, match="refused"), store.transaction(), store._writing() as uow:
        uow.session.execute(text("SELECT nonsense"))


def test_after_an_error_of_the_engine_in_a_read_everything_was_kept_against_its_word(store: WorkspaceStore) -> None:
    with pytest.raises(TransactionAbortedError), store.transaction():
        store.begin_run("lost")
        # The engine refuses this value before it runs anything, and would commit what came before.
        with pytest.raises(EngineError, match="nothing of this transaction is kept"), store._reading() as uow:
            uow.session.execute(text("SELECT :value"), {"value": object()})
    assert run_names(store) == set()


def test_what_the_engine_raises_while_rows_are_read_is_its_own_error(store: WorkspaceStore) -> None:
    row = func.unnest(func.range(300_000))
    late = select(case((literal_column("n") == 200_000, func.error("late")), else_=literal_column("n")).label("m"))
    with pytest.raises(EngineError, match=r"the database refused a statement: .*late"), store._reading() as uow:
        uow.summaries._tables.frame(late.select_from(select(row.label("n")).subquery()), {})
    assert store.list_runs().is_empty()


def test_a_unit_of_work_that_is_entered_again_once_kept_nothing_and_said_so_to_nobody(store: WorkspaceStore) -> None:
    uow = store.unit_of_work()
    for name in ("first", "second"):
        with uow:
            uow.runs.add(name)
            uow.commit()
    assert run_names(store) == {"first", "second"}


def test_what_failed_in_a_unit_of_work_once_failed_it_again_when_it_was_entered_anew(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    record = {"dataset_name": "wheat", "partition": "val", "fold_id": "0", "model_name": "PLS", "model_class": "PLS"}
    record |= {"metric": "rmse", "task_type": "regression"}
    uow = store.unit_of_work()
    with pytest.raises(InvalidInputError, match="record 1"), uow:
        store.save_predictions(pipeline_id, [record, {}])
    with uow:
        uow.runs.add("kept")
        uow.commit()
    assert "kept" in run_names(store)


def test_what_was_left_without_commit_was_told_as_there_by_whoever_asked_later(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        run_id = uow.runs.add("lost")
    assert uow.runs.get(run_id) is None


def test_a_unit_of_work_that_was_never_entered_once_had_no_name_for_it(store: WorkspaceStore) -> None:
    with pytest.raises(UnitOfWorkError, match="with"):
        store.unit_of_work().commit()


def test_nested_transactions_join_the_outer_one(store: WorkspaceStore) -> None:
    with store.transaction():
        store.begin_run("outer")
        with store.transaction():
            store.begin_run("inner")
        assert run_names(store) == {"outer", "inner"}
    assert run_names(store) == {"outer", "inner"}


def test_facade_calls_join_an_open_unit_of_work(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        store.begin_run("joined")
        assert run_names(store) == {"joined"}
        uow.commit()
    assert run_names(store) == {"joined"}


def test_two_stores_on_one_folder_share_the_transaction_of_a_thread(store: WorkspaceStore) -> None:
    with WorkspaceStore(store.workspace_path) as other, pytest.raises(ZeroDivisionError), store.transaction():
        other.begin_run("lost")
        raise ZeroDivisionError
    assert run_names(store) == set()


def test_a_second_unit_of_work_in_one_thread_is_refused_instead_of_waiting_for_itself(store: WorkspaceStore) -> None:
    with store.unit_of_work(), pytest.raises(UnitOfWorkError), store.unit_of_work():
        pass


def test_vacuum_backup_and_close_are_refused_inside_a_transaction(store: WorkspaceStore, tmp_path: Path) -> None:
    with store.transaction():
        run_id = store.begin_run("kept")
        for refused in (store.vacuum, lambda: store.backup(tmp_path / "copy"), store.close):
            with pytest.raises(UnitOfWorkError):
                refused()
    assert store.get_run(run_id) is not None


def test_a_writer_waits_for_the_writer_before_it_and_says_so_after_the_timeout(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, timeout=0.05) as store:
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with store.transaction():
                store.begin_run("first")
                holding.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait()
        try:
            with pytest.raises(WorkspaceBusyError, match="another thread"):
                store.begin_run("second")
            assert run_names(store) == set()  # Readers wait for nobody, and see what is committed.
        finally:
            done.set()
            thread.join()
        assert run_names(store) == {"first"}


def test_a_read_only_store_writes_nothing(store: WorkspaceStore) -> None:
    store.begin_run("there")
    store.close()
    with WorkspaceStore(store.workspace_path, read_only=True) as reader:
        assert run_names(reader) == {"there"}
        for refused in (lambda: reader.begin_run("no"), reader.gc_artifacts, reader.vacuum):
            with pytest.raises(ReadOnlyError):
                refused()


def test_rows_wait_for_one_insert_and_are_seen_by_every_read_before_it(store: WorkspaceStore) -> None:
    with store.transaction():
        run_id, pipeline_id = add_pipeline(store)
        ids = [add_prediction(store, pipeline_id) for _ in range(3)]
        assert store.query_predictions(run_id=run_id)["prediction_id"].to_list() == ids
        store.complete_run(run_id, {})
        run = store.get_run(run_id)
        assert run is not None
        assert run["status"] == "completed"
        assert store.delete_prediction(ids[0])
        with pytest.raises(NotFoundError):
            store.save_prediction_arrays(ids[0], [1.0], [1.0])
    assert store.query_predictions()["prediction_id"].to_list() == ids[1:]


def test_a_result_read_in_part_is_no_obstacle_to_the_next_call(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        uow.runs.add("one")
        uow.runs.add("two")
        assert uow.session.execute(text("SELECT name FROM runs")).first() is not None
        uow.runs.add("three")
        uow.runs.add("four")
        uow.commit()
    assert run_names(store) == {"one", "two", "three", "four"}


def test_waiting_rows_are_inserted_before_they_take_too_much_memory(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nirs4all_store.storage.write_buffer.MAX_WAITING_BYTES", 10_000)
    with store.unit_of_work() as uow:
        for i in range(50):
            uow.runs.add(f"run {i}")
            assert uow._tables._buffer._bytes <= 10_000
        uow.commit()
    assert store.list_runs().height == 50


def test_a_unit_of_work_that_was_left_cannot_commit(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        pass
    uow.runs.add("ghost")
    with pytest.raises(UnitOfWorkError, match="was left"):
        uow.commit()
    assert store.list_runs().height == 0


def test_a_task_once_wrote_into_the_transaction_of_another_task(store: WorkspaceStore) -> None:
    async def both() -> None:
        begun, tried = asyncio.Event(), asyncio.Event()

        async def one() -> None:
            with store.transaction():
                store.begin_run("undone")
                begun.set()
                await tried.wait()
                raise LookupError

        async def two() -> None:
            await begun.wait()
            assert store.list_runs().height == 0
            with pytest.raises(UnitOfWorkError, match="another task"):
                store.begin_run("refused")
            with pytest.raises(UnitOfWorkError, match="another task"):
                store.vacuum()
            tried.set()

        results = await asyncio.gather(one(), two(), return_exceptions=True)
        assert [type(result) for result in results] == [LookupError, type(None)]

    asyncio.run(both())
    assert store.begin_run("kept") in store.list_runs()["run_id"].to_list()


def test_tasks_begun_inside_a_transaction_are_no_part_of_it(store: WorkspaceStore) -> None:
    async def save() -> None:
        async def one(name: str) -> None:
            store.begin_run(name)

        with store.transaction():
            store.begin_run("kept")
            refused = await asyncio.gather(one("a"), one("b"), return_exceptions=True)
            assert [type(error) for error in refused] == [UnitOfWorkError, UnitOfWorkError]

    asyncio.run(save())
    assert store.list_runs()["name"].to_list() == ["kept"]


def test_a_thread_begun_inside_a_transaction_is_no_part_of_it(store: WorkspaceStore) -> None:
    async def read() -> int:
        with store.transaction():
            store.begin_run("not yet")
            frame = await asyncio.to_thread(store.list_runs)
            return frame.height

    assert asyncio.run(read()) == 0
    assert store.list_runs().height == 1


def test_a_file_outside_of_artifacts_is_left_alone_and_the_commit_stands(store: WorkspaceStore, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.write_text("kept")
    with store.unit_of_work() as uow:
        artifact_id = uow.artifacts.add("../../precious", "a" * 64)
        uow.artifacts.release([artifact_id])
        uow.commit()
        assert uow.artifacts.delete([artifact_id]) == 1
        uow.discard_blob("../../precious")
        with pytest.warns(UserWarning, match="could not be removed"):
            uow.commit()
    assert outside.read_text() == "kept"
    with store.unit_of_work() as uow:
        assert uow.artifacts.get(artifact_id) is None
