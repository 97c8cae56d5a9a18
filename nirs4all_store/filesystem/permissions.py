"""Who may read and write what is in a workspace: whoever may work in its folder, whoever made it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ..errors import ReadOnlyError

DATABASE = "store.duckdb"
GROUP = 0o070


def share(path: Path, folder: Path) -> None:
    """Give something new in a workspace to the group of the workspace's folder, with the rights that it has there.

    Otherwise the first of a group's users to come would keep the others out: it is as their umask and group say.
    """
    if os.name == "posix":
        status, here = folder.stat(), path.lstat()
        group = status.st_mode & (GROUP if stat.S_ISDIR(here.st_mode) else 0o060)
        _give(path, here, status, stat.S_IMODE(here.st_mode) & ~GROUP | group)


def share_alike(path: Path, other: os.stat_result) -> None:
    """Let those read and write a file, and no others, who may do so with another one."""
    if os.name == "posix":
        _give(path, path.lstat(), other, stat.S_IMODE(other.st_mode))


def share_copy(path: Path, folder: Path) -> None:
    """`share` what was made of a file of a workspace, with its rights, unless that was kept from every group."""
    if path.lstat().st_mode & GROUP:
        share(path, folder)


def share_in_workspace(path: Path) -> None:
    """`share` a new file or folder, if it is in a workspace."""
    for folder in path.parents:
        if os.path.lexists(folder / DATABASE):
            share(path, folder)
            return


def _give(path: Path, here: os.stat_result, wanted: os.stat_result, mode: int) -> None:
    # Each alone: a user may not be of the group, and only root may give things away.
    if here.st_gid != wanted.st_gid:
        with contextlib.suppress(OSError):
            os.chown(path, -1, wanted.st_gid, follow_symlinks=False)
    if stat.S_IMODE(here.st_mode) != mode:
        with contextlib.suppress(OSError):
            path.chmod(mode)
    if here.st_uid != wanted.st_uid:
        with contextlib.suppress(OSError):
            os.chown(path, wanted.st_uid, -1, follow_symlinks=False)


def refuse_missing(*paths: Path, write: bool) -> None:
    """Refuse files that one may not read, or write, before anybody takes them for damaged.

    Raises
    ------
    ReadOnlyError
        It names the right that is missing, and the file.
    """
    for path in paths:
        for right in (os.R_OK, os.W_OK)[: 1 + write]:
            if not os.access(path, right, effective_ids=os.access in os.supports_effective_ids):
                status, name = path.stat(), "read" if right == os.R_OK else "write"
                raise ReadOnlyError(
                    f"the right to {name} {path} is missing (it is {stat.filemode(status.st_mode)}, of user "
                    f"{status.st_uid} and group {status.st_gid}); nothing was changed: ask its owner for the right to "
                    f"{name} it" + (", or open the workspace with read_only=True" if right == os.W_OK else "")
                )
