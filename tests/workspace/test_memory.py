"""Workspaces in memory: they last as long as the process, and what needs a folder says so."""

import os
import pickle
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from programs import Process, says
from sklearn.cross_decomposition import PLSRegression

from nirs4all_store import (
    ArtifactMissingError,
    EngineError,
    InvalidInputError,
    NotFoundError,
    OutputPathError,
    PipelineLibrary,
    PipelineRunner,
    TransactionAbortedError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceStore,
    inspect_workspace,
    recover_workspace,
    restore_workspace,
    upgrade_workspace,
)
from nirs4all_store.engine.duckdb import connection, memory_database
from nirs4all_store.engine.duckdb.memory_database import MemoryDatabase
from nirs4all_store.engine.duckdb.row_io import DuckDBRows
from nirs4all_store.models import Label
from nirs4all_store.testing.contract import X, Y, add_chain, add_pipeline, add_prediction

TABLES = ("runs", "datasets", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs")
TABLES = (*TABLES, "labels", "label_links", "results")


def rows_of(store: WorkspaceStore, table: str) -> pl.DataFrame:
    return store.sql(f"SELECT * FROM {table} ORDER BY 1")


def filled(address: str) -> str:
    with WorkspaceStore(address) as store:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        for fold in range(30):
            prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, fold_id=str(fold))
            store.save_prediction_arrays(prediction_id, Y, Y, weights=np.ones(40))
        store.log_step(pipeline_id, 0, "PLS", "end", 3, details={"n": [1.5, None]})
        store.save_result("tuning", None, "{}", chain_id=chain_id)
        with store.unit_of_work() as uow:
            told = {"label_id": "a", "kind": "tag", "name": "wheat"}
            uow.whole_rows.add(Label, told | dict.fromkeys(("created_at", "updated_at"), datetime(2026, 11, 30)))
            uow.labels.link("a", "chain", chain_id)
            uow.commit()
        return chain_id


def test_a_workspace_in_memory_lasts_longer_than_its_stores() -> None:
    with WorkspaceStore("memory:wheat") as store:
        run_id = store.begin_run("first")
        address = store.workspace_path
    with WorkspaceStore(address) as again, WorkspaceStore("memory:wheat", read_only=True) as reader:
        assert again.list_runs()["run_id"].to_list() == [run_id]
        assert reader.list_runs()["run_id"].to_list() == [run_id]
        assert repr(again) == "WorkspaceStore('memory:wheat')"


def test_each_name_is_a_workspace_of_its_own() -> None:
    with WorkspaceStore("memory:one") as one, WorkspaceStore("memory:two") as two:
        one.begin_run("r")
        assert two.list_runs().is_empty()


def test_a_reader_makes_no_workspace_in_memory() -> None:
    with pytest.raises(WorkspaceNotFoundError, match="memory:wheat in this process"):
        WorkspaceStore("memory:wheat", read_only=True)


def test_a_workspace_in_memory_has_a_name() -> None:
    with pytest.raises(InvalidInputError, match="without a name"):
        WorkspaceStore("memory:")


def test_a_folder_that_is_called_so_is_reached_by_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with WorkspaceStore("./memory:x") as store:
        assert store.workspace_path == tmp_path / "memory:x"
        assert (tmp_path / "memory:x" / "store.duckdb").is_file()


@pytest.mark.parametrize(
    "call",
    [
        inspect_workspace,
        upgrade_workspace,
        recover_workspace,
        PipelineLibrary,
        lambda address: restore_workspace(address, "w"),
        lambda address: restore_workspace("b", address),
    ],
)
def test_what_is_done_to_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"memory:x is a workspace in the memory.* \./memory:x"):
        call("memory:x")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_memory_has_every_row_and_every_file(tmp_path: Path) -> None:
    chain_id = filled("memory:wheat")
    with WorkspaceStore("memory:wheat") as store:
        backup = store.backup(tmp_path / "b")
        tables = {table: rows_of(store, table) for table in TABLES}
        expected = store.replay_chain(chain_id, X)
    with WorkspaceStore(backup) as copy:
        assert copy.check(deep=True).is_sound
        for table, rows in tables.items():
            assert rows_of(copy, table).equals(rows), table
            assert rows.height > 0
        np.testing.assert_array_equal(copy.replay_chain(chain_id, X), expected)


def test_a_backup_to_memory_once_was_a_folder_that_this_name_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with WorkspaceStore("memory:wheat") as store:
        with pytest.raises(OutputPathError, match=r"memory:kept is a workspace in the memory.* \./memory:kept"):
            store.backup("memory:kept")
        assert store.backup("./memory:kept") == tmp_path / "memory:kept"


