"""nirs4all's own tests of its storage, on our store: by hand, with `-m checkout`; CONTRIBUTING says what they need."""

import os
import shutil
import tomllib
from pathlib import Path

import pytest
from test_nirs4all import OURS
from test_wheel import build_wheel, run

HERE = Path(__file__).parent
TABLE = tomllib.loads((HERE / "nirs4all_checkout.toml").read_text())
RUN_PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))\n"
OPTIONS = ("-q", "-c", "pytest.ini", "--rootdir", ".", "-p", "no:cacheprovider")


def named(part: str, version: str) -> list[str]:
    """Return the tests that a part of the table names for a version."""
    return [name for entry in TABLE[part] if version in entry["versions"] for name in entry["tests"]]


@pytest.mark.checkout
@pytest.mark.parametrize("version", ["1.4.10", "0.7.1"])
def test_its_own_tests_of_its_storage_pass_on_ours(tmp_path: Path, version: str) -> None:
    checkouts = Path(os.environ["NIRS4ALL_CHECKOUT"])
    run("python3", "-m", "venv", tmp_path / "env", folder=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    needed = [f"nirs4all=={version}", "pytest", "matplotlib", build_wheel(tmp_path)]
    run(python, "-m", "pip", "install", "-q", *needed, folder=tmp_path)
    # Without the package beside them, which would be imported in the place of what is installed.
    shutil.copytree(checkouts / version / "tests", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "run_pytest.py").write_text(RUN_PYTEST)
    on_ours = (python, *OURS, "run_pytest.py", *OPTIONS)
    tests, left_out = named("run", version), named("left_out", version)
    found = run(*on_ours, "--collect-only", *tests, folder=tmp_path).splitlines()
    assert [name for name in left_out if not any(line.startswith(name) for line in found)] == []
    run(*on_ours, *(f"--deselect={name}" for name in left_out), *tests, folder=tmp_path)


def test_each_test_that_is_left_out_has_a_reason() -> None:
    left = TABLE["left_out"] + TABLE["not_run"]
    assert [entry["tests"] for entry in left if not entry["why"].endswith(".")] == []
    for version in ("1.4.10", "0.7.1"):
        run_files = {name.partition("::")[0] for name in named("run", version)}
        assert {name.partition("::")[0] for name in named("left_out", version)} <= run_files
