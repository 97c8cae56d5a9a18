"""Users' own SQL: it reads, by several fences, and does nothing else."""

import contextlib
import io
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from anything import MANY, TEXTS, VALUES
from canary import listening
from hypothesis import given
from hypothesis import strategies as st
from samples import slow
from sqlalchemy import text

from nirs4all_store import (
    InvalidInputError,
    QueryError,
    QueryTimeoutError,
    StoreClosedError,
    StoreError,
    WorkspaceStore,
)
from nirs4all_store.engine.duckdb import readonly_sql
from nirs4all_store.engine.duckdb.settings import NO_EXTENSIONS
from nirs4all_store.engine.duckdb.simple_queries import MAX_LENGTH, is_simple, names_in, parsed
from nirs4all_store.engine.duckdb.sql_worker import SEALED, RefusedError, answer
from nirs4all_store.storage.models import Base
from nirs4all_store.testing.contract import add_pipeline

NAMES = names_in(Base.metadata)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceStore]:
    """Give a store that is asked; what is added to it is more runs."""
    with WorkspaceStore(tmp_path_factory.mktemp("asked") / "w") as store:
        add_pipeline(store)
        yield store


@pytest.fixture
def own(tmp_path: Path) -> Iterator[WorkspaceStore]:
    """Give a test a store of its own."""
    with WorkspaceStore(tmp_path / "w") as store:
        add_pipeline(store)
        yield store


def test_a_question_is_answered_as_a_frame(own: WorkspaceStore) -> None:
    run_id = own.begin_run("second", {"a": 1}, [{"name": "wheat"}])
    frame = own.sql("SELECT run_id, name, config FROM runs WHERE name = ? ORDER BY ALL", ["second"])
    assert frame.rows() == [(run_id, "second", '{"a": 1}')]
    assert own.sql("SELECT $n + 1 AS more", {"n": 1}).to_dicts() == [{"more": 2}]
    assert own.sql("FROM predictions").columns == own.query_predictions().columns
    with own.transaction():
        own.begin_run("uncommitted")
        assert own.sql("SELECT count(*) AS n FROM runs").item() == 2


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE runs",
        "DELETE FROM runs",
        "COPY runs TO '{0}/out.csv'",
        "ATTACH '{0}/other.duckdb' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "PRAGMA disable_checkpoint_on_shutdown",
        "CHECKPOINT",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE runs",
        "COMMIT; DROP TABLE runs",
        "",
        ";",
        "SELEC",
        "EXPLAIN SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CALL enable_logging()",
        "EXPORT DATABASE '{0}/out'",
        "BEGIN",
        "WITH gone AS (DELETE FROM runs RETURNING name) SELECT * FROM gone",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM query('DROP TABLE runs')",
        "SELECT * FROM force_checkpoint('store')",
        "SELECT getenv('HOME')",
        "SELECT no_such FROM runs",
        "SELECT ?",
        *map(
            slow,
            (
                "WITH more AS (INSERT INTO runs SELECT * FROM runs RETURNING name) SELECT * FROM more",
                "SELECT * FROM read_csv('{0}/a.csv')",
                "SELECT * FROM glob('/*')",
                "SELECT * FROM duckdb_secrets()",
                "SELECT * FROM enable_logging()",
                "SELECT * FROM asked",
                "SELECT * FROM sniff_csv('/etc/passwd')",
            ),
        ),
    ],
)
def test_what_does_more_than_read_tables_is_refused(asked: WorkspaceStore, tmp_path: Path, query: str) -> None:
    before = asked.list_runs()
    with pytest.raises(QueryError):
        asked.sql(query.format(tmp_path))
    assert asked.list_runs().equals(before)
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in asked.workspace_path.parent.iterdir()] == ["w"]
    asked.begin_run("the store goes on working")


def test_a_query_that_never_ends_is_stopped(asked: WorkspaceStore) -> None:
    threads = threading.active_count()
    with pytest.raises(QueryTimeoutError, match=r"longer than 0\.2 s"):
        asked.sql("SELECT count(*) FROM range(1000000000000) a, range(1000000000) b", timeout=0.2)
    with pytest.raises(TimeoutError):
        asked.sql("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT 1 FROM t) SELECT max(n) FROM t", timeout=0.2)
    assert asked.sql("SELECT 1 AS one", timeout=float("inf")).item() == 1
    assert threading.active_count() <= threads  # One of another test may have ended meanwhile.


@pytest.mark.parametrize("timeout", [0.0, 0.0001, 0.001, 0.004, 0.02])
def test_an_interrupt_before_the_query_had_begun_was_once_forgotten(own: WorkspaceStore, timeout: float) -> None:
    threads = threading.active_count()
    query = f"SELECT count(*) FROM {', '.join(f'duckdb_functions() {name}' for name in 'abcdef')}"
    with duckdb.connect() as connection:
        assert is_simple(query, parsed(connection, query), NAMES)  # No process is killed: it is interrupted here.
    for _ in range(5):
        with pytest.raises(QueryTimeoutError):
            own.sql(query, timeout=timeout)
        assert own.sql("SELECT count(*) AS n FROM runs").item() == 1
    assert threading.active_count() <= threads  # One of another test may have ended meanwhile.


