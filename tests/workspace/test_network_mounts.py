"""A workspace on a network file system is warned of, once; such a system itself is not to be had here."""

import os
import warnings
from pathlib import Path

import pytest

from nirs4all_store import WorkspaceStore
from nirs4all_store.workspace import network_mounts


def line(folder: Path, kind: str) -> str:
    device = folder.stat().st_dev
    return (
        f"36 35 {os.major(device)}:{os.minor(device)} / /mnt/x\\040y rw,noatime shared:1 master:2 - {kind} host:/x rw\n"
    )


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_workspace_on_a_network_file_system_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    told = tmp_path / "mountinfo"
    told.write_text("22 1 0:999999 / / rw - ext4 /dev/vda rw\n" + line(tmp_path, kind))
    monkeypatch.setattr(network_mounts, "MOUNTS", told)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            with WorkspaceStore(tmp_path / "workspace"), WorkspaceStore(tmp_path / "workspace", read_only=True):
                pass
    assert len(caught) == 1
    message = str(caught[0].message)
    assert kind in message
    assert str(tmp_path / "workspace") in message
    assert "local disk" in message
    assert caught[0].filename == __file__


def test_a_local_disk_is_not_warned_of(tmp_path: Path) -> None:
    assert network_mounts.file_system_of(tmp_path, line(tmp_path, "ext4")) == "ext4"
    with WorkspaceStore(tmp_path):  # A warning is an error in these tests.
        pass


@pytest.mark.parametrize("text", ["", "\n", "36", "36 35 0:0", "36 35 0:0 - ", "no such thing"])
def test_what_the_system_does_not_tell_is_not_known(tmp_path: Path, text: str) -> None:
    assert network_mounts.file_system_of(tmp_path, text) is None
