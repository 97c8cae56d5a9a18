"""What the engine cannot stop is answered by a process that can be killed; the rest here, and both as frames."""

import itertools
import os
import select
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from programs import Process, says
from samples import all_but_few, slow

from nirs4all_store import InvalidInputError, InvalidTypeError, QueryError, QueryTimeoutError, WorkspaceStore
from nirs4all_store.engine.base import Question
from nirs4all_store.engine.duckdb import readonly_sql
from nirs4all_store.engine.duckdb.simple_queries import MAX_LENGTH, MAX_QUERIES, is_simple, names_in, parsed
from nirs4all_store.engine.duckdb.sql_parameters import MAX_PARAMETER_DEPTH, MAX_PARAMETER_VALUES, checked_parameter
from nirs4all_store.engine.duckdb.sql_process import SqlProcess
from nirs4all_store.storage.models import Base
from nirs4all_store.testing.contract import add_pipeline

NAMES = names_in(Base.metadata)


def filled(store: WorkspaceStore) -> WorkspaceStore:
    _, pipeline_id = add_pipeline(store)
    scores = {("pls", 0): 1.0, ("pls", 1): 3.0, ("ridge", 0): 2.0}
    store.save_predictions(
        pipeline_id,
        [
            {
                "dataset_name": "wheat",
                "model_name": model,
                "model_class": "PLS",
                "fold_id": np.int64(fold),
                "partition": "val",
                "val_score": score,
                "metric": "rmse",
                "task_type": "regression",
                "y_true": [1.0],
                "y_pred": [2.0],
            }
            for (model, fold), score in scores.items()
        ],
    )
    return store


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceStore]:
    """Give a store that is only asked."""
    with WorkspaceStore(tmp_path_factory.mktemp("asked") / "w") as store:
        yield filled(store)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[WorkspaceStore]:
    """Give a test a store of its own."""
    with WorkspaceStore(tmp_path / "w") as store:
        yield filled(store)


def simple(query: str) -> bool:
    with duckdb.connect() as connection:
        return is_simple(query, parsed(connection, query), NAMES)


UNSTOPPABLE = {
    "a distance": "SELECT damerau_levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "levenshtein": "SELECT levenshtein(repeat('ab', 200000), repeat('ba', 200000))",
    "a big number": "SELECT repeat('9', 3000000)::BIGNUM::VARCHAR::BIGNUM + 1",
    "a reduced list": "SELECT list_reduce(range(3000000), lambda a, b: (a + b) % 7 + length(repeat('x', 9000)))",
    "a product": "SELECT count(*) FROM range(1000000000000) a, range(1000000000) b",
    "a sorted text": "SELECT list_sort(string_split(repeat('b,a,', 9000000), ','))",
    "long text beside each row": "SELECT max(length(lower(a || b.range))) FROM (SELECT repeat('x', 9000000) AS a) c, "
    "range(100000) b",
    "expressions in expressions": "SELECT 1 AS a, "
    + ", ".join(f"{a}+{a}+{a} AS {b}" for a, b in itertools.pairwise("abcdefghijklmnopqrst")),
    "tables in tables": "WITH t0 AS (FROM runs), "
    + ", ".join(f"t{i + 1} AS (FROM t{i} a, t{i} b)" for i in range(24))
    + " SELECT count(*) FROM t24",
    "lists in lists": "SELECT " + "[" * 900 + "]" * 900,
}


QUICK = ("a distance", "a reduced list", "long text beside each row", "lists in lists")


@pytest.mark.parametrize("case", all_but_few(UNSTOPPABLE, QUICK))
def test_a_query_once_went_on_long_after_its_time(asked: WorkspaceStore, case: str) -> None:
    threads = threading.active_count()
    with pytest.raises(QueryError):  # Its time or its memory is over, whichever comes first.
        asked.sql(UNSTOPPABLE[case], timeout=0.5)
    assert threading.active_count() == threads
    assert asked.sql("SELECT count(*) AS n FROM runs").item() == 1


