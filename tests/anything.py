"""Hypothesis strategies for whatever may come from outside, and how many examples of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nirs4all_store import StoreError

SHARE = int(os.environ.get("EXAMPLES", "5"))


def examples(whole: int) -> int:
    """Return how many examples a test has that has so many as a whole: `EXAMPLES` of a hundred, 5 where it is not set.

    `EXAMPLES=100 pytest` has all of them, `EXAMPLES=3000 pytest tests/*/test_any_*.py` many more.
    """
    return max(1, whole * SHARE // 100)


MANY = settings(
    max_examples=examples(300),
    deadline=None,
    database=None,  # Ids and paths differ from one run to the next.
    suppress_health_check=list(HealthCheck),
)

NASTY = [
    "",
    " ",
    ".",
    "..",
    "/",
    "\\",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "C:x",
    "\\\\host\\share",
    "~",
    "~root",
    "a/b",
    "CON",
    "nul.txt",
    "a\0b",
    "\0",
    "x" * 300,
    "x" * 70_000,
    "file:///etc/passwd",
    "$(touch x)",
    "`touch x`",
    "'; DROP TABLE runs; --",
    '"; DROP TABLE runs; --',
    "%",
    "_",
    "%s%n",
    "{0.__class__}",
    "${HOME}",
    "{{7*7}}",
    "\ud800",
    "\udcff",
    "\u202e",
    "\ufeff",
    "e\u0301",
    "\r\n",
    "a\n---\nb: !!python/object:os.system",
    "NaN",
    "null",
    "artifacts",
    ".quarantine",
    "store.duckdb",
    "store.duckdb.wal",
    ".store.lock",
]
# By number: a strategy's repr, which Hypothesis makes, would have all of them in it.
TEXTS = (
    st.integers(0, len(NASTY) - 1).map(lambda number: NASTY[number])
    | st.text(st.characters(), max_size=40)
    | st.text("./\\:~\0ab", max_size=20)
)

NUMBERS = st.integers() | st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, -(2**63) - 1, 10**400])
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
STRANGE = st.sampled_from(
    [
        b"bytes",
        {1, 2},
        object(),
        1j,
        datetime(2020, 1, 1, tzinfo=UTC),
        np.float32(1.5),
        np.int8(3),
        np.arange(3),
        (1, 2),
        {1: "a", "1": "b"},
        {None: 1},
        math,
        open,
        float,
    ]
)


def attempt(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a call returns; None when it refuses in the way that is promised."""
    try:
        return call(*args, **options)
    except StoreError as error:
        assert str(error)
        return None


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any] = TEXTS) -> st.SearchStrategy[Any]:
    """Return lists and dicts of what is given."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
    )


def deep(depth: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


JSON = nested(PLAIN)
VALUES = nested(PLAIN | STRANGE, TEXTS | st.integers() | st.none()) | st.just(deep(200))

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = (
    hnp.arrays(hnp.scalar_dtypes(), SHAPES)
    | hnp.arrays(np.dtype(object), SHAPES, elements=PLAIN | STRANGE)
    | hnp.arrays(hnp.array_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes(), SHAPES)
    | st.lists(PLAIN, max_size=4)
    | nested(NUMBERS)
    | PLAIN
)
