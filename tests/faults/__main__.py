"""Try the faults: `python -m tests.faults [--trials N] [--only NAME] [--seed SEED] [--resume]`."""

from __future__ import annotations

import argparse
import gc
import importlib
import warnings
from functools import partial
from pathlib import Path

from zygote import warm_up

from . import FAULTS, content
from .programme import Fault, load, passes, run, say, store, table, tidy


def main() -> int:
    """Try what is asked for; return 1 if anything failed, now or in what is resumed."""
    warnings.simplefilter("default")  # What is told and not raised is no failure, also under -W error.
    warm_up()
    for number in range(content.CONTENTS):
        content.model(number).predict(content.X)
    gc.freeze()  # A collection in a child need not look at, and so copy, what is here.
    faults = {name: importlib.import_module(f".{name}", __package__).FAULT for name in FAULTS}
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--trials", type=int, help="how many of each fault; by default the whole programme")
    parser.add_argument("--only", choices=FAULTS, help="one fault")
    parser.add_argument("--seed", help="repeat one trial; or all whose seed begins with this and a colon")
    parser.add_argument("--resume", action="store_true", help="go on with the counts of the file")
    parser.add_argument("--counts", type=Path, default=Path("faults.json"), help="the file of counts")
    given = parser.parse_args()
    chosen = [faults[given.only]] if given.only else list(faults.values())
    if given.seed is not None:
        return repeat(chosen[0], given.seed)
    counts = load(given.counts) if given.resume else {}
    for fault in chosen:
        wanted = fault.by_hand if given.trials is None else given.trials
        run(fault, partial(fault.seeds, wanted), counts, lambda: store(given.counts, counts))
    say(*table(list(faults.values()), counts))
    store(given.counts, counts)
    tidy()
    return int(any(count["failures"] for count in counts.values()))


def repeat(fault: Fault, seed: str) -> int:
    """Make the trials of one seed, or of the seeds that begin with it."""
    seeds = [name for name in fault.seeds(None) if name.startswith(f"{seed}:")] or [seed]
    failed = [name for name in seeds if not passes(fault, name)]
    say(f"{len(seeds)} trials, {len(failed)} failures")
    tidy()
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
