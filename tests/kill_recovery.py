"""Kill a recovery at its first step, its second, ... until none is left; look at the workspace each time.

    python tests/kill_recovery.py FOLDER EVERY [POINT]

FOLDER has a workspace with a damaged log, `damaged`, and what a recovery that was left alone makes of it, `new`. With
the name of a point, only the steps after it are tried. EVERY is 1 for each step, 2 for each second one. Prints how many
steps there were.
"""

import itertools
import json
import shutil
import sys
from pathlib import Path

import pyarrow  # noqa: F401  # once, for every child
from faults.processes import Child, in_new_process
from faults.steps import KILLED, die_at, rows
from legacy import contents

from nirs4all_store import WorkspaceStore, failpoints, recover_workspace
from nirs4all_store.engine.duckdb import recovery
from nirs4all_store.storage import unit_of_work  # noqa: F401  # for forks


def look(base: Path) -> None:
    """Make sure that all is as it was, or recovered; that a second recovery ends the work; that the store opens."""
    new = json.loads((base / "rows.json").read_text())
    old, folder = contents(base / "damaged"), base / "killed"
    now = contents(folder)
    recovered = contents(base / "new")
    database = [{name: of[name] for name in ("store.duckdb", "store.duckdb.wal")} for of in (old, recovered, now)]
    assert database[2] in database[:2], "something between"
    if database[2] == database[1]:
        assert now["store.duckdb.before-recovery"] == old["store.duckdb"]
        assert now["store.duckdb.before-recovery.wal"] == old["store.duckdb.wal"]
    recover_workspace(folder)
    assert contents(folder) == recovered
    assert rows(folder / "store.duckdb") == new
    WorkspaceStore(folder, read_only=True).close()  # One for writing marks the run whose process is gone.
    assert rows(folder / "store.duckdb") == new


def main(base: Path, every: int, start: failpoints.Failpoint | None) -> int:
    """Kill at every step, or every second, or third; return how many there were."""
    folder = base / "killed"
    in_new_process(lambda: (base / "rows.json").write_text(json.dumps(rows(base / "new" / "store.duckdb"))))

    def work(step: int) -> None:
        die_at(step, folder, start)
        recovery.recover_database(folder / "store.duckdb", dry_run=False)  # The check that follows only reads.

    for step in itertools.count(1, every):
        shutil.copytree(base / "damaged", folder)
        child = Child(lambda child: work(step))  # noqa: B023  # it has run when the next one begins
        heard, code = child.hear(), child.end()
        child.close()
        if code not in (0, KILLED):
            raise SystemExit(f"killed at step {step}: exit code {code}, {heard}")
        in_new_process(lambda: look(base))
        shutil.rmtree(folder)
        if code == 0:
            return step - 1
    raise AssertionError


if __name__ == "__main__":
    folder, every, *point = sys.argv[1:]
    sys.stdout.write(f"{main(Path(folder), int(every), failpoints.Failpoint[point[0]] if point else None)}\n")
