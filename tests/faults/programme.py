"""What is common to all faults: trials by their seed, counts in a file, the table at the end."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Counts = dict[str, dict[str, Any]]


class Impossible(Exception):  # noqa: N818  # it is no error
    """This machine does not allow what a fault needs."""


@dataclass(frozen=True)
class Fault:
    """One row of the programme.

    Attributes
    ----------
    name, promise : str
    by_hand : int or None
        How many the whole programme has; None: all that there are.
    trial : callable
        Makes one in an empty folder from its seed; anything that it raises is a failure.
    seeds : callable
        Gives the seeds of so many trials, or of all; always the same ones.
    """

    name: str
    promise: str
    by_hand: int | None
    trial: Callable[[Path, str], object]
    seeds: Callable[[int | None], Sequence[str]] = lambda count: [str(number) for number in range(count or 0)]


def some_of(seeds: Sequence[str], count: int | None) -> Sequence[str]:
    """Return so many seeds from all over a list, or all of them."""
    if count is None or count >= len(seeds):
        return seeds
    return [seeds[number * len(seeds) // count] for number in range(count)]


@functools.cache
def scratch() -> Path:
    """Return the folder of this programme: of its templates, and of the trials that failed."""
    return Path(tempfile.mkdtemp(prefix="faults-"))


def tidy() -> None:
    """Remove the templates, and the folder of the programme if no trial has left anything."""
    for template in scratch().glob("template-*"):
        shutil.rmtree(template)
    with contextlib.suppress(OSError):
        scratch().rmdir()


def run(fault: Fault, seeds: Callable[[], Sequence[str]], counts: Counts, save: Callable[[], None]) -> None:
    """Make the trials that are not counted yet, and count them; `seeds` is asked where none was made."""
    if fault.name not in counts:
        counts[fault.name] = {"trials": 0, "failures": [], "seconds": 0.0, "seeds": list(seeds())}
    count = counts[fault.name]
    for seed in count["seeds"][count["trials"] :]:
        began = time.monotonic()
        try:
            failed = not passes(fault, seed)
        except Impossible as reason:
            count["not_here"] = str(reason)
            say(f"{fault.name}: cannot be tried here: {reason}")
            break
        count["trials"] += 1
        count["seconds"] = round(count["seconds"] + time.monotonic() - began, 2)
        count["failures"] += [seed] if failed else []
        save()


def passes(fault: Fault, seed: str) -> bool:
    """Make one trial; its folder is kept when it fails, and how to repeat it is printed."""
    folder = Path(tempfile.mkdtemp(prefix=f"{fault.name}-", dir=scratch()))
    try:
        fault.trial(folder, seed)
    except Impossible:
        shutil.rmtree(folder)
        raise
    except Exception:
        say(
            traceback.format_exc(),
            f"FAILED: {folder} has what is left of it; repeat it alone with",
            f"    python -m tests.faults --only {fault.name} --seed {seed!r}",
            "",
        )
        return False
    shutil.rmtree(folder)
    return True


def load(path: Path) -> Counts:
    """Return the counts of a file; none if there is no such file."""
    return json.loads(path.read_text()) if path.exists() else {}


def store(path: Path, counts: Counts) -> None:
    """Write the counts, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(counts, indent=1))
    new.replace(path)


def table(faults: Sequence[Fault], counts: Counts) -> list[str]:
    """Return the table of counts, in Markdown."""
    lines = ["| fault | trials | failures | what must hold |", "|---|---:|---:|---|"]
    for fault in faults:
        count = counts.get(fault.name)
        if count is not None:
            trials = "not possible here" if "not_here" in count else f"{count['trials']:,} of {len(count['seeds']):,}"
            lines.append(f"| {fault.name} | {trials} | {len(count['failures'])} | {fault.promise} |")
    return lines


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
