"""A process ends at the first step of an operation, at its second, ... until none is left.

A step is an SQL statement, an opening of a database, a file operation, or a named point.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import event
from sqlalchemy.engine import Engine

from nirs4all_store import WorkspaceStore, failpoints
from nirs4all_store.engine.duckdb import files as duckdb_files
from nirs4all_store.engine.duckdb import row_io

from . import content
from .operations import OPERATIONS, Operation, look_at_outputs
from .processes import Child, in_new_process
from .programme import Fault, scratch, some_of

FILE_OPERATIONS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "os.truncate",
    "shutil.rmtree",
    "shutil.copyfile",
}
KILLED = 9
DATABASE = "store.duckdb"


def rows(path: Path) -> dict[str, list[str]]:
    """Return every row of a database file, without changing it; nothing of one that is not there."""
    if not path.exists():
        return {}
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        # As text, since a NaN does not equal itself.
        found = {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in names}
        return {name: [repr(row) for row in table] for name, table in found.items()}


def counts(found: dict[str, list[str]]) -> dict[str, int]:
    """Return how many rows each table has."""
    return {name: len(table) for name, table in found.items()}


def files(folder: Path) -> dict[str, str]:
    """Return the hash of every artifact."""
    found = sorted((folder / "artifacts").rglob("*.joblib"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def at_each_step(folder: Path, act: Callable[[], object], start: failpoints.Failpoint | None = None) -> None:
    """Let something be done before each step of this process that has to do with a folder.

    With `start`, only what comes after that point counts.
    """
    has_begun = start is None

    def count() -> None:
        if has_begun:
            act()

    def on_reached(point: failpoints.Failpoint) -> None:
        nonlocal has_begun
        has_begun = has_begun or point == start
        count()

    def on_audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in FILE_OPERATIONS and str(folder) in str(arguments[0]):
            count()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            count()
            return function(*arguments, **options)

        return call

    sys.addaudithook(on_audit)
    event.listen(Engine, "before_cursor_execute", lambda *_: count())
    event.listen(Engine, "rollback", lambda *_: count())
    failpoints.on_hit = on_reached
    os.fsync = counted(os.fsync)
    duckdb.connect = counted(duckdb.connect)
    row_io.raw_connection = counted(row_io.raw_connection)  # What is done on it is a statement.
    duckdb_files.Comparison._all = counted(duckdb_files.Comparison._all)


def die_at(step: int, folder: Path, start: failpoints.Failpoint | None = None) -> None:
    """Let this process end at its n-th step; see `at_each_step`."""
    numbers = itertools.count(1)

    def end() -> None:
        if next(numbers) == step:
            os._exit(KILLED)

    at_each_step(folder, end, start)


def act(
    operation: Operation, workspace: Path, outside: Path, ready: Callable[[], object], done: Callable[[], object]
) -> None:
    """Do an operation; `ready` is called before it, `done` after it, before what it was done on is closed."""
    with contextlib.nullcontext() if operation.opens else WorkspaceStore(workspace) as store:
        ready()
        operation.act(store or workspace, outside)
        done()


def nothing() -> None:
    """Let nobody be told."""


@functools.cache
def measured(name: str) -> dict[str, Any]:
    """Do an operation undisturbed; return what is there before and after it, and the disk's state at each step."""
    operation, base = OPERATIONS[name], scratch() / f"template-after-{name}"
    workspace = base / "workspace"
    base.mkdir()
    if operation.begin is not None:
        content.copy_of(operation.begin, workspace)

    def before() -> dict[str, Any]:
        unopened = rows(workspace / DATABASE)
        if not operation.opens:
            WorkspaceStore(workspace).close()  # Marks runs whose process is gone, as each opening does first.
        return {"unopened": unopened, "before": rows(workspace / DATABASE), "before_files": files(workspace)}

    path = base / "measured.json"
    in_new_process(lambda: content.write_json(path, before()))
    found = {**content.read_json(path), "states": states(operation, base)}
    in_new_process(lambda: content.write_json(path, {"after": rows(workspace / DATABASE)}))
    return found | content.read_json(path)


