"""Print the table: `python -m tests.benchmarks [--rows 1 2] [--predictions 1000000] [--curve] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb

from .cases import Result, measure, table
from .suite import CASES, CURVE, SIZES
from .world import OneSize, Worlds

MANY = 1_000_000


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=CASES, default=list(CASES), help="which rows; all by default")
    parser.add_argument("--predictions", type=int, default=MANY, help="how many the large workspaces have")
    parser.add_argument("--curve", action="store_true", help=f"rows {', '.join(CURVE)} at {SIZES} predictions instead")
    parser.add_argument("--json", type=Path, help="also write the medians to this file")
    given = parser.parse_args()
    if given.curve:
        found = {size: run(OneSize, size, CURVE) for size in SIZES}
    else:
        found = {given.predictions: run(Worlds, given.predictions, given.rows)}
    say("", machine(), to=sys.stdout)
    for size, results in found.items():
        say("", f"{size:,} predictions", "", *table(results), to=sys.stdout)
    if given.json:
        rows = [{"predictions": size} | result.as_dict() for size, results in found.items() for result in results]
        given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))


def run(kind: type[Worlds], predictions: int, rows: Sequence[str]) -> list[Result]:
    """Measure rows of the table."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        worlds = kind(Path(folder), predictions)
        try:
            for number in rows:
                results.append(measure(CASES[number](worlds)))
                say(f"{number}: {results[-1].store_ms:,.2f} ms, ratio {results[-1].ratio or 0:.2f}")
        finally:
            worlds.close()
    return results


def machine() -> str:
    """Name the machine and what it runs."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, duckdb {duckdb.__version__}"


def say(*lines: str, to: object = None) -> None:
    """Print lines; by default where they do not get into the table."""
    print(*lines, sep="\n", file=to or sys.stderr, flush=True)


if __name__ == "__main__":
    main()
