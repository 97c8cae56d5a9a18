"""Users' own SQL: it reads, and does nothing else.

There are several fences, and none of them looks at the text: the engine's parser says that it is one SELECT; its
transaction is a read-only one, since a SELECT may have an INSERT inside; the connection has no access to files, and no
configuration that could be changed; how many rows and how much time it may take is limited.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl

from .database import Database
from .errors import InvalidTypeError, QueryError, QueryTimeoutError, StoreError
from .values import checked_int, checked_text, checked_timeout

ROWS_AT_ONCE = 50_000


def ask(
    database: Database, query: str, params: Sequence[Any] | Mapping[str, Any] | None, max_rows: int, timeout: float
) -> pl.DataFrame:
    """Return the answer to a query; see `WorkspaceStore.sql`."""
    if not isinstance(params, Mapping | None) and (isinstance(params, str | bytes) or not isinstance(params, Sequence)):
        raise InvalidTypeError(f"params must be a list or a dict of values, not {type(params).__name__}")
    query, max_rows = checked_text(query, "query"), checked_int(max_rows, "max_rows", 64)
    timer = threading.Timer(min(checked_timeout(timeout), threading.TIMEOUT_MAX), lambda: connection.interrupt())
    timer.daemon = True
    connection = database.cursor()
    try:
        _check_kind(connection, query)
        connection.execute("BEGIN TRANSACTION READ ONLY")
        timer.start()
        return _answer(connection, query, params, max_rows)
    except duckdb.InterruptException as error:
        raise QueryTimeoutError(f"the query took longer than {timeout:g} s; ask for less, or give more") from error
    except StoreError:
        raise
    except Exception as error:  # The engine, or a value that it or polars cannot turn into one of its own.
        raise QueryError(f"the query was refused: {error}") from error
    finally:
        timer.cancel()
        if timer.ident is not None:  # It must not interrupt a connection that is closed.
            timer.join()
        connection.close()


def _check_kind(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    kinds = [statement.type.name for statement in connection.extract_statements(query)]
    if kinds != ["SELECT"]:
        raise QueryError(f"a query must be one SELECT, not {', '.join(kinds) or 'nothing'}: it only reads")


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
    return pl.DataFrame(table)
