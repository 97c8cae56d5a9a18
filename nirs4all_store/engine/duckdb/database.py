"""Where the rows live: the file, its connections and transactions; `schema` has its tables."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import NullPool

from ...call_boundary import CallBoundary
from ...errors import ReadOnlyError, WorkspaceBusyError, WorkspaceCorruptError
from ...failpoints import Failpoint, hit
from ...filesystem import file_id, last_change, share_alike
from ...validation import json_text
from .connection import connect
from .files import header_of, logs_of, refuse_odd_database
from .posix_lock import held_alone
from .settings import NO_PROGRESS_BAR, quoted_name

if TYPE_CHECKING:
    from .dialect import Connections


ENGINE_VERSION = duckdb.__version__
ENGINE_ERRORS = (SQLAlchemyError, duckdb.Error)
IDLE_CONNECTIONS = 16
# Of files in which this process has found no macros, how they lay there: looking takes as long as opening.
_without_macros: dict[tuple[int, int] | None, tuple[int, ...]] = {}
# What a transaction has inserted stays in memory until its end, unless there is a limit.
WORKING_MEMORY = 400 * 2**20
# Below the limit, DuckDB never lets go of the keys that were inserted since it opened the file: 80 bytes each.
MAX_NEW_KEYS = 1_000_000


class Database:
    """One DuckDB file, open in this process.

    One connection stays open as long as the database does, since reopening the file for every
    transaction costs tens of milliseconds; each session has a connection of its own beside it.

    Parameters
    ----------
    path : Path
        The database file.
    read_only : bool
        Refuse writes, and share the file with other readers.
    memory_limit : int, optional
        How many bytes the engine may take before it puts what it works on to the disk; most of the
        machine's memory by default.
    create : bool
        Create the file.

    Attributes
    ----------
    new_keys : int
        How many rows were inserted since it was opened, as told by who inserts them.
    header : str
        What is another one once the engine has folded something into the file.
    has_changed : bool
        Whether something was committed that the header does not show.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, memory_limit: int | None = None, create: bool = False
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._memory_limit = memory_limit
        self.open(create=create)

    def open(self, *, create: bool = False) -> None:
        """Connect; see the class for the parameter.

        Raises
        ------
        WorkspaceBusyError
            Another program has the file open.
        WorkspaceCorruptError
            The file is not there, is damaged, or is no DuckDB database.
        """
        if not create and not self.path.exists():
            raise WorkspaceCorruptError(f"{self.path} is not there any more; restore it from a backup")
        self.new_keys = 0
        self.header, self.has_changed = header_of(self.path), bool(logs_of(self.path))
        self._connections: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._anchor = connect(self.path, read_only=self.read_only, memory_limit=self._memory_limit)
        try:
            self._file = file_id(self.path)
            self.note_file()
            self._name = catalog_name(self._anchor)
            self._idle, self.engine = _engine(self.cursor)
        except BaseException:  # Ctrl-C may come at any moment, and nobody has what could be closed.
            self._anchor.close()
            raise

    @property
    def is_full(self) -> bool:
        """Whether it should be closed and opened again before more is written, to stay within its memory limit."""
        return self._memory_limit is not None and self.new_keys > MAX_NEW_KEYS

    def check_file(self, *, is_quiet: bool = False, write: bool = True) -> None:
        """Make sure that the file was not removed, replaced or copied over while it was open.

        Parameters
        ----------
        is_quiet : bool
            Nobody has used it since the last `note_file`: then nobody else may have written to it, either.
        write : bool
            One is about to write. To a reader, a file that was removed is still open here, and its last copy.

        Raises
        ------
        WorkspaceCorruptError
            It was: what is written now would be lost. Or what is to be written beside it would go elsewhere.
        """
        refuse_odd_database(self.path)
        if not write and not self.path.exists():
            return
        if not self.is_in_place or (is_quiet and not self.is_as_left):
            raise WorkspaceCorruptError(
                f"{self.path} was removed or replaced, or copied over, while it was open; nothing was written: close "
                "the store, put a backup in its place with `nirs4all-store restore`, and open it again"
            )

    def note_file(self) -> None:
        """Remember how the file is, now that nobody uses it here: until somebody does, the engine leaves it alone."""
        if self.is_in_place:
            self._left = last_change(self.path)

    @property
    def is_as_left(self) -> bool:
        """Whether the file is as it was at the last `note_file`."""
        return last_change(self.path) == self._left

    def keep_committed(self) -> None:
        """Put what was committed into the file, if the log is gone.

        Somebody may have removed it: the engine goes on writing to it, and nobody ever finds what is there.
        """
        self.has_changed = True
        logs = logs_of(self.path)
        for log in logs:  # The engine makes it, as this user's umask says.
            share_alike(log, self.path.stat())
        if not logs:
            with contextlib.closing(self.cursor()) as connection:  # Any thread may be using the anchor.
                connection.execute(f"CHECKPOINT {quoted_name(self._name)}")

    @property
    def has_no_macros(self) -> bool:
        """Whether this process knows it: none was found, and neither the file nor a log is another one since."""
        return _without_macros.get(self._file) == _status(self.path)

    def found_no_macros(self) -> None:
        """Keep it in mind, for as long as nobody writes to the file."""
        _without_macros[self._file] = _status(self.path)

    @property
    def is_alive(self) -> bool:
        """Whether the engine still answers: some errors, of the disk among them, leave it dead until it is opened."""
        try:
            with contextlib.closing(self._anchor.cursor()) as connection:
                connection.execute("SELECT 1").fetchall()
        except duckdb.Error:
            return False
        return True

    def interrupt(self) -> None:
        """Stop the statements that run on any of its connections; they raise."""
        for connection in list(self._connections):
            connection.interrupt()

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is the one that has the name."""
        return file_id(self.path) == self._file

    def session(self) -> Session:
        """Return a new session on a connection of its own; it begins at its first statement."""
        return _Session(self.engine)

    def adopt(self, session: Session) -> None:
        """Let a session go on here that began on this database before it was opened anew."""
        session.close()
        session.bind = self.engine

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection, on which a name means the engine's own function, whatever macros the file has."""
        connection = self._anchor.cursor()
        self._connections.add(connection)
        connection.execute(NO_PROGRESS_BAR)
        connection.execute(f"SET search_path = 'system.main,{quoted_name(self._name)}.main'")
        return connection

    def close(self) -> None:
        """Fold the log in, close every connection and release the file; twice is fine."""
        try:
            self._idle.close()
            folded = self._fold()
        finally:
            self._anchor.close()
        if folded:
            _remove_folded(self.path, folded)

    def _fold(self) -> dict[Path, os.stat_result]:
        """Put what stands in the logs into the file; return what is left of them, which holds nothing any more."""
        if self.read_only or not (self.is_in_place and self.is_as_left) or not logs_of(self.path):
            return {}
        hit(Failpoint.FOLDING)
        try:
            with CallBoundary():  # The workspace's own thread folds, too.
                self._anchor.execute("CHECKPOINT")
        except duckdb.Error:  # Without room for it the log stays: nothing is lost, the next opening tries again.
            return {}
        hit(Failpoint.FOLDED)
        with contextlib.suppress(OSError):
            return {log: log.stat() for log in logs_of(self.path)}
        return {}


