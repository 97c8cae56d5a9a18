"""`gc_artifacts` without grace against a save of the same bytes, one of them stopped at each moment of the other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nirs4all_store import NotFoundError, WorkspaceStore, failpoints
from nirs4all_store.failpoints import Failpoint

from . import content
from .operations import chain_of, pipeline_of
from .processes import SECONDS_TO_HANG, Child, in_new_process
from .programme import Fault

SAVING = (Failpoint.FILE_HAS_NO_ROW, Failpoint.COMMIT_BEGINS, Failpoint.COMMIT_IS_DURABLE)
COLLECTING = (Failpoint.COLLECTION_IS_CHOSEN, Failpoint.COMMIT_BEGINS, Failpoint.COMMIT_IS_DURABLE)
KINDS = ("threads", "processes")
FIRST = ("save", "gc")
SAVES = ("calls", "transaction")
PAIRS = [*itertools.product(KINDS, FIRST, SAVES, SAVING, COLLECTING)]
# No chain of the template uses it: the collection wants to remove the file that the save needs.
SAME = 2
# How long the second one has to get to its point; where the two exclude each other it never does.
SECONDS_TO_MEET = 0.1

Stop = Callable[[Failpoint], None]


def save(store: WorkspaceStore, how: str) -> str | None:
    """Save the bytes and a chain of them; return its id, or None if they were rightly collected in between."""
    pipeline_id = pipeline_of(store, 901)
    if how == "transaction":
        with store.transaction():
            return content.save_chain(store, pipeline_id, content.save_artifact(store, SAME))
    artifact_id = content.save_artifact(store, SAME)
    try:
        return content.save_chain(store, pipeline_id, artifact_id)
    except NotFoundError:
        return None


def collect(store: WorkspaceStore, how: str) -> None:
    """Collect all that no chain claims."""
    store.gc_artifacts(grace=content.NO_GRACE)


class Meeting:
    """Two workers, each of which stops once at a point of its own until it is let go."""

    def __init__(self) -> None:
        self.arrived = {name: threading.Event() for name in FIRST}
        self.released = {name: threading.Event() for name in FIRST}

    def stop(self, name: str) -> None:
        """Wait, the first time, until the other has come as far as it can."""
        if not self.arrived[name].is_set():
            self.arrived[name].set()
            assert self.released[name].wait(SECONDS_TO_HANG)


def in_threads(workspace: Path, works: dict[str, Callable[[WorkspaceStore], Any]], at: dict[str, Failpoint]) -> Any:
    """Let two threads of one store meet; the keys are in the order in which they begin."""
    meeting, results, names = Meeting(), {}, [*works]

    def on_reached(point: Failpoint) -> None:
        name = threading.current_thread().name
        if at.get(name) == point:
            meeting.stop(name)

    with WorkspaceStore(workspace) as store:
        threads = {
            name: threading.Thread(target=lambda name=name: results.update({name: works[name](store)}), name=name)
            for name in names
        }
        failpoints.on_hit = on_reached
        for name, seconds in zip(names, (SECONDS_TO_HANG, SECONDS_TO_MEET), strict=True):
            threads[name].start()
            meeting.arrived[name].wait(seconds)
        for name in names:
            meeting.released[name].set()
            threads[name].join(SECONDS_TO_HANG if name == names[1] else SECONDS_TO_MEET)
        threads[names[0]].join(SECONDS_TO_HANG)
    assert set(results) == set(names), "one of them failed or hangs"
    return results["save"]


def in_processes(workspace: Path, works: dict[str, Callable[[WorkspaceStore], Any]], at: dict[str, Failpoint]) -> Any:
    """Let two processes meet that open the workspace, work, and close it."""

    def start(name: str) -> Child:
        def work(child: Child) -> None:
            stopped: list[Failpoint] = []

            def on_reached(point: Failpoint) -> None:
                if point == at[name] and not stopped:
                    stopped.append(point)
                    child.say({"at": point})
                    child.hear()

            failpoints.on_hit = on_reached
            with WorkspaceStore(workspace) as store:
                result = works[name](store)
            child.say({"result": result})

        return Child(work)

    children: dict[str, Child] = {}
    heard: dict[str, list[Any]] = {name: [] for name in works}
    for name, seconds in zip(works, (SECONDS_TO_HANG, SECONDS_TO_MEET), strict=True):
        children[name] = start(name)
        try:
            heard[name].append(children[name].hear(seconds))
        except TimeoutError:  # It waits for the other one.
            continue
    for child in children.values():
        child.say("go on")
    for name, child in children.items():
        heard[name] += child.hear_all()
        assert child.end() == 0, heard[name]
        child.close()
    return next(message["result"] for message in heard["save"] if "result" in message)


def seeds(count: int | None) -> Sequence[str]:
    """Return the pairs of points, all of them before any comes again."""
    return [str(number) for number in range(len(PAIRS) if count is None else count)]


def trial(folder: Path, seed: str) -> None:
    """Let one pair meet, and look."""
    # A step that shares no divisor with their number: few trials have some of each kind.
    kind, first, how, saving, collecting = PAIRS[int(seed) * 41 % len(PAIRS)]
    workspace = content.copy_of(content.used, folder / "workspace")
    works: dict[str, Callable[[WorkspaceStore], Any]] = {
        "save": lambda store: save(store, how),
        "gc": lambda store: collect(store, how),
    }
    if first == "gc":
        works = dict(reversed(works.items()))
    at = {"save": saving, "gc": collecting}
    if kind == "threads":
        chain_id = in_new_process(lambda: in_threads(workspace, works, at))
    else:
        chain_id = in_processes(workspace, works, at)
    assert chain_id is not None or how == "calls", "it was collected in the middle of a transaction"
    in_new_process(lambda: look(workspace, chain_id))


def look(workspace: Path, chain_id: str | None) -> None:
    """Make sure that every chain has its file."""
    with WorkspaceStore(workspace, timeout=0) as store:
        content.read_all(store)
        chains = {chain_of(store, 901): 0, chain_of(store, 903): 1} | ({chain_id: SAME} if chain_id else {})
        for chain, number in chains.items():
            np.testing.assert_array_equal(
                store.replay_chain(chain, content.X), content.model(number).predict(content.X)
            )


FAULT = Fault("gc", "no file of a chain is deleted", 5000, trial, seeds)