ENDING = {
    "a cast of nested JSON": "SELECT (repeat('[', 200000) || repeat(']', 200000))::JSON::VARIANT",
    "memory": "SELECT length(repeat(list(range)::VARCHAR, 100)) FROM range(9000000)",
    "text": "SELECT length(repeat('a', 4000000000::BIGINT))",
}


@pytest.mark.parametrize("case", all_but_few(ENDING, ("a cast of nested JSON", "text")))
def test_a_query_once_ended_the_process_or_took_all_memory(own: WorkspaceStore, case: str) -> None:
    with pytest.raises(QueryError):
        own.sql(ENDING[case], timeout=30)
    own.begin_run("the store goes on working")


def test_others_do_not_wait_for_a_query_that_another_process_answers(own: WorkspaceStore) -> None:
    problems: list[BaseException] = []

    def ask() -> None:
        try:
            own.sql("SELECT levenshtein(repeat('ab', 400000), repeat('ba', 400000)) FROM runs", timeout=2)
        except QueryTimeoutError as error:
            problems.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    own.vacuum()  # Waits for all who are inside.
    own.begin_run("second")
    thread.join()
    assert len(problems) == 1


@pytest.mark.parametrize(
    "query",
    [
        "FROM predictions",
        "SELECT model_name, avg(val_score) AS mean FROM predictions GROUP BY ALL ORDER BY mean LIMIT 3",
        "SELECT count(*) FROM predictions WHERE partition = ? AND fold_id <> 'avg' AND val_score BETWEEN 1 AND 2",
        "SELECT json_extract(best_params, '$.alpha')::DOUBLE AS alpha FROM predictions",
        "SHOW TABLES",
        "DESCRIBE runs",
        "SELECT CASE WHEN val_score > 1 THEN 'bad' ELSE 'good' END AS kind FROM predictions",
        "FROM duckdb_tables()",
        "SELECT p.model_name, r.name FROM predictions p JOIN pipelines USING (pipeline_id) JOIN runs r USING (run_id)",
        "SELECT DISTINCT metric FROM predictions UNION ALL SELECT status FROM runs",
        "SELECT name FROM pipelines WHERE pipeline_id IN (SELECT pipeline_id FROM predictions)",
        "WITH best AS (SELECT min(val_score) AS s FROM predictions) "
        "SELECT model_name FROM predictions, best WHERE val_score = s",
    ],
)
def test_what_people_ask_most_is_answered_without_a_process(query: str) -> None:
    assert simple(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT r.config FROM runs r, predictions p",
        "SELECT * FROM runs, predictions",
        "SELECT r FROM runs r, logs l",
        "SELECT lower(a) FROM runs AS r(a, b, c), logs",
        "SELECT name FROM runs NATURAL JOIN pipelines",
        "SELECT config, config, config, config, config FROM runs",
        "SELECT list(name) FROM runs",
        "FROM hidden_view",
        "SELECT median(val_score) FROM predictions",
        "SELECT min(name, 9) FROM runs",
        "SELECT name LIKE ? FROM runs",
        "SELECT 1 + 1 AS a, a + a AS b",
        "SELECT first(name ORDER BY name) FROM runs",
        "SELECT config::JSON FROM runs",
        "SELECT config->'$.**' FROM runs",
        "SELECT name || name FROM runs",
        "FROM other.runs",
        "FROM checkpoint()",
        "SELECT count(*) FROM runs GROUP BY CUBE (name, status)",
        "SELECT row_number() OVER () FROM runs",
        "SELECT 1::BIGNUM",
        "SELECT COLUMNS('n.*') FROM runs",
        "SELECT config[1:2] FROM runs",
        "SUMMARIZE runs",
        "SELECT " + "9" * 41,
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) FROM t",
        "SELECT 1 WHERE 1 IN (" + "1," * 400 + "1)",
        "FROM (FROM (FROM (FROM (FROM runs))))",
        "SELECT TRY(1)",
        "FROM query_table('runs')",
        "SELECT name FROM runs USING SAMPLE 10%",
        "SELECT rename(name := 1)",
    ],
)
def test_what_may_grow_goes_to_a_process(query: str) -> None:
    assert not simple(query)


