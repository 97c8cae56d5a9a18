"""The wheel carries all it needs and works from any folder, in an environment of its own."""

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from legacy import make_legacy
from packaging.requirements import Requirement
from typer.testing import CliRunner

from nirs4all_store.cli import app
from nirs4all_store.engine.duckdb.migrator import HEAD

ROOT = Path(__file__).parents[1]
PROGRAM = """
import pathlib, nirs4all_store
assert "site-packages" in nirs4all_store.__file__, nirs4all_store.__file__
with nirs4all_store.WorkspaceStore("workspace") as store:
    run_id = store.begin_run("from the wheel")
with nirs4all_store.WorkspaceStore("workspace", read_only=True) as store:
    assert store.get_run(run_id)["name"] == "from the wheel"
print(sorted(path.name for path in pathlib.Path("workspace").iterdir()))
"""


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into a folder."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel in a new environment, which has what it says that it needs and nothing else; return its Python.

    What it needs is linked from where it is already: to install it anew takes longer than all else here.
    """
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-compile", "--no-deps", wheel, folder=folder)
    (packages,) = (folder / "env" / "lib").glob("*/site-packages")
    (installed,) = distributions(path=[str(packages)])
    needed = {str(one.locate_file(part)) for one in needed_by(installed, set()) for part in top_of(one)}
    for path in map(Path, needed):
        (packages / path.name).symlink_to(path)
    run(*pip, "check", folder=folder)
    return python


def needed_by(package: Distribution, seen: set[str]) -> Iterator[Distribution]:
    """Yield what a package needs without its extras, and what that needs in turn, all as it is installed here."""
    for needed in map(Requirement, package.requires or []):
        if needed.name not in seen and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            seen.add(needed.name)
            found = distribution(needed.name)
            yield found
            yield from needed_by(found, seen)


def top_of(package: Distribution) -> set[str]:
    """Return the files and folders that stand beside other packages' own; not the programs."""
    return {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}


@pytest.mark.published
def test_a_fresh_environment_creates_a_workspace_with_the_wheel(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"nirs4all_store/py.typed", "nirs4all_store/migrations/env.py", "nirs4all_store/alembic.ini"} <= names
    assert not {name for name in names if name.startswith(("tests/", "migrations/"))}
    ini = zipfile.ZipFile(wheel).read("nirs4all_store/alembic.ini").decode()
    assert "script_location = nirs4all_store.migrations:" in ini, "the one that refuses to change the package"
    python = install(wheel, tmp_path)
    printed = run(python, "-W", "error", "-c", PROGRAM, folder=tmp_path)
    assert printed.strip() == "['.store.lock', 'artifacts', 'store.duckdb']"
    upgrade_with_it(tmp_path)


def upgrade_with_it(folder: Path) -> None:
    """Upgrade old workspaces with nothing but the wheel installed, from a folder of the user's own."""
    for name in ("by-command", "by-alembic"):
        make_legacy(folder / name, "0.7.1")
    programs = folder / "env" / "bin"
    printed = run(programs / "nirs4all-store", "upgrade", "by-command", folder=folder)
    assert f"Upgraded to revision {HEAD}" in printed
    ini = run(programs / "nirs4all-store", "alembic-ini", folder=folder).strip()
    assert "site-packages" in ini
    printed = run(
        programs / "python", "-m", "alembic", "-c", ini, "-x", "workspace=by-alembic", "upgrade", "head", folder=folder
    )
    assert f"Upgraded to revision {HEAD}" in printed
    for name in ("by-command", "by-alembic"):
        assert f"revision   {HEAD}\n" in CliRunner().invoke(app, ["info", str(folder / name)]).output