def states(operation: Operation, base: Path) -> list[str]:
    """Do an operation, which waits before each of its steps; return what a process that ends there leaves behind.

    That is a hash of all names and bytes in the folder, and whether the operation was acknowledged.
    """

    def work(child: Child) -> None:
        def wait() -> None:
            child.say("step")
            child.hear()

        act(
            operation, base / "workspace", base / "outside", lambda: at_each_step(base, wait), lambda: child.say("done")
        )

    child, found, is_done = Child(work), [], False
    for heard in child.hear_all():
        if heard == "step":
            found.append(f"{state_of(base)} {is_done}")
            child.say("go on")
        elif heard == "done":
            is_done = True
        else:
            raise AssertionError(heard["failed"])
    child.end()
    child.close()
    return found


def state_of(folder: Path) -> str:
    """Return the hash of all that is in a folder, read by a process that has nothing of it open."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path} {path.lstat()[stat.ST_MODE]} ".encode())
        if path.is_file():
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def seeds(count: int | None) -> Sequence[str]:
    """Return the steps of all operations, `operation:number`; a few, of as few operations: each is tried first."""
    every = [(name, range(1, len(measured(name)["states"]) + 1)) for name in some_of([*OPERATIONS], count)]
    return some_of([f"{name}:{step}" for name, steps in every for step in steps], count)


def trial(folder: Path, seed: str) -> None:
    """End a process at one step and look."""
    name, _, step = seed.partition(":")

    def work(child: Child) -> None:
        act(
            OPERATIONS[name],
            folder / "workspace",
            folder / "outside",
            lambda: die_at(int(step), folder),
            lambda: child.say("done"),
        )

    stopped_trial(folder, name, work, KILLED)


def stopped_trial(
    folder: Path,
    name: str,
    work: Callable[[Child], object],
    code: int,
    start: Callable[[Callable[[Child], object]], Child] = Child,
) -> None:
    """Let a process do an operation until it is stopped, with some exit code, and look at what is left."""
    operation = OPERATIONS[name]
    if operation.begin is not None:
        content.copy_of(operation.begin, folder / "workspace")
    child = start(work)
    heard = child.hear()
    ended = child.end()
    child.close()
    assert ended in (0, code), heard
    known = measured(name)
    in_new_process(lambda: look(folder, operation, known, is_done=heard == "done"))


def look(folder: Path, operation: Operation, known: dict[str, Any], *, is_done: bool) -> None:
    """Make sure that the operation is done or not done, and that it can be done now."""
    workspace, database = folder / "workspace", folder / "workspace" / DATABASE
    found = rows(database)
    is_before = found in (known["unopened"], known["before"])
    is_after = found == known["after"] if operation.is_exact else counts(found) == counts(known["after"])
    assert is_before or is_after, "something between"
    assert is_after or not is_done, "it was acknowledged and is not there"
    look_at_outputs(folder / "outside", is_acknowledged=is_done)
    if operation.is_exact:
        WorkspaceStore(workspace, upgrade=True).close()
        look_at_upgraded(workspace, known)
        return
    if not is_done and (is_before or operation.repeats):
        act(operation, workspace, folder / "again", nothing, nothing)
        assert counts(rows(database)) == counts(known["after"])
    with WorkspaceStore(workspace) as store:
        content.read_all(store)
        content.is_usable(store)


def look_at_upgraded(workspace: Path, known: dict[str, Any]) -> None:
    """Compare every row and file of an upgraded workspace with what is known, and see that nothing else is left."""
    assert rows(workspace / DATABASE) == known["after"]
    assert rows(workspace / f"{DATABASE}.before-0001") == known["before"]
    assert files(workspace) == known["before_files"]
    left = [path.name for path in workspace.iterdir() if path.name.startswith((".upgrading", f".{DATABASE}"))]
    assert left == [], left


FAULT = Fault(
    "steps",
    "the operation is done or not, what was acknowledged is there, it opens and can be repeated",
    None,
    trial,
    seeds,
)
