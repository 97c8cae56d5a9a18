"""strace on a process that has imported everything: what it calls, and a call of it that fails or kills."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .processes import SECONDS_TO_HANG, Child
from .programme import Impossible

# What changes something on the disk. A question mark: not every machine has this call.
CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "?rename",
    "?renameat",
    "?unlink",
    "?unlinkat",
    "?link",
    "?linkat",
    "?mkdir",
    "?mkdirat",
    "?rmdir",
)
ATTACHED = re.compile(r"Process \d+ attached")


def traced(work: Callable[[Child], object], *options: str) -> Child:
    """Start a process that does its work under strace, from its first call on, with some of strace's options."""

    def wait_and_work(child: Child) -> None:
        child.hear()
        work(child)

    if shutil.which("strace") is None:
        raise Impossible("there is no strace")
    child = Child(wait_and_work)
    command = ["strace", "-f", "-p", str(child.pid), "-e", f"trace={','.join(CALLS)}", *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert tracer.stderr is not None
    heard = tracer.stderr.readline()
    if not ATTACHED.search(heard):
        child.kill()
        tracer.communicate(timeout=SECONDS_TO_HANG)
        raise Impossible(f"strace cannot trace here: {heard.strip()}")
    child.say("go")
    child.tracer = tracer
    return child


def calls_of(work: Callable[[Child], object], log: Path) -> dict[str, int]:
    """Return how often work makes each call in one thread at the most."""
    child = traced(work, "-o", str(log))
    heard = [*child.hear_all()]
    assert child.end() == 0, heard
    child.close()
    found = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    most: dict[str, int] = {}
    for (_, call), count in found.items():
        most[call] = max(count, most.get(call, 0))
    return most