def test_too_many_rows_are_an_error_and_no_silent_part(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryError, match="more than 10 rows"):
        asked.sql("SELECT * FROM range(11)", max_rows=10)
    assert asked.sql("SELECT * FROM range(10)", max_rows=10).height == 10
    assert asked.sql("SELECT * FROM range(200000)").height == 200_000
    with pytest.raises(InvalidInputError):
        asked.sql("SELECT 1", max_rows="many")  # type: ignore[arg-type]


def test_a_reader_may_ask_and_a_closed_store_may_not(own: WorkspaceStore, tmp_path: Path) -> None:
    own.close()
    with pytest.raises(StoreClosedError):
        own.sql("SELECT 1")
    with WorkspaceStore(tmp_path / "w", read_only=True) as reader:
        assert reader.sql("SELECT count(*) AS n FROM runs").item() == 1


def execute(store: WorkspaceStore, *statements: str) -> None:
    """Put into the database of an open store what would keep it from being opened for writing."""
    with store.unit_of_work() as uow:
        for statement in statements:
            uow.session.execute(text(statement))
        uow.commit()


def test_macros_with_the_names_of_functions_were_once_run_in_their_place(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("one")
        functions = ("upper(a)", "greatest(a, b)", "round(a)", '"+"(a, b)', "sum(a)", "list(a)")
        execute(store, *(f"CREATE MACRO store.main.{function} AS error('a macro was run')" for function in functions))
        query = "SELECT upper(name), round(1.4), greatest(1, 2), 1 + 1, sum(3) FROM runs GROUP BY ALL"
        assert store.sql(query).rows() == [("ONE", 1, 2, 2, 3)]


ODD_SELECTS = [
    "FROM checkpoint('store')",
    "FROM hidden_view",
    "FROM hidden_macro()",
    "SELECT (SELECT count(*) FROM checkpoint('store'))",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM checkpoint(''store'')'))",
]
MORE_ODD_SELECTS = [
    "FROM checkpoint()",
    "FROM force_checkpoint('store')",
    "FROM truncate_duckdb_logs()",
    "FROM query('FROM checkpoint(''store'')')",
    "WITH x AS MATERIALIZED (FROM hidden_view) FROM x, x AS y",
    "SELECT nextval('s')",
    "SELECT setval('s', 1)",
]


@pytest.mark.parametrize("queries", [ODD_SELECTS, slow(MORE_ODD_SELECTS)], ids=["some", "others"])
def test_a_checkpoint_was_once_a_select(tmp_path: Path, queries: list[str]) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("one")
        execute(
            store,
            "CREATE VIEW store.main.hidden_view AS FROM checkpoint('store')",
            "CREATE MACRO store.main.hidden_macro() AS TABLE FROM checkpoint('store')",
        )
        before = files_of(tmp_path)
        for query in queries:
            with pytest.raises(QueryError):
                store.sql(query)
            assert files_of(tmp_path) == before, query
        # Nobody keeps a log, and nobody can switch it on.
        store.sql("SELECT write_log('x')")
        assert files_of(tmp_path) == before
        store.begin_run("two")
        assert store.list_runs().height == 2


def files_of(workspace: Path) -> dict[str, tuple[str, int]]:
    """Return what the database and its logs hold, as the system has it: to open them here would end DuckDB's lock."""
    paths = sorted(workspace.glob("store.duckdb*"))
    done = subprocess.run(["sha256sum", *paths], capture_output=True, text=True, check=True)
    return {
        path.name: (line.split()[0], path.stat().st_mtime_ns)
        for path, line in zip(paths, done.stdout.splitlines(), strict=True)
    }


def test_the_time_between_two_moments_once_was_refused_with_a_hint_about_polars(own: WorkspaceStore) -> None:
    query = "SELECT created_at + INTERVAL 90 MINUTE - created_at AS took, completed_at - created_at AS none FROM runs"
    assert own.sql(query).rows() == [(timedelta(minutes=90), None)]
    assert own.sql("SELECT INTERVAL '-1 day 1.5 seconds' AS took").item() == timedelta(days=-1, seconds=1.5)
    for value in ("INTERVAL 5 MONTH", "[INTERVAL 3 DAY]", "{'a': [INTERVAL 3 DAY]}"):
        with pytest.raises(QueryError, match=r"column 'took' has .*; ask for numbers with epoch"):
            own.sql(f"SELECT {value} AS took")


@pytest.mark.parametrize(
    "query",
    [
        "SUMMARIZE runs",
        "DESCRIBE runs",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "(SELECT 1)",
        "/* a */ SELECT 1; -- b",
        "VALUES (1)",
        "FROM duckdb_tables()",
        "FROM histogram(runs, name)",
        "FROM pragma_table_info('runs')",
        "TABLE runs",
        "FROM information_schema.tables",
        "FROM query('FROM runs')",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9) FROM t",
        *map(
            slow,
            (
                "FROM runs, LATERAL range(3)",
                "FROM range(3)",
                "SELECT unnest([1, 2])",
                "FROM json_each('{}')",
                "SELECT *, row_number() OVER (ORDER BY name) FROM runs QUALIFY true",
                "FROM runs USING SAMPLE 10%",
                "FROM query_table('runs')",
            ),
        ),
    ],
)
def test_what_only_reads_is_answered(asked: WorkspaceStore, query: str) -> None:
    assert asked.sql(query).width >= 1


