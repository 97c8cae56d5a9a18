"""A share of the programme of faults; `python -m tests.faults` makes all of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import FAULTS

ROOT = Path(__file__).parents[1]
Process = subprocess.Popen[str]

SHARES = {"kill": 20, "steps": 20, "syscalls": 12, "disk": 1, "wal": 30, "bits": 40, "gc": 20, "sharing": 3}
LARGER = {
    "kill": 200,
    "steps": 400,
    "syscall_kill": 100,
    "syscalls": 100,
    "disk": 10,
    "wal": 200,
    "bits": 400,
    "gc": 200,
    "sharing": 30,
}
SECONDS = 1800


def start(folder: Path, name: str, trials: int) -> Process:
    command = [sys.executable, "-m", "tests.faults", "--only", name, "--trials", str(trials)]
    return subprocess.Popen(
        [*command, "--counts", str(folder / f"{name}.json")], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: Process, counts: Path, name: str, trials: int) -> None:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    found = json.loads(counts.read_text())[name]
    if "not_here" in found:
        pytest.skip(found["not_here"])
    assert (found["trials"], found["failures"]) == (trials, [])


@pytest.fixture(scope="module")
def programmes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Process]]]:
    """Give the programmes of all faults: together they need half as long as one after the other."""
    folder = tmp_path_factory.mktemp("faults")
    started = {name: start(folder, name, trials) for name, trials in SHARES.items()}
    yield folder, started
    for process in started.values():
        process.kill()
        process.communicate()


def test_every_fault_has_a_share() -> None:
    assert tuple(LARGER) == FAULTS
    assert set(FAULTS) - set(SHARES) == {"syscall_kill"}, "counting the calls of every operation takes too long"


@pytest.mark.parametrize("name", SHARES)
def test_no_trial_of_a_fault_fails(programmes: tuple[Path, dict[str, Process]], name: str) -> None:
    folder, started = programmes
    finish(started[name], folder / f"{name}.json", name, SHARES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_no_trial_of_a_larger_share_fails(tmp_path: Path, name: str) -> None:
    finish(start(tmp_path, name, LARGER[name]), tmp_path / f"{name}.json", name, LARGER[name])