def _status(path: Path) -> tuple[int, ...]:
    """Return what is another one once a database or its log was written to."""
    found = [name.stat() for name in (path, *logs_of(path)) if name.exists()]
    return tuple(number for file in found for number in (file.st_size, file.st_mtime_ns, file.st_ctime_ns))


def _remove_folded(path: Path, folded: dict[Path, os.stat_result]) -> None:
    """Remove logs that DuckDB leaves behind, such as one whose only commit a kill has torn."""
    # What stays is looked at again by the next opening.
    with contextlib.suppress(WorkspaceBusyError, ReadOnlyError, OSError), held_alone(path):
        for log, status in folded.items():
            if log.exists() and (log.stat().st_mtime_ns, log.stat().st_size) == (status.st_mtime_ns, status.st_size):
                log.unlink()


def catalog_name(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the name that the engine has given to an open file; asked without an operator that a macro could be."""
    names = connection.execute("SELECT database_name FROM system.main.duckdb_databases()").fetchall()
    return next(str(name) for (name,) in names if name not in ("system", "temp"))


def _engine(connect: Callable[[], duckdb.DuckDBPyConnection]) -> tuple[Connections, Engine]:
    from .dialect import DRIVER, Connections  # Not at the top: it takes as long to import as half of all else.

    connections = Connections(connect, IDLE_CONNECTIONS)
    return connections, create_engine(
        f"{DRIVER}://",
        creator=connections.take,
        poolclass=NullPool,
        pool_reset_on_return=None,  # A session ends its transaction itself; a second rollback is a round trip.
        json_serializer=lambda value: json_text(value, "a JSON value"),
    )


class _Session(Session):
    """A session that lets somebody act before each statement; see `before_statements`."""


def before_statements(session: Session, action: Callable[[], object]) -> None:
    """Let something be done before each statement of a session of `Database.session`."""
    session.info[before_statements] = action


@event.listens_for(_Session, "do_orm_execute")
def _act(state: ORMExecuteState) -> None:
    # Listening to each session by itself takes longer than many a statement.
    state.session.info.get(before_statements, int)()


def raw_connection(session: Session) -> Any:
    """Return the DuckDB connection under a session, inside its transaction."""
    connection: Any = session.connection().connection.driver_connection
    connection.complete()  # A result that was read in part would block what comes next.
    return connection


def check_transaction(session: Session) -> None:
    """Raise if an error has invalidated the transaction, for whose COMMIT DuckDB would report success."""
    raw_connection(session).execute("SELECT 1")
