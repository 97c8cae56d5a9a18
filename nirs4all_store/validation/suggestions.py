"""Names that exist and are nearly the one that somebody gave, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_SUGGESTED = 3
LEAST_ALIKE = 0.7
"""How alike two names are at least, by `difflib`: `_ro_` and `_or_` are 0.75, `_rang_` and `_or_` 0.6."""


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return those of some names that differ from a name by few characters or by capitals, the most alike first."""
    folded = {other.casefold(): other for other in names if other != name}
    return [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, MOST_SUGGESTED, LEAST_ALIKE)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return how a message goes on that refuses a name: `; did you mean 'a' or 'b'?`; nothing if no name is alike."""
    near = nearest(name, names)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
