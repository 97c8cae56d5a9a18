"""Compacts and copies a database file while nobody has it open."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...errors import StoreError
from ...filesystem import fsync_file, fsync_folder, output_errors, share_alike, share_copy
from .file_copies import remove_database
from .files import copy_compacted, log_names, logs_of
from .migrator import refuse_more_at


class FileUpkeep:
    """The maintenance of one database file; see `engine.base.Upkeep`.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def change_token(self) -> str:
        """Return when the file and its logs were written last, and how long they are; nothing is opened."""
        told = []
        for path in (self._path, *log_names(self._path)):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                told.append(f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}")
        return "-".join(told)

    def vacuum(self) -> tuple[int, int]:
        """Replace the file by a copy without free space, if the copy is smaller; return both sizes, in bytes.

        A crash leaves the old file or the new one under the name.

        Raises
        ------
        StoreError
            The write-ahead log could not be folded into the file before.
        OutputPathError
            The copy cannot be written.
        WorkspaceCorruptError
            The file cannot be read, or has more than tables.
        """
        path = self._path
        compact = path.with_name(f".compacting-{path.name}")
        with output_errors(path):
            if logs_of(path):
                raise StoreError(f"{path} could not fold its log in; free some disk space, open it again and repeat")
            remove_database(compact)
            before = path.stat().st_size
            try:
                self._copy_tables(compact)
                if compact.stat().st_size < before:
                    share_alike(compact, path.stat())
                    share_copy(compact, path.parent)
                    fsync_file(compact)
                    compact.replace(path)
            finally:
                remove_database(compact)
            fsync_folder(path.parent)
            return before, path.stat().st_size

    def copy_to(self, path: Path) -> None:
        """Write all rows to a new file; for the errors see `Upkeep`."""
        self._copy_tables(path)
        fsync_file(path)

    def _copy_tables(self, path: Path) -> None:
        """Copy the tables; refuse a file with triggers or the like, which a reader may have opened."""
        refuse_more_at(self._path)
        copy_compacted(self._path, path)