def test_a_backup_that_memory_had_no_room_for_once_asked_for_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise duckdb.OutOfMemoryException("failed to allocate data")

    monkeypatch.setattr(memory_database, "_copy_tables", full)
    with WorkspaceStore("memory:wheat") as store, pytest.raises(OutputPathError, match="close what takes memory"):
        store.backup(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_is_gone_once_was_said_to_be_of_a_folder_called_memory() -> None:
    with WorkspaceStore("memory:wheat") as store:
        lost = store.save_artifact([1], "list", "other", "pickle")
        store._workspace.blobs.remove(store.sql("SELECT artifact_path FROM artifacts")[0, 0])
        with pytest.raises(ArtifactMissingError, match="memory:wheat"):
            store.load_artifact(lost)


def test_nothing_goes_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import os, sys, nirs4all_store as n
from nirs4all_store.testing.contract import add_chain, add_pipeline, X
with n.WorkspaceStore("memory:w") as store:
    chain_id = add_chain(store, add_pipeline(store)[1])
    store.replay_chain(chain_id, X)
    store.sql("SELECT count(*) FROM runs")
    settings = store._workspace.database.cursor().execute("SELECT current_setting('temp_directory')").fetchall()
    store.check(deep=True), store.gc_artifacts(), store.vacuum()
print(settings, os.listdir("."))
"""
    monkeypatch.chdir(tmp_path)
    printed, errors = Process(program, strict=True).communicate()
    assert (printed.strip(), errors) == ("[('',)] []", "")


def test_the_path_of_an_artifact_is_one_of_a_copy_that_ends_with_the_process(tmp_path: Path) -> None:
    program = """
import nirs4all_store as n
with n.WorkspaceStore("memory:w") as store:
    print(store.get_artifact_path(store.save_artifact([1, 2], "list", "other", "pickle")), flush=True)
    input()
"""
    with Process(program) as other:
        path = Path(says(other))
        assert pickle.loads(path.read_bytes()) == [1, 2]
        other.communicate("\n")
    assert not path.exists()
    assert not path.parents[1].exists()


def test_a_store_on_memory_is_not_sent_to_another_process() -> None:
    with WorkspaceStore("memory:wheat") as store, pytest.raises(InvalidInputError, match="cannot be sent"):
        pickle.dumps(store)


def test_a_forked_child_is_told_and_ends_in_peace() -> None:
    program = """
import os, sys, nirs4all_store as n
store = n.WorkspaceStore("memory:w")
run_id = store.begin_run("r")
n.WorkspaceStore("memory:closed").close()
child = os.fork()
if child == 0:
    for call in (store.list_runs, lambda: n.WorkspaceStore("memory:w"), lambda: n.WorkspaceStore("memory:closed")):
        try:
            call()
        except n.StoreClosedError as error:
            print("in the memory of the process from which this one was forked" in str(error))
    with n.WorkspaceStore("memory:mine") as mine:
        mine.begin_run("child")
    sys.exit(0)
print(os.waitpid(child, 0)[1], store.list_runs()["run_id"].to_list() == [run_id])
"""
    printed, errors = Process(program, strict=True).communicate()
    assert (printed.split(), errors) == (["True"] * 3 + ["0", "True"], "")


def test_an_engine_that_broke_is_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore("memory:wheat") as store:
        store.begin_run("r")
        with monkeypatch.context() as broken:  # No error of memory can be had that leaves the rest of the test alive.
            broken.setattr(MemoryDatabase, "is_alive", False)
            with pytest.raises(ZeroDivisionError), store.transaction():
                raise ZeroDivisionError
            with pytest.raises(WorkspaceCorruptError, match="memory:wheat is lost"):
                store.list_runs()
        assert store.list_runs().height == 1


def test_an_engine_that_broke_in_a_transaction_was_used_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise duckdb.FatalException("database has been invalidated")

    with WorkspaceStore("memory:wheat") as store, monkeypatch.context() as context:
        context.setattr(MemoryDatabase, "is_alive", False)
        context.setattr(DuckDBRows, "frame", broken)
        with pytest.raises(EngineError), store.transaction():
            store.list_runs()
        with pytest.raises(WorkspaceCorruptError, match=r"memory:wheat is lost.* another name"):
            store.list_runs()


def test_a_commit_without_room_once_took_all_that_was_committed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "NO_EXTENSIONS", connection.NO_EXTENSIONS | {"memory_limit": "60MB"})
    noise = np.random.default_rng(0).normal(size=20_000)
    kept, refused = set(), 0
    with WorkspaceStore("memory:wheat") as store:
        _, pipeline_id = add_pipeline(store)
        while refused < 3:
            try:
                with store.transaction():
                    prediction_id = add_prediction(store, pipeline_id)
                    store.save_prediction_arrays(prediction_id, noise, noise)
                kept.add(prediction_id)
            except TransactionAbortedError:
                refused += 1
        assert {*store.query_predictions()["prediction_id"]} == kept
        assert store.delete_prediction(kept.pop())
        for prediction_id in kept:
            np.testing.assert_array_equal(store.get_prediction(prediction_id, load_arrays=True)["y_true"], noise)


def test_a_runner_trains_in_memory() -> None:
    runner = PipelineRunner("memory:wheat")
    ranked = runner.run([PLSRegression(2)], (X, Y))
    with pytest.raises(NotFoundError, match="templates lie in a workspace's folder"):
        runner.run("no template", (X, Y))
    with WorkspaceStore("memory:wheat") as store:
        assert store.query_predictions().height == ranked.height > 0


def test_a_question_of_memory_may_need_a_process_of_its_own() -> None:
    filled("memory:wheat")
    with WorkspaceStore("memory:wheat") as store:
        numbered = store.sql("SELECT row_number() OVER (ORDER BY fold_id) AS n FROM predictions ORDER BY n")
    assert numbered["n"].to_list() == list(range(1, 31))


def test_ranks_and_orphans_are_right_in_memory() -> None:
    filled("memory:wheat")
    with WorkspaceStore("memory:wheat") as store:
        with store.unit_of_work() as uow:
            uow.session.connection().exec_driver_sql("DELETE FROM runs")
            uow.commit()
        assert len(store.repair(dry_run=False).repaired) > 30
        assert store.check(deep=True).is_sound
        assert os.fspath(store.workspace_path) == "memory:wheat"
