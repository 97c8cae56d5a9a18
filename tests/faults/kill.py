"""`kill -9` at a random moment of a random script: saves, deletions, collections, compacting, exports, an upgrade."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

from nirs4all_store import WorkspaceStore

from . import content
from .processes import Child, in_new_process, pause
from .programme import Fault
from .script import Expected, Script

MOST_MESSAGES = 60
# About as long as creating or upgrading a workspace takes, and as one operation takes.
SECONDS_OF_OPENING = 0.4
SECONDS_OF_AN_OPERATION = 0.02


def trial(folder: Path, seed: str) -> None:
    """Kill one process and look."""
    rng = random.Random(f"kill {seed}")
    workspace = folder / "workspace"
    begin = rng.choice([None, content.used, content.used, content.old])
    if begin is not None:
        content.copy_of(begin, workspace)
    messages = rng.choice([0, rng.randrange(MOST_MESSAGES)])
    seconds = rng.uniform(0, SECONDS_OF_AN_OPERATION if messages else SECONDS_OF_OPENING)

    def work(child: Child) -> None:
        with WorkspaceStore(workspace, upgrade=True) as store:
            script = Script(store, folder / "outside", rng, child.say)
            while True:
                script.one()

    child = Child(work)
    heard: list[Any] = [child.hear() for _ in range(messages)]
    pause(seconds)
    child.signal(signal.SIGKILL)
    heard += child.hear_all()
    child.end()
    child.close()
    assert None not in heard, "it ended by itself"
    assert not any("failed" in message for message in heard), heard[-1]["failed"]
    in_new_process(lambda: look(workspace, heard, was_old=begin is content.old))


def look(workspace: Path, heard: list[Any], *, was_old: bool) -> None:
    """Make sure that what was acknowledged is there."""
    with WorkspaceStore(workspace, upgrade=True, timeout=0) as store:
        if was_old:
            assert store.get_prediction("0123456789abcde1")["val_score"] == 0.1
        Expected(heard).look(store)


FAULT = Fault("kill", "what was acknowledged is there, the rest is whole or absent, it opens without help", 2000, trial)
