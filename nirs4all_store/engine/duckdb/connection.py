"""Opening a DuckDB file so that nothing but rows comes in and goes out.

See docs/decisions/0010.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ...call_boundary import free_what_was_cut_off
from ...errors import WorkspaceBusyError, WorkspaceOpenHereError
from .files import corrupt, is_locked, memory_config, refuse_odd_database
from .settings import NO_EXTENSIONS, NO_PROGRESS_BAR, Config

ENGINE_VERSION = duckdb.__version__
ENGINE_ERRORS = (SQLAlchemyError, duckdb.Error)
# Nothing is fetched, loaded or read because a workspace asks for it, and no statement can undo that.
SAFE_CONFIG: Config = NO_EXTENSIONS | {"enable_external_access": "false"}
# At its end DuckDB folds the log in and removes it by name, also when the name belongs to another
# file by then: `Database.close` does it instead, after a look.
AFTER_CONNECTING = (
    "PRAGMA disable_checkpoint_on_shutdown; SET allowed_configs = ['search_path', 'enable_progress_bar']; "
    # The times of our rows are UTC, also where a question compares them with now().
    f"SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true; {NO_PROGRESS_BAR}"
)
TRIES = 3
NEVER = "1024 TiB"


def connect(path: Path, *, read_only: bool = False, memory_limit: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, safely configured; see `FileDatabase` for the parameters and the errors."""
    refuse_odd_database(path)
    config = SAFE_CONFIG | memory_config(memory_limit)
    for tries_left in range(TRIES - 1, -1, -1):
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
            if not tries_left:  # Else whoever had it may have closed it just now.
                raise corrupt(path, error) from error
        except duckdb.Error as error:
            raise corrupt(path, error) from error
    raise AssertionError("unreachable")


def connect_memory() -> duckdb.DuckDBPyConnection:
    """Make a database in memory, safely configured: what there is no room for is an error, and goes to no disk.

    A checkpoint that begins by itself, in a commit, and finds no room would take all that was committed with it.
    """
    connection = duckdb.connect(":memory:", config=NO_EXTENSIONS)
    connection.execute(
        f"SET temp_directory = ''; SET checkpoint_threshold = '{NEVER}'; SET enable_external_access = false"
    )
    return _configured(connection)


def _configured(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Configure a new connection, or close it."""
    try:
        connection.execute(AFTER_CONNECTING)
    except duckdb.InvalidInputException as error:
        connection.close()
        raise WorkspaceOpenHereError("it has joined one whose configuration is locked") from error
    except BaseException:  # Ctrl-C may come at any moment, and what it has raised keeps the connection alive.
        connection.close()
        raise
    return connection


def catalog_name(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the name that the engine has given to an open file; asked without an operator that a macro could be."""
    names = connection.execute("SELECT database_name FROM system.main.duckdb_databases()").fetchall()
    return next(str(name) for (name,) in names if name not in ("system", "temp"))


def raw_connection(session: Session) -> Any:
    """Return the DuckDB connection under a session, inside its transaction."""
    connection: Any = session.connection().connection.driver_connection
    connection.complete()  # A result that was read in part would block what comes next.
    return connection
