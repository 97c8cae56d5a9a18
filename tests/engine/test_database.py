"""What Ctrl-C, another program or a full disk do to a database while it is opened and closed."""

import contextlib
import gc
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from programs import Process, says, tell
from sqlalchemy import text

from nirs4all_store import WorkspaceCorruptError, WorkspaceStore, failpoints
from nirs4all_store.engine.duckdb import connection, database, file_database, migrator, row_io
from nirs4all_store.engine.duckdb.connection import connect, raw_connection
from nirs4all_store.engine.duckdb.database import COMPILED, IDLE_CONNECTIONS
from nirs4all_store.engine.duckdb.dialect import CachingDialect, CachingPreparer, Connections
from nirs4all_store.engine.duckdb.file_database import FileDatabase, _remove_folded
from nirs4all_store.testing.contract import add_pipeline


@pytest.fixture
def path(tmp_path: Path, new_database: Path) -> Path:
    return Path(shutil.copy(new_database, tmp_path))


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@contextlib.contextmanager
def without_the_collector() -> Iterator[None]:
    """Let nothing be closed because it was collected: what an error holds stays as it is."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def insert(opened: FileDatabase, name: str) -> None:
    with contextlib.closing(opened.cursor()) as connection:
        connection.execute(
            "INSERT INTO logs BY NAME SELECT ? AS log_id, 'p' AS pipeline_id, 0 AS step_idx, "
            "'e' AS event, 'info' AS level, now()::TIMESTAMP AS created_at",
            [name],
        )


def test_a_database_that_was_removed_was_made_anew_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceCorruptError, match="is not there any more"):
        FileDatabase(tmp_path / "store.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["file_state", "catalog_name", "create_engine"])
def test_ctrl_c_while_a_database_was_opened_left_it_open(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with without_the_collector(), pytest.raises(KeyboardInterrupt) as held:
        monkeypatch.setattr(file_database if step == "file_state" else database, step, interrupted)
        FileDatabase(path)
    with without_the_collector():
        duckdb.connect(str(path)).close()  # With another configuration than the one that was cut off.
    del held


def test_ctrl_c_while_a_connection_was_configured_left_it_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """A connection that Ctrl-C meets in its first statement: no test can press at that moment."""

        def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
            self.close = connection.close

        execute = interrupted

    real = duckdb.connect
    with monkeypatch.context() as pressed, pytest.raises(KeyboardInterrupt) as held:
        pressed.setattr(connection.duckdb, "connect", lambda *given, **more: Interrupted(real(*given, **more)))
        connect(path)
    with without_the_collector():
        duckdb.connect(str(path)).close()
    del held


def test_ctrl_c_while_the_log_was_folded_in_left_the_database_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = FileDatabase(path)
    insert(opened, "kept")
    monkeypatch.setattr(failpoints, "on_hit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened.close()
    monkeypatch.undo()
    duckdb.connect(str(path)).close()


def test_one_who_closed_just_then_made_a_sound_database_corrupt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = duckdb.connect, []

    def closed_after_the_first_look(*given: Any, **more: Any) -> duckdb.DuckDBPyConnection:
        tries.append(given)
        if len(tries) == 1:
            raise duckdb.IOException("Could not set lock on file")
        return real(*given, **more)

    monkeypatch.setattr(connection.duckdb, "connect", closed_after_the_first_look)
    connect(path).close()
    assert len(tries) == 2


def test_another_file_that_had_the_name_for_a_moment_shut_the_right_one_out(path: Path) -> None:
    opened = FileDatabase(path)
    path.rename(path.with_name("aside"))
    path.write_bytes(b"another")
    opened.note_file()
    path.with_name("aside").replace(path)
    opened.check_file(is_quiet=True)
    opened.close()


def test_a_log_without_room_to_be_folded_in_made_closing_fail(path: Path) -> None:
    opened = FileDatabase(path)
    insert(opened, "kept")
    opened.note_file()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        opened.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.with_name("store.duckdb.wal").exists()
    assert migrator.rows_of(path)["logs"] == 1


def test_a_log_that_another_program_wrote_since_was_removed(path: Path) -> None:
    log = path.with_name("store.duckdb.wal")
    log.write_bytes(b"a commit that a kill has torn")
    folded = {log: log.stat()}
    log.write_bytes(b"a commit of another program, which is whole")
    _remove_folded(path, folded)
    assert log.exists()
    _remove_folded(path, {log: log.stat()})
    assert not log.exists()


def test_a_log_that_another_program_has_open_was_removed(path: Path) -> None:
    log = path.with_name("store.duckdb.wal")
    program = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with Process(program, path) as other:
        assert says(other) == "open"
        log.write_bytes(b"a commit that a kill has torn")
        _remove_folded(path, {log: log.stat()})
        assert log.exists()
        tell(other)
        other.communicate()


def test_what_was_saved_while_others_were_at_work_went_into_a_file_without_a_name(path: Path) -> None:
    opened = FileDatabase(path)
    path.rename(path.with_name("aside"))
    with pytest.raises(WorkspaceCorruptError, match="removed or replaced"):
        opened.check_file(is_quiet=False)
    path.with_name("aside").replace(path)
    opened.check_file(is_quiet=False)
    opened.close()


def test_a_copy_of_the_same_time_that_took_the_name_lost_its_log(path: Path) -> None:
    opened = FileDatabase(path)
    insert(opened, "kept")
    opened.note_file()
    subprocess.run(["cp", "-p", path, path.with_name("copy")], check=True)
    path.with_name("copy").replace(path)
    opened.close()
    assert path.with_name("store.duckdb.wal").exists()
    assert migrator.rows_of(path)["logs"] == 1


def test_a_backup_that_was_copied_over_an_open_file_was_folded_into(path: Path, new_database: Path) -> None:
    opened = FileDatabase(path)
    insert(opened, "kept")
    opened.note_file()
    subprocess.run(["cp", new_database, path], check=True)
    opened.close()
    assert path.read_bytes() == new_database.read_bytes()
    assert path.with_name("store.duckdb.wal").exists()


def test_a_macro_that_came_after_a_look_was_not_found(path: Path) -> None:
    opened = FileDatabase(path)
    migrator.refuse_more(opened)
    opened.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE MACRO lower(a) AS error('a macro was run')")
    opened = FileDatabase(path)
    try:
        with pytest.raises(WorkspaceCorruptError, match="DROP MACRO lower"):
            migrator.refuse_more(opened)
    finally:
        opened.close()


def test_a_file_was_fetched_an_extension_for_and_a_question_had_another_clock(path: Path) -> None:
    with connect(path) as connection:
        names = ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access", "TimeZone")
        asked = [connection.execute(f"SELECT current_setting('{name}')::VARCHAR").fetchall()[0][0] for name in names]
        assert asked == ["false", "false", "false", "UTC"]
        for name in names:
            with pytest.raises(duckdb.Error):
                connection.execute(f"SET GLOBAL {name} = 'true'")


def test_connections_that_came_back_were_kept_without_bound() -> None:
    connections = Connections(duckdb.connect, IDLE_CONNECTIONS)
    for taken in [connections.take() for _ in range(IDLE_CONNECTIONS + 1)]:
        taken.close()
    assert len(connections.idle) == IDLE_CONNECTIONS


def test_a_transaction_took_all_memory(path: Path) -> None:
    opened = FileDatabase(path, memory_limit=2**27)
    with contextlib.closing(opened.cursor()) as connection:
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("128.0 MiB",)]
    opened.close()


def test_an_engine_that_answers_nothing_any_more_was_used_on(path: Path) -> None:
    opened = FileDatabase(path)
    assert opened.is_alive
    opened._anchor.close()  # As after some errors of the disk.
    assert not opened.is_alive
    opened.close()


def test_what_a_link_in_the_place_of_a_log_led_to_was_opened(path: Path, tmp_path: Path) -> None:
    path.with_name("store.duckdb.wal").symlink_to(tmp_path / "outside")
    with pytest.raises(WorkspaceCorruptError, match="is a link"):
        connect(path)
    assert not (tmp_path / "outside").exists()


def test_the_engine_folded_a_log_in_by_its_name_when_it_ended(path: Path) -> None:
    with connect(path) as connection:
        connection.execute("CREATE TABLE notes (text VARCHAR)")
    assert path.with_name("store.duckdb.wal").exists()


def test_the_words_that_duckdb_reserves_are_those_that_are_quoted() -> None:
    with duckdb.connect() as connection:
        found = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'")
        reserved = {word for (word,) in found.fetchall()}
    assert reserved <= CachingPreparer(CachingDialect()).reserved_words


def test_a_connection_that_an_error_had_broken_was_given_to_the_next() -> None:
    connections = Connections(duckdb.connect, IDLE_CONNECTIONS)
    CachingDialect().do_terminate(connections.take())
    assert not connections.idle


def test_a_result_that_was_read_in_part_blocked_what_came_next(path: Path) -> None:
    opened = FileDatabase(path)
    with opened.session() as session:
        session.execute(text("SELECT * FROM range(3)")).fetchone()
        assert raw_connection(session).sql("SELECT 1").fetchall() == [(1,)]
    opened.close()


def test_each_workspace_that_was_opened_once_compiled_all_statements_anew() -> None:
    def look(name: str) -> tuple[int, set[Any]]:
        with WorkspaceStore(f"memory:{name}") as store:
            add_pipeline(store)
            store.rank_chains()
        return row_io._compiled_once.cache_info().misses, {*COMPILED}

    assert look("first") == look("second")
