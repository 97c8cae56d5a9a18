"""Users' own SQL: it reads, by several fences, and does nothing else."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from anything import MANY, TEXTS, VALUES
from canary import listening
from hypothesis import given
from hypothesis import strategies as st

from nirs4all_store import (
    InvalidInputError,
    QueryError,
    QueryTimeoutError,
    StoreClosedError,
    StoreError,
    WorkspaceStore,
)
from nirs4all_store.contract import add_pipeline


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    with WorkspaceStore(tmp_path / "w") as store:
        add_pipeline(store)
        yield store


def test_a_question_is_answered_as_a_frame(asked: WorkspaceStore) -> None:
    run_id = asked.begin_run("second", {"a": 1}, [{"name": "wheat"}])
    frame = asked.sql("SELECT run_id, name, config FROM runs WHERE name = ? ORDER BY ALL", ["second"])
    assert frame.rows() == [(run_id, "second", '{"a": 1}')]
    assert asked.sql("SELECT $n + 1 AS more", {"n": 1}).to_dicts() == [{"more": 2}]
    assert asked.sql("FROM predictions").columns == asked.query_predictions().columns
    with asked.transaction():
        asked.begin_run("uncommitted")
        assert asked.sql("SELECT count(*) AS n FROM runs").item() == 2


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE runs", "DELETE FROM runs", "COPY runs TO '{0}/out.csv'", "ATTACH '{0}/other.duckdb' AS other",
        "INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "PRAGMA disable_checkpoint_on_shutdown", "CHECKPOINT",
        "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE runs", "COMMIT; DROP TABLE runs", "", ";", "SELEC",
        "EXPLAIN SELECT 1", "CREATE TEMP TABLE t AS SELECT 1", "CALL enable_logging()",
        "EXPORT DATABASE '{0}/out'", "BEGIN",
        "WITH gone AS (DELETE FROM runs RETURNING name) SELECT * FROM gone",
        "WITH more AS (INSERT INTO runs SELECT * FROM runs RETURNING name) SELECT * FROM more",
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('{0}/a.csv')",
        "SELECT * FROM glob('/*')", "SELECT * FROM query('DROP TABLE runs')", "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM enable_logging()", "SELECT * FROM force_checkpoint('store')", "SELECT * FROM asked",
        "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT getenv('HOME')", "SELECT no_such FROM runs", "SELECT ?",
    ],
)  # fmt: skip
def test_what_does_more_than_read_tables_is_refused(asked: WorkspaceStore, tmp_path: Path, query: str) -> None:
    before = asked.list_runs()
    with pytest.raises(QueryError):
        asked.sql(query.format(tmp_path))
    assert asked.list_runs().equals(before)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    asked.begin_run("the store goes on working")


def test_a_query_that_never_ends_is_stopped(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryTimeoutError, match=r"longer than 0\.2 s"):
        asked.sql("SELECT count(*) FROM range(1000000000000) a, range(1000000000) b", timeout=0.2)
    with pytest.raises(TimeoutError):
        asked.sql("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT 1 FROM t) SELECT max(n) FROM t", timeout=0.2)
    assert asked.sql("SELECT 1 AS one", timeout=float("inf")).item() == 1
    assert threading.active_count() == 1


def test_too_many_rows_are_an_error_and_no_silent_part(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryError, match="more than 10 rows"):
        asked.sql("SELECT * FROM range(11)", max_rows=10)
    assert asked.sql("SELECT * FROM range(10)", max_rows=10).height == 10
    assert asked.sql("SELECT * FROM range(200000)").height == 200_000
    with pytest.raises(InvalidInputError):
        asked.sql("SELECT 1", max_rows="many")  # type: ignore[arg-type]


def test_a_reader_may_ask_and_a_closed_store_may_not(asked: WorkspaceStore, tmp_path: Path) -> None:
    asked.close()
    with pytest.raises(StoreClosedError):
        asked.sql("SELECT 1")
    with WorkspaceStore(tmp_path / "w", read_only=True) as reader:
        assert reader.sql("SELECT count(*) AS n FROM runs").item() == 1


def test_no_function_of_the_engines_reads_or_writes_anything_else(asked: WorkspaceStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\nhush,hush\n")
    before = asked.sql("SELECT * FROM runs")
    names = asked.sql("SELECT DISTINCT function_name, function_type FROM duckdb_functions() ORDER BY ALL").rows()
    answered = 0
    with listening(tmp_path / "w"):
        for name, kind in names:
            if name == "sleep_ms":
                continue
            for arguments in ("", f"'{secret}'", f"['{secret}']", f"'{secret}', '{tmp_path / 'out'}'", "1", "1, 2"):
                call = f'"{name}"({arguments})'
                query = f"SELECT * FROM {call}" if kind in ("table", "table_macro", "pragma") else f"SELECT {call}"
                with contextlib.suppress(QueryError):
                    found = asked.sql(query, max_rows=100_000, timeout=5)
                    answered += 1
                    assert "hush" not in str(found.to_arrow()), query
    assert answered > 500
    assert asked.sql("SELECT * FROM runs").equals(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv", "w"]
    asked.begin_run("the store goes on working")


PIECES = [
    "SELECT", "*", "FROM", "runs", "predictions", "WHERE", "(", ")", ",", ";", "'", '"', "--", "/*", "*/", "$1", "?",
    "1", "UNION", "WITH x AS (", "INSERT INTO", "DELETE FROM", "DROP TABLE", "UPDATE", "SET", "COPY", "TO", "ATTACH",
    "PRAGMA", "CALL", "BEGIN", "COMMIT", "ROLLBACK", "EXECUTE", "PREPARE p AS", "DESCRIBE", "PIVOT", "VALUES (1)",
    "'/etc/passwd'", "read_text('/etc/passwd')", "query('DROP TABLE runs')", "RETURNING", "INTO", "RECURSIVE",
]  # fmt: skip


@MANY
@given(query=st.lists(st.sampled_from(PIECES) | TEXTS, max_size=8).map(" ".join), parameters=VALUES)
def test_any_query_reads_or_is_refused(asked: WorkspaceStore, query: str, parameters: Any) -> None:
    with listening(asked.workspace_path):
        with contextlib.suppress(StoreError):
            asked.sql(query, max_rows=10, timeout=5)
        with contextlib.suppress(StoreError):
            asked.sql("SELECT $1", parameters, max_rows=10, timeout=5)
    assert asked.list_runs().height == 1
