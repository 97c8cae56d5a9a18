"""Many processes work in one workspace while one or another is killed or stopped; their history is one history.

Each transaction counts the runs and saves one that holds the count. Had one not seen what was acknowledged before it,
two runs would hold the same number; had one been lost, a number would be missing.
"""

from __future__ import annotations

import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nirs4all_store import WorkspaceBusyError, WorkspaceStore

from . import content
from .processes import Child, in_new_process, pause
from .programme import Fault

MOST_PROCESSES = 16
TRANSACTIONS = 5
SECONDS_OF_PATIENCE = 2.0
# A wait is bounded by the timeout; this is what the machine may need beside it.
SECONDS_OF_SLACK = 20.0


def work(workspace: Path, name: int, child: Child) -> None:
    """Make some transactions, each as soon as it is this process's turn."""
    with ExitStack() as opened:
        store: WorkspaceStore | None = None
        for number in range(TRANSACTIONS):
            while True:
                began = time.monotonic()
                try:
                    if store is None:
                        store = opened.enter_context(WorkspaceStore(workspace, timeout=SECONDS_OF_PATIENCE))
                    count = count_on(store, f"{name}-{number}")
                    break
                except WorkspaceBusyError:
                    waited = time.monotonic() - began
                    child.say({"busy": waited})
            child.say({"name": f"{name}-{number}", "number": count})


def count_on(store: WorkspaceStore, name: str) -> int:
    """Save a run with the number of runs before it, and an artifact; return the number."""
    with store.transaction():
        number = store.list_runs(limit=None).height
        store.begin_run(name, {"number": number})
        content.save_artifact(store, number % content.CONTENTS)
    return number


def trial(folder: Path, seed: str) -> None:
    """Let processes work, disturb them, and look."""
    rng = random.Random(f"sharing {seed}")
    workspace = folder / "workspace"
    in_new_process(lambda: WorkspaceStore(workspace).close())
    children = [
        Child(lambda child, name=name: work(workspace, name, child))
        for name in range(rng.randrange(2, MOST_PROCESSES + 1))
    ]
    killed: set[Child] = set()
    try:
        for _ in range(rng.randrange(1, 6)):
            pause(rng.uniform(0, 0.3))
            victim = rng.choice(children)
            if rng.random() < 0.5 and len(killed) < len(children) - 1:
                victim.signal(signal.SIGKILL)
                killed.add(victim)
            else:
                victim.signal(signal.SIGSTOP)
                pause(rng.choice([rng.uniform(0, 0.5), 1.5 * SECONDS_OF_PATIENCE]))
                victim.signal(signal.SIGCONT)
        heard = {child: [*child.hear_all()] for child in children}
        codes = {child: child.end() for child in children}
    finally:
        for child in children:
            child.signal(signal.SIGKILL)
            child.close()
    for child in set(children) - killed:
        assert codes[child] == 0, heard[child]
        assert len([message for message in heard[child] if "name" in message]) == TRANSACTIONS
    messages = [message for child in children for message in heard[child]]
    assert max([0.0, *(message["busy"] for message in messages if "busy" in message)]) < (
        SECONDS_OF_PATIENCE + SECONDS_OF_SLACK
    ), "a wait was not bounded"
    in_new_process(lambda: look(workspace, messages))


def look(workspace: Path, messages: list[Any]) -> None:
    """Make sure that the history is one, and has all that was acknowledged."""
    with WorkspaceStore(workspace, timeout=0) as store:
        content.read_all(store)
        found = {
            row["name"]: store.get_run(row["run_id"])["config"]["number"]
            for row in store.list_runs(limit=None).to_dicts()
        }
        assert sorted(found.values()) == [*range(len(found))], "two did not see each other"
        for message in messages:
            if "name" in message:
                assert found.get(message["name"]) == message["number"], f"{message} was lost"
        content.is_usable(store)


FAULT = Fault("sharing", "no lost acknowledgement, one history, waits are bounded", 200, trial)
