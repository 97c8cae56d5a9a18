"""The files of fitted objects: named by their bytes, verified whenever they are read, moved away when damaged.

A file is named by the SHA-256 of its bytes and never changes. No SQL here, and nothing of where the bytes are: that is
a `BlobStore`'s.
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
from ..filesystem import FILE, is_odd, refuse_below, write_atomic
from ..identifiers import utc_now
from ..validation import checked_text
from .store import Blob, BlobStore

QUARANTINE = ".quarantine"
MAX_NAME = 255
HASH = re.compile(r"[0-9a-f]{64}")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def normalize(name: str) -> str:
    """Return the one spelling of a path below `artifacts/`: `./ab//c` is `ab/c`."""
    return PurePosixPath(name).as_posix()


def checked_hash(content_hash: str, error: type[StoreError] = InvalidInputError) -> str:
    """Return a hash without the `sha256:` that nirs4all puts before it, if it is one; else raise `error`."""
    digits = checked_text(content_hash, "content_hash").removeprefix("sha256:").lower()
    if not HASH.fullmatch(digits):
        raise error(f"content_hash {content_hash!r} is no SHA-256; give its 64 hexadecimal digits")
    return digits


class ArtifactFiles:
    """The files of one workspace's artifacts.

    A name is a path relative to `artifacts/`. Names come from rows, which may have been tampered with.

    Parameters
    ----------
    blobs : BlobStore
        Where the bytes are.

    Raises
    ------
    ArtifactCorruptError
        From every method that reads, writes or removes: a name leads out of `artifacts/`, by `..` or as an absolute
        path, or no file can have it.
    ArtifactLinkError
        From the same: a name leads through a link, or to what is no file.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    @property
    def folder(self) -> Path | None:
        """The folder `artifacts/`; None if they are no files of this machine."""
        return self._blobs.folder

    def refuse_inside(self, path: Path) -> Path:
        """Return an output path that is not below `artifacts/`; for errors see `refuse_below`."""
        if self.folder is not None:
            refuse_below(path, self.folder)
        return path

    def path_for(self, content_hash: str, extension: str) -> str:
        """Return the name that a new file of these bytes has."""
        return f"{content_hash[:2]}/{checked_hash(content_hash)}{extension}"

    def put(self, content: bytes, content_hash: str, extension: str, known: str | None = None) -> str:
        """Make the bytes durable; return their name.

        A file of that name that holds other bytes is damaged, and replaced.

        Parameters
        ----------
        content : bytes
        content_hash : str
            Their SHA-256, which names the file.
        extension : str
        known : str, optional
            The name that the file of these bytes has already.
        """
        name = known or self.path_for(content_hash, extension)
        self._blobs.put(self._checked(name), content)
        hit(Failpoint.FILE_HAS_NO_ROW)
        return name

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """Make the bytes of these names durable, as `put` does; none of them, if one of the names is refused."""
        checked = {self._checked(name): content for name, content in contents.items()}
        for name in checked:
            self._blobs.stat(name)  # Before the first is written: one may lead elsewhere.
        self._blobs.put_many(checked.items())
        hit(Failpoint.FILE_HAS_NO_ROW)

    def read(self, name: str, content_hash: str) -> bytes:
        """Return the bytes of a file once they are known to be the ones that were saved.

        Raises
        ------
        ArtifactMissingError
            The file is gone.
        ArtifactCorruptError
            Its bytes have another SHA-256.
        """
        content = self._blobs.read(self._checked(name))
        if sha256(content) != checked_hash(content_hash, ArtifactCorruptError):
            raise ArtifactCorruptError(
                f"artifact file {self._blobs}/{normalize(name)} is damaged: its SHA-256 is not {content_hash}; "
                "restore it from a backup or train again"
            )
        return content

    def matches_own_name(self, name: str) -> bool:
        """Tell whether a file has the SHA-256 that its own name says."""
        digits = PurePosixPath(name).stem
        return HASH.fullmatch(digits) is not None and sha256(self._blobs.read(self._checked(name))) == digits

    def path_of(self, name: str) -> Path:
        """Return the path of a file to read; where they are no files, of a copy that is there until the process ends.

        Raises
        ------
        ArtifactMissingError
            There is nothing to copy. Where they are files, it is not looked for.
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
        """Return the name of a file by its path, which is absolute or relative to `artifacts/`.

        Raises
        ------
        InvalidInputError
            `path` is no file below `artifacts/`.
        """
        folder, place = self.folder or self._copies, path
        try:
            place = (folder / path).resolve().relative_to(folder.resolve())  # Links lead to where the file is itself.
            self.size(place.as_posix())
        except (OSError, ValueError, ArtifactCorruptError):  # A name that is too long, or holds a NUL.
            raise InvalidInputError(
                f"{str(path)[:200]!r} is no file below {self._blobs}; move it there first"
            ) from None
        return place.as_posix()

    def size(self, name: str) -> int:
        """Return how many bytes a file has; one that is not there raises `ArtifactMissingError`."""
        blob = self._blobs.stat(self._checked(name))
        if blob is None:
            raise ArtifactMissingError(f"{self._blobs}/{normalize(name)} is not there")
        if blob.kind != FILE:
            raise ArtifactMissingError(f"{self._blobs}/{normalize(name)} is no file")
        return blob.size

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""
        return self._blobs.delete(self._checked(name))

    def quarantine(self, name: str, *, dry_run: bool = False) -> None:
        """Move a file to `.quarantine`, where nothing looks for it and nothing removes it; what is there is kept.

        Parameters
        ----------
        name : str
        dry_run : bool
            Only look whether it could be moved there.

        Raises
        ------
        StoreError, OSError
            It is not moved, for instance because `.quarantine` or a folder below it is a link or a file.
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
        """Return those of these names at which there is a file; none that leads elsewhere."""
        return {name for name in names if self._found(name) is not None}

    def orphans(self, named: Iterable[str], before: datetime) -> list[str]:
        """Return the files that no row names and that were last written before a time (UTC).

        A name that is no UTF-8 has surrogates in the place of its bytes, as `os.fsdecode` puts them.
        """
        known = set(map(normalize, named))
        cutoff = before.replace(tzinfo=UTC).timestamp()
        return sorted({blob.name for blob in self.files() if blob.written <= cutoff} - known)

    def is_younger(self, name: str, before: datetime) -> bool:
        """Tell whether a file was written here after a time (UTC), as far as its own date is not to come.

        One of another name came from elsewhere, as with an adopted workspace, and its date is that of a copy.
        """
        blob = self._found(name)
        if blob is None or not HASH.fullmatch(PurePosixPath(name).stem):
            return False
        return before.replace(tzinfo=UTC).timestamp() < blob.written <= utc_now().replace(tzinfo=UTC).timestamp()

    def odd(self, named: Iterable[str]) -> dict[str, str]:
        """Return what is neither file nor folder and has no row, and what it is; nothing follows it."""
        known = set(map(normalize, named))
        return {blob.name: blob.kind for blob in sorted(self._all()) if is_odd(blob.kind) and blob.name not in known}

    def files(self) -> list[Blob]:
        """Return the files that are there, without those in quarantine."""
        return [blob for blob in self._all() if blob.kind == FILE]

    def usage(self) -> tuple[int, int]:
        """Return how many files there are, and how many bytes they take, without those in quarantine."""
        sizes = [blob.size for blob in self.files()]
        return len(sizes), sum(sizes)

    def copy_to(self, target: BlobStore, names: Iterable[str]) -> list[str]:
        """Copy files durably to where another workspace has them; return those that are missing here."""
        wanted = sorted(set(names))
        there = self.existing(wanted)
        target.put_many((normalize(name), self._blobs.read(self._checked(name))) for name in wanted if name in there)
        return [name for name in wanted if name not in there]

    def _all(self) -> list[Blob]:
        """Return what is there, files or not, without what is in quarantine."""
        return [blob for blob in self._blobs.list() if not blob.name.startswith(f"{QUARANTINE}/")]

    def _found(self, name: str) -> Blob | None:
        try:
            blob = self._blobs.stat(self._checked(name))
        except (ArtifactCorruptError, OSError):  # It leads elsewhere, or may not even be looked at.
            return None
        return blob if blob is not None and blob.kind == FILE else None

    def _checked(self, name: str) -> str:
        """Return the one spelling of a name, once it is sure that it leads nowhere else."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ArtifactCorruptError(f"artifact path {name!r} leads out of {self._blobs}; it is not followed")
        if "\0" in name or any(len(os.fsencode(part)) > MAX_NAME for part in path.parts):
            raise ArtifactCorruptError(f"artifact path {name[:200]!r} is a name that no file has")
        return path.as_posix()


def _remove_at_exit(folder: Path, process: int) -> None:
    if os.getpid() == process:  # One that was forked from it may end first.
        shutil.rmtree(folder, ignore_errors=True)
