"""A disk that fills up while a script works on it, and then has room again: a tmpfs of its own in a namespace."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from nirs4all_store import StoreError, WorkspaceStore

from . import content
from .processes import Child, in_new_process
from .programme import Fault, Impossible, tidy
from .script import Expected, Script

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
MOST_ROOM = 2 * 2**20
ROOM_AGAIN = 64 * 2**20
MOST_OPERATIONS, MOST_REFUSALS = 150, 8
NOT_HERE = 77
SECONDS = 300


def trial(folder: Path, seed: str) -> None:
    """Let a process of its own mount a disk and fill it."""
    command = [*NAMESPACE, sys.executable, "-m", __name__, str(folder), seed]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except FileNotFoundError as error:
        raise Impossible(str(error)) from None
    if done.returncode == NOT_HERE or "unshare failed" in done.stderr:
        raise Impossible(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def main(folder: Path, seed: str) -> int:
    """Fill a disk, make room, and look; this runs in the namespace."""
    rng = random.Random(f"disk {seed}")
    template = content.copy_of(content.used, folder / "template")
    size = sum(path.stat().st_size for path in template.rglob("*") if path.is_file()) + rng.randrange(MOST_ROOM)
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + 2**16}", "none", disk], check=False)
    if mounted.returncode:
        return NOT_HERE
    workspace = content.copy_of(content.used, disk / "workspace")
    child = Child(lambda child: fill(workspace, disk / "outside", rng, child))
    heard: list[Any] = [*child.hear_all()]
    code = child.end()
    failed = [message["failed"] for message in heard if "failed" in message]
    assert not failed, f"an error that is not typed: {failed[0]}"
    assert code == 0, f"it ended with exit code {code}"
    assert any("refused" in message for message in heard), "the disk was never full"
    subprocess.run(["mount", "-o", f"remount,size={size + ROOM_AGAIN}", disk], check=True)
    in_new_process(lambda: look(workspace, heard))
    subprocess.run(["umount", disk], check=True)
    tidy()
    return 0


def fill(workspace: Path, outside: Path, rng: random.Random, child: Child) -> None:
    """Work until the disk has been full for a while; each error must be a typed one."""
    refusals = 0
    try:
        with WorkspaceStore(workspace) as store:
            script = Script(store, outside, rng, child.say)
            for _ in range(MOST_OPERATIONS):
                try:
                    script.one()
                except StoreError as error:
                    child.say({"refused": type(error).__name__})
                    refusals += 1
                if refusals == MOST_REFUSALS:
                    break
    except StoreError as error:
        child.say({"refused": type(error).__name__})


def look(workspace: Path, heard: list[Any]) -> None:
    """Make sure that what was acknowledged is there, and that one can go on."""
    with WorkspaceStore(workspace, timeout=0) as store:
        Expected(heard).look(store)


FAULT = Fault("disk", "nothing that was acknowledged is lost, and it works again once there is room", 50, trial)

if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
