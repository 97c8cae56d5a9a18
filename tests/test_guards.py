"""The list of guards is true of today's code; `python -m tests.guards` removes each and sees its test fail."""

import ast
from collections import Counter

import pytest
from guards import ROOT, Guard, read_guards

GUARDS = read_guards()


def names_in(path: str) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_once_where_it_is_said_to_and_has_its_test(guard: Guard) -> None:
    assert (ROOT / guard.place).read_text("utf-8").count(guard.code) == 1
    file, _, name = guard.test.partition("::")
    assert name.partition("[")[0] in names_in(file)


def test_no_two_guards_have_one_name() -> None:
    assert [name for name, count in Counter(guard.name for guard in GUARDS).items() if count > 1] == []
