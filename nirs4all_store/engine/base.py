"""The protocols that a database engine implements, so that the code above it does not depend on which engine it is.

`engine/duckdb` implements them, for a database in a file and for one in memory. `workspace.leased_database` and
`workspace.memory` implement `Access`, which says when a process may use the database.

Why these protocols: docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from sqlalchemy import Column, MetaData, Select, String, Table, Update, event
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.sql.functions import FunctionElement

from .findings import Differences

Values = Mapping[str, Any] | None


class Pieces(FunctionElement[str]):
    """In SQL, a row for each piece of a text between separators: `Pieces(text, separator)`; each engine compiles it."""

    name = "pieces"
    type = String()
    inherit_cache = True


class RowIO(Protocol):
    """Reads and writes the rows of one session, inside its transaction.

    Attributes
    ----------
    session : Session
    """

    session: Session

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows.

        Parameters
        ----------
        table : Table
        rows : sequence of dict
            Each with one value for every column of `table`. JSON is given as text, a list as a 1-D numpy array or as a
            list of str.
        """

    def frame(self, query: Select[Any], values: Values = None) -> pl.DataFrame:
        """Return the rows of a SELECT as a polars frame.

        Parameters
        ----------
        query : Select
        values : dict, optional
            The values of its bound parameters, by name. The text of a query that has them is compiled only once: give
            the same object each time.
        """

    def rows(self, query: Select[Any], values: Values = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dicts, with JSON decoded; for the parameters see `frame`."""

    def run(self, statement: Update, values: Mapping[str, Any]) -> None:
        """Run an UPDATE with the values of its bound parameters; it is compiled only once, as in `frame`."""

    def has_key(self, table: Table, key: str) -> bool:
        """Tell whether a table has a row with this primary key."""

    def rows_by_key(self, table: Table, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows with these primary keys, with JSON decoded, in any order."""

    def frame_by_key(self, table: Table, key: str) -> pl.DataFrame:
        """Return the row with this primary key as a frame of one row; of none, if there is no such row."""

    def write_parquet(self, query: Select[Any], by: Column[Any], path: Path, limit: int | None, offset: int) -> None:
        """Write the rows of a SELECT to a Parquet file, with few of them in memory at a time.

        Parameters
        ----------
        query : Select
            Ordered by the column `by` first, ascending.
        by : Column
            A column without NULL.
        path : Path
            The file. A file that is there is replaced.
        limit : int or None
            How many rows to write at most; None: all.
        offset : int
            How many rows to leave out before the first.
        """

    def prove_alive(self) -> None:
        """Raise if an error has invalidated the transaction; some engines would report that its COMMIT succeeded."""


@dataclass(frozen=True)
class Question:
    """A query that a user has written, and how much its answer may be.

    Attributes
    ----------
    query, params, max_rows, max_bytes, timeout
        As for `WorkspaceStore.sql`.
    metadata : MetaData
        The tables of a workspace. Queries that name only these may run in this process.
    """

    query: str
    params: Sequence[Any] | Mapping[str, Any] | None
    max_rows: int
    max_bytes: int
    timeout: float
    metadata: MetaData


class Answer(Protocol):
    """A query that `Database.ask` has started; close it when it is not needed any more."""

    def result(self) -> pl.DataFrame:
        """Return the rows; for the errors see `Database.ask`. It may take long, and needs no open unit of work."""

    def close(self) -> None:
        """Stop the query, if it still runs; a second call does nothing."""


class Database(Protocol):
    """A database that this process has open."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine still answers; some errors leave it unusable until the database is opened again."""

    def session(self) -> FlushingSession:
        """Return a new session on its own connection; its transaction begins with its first statement."""

    def adopt(self, session: Session) -> None:
        """Connect a session with this database that was made before the database was closed and opened again."""

    def row_io(self, session: Session) -> RowIO:
        """Return a `RowIO` for a session of this database."""

    def before_commit(self) -> None:
        """Check that what is committed now can be found later; raise `WorkspaceCorruptError` if it cannot."""

    def after_commit(self) -> None:
        """Make sure that what was just committed is kept if the process ends."""

    def interrupt(self) -> None:
        """Stop the statements that run on any connection of this database; each raises an error."""

    def ask(self, question: Question) -> Answer:
        """Start a query that a user has written, and that may only read.

        Parameters
        ----------
        question : Question

        Returns
        -------
        Answer
            Its `result` has the rows.

        Raises
        ------
        QueryError
            The query does more than read, or the engine refuses it.
        QueryTimeoutError
            It takes longer than its timeout.
        """

    def differences(self, session: Session) -> Differences:
        """Return how the schema of the database differs from that of the newest revision."""

    def other_contents(self, session: Session) -> list[str]:
        """Return the tables whose rows differ from the hashes that were stored when this backup was made."""


class Upkeep(Protocol):
    """Maintenance of a database that no session uses meanwhile; `change_token` may be asked at any moment."""

    def change_token(self) -> str:
        """Return a text that is another one once something was committed, by whichever process."""

    def vacuum(self) -> tuple[int, int]:
        """Free unused space; return the size of the database before and after, in bytes."""

    def copy_to(self, path: Path) -> None:
        """Write all rows to a new, compact DuckDB file; when this returns, the file is on the disk (fsync).

        Raises
        ------
        WorkspaceCorruptError
            The rows cannot be read.
        OutputPathError
            The file cannot be written.
        """


class Access(Protocol):
    """Opens one database for this process, and closes it when another process waits for it.

    "Held" means that this process may use the database now, and has it open. Only one thread at a time may call the
    methods.

    Attributes
    ----------
    read_only : bool
        Refuse to write, and share the database with other readers.
    is_shared : bool
        Whether other processes may wait for the database, so that `is_wanted` has to be looked at regularly.
    """

    read_only: bool

    @property
    def is_shared(self) -> bool:
        """See the class."""

    @property
    def upkeep(self) -> Upkeep:
        """The maintenance of this database; it may be used while the database is not open."""

    @property
    def database(self) -> Database:
        """The open database; only while it is held."""

    @property
    def is_held(self) -> bool:
        """Whether this process may use the database, and has it open."""

    @property
    def is_open(self) -> bool:
        """Whether the database is open, or is being opened."""

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the workspace that was opened, and not to another in its place."""

    @property
    def is_wanted(self) -> bool:
        """Whether another process waits for the database, and this one has held it for long enough."""

    @property
    def put_forward(self) -> timedelta:
        """By how much the system's clock was put forward, as far as is known; only while the database is held."""

    def acquire(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        """Wait until no other process holds the database, and open it.

        Parameters
        ----------
        deadline : float
            Until when to wait, as a time of `time.monotonic()`, in seconds.
        create : bool
            Create the database when it is absent.
        upgrade : bool
            Upgrade a database of an older revision.

        Raises
        ------
        WorkspaceCorruptError
            The engine is broken (`is_alive`), and another opening cannot mend it.
        WorkspaceError
            One of its subclasses; the database is not held then.
        """

    def acquire_for_writing(self, deadline: float, *, upgrade: bool) -> None:
        """Open the database for writing after it was open for reading.

        If that fails, the database is closed, and `read_only` is true again. For the parameters and errors see
        `acquire`.
        """

    def release(self) -> None:
        """Close the database and let other processes open it.

        A second call does nothing. After a call that an exception (as Ctrl-C) has cut short, it does what is left.
        """

    def may_begin(self, *, write: bool, is_alone: bool) -> bool:
        """Tell whether a unit of work may begin. False: the database must be closed and opened again first.

        Parameters
        ----------
        write : bool
            Whether the unit of work will write.
        is_alone : bool
            Whether no other unit of work is open.

        Raises
        ------
        WorkspaceCorruptError
            The database was removed or replaced.
        """

    def note_end(self) -> None:
        """Note that the last open unit of work has ended."""

    def watch_clocks(self) -> None:
        """Compare the system's clock with one that nobody can set, for `put_forward`; see docs/decisions/0018."""

    def suspended(self, deadline: float) -> AbstractContextManager[None]:
        """Close the database for a `with` block, while other processes still cannot open it.

        Parameters
        ----------
        deadline : float
            See `acquire`.

        Raises
        ------
        WorkspaceCorruptError
            The database was removed or replaced.
        """

    def reopen(self, deadline: float) -> None:
        """Close and open the database between two transactions of one unit of work; see `suspended`."""


class FlushingSession(Session):
    """A session that calls a function before each statement; see `before_statements`."""


def before_statements(session: Session, action: Callable[[], object]) -> None:
    """Call `action` before each statement of a session that `Database.session` returned."""
    session.info[before_statements] = action


@event.listens_for(FlushingSession, "do_orm_execute")
def _act(state: ORMExecuteState) -> None:
    # One listener for all sessions: adding one to each session takes longer than many a statement.
    state.session.info.get(before_statements, int)()
