"""Users' own SQL: it reads, and does nothing else, for as long and with as much memory as it may.

What a query is, the engine's own parser says. One that is made of nothing but what `simple_queries.py` names is
answered here, in a read-only transaction of a connection of its own, without access to files or settings, and is
interrupted when its time is over. Any other one goes, with a copy of the tables that it names, to a process that can
be killed: there, too, it only reads, and a crash, or all the memory that it may have, is that process's alone.

See docs/decisions/0016.
"""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
from sqlalchemy import MetaData

from ...errors import InvalidTypeError, QueryError, QueryTimeoutError, StoreError
from ...validation import checked_int, checked_text, checked_timeout
from .settings import WORKING_MEMORY, quoted_name
from .simple_queries import MAX_LENGTH, is_simple, names_in, parsed, refuse_what_is_bound_anew
from .sql_parameters import MAX_PARAMETER_VALUES, checked_parameter
from .sql_process import TOO_LATE, Limits, RemoteError, SqlProcess
from .sql_results import frame_of, limited
from .sql_worker import READ_ONLY_TABLE_FUNCTIONS, RESULT_BATCH_ROWS, check_kind, kinds_in
from .worker_thread import WorkerThread

if TYPE_CHECKING:
    import pyarrow as pa

OF_CATALOG = frozenset(name for name in READ_ONLY_TABLE_FUNCTIONS if name.startswith(("duckdb_", "pragma_")))
# What may name tables otherwise than in so many words, or tells of all of them.
ODD_NAMES = ("query", "duckdb_", "pragma_", "\\")
TABLES = """
    SELECT table_name, column_name, data_type || CASE WHEN is_nullable THEN '' ELSE ' NOT NULL' END
    FROM system.main.duckdb_columns()
    WHERE table_oid IN (SELECT table_oid FROM system.main.duckdb_tables() WHERE NOT internal AND schema_name = 'main')
    ORDER BY table_name, column_index
"""


class ReadOnlyQuery:
    """One query; close it at its end. See `WorkspaceStore.sql` for the parameters; `metadata` has the tables.

    `submit` needs the database, and who has a unit of work open there; `result` needs neither, and may take longer.
    """

    def __init__(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None,
        max_rows: int,
        max_bytes: int,
        timeout: float,
        metadata: MetaData,
    ) -> None:
        if params is not None and not isinstance(params, Mapping):
            if isinstance(params, str | bytes) or not isinstance(params, Sequence):
                raise InvalidTypeError(f"params must be a list or a dict of values, not {type(params).__name__}")
            params = list(params[: MAX_PARAMETER_VALUES + 1])  # A range may be longer than any memory.
        self._metadata = metadata
        self._query = checked_text(query, "query")
        self._params = None if params is None else checked_parameter(params, "params")
        self._limits = Limits(
            checked_int(max_rows, "max_rows", 64), checked_int(max_bytes, "max_bytes", 64), checked_timeout(timeout)
        )
        self._stack = contextlib.ExitStack()
        self._is_late = False
        self._answer: Callable[[], pl.DataFrame]

    def close(self) -> None:
        """End the process that answers it, if one does; twice is fine."""
        self._stack.close()

    def submit(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """Ask on a new connection, or hand a copy of what the query names to a process that will answer it."""
        with self._errors(), contextlib.closing(connect()) as connection:

            def stop() -> None:
                self._is_late = True
                connection.interrupt()

            frame = WorkerThread(lambda: self._answer_here(connection), stop, self._limits.seconds).result()
            if frame is not None:
                self._answer = lambda: frame
                return
            process = self._stack.enter_context(SqlProcess(self._limits, WORKING_MEMORY))
            connection.execute("BEGIN TRANSACTION READ ONLY")
            tables = _tables(connection)
            process.submit(self._query, self._params, tables, self._rows(connection, tables))
            # It ends at its time by itself.
            self._answer = WorkerThread(process.result, process.kill, math.inf).result

    def result(self) -> pl.DataFrame:
        """Return the answer to what was asked."""
        with self._errors():
            return self._answer()

    def _is_simple(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Tell whether the query may be answered here, and refuse what is no query at all."""
        tree = None
        if len(self._query) <= MAX_LENGTH:  # To read a longer one takes long, too.
            check_kind(connection, self._query)
            tree = parsed(connection, self._query)
        refuse_what_is_bound_anew(self._query, tree)
        return len(pickle.dumps(self._params)) <= MAX_LENGTH and is_simple(
            self._query, tree, OF_CATALOG, names_in(self._metadata)
        )

    def _answer_here(self, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame | None:
        """Return the answer; None if another process has to give it."""
        if not self._is_simple(connection):
            return None
        connection.execute("BEGIN TRANSACTION READ ONLY")
        relation = connection.sql(self._query, params=self._params)
        rows = relation.to_arrow_reader(RESULT_BATCH_ROWS)
        batches = limited(rows, self._limits.max_rows, self._limits.max_bytes)
        return frame_of(rows.schema, [kinds_in(kind) for kind in relation.types], batches)

    def _rows(
        self, connection: duckdb.DuckDBPyConnection, tables: dict[str, list[tuple[str, str]]]
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield the rows of each table; none of those that the query does not name."""
        text = self._query.lower()
        names_all = any(odd in text for odd in ODD_NAMES)
        for name in tables:
            none = "" if names_all or name.lower() in text else " LIMIT 0"
            yield connection.sql(f"FROM {quoted_name(name)}{none}").to_arrow_reader(RESULT_BATCH_ROWS)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # The engine, or a value that it or polars cannot turn into one of its own.
            if self._is_late:
                raise QueryTimeoutError(TOO_LATE.format(self._limits.seconds)) from error
            raise QueryError(f"the query was refused: {_brief(error, self._metadata)}") from error


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, str]]]:
    """Return the names and types of the columns of each table, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in connection.execute(TABLES).fetchall():
        found.setdefault(table, []).append((column, kind))
    return found


def _brief(error: Exception, metadata: MetaData) -> str:
    """Return what the engine says on one line: without the query, which we have put words before."""
    lines = str(error).partition("\n\nLINE ")[0].splitlines()
    kind = error.kind if isinstance(error, RemoteError) else type(error).__name__
    if kind == duckdb.CatalogException.__name__:  # It guesses among its own catalog's names, too.
        lines = [line for line in lines if not line.startswith("Did you mean")]
        lines.append(f"The tables are {', '.join(table.name for table in metadata.sorted_tables)}.")
    return " ".join(lines)