def test_a_call_without_a_path_was_refused_as_an_index_out_of_range(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryError, match="json_extract"):
        asked.sql("SELECT json_extract(config) FROM runs")


def test_a_long_parameter_goes_to_a_process_too(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryError):
        asked.sql("SELECT ? AS text FROM predictions a, predictions b", ["x" * 5_000_000], max_bytes=10_000_000)


def test_the_text_that_was_checked_once_was_not_what_ran(asked: WorkspaceStore) -> None:
    for given in (
        "CASE WHEN random() < .5 THEN 'FROM runs' ELSE 'FROM checkpoint()' END",
        "'FROM ' || 'runs'",
        "?",
        "'FROM query(''FROM runs'')'",
        "upper('FROM runs')",
    ):
        for kind in ("FROM {}", "SELECT (SELECT count(*) FROM {})", "SUMMARIZE FROM {}", "PIVOT (FROM {}) ON name"):
            if given == "?" and kind.startswith("PIVOT"):
                continue  # The engine itself refuses that.
            with pytest.raises(QueryError, match="what is checked is what is run"):
                asked.sql(kind.format(f"query({given})"), ["FROM runs"] if given == "?" else None)
    assert asked.sql("FROM query('FROM runs')").height == 1
    assert asked.sql("FROM query_table('runs')").height == 1


REFUSED_THERE = (
    "WITH gone AS (DELETE FROM runs RETURNING name) FROM gone",
    "FROM checkpoint()",
    "FROM read_text('/etc/passwd')",
    "SELECT getenv('HOME'), list(1)",
    "FROM hidden_view",
)


@pytest.mark.parametrize("every", [False, slow(True)])
def test_a_process_answers_from_a_copy_of_what_is_committed(own: WorkspaceStore, every: bool) -> None:
    before = own.list_runs()
    with own.transaction():
        own.begin_run("uncommitted")
        assert own.sql("SELECT list(name) AS names FROM runs").item().to_list() == ["run"]
    assert own.sql("SELECT string_agg(name, ', ' ORDER BY name) AS names FROM runs").item() == "run, uncommitted"
    for query in REFUSED_THERE if every else REFUSED_THERE[:1]:
        with pytest.raises(QueryError):
            own.sql(query)
    assert own.list_runs().height == before.height + 1


def test_pivot_reads(asked: WorkspaceStore) -> None:
    query = "PIVOT predictions ON fold_id USING avg(val_score) GROUP BY model_name"
    expected = pl.DataFrame({"model_name": ["pls", "ridge"], "0": [1.0, 2.0], "1": [3.0, None]})
    for text in (query, f"WITH p AS ({query}) FROM p"):
        assert asked.sql(text).sort("model_name").equals(expected)
    assert asked.sql("UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b").height == 2


def test_columns_of_one_name_once_were_an_error(asked: WorkspaceStore) -> None:
    found = asked.sql("SELECT p.*, r.* FROM pipelines p JOIN runs r USING (run_id)")
    engines = asked.sql("FROM (SELECT p.*, r.* FROM pipelines p JOIN runs r USING (run_id))")
    assert found.columns == engines.columns
    assert {"name", "name_1", "run_id", "run_id_1"} <= set(found.columns)
    assert asked.sql("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a").rows() == [(1, 2, 3, 4)]
    assert asked.sql("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a").columns == ["a", "a_1", "a_1_1", "a_2"]


def test_a_sum_of_whole_numbers_once_was_none(asked: WorkspaceStore) -> None:
    found = asked.sql("SELECT sum(n) AS s, sum(NULL::INTEGER) AS none FROM (SELECT 1 AS n)")
    assert found.schema == {"s": pl.Int64, "none": pl.Int64}
    assert found.row(0) == (1, None)
    large = asked.sql("SELECT sum(n) AS s FROM (SELECT 9223372036854775807 AS n UNION ALL SELECT 1)")
    assert (large.schema, large.item()) == ({"s": pl.Int128}, 2**63)
    with pytest.raises(QueryError, match="AS VARCHAR"):
        asked.sql("SELECT 340282366920938463463374607431768211455::UHUGEINT AS n")


