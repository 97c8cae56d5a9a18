"""Finds out by how much the system's clock was put forward since the machine was started.

Everything that was saved before seems older by as much, and could be collected too early. So each process that holds a
workspace compares the clock with one that counts from the start of the machine and that nobody can set. The lock file
keeps the smallest difference that was ever seen. If the difference is larger now, the clock was put forward.

See docs/decisions/0018.
"""

from __future__ import annotations

import time
from datetime import UTC, timedelta
from functools import cache
from typing import Any

from ..identifiers import utc_now
from ..storage import this_process

# How many records are kept. Containers of one machine may have records of their own, as their clocks may be shifted.
MOST_STARTS = 8
# The difference of the two clocks varies by less than this without a change of the clock.
SECONDS_OF_A_STEP = 1.0
Record = dict[str, float]
"""The smallest difference of the two clocks, in seconds, for each start of a machine and time namespace."""


@cache
def _start() -> str:
    here = this_process()
    return f"{here['boot']} {here['time_namespace']}"


def _ahead() -> float:
    """Return the system's clock minus the one since the start, in seconds; 0.0 on systems without `CLOCK_BOOTTIME`."""
    if not _start().strip() or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return utc_now().replace(tzinfo=UTC).timestamp() - time.clock_gettime(time.CLOCK_BOOTTIME)


def updated_record(record: Any) -> Record:
    """Return a record with the present difference of the clocks in it.

    Parameters
    ----------
    record : JSON value
        The record in a lock file. Any other value, as None, stands for an empty record.
    """
    known = record.items() if isinstance(record, dict) else ()
    found = {start: least for start, least in known if type(least) is float}
    least = min(_ahead(), found.pop(_start(), _ahead()))
    return {**dict([*found.items()][1 - MOST_STARTS :]), _start(): least}


def was_put_back(record: Record) -> bool:
    """Tell whether the clock was put back since a record was made."""
    return _ahead() < record[_start()] - SECONDS_OF_A_STEP


def put_forward(record: Record) -> timedelta:
    """Return by how much the clock was put forward since the difference of the clocks was smallest."""
    step = _ahead() - record[_start()]
    return timedelta(seconds=step if step > SECONDS_OF_A_STEP else 0)
