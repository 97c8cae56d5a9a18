"""A share of the programme of faults; `python -m tests.faults` makes all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS

ROOT = Path(__file__).parents[1]

SHARES = {
    "kill": 10,
    "states": 12,
    "syscall_kill": 6,
    "syscalls": 6,
    "disk": 1,
    "wal": 12,
    "bits": 24,
    "gc": 6,
    "sharing": 2,
}
LARGER = {
    "kill": 200,
    "steps": 400,
    "states": None,  # All that the steps of all operations leave behind.
    "syscall_kill": 100,
    "syscalls": 100,
    "disk": 10,
    "wal": 200,
    "bits": 400,
    "gc": 200,
    "sharing": 30,
}
SECONDS = 1800


def try_share(folder: Path, name: str, trials: int | None) -> None:
    """Run so many trials of one fault, or all that there are; none may fail."""
    counts = folder / f"{name}.json"
    command = [sys.executable, "-m", "tests.faults", "--only", name, "--counts", str(counts)]
    if trials is not None:
        command += ["--trials", str(trials)]
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout
    found = json.loads(counts.read_text())[name]
    if "not_here" in found:
        pytest.skip(found["not_here"])
    assert (found["trials"], found["failures"]) == (trials or len(found["seeds"]), [])


def test_every_fault_has_a_share() -> None:
    assert tuple(LARGER) == FAULTS
    assert set(FAULTS) - set(SHARES) == {"steps"}, "states tries them in less time"


@pytest.mark.parametrize("name", SHARES)
def test_no_trial_of_a_fault_fails(tmp_path: Path, name: str) -> None:
    try_share(tmp_path, name, SHARES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_no_trial_of_a_larger_share_fails(tmp_path: Path, name: str) -> None:
    try_share(tmp_path, name, LARGER[name])
