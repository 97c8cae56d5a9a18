"""The program of a process that answers one query on a copy of the tables, and that can be killed at any moment.

`sql_process.py` starts it. Its standard input has a header (a pickle, after its length in 8 bytes) and then the rows of
each table as an Arrow IPC stream. To its standard output it writes a line of JSON, the answer as an Arrow IPC stream,
and another line of JSON. See docs/decisions/0016.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from .settings import NO_EXTENSIONS, NO_PROGRESS_BAR, quoted_name

MEMORY = 2**30
"""How many bytes of memory the process may use beside what it has when it starts."""
RESULT_BATCH_ROWS = 1024
DATABASE = "store"
"""DuckDB's name for the database of a workspace, made of the name of its file."""
SEALED = f"SET TimeZone = 'UTC'; {NO_PROGRESS_BAR}; SET enable_external_access = false; SET lock_configuration = true"
"""Keeps a query from files, settings and the network; it is run once the tables are there."""
READ_ONLY_TABLE_FUNCTIONS = frozenset(
    [
        "duckdb_approx_database_count",
        "duckdb_available_metrics",
        "duckdb_columns",
        "duckdb_connection_count",
        "duckdb_constraints",
        "duckdb_coordinate_systems",
        "duckdb_databases",
        "duckdb_dependencies",
        "duckdb_dialects",
        "duckdb_extensions",
        "duckdb_functions",
        "duckdb_indexes",
        "duckdb_keywords",
        "duckdb_memory",
        "duckdb_optimizers",
        "duckdb_schemas",
        "duckdb_sequences",
        "duckdb_settings",
        "duckdb_table_sample",
        "duckdb_tables",
        "duckdb_temporary_files",
        "duckdb_triggers",
        "duckdb_types",
        "duckdb_variables",
        "duckdb_views",
        "generate_series",
        "icu_calendar_names",
        "json_each",
        "json_tree",
        "pg_timezone_names",
        "pragma_collations",
        "pragma_database_size",
        "pragma_metadata_info",
        "pragma_platform",
        "pragma_show",
        "pragma_storage_info",
        "pragma_table_info",
        "pragma_user_agent",
        "pragma_version",
        "query",
        "query_table",
        "range",
        "repeat",
        "repeat_row",
        "seq_scan",
        "summary",
        "test_all_types",
        "test_vector_types",
        "unnest",
    ]
)
"""Table functions that read only tables, the catalog or their arguments. Those of a later DuckDB are refused."""


NO_SELECT = "a query must be one SELECT, or PIVOT: it only reads"


class RefusedError(Exception):
    """The error of a query that does more than read."""


