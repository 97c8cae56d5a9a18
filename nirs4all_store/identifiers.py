"""Ids and moments, made so that they sort by when they were made; and the version of this package, in one place."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import uuid_utils

from .errors import InvalidInputError, InvalidTypeError

__version__ = "0.1.0"
# A UUID of version 7 has room for so many parts of a millisecond.
TICKS_PER_MS = 4096
_last_tick = 0


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562, 6.2, method 3): ids sort by the time they were made.

    Parts of a millisecond stand where other makers of such ids have a counter: what is made one after the other differs
    early, so that its beginning is enough for people to name it.
    """
    global _last_tick
    _last_tick = tick = max(_last_tick + 1, time.time_ns() * TICKS_PER_MS // 10**6)
    ms, part = divmod(tick, TICKS_PER_MS)
    digits = f"{ms << 16 | 0x7000 | part:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:]}{str(uuid_utils.uuid4())[18:]}"


def time_of(made_id: str) -> datetime | None:
    """Return when an id was made (UTC), as it says itself; None if it is no UUID of version 7."""
    from uuid import UUID

    try:
        found = UUID(made_id)
    except ValueError:
        return None
    if found.version != 7:
        return None
    ms, part = found.int >> 80, found.int >> 64 & (TICKS_PER_MS - 1)
    return datetime(1970, 1, 1) + timedelta(microseconds=ms * 1000 + part * 1000 // TICKS_PER_MS)


def utc_now() -> datetime:
    """Return the present time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def time_before(span: timedelta, more: timedelta = timedelta(0)) -> datetime:
    """Return the time that lies `span`, and so much more, before now (UTC), or the earliest there is.

    Raises
    ------
    InvalidTypeError, InvalidInputError
        `span` is no timedelta, or is negative.
    """
    if not isinstance(span, timedelta):
        from .validation import type_text  # It needs numpy, which whoever asks for the version does not.

        raise InvalidTypeError(f"grace must be a datetime.timedelta, not {type_text(span)}")
    if span < timedelta(0):
        raise InvalidInputError(f"grace must not be negative, but is {span}")
    try:
        return utc_now() - span - more
    except OverflowError:
        return datetime.min