@pytest.mark.parametrize(
    ("arguments", "every"),
    [
        (["'{secret}'"], 4),
        slow(["'{secret}'"], 1),
        slow(["['{secret}']", "'{secret}', '{out}'"], 1),
        slow(["", "1", "1, 2", "'store'", "'runs'"], 1),
    ],
    ids=["a path for some", "a path", "paths", "others"],
)
def test_no_function_of_the_engines_reads_or_writes_anything_else(
    own: WorkspaceStore, tmp_path: Path, arguments: list[str], every: int
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\nhush,hush\n")
    before = own.sql("SELECT * FROM runs")
    names = own.sql("SELECT DISTINCT function_name, function_type FROM duckdb_functions() ORDER BY ALL").rows()
    answered = 0
    log = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "w").glob("store.duckdb*")]
    files = files_of(tmp_path / "w")
    # The process that answers what is not simple has this: to start one for each function would take an hour.
    with listening(tmp_path / "w"), duckdb.connect(config=NO_EXTENSIONS) as connection:
        connection.execute(f"CREATE TABLE runs (a INTEGER); CREATE TABLE store (a INTEGER); {SEALED}")
        for name, kind in names[::every]:
            if name == "sleep_ms":
                continue
            for given_ones in arguments:
                call = f'"{name}"({given_ones.format(secret=secret, out=tmp_path / "out")})'
                query = f"SELECT * FROM {call}" if kind in ("table", "table_macro", "pragma") else f"SELECT {call}"
                if is_simple(query, parsed(connection, query), NAMES):
                    with contextlib.suppress(QueryError):
                        own.sql(query, timeout=5)
                outgoing = io.BytesIO()
                with contextlib.suppress(RefusedError, duckdb.Error, OSError, ValueError):
                    answer(connection, query, None, outgoing)
                    answered += 1
                assert b"hush" not in outgoing.getvalue(), query
                with contextlib.suppress(duckdb.Error):
                    connection.rollback()
                now = (tmp_path / "w").glob("store.duckdb*")
                assert log == [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in now], query
    assert files_of(tmp_path / "w") == files
    assert answered > 200 // every
    assert own.sql("SELECT * FROM runs").equals(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv", "w"]
    own.begin_run("the store goes on working")


PIECES = [
    "SELECT",
    "*",
    "FROM",
    "runs",
    "predictions",
    "WHERE",
    "(",
    ")",
    ",",
    ";",
    "'",
    '"',
    "--",
    "/*",
    "*/",
    "$1",
    "?",
    "1",
    "UNION",
    "WITH x AS (",
    "INSERT INTO",
    "DELETE FROM",
    "DROP TABLE",
    "UPDATE",
    "SET",
    "COPY",
    "TO",
    "ATTACH",
    "PRAGMA",
    "CALL",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "EXECUTE",
    "PREPARE p AS",
    "DESCRIBE",
    "PIVOT",
    "VALUES (1)",
    "'/etc/passwd'",
    "read_text('/etc/passwd')",
    "query('DROP TABLE runs')",
    "RETURNING",
    "INTO",
    "RECURSIVE",
]


@MANY
@given(query=st.lists(st.sampled_from(PIECES) | TEXTS, max_size=8).map(" ".join), parameters=VALUES)
def test_any_query_reads_or_is_refused(own: WorkspaceStore, query: str, parameters: Any) -> None:
    with listening(own.workspace_path):
        with contextlib.suppress(StoreError):
            own.sql(query, max_rows=10, timeout=5)
        with contextlib.suppress(StoreError):
            own.sql("SELECT $1", parameters, max_rows=10, timeout=5)
    assert own.list_runs().height == 1


def test_a_query_that_was_too_long_was_read_here(asked: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("the engine reads it, and nothing stops it")

    monkeypatch.setattr(readonly_sql, "parsed", read)
    query = f"SELECT 1 AS one{' ' * MAX_LENGTH}"
    assert asked.sql(query).item() == 1
