"""What the default run tries of many cases; the others are `slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def all_but_few(cases: Iterable[str], few: Collection[str]) -> list[Any]:
    """Return cases for `parametrize`, of which all but a few are slow."""
    return [pytest.param(case, marks=() if case in few else pytest.mark.slow) for case in cases]


def slow(*case: Any) -> Any:
    """Return a case for `parametrize` that the default run leaves out."""
    return pytest.param(*case, marks=pytest.mark.slow)
