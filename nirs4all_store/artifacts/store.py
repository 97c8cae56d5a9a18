"""`BlobStore`, the protocol of a place that keeps bytes by name: a folder, memory, or an object store.

Why it is a protocol: docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Blob(NamedTuple):
    """An entry of a `BlobStore`: its name, kind, size and time.

    Attributes
    ----------
    name : str
    kind : str
        `filesystem.FILE` for bytes. A folder may have other kinds, such as links: they are listed, but never followed,
        read or removed.
    size : int
        In bytes.
    written : float
        When it was last written, in seconds since 1970 (UTC).
    """

    name: str
    kind: str
    size: int
    written: float


class BlobStore(Protocol):
    """Keeps bytes by name. `ArtifactFiles` makes and checks the names, and verifies the bytes.

    A name is a relative path without `..`, such as `ab/ab12.joblib`, in its only spelling. Several threads may call the
    methods at once. `str()` of a store says where the bytes are, for messages. Nothing is open between two calls: a
    process may fork or end at any time, and there is no `close`.

    Raises
    ------
    ArtifactLinkError
        From every method with a name: the name leads through a link, or to something that is not a file.
    OutputPathError
        From `put` and `put_many`: the place refuses to write.
    OSError
        From `move` and `delete`: the place refuses it. An error of a driver's own is made one of these.
    """

    @property
    def folder(self) -> Path | None:
        """The folder in which each name is the path of a file; None if the bytes are not files of this machine."""

    def put(self, name: str, content: bytes) -> None:
        """Store bytes under a name; they survive a power cut, and a crash leaves all of them or none.

        If the name has the same bytes already, nothing is written. Other bytes under it are damaged, and replaced.
        """

    def put_many(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Do what `put` does for pairs of a name and its bytes; at the end, all of them survive a power cut."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a name.

        Raises
        ------
        ArtifactMissingError
            Nothing has the name, or it cannot be read. If this user may not read it, `__cause__` is a
            `PermissionError`.
        """

    def stat(self, name: str) -> Blob | None:
        """Return the entry of a name, or None; if this user may not look, the error is that of `read`."""

    def list(self) -> Iterator[Blob]:
        """Yield all entries in any order, also those that are not files; an unreadable folder counts as empty."""

    def move(self, name: str, new_name: str) -> bool:
        """Give bytes another name; return False, and move nothing, if something has that name.

        The new name survives a power cut. A crash may leave the bytes under both names.

        Raises
        ------
        ArtifactMissingError
            Nothing has the name.
        """

    def delete(self, name: str) -> bool:
        """Remove a name and its bytes; return whether the name was there."""
