"""Opening creates whole workspaces, refuses what is none, and changes nothing that it refuses."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from programs import Process, run
from samples import all_but_few

from nirs4all_store import (
    InvalidInputError,
    ReadOnlyError,
    StoreClosedError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceStore,
    WorkspaceTooNewError,
)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of every file but the lock."""
    return {
        path.name: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name != ".store.lock"
    }


@pytest.mark.makes_databases
def test_only_the_database_the_artifacts_and_a_hidden_lock_are_created(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "new" / "workspace") as store:
        assert sorted(path.name for path in store.workspace_path.iterdir()) == [
            ".store.lock",
            "artifacts",
            "store.duckdb",
        ]


@pytest.mark.makes_databases
@pytest.mark.parametrize(
    "name", all_but_few(["it's", 'a "b"', "50%", "sp ace", "é", "a;b", "x.duckdb", ":memory:"], ["it's"])
)
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    with WorkspaceStore(tmp_path / name) as store:
        run_id = store.begin_run("r")
        store.vacuum()
        copy = store.backup(tmp_path / f"{name} copy")
    with WorkspaceStore(copy) as store:
        assert store.get_run(run_id) is not None


def test_opening_an_up_to_date_workspace_needs_no_alembic(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    program = (
        f"import nirs4all_store as n, sys; n.WorkspaceStore({str(tmp_path)!r}).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.makes_databases
def test_a_creation_that_died_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".creating-store.duckdb").write_bytes(b"half")
    (tmp_path / ".creating-store.duckdb.wal").write_bytes(b"half")
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("r")
    assert not list(tmp_path.glob(".creating*"))


def make_text(path: Path) -> None:
    path.write_text("hello, this is no database\n" * 100)


def make_sqlite(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t(a)")
    connection.close()


def make_empty(path: Path) -> None:
    path.touch()


def make_folder(path: Path) -> None:
    path.mkdir()


def make_truncated(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a FROM range(100000)")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_other_duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t(a INTEGER)")


def make_unknown_revision(path: Path) -> None:
    WorkspaceStore(path.parent).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'abcdef'")


@pytest.mark.parametrize(
    "make",
    [make_text, make_sqlite, make_empty, make_folder, make_truncated, make_other_duckdb, make_unknown_revision],
)
@pytest.mark.parametrize("options", [{}, {"upgrade": True}, {"read_only": True}])
def test_what_is_no_workspace_is_refused_and_not_touched(
    tmp_path: Path, make: Callable[[Path], None], options: dict[str, bool]
) -> None:
    make(tmp_path / "store.duckdb")
    before = snapshot(tmp_path)
    with pytest.raises(WorkspaceCorruptError, match=r"store\.duckdb"):
        WorkspaceStore(tmp_path, **options)
    assert snapshot(tmp_path) == before


def make_newer(path: Path) -> None:
    WorkspaceStore(path.parent).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def make_newer_with_a_log(path: Path) -> None:
    """Leave the change in a write-ahead log, as a process that was killed does."""
    WorkspaceStore(path.parent).close()
    program = (
        f"import duckdb, os; c = duckdb.connect({str(path)!r}); "
        "c.execute(\"UPDATE alembic_version SET version_num = '9999'\"); os._exit(0)"
    )
    run(program)
    assert path.with_name("store.duckdb.wal").exists()


@pytest.mark.parametrize("make", [make_newer, make_newer_with_a_log])
@pytest.mark.parametrize("options", [{}, {"upgrade": True}, {"read_only": True}])
def test_a_newer_workspace_is_refused_and_not_touched(
    tmp_path: Path, make: Callable[[Path], None], options: dict[str, bool]
) -> None:
    make(tmp_path / "store.duckdb")
    before = snapshot(tmp_path)
    with pytest.raises(WorkspaceTooNewError, match="9999"):
        WorkspaceStore(tmp_path, **options)
    assert snapshot(tmp_path) == before


def test_reading_only_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError):
        WorkspaceStore(tmp_path / "missing", read_only=True)
    with pytest.raises(WorkspaceNotFoundError):
        WorkspaceStore(tmp_path, read_only=True)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".store.lock"])


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceCorruptError, match="not a folder"):
        WorkspaceStore(tmp_path / "file")


