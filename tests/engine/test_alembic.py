"""Alembic's own command line: what it may do with an installed package, and in a checkout."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nirs4all_store import SystemRefusedError, WorkspaceStore, inspect_workspace
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.engine.duckdb.upgrade import plan_upgrade

ROOT = Path(__file__).parents[2]
STRAY = "revision = 'stray'\ndown_revision = '0002'\nraise SystemExit('a stray file was run')\n"
# Each command has a process of its own; that they are forked saves the time of importing.
PROGRAM = """
import json, os, sys
from alembic.config import main
import nirs4all_store.cli
for words in json.loads(sys.stdin.read()):
    print("\\0", end="", flush=True)
    pid = os.fork()
    if pid == 0:
        try:
            main(words)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException as error:
            print(repr(error))
            code = 99
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code % 256)
    print("\\1", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Give a package as the wheel installs it."""
    package = tmp_path / "site" / "nirs4all_store"
    shutil.copytree(ROOT / "nirs4all_store", package)  # With what was compiled, which takes longer than all commands.
    shutil.copytree(ROOT / "migrations", package / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "migrations" / "installed.ini", package / "alembic.ini")
    return package


def alembic(package: Path, *commands: str) -> list[tuple[str, int]]:
    """Return what each command prints with the configuration of an installed package, and its exit code."""
    workspace = package.parents[1] / "w"
    lines = [["-c", str(package / "alembic.ini"), "-x", f"workspace={workspace}", *line.split()] for line in commands]
    environment = {
        **os.environ,
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "EDITOR": str(package.parents[1] / "editor"),
    }
    done: Any = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(lines),
        cwd=package.parents[1],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    told = [part.partition("\1") for part in done.stdout.split("\0")[1:]]
    return [(text, int(code)) for text, _, code in told]


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_commands_of_alembic_once_wrote_into_the_installed_package(installed: Path) -> None:
    editor = installed.parents[1] / "editor"
    editor.write_text('#!/bin/sh\necho "# edited" >> "$1"\n')
    editor.chmod(0o755)
    WorkspaceStore(installed.parents[1] / "w").close()
    before = content(installed)
    refused = (
        "revision -m notes",
        "revision --autogenerate -m notes",
        "merge -m both 0003 0004",
        "merge heads",
        "edit head",
        "edit 0002",
        "stamp head",
        "downgrade base",
        "downgrade -1",
        "branches",
        "ensure_version",
    )
    for line, (told, code) in zip(refused, alembic(installed, *refused), strict=True):
        assert "it would change the installed package, and nothing was changed; here upgrade, current" in told, line
        assert code != 0
    works = ("upgrade head", "current", "history", "heads", "check", "show head", "show 0002")
    found = dict(zip(works, alembic(installed, *works), strict=True))
    assert [code for _, code in found.values()] == [0] * len(works), found
    assert found["current"][0].strip() == migrator.HEAD
    assert found["heads"][0].strip() == f"{migrator.HEAD} (head)"
    assert "No new upgrade operations detected" in found["check"][0]
    assert "There was nothing to do" in found["upgrade head"][0]
    assert content(installed) == before


def test_a_stray_file_among_the_installed_revisions_once_kept_every_workspace_from_being_made(
    installed: Path,
) -> None:
    for name in ("9999_mine.py", "0005_notes.py", "notes.py", "0003_trust copy.py"):
        (installed / "migrations" / "versions" / name).write_text(STRAY)
    program = "import nirs4all_store; nirs4all_store.WorkspaceStore('w').close(); print(nirs4all_store.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed.parent)}
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=installed.parents[1], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(installed / "__init__.py")
    assert inspect_workspace(installed.parents[1] / "w").revision == migrator.HEAD
    for told, code in alembic(installed, "history", "upgrade head"):
        assert "is what is none of them; remove" in told
        assert "9999_mine.py" in told
        assert code != 0


def test_a_stray_file_is_none_of_the_steps_of_an_upgrade(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old / "migrations"
    shutil.copytree(migrator.script_folder(), folder)
    (folder / "versions" / "0005_notes.py").write_text(STRAY)
    monkeypatch.setattr(migrator, "script_folder", lambda: folder)
    assert [step for step, _ in plan_upgrade(old / "store.duckdb").steps] == [
        name[:4] for name in migrator.REVISIONS[1:]
    ]


def test_a_migration_that_could_not_be_found_was_an_error_without_a_name(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    # Without what is compiled: Alembic takes that where the file itself is missing.
    shutil.copytree(migrator.script_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    missing = folder / "versions" / f"{migrator.REVISIONS[1]}.py"
    missing.unlink()
    monkeypatch.setattr(migrator, "script_folder", lambda: folder)
    with pytest.raises(SystemRefusedError, match=missing.name):
        plan_upgrade(old / "store.duckdb")


def test_the_list_of_revisions_is_what_lies_in_the_folder() -> None:
    found = (migrator.script_folder() / "versions").glob("*.py")
    assert tuple(sorted(path.stem for path in found)) == migrator.REVISIONS


def test_a_checkout_still_makes_a_revision_from_the_template(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    shutil.copyfile(ROOT / "alembic.ini", tmp_path / "alembic.ini")
    program = Path(sys.executable).with_name("alembic")
    following = f"{int(migrator.HEAD) + 1:04}"
    line = [program, "revision", "-m", "notes on predictions", "--rev-id", following]
    subprocess.run(line, cwd=tmp_path, capture_output=True, check=True)
    made = (tmp_path / "migrations" / "versions" / f"{following}_notes_on_predictions.py").read_text()
    assert f'down_revision = "{migrator.HEAD}"' in made
    assert "House rules" in made
