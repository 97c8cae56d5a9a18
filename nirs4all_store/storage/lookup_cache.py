"""What is sure about the committed rows, so that it need not be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_FACTS = 10_000

Fact = tuple[str, str]
"""What it is about, such as a table, and which of them."""


class Known:
    """Which rows there are in an open workspace, and which there are not.

    While a workspace is open, this process alone writes to it, one unit of work at a time. What one of them learned
    and committed stays true until one deletes rows or hands its session out.

    Attributes
    ----------
    epoch : int
        Another number after each `forget`: what was read under the same number is still there.
    """

    def __init__(self) -> None:
        self._facts: dict[Fact, Any] = {}
        self.epoch = 0

    def get(self, fact: Fact) -> Any:
        """Return what is known: False if there is nothing of this kind; None if it is not known."""
        return self._facts.get(fact)

    def learn(self, facts: Mapping[Fact, Any]) -> None:
        """Take over what a unit of work found out before it was committed."""
        if len(self._facts) + len(facts) > MAX_FACTS:
            self._facts.clear()
        self._facts.update(facts)

    def forget(self) -> None:
        """Rows may be gone: know nothing."""
        self._facts.clear()
        self.epoch += 1