def test_a_folder_that_cannot_be_written_to_opens_for_reading_only(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    with WorkspaceStore(workspace) as store:
        store.begin_run("there")
    program = f"""
import os, tempfile, nirs4all_store as n
with tempfile.TemporaryDirectory() as own, n.WorkspaceStore(own) as store:
    store.list_runs()  # What loads modules when it is used must do so before the right to read them is given up.
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
for path in ({str(workspace)!r}, {str(tmp_path / "new")!r}):
    try:
        n.WorkspaceStore(path)
    except n.ReadOnlyError as error:
        print("refused", path in str(error))
with n.WorkspaceStore({str(workspace)!r}, read_only=True) as store:
    print(store.list_runs()["name"].to_list())
"""
    (workspace / ".store.lock").unlink()
    parents = [tmp_path, *tmp_path.parents]
    modes = {path: path.stat().st_mode for path in parents if path.stat().st_uid == os.geteuid()}
    for path in modes:
        path.chmod(0o555 if path in (tmp_path,) else modes[path] | 0o555)
    workspace.chmod(0o555)
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    finally:
        workspace.chmod(0o755)
        for path, mode in modes.items():
            path.chmod(mode)
    assert done.stdout.splitlines() == ["refused True", "refused True", "['there']"], done.stderr


def test_stores_on_one_folder_share_it_whatever_its_spelling(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "workspace")
    first = WorkspaceStore(tmp_path / "workspace")
    with WorkspaceStore(tmp_path / "link") as second, WorkspaceStore(tmp_path / "workspace", read_only=True) as third:
        run_id = first.begin_run("r")
        assert second.get_run(run_id) == third.get_run(run_id) == first.get_run(run_id)
        first.close()
        second.complete_run(run_id, {})
        with pytest.raises(StoreClosedError):
            first.get_run(run_id)


def test_a_store_that_writes_joins_one_of_the_same_process_that_only_reads(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path, read_only=True) as reader:
        assert reader.list_runs().is_empty()
        with WorkspaceStore(tmp_path) as writer:
            run_id = writer.begin_run("r")
            assert reader.get_run(run_id) is not None
            with pytest.raises(ReadOnlyError):
                reader.begin_run("r")
        assert reader.get_run(run_id) is not None


def test_a_store_of_a_folder_that_is_gone_can_still_be_closed(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path / "workspace")
    shutil.rmtree(store.workspace_path)
    store.close()


def test_every_method_of_a_closed_store_raises(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path)
    store.close()
    store.close()
    unknown = "x"
    row = ["x"] * 7 + [0.1] * 3 + ["rmse", "regression", 1, 1, {}, {}, None, None, 0, 0.0]
    calls: dict[str, tuple[object, ...]] = {
        "begin_run": ("r",),
        "complete_run": (unknown,),
        "fail_run": (unknown, "e"),
        "get_run": (unknown,),
        "resume_run": (unknown,),
        "list_runs": (),
        "run_summaries": (),
        "run_progress": (unknown,),
        "usage": (),
        "untrusted_chains": ([unknown],),
        "save_result": ("tuning", None, "{}"),
        "get_result": (unknown,),
        "list_results": (),
        "rank_chains": (),
        "facets": (),
        "score_histogram": (),
        "parameter_profile": (unknown,),
        "distinct": ("run_id",),
        "count_predictions": (),
        "compare_chains": ([unknown, "y"],),
        "logs_since": (unknown,),
        "change_token": (),
        "environment": (unknown,),
        "delete_run": (unknown,),
        "prune": (unknown, 1),
        "save_dataset": (([[1.0]], [1.0]),),
        "list_datasets": (),
        "get_dataset": (unknown,),
        "load_dataset": (unknown,),
        "update_dataset": (unknown,),
        "attach_dataset": (([[1.0]], [1.0]),),
        "begin_pipeline": (unknown, "p"),
        "complete_pipeline": (unknown,),
        "fail_pipeline": (unknown, "e"),
        "get_pipeline": (unknown,),
        "list_pipelines": (),
        "delete_pipeline": (unknown,),
        "save_chain": (unknown, [], 0, "m"),
        "get_chain": (unknown,),
        "get_chains_for_pipeline": (unknown,),
        "replay_chain": (unknown, []),
        "load_chain": (unknown,),
        "predict_frame": (unknown, []),
        "predict_table": (unknown, []),
        "chain_samples": (unknown,),
        "chain_scores": (unknown,),
        "save_prediction": tuple(row),
        "save_predictions": (unknown, []),
        "save_prediction_arrays": (unknown, [], []),
        "get_prediction": (unknown,),
        "query_predictions": (),
        "top_predictions": (1,),
        "delete_prediction": (unknown,),
        "save_artifact": ([], "l", "x", "pickle"),
        "load_artifact": (unknown,),
        "get_artifact_path": (unknown,),
        "gc_artifacts": (),
        "register_existing_artifact": (unknown, "p", "0" * 64, "l", "x", "pickle", 1),
        "log_step": (unknown, 0, "o", "e"),
        "get_pipeline_log": (unknown,),
        "get_run_log_summary": (unknown,),
        "export_chain": (unknown, tmp_path / "c"),
        "export_pipeline_config": (unknown, tmp_path / "p"),
        "export_run": (unknown, tmp_path / "r"),
        "export_predictions_parquet": (tmp_path / "q",),
        "vacuum": (),
        "backup": (tmp_path / "b",),
        "unit_of_work": (),
        "import_bundle": (tmp_path / "m",),
        "import_workspace": (tmp_path / "old",),
        "verify": (),
        "trust_chain": (unknown, True),
        "sql": ("SELECT 1",),
        "check": (),
        "repair": (),
        "plan_gc": (),
        "find": (unknown,),
        "find_ids": (unknown,),
        "shorten_ids": ([unknown],),
        "is_in_transaction": (),
    }
    methods = {name for name in dir(store) if not name.startswith("_")} - {"close", "workspace_path", "transaction"}
    assert methods == set(calls)
    for name, arguments in calls.items():
        with pytest.raises(StoreClosedError):
            getattr(store, name)(*arguments)
    with pytest.raises(StoreClosedError), store.transaction():
        pass


def test_a_read_only_store_refuses_every_write(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path, read_only=True) as store:
        for write in (
            lambda: store.begin_run("r"),
            lambda: store.resume_run("x"),
            lambda: store.delete_run("x"),
            lambda: store.prune("x", 1),
            lambda: store.save_artifact([], "l", "x", "pickle"),
            lambda: store.vacuum(),
            lambda: store.transaction().__enter__(),
        ):
            with pytest.raises(ReadOnlyError, match="read_only"):
                write()


def test_a_read_only_store_beside_a_writable_one_once_wrote(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as writer, WorkspaceStore(tmp_path, read_only=True) as reader:
        run_id = writer.begin_run("r")
        with writer.transaction():
            for write in (lambda: reader.begin_run("no"), lambda: reader.unit_of_work(), reader.vacuum):
                with pytest.raises(ReadOnlyError):
                    write()
        assert reader.list_runs()["run_id"].to_list() == [run_id]


@pytest.mark.makes_databases
def test_writing_to_a_database_that_was_removed_or_replaced_is_refused_not_lost(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("kept")
        store.vacuum()
        store.begin_run("kept too")
        database = tmp_path / "store.duckdb"
        database.rename(tmp_path / "moved")
        with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
            store.begin_run("lost")
        database.write_bytes(b"another file")
        with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
            store.begin_run("lost")
        database.unlink()
        (tmp_path / "moved").rename(database)
        store.begin_run("kept as well")
    with WorkspaceStore(tmp_path) as store:
        assert sorted(store.list_runs()["name"].to_list()) == ["kept", "kept as well", "kept too"]


def names_in_another_process(folder: Path) -> str:
    program = f"import nirs4all_store as n; print(sorted(n.WorkspaceStore({str(folder)!r}).list_runs()['name']))"
    return run(program).strip()


@pytest.mark.makes_databases
def test_a_workspace_made_anew_was_joined_to_the_one_that_was_removed(tmp_path: Path) -> None:
    dropped = WorkspaceStore(tmp_path / "w")
    dropped.begin_run("old")
    shutil.rmtree(tmp_path / "w")
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("new")
        assert store.list_runs()["name"].to_list() == ["new"]
        with pytest.raises(StoreClosedError):
            dropped.begin_run("lost")
    assert names_in_another_process(tmp_path / "w") == "['new']"


@pytest.mark.makes_databases
def test_a_workspace_made_anew_wrote_into_the_one_that_was_moved_away(tmp_path: Path) -> None:
    dropped = WorkspaceStore(tmp_path / "w")
    dropped.begin_run("old")
    (tmp_path / "w").rename(tmp_path / "moved")
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("new")
    dropped.close()
    assert names_in_another_process(tmp_path / "w") == "['new']"
    assert names_in_another_process(tmp_path / "moved") == "['old']"


@pytest.mark.makes_databases
def test_a_database_removed_alone_is_made_anew(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path / "w").begin_run("old")
    (tmp_path / "w" / "store.duckdb").unlink()
    (tmp_path / "w" / "store.duckdb.wal").unlink()
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("new")
    assert names_in_another_process(tmp_path / "w") == "['new']"


@pytest.mark.makes_databases
def test_closing_a_moved_database_removed_the_log_of_the_one_that_has_its_name_now(tmp_path: Path) -> None:
    moved = WorkspaceStore(tmp_path / "w")
    moved.begin_run("old")
    (tmp_path / "w").rename(tmp_path / "moved")
    program = f"import nirs4all_store as n, os; n.WorkspaceStore({str(tmp_path / 'w')!r}).begin_run('new'); os._exit(0)"
    run(program)
    assert (tmp_path / "w" / "store.duckdb.wal").exists()
    moved.close()
    assert names_in_another_process(tmp_path / "w") == "['new']"
    assert names_in_another_process(tmp_path / "moved") == "['old']"


@pytest.mark.makes_databases
def test_a_log_without_its_database_is_not_taken_into_a_new_one(tmp_path: Path) -> None:
    program = f"import nirs4all_store as n, os; n.WorkspaceStore({str(tmp_path)!r}).begin_run('r'); os._exit(0)"
    run(program)
    (tmp_path / "store.duckdb").rename(tmp_path / "kept")
    before = snapshot(tmp_path)
    with pytest.raises(WorkspaceCorruptError, match=r"store\.duckdb\.wal is there without store\.duckdb"):
        WorkspaceStore(tmp_path)
    assert snapshot(tmp_path) == before
    (tmp_path / "kept").rename(tmp_path / "store.duckdb")
    assert names_in_another_process(tmp_path) == "['r']"


@pytest.mark.parametrize("replaced_by", [None, b"garbage"])
@pytest.mark.parametrize("method", all_but_few(["vacuum", "backup"], ["vacuum"]))
def test_copying_a_database_that_is_gone_once_gave_up_the_last_copy(
    tmp_path: Path, method: str, replaced_by: bytes | None
) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("kept")
        (tmp_path / "w" / "store.duckdb").rename(tmp_path / "aside")
        if replaced_by is not None:
            (tmp_path / "w" / "store.duckdb").write_bytes(replaced_by)
        arguments = [tmp_path / "b"] if method == "backup" else []
        with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
            getattr(store, method)(*arguments)
        assert not (tmp_path / "b").exists()
        assert (tmp_path / "w" / "store.duckdb").exists() == (replaced_by is not None)
        if replaced_by is None:
            assert store.list_runs()["name"].to_list() == ["kept"]
        else:  # It may be a backup that somebody means to read.
            with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
                store.list_runs()
        (tmp_path / "aside").replace(tmp_path / "w" / "store.duckdb")
        assert getattr(store, method)(*arguments)  # The bytes before and after, or the folder.
        assert store.list_runs()["name"].to_list() == ["kept"]


def test_a_database_that_cannot_be_opened_again_is_refused_by_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirs4all_store.engine.duckdb import file_upkeep

    def copy_and_spoil(source: Path, target: Path) -> None:
        target.write_bytes(b"short")  # The compacted file is smaller, takes the name, and is no database.

    store = WorkspaceStore(tmp_path)
    monkeypatch.setattr(file_upkeep, "copy_compacted", copy_and_spoil)
    with pytest.raises(WorkspaceCorruptError):
        store.vacuum()
    for _ in range(2):
        with pytest.raises(WorkspaceCorruptError):
            store.begin_run("r")
    store.close()


def test_closing_one_store_from_several_threads_closes_no_other(tmp_path: Path) -> None:
    other = WorkspaceStore(tmp_path)
    for _ in range(20):
        store = WorkspaceStore(tmp_path)
        barrier = threading.Barrier(4)

        def close(store: WorkspaceStore = store, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            store.close()

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert other.list_runs().height == 0
    other.close()


def test_waiting_for_one_workspace_keeps_nobody_from_another(tmp_path: Path) -> None:
    program = (
        f"import nirs4all_store as n, sys; s = n.WorkspaceStore({str(tmp_path / 'a')!r}); t = s.transaction(); "
        "t.__enter__(); print('open', flush=True); sys.stdin.readline()"
    )
    with Process(program) as other:
        other.stdout.readline()
        waiting = threading.Thread(target=lambda: WorkspaceStore(tmp_path / "a", timeout=60).close())
        waiting.start()
        # Opens while the thread waits: only the end of this block lets it go on.
        with WorkspaceStore(tmp_path / "b") as store:
            store.begin_run("r")
            assert waiting.is_alive()
        other.communicate("\n")
    waiting.join()


@pytest.mark.parametrize("options", [{}, {"read_only": True}])
@pytest.mark.parametrize(
    "path",
    [None, 5, b"x", "a\0b", "n" * 300, "missing/" + "n" * 300, "d/" * 3000],
    ids=["None", "5", "bytes", "NUL", "long", "long below", "deep"],
)
def test_what_is_no_path_of_a_workspace_once_gave_raw_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, options: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"workspace_path .*be a path"):
        WorkspaceStore(path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_waits_for_ever_could_neither_be_used_nor_closed(tmp_path: Path) -> None:
    for bad in (-1, None, "3", float("nan")):
        with pytest.raises(InvalidInputError, match="timeout"):
            WorkspaceStore(tmp_path, timeout=bad)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with WorkspaceStore(tmp_path, timeout=float("inf")) as store:
        store.begin_run("r")
        store.vacuum()