@pytest.mark.parametrize(
    "value",
    all_but_few(
        [
            "TIME '24:00:00'",
            "[TIME '24:00:00']",
            "{'a': [TIME '24:00:00']}",
            "MAP {1: TIME '24:00:00'}",
            "TIMETZ '24:00:00+01'",
            "DATE 'infinity'",
            "DATE '-infinity'",
            "TIMESTAMP 'infinity'",
            "TIMESTAMPTZ '-infinity'",
            "DATE '10000-01-01'",
            "'101'::BIT",
            "[1::BIGNUM]",
        ],
        ("TIME '24:00:00'", "{'a': [TIME '24:00:00']}", "DATE 'infinity'", "DATE '10000-01-01'", "'101'::BIT"),
    ),
)
def test_a_value_that_python_has_not_once_came_as_none(asked: WorkspaceStore, value: str) -> None:
    with pytest.raises(QueryError, match=r"column 'v' has .*; ask for .* AS VARCHAR"):
        asked.sql(f"SELECT {value} AS v")


@pytest.mark.parametrize(
    "value",
    all_but_few(
        [
            "[340282366920938463463374607431768211455::UHUGEINT]",
            "{'a': [170141183460469231731687303715884105727]}",
            "[{'a': '101'::BIT}]",
            "{'a': 1::BIGNUM}",
            "MAP {1: 1::VARIANT}",
            "union_value(a := 1)",
            "TIMETZ '12:00:00+01'",
        ],
        ("[340282366920938463463374607431768211455::UHUGEINT]", "[{'a': '101'::BIT}]"),
    ),
)
def test_a_value_inside_another_one_once_came_as_something_else(asked: WorkspaceStore, value: str) -> None:
    with pytest.raises(QueryError, match=r"column 'v' has .*; ask for .* AS VARCHAR"):
        asked.sql(f"SELECT {value} AS v")


def test_a_value_inside_another_one_is_given_where_it_fits(asked: WorkspaceStore) -> None:
    nines = 10**38 - 1
    found = asked.sql(f"SELECT [{nines}::DECIMAL(38, 0)] AS a, {{'BIT': [1::HUGEINT, NULL]}} AS b")
    assert found.rows() == [([Decimal(nines)], {"BIT": [Decimal(1), None]})]


def test_a_process_once_called_the_database_by_another_name(asked: WorkspaceStore) -> None:
    named = [f"SELECT list(name) AS names FROM {table}" for table in ("store.runs", "main.runs", "store.main.runs")]
    assert [names.to_list() for names in asked.sql(" UNION ALL ".join(named))["names"]] == [["run"]] * 3
    question = "FROM information_schema.columns WHERE table_name = 'runs'{} ORDER BY ordinal_position"
    here, there = question.format(""), question.format(" AND column_name LIKE '%'")
    assert simple(here)
    assert not simple(there)
    assert asked.sql(there).equals(asked.sql(here))


def test_the_last_moments_that_python_has_are_given(asked: WorkspaceStore) -> None:
    query = (
        "SELECT TIME '23:59:59.999999', DATE '9999-12-31', DATE '0001-01-01', TIMESTAMP '9999-12-31 23:59:59.999999'"
    )
    assert [str(value) for value in asked.sql(query).row(0)] == [
        "23:59:59.999999",
        "9999-12-31",
        "0001-01-01",
        "9999-12-31 23:59:59.999999",
    ]


