"""One system call of a script of all operations fails: the n-th write, fsync, rename, unlink, ..."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nirs4all_store import StoreError, WorkspaceStore

from . import content
from .processes import Child, in_new_process
from .programme import Fault, scratch, some_of
from .script import Expected, Script
from .tracing import CALLS, calls_of, traced

ERRORS = ("EIO", "ENOSPC", "EACCES")


def everything(workspace: Path, outside: Path) -> Callable[[Child], None]:
    """Return what opens a workspace and does each operation; what is refused must be refused with a typed error."""

    def work(child: Child) -> None:
        try:
            with WorkspaceStore(workspace) as store:
                Script(store, outside, random.Random("everything"), child.say).each()
        except StoreError as error:
            child.say({"refused": type(error).__name__})

    return work


@functools.cache
def calls() -> dict[str, int]:
    """Return how many of each call there are to fail."""
    folder = scratch() / "template-calls"
    workspace = content.copy_of(content.used, folder / "workspace")
    return calls_of(everything(workspace, folder / "outside"), folder / "log")


def seeds(count: int | None) -> Sequence[str]:
    """Return `error:call:number` for all of them."""
    return some_of(
        [f"{error}:{call}:{n}" for call, most in calls().items() for n in range(1, most + 1) for error in ERRORS], count
    )


def trial(folder: Path, seed: str) -> None:
    """Let one call fail, and look."""
    error, call, number = seed.split(":")
    assert call in {name.removeprefix("?") for name in CALLS}
    workspace = content.copy_of(content.used, folder / "workspace")
    child = traced(
        everything(workspace, folder / "outside"),
        "-e",
        f"inject={call}:error={error}:when={number}",
        "-o",
        str(folder / "calls"),
    )
    heard: list[Any] = [*child.hear_all()]
    code = child.end()
    child.close()
    failed = [message["failed"] for message in heard if "failed" in message]
    assert not failed, f"an error that is not typed: {failed[0]}"
    assert code == 0, f"it ended with exit code {code}"
    # Threads of the engine make some calls more or less often: where there are fewer than the number, none has failed.
    in_new_process(lambda: look(workspace, heard))


def look(workspace: Path, heard: list[Any]) -> None:
    """Make sure that what was acknowledged is there."""
    with WorkspaceStore(workspace, timeout=0) as store:
        Expected(heard).look(store)


FAULT = Fault("syscalls", "a typed error or success, no acknowledged loss, it opens again", None, trial, seeds)
