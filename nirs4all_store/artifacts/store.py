"""The seam for bytes: what keeps them by their names, be it a folder, memory or a store of objects.

See docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Blob(NamedTuple):
    """What has a name in a `BlobStore`.

    Attributes
    ----------
    name : str
    kind : str
        `filesystem.FILE`; anything else, such as a link in a folder, is told and never followed, read or removed.
    size : int
        In bytes.
    written : float
        When, in seconds since 1970 (UTC).
    """

    name: str
    kind: str
    size: int
    written: float


class BlobStore(Protocol):
    """Bytes by their names, for `ArtifactFiles`, which makes and checks the names, and verifies the bytes.

    A name is a path such as `ab/ab12.joblib`, in its one spelling: relative, and without `..`. What may be called from
    several threads at once are all of its methods. `str()` of it says where it is, for messages.

    Raises
    ------
    ArtifactLinkError
        From every method that gets a name: it leads through a link, or to what is no file.
    """

    @property
    def folder(self) -> Path | None:
        """The folder below which each name is the path of a file; None if they are no files of this machine."""

    def put(self, name: str, content: bytes) -> None:
        """Make bytes durable under a name, whole or not at all.

        A name belongs to its bytes: where it has them already, nothing is written; others are damage, and replaced.
        """

    def put_many(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Do what `put` does with pairs of a name and its bytes; all are durable at the end."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a name.

        Raises
        ------
        ArtifactMissingError
            Nothing has the name, or it cannot be read; for want of a right, `__cause__` is a `PermissionError`.
        """

    def stat(self, name: str) -> Blob | None:
        """Return what has a name, or None; errors as for `read`, if one may not look."""

    def list(self) -> Iterator[Blob]:
        """Yield all that is there, in any order, also what is no file; what one may not look into counts as empty."""

    def move(self, name: str, new_name: str) -> bool:
        """Give bytes another name, durably; False if something has it, which stays, and then nothing is moved.

        A crash may leave the bytes under both names.

        Raises
        ------
        ArtifactMissingError
            Nothing has the name.
        """

    def delete(self, name: str) -> bool:
        """Remove a name and its bytes; return whether it was there."""
