"""A process ends at each step of an operation before which something has changed on the disk.

At the other steps it would leave the same bytes behind as at the step before, and who looks would see the same: with an
eighth of the trials, this tries every step that `steps` has.
"""

from __future__ import annotations

from collections.abc import Sequence

from .operations import OPERATIONS
from .programme import Fault, some_of
from .steps import measured, trial


def seeds(count: int | None) -> Sequence[str]:
    """Return the first step of each state, `operation:number`; a few, of as few operations."""
    found = []
    for name in some_of([*OPERATIONS], count):
        states = measured(name)["states"]
        found += [f"{name}:{step}" for step, state in enumerate(states, 1) if step == 1 or state != states[step - 2]]
    return some_of(found, count)


FAULT = Fault("states", "as for steps", None, trial, seeds)
