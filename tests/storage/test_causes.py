"""Which line of an error says why."""

import traceback
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVR

from nirs4all_store import WorkspaceStore
from nirs4all_store.storage import cause_of

X, Y = np.full((6, 2), np.nan), np.arange(6.0)


def traceback_of(function: Callable[[], object]) -> str:
    try:
        function()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


def fail(error: BaseException) -> None:
    raise error


def chained() -> None:
    try:
        fail(KeyError("first"))
    except KeyError as error:
        raise RuntimeError("second: of the first") from error


def noted() -> None:
    error = ValueError("too long\n  indented: more\nadvice: none")
    error.add_note("Note: in fold 2")
    raise error


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (lambda: PLSRegression().fit(X, Y), "ValueError: Input X contains NaN."),
        (lambda: SVR().fit(X, Y), "ValueError: Input X contains NaN."),
        (lambda: GridSearchCV(LinearRegression(), {}, cv=2).fit(X, Y), "ValueError: Input X contains NaN."),
        (chained, "RuntimeError: second: of the first"),
        (noted, "ValueError: too long"),
        (lambda: fail(AssertionError()), "AssertionError"),
        (lambda: fail(ValueError("\n  on the next line\nand so on")), "ValueError: on the next line"),
        (lambda: fail(KeyError("a: b")), "KeyError: 'a: b'"),
        (lambda: compile("x = =", "a.py", "exec"), "SyntaxError: invalid syntax"),
        (
            lambda: fail(RuntimeError(f"a worker:\n{traceback_of(chained)}look there")),
            "RuntimeError: second: of the first",
        ),
    ],
)
def test_the_cause_of_a_failure_was_the_advice_below_it(function: Callable[[], object], cause: str) -> None:
    assert cause_of(traceback_of(function)) == cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("the instrument was off", "the instrument was off"),
        ("step 3: failed\n  the lamp: broken\n\n", "the lamp: broken"),
        ("ValueError: Input X contains NaN.\nSVR does: not", "ValueError: Input X contains NaN."),
        ("Traceback (most recent call last):\n  File cut off", "File cut off"),
        ("  own.errors.MyError: x\nmore", "more"),
        ("own.errors.MyError: x\nmore", "own.errors.MyError: x"),
        (" \n", ""),
    ],
)
def test_the_cause_of_a_text_is_the_line_that_names_an_error_or_the_last(text: str, cause: str) -> None:
    assert cause_of(text) == cause


def test_one_cause_was_told_three_times_because_each_model_gives_its_own_advice(store: WorkspaceStore) -> None:
    run_id = store.begin_run("logarithm")
    for model in (PLSRegression(), SVR(), LinearRegression()):
        pipeline_id = store.begin_pipeline(run_id, str(model), {}, [], "wine", "hash")
        store.fail_pipeline(pipeline_id, traceback_of(lambda model=model: model.fit(X, Y)))  # type: ignore[misc]
    failures = store.run_progress(run_id).failures
    assert failures["cause", "pipelines"].rows() == [("ValueError: Input X contains NaN.", 3)]
