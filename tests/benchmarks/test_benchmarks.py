"""The benchmark works: each case does what it says, on both sides. With -m slow: the table through pytest-benchmark."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from programs import run_module
from samples import all_but_few

from .cases import Case, Side, measure, table
from .suite import CASES
from .world import Worlds

FEW = 2_000
MANY = 1_000_000


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    worlds = Worlds(tmp_path_factory.mktemp("few"), FEW)
    yield worlds
    worlds.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    worlds = Worlds(tmp_path_factory.mktemp("many"), MANY)
    yield worlds
    worlds.close()


@pytest.fixture(scope="module")
def case_of(many: Worlds) -> Callable[[str], Case]:
    # Both sides of a case share it: some make a world of their own.
    return cache(lambda number: CASES[number](many))


@pytest.mark.parametrize("number", all_but_few(CASES, ("1", "4a", "5", "9a")))
def test_both_sides_of_a_case_do_its_work(few: Worlds, number: str) -> None:
    result = measure(replace(CASES[number](few), rounds=1))
    assert result.number == number
    assert result.store_ms > 0
    assert len(list(table([result]))) == 3


def test_a_side_that_leaves_work_out_is_found(few: Worlds) -> None:
    case = CASES["2"](few)
    with pytest.raises(AssertionError):
        measure(replace(case, store=replace(case.store, work=lambda: None)))


def test_the_program_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    printed = run_module("tests.benchmarks", "--rows", "5", "--predictions", 100, "--json", tmp_path / "b.json")
    assert "| 5 | query_predictions" in printed
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["rows"][0]["number"] == "5"
    assert "cores" in written["machine"]


@pytest.mark.slow
@pytest.mark.parametrize("side", ["store", "bare"])
@pytest.mark.parametrize("number", CASES)
def test_benchmark(benchmark: Any, case_of: Callable[[str], Case], number: str, side: str) -> None:
    case = case_of(number)
    chosen: Side | None = getattr(case, side)
    if chosen is None:
        return
    benchmark.group = f"{case.number} {case.work}"

    def prepare() -> None:  # What a setup returns would be the arguments of the work.
        chosen.prepare()

    def work() -> None:
        for _ in range(case.calls):
            chosen.work()

    benchmark.pedantic(work, setup=prepare, teardown=chosen.check, rounds=case.rounds, warmup_rounds=1)
