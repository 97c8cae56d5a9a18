"""Finds out whether a folder is on a network file system (on Linux), and warns of a workspace there."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
}


def warn_if_remote(folder: Path) -> None:
    """Warn if a workspace is on a network file system; once for each folder and process."""
    kind = remote_kind(folder)
    if kind is not None:
        # Python shows a warning with the same text only once.
        warnings.warn(
            f"{folder} is on a network file system ({kind}), whose locks and flushes may not hold: two machines that "
            "use it at once can destroy it, and a power cut can. Keep the workspace on a local disk, copy it with "
            "backup(), or let one machine at a time use it",
            stacklevel=7,  # The line that made the store.
        )


def remote_kind(folder: Path) -> str | None:
    """Return the type of the network file system that a folder is on; None if it is on no known one."""
    kind = file_system_of(folder, MOUNTS.read_text() if MOUNTS.exists() else "")
    return kind if kind in REMOTE else None


def file_system_of(folder: Path, mounts: str) -> str | None:
    """Return the type of the file system that a folder is on; None if it is not known.

    Parameters
    ----------
    folder : Path
    mounts : str
        The content of `/proc/self/mountinfo`; for its format see proc_pid_mountinfo(5).
    """
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split()[0]
    return None
