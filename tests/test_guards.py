"""The list of guards is true of today's code; `python -m tests.guards` removes each and sees its test fail."""

import ast
from collections import Counter
from functools import cache

import pytest
from guards import ROOT, read_guards

GUARDS = read_guards()


@cache
def names_in(path: str) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("place", sorted({guard.place for guard in GUARDS}))
def test_each_guard_of_a_file_stands_there_once_and_has_its_test(place: str) -> None:
    source = (ROOT / place).read_text("utf-8")
    guards = [guard for guard in GUARDS if guard.place == place]
    assert [guard.name for guard in guards if source.count(guard.code) != 1] == []
    tests = {guard.name: guard.test.partition("::") for guard in guards}
    assert [name for name, (file, _, test) in tests.items() if test.partition("[")[0] not in names_in(file)] == []


def test_no_two_guards_have_one_name() -> None:
    assert [name for name, count in Counter(guard.name for guard in GUARDS).items() if count > 1] == []
