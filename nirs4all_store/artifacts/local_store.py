"""The content-addressed folder of fitted objects: put, read, verify, remove.

A file is named by the SHA-256 of its bytes and never changes. No SQL here, and no other module
touches the files below `artifacts/`.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path, PurePosixPath

from ..errors import ArtifactCorruptError, ArtifactLinkError, ArtifactMissingError, InvalidInputError, StoreError
from ..failpoints import Failpoint, hit
from ..filesystem import (
    FILE,
    content_of,
    fsync_file,
    fsync_folder,
    is_odd,
    kind_of,
    make_folder,
    open_without_following,
    refuse_below,
    refuse_odd,
    share_in_workspace,
    write_atomic,
)
from ..identifiers import utc_now
from ..validation import checked_text

QUARANTINE = ".quarantine"
MAX_NAME = 255
HASH = re.compile(r"[0-9a-f]{64}")
_content = partial(content_of, error=ArtifactLinkError)
_opened = partial(open_without_following, error=ArtifactLinkError)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def normalize(relative: str) -> str:
    """Return the one spelling of a path below `artifacts/`: `./ab//c` is `ab/c`."""
    return PurePosixPath(relative).as_posix()


def checked_hash(content_hash: str, error: type[StoreError] = InvalidInputError) -> str:
    """Return a hash without the `sha256:` that nirs4all puts before it, if it is one; else raise `error`."""
    digits = checked_text(content_hash, "content_hash").removeprefix("sha256:").lower()
    if not HASH.fullmatch(digits):
        raise error(f"content_hash {content_hash!r} is no SHA-256; give its 64 hexadecimal digits")
    return digits


class LocalBlobStore:
    """The files of one workspace's artifacts.

    Parameters
    ----------
    root : Path
        The folder `artifacts/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def refuse_inside(self, path: Path) -> Path:
        """Return an output path that is not below `artifacts/`; for errors see `refuse_below`."""
        refuse_below(path, self.root)
        return path

    def path_for(self, content_hash: str, extension: str) -> str:
        """Return the path, relative to `artifacts/`, that a new file of these bytes has."""
        return f"{content_hash[:2]}/{checked_hash(content_hash)}{extension}"

    def put(self, content: bytes, content_hash: str, extension: str, known: str | None = None) -> str:
        """Make the bytes durable; return their path relative to `artifacts/`.

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
        relative = known or self.path_for(content_hash, extension)
        path = self.path(relative)
        if kind_of(path) != FILE or _content(path) != content:
            write_atomic(path, content)
        hit(Failpoint.FILE_HAS_NO_ROW)
        return relative

    def path(self, relative: str) -> Path:
        """Return the absolute path of a file below `artifacts/`.

        Raises
        ------
        ArtifactCorruptError
            The path leads out of the folder, by `..` or as an absolute path.
        ArtifactLinkError
            It leads through a link, or to what is no file.
        """
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise ArtifactCorruptError(f"artifact path {relative!r} leads out of {self.root}; it is not followed")
        path = self.root
        is_a_name = "\0" not in relative and all(len(os.fsencode(part)) <= MAX_NAME for part in parts.parts)
        try:
            self.refuse_odd_root()
            for part in parts.parts if is_a_name else ():
                path /= part
                kind = kind_of(path)
                if is_odd(kind):
                    raise ArtifactLinkError(
                        f"artifact path {relative!r} leads out of {self.root}, or to no file: {path} is {kind}, which "
                        "is not followed; remove it"
                    )
        except OSError as error:  # What may not be looked at, may not be used either: whoever does tells it.
            is_a_name = error.errno != errno.ENAMETOOLONG
        if not is_a_name:
            raise ArtifactCorruptError(f"artifact path {relative[:200]!r} is a name that no file has")
        return self.root / parts

    def make_root(self) -> None:
        """Make the folder itself when it is absent."""
        self.refuse_odd_root()
        make_folder(self.root)

    def refuse_odd_root(self) -> None:
        """Raise `WorkspaceCorruptError` if the folder itself is a link, or anything else but a folder or a file."""
        refuse_odd(self.root)

    def read(self, relative: str, content_hash: str) -> bytes:
        """Return the bytes of a file once they are known to be the ones that were saved.

        Raises
        ------
        ArtifactMissingError
            The file is gone.
        ArtifactCorruptError
            Its bytes have another SHA-256.
        """
        path = self.path(relative)
        try:
            content = _content(path)
        except PermissionError as error:
            raise ArtifactMissingError(f"{path} may not be read: {error}; ask its owner for the right to") from error
        except OSError as error:
            raise ArtifactMissingError(
                f"artifact file {path} cannot be read: {error}; restore it from a backup or train again"
            ) from error
        if sha256(content) != checked_hash(content_hash, ArtifactCorruptError):
            raise ArtifactCorruptError(
                f"artifact file {path} is damaged: its SHA-256 is not {content_hash}; "
                "restore it from a backup or train again"
            )
        return content

    def matches_own_name(self, relative: str) -> bool:
        """Tell whether a file has the SHA-256 that its own name says."""
        path = self.path(relative)
        return HASH.fullmatch(path.stem) is not None and sha256(_content(path)) == path.stem

    def size(self, relative: str) -> int:
        """Return how many bytes a file has; one that is not there raises `ArtifactMissingError`."""
        path = self.path(relative)
        try:
            status = path.lstat()
        except PermissionError as error:
            raise ArtifactMissingError(f"{path} may not be looked at: {error}; ask for the right to") from error
        except OSError as error:
            raise ArtifactMissingError(f"{path} is not there: {error}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactMissingError(f"{path} is no file")
        return status.st_size

    def quarantine(self, relative: str) -> None:
        """Move a file to `.quarantine`, where nothing looks for it and nothing removes it.

        Raises
        ------
        StoreError, OSError
            It is not moved; see `place_in_quarantine`.
        """
        path, target = self.path(relative), self.place_in_quarantine(relative)
        make_folder(target.parent)
        path.rename(target)
        for folder in (target.parent, path.parent):
            fsync_folder(folder)

    def place_in_quarantine(self, relative: str) -> Path:
        """Return the free path to which `quarantine` would move a file; what is there already is kept.

        Raises
        ------
        ArtifactCorruptError
            `.quarantine` or a folder below it is a link or a file.
        """
        place = PurePosixPath(QUARANTINE, relative)
        folder = self.path(place.parent.as_posix())
        for parent in (folder, *folder.parents):
            if parent != self.root and parent.is_relative_to(self.root) and parent.exists() and not parent.is_dir():
                raise ArtifactCorruptError(f"{parent} is no folder; move it away to let files be moved there")
        target, number = folder / place.name, 1
        while os.path.lexists(target):
            number += 1
            ending = f".{number}"
            target = folder / (os.fsdecode(os.fsencode(place.name)[: MAX_NAME - len(ending)]) + ending)
        return target

    def remove(self, relative: str) -> int:
        """Remove a file, and its shard when that is empty; return how many files that were, 0 or 1."""
        path = self.path(relative)
        if not path.is_file():
            return 0
        path.unlink()
        if path.parent != self.root and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return 1

    def existing(self, paths: Iterable[str]) -> set[str]:
        """Return those of these paths at which there is a file; none that leads out of the folder."""
        return {relative for relative in paths if self._is_there(relative)}

    def _is_there(self, relative: str) -> bool:
        try:
            return kind_of(self.path(relative)) == FILE
        except (ArtifactCorruptError, OSError):  # It leads elsewhere, or may not even be looked at.
            return False

    def relative(self, path: Path) -> str:
        """Return a file's path relative to `artifacts/`; one that is elsewhere raises.

        Raises
        ------
        InvalidInputError
            `path` is no file below `artifacts/`.
        """
        self.refuse_odd_root()
        try:
            resolved = (path if path.is_absolute() else self.root / path).resolve()
            is_inside = resolved.is_file() and resolved.is_relative_to(self.root.resolve())
        except (OSError, ValueError):  # A name that is too long, or holds a NUL.
            is_inside = False
        if not is_inside:
            raise InvalidInputError(f"{str(path)[:200]!r} is no file below {self.root}; move it there first")
        return resolved.relative_to(self.root.resolve()).as_posix()

    def orphans(self, named: Iterable[str], before: datetime) -> list[str]:
        """Return the files that no row names and that were last written before a time (UTC).

        A name that is no UTF-8 has surrogates in the place of its bytes, as `os.fsdecode` puts them.
        """
        known = set(map(normalize, named))
        cutoff = before.replace(tzinfo=UTC).timestamp()
        found = [path.relative_to(self.root).as_posix() for path in self._files() if path.stat().st_mtime <= cutoff]
        return sorted(set(found) - known)

    def is_younger(self, relative: str, before: datetime) -> bool:
        """Tell whether a file was written here after a time (UTC), as far as its own date is not to come.

        One of another name came from elsewhere, as with an adopted workspace, and its date is that of a copy.
        """
        if not HASH.fullmatch(PurePosixPath(relative).stem) or not self._is_there(relative):
            return False
        written = self.path(relative).stat().st_mtime
        return before.replace(tzinfo=UTC).timestamp() < written <= utc_now().replace(tzinfo=UTC).timestamp()

    def odd(self, named: Iterable[str]) -> dict[str, str]:
        """Return what in the folder is neither file nor folder and has no row, and what it is; nothing follows it."""
        kinds = {path.relative_to(self.root).as_posix(): kind_of(path) for path in self._entries()}
        known = set(map(normalize, named))
        return {path: str(kind) for path, kind in sorted(kinds.items()) if is_odd(kind) and path not in known}

    def usage(self) -> tuple[int, int]:
        """Return how many files there are, and how many bytes they take."""
        sizes = [path.stat().st_size for path in self._files()]
        return len(sizes), sum(sizes)

    def _files(self) -> list[Path]:
        """Return the files that are there, without those in quarantine."""
        return [path for path in self._entries() if kind_of(path) == FILE]

    def _entries(self) -> list[Path]:
        """Return what is there but for what is in quarantine; folders that may not be entered count as empty."""
        self.refuse_odd_root()
        found = []
        for folder, folders, files in os.walk(self.root):
            if os.access(folder, os.X_OK):
                found += [Path(folder, name) for name in (*folders, *files)]
            if Path(folder) == self.root:
                folders[:] = [name for name in folders if name != QUARANTINE]
        return found

    def copy_to(self, target: Path, paths: Iterable[str]) -> list[str]:
        """Copy files to another `artifacts/` folder; return those that are missing here."""
        missing = []
        for relative in sorted(set(paths)):
            if not self._is_there(relative):
                missing.append(relative)
                continue
            make_folder((target / relative).parent)
            with FileIO(self.path(relative), opener=_opened) as source, (target / relative).open("xb") as copy:
                shutil.copyfileobj(source, copy)
            share_in_workspace(target / relative)
            fsync_file(target / relative)
        _fsync_folders(target)
        return missing

    def take(self, source: Path) -> int:
        """Move the files of another `artifacts/` folder on the same disk here; return how many it has.

        A file that is here with the same bytes stays; one with other bytes is damaged, and replaced.
        """
        found = [path for path in sorted(source.rglob("*")) if path.is_file()]
        folders = set()
        for path in found:
            target = self.root / path.relative_to(source)
            if not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
                make_folder(target.parent)
                fsync_file(path)
                path.replace(target)
                folders.add(target.parent)
        make_folder(self.root)
        for folder in folders:
            fsync_folder(folder)
        return len(found)

    def link_to(self, target: Path) -> None:
        """Give the files another name each below another folder, or copy them where the disk has no hard links.

        None is ever written to under its name, so that what has the other name stays as it is.
        """
        make_folder(target)
        for path in self._files():
            twin = target / path.relative_to(self.root)
            make_folder(twin.parent)
            try:
                os.link(path, twin)
            except OSError:
                shutil.copyfile(path, twin)
                share_in_workspace(twin)
                fsync_file(twin)
        _fsync_folders(target)


def _fsync_folders(root: Path) -> None:
    """Let the names in a folder, and in the folders in it, survive a power cut."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        fsync_folder(folder)
