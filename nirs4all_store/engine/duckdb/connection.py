"""Opens DuckDB connections that are configured so that a database from anybody cannot run code or reach other files.

Why functions are looked up in the system's schema first: docs/decisions/0010.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ...call_boundary import free_what_was_cut_off
from ...errors import WorkspaceBusyError, WorkspaceOpenHereError
from .files import corrupt, memory_config, refuse_odd_database
from .posix_lock import is_locked
from .settings import NO_EXTENSIONS, NO_PROGRESS_BAR, Config

ENGINE_VERSION = duckdb.__version__
ENGINE_ERRORS = (SQLAlchemyError, duckdb.Error)
# No statement of a workspace can install or load an extension, or read another file, nor change these settings.
SAFE_CONFIG: Config = NO_EXTENSIONS | {"enable_external_access": "false"}
# When DuckDB closes, it folds the log in and removes it by its name, even if another file has that name
# by then. `FileDatabase.close` does it instead, after it has checked the file.
AFTER_CONNECTING = (
    "PRAGMA disable_checkpoint_on_shutdown; SET allowed_configs = ['search_path', 'enable_progress_bar']; "
    # The times of our rows are UTC; so is now(), with which a query may compare them.
    f"SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true; {NO_PROGRESS_BAR}"
)
NEVER = "1024 TiB"


def connect(path: Path, *, read_only: bool = False, memory_limit: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file in the safe configuration; for the parameters and errors see `FileDatabase`."""
    refuse_odd_database(path)
    config = SAFE_CONFIG | memory_config(memory_limit)
    for tries_left in (2, 1, 0):
        try:
            return _configured(duckdb.connect(str(path), read_only=read_only, config=config))
        except (duckdb.ConnectionException, WorkspaceOpenHereError) as error:
            if not tries_left:
                raise WorkspaceOpenHereError(
                    f"this process has {path} open through duckdb itself: {error}; close it"
                ) from error
            free_what_was_cut_off()
        except duckdb.IOException as error:
            if is_locked(path, shared=read_only):
                raise WorkspaceBusyError(f"another program has {path} open: {error}; close it and try again") from error
            if not tries_left:  # Before that, whoever had the file may have closed it just now.
                raise corrupt(path, error) from error
        except duckdb.Error as error:
            raise corrupt(path, error) from error
    raise AssertionError("unreachable")


def connect_memory() -> duckdb.DuckDBPyConnection:
    """Make a database in memory in the safe configuration.

    It writes nothing to the disk: a statement that needs more memory than there is raises an error. It makes no
    checkpoint by itself either: one that runs out of memory breaks the engine, and all that was committed is lost.
    """
    connection = duckdb.connect(":memory:", config=NO_EXTENSIONS)
    connection.execute(
        f"SET temp_directory = ''; SET checkpoint_threshold = '{NEVER}'; SET enable_external_access = false"
    )
    return _configured(connection)


def _configured(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Configure a new connection and return it; if that fails, close it."""
    try:
        connection.execute(AFTER_CONNECTING)
    except duckdb.InvalidInputException as error:
        connection.close()
        raise WorkspaceOpenHereError("it has joined one whose configuration is locked") from error
    except BaseException:  # Ctrl-C may come at any moment, and its traceback would keep the connection open.
        connection.close()
        raise
    return connection


def catalog_name(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the name that DuckDB has given to an open database.

    The query has no operator and no unqualified function, since a macro in the file could take the place of both.
    """
    rows = connection.execute("SELECT database_oid, database_name FROM system.main.duckdb_databases()").fetchall()
    # What a session has attached beside it came later, and has a higher number.
    return str(min(row for row in rows if row[1] not in ("system", "temp"))[1])


def raw_connection(session: Session) -> Any:
    """Return the DuckDB connection that a session uses, inside the session's transaction."""
    connection: Any = session.connection().connection.driver_connection
    connection.complete()  # A result that was read only in part would block the next statement.
    return connection
