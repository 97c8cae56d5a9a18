"""What `pyproject.toml` says works: the oldest versions that it allows, every Python, whatever installs it."""

import functools
import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from test_wheel import build_wheel, run

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SAID = {name.rsplit(" ", 1)[1] for name in PROJECT["classifiers"] if ":: Python :: 3." in name}
MINORS = range(11, 30)
# The contract, and each way in: the command line and the runner (the demo, too), exports, migrations, formats.
TRIED = [
    ROOT / "tests" / f"{name}.py"
    for name in (
        "test_contract",
        "test_stateful",
        "cli/test_demo",
        "cli/test_cli",
        "chains/test_loader",
        "exchange/test_exports",
        "engine/test_migrator",
        "artifacts/test_codecs",
    )
]


def test_what_is_tried_elsewhere_is_here() -> None:
    assert [test for test in TRIED if not test.is_file()] == []


@functools.cache
def pythons() -> dict[str, str]:
    """Return a program of each Python from 3.11 on that can be started here, by its version, the oldest first."""
    found = {}
    for minor in MINORS:
        for folder in (None, *map(str, (Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin"))):
            program = shutil.which(f"python3.{minor}", path=folder)
            ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
            if program and subprocess.run([program, "-c", ask], capture_output=True, check=False).returncode == 0:
                found[f"3.{minor}"] = program
                break
    return found


def oldest() -> list[str]:
    """Return each version that is given as the least, as the only one."""
    wanted = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    return [one.replace(">=", "==") for one in wanted if ">=" in one]


def tries_the_wheel(folder: Path, python: str, *options: str | Path, warnings: tuple[str, ...] = ()) -> None:
    """Install the wheel and what tests need with pip, and let the contract and the rest of `TRIED` run on it."""
    run(python, "-m", "venv", folder / "env", folder=folder)
    inside = folder / "env" / "bin" / "python"
    wheel = build_wheel(folder)
    run(inside, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[test]", *options, folder=folder)
    # By its own name pytest leaves the current folder, and so this checkout, out of where modules are looked for.
    pytest_itself = (folder / "env" / "bin" / "pytest", "-q", "-p", "no:cacheprovider")
    printed = run(*pytest_itself, *(f"-W{one}" for one in warnings), *TRIED, folder=folder)
    assert " passed" in printed
    assert "site-packages" in run(inside, "-c", "import nirs4all_store as n; print(n.__file__)", folder=folder)


@pytest.mark.slow
def test_the_oldest_versions_could_not_be_installed_together_and_made_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "oldest.txt").write_text("\n".join(oldest()))
    python = next(iter(pythons().values()))
    # Old packages warn of the newer ones that they need and that have no upper bound.
    tries_the_wheel(tmp_path, python, "-c", tmp_path / "oldest.txt", warnings=("ignore::DeprecationWarning",))


@pytest.mark.slow
@pytest.mark.parametrize("version", [f"3.{minor}" for minor in MINORS])
def test_the_contract_holds_on_every_python_that_is_here(version: str, tmp_path: Path) -> None:
    if version not in pythons():
        pytest.skip("it is not here")
    tries_the_wheel(tmp_path, pythons()[version])
    assert version in SAID, f"it works with Python {version}: add its classifier"


def test_a_first_import_once_failed_where_the_installer_had_compiled_nothing() -> None:
    spec = importlib.util.find_spec("chemotools")
    assert spec is not None
    assert spec.origin is not None
    for file in Path(spec.origin).parent.rglob("*.py"):
        compile(file.read_bytes(), str(file), "exec")


def test_an_escape_that_python_does_not_know_stays_an_error_in_our_own_code() -> None:
    with pytest.raises(SyntaxError, match="invalid escape sequence"):
        compile(r"'\s'", str(ROOT / "nirs4all_store" / "store.py"), "exec")


def test_the_pythons_that_are_said_to_work_begin_with_the_one_that_is_required() -> None:
    (least,) = re.findall(r">=(3\.\d+)", PROJECT["requires-python"])
    assert min(SAID, key=lambda version: int(version.split(".")[1])) == least
