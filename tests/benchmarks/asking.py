"""The cases of what can be asked of many chains.

Bare: the statements that the store sends, read as frames, in one transaction, too, so that they agree with each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from string import ascii_lowercase
from typing import Any
from unittest import mock

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine.duckdb import row_io

from . import bare
from .cases import Case, Side
from .world import Worlds

PAGE = 50
Ask = Callable[[WorkspaceStore], Any]
QUESTIONS: dict[str, Ask] = {
    "rank_chains()": lambda store: store.rank_chains(),
    'rank_chains("rpd", search="snv ridge")': lambda store: store.rank_chains("rpd", search="snv ridge"),
    "rank_chains of one run": lambda store: store.rank_chains(run_id="run7"),
    "facets()": lambda store: store.facets(),
    "count_predictions of two datasets": lambda store: store.count_predictions(dataset_name=["wheat", "soil"]),
    'distinct("model_name")': lambda store: store.distinct("model_name"),
    "score_histogram()": lambda store: store.score_histogram(),
    'parameter_profile("n_components")': lambda store: store.parameter_profile("n_components"),
    "compare_chains of two": lambda store: store.compare_chains(["chain0", "chain1"]),
    "run_progress": lambda store: store.run_progress("run49"),
    "run_summaries()": lambda store: store.run_summaries(),
    "logs_since": lambda store: store.logs_since("run7", "log28"),
    "usage()": lambda store: store.usage(),
    "environment": lambda store: store.environment("chain7"),
}


class Recorder:
    """A connection that writes down which statements it is given."""

    def __init__(self, connection: Any, statements: list[tuple[str, Any]]) -> None:
        self._connection = connection
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Write a statement down, and run it."""
        self._statements.append((statement, parameters))
        return self._connection.execute(statement, parameters)

    def sql(self, statement: str, *, params: Any) -> Any:
        """Write a statement down, and ask for what it finds."""
        self._statements.append((statement, params))
        return self._connection.sql(statement, params=params)


def _asking(question: str, number: str, worlds: Worlds) -> Case:
    """Ask one of the questions."""
    ask, board = QUESTIONS[question], worlds.leaderboard
    statements: list[tuple[str, Any]] = []
    given = row_io.raw_connection
    with mock.patch.object(row_io, "raw_connection", lambda session: Recorder(given(session), statements)):
        ask(board.store)
    assert statements

    def plain() -> None:
        board.bare.begin()
        for statement, parameters in statements:
            bare.frame(board.bare, statement, parameters)
        board.bare.rollback()

    work = f"{question} over {board.chains:,} chains"
    return Case(number, work, Side(lambda: ask(board.store)), Side(plain), 1.3, rounds=9, calls=3)


def last_page(worlds: Worlds) -> Case:
    """Ask for the page that is the last of all; bare: the first."""
    store, chains = worlds.leaderboard.store, worlds.leaderboard.chains
    before = store.rank_chains(limit=chains - PAGE).next
    first = Side(lambda: store.rank_chains(limit=PAGE))
    last = Side(lambda: store.rank_chains(limit=PAGE, after=before))
    return Case("17", f"rank_chains, the last {PAGE} of {chains:,}; bare: the first", last, first, 1.1, rounds=9)


CASES = {
    number: partial(_asking, question, number)
    for number, question in zip((f"16{letter}" for letter in ascii_lowercase), QUESTIONS, strict=False)
} | {"17": last_page}
