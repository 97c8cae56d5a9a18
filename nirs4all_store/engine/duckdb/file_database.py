"""A DuckDB file: what can happen to it while it is open, and when it is closed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import duckdb
from sqlalchemy.orm import Session

from ...call_boundary import CallBoundary
from ...errors import ReadOnlyError, WorkspaceBusyError, WorkspaceCorruptError
from ...failpoints import Failpoint, hit
from ...filesystem import file_id, file_state, share_alike
from .connection import connect
from .database import DuckDBDatabase
from .files import header_of, logs_of, refuse_odd_database
from .posix_lock import held_alone
from .settings import quoted_name
from .table_hashes import differing, write_down

# Of files in which this process has found no macros, how they lay there: looking takes as long as opening.
_without_macros: dict[tuple[int, int] | None, tuple[int, ...]] = {}
# Below the limit, DuckDB never lets go of the keys that were inserted since it opened the file: 80 bytes each.
MAX_NEW_KEYS = 1_000_000


class FileDatabase(DuckDBDatabase):
    """One DuckDB file, open in this process.

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
    header : str
        What is another one once the engine has folded something into the file.
    has_changed : bool
        Whether something was committed that the header does not show.

    Raises
    ------
    WorkspaceBusyError
        Another program has the file open.
    WorkspaceCorruptError
        The file is not there, is damaged, or is no DuckDB database.
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
        status = self.path.stat()  # Where the system refuses that, nothing could be told of the file later.
        self._file = status.st_dev, status.st_ino
        self._left: tuple[int, int, int, int] | None = None
        self.note_file()

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
        state = file_state(self.path)
        if state is None and not write:
            return
        if state is None or state[:2] != self._file or (is_quiet and self._left not in (state, None)):
            raise WorkspaceCorruptError(
                f"{self.path} was removed or replaced, or copied over, while it was open; nothing was written: close "
                "the store, put a backup in its place with `nirs4all-store restore`, and open it again"
            )

    def note_file(self) -> None:
        """Remember how the file is, now that nobody uses it here: until somebody does, the engine leaves it alone."""
        try:
            state = file_state(self.path)
        except OSError:  # How it is, nobody can tell.
            self._left = None
        else:
            if state is not None and state[:2] == self._file:
                self._left = state

    @property
    def is_as_left(self) -> bool:
        """Whether the file is as it was at the last `note_file`, and still has the name."""
        try:
            return self._left is not None and file_state(self.path) == self._left
        except OSError:
            return False

    def before_commit(self) -> None:
        """Refuse to commit beside a file that is not the one that was opened: its log would be another's."""
        self.check_file()

    def after_commit(self) -> None:
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
    def is_in_place(self) -> bool:
        """Whether the file that is open is the one that has the name."""
        return file_id(self.path) == self._file

    def other_contents(self, session: Session) -> list[str]:
        """Return the tables that hold something else than was written down beside this backup; see `table_hashes`."""
        return differing(self.path, None if self.has_changed else self.header, session)

    def write_down_contents(self) -> None:
        """Write down beside it what it holds, which is whole now; see `table_hashes`."""
        with self.session() as session:
            write_down(self.path, self.header, session)

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
        if self.read_only or not self.is_as_left or not logs_of(self.path):
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
