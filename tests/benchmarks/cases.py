"""One case: the same work through the store and without it."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

Work = Callable[[], Any]


def nothing() -> None:
    """Prepare or check nothing."""


@dataclass
class Side:
    """One way to do the work.

    Parameters
    ----------
    work : callable
        What is timed.
    prepare, check : callable
        What comes before and after each call, untimed; `check` raises where the work was not done.
    """

    work: Work
    prepare: Work = nothing
    check: Work = nothing

    def time(self, calls: int) -> float:
        """Return the milliseconds of one call."""
        self.prepare()
        gc.collect()
        began = time.perf_counter()
        for _ in range(calls):
            self.work()
        took = time.perf_counter() - began
        self.check()
        return took / calls * 1000


@dataclass
class Case:
    """A row of the table.

    Parameters
    ----------
    number, work : str
        Its number and what is done.
    store, bare : Side
        The work; `bare` is None where there is nothing to compare with.
    bound : float or None
        The ratio that is promised.
    rounds, calls : int
        How many rounds, and how many calls of each side in a round.
    per_call : int
        How many items one call saves or reads, for the rate.
    note : callable
        Gives a figure beside the ratio, after the last round.
    """

    number: str
    work: str
    store: Side
    bare: Side | None
    bound: float | None = None
    rounds: int = 7
    calls: int = 1
    per_call: int = 1
    note: Callable[[], str] = str


@dataclass(frozen=True)
class Result:
    """The medians of a case, in milliseconds a call."""

    number: str
    work: str
    store_ms: float
    bare_ms: float | None
    ratio: float | None
    bound: float | None
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def measure(case: Case) -> Result:
    """Time a case: one round to warm up, then rounds in which the two sides take turns in going first."""
    sides = [case.store] + ([case.bare] if case.bare else [])
    times: list[list[float]] = [[] for _ in sides]
    for number in range(case.rounds + 1):
        for index in range(len(sides))[:: -1 if number % 2 else 1]:
            took = sides[index].time(case.calls)
            if number:
                times[index].append(took)
    medians = [statistics.median(of_side) for of_side in times]
    store, bare = medians[0], medians[1] if case.bare else None
    rate = f"{case.per_call / store * 1000:,.0f} a second" if case.per_call > 1 else ""
    note = "; ".join(filter(None, [rate, case.note()]))
    return Result(case.number, case.work, store, bare, store / bare if bare else None, case.bound, note)


def table(results: list[Result]) -> Iterator[str]:
    """Give the lines of a Markdown table."""
    yield "| # | work | store, ms | bare, ms | ratio | at most | |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for result in results:
        figures = (result.store_ms, result.bare_ms, result.ratio)
        shown = ["" if figure is None else f"{figure:,.2f}" for figure in figures]
        bound = "" if result.bound is None else f"{result.bound:g}"
        yield f"| {' | '.join([result.number, result.work, *shown, bound, result.note])} |"
