"""Kill an upgrade at its first step, its second, ... until none is left; look at the workspace each time.

    python tests/kill_upgrade.py FOLDER

FOLDER has an old workspace `old` and what an upgrade that was left alone makes of it, `new`. A step is an SQL
statement, an opening of a database, a file operation or a named point. Prints how many steps there were.
"""

import hashlib
import itertools
import json
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

from nirs4all_store import WorkspaceStore, duckdb_files, migrate, points, upgrade_workspace

FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}
KILLED = 9


def rows(path: Path) -> dict[str, str]:
    """Return every row of a database file, without changing it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        # As text, since a NaN does not equal itself.
        return {name: repr(connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()) for name in names}


def files(folder: Path) -> dict[str, str]:
    """Return the hash of every artifact."""
    found = sorted((folder / "artifacts").rglob("*.joblib"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def die_at(step: int, folder: Path) -> None:
    """Let this process end at its n-th step that has to do with a folder."""
    steps = itertools.count(1)

    def count() -> None:
        if next(steps) == step:
            os._exit(KILLED)

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
    points.on_reached = lambda point: count()
    os.fsync = counted(os.fsync)
    duckdb.connect = counted(duckdb.connect)
    duckdb_files.Comparison._all = counted(duckdb_files.Comparison._all)


def remember(base: Path) -> None:
    """Write down what is in the old workspace and in the new one."""
    contents = [rows(base / name / "store.duckdb") for name in ("old", "new")]
    (base / "contents.json").write_text(json.dumps([*contents, files(base / "old")]))


def look(base: Path) -> None:
    """Make sure that the workspace is the old one or the new one, and that the next opening upgrades it."""
    old, new, old_files = json.loads((base / "contents.json").read_text())
    folder = base / "killed"
    assert rows(folder / "store.duckdb") in (old, new), "something between"
    WorkspaceStore(folder, upgrade=True).close()
    assert rows(folder / "store.duckdb") == new
    assert rows(folder / "store.duckdb.before-0001") == old
    assert files(folder) == old_files
    left = [path.name for path in folder.iterdir() if path.name.startswith((".upgrading", ".store.duckdb"))]
    assert left == [], left


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


def die_and_upgrade(step: int, folder: Path) -> None:
    die_at(step, folder)
    upgrade_workspace(folder)


def main(base: Path) -> int:
    """Kill at every step; return how many there were."""
    folder = base / "killed"
    migrate.missing("0001")  # Imports here what every child would import.
    assert in_child(lambda: remember(base)) == 0
    for step in itertools.count(1):
        shutil.copytree(base / "old", folder)
        code = in_child(lambda: die_and_upgrade(step, folder))  # noqa: B023  # it has run when the next one begins
        if in_child(lambda: look(base)) or code not in (0, KILLED):
            raise SystemExit(f"killed at step {step}: exit code {code}")
        shutil.rmtree(folder)
        if code == 0:
            return step - 1
    raise AssertionError


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
