"""What processes that share a workspace get: `python -m tests.benchmarks.sharing [PROCESSES ...] [--seconds N]`.

Each keeps one store open and saves runs, a call each, as fast as it can. Shown are the calls of all of them a second,
what that is beside one process alone in the same run, and the longest that any call took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from nirs4all_store import WorkspaceStore

PROGRAM = """
import json, sys, time, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
store.begin_run("warm")
print("ready", flush=True)
sys.stdin.readline()
longest, count, end = 0.0, 0, time.monotonic() + float(sys.argv[2])
while (began := time.monotonic()) < end:
    store.begin_run("r")
    longest = max(longest, time.monotonic() - began)
    count += 1
store.close()
print(json.dumps([count, longest]), flush=True)
"""


def measure(processes: int, seconds: float) -> tuple[float, float]:
    """Return how many calls a second so many processes made, and how long the longest took, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, folder, str(seconds)]
        started = [
            subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(processes)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        results = []
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in started:
            results.append(json.loads(process.communicate()[0]))
        counts, waits = zip(*results, strict=True)
        with WorkspaceStore(Path(folder), read_only=True) as store:
            assert store.sql("SELECT count(*) AS n FROM runs")["n"].item() == sum(counts) + processes
    return sum(counts) / seconds, max(waits)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sharing", description=__doc__)
    parser.add_argument("processes", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they work")
    given = parser.parse_args()
    alone, _ = measure(1, given.seconds)
    sys.stdout.write("| processes | calls a second, all together | beside one alone | longest call, s |\n")
    sys.stdout.write("|---:|---:|---:|---:|\n")
    for processes in given.processes:
        rate, longest = measure(processes, given.seconds)
        sys.stdout.write(f"| {processes} | {rate:,.0f} | {rate / alone:.0%} | {longest:.2f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
