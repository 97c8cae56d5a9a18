"""What is defined on the way is known again where it does the same, and only there."""

from collections.abc import Callable
from typing import Any

import pytest
from programs import run
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import FunctionTransformer

from nirs4all_store.definitions import digest_of

PROGRAM = """
import functools
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from nirs4all_store.definitions import digest_of

FACTOR, WORDS = {factor}, {{"b", "a", "c"}}

def helper(X):
    return X * {inner}

class Base:
    def shared(self, X):
        return X - {base}

class Scale(Base, TransformerMixin, BaseEstimator):
    order = {order}

    def __init__(self, alpha=1):
        self.alpha = alpha

    def fit(self, X, y=None, sample_weight=None):
        return self

    def transform(self, X):
        return [helper(x) for x in super().shared(X) * FACTOR if str(x) not in WORDS]

    @staticmethod
    def kind():
        return np.float64

    @property
    def name(self):
        return "{name}"

    @functools.cached_property
    def kept(self):
        return "{kept}"

Scale().fit(None).get_params()
print(digest_of(Scale), digest_of(lambda X: helper(X)))
"""
PARTS = {"factor": 2, "inner": 3, "base": 4, "order": 5, "name": "scale", "kept": "k"}


def test_a_class_is_known_again_in_another_process_until_what_it_does_is_changed() -> None:
    found = {name: run(PROGRAM.format(**PARTS | {name: 9})).split() for name in PARTS}
    same = [run(PROGRAM.format(**PARTS)).split() for _ in range(2)]
    assert same[0] == same[1]
    classes = [kind for kind, _ in [same[0], *found.values()]]
    assert len(set(classes)) == len(classes), "each change makes another class"
    changed = {name for name, (_, function) in found.items() if function != same[0][1]}
    assert changed == {"inner"}, "the function uses the helper alone"


def adding(number: float) -> Callable[[Any], Any]:
    def add(X: Any) -> Any:
        return add(X[1:]) if len(X) > 1 else X + number

    return add


def test_what_a_function_has_from_around_it_counts() -> None:
    assert digest_of(adding(1.0)) == digest_of(adding(1.0))
    assert digest_of(adding(1.0)) != digest_of(adding(2.0))


@pytest.mark.parametrize("use", [lambda kind: kind().get_params(), lambda kind: FunctionTransformer(kind)])
def test_a_class_that_was_used_once_was_another_one(use: Callable[[Any], Any]) -> None:
    class Local(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
        def fit(self, X: "Any", y: "Any" = None) -> "Local":
            return self

    before = digest_of(Local)
    use(Local)
    assert digest_of(Local) == before
