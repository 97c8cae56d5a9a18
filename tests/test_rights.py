"""Who may read and write in a folder that several users work in, and what is told to whom a right is missing."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Process, ends_well, run, says, tell

from nirs4all_store import WorkspaceStore
from nirs4all_store.lease import LINE_NAME, Lease

pytestmark = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a user who may become another")

BECOME = """
import os, sys, nirs4all_store as n
def become(user, *groups):
    os.setgroups(groups); os.setgid(groups[0] if groups else user); os.setuid(user)
"""
READER = """
with n.WorkspaceStore(".", read_only=True, timeout=20) as store:
    print(store.list_runs()["name"].to_list(), flush=True)
    sys.stdin.readline()
    print(store.list_runs()["name"].to_list(), flush=True)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that others can reach, as those of pytest cannot be; it is the working directory."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.chdir(name)
        yield Path(name)


@pytest.mark.parametrize("has_waited", [False, True])
def test_a_reader_without_rights_once_never_got_in_beside_an_idle_store(folder: Path, has_waited: bool) -> None:
    with WorkspaceStore(folder) as store:
        store.begin_run("first")
        if has_waited:  # Then there is a second file, and it is another user's.
            run(BECOME + READER, folder)
        assert (folder / LINE_NAME).exists() is has_waited
        with Process(f"{BECOME}\nbecome(65533)\n{READER}", strict=True) as reader:
            assert says(reader) == "['first']"
            store.begin_run("second")  # The writer gets it back from a reader whose place it can see.
            tell(reader)
            assert says(reader) == "['second', 'first']"
            ends_well(reader)


def test_a_writer_waits_behind_a_reader_without_rights_that_came_before(folder: Path) -> None:
    lease = Lease(folder, shared=False, timeout=0)
    program = "from pathlib import Path\nfrom nirs4all_store.lease import Lease\nprint('comes', flush=True)\n"
    with Process(
        f"{BECOME}\nbecome(65533)\n{program}Lease(Path(), shared=True, timeout=300)\nprint('holds')"
    ) as reader:
        assert says(reader) == "comes"
        while not lease.is_wanted:
            pass
        assert not (folder / LINE_NAME).exists()
        lease.release()
        assert says(reader) == "holds"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs mount namespaces")
def test_a_mount_for_reading_only_once_never_got_in_beside_an_idle_store(folder: Path) -> None:
    mounted = Path(tempfile.mkdtemp())
    script = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && cd "$2" && touch x; exec "$3" -c "$4"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", folder, mounted, sys.executable, BECOME + READER]
    try:
        with WorkspaceStore(folder) as store:
            store.begin_run("first")
            done = subprocess.run(command, input="\n", capture_output=True, text=True, check=False)
    finally:
        mounted.rmdir()
    if "mount" in done.stderr.split("touch")[0]:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert "Read-only file system" in done.stderr
    assert done.stdout.splitlines() == ["['first']", "['first']"], done.stderr
