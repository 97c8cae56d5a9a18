"""`FolderBlobs` keeps bytes as files of a folder; a name can never lead out of the folder.

The files survive a power cut, and the folder's group may use them. Only this module, and code that copies or replaces a
whole workspace folder, touches the files below `artifacts/`.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from ..errors import ArtifactCorruptError, ArtifactLinkError, ArtifactMissingError
from ..filesystem import (
    FILE,
    FOLDER,
    PLAIN,
    atomic_write,
    content_of,
    fsync_file,
    fsync_folder,
    kind_of,
    kind_of_mode,
    make_folder,
    output_errors,
    refuse_odd,
    share_in_workspace,
)
from .store import Blob

_content = partial(content_of, error=ArtifactLinkError)


class FolderBlobs:
    """A `BlobStore` in a folder.

    Parameters
    ----------
    folder : Path
        The folder `artifacts/` of a workspace. It need not exist before something is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def make_root(self) -> None:
        """Create the folder itself if it is absent; raise `WorkspaceCorruptError` if it is a link or not a folder."""
        refuse_odd(self.folder)
        make_folder(self.folder)

    def put(self, name: str, content: bytes) -> None:
        """Write a file, unless it has the same bytes already; for errors see `BlobStore`."""
        self.put_many([(name, content)])

    def put_many(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Write files one after the other, and sync each folder once at the end, so that the names are durable."""
        folders = set()
        for name, content in contents:
            path = self._path(name)
            if kind_of(path) != FILE or _content(path) != content:
                with atomic_write(path, sync_name=False) as temporary:
                    temporary.write_bytes(content)
                folders.add(path.parent)
        for folder in folders:
            with output_errors(folder):
                fsync_folder(folder)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; for errors see `BlobStore`."""
        path = self._path(name)
        try:
            return _content(path)
        except PermissionError as error:
            raise ArtifactMissingError(f"{path} may not be read: {error}; ask its owner for the right to") from error
        except OSError as error:
            raise ArtifactMissingError(
                f"artifact file {path} cannot be read: {error}; restore it from a backup or train again"
            ) from error

    def stat(self, name: str) -> Blob | None:
        """Return the entry of a name, which may be a folder, or None; for errors see `BlobStore`."""
        path = self._path(name)
        try:
            return self._blob(path)
        except OSError as error:
            raise ArtifactMissingError(f"{path} may not be looked at: {error}; ask for the right to") from error

    def list(self) -> Iterator[Blob]:
        """Yield all entries except folders; a folder that this user may not enter counts as empty."""
        refuse_odd(self.folder)
        for folder, folders, files in os.walk(self.folder):
            if os.access(folder, os.X_OK):
                found = (self._blob(Path(folder, name)) for name in (*folders, *files))
                yield from (blob for blob in found if blob is not None and blob.kind != FOLDER)

    def move(self, name: str, new_name: str) -> bool:
        """Rename a file, unless something has the new name; for errors see `BlobStore`."""
        place = PurePosixPath(new_name)
        path, target = self._path(name), self._path(place.parent.as_posix()) / place.name
        make_folder(target.parent)
        if os.path.lexists(target):
            return False
        try:
            path.rename(target)
        except FileNotFoundError as error:
            raise ArtifactMissingError(f"{path} is not there: {error}") from error
        for folder in (target.parent, path.parent):
            fsync_folder(folder)
        return True

    def delete(self, name: str) -> bool:
        """Remove a file, and its folder if that is empty then; return whether the file was there."""
        path = self._path(name)
        if not path.is_file():
            return False
        path.unlink()
        if path.parent != self.folder and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return True

    def _path(self, name: str) -> Path:
        """Return the path of a file, after a check of each folder on the way.

        Raises
        ------
        ArtifactLinkError
            The path leads through a link, or to something that is not a file.
        ArtifactCorruptError
            It is longer than a path may be.
        """
        path = self.folder
        try:
            refuse_odd(self.folder)
            for part in PurePosixPath(name).parts:
                path /= part
                kind = kind_of(path)
                if kind not in PLAIN:
                    raise ArtifactLinkError(
                        f"artifact path {name!r} leads out of {self}, or to no file: {path} is {kind}, which "
                        "is not followed; remove it"
                    )
        except OSError as error:  # If this user may not look at it, the use of the path raises an error that says so.
            if error.errno == errno.ENAMETOOLONG:
                raise ArtifactCorruptError(f"artifact path {name[:200]!r} is a name that no file has") from error
        return self.folder / name

    def _blob(self, path: Path) -> Blob | None:
        """Return the entry at a path, or None; a link is not followed."""
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        name = path.relative_to(self.folder).as_posix()
        return Blob(name, kind_of_mode(status.st_mode), status.st_size, status.st_mtime)

    def take(self, source: Path) -> int:
        """Move the files of another `artifacts/` folder on the same disk into this one.

        A file that is here with the same bytes stays. One with other bytes is damaged, and replaced.

        Returns
        -------
        int
            How many files `source` had.
        """
        found = [path for path in sorted(source.rglob("*")) if path.is_file()]
        folders = set()
        for path in found:
            target = self.folder / path.relative_to(source)
            if not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
                make_folder(target.parent)
                fsync_file(path)
                path.replace(target)
                folders.add(target.parent)
        make_folder(self.folder)
        for folder in folders:
            fsync_folder(folder)
        return len(found)

    def link_to(self, target: Path, names: Iterable[str]) -> None:
        """Make hard links to files below another folder, or copies if the disk has no hard links.

        Files of artifacts are never written to, only replaced. So what is linked stays as it is.

        Parameters
        ----------
        target : Path
            The other folder; it is created.
        names : iterable of str
            The files.
        """
        make_folder(target)
        for name in names:
            path, twin = self.folder / name, target / name
            make_folder(twin.parent)
            try:
                os.link(path, twin)
            except OSError:
                shutil.copyfile(path, twin)
                share_in_workspace(twin)
                fsync_file(twin)
        for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
            fsync_folder(folder)
