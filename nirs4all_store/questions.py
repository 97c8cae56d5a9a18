"""Users' own SQL: it reads, and does nothing else.

There are several fences, and none of them looks at the text: the engine's parser says that it is one SELECT; its
transaction is a read-only one, since a SELECT may have an INSERT inside; the engine's plan, in which views, macros and
subqueries are resolved, has no table function but such as read, since `checkpoint()` is one; the connection has no
access to files, and no configuration that could be changed; how many rows and how much time it may take is limited.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from .database import Database
from .duckdb_files import NO_EXTENSIONS
from .errors import InvalidTypeError, QueryError, QueryTimeoutError, StoreError
from .models import Base
from .values import checked_int, checked_text, checked_timeout

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 50_000
INTERVAL = "month_day_nano_interval"
# An interrupt that comes before the engine has begun is forgotten.
SECONDS_BETWEEN_INTERRUPTS = 0.02
READING = frozenset(
    [
        "duckdb_approx_database_count", "duckdb_available_metrics", "duckdb_columns", "duckdb_connection_count",
        "duckdb_constraints", "duckdb_coordinate_systems", "duckdb_databases", "duckdb_dependencies", "duckdb_dialects",
        "duckdb_extensions", "duckdb_functions", "duckdb_indexes", "duckdb_keywords", "duckdb_memory",
        "duckdb_optimizers", "duckdb_schemas", "duckdb_sequences", "duckdb_settings", "duckdb_table_sample",
        "duckdb_tables", "duckdb_temporary_files", "duckdb_triggers", "duckdb_types", "duckdb_variables",
        "duckdb_views", "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names",
        "pragma_collations", "pragma_database_size", "pragma_metadata_info", "pragma_platform", "pragma_show",
        "pragma_storage_info", "pragma_table_info", "pragma_user_agent", "pragma_version", "query", "query_table",
        "range", "repeat", "repeat_row", "seq_scan", "summary", "test_all_types", "test_vector_types", "unnest",
    ]
)  # fmt: skip
"""The table functions that read tables, the catalog or their arguments, and nothing else; new ones are not here."""


def ask(
    database: Database, query: str, params: Sequence[Any] | Mapping[str, Any] | None, max_rows: int, timeout: float
) -> pl.DataFrame:
    """Return the answer to a query; see `WorkspaceStore.sql`."""
    if not isinstance(params, Mapping | None) and (isinstance(params, str | bytes) or not isinstance(params, Sequence)):
        raise InvalidTypeError(f"params must be a list or a dict of values, not {type(params).__name__}")
    query, max_rows = checked_text(query, "query"), checked_int(max_rows, "max_rows", 64)
    seconds = checked_timeout(timeout)
    connection = database.cursor()
    try:
        with _interrupted(connection, seconds):
            _check_kind(connection, query, "SELECT")
            connection.execute("BEGIN TRANSACTION READ ONLY")
            _check_plan(connection, query, params)
            return _answer(connection, query, params, max_rows)
    except duckdb.InterruptException as error:
        raise QueryTimeoutError(f"the query took longer than {timeout:g} s; ask for less, or give more") from error
    except StoreError:
        raise
    except Exception as error:  # The engine, or a value that it or polars cannot turn into one of its own.
        raise QueryError(f"the query was refused: {_brief(error)}") from error
    finally:
        connection.close()


def _brief(error: Exception) -> str:
    """Return what the engine says on one line: without the query, which we have put words before."""
    lines = str(error).partition("\n\nLINE ")[0].splitlines()
    if isinstance(error, duckdb.CatalogException):  # It guesses among its own catalog's names, too.
        lines = [line for line in lines if not line.startswith("Did you mean")]
        lines.append(f"The tables are {', '.join(table.name for table in Base.metadata.sorted_tables)}.")
    return " ".join(lines)


@contextlib.contextmanager
def _interrupted(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt what is done in this block, once it has taken too long, until it ends."""
    is_over = threading.Event()

    def interrupt() -> None:
        is_over.wait(min(seconds, threading.TIMEOUT_MAX))
        while not is_over.is_set():
            connection.interrupt()
            is_over.wait(SECONDS_BETWEEN_INTERRUPTS)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()  # It must not interrupt a connection that is closed.


def _check_kind(connection: duckdb.DuckDBPyConnection, query: str, kind: str) -> None:
    kinds = [statement.type.name for statement in connection.extract_statements(query)]
    if kinds != [kind]:
        raise QueryError(f"a query must be one SELECT, not {', '.join(kinds) or 'nothing'}: it only reads")


def _check_plan(connection: duckdb.DuckDBPyConnection, query: str, params: Any) -> None:
    """Refuse a query whose plan has a table function that does more than read."""
    explain = f"EXPLAIN (FORMAT json) {query}"
    _check_kind(connection, explain, "EXPLAIN")
    ((_, plan),) = connection.execute(explain, params).fetchall()
    doing = _table_functions() - READING
    others = sorted({name for node in json.loads(plan) for name in _operators(node)} & doing)
    if others:
        raise QueryError(f"a query only reads tables and the catalog, and {', '.join(others)} does more, or may")


def _operators(node: dict[str, Any]) -> Iterator[str]:
    """Yield the names of what a plan has; of a table function, its own."""
    yield node["name"].split(" ")[0].lower()
    yield node["extra_info"].get("Function", "").lower()
    for child in node["children"]:
        yield from _operators(child)


@cache
def _table_functions() -> frozenset[str]:
    """Return the names of the engine's table functions."""
    with duckdb.connect(config=NO_EXTENSIONS) as connection:
        names = connection.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        return frozenset(name for (name,) in names.fetchall())


def _answer(connection: duckdb.DuckDBPyConnection, query: str, params: Any, max_rows: int) -> pl.DataFrame:
    import pyarrow as pa

    relation = connection.sql(query, params=params)
    reader = relation.to_arrow_reader(ROWS_AT_ONCE)
    batches, count = [], 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        if count > max_rows:
            raise QueryError(f"the query gives more than {max_rows:,} rows; add a LIMIT, or give a larger max_rows=")
    table = pa.Table.from_batches(batches, schema=reader.schema)
    for place, field in enumerate(table.schema):
        if pa.types.is_interval(field.type):
            table = table.set_column(place, field.name, [_durations(table.column(place), field.name)])
        elif INTERVAL in str(field.type):
            raise _no_duration(field.name, "intervals inside another value")
    return pl.DataFrame(table)


def _durations(intervals: pa.ChunkedArray, name: str) -> pa.Array:
    import pyarrow as pa

    values = [value.as_py() for value in intervals]
    if any(value is not None and value.months for value in values):
        raise _no_duration(name, "an interval of months, which have no length")
    durations = [value and timedelta(value.days, microseconds=value.nanoseconds // 1000) for value in values]
    return pa.array(durations, pa.duration("us"))


def _no_duration(name: str, what: str) -> QueryError:
    return QueryError(f"column {name!r} has {what}; ask for numbers with epoch(...) or date_diff(...)")
