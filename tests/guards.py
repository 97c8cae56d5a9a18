"""Remove each guard of `guards.toml` and see that its test fails: `python -m tests.guards`, or `... NAME NAME`.

A guard is code that an undisturbed program does not need: it stands there for a fault. Each entry says where it stands
(`place`, and the lines themselves: `code`), what is left when it is gone (`without`), the `fault` it was made for, and
the `test` that fails without it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
SECONDS = 300  # A test that goes on longer hangs, where it does not without the change.


@dataclass(frozen=True)
class Guard:
    """One guard: its name, the file and the lines where it stands, what replaces them, its fault and its test."""

    name: str
    place: str
    code: str
    fault: str
    test: str
    without: str = ""


def read_guards() -> list[Guard]:
    """Return the guards, in the order of the file."""
    return [
        Guard(name, **entry)
        for file in sorted((ROOT / "tests").glob("guards*.toml"))
        for name, entry in tomllib.loads(file.read_text("utf-8")).items()
    ]


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need, and nothing that was made by running them."""
    made = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    return Path(shutil.copytree(ROOT, folder, ignore=made))


def run_tests(tree: Path, *tests: str, seconds: float | None = SECONDS) -> tuple[int | None, str]:
    """Run tests of a tree with its package; return pytest's exit code, or None where they hang, and its output."""
    # No compiled file is written: two changes within one second would not be told apart by it.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def verdict_of(guard: Guard, tree: Path) -> str:
    """Say whether the guard's test fails without the guard: "caught", or what is wrong."""
    file = tree / guard.place
    source = file.read_text("utf-8")
    if source.count(guard.code) != 1:
        return f"its code stands {source.count(guard.code)} times in {guard.place}"
    file.write_text(source.replace(guard.code, guard.without), "utf-8")
    try:
        gone, _ = run_tests(tree, guard.test)
    finally:
        file.write_text(source, "utf-8")
    return "caught" if gone in (1, None) else f"NOT CAUGHT: without it, pytest ended with {gone}"


def main() -> int:
    """Try the guards that are named, or all; return how many were not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="guards to try; all without a name")
    parser.add_argument("--jobs", type=int, default=1, help="how many are tried at a time, each in a copy")
    options = parser.parse_args()
    guards = [guard for guard in read_guards() if not options.names or guard.name in options.names]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            trees.put(tree := copy_tree(Path(folder) / f"tree{number}"))
        Path(folder).chmod(0o755)  # Some tests become another user, who must find the package, too.
        ended, output = run_tests(tree, *dict.fromkeys(guard.test for guard in guards), seconds=None)
        if ended != 0:
            print(f"{output}\nwith all guards in their places, pytest ended with {ended}: mend that first")
            return len(guards)

        def try_guard(guard: Guard) -> str:
            tree = trees.get()
            try:
                return verdict_of(guard, tree)
            finally:
                trees.put(tree)

        failed = 0
        for guard, verdict in zip(guards, pool.map(try_guard, guards), strict=True):
            failed += verdict != "caught"
            print(f"{guard.name}: {verdict}", flush=True)
    print(f"{len(guards) - failed} of {len(guards)} caught")
    return failed


if __name__ == "__main__":
    sys.exit(main())
