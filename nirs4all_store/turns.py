"""Turns: who may be inside a workspace now.

Ctrl-C comes at any moment, also between entering a block and what the block would undo at its end. So what is open is
known by references that keep nothing alive: a turn that nobody holds any more is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Turn:
    """Leave to be inside a workspace: for the unit of work that holds it, and for no longer than it does.

    Attributes
    ----------
    unit : callable
        Returns the unit of work, or None once nobody holds it.
    where : tuple
        The workspace, and the thread.
    write : bool
    is_open : bool
    """

    unit: Callable[[], Any]
    where: tuple[object, int]
    write: bool
    is_open: bool = True


Held = Callable[[], Turn | None]
"""Returns a turn, or None once nobody holds it."""

# What is open in this context. Tasks of one thread have a context each, so that none writes in
# another's transaction.
open_turns: ContextVar[tuple[Held, ...]] = ContextVar("open_turns", default=())


def nothing() -> None:
    """Stand for a turn that nobody holds."""


def alive(turns: Iterable[Held]) -> list[Turn]:
    """Return the turns that somebody holds."""
    return [turn for held in turns if (turn := held()) is not None]
