"""`ReadOnlyQuery` runs SQL that a user has written: it only reads, and its time and memory are bounded.

DuckDB's own parser says what a query consists of. A query of nothing but what `simple_queries.py` lists runs in this
process, on its own connection, in a read-only transaction, without access to files or settings; it is interrupted when
its time is over. Any other query is sent, with a copy of the tables that it names, to a process that can be killed. A
crash there, or the use of all allowed memory, ends only that process.

Why there are two ways: docs/decisions/0016.
"""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import duckdb
import polars as pl
import pyarrow as pa
from sqlalchemy import MetaData

from ...errors import InvalidTypeError, QueryError, QueryTimeoutError, StoreError
from ...validation import checked_int, checked_text, checked_timeout
from ..base import Question
from .settings import WORKING_MEMORY, quoted_name
from .simple_queries import MAX_LENGTH, is_simple, names_in, parsed, refuse_what_is_bound_anew
from .sql_parameters import MAX_PARAMETER_VALUES, checked_parameter
from .sql_process import TOO_LATE, RemoteError, SqlProcess
from .sql_results import frame_of, limited
from .sql_worker import RESULT_BATCH_ROWS, check_kind, kinds_in
from .worker_thread import WorkerThread

# If one of these is in a query, it may read tables that it does not name.
ODD_NAMES = ("query", "duckdb_", "pragma_", "\\")
TABLES = """
    SELECT table_name, column_name, data_type || CASE WHEN is_nullable THEN '' ELSE ' NOT NULL' END
    FROM system.main.duckdb_columns()
    WHERE table_oid IN (SELECT table_oid FROM system.main.duckdb_tables() WHERE NOT internal AND schema_name = 'main')
    ORDER BY table_name, column_index
"""


class ReadOnlyQuery:
    """One query of a user; close it when it is not needed any more.

    `submit` reads the database and must be called inside a unit of work. `result` may be called after it, and may take
    longer.

    Parameters
    ----------
    question : Question
        See `engine.base`.

    Raises
    ------
    InvalidTypeError, InvalidInputError
        A parameter is not what `WorkspaceStore.sql` takes.
    """

    def __init__(self, question: Question) -> None:
        params = question.params
        if params is not None and not isinstance(params, Mapping):
            if isinstance(params, str | bytes) or not isinstance(params, Sequence):
                raise InvalidTypeError(f"params must be a list or a dict of values, not {type(params).__name__}")
            params = list(params[: MAX_PARAMETER_VALUES + 1])  # A `range` may have more values than fit in memory.
        self._question = replace(
            question,
            query=checked_text(question.query, "query"),
            params=None if params is None else checked_parameter(params, "params"),
            max_rows=checked_int(question.max_rows, "max_rows", 64),
            max_bytes=checked_int(question.max_bytes, "max_bytes", 64),
            timeout=checked_timeout(question.timeout),
        )
        self._stack = contextlib.ExitStack()
        self._is_late = False
        self._answer: Callable[[], pl.DataFrame]

    def close(self) -> None:
        """End the process that answers the query, if there is one; a second call does nothing."""
        self._stack.close()

    def submit(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """Run the query on a new connection, or send it with a copy of its tables to a process that runs it.

        Parameters
        ----------
        connect : callable
            Returns a new connection to the database; see `DuckDBDatabase.cursor`.

        Raises
        ------
        QueryError
            The query does more than read, or DuckDB refuses it.
        QueryTimeoutError
            Its time is over.
        """
        with self._errors(), contextlib.closing(connect()) as connection:

            def stop() -> None:
                self._is_late = True
                connection.interrupt()

            frame = WorkerThread(lambda: self._answer_here(connection), stop, self._question.timeout).result()
            if frame is not None:
                self._answer = lambda: frame
                return
            process = self._stack.enter_context(SqlProcess(self._question, WORKING_MEMORY))
            connection.execute("BEGIN TRANSACTION READ ONLY")
            tables = _tables(connection)
            process.submit(tables, self._rows(connection, tables))
            # No time limit here: the process is killed when the query's time is over.
            self._answer = WorkerThread(process.result, process.kill, math.inf).result

    def result(self) -> pl.DataFrame:
        """Return the rows; for the errors see `submit`."""
        with self._errors():
            return self._answer()

    def _is_simple(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Tell whether the query may run in this process; raise if it is not a SELECT."""
        tree, query = None, self._question.query
        if len(query) <= MAX_LENGTH:  # To parse a longer one would take long, too.
            check_kind(connection, query)
            tree = parsed(connection, query)
        refuse_what_is_bound_anew(query, tree)
        return len(pickle.dumps(self._question.params)) <= MAX_LENGTH and is_simple(
            query, tree, names_in(self._question.metadata)
        )

    def _answer_here(self, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame | None:
        """Return the rows; None if another process has to run the query."""
        if not self._is_simple(connection):
            return None
        connection.execute("BEGIN TRANSACTION READ ONLY")
        relation = connection.sql(self._question.query, params=self._question.params)
        rows = relation.to_arrow_reader(RESULT_BATCH_ROWS)
        batches = limited(rows, self._question)
        return frame_of(rows.schema, [kinds_in(kind) for kind in relation.types], batches)

    def _rows(
        self, connection: duckdb.DuckDBPyConnection, tables: dict[str, list[tuple[str, str]]]
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield the rows of each table; of a table that the query does not name, no rows."""
        text = self._question.query.lower()
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
        except Exception as error:  # Of DuckDB, or of polars for a value that it does not have.
            if self._is_late:
                raise QueryTimeoutError(TOO_LATE.format(self._question.timeout)) from error
            raise QueryError(f"the query was refused: {_brief(error, self._question.metadata)}") from error


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, str]]]:
    """Return the names and types of the columns of each table, by the table's name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in connection.execute(TABLES).fetchall():
        found.setdefault(table, []).append((column, kind))
    return found


def _brief(error: Exception, metadata: MetaData) -> str:
    """Return the message of DuckDB's error on one line, without its copy of the query."""
    lines = str(error).partition("\n\nLINE ")[0].splitlines()
    kind = error.kind if isinstance(error, RemoteError) else type(error).__name__
    if kind == duckdb.CatalogException.__name__:  # It would suggest names of DuckDB's own catalog, too.
        lines = [line for line in lines if not line.startswith("Did you mean")]
        lines.append(f"The tables are {', '.join(table.name for table in metadata.sorted_tables)}.")
    return " ".join(lines)
