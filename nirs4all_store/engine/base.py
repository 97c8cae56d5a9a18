"""The seam for rows: what an engine gives to the rooms above, so that none of them knows which it is.

`engine/duckdb` is one, with its database in a file or in memory.

See docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from sqlalchemy import Column, MetaData, Select, Table, Update, event
from sqlalchemy.orm import ORMExecuteState, Session

from .findings import Differences

Values = Mapping[str, Any] | None


class RowIO(Protocol):
    """Rows in and out of one session, inside its transaction.

    Attributes
    ----------
    session : Session
    """

    session: Session

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows: one value per column of `table`, JSON as text, lists as 1-D numpy arrays or lists of str."""

    def frame(self, query: Select[Any], values: Values = None) -> pl.DataFrame:
        """Return the rows of a SELECT as a frame; `values` are those of the bound parameters of one made once."""

    def rows(self, query: Select[Any], values: Values = None) -> list[dict[str, Any]]:
        """Like `frame`, but return the rows as dicts, JSON decoded."""

    def run(self, statement: Update, values: Mapping[str, Any]) -> None:
        """Run a statement that is made once, with the values of its bound parameters."""

    def has_key(self, table: Table, key: str) -> bool:
        """Tell whether a table has a row with this primary key."""

    def rows_by_key(self, table: Table, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows with these primary keys, JSON decoded, in any order."""

    def frame_by_key(self, table: Table, key: str) -> pl.DataFrame:
        """Return the row with this primary key as a frame."""

    def write_parquet(self, query: Select[Any], by: Column[Any], path: Path, limit: int | None, offset: int) -> None:
        """Write the rows of a SELECT to a Parquet file, few of them in memory at a time.

        Parameters
        ----------
        query : Select
            Ordered by the column `by` first, ascending.
        by : Column
            Without NULL.
        path : Path
            Replaced.
        limit, offset : int
            How many rows, after how many.
        """

    def prove_alive(self) -> None:
        """Raise if an error has invalidated the transaction, for whose COMMIT an engine may report success."""


class Answer(Protocol):
    """What `Database.ask` was asked; close it when it is not needed any more."""

    def result(self) -> pl.DataFrame:
        """Return the answer; it may take long, and needs nobody inside the database."""

    def close(self) -> None:
        """End what still works on it; twice is fine."""


class Database(Protocol):
    """An open database of this process."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine still answers."""

    def session(self) -> Session:
        """Return a new session on a connection of its own; it begins at its first statement."""

    def adopt(self, session: Session) -> None:
        """Let a session go on here that began on this database before it was opened anew."""

    def row_io(self, session: Session) -> RowIO:
        """Return what reads and writes the rows of one of its sessions."""

    def before_commit(self) -> None:
        """Make sure that what is committed now can be found later; else raise `WorkspaceCorruptError`."""

    def after_commit(self) -> None:
        """Do what it takes for what was committed to last."""

    def interrupt(self) -> None:
        """Stop the statements that run on any of its connections; they raise."""

    def ask(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None,
        max_rows: int,
        max_bytes: int,
        timeout: float,
        metadata: MetaData,
    ) -> Answer:
        """Ask a question of a user's own, which only reads; see `WorkspaceStore.sql`. `metadata` has the tables."""

    def differences(self, session: Session) -> Differences:
        """Return in what the schema differs from the newest revision's."""

    def other_contents(self, session: Session) -> list[str]:
        """Return the tables that hold something else than was written down when this backup was made."""


class Upkeep(Protocol):
    """What is done to a database that nobody uses, and has no common code."""

    def vacuum(self) -> tuple[int, int]:
        """Give free space back; return how many bytes the database had before, and has now."""

    def copy_to(self, path: Path) -> None:
        """Write all rows to a new DuckDB file, compacted, which a power cut does not take away.

        Raises
        ------
        WorkspaceCorruptError
            They cannot be read.
        OutputPathError
            They cannot be written.
        """


class Access(Protocol):
    """The way of this process to one database: which is open while it may be inside. Not for several threads at once.

    Attributes
    ----------
    read_only : bool
        Refuse to write, and share the database with other readers.
    is_shared : bool
        Whether other processes may want it, so that somebody must look whether one does.
    """

    read_only: bool

    @property
    def is_shared(self) -> bool:
        """See the class."""

    @property
    def upkeep(self) -> Upkeep:
        """What is done to the database while nobody uses it."""

    @property
    def database(self) -> Database:
        """The database; only while it is held."""

    @property
    def is_held(self) -> bool:
        """Whether this process may be inside, and the database is open."""

    @property
    def is_open(self) -> bool:
        """Whether the database is open, or may be at any moment."""

    @property
    def is_in_place(self) -> bool:
        """Whether the place that was opened is still the one that has the name."""

    @property
    def is_wanted(self) -> bool:
        """Whether another process wants it and this one has had it for long enough."""

    @property
    def put_forward(self) -> timedelta:
        """By how much the clock was put forward; only while it is held."""

    def acquire(self, deadline: float, *, create: bool = False, upgrade: bool = False) -> None:
        """Wait for other processes, until a moment of the monotonic clock, and open the database.

        Raises
        ------
        WorkspaceError
            See its subclasses; nothing is held.
        """

    def acquire_for_writing(self, deadline: float, *, upgrade: bool) -> None:
        """Take for writing what was open for reading, or leave it closed, for reading; see `acquire`."""

    def release(self) -> None:
        """Let other processes inside; twice is fine, and goes on with what was cut short."""

    def may_begin(self, *, write: bool, is_alone: bool) -> bool:
        """Tell whether a unit of work may begin; False: the database must be closed and opened before.

        Parameters
        ----------
        write : bool
            Whether it is to write.
        is_alone : bool
            Whether nobody is inside.

        Raises
        ------
        WorkspaceCorruptError
            The database was removed or replaced.
        """

    def note_end(self) -> None:
        """Take note that nobody is inside any more."""

    def watch_clocks(self) -> None:
        """Look whether the clock was put forward."""

    def suspended(self, deadline: float) -> AbstractContextManager[None]:
        """Close the database, and keep others out, for the length of a block.

        Raises
        ------
        WorkspaceCorruptError
            The database was removed or replaced.
        """

    def reopen(self, deadline: float) -> None:
        """Close and open the database in the middle of what one unit of work does; errors as for `suspended`."""


class FlushingSession(Session):
    """A session that lets somebody act before each statement; see `before_statements`."""


def before_statements(session: Session, action: Callable[[], object]) -> None:
    """Let something be done before each statement of a session of `Database.session`."""
    session.info[before_statements] = action


@event.listens_for(FlushingSession, "do_orm_execute")
def _act(state: ORMExecuteState) -> None:
    # Listening to each session by itself takes longer than many a statement.
    state.session.info.get(before_statements, int)()
