"""How far the clock was put forward since the machine was started: what is dated by it seems older by as much.

A date alone cannot tell. So whoever holds a workspace keeps in its lock file the least by which the clock was ever
ahead of the steady one, which counts from the machine's start and which nobody sets. By as much as it is further ahead
now, it was put forward since.

See docs/decisions/0018.
"""

from __future__ import annotations

import time
from datetime import UTC, timedelta
from functools import cache
from typing import Any

from ..identifiers import utc_now
from ..storage import this_process

# Beside that of this start, there may be some of containers, whose steady clocks are shifted against each other's.
MOST_STARTS = 8
# By less than that the two clocks differ from one look to the next.
SECONDS_OF_A_STEP = 1.0
Record = dict[str, float]
"""The least that the clock was ahead, in seconds, by start of a machine and namespace of its clocks."""


@cache
def _start() -> str:
    here = this_process()
    return f"{here['boot']} {here['time_namespace']}"


def _ahead() -> float:
    """Return by how many seconds the clock is ahead of the steady one; 0 where the system has none that is known."""
    if not _start().strip() or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return utc_now().replace(tzinfo=UTC).timestamp() - time.clock_gettime(time.CLOCK_BOOTTIME)


def updated_record(record: Any) -> Record:
    """Return a record, as a file or nobody has it, with what the clocks show now in it."""
    known = record.items() if isinstance(record, dict) else ()
    found = {start: least for start, least in known if type(least) is float}
    least = min(_ahead(), found.pop(_start(), _ahead()))
    return {**dict([*found.items()][1 - MOST_STARTS :]), _start(): least}


def was_put_back(record: Record) -> bool:
    """Tell whether the clock was put back since a record was made."""
    return _ahead() < record[_start()] - SECONDS_OF_A_STEP


def put_forward(record: Record) -> timedelta:
    """Return by how much the clock was put forward since it was least ahead."""
    step = _ahead() - record[_start()]
    return timedelta(seconds=step if step > SECONDS_OF_A_STEP else 0)
