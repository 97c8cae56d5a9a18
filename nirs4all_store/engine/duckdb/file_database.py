"""`FileDatabase`, a DuckDB database in a file.

It notices when the file or its log is removed or replaced while it is open, and folds the log in when it is closed. Why
the file is looked at so often: docs/decisions/0012, "A log that is gone".
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import duckdb
from sqlalchemy.orm import Session

from ...call_boundary import public
from ...errors import ReadOnlyError, WorkspaceBusyError, WorkspaceCorruptError
from ...failpoints import Failpoint, hit
from ...filesystem import file_id, file_state, share_alike
from .connection import connect
from .database import DuckDBDatabase
from .files import header_of, log_names, logs_of, refuse_odd_database
from .posix_lock import held_alone
from .settings import quoted_name
from .table_hashes import differing, write_down

# Sizes and times of files in which this process has found no macros: to look again takes as long as opening.
_without_macros: dict[tuple[int, int] | None, tuple[int, ...]] = {}
# DuckDB keeps the keys that were inserted since it opened the file in memory, 80 bytes each, below its memory limit.
MAX_NEW_KEYS = 1_000_000


class FileDatabase(DuckDBDatabase):
    """A DuckDB database in a file that this process has open.

    Parameters
    ----------
    path : Path
        The database file.
    read_only : bool
        Refuse writes, and share the file with other readers.
    memory_limit : int, optional
        How many bytes of memory DuckDB may use before it moves data to temporary files; by default most of the
        machine's memory.
    create : bool
        Create the file when it is absent.

    Attributes
    ----------
    header : str
        A hash of the file's headers when it was opened. It changes when DuckDB folds a log into the file.
    has_changed : bool
        Whether something was committed that the header does not show.

    Raises
    ------
    WorkspaceBusyError
        Another program has the file open.
    WorkspaceCorruptError
        The file is absent or damaged, or is not a DuckDB database.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, memory_limit: int | None = None, create: bool = False
    ) -> None:
        if not create and not path.exists():
            raise WorkspaceCorruptError(f"{path} is not there any more; restore it from a backup")
        self.path = path
        self.read_only = read_only
        self._memory_limit = memory_limit
        self.header, self.has_changed = header_of(path), bool(logs_of(path))
        super().__init__(connect(path, read_only=read_only, memory_limit=memory_limit))

    def _note_opened(self) -> None:
        status = self.path.stat()  # If the system refuses this, the file could not be recognised later.
        self._file = status.st_dev, status.st_ino
        self._left: tuple[int, int, int, int] | None = None
        self.note_file()

    @property
    def is_full(self) -> bool:
        """Whether to close and open the database before more is written, so that it stays within its memory limit."""
        return self._memory_limit is not None and self.new_keys > MAX_NEW_KEYS

    def check_file(self, *, is_quiet: bool = False, write: bool = True) -> None:
        """Raise if the file was removed, replaced or copied over while it was open.

        Parameters
        ----------
        is_quiet : bool
            This process has not used the file since the last `note_file`. So its size and times must be the same, too.
        write : bool
            Whether the caller is about to write. A reader may go on with a file that was removed: it is still open
            here, and this is its last copy.

        Raises
        ------
        WorkspaceCorruptError
            What is written now would be lost, or would go to another file, through a link beside the database.
        """
        refuse_odd_database(self.path)
        state = file_state(self.path)
        if state is None and not write:
            return
        if state is None or state[:2] != self._file or (is_quiet and self._left not in (state, None)):
            raise WorkspaceCorruptError(
                f"{self.path} was removed or replaced, or copied over, while it was open; nothing was written: close "
                "the store, put a backup in its place with `nirs4all-store restore`, and open it again"
            )

    def note_file(self) -> None:
        """Remember the file's size and times, at a moment when this process does not use it.

        DuckDB writes to the file only while somebody uses it. So a change before the next use is not ours.
        """
        try:
            state = file_state(self.path)
        except OSError:  # The system does not say how it is.
            self._left = None
        else:
            if state is not None and state[:2] == self._file:
                self._left = state

    @property
    def is_as_left(self) -> bool:
        """Whether the file under the path is the same, and unchanged, since the last `note_file`."""
        try:
            return self._left is not None and file_state(self.path) == self._left
        except OSError:
            return False

    def before_commit(self) -> None:
        """Raise if the file is not the one that was opened: the log would be written beside another database."""
        self.check_file()

    def after_commit(self) -> None:
        """Fold what was committed into the file, if there is no log.

        Somebody may have removed the log while it was open. DuckDB goes on writing to it then, and no later opening
        would find what is in it.
        """
        self.has_changed = True
        logs = logs_of(self.path)
        for log in logs:  # DuckDB made it with this user's umask.
            share_alike(log, self.path.stat())
        if not logs:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write what is in the write-ahead logs into the file; no session may have an open transaction."""
        with contextlib.closing(self.cursor()) as connection:  # Any thread may be using the anchor.
            connection.execute(f"CHECKPOINT {quoted_name(self._name)}")

    @property
    def has_no_macros(self) -> bool:
        """Whether this process found no macros in the file, and file and logs have not changed since."""
        return _without_macros.get(self._file) == _status(self.path)

    def found_no_macros(self) -> None:
        """Remember that the file has no macros, until somebody writes to it."""
        _without_macros[self._file] = _status(self.path)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is open."""
        return file_id(self.path) == self._file

    def other_contents(self, session: Session) -> list[str]:
        """Return the tables whose rows differ from the hashes beside this backup; see `table_hashes`."""
        return differing(self.path, None if self.has_changed else self.header, session)

    def write_down_contents(self) -> None:
        """Store hashes of all tables beside the file, at a moment when its content is known to be right."""
        with self.session() as session:
            write_down(self.path, self.header, session)

    def close(self) -> None:
        """Fold the log into the file, close every connection and release the file; a second call does nothing."""
        try:
            self._idle.close()
            folded = self._fold()
        finally:
            self._anchor.close()
        if folded:
            _remove_folded(self.path, folded)

    def _fold(self) -> dict[Path, os.stat_result]:
        """Write what is in the logs into the file; return the logs that are left, in which nothing is missing."""
        if self.read_only or not self.is_as_left or not logs_of(self.path):
            return {}
        hit(Failpoint.FOLDING)
        try:
            # The thread that watches for other processes closes the database, too.
            public(self._anchor.execute)("CHECKPOINT")
        except duckdb.Error:  # The disk may be full. The log stays, nothing is lost, and the next opening tries again.
            return {}
        hit(Failpoint.FOLDED)
        with contextlib.suppress(OSError):
            return {log: log.stat() for log in logs_of(self.path)}
        return {}


def _status(path: Path) -> tuple[int, ...]:
    """Return sizes and times of a database and its logs; they change when somebody writes to one of them."""
    numbers: list[int] = []
    for name in (path, *log_names(path)):
        with contextlib.suppress(FileNotFoundError):
            status = name.stat()
            numbers += status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return tuple(numbers)


def _remove_folded(path: Path, folded: dict[Path, os.stat_result]) -> None:
    """Remove logs that DuckDB leaves after a checkpoint, as one whose only commit was cut off by a kill."""
    # A log that cannot be removed now is left to the next opening.
    with contextlib.suppress(WorkspaceBusyError, ReadOnlyError, OSError), held_alone(path):
        for log, status in folded.items():
            if log.exists() and (log.stat().st_mtime_ns, log.stat().st_size) == (status.st_mtime_ns, status.st_size):
                log.unlink()
