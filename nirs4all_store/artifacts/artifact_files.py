"""`ArtifactFiles` stores the bytes of fitted objects in files that are named by their SHA-256, and verifies them.

A file never changes once it is written. It is verified whenever it is read, and a damaged one can be moved to a
quarantine. Where the bytes are kept is the matter of a `BlobStore`. This module has no SQL.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..errors import ArtifactCorruptError, ArtifactMissingError, InvalidInputError, StoreError
from ..failpoints import Failpoint, hit
from ..filesystem import FILE, PLAIN, refuse_below, write_atomic
from ..identifiers import utc_now
from ..validation import checked_text
from .store import Blob, BlobStore

QUARANTINE = ".quarantine"
MAX_NAME = 255
HASH = re.compile(r"[0-9a-f]{64}")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def normalize(name: str) -> str:
    """Return the normal spelling of a path below `artifacts/`: `ab/c` for `./ab//c`."""
    return _path(name).as_posix()


def checked_hash(content_hash: str, error: type[StoreError] = InvalidInputError) -> str:
    """Return a SHA-256 in lower case and without the prefix `sha256:` of nirs4all; raise `error` if it is none."""
    digits = checked_text(content_hash, "content_hash").removeprefix("sha256:").lower()
    if not HASH.fullmatch(digits):
        raise error(f"content_hash {content_hash!r} is no SHA-256; give its 64 hexadecimal digits")
    return digits


class ArtifactFiles:
    """The files of the artifacts of one workspace.

    A name is a path relative to `artifacts/`. It comes from a row, which somebody may have changed, and so is checked.

    Parameters
    ----------
    blobs : BlobStore
        Keeps the bytes.

    Raises
    ------
    ArtifactCorruptError
        From every method that reads, writes or removes: a name leads out of `artifacts/`, by `..` or as an absolute
        path, or is not a possible name of a file, or no text.
    ArtifactLinkError
        From the same methods: a name leads through a link, or to something that is not a file.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    @property
    def folder(self) -> Path | None:
        """The folder `artifacts/`; None if the bytes are not files of this machine."""
        return self._blobs.folder

    def refuse_inside(self, path: Path) -> Path:
        """Return `path`, or raise if it lies below `artifacts/`; for the error see `refuse_below`."""
        if self.folder is not None:
            refuse_below(path, self.folder)
        return path

    def path_for(self, content_hash: str, extension: str) -> str:
        """Return the name of a new file for bytes with this SHA-256, such as `ab/ab12….joblib`."""
        return f"{content_hash[:2]}/{checked_hash(content_hash)}{extension}"

    def put(self, content: bytes, content_hash: str, extension: str, known: str | None = None) -> str:
        """Store bytes in a file, and return its name; the file survives a power cut.

        A file of that name with other bytes is damaged, and replaced.

        Parameters
        ----------
        content : bytes
        content_hash : str
            The SHA-256 of `content`, which becomes the name of the file.
        extension : str
            The ending of the name, with its dot.
        known : str, optional
            The name of the file that has these bytes already.
        """
        name = known or self.path_for(content_hash, extension)
        self._blobs.put(self._checked(name), content)
        hit(Failpoint.FILE_HAS_NO_ROW)
        return name

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """Store bytes under names, as `put` does; if one of the names is refused, nothing is written."""
        checked = {self._checked(name): content for name, content in contents.items()}
        for name in checked:
            self._blobs.stat(name)  # This raises, before the first file is written, for a name that leads elsewhere.
        self._blobs.put_many(checked.items())
        hit(Failpoint.FILE_HAS_NO_ROW)

    def read(self, name: str, content_hash: str) -> bytes:
        """Return the bytes of a file, after their SHA-256 is verified.

        Raises
        ------
        ArtifactMissingError
            The file is absent or cannot be read.
        ArtifactCorruptError
            The bytes have another SHA-256 than `content_hash`.
        """
        content = self._blobs.read(self._checked(name))
        if sha256(content) != checked_hash(content_hash, ArtifactCorruptError):
            raise ArtifactCorruptError(
                f"artifact file {self._blobs}/{normalize(name)} is damaged: its SHA-256 is not {content_hash}; "
                "restore it from a backup or train again"
            )
        return content

    def matches_own_name(self, name: str) -> bool:
        """Tell whether the SHA-256 of a file is the one in its own name."""
        digits = PurePosixPath(name).stem
        return HASH.fullmatch(digits) is not None and sha256(self._blobs.read(self._checked(name))) == digits

    def path_of(self, name: str) -> Path:
        """Return a path at which the file can be read.

        If the bytes are not files of this machine, it is the path of a copy, which is removed when the process ends.

        Raises
        ------
        ArtifactMissingError
            There are no bytes to copy. For a file in a folder this is not checked.
        """
        checked = self._checked(name)
        if self.folder is None:
            return write_atomic(self._copies / checked, self._blobs.read(checked))
        self._blobs.stat(checked)
        return self.folder / checked

    @cached_property
    def _copies(self) -> Path:
        copies = Path(tempfile.mkdtemp(prefix="nirs4all-store-"))
        atexit.register(_remove_at_exit, copies, os.getpid())
        return copies

    def name_of(self, path: Path) -> str:
        """Return the name of a file for its path, which is absolute or relative to `artifacts/`.

        Raises
        ------
        InvalidInputError
            There is no file at `path`, or it is not below `artifacts/`.
        """
        folder, place = self.folder or self._copies, path
        try:
            place = (folder / path).resolve().relative_to(folder.resolve())  # Of the file itself, without links.
            self.size(place.as_posix())
        except (OSError, ValueError, ArtifactCorruptError):  # Also for a name that is too long or has a NUL.
            raise InvalidInputError(
                f"{str(path)[:200]!r} is no file below {self._blobs}; move it there first"
            ) from None
        return place.as_posix()

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; raise `ArtifactMissingError` if there is no file of this name."""
        blob = self._blobs.stat(self._checked(name))
        if blob is None:
            raise ArtifactMissingError(f"{self._blobs}/{normalize(name)} is not there")
        if blob.kind != FILE:
            raise ArtifactMissingError(f"{self._blobs}/{normalize(name)} is no file")
        return blob.size

    def remove(self, name: str) -> bool:
        """Remove a file; return whether the file was there."""
        return self._blobs.delete(self._checked(name))

    def quarantine(self, name: str, *, dry_run: bool = False) -> None:
        """Move a file to `artifacts/.quarantine`, where it is not used and never removed.

        If the quarantine has a file of this name already, the new one gets a number.

        Parameters
        ----------
        name : str
        dry_run : bool
            Only check whether the file could be moved.

        Raises
        ------
        StoreError, OSError
            The file is not moved, for instance because `.quarantine` or a folder below it is a link or a file.
        """
        name = self._checked(name)
        place = PurePosixPath(QUARANTINE, name)
        for parent in place.parents:
            blob = self._blobs.stat(parent.as_posix())
            if blob is not None and blob.kind == FILE:
                raise ArtifactCorruptError(
                    f"{self._blobs}/{blob.name} is no folder; move it away to let files be moved there"
                )
        target, number = place, 1
        while not dry_run and not self._blobs.move(name, target.as_posix()):
            number += 1
            ending = f".{number}"
            target = place.with_name(os.fsdecode(os.fsencode(place.name)[: MAX_NAME - len(ending)]) + ending)

    def existing(self, names: Iterable[str]) -> set[str]:
        """Return those of these names that have a file; a name that leads elsewhere is not among them."""
        return {name for name in names if self._found(name) is not None}

    def orphans(self, named: Iterable[str], before: datetime) -> list[str]:
        """Return the files that no row names and that were last written before a time.

        Parameters
        ----------
        named : iterable of str
            The names in rows.
        before : datetime
            In UTC, without a timezone.

        Returns
        -------
        list of str
            Sorted. A name that is not UTF-8 has surrogates in the place of its bytes, as `os.fsdecode` makes them.
        """
        known = set(map(normalize, named))
        cutoff = before.replace(tzinfo=UTC).timestamp()
        return sorted({blob.name for blob in self.files() if blob.written <= cutoff} - known)

    def is_younger(self, name: str, before: datetime) -> bool:
        """Tell whether a file was written after a time (UTC) and not in the future.

        False for a file whose name is not a SHA-256. Such a file was not written by this store but came with an adopted
        workspace, and its date is only that of the copy.
        """
        blob = self._found(name)
        if blob is None or not HASH.fullmatch(PurePosixPath(name).stem):
            return False
        return before.replace(tzinfo=UTC).timestamp() < blob.written <= utc_now().replace(tzinfo=UTC).timestamp()

    def odd(self, named: Iterable[str]) -> dict[str, str]:
        """Return the names that are neither files nor folders and that no row names, each with its kind."""
        known = set(map(normalize, named))
        return {
            blob.name: blob.kind for blob in sorted(self._all()) if blob.kind not in PLAIN and blob.name not in known
        }

    def files(self) -> list[Blob]:
        """Return the files, without those in the quarantine."""
        return [blob for blob in self._all() if blob.kind == FILE]

    def usage(self) -> tuple[int, int]:
        """Return the number of files and their size in bytes, without those in the quarantine."""
        sizes = [blob.size for blob in self.files()]
        return len(sizes), sum(sizes)

    def copy_to(self, target: BlobStore, names: Iterable[str]) -> list[str]:
        """Copy files to the `BlobStore` of another workspace; return the names that have no file here."""
        wanted = sorted(set(names))
        there = self.existing(wanted)
        target.put_many((normalize(name), self._blobs.read(self._checked(name))) for name in wanted if name in there)
        return [name for name in wanted if name not in there]

    def _all(self) -> list[Blob]:
        """Return all entries, also those that are not files, without those in the quarantine."""
        return [blob for blob in self._blobs.list() if not blob.name.startswith(f"{QUARANTINE}/")]

    def _found(self, name: str) -> Blob | None:
        try:
            blob = self._blobs.stat(self._checked(name))
        except (ArtifactCorruptError, OSError):  # It leads elsewhere, or this user may not look at it.
            return None
        return blob if blob is not None and blob.kind == FILE else None

    def _checked(self, name: str) -> str:
        """Return the normal spelling of a name; raise if the name could lead out of the folder."""
        path = _path(name)
        if path.is_absolute() or ".." in path.parts:
            raise ArtifactCorruptError(f"artifact path {name!r} leads out of {self._blobs}; it is not followed")
        if "\0" in name or any(len(os.fsencode(part)) > MAX_NAME for part in path.parts):
            raise ArtifactCorruptError(f"artifact path {name[:200]!r} is a name that no file has")
        return path.as_posix()


def _path(name: object) -> PurePosixPath:
    if not isinstance(name, str):  # The column of a damaged workspace, which a reader may open, may be another one.
        raise ArtifactCorruptError(
            f"artifact path {name!r} is no text; see check(), and restore the workspace from a backup"
        )
    return PurePosixPath(name)


def _remove_at_exit(folder: Path, process: int) -> None:
    if os.getpid() == process:  # A forked child may end before this process does.
        shutil.rmtree(folder, ignore_errors=True)