GIVEN = {
    "np.int64": (np.int64(3), 3),
    "np.uint8": (np.uint8(3), 3),
    "np.float32": (np.float32(1.5), 1.5),
    "np.bool_": (np.bool_(True), True),
    "np.str_": (np.str_("x"), "x"),
    "a list": ([np.int64(1), np.int8(2)], [1, 2]),
    "an array": (np.array([1.5, 2.5]), [1.5, 2.5]),
    "np.bytes_": (np.bytes_(b"x"), b"x"),
    "datetime64[ns]": (np.datetime64("2020-01-02T03:04:05.000006", "ns"), datetime(2020, 1, 2, 3, 4, 5, 6)),
    "datetime64[D]": (np.datetime64("2020-01-02"), datetime(2020, 1, 2)),
    "a date": (date(2020, 1, 2), date(2020, 1, 2)),
    "timedelta64": (np.timedelta64(90, "m"), timedelta(minutes=90)),
    "NaT": (np.datetime64("NaT"), None),
    "a decimal": (Decimal("1.50"), Decimal("1.50")),
    "a dict": ({"a": np.int64(1)}, {"a": 1}),
    "None": (None, None),
}


@pytest.mark.parametrize("case", GIVEN)
def test_scalars_of_numpy_once_were_no_parameters(asked: WorkspaceStore, case: str) -> None:
    given, expected = GIVEN[case]
    for params, query in (([given], "SELECT ? AS x"), ({"x": given}, "SELECT $x AS x")):
        (found,) = asked.sql(query, params).rows()[0]
        assert (found.to_list() if isinstance(found, pl.Series) else found) == expected


def test_parameters_that_no_engine_could_take_are_refused(asked: WorkspaceStore) -> None:
    with pytest.raises(InvalidTypeError, match="object"):
        asked.sql("SELECT ?", [object()])
    nested: Any = 1
    for _ in range(MAX_PARAMETER_DEPTH + 1):
        nested = [nested, nested]
    for value in (nested, [0] * (MAX_PARAMETER_VALUES + 1)):
        with pytest.raises(InvalidInputError, match="levels"):
            asked.sql("SELECT ?", [value])
    with pytest.raises(InvalidInputError, match="levels"):
        asked.sql("SELECT ?", range(10**12))
    with pytest.raises(InvalidInputError, match="more than"):
        asked.sql("SELECT ?", [np.broadcast_to(1.0, (10**6, 10**6))])


def test_numpys_numbers_are_filters_everywhere(asked: WorkspaceStore) -> None:
    for fold in (0, np.int64(0), np.uint8(0), "0", np.str_("0")):
        assert asked.query_predictions(fold_id=fold).height == 2  # type: ignore[arg-type]
        assert asked.top_predictions(np.int64(5), fold_id=fold).height == 2  # type: ignore[arg-type]
    assert asked.query_predictions(dataset_name=np.str_("wheat"), limit=np.int64(1), offset=np.int32(1)).height == 1
    assert asked.list_runs(limit=np.int16(1), offset=np.int64(0)).height == 1
    with pytest.raises(InvalidInputError, match="fold_id"):
        asked.query_predictions(fold_id=10**5000)  # type: ignore[arg-type]
    assert Counter(asked.query_predictions()["fold_id"]) == {"0": 2, "1": 1}


def test_rows_had_a_limit_and_bytes_had_none(asked: WorkspaceStore) -> None:
    for query in ("SELECT name FROM pipelines, predictions", "SELECT repeat('x', 1000) AS x FROM range(1000)"):
        with pytest.raises(QueryError, match=r"more than 10 bytes; ask for fewer .*max_bytes="):
            asked.sql(query, max_bytes=np.int64(10))
    assert asked.sql("SELECT repeat('x', 1000) AS x FROM range(1000)").height == 1000
    with pytest.raises(QueryError, match="more than 10 rows"):
        asked.sql("SELECT repeat('x', 1000) AS x FROM range(1000)", max_rows=10)
    with pytest.raises(QueryError):
        asked.sql("SELECT repeat('x', 1000000) AS x FROM range(1000000)", max_bytes=50_000_000)


