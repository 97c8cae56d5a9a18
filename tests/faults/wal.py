"""A write-ahead log that is cut, has a bit flipped, or is zeroed in part, as a lost write or a power cut leaves it."""

from __future__ import annotations

import random
from pathlib import Path

from nirs4all_store import WorkspaceCorruptError, WorkspaceStore, recover_workspace

from . import content
from .processes import Child, in_new_process
from .programme import Fault

TRANSACTIONS = 12
LOG = "store.duckdb.wal"


def logged(folder: Path) -> None:
    """Leave a workspace whose log has transactions of several kinds, each of which names its number."""

    def work(child: Child) -> None:
        store = WorkspaceStore(folder)
        for number in range(TRANSACTIONS):
            with store.transaction():
                content.save_run(store, number, number % 2, predictions=1 + number % 3)
        child.say("done")  # And ends without closing.

    WorkspaceStore(folder).close()
    child = Child(work)
    assert child.hear() == "done"
    child.end()
    child.close()
    assert (folder / LOG).stat().st_size > 10_000


def damaged(log: bytes, rng: random.Random) -> bytes:
    """Return a log with one damage."""
    where, length = rng.randrange(len(log)), rng.randrange(1, 4097)
    kind = rng.choice(["cut", "flip", "zeros", "zero tail", "zeros appended"])
    if kind == "cut":
        return log[:where]
    if kind == "flip":
        return log[:where] + bytes([log[where] ^ 1 << rng.randrange(8)]) + log[where + 1 :]
    if kind == "zeros":
        return log[:where] + bytes(length) + log[where + length :]
    return log[:where] + bytes(len(log) - where) if kind == "zero tail" else log + bytes(length)


def trial(folder: Path, seed: str) -> None:
    """Damage the log of a copy, and open it."""
    workspace = content.copy_of(logged, folder / "workspace")
    log = workspace / LOG
    log.write_bytes(damaged(log.read_bytes(), random.Random(f"wal {seed}")))
    before = contents(workspace)
    if not in_new_process(lambda: opens_to_a_prefix(workspace)):
        assert contents(workspace) == before, "it was refused, and changed"
        recover(workspace)


def contents(workspace: Path) -> dict[str, bytes]:
    """Return every file of a workspace but the lock."""
    found = [path for path in workspace.rglob("*") if path.is_file() and not path.name.startswith(".store.")]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in found}


def opens_to_a_prefix(workspace: Path) -> bool:
    """Make sure that a workspace has the first of the transactions and no others; False if it is refused."""
    try:
        store = WorkspaceStore(workspace, timeout=0)
    except WorkspaceCorruptError:
        return False
    with store:
        content.read_all(store)
        found = [row["name"] for row in store.list_runs(limit=None).reverse().to_dicts()]
        assert found == [f"run {number}" for number in range(len(found))], found
        for number in range(len(found)):
            for i in range(1 + number % 3):
                content.equal(store.get_prediction(f"{number}-{i}", load_arrays=True), 100 * number + i)
        content.is_usable(store)
    return True


def recover(workspace: Path) -> None:
    """Let what there is of a workspace be saved: what comes back is a prefix too, and the originals are kept."""
    originals = sorted(contents(workspace).values())
    in_new_process(lambda: recover_workspace(workspace) and None)
    assert in_new_process(lambda: opens_to_a_prefix(workspace)), "it was recovered, and does not open"
    left = sorted(contents(workspace).values())
    assert all(original in left for original in originals), "an original is not there any more"


FAULT = Fault("wal", "a consistent prefix, or a typed error with nothing changed, and `recover`", 700, trial)
