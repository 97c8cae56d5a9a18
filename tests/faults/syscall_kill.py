"""A process is killed in the n-th write, fsync, rename, ... of an operation, by the kernel, where strace is there."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from . import content, steps
from .operations import OPERATIONS
from .processes import Child
from .programme import Fault, scratch, some_of
from .tracing import calls_of, traced


def work(name: str, folder: Path) -> Callable[[Child], None]:
    """Return what does an operation and tells that it is done."""

    def act(child: Child) -> None:
        steps.act(OPERATIONS[name], folder / "workspace", folder / "outside", steps.nothing, lambda: child.say("done"))

    return act


@functools.cache
def calls(name: str) -> dict[str, int]:
    """Return how many of each call an operation makes, the opening and closing of the workspace included."""
    folder, begin = scratch() / f"template-calls-{name}", OPERATIONS[name].begin
    if begin is not None:
        content.copy_of(begin, folder / "workspace")
    folder.mkdir(exist_ok=True)
    return calls_of(work(name, folder), folder / "log")


def seeds(count: int | None) -> Sequence[str]:
    """Return `operation:call:number` for all of them; a few, of as few operations."""
    every = [(name, call, most) for name in some_of([*OPERATIONS], count) for call, most in calls(name).items()]
    return some_of([f"{name}:{call}:{n}" for name, call, most in every for n in range(1, most + 1)], count)


def trial(folder: Path, seed: str) -> None:
    """Kill a process in one call and look."""
    name, call, number = seed.split(":")
    inject = f"inject={call}:signal=KILL:when={number}"
    log = ("-o", str(folder / "calls"))

    def start(act: Callable[[Child], object]) -> Child:
        return traced(act, "-e", inject, *log)

    steps.stopped_trial(folder, name, work(name, folder), -signal.SIGKILL, start)


FAULT = Fault("syscall_kill", "as for steps", None, trial, seeds)
