"""How tests look behind a store: at rows by plain SQL, at the files of artifacts by their names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import text

from ..artifacts import BlobStore, MemoryBlobs
from ..store import WorkspaceStore

LONG_AGO = 10**9
"""A date of a file, in seconds since 1970."""


class StoreHooks:
    """What tests do behind a store's back, with the back ends of this package; another one gives its own.

    Attributes
    ----------
    frees_space : bool
        Whether `vacuum()` gives the space of deleted rows back.
    """

    frees_space: ClassVar[bool] = True

    def open_store(self, folder: Path) -> WorkspaceStore:
        """Return the store to test, of the workspace that `folder` stands for, which may be new."""
        return WorkspaceStore(folder)

    def select(self, store: WorkspaceStore, statement: str, **parameters: Any) -> list[Any]:
        """Return the rows of a query as tuples."""
        with store.unit_of_work() as uow:
            return [tuple(row) for row in uow.session.execute(text(statement), parameters)]

    def change(self, store: WorkspaceStore, statement: str, **parameters: Any) -> None:
        """Change rows."""
        with store.unit_of_work() as uow:
            uow.session.execute(text(statement), parameters)
            uow.commit()

    def files_of(self, store: WorkspaceStore) -> set[str]:
        """Return the names of the artifacts' files, those in `.quarantine` too."""
        return {blob.name for blob in _blobs_of(store).list()}

    def read_file(self, store: WorkspaceStore, name: str) -> bytes:
        """Return the bytes of a file."""
        return _blobs_of(store).read(name)

    def write_file(self, store: WorkspaceStore, name: str, content: bytes) -> None:
        """Let a file have these bytes, and have been written long ago."""
        _blobs_of(store).put(name, content)
        self.age_file(store, name)

    def age_file(self, store: WorkspaceStore, name: str) -> None:
        """Let a file have been written long ago; another place for the bytes of artifacts has another way."""
        blobs = _blobs_of(store)
        if isinstance(blobs, MemoryBlobs):
            blobs._contents[name] = blobs.read(name), LONG_AGO
        else:
            os.utime(store.workspace_path / "artifacts" / name, (LONG_AGO, LONG_AGO))

    def remove_file(self, store: WorkspaceStore, name: str) -> None:
        """Remove a file."""
        assert _blobs_of(store).delete(name)


def _blobs_of(store: WorkspaceStore) -> BlobStore:
    return store._workspace.blobs._blobs
