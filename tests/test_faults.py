"""A share of the programme of faults; `python -m tests.faults` makes all of it."""

import json
from pathlib import Path

import pytest
from faults import FAULTS
from programs import run_module
from samples import all_but_few

SHARES = {
    "kill": 1,
    "states": 2,
    "syscall_kill": 1,
    "syscalls": 1,
    "disk": 1,
    "wal": 2,
    "bits": 3,
    "gc": 2,
    "sharing": 1,
}
FEW = ("states", "syscall_kill", "bits", "gc")
"""What shows most in little time: the states that kills leave, a killed call, a damaged file, a race."""
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


def try_share(folder: Path, name: str, trials: int | None) -> None:
    """Run so many trials of one fault, or all that there are; none may fail."""
    counts = folder / f"{name}.json"
    limit = () if trials is None else ("--trials", trials)
    run_module("tests.faults", "--only", name, "--counts", counts, *limit)
    found = json.loads(counts.read_text())[name]
    if "not_here" in found:
        pytest.skip(found["not_here"])
    assert (found["trials"], found["failures"]) == (trials or len(found["seeds"]), [])


def test_every_fault_has_a_share() -> None:
    assert tuple(LARGER) == FAULTS
    assert set(FAULTS) - set(SHARES) == {"steps"}, "states tries them in less time"


@pytest.mark.parametrize("name", all_but_few(SHARES, FEW))
def test_no_trial_of_a_fault_fails(tmp_path: Path, name: str) -> None:
    try_share(tmp_path, name, SHARES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_no_trial_of_a_larger_share_fails(tmp_path: Path, name: str) -> None:
    try_share(tmp_path, name, LARGER[name])