def main() -> None:
    """Read a query from standard input, and write its answer to standard output."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    header = pickle.loads(incoming.read(int.from_bytes(incoming.read(8), "little")))
    _end_by_itself(header["seconds"])
    threading.Thread(target=_end_with_who_asks, daemon=True).start()
    try:
        with duckdb.connect(config=NO_EXTENSIONS | header["config"]) as connection:
            connection.execute(f"ATTACH ':memory:' AS {DATABASE}; USE {DATABASE}")
            for name, columns in header["tables"]:
                _fill(connection, name, columns, incoming)
            connection.execute(SEALED)
            answer(connection, header["query"], header["params"], outgoing)
    except Exception as error:  # DuckDB may raise any error, and there may be a MemoryError.
        send(outgoing, {"error": type(error).__name__, "message": str(error)})
    outgoing.flush()


def _end_by_itself(seconds: float | None) -> None:
    """Bound the memory and the time of this process, even if the process that waits for it is gone."""
    with contextlib.suppress(ImportError, OSError):  # Only Linux limits the memory that is really used.
        import resource

        # DuckDB reserves gigabytes of addresses that it never uses. So the limit begins at what there is now.
        status = Path("/proc/self/status").read_text()
        limit = int(status.partition("VmData:")[2].split()[0]) * 1024 + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        if seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, seconds + 1)


def _end_with_who_asks() -> None:
    """End this process once nobody can read its answer: the other process may have been killed, and had no timeout."""
    if hasattr(select, "poll"):
        reader = select.poll()
        reader.register(1, 0)  # poll(2) reports that the pipe is broken without being asked for it.
        reader.poll()
        os._exit(1)


def _fill(connection: duckdb.DuckDBPyConnection, name: str, columns: list[tuple[str, str]], incoming: BinaryIO) -> None:
    import pyarrow as pa

    made = ", ".join(f"{quoted_name(column)} {kind}" for column, kind in columns)
    connection.execute(f"CREATE TABLE {quoted_name(name)} ({made})")
    with pa.ipc.open_stream(incoming) as rows:
        for batch in rows:
            if batch.num_rows:
                connection.from_arrow(pa.Table.from_batches([batch])).insert_into(quoted_name(name))


def answer(connection: duckdb.DuckDBPyConnection, query: str, params: Any, outgoing: BinaryIO) -> None:
    """Check a query, run it, and write its answer.

    Raises
    ------
    RefusedError
        The query is not a SELECT, or has a table function that does more than read.
    """
    import pyarrow as pa

    connection.execute("BEGIN TRANSACTION READ ONLY")
    if check_kind(connection, query) == "SELECT":
        _check_plan(connection, query, params)
    relation = connection.sql(query, params=params)
    if relation is None:
        raise RefusedError(NO_SELECT)
    rows = relation.to_arrow_reader(RESULT_BATCH_ROWS)
    send(outgoing, {"types": [kinds_in(kind) for kind in relation.types]})
    with pa.ipc.new_stream(outgoing, rows.schema) as stream:
        problem = None
        try:
            for batch in rows:
                stream.write_batch(batch)
        except duckdb.Error as error:
            problem = {"error": type(error).__name__, "message": str(error)}
    send(outgoing, problem or {})


def check_kind(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return the kind of a query's statement: SELECT, or MULTI (PIVOT, and some statements that return no rows).

    Raises
    ------
    RefusedError
        It is another kind of statement, or there are several.
    """
    kinds = [statement.type.name for statement in connection.extract_statements(query)]
    if kinds not in (["SELECT"], ["MULTI"]):
        raise RefusedError(f"{NO_SELECT}, not {', '.join(kinds) or 'nothing'}")
    return kinds[0]


def kinds_in(kind: Any) -> list[str]:
    """Return DuckDB's name of a type, and after it the names of the types of its fields, items, keys and values."""
    if kind.id not in ("list", "array", "struct", "map", "union"):
        return [kind.id]
    return [kind.id, *(name for _, part in kind.children if hasattr(part, "id") for name in kinds_in(part))]


def send(outgoing: BinaryIO, what: dict[str, Any]) -> None:
    """Write a dict as one line of JSON."""
    outgoing.write(json.dumps(what).encode() + b"\n")


def _check_plan(connection: duckdb.DuckDBPyConnection, query: str, params: Any) -> None:
    ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {query}", params).fetchall()
    doing = _table_functions() - READ_ONLY_TABLE_FUNCTIONS
    others = sorted({name for node in json.loads(plan) for name in _operators(node)} & doing)
    if others:
        raise RefusedError(f"a query only reads tables and the catalog, and {', '.join(others)} does more, or may")


@cache
def _table_functions() -> frozenset[str]:
    """Return the names of all table functions of this DuckDB."""
    with duckdb.connect(config=NO_EXTENSIONS) as connection:
        names = connection.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        return frozenset(name for (name,) in names.fetchall())


def _operators(node: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the operators and table functions of a query plan."""
    yield node["name"].split(" ")[0].lower()
    yield node["extra_info"].get("Function", "").lower()
    for child in node["children"]:
        yield from _operators(child)


if __name__ == "__main__":
    main()
