"""Kill an upgrade at its first step, its second, ... until none is left; look at the workspace each time.

    python tests/kill_upgrade.py FOLDER

FOLDER has an old workspace `old` and what an upgrade that was left alone makes of it, `new`. Prints how many steps
there were.
"""

import hashlib
import json
import sys
from pathlib import Path

from kill import in_child, kill_at_every_step, rows

from nirs4all_store import WorkspaceStore, migrate, upgrade_workspace


def files(folder: Path) -> dict[str, str]:
    """Return the hash of every artifact."""
    found = sorted((folder / "artifacts").rglob("*.joblib"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


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


def main(base: Path) -> int:
    """Kill at every step; return how many there were."""
    folder = base / "killed"
    migrate.missing("0001")  # Imports here what every child would import.
    assert in_child(lambda: remember(base)) == 0
    return kill_at_every_step(base / "old", folder, lambda: upgrade_workspace(folder), lambda: look(base))


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