def test_a_store_for_reading_had_no_limit_of_memory(own: WorkspaceStore, tmp_path: Path) -> None:
    query = "SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'"
    limit = own.sql(query).item()
    own.close()
    with WorkspaceStore(tmp_path / "w", read_only=True) as reader:
        assert reader.sql(query).item() == limit == "400.0 MiB"


def test_nothing_is_left_of_a_process_that_answered(
    own: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    descriptors = open_descriptors()
    own.sql("SELECT list(name) FROM runs")
    with pytest.raises(QueryTimeoutError):
        own.sql("SELECT count(*) FROM range(1000000000000) a, range(1000000000) b", timeout=0.2)
    assert list(temporary.iterdir()) == []
    assert open_descriptors() == descriptors


ASKS = """
import os, sys, threading, time
from pathlib import Path
from nirs4all_store import WorkspaceStore

def tell_of_the_other():
    while True:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            ticks = sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]))
            if ticks > 2 * os.sysconf("SC_CLK_TCK"):  # More than it takes to start: it is at work on the query.
                print(child, flush=True)
                return
        time.sleep(0.05)

threading.Thread(target=tell_of_the_other, daemon=True).start()
with WorkspaceStore(sys.argv[1], read_only=True) as store:
    store.sql("SELECT levenshtein(repeat('ab', 400000), repeat('ba', 400000))", timeout=float("inf"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process is looked after in /proc")
def test_a_query_without_end_went_on_when_who_had_asked_was_killed(own: WorkspaceStore) -> None:
    own.close()
    with Process(ASKS, own.workspace_path) as process:
        other = os.pidfd_open(int(says(process)))
        process.kill()
    try:
        ended, _, _ = select.select([other], [], [], 60)  # A descriptor of a process can be read once it has ended.
        if not ended:
            signal.pidfd_send_signal(other, signal.SIGKILL)
        assert ended
    finally:
        os.close(other)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_a_list_as_a_parameter_was_too_deep(asked: WorkspaceStore) -> None:
    nested: Any = 1
    for _ in range(MAX_PARAMETER_DEPTH + 1):
        nested = [nested]
    with pytest.raises(InvalidInputError, match="levels"):
        asked.sql("SELECT ?", [nested])


def test_an_array_that_says_it_is_endless_was_listed() -> None:
    class Endless(np.ndarray):  # type: ignore[type-arg]
        def tolist(self) -> Any:
            raise AssertionError("it takes all memory")

    with pytest.raises(InvalidInputError, match="more than"):
        checked_parameter(np.broadcast_to(1.0, 10**12).view(Endless), "x")


def test_a_process_that_was_not_asked_yet_went_on_after_its_time() -> None:
    with SqlProcess(Question("", None, 1, 1, 0.1, Base.metadata), 2**27) as process:
        assert process._process.wait(30) == -signal.SIGKILL


def test_a_function_that_ends_its_process_was_no_json(asked: WorkspaceStore) -> None:
    with pytest.raises(QueryError, match=r"the process that was to answer the query ended \("):
        asked.sql(ENDING["a cast of nested JSON"])


def test_a_path_with_a_star_gave_lists_without_end() -> None:
    assert simple("SELECT json_extract(config, '$.a') FROM runs")
    assert not simple("SELECT json_extract(config, '$.**') FROM runs")


def test_queries_in_queries_were_planned_here() -> None:
    query = "SELECT name FROM runs"
    for _ in range(MAX_QUERIES):
        assert simple(query)
        query = f"SELECT name FROM ({query})"
    assert not simple(query)


@pytest.mark.parametrize(("query", "params"), [("SELECT list(name) FROM runs", None), ("SELECT ?", ["x" * MAX_LENGTH])])
def test_what_may_grow_was_answered_here(
    asked: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, query: str, params: list[Any] | None
) -> None:
    def goes_elsewhere(*_: Any) -> None:
        raise QueryError("another process answers it")

    monkeypatch.setattr(readonly_sql, "SqlProcess", goes_elsewhere)
    with pytest.raises(QueryError, match="another process answers it"):
        asked.sql(query, params)
