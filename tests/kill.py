"""Kill a piece of work at its first step, its second, ... until none is left; look at the workspace each time.

A step is an SQL statement, an opening of a database, a file operation or a named point.
"""

import itertools
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import event
from sqlalchemy.engine import Engine

from nirs4all_store import duckdb_files, points

FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
KILLED = 9


def rows(path: Path) -> dict[str, str]:
    """Return every row of a database file, without changing it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        # As text, since a NaN does not equal itself.
        return {name: repr(connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()) for name in names}


def die_at(step: int, folder: Path, start: points.Point | None) -> None:
    """Let this process end at its n-th step that has to do with a folder, counted from a point on."""
    steps = itertools.count(1)
    has_begun = start is None

    def count() -> None:
        if has_begun and next(steps) == step:
            os._exit(KILLED)

    def on_reached(point: points.Point) -> None:
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
    points.on_reached = on_reached
    os.fsync = counted(os.fsync)
    duckdb.connect = counted(duckdb.connect)
    duckdb_files.Comparison._all = counted(duckdb_files.Comparison._all)


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child; return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_every_step(
    origin: Path,
    folder: Path,
    work: Callable[[], object],
    look: Callable[[], object],
    start: points.Point | None = None,
) -> int:
    """Kill work on a fresh copy of a workspace at every step; return how many there were.

    Parameters
    ----------
    origin : Path
        The workspace.
    folder : Path
        Where the copy is made for each time.
    work : callable
        What is killed.
    look : callable
        Fails if the workspace is not as it must be.
    start : Point, optional
        Only from here on.
    """

    def work_and_die(step: int) -> None:
        die_at(step, folder, start)
        work()

    for step in itertools.count(1):
        shutil.copytree(origin, folder)
        code = in_child(lambda: work_and_die(step))  # noqa: B023  # it has run when the next one begins
        if in_child(look) or code not in (0, KILLED):
            raise SystemExit(f"killed at step {step}: exit code {code}")
        shutil.rmtree(folder)
        if code == 0:
            return step - 1
    raise AssertionError
