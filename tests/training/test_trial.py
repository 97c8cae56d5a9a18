"""What is known to fail before anything is trained, and warnings that say of which pipeline they are."""

import io
import json
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, KernelPCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from nirs4all_store import PipelineRunner, TrainingFailedError, WorkspaceStore
from nirs4all_store.errors import DataWarning
from nirs4all_store.training import cross_validation, progress

X = np.random.default_rng(0).normal(size=(12, 20))
Y = X[:, 0] + X[:, 1]
FOLDS = KFold(3)


def pls(*components: int) -> dict[str, Any]:
    params = {"n_components": {"_or_": [*components]}}
    return {"model": {"class": "sklearn.cross_decomposition.PLSRegression", "params": params}}


def errors_of(store: WorkspaceStore) -> dict[str, str | None]:
    return dict(store.list_pipelines().select("name", "error").iter_rows())


def test_more_components_than_samples_of_a_fold_are_told_before_training(store: WorkspaceStore) -> None:
    message = (
        r"^2 of 4 pipelines cannot be trained: n_components 9 to 10 needs more than the 8 samples of a fold; they are "
        "stored as failed$"
    )
    with pytest.warns(DataWarning, match=message) as caught:
        found = PipelineRunner(store).run([FOLDS, pls(2, 9, 3, 10)], (X, Y), refit=False)
    assert caught[0].filename == __file__
    assert found["pipeline_id"].n_unique() == 2
    errors = errors_of(store)
    assert {name for name, error in errors.items() if error} == {f"PLSRegression(n_components={n})" for n in (9, 10)}
    own = errors["PLSRegression(n_components=9)"] or ""
    assert own.splitlines()[-1].startswith("ValueError: `n_components` upper bound is 8. Got 9"), "scikit-learn's words"
    (run,) = store.list_runs().to_dicts()
    assert json.loads(run["summary"])["failed_pipelines"] == 2


def test_nothing_is_stored_yet_when_it_is_told(store: WorkspaceStore) -> None:
    with pytest.raises(DataWarning):  # Where warnings are errors.
        PipelineRunner(store).run([FOLDS, pls(2, 9)], (X, Y), refit=False)
    assert store.list_runs().is_empty()


def test_more_components_than_variables_are_told_also_of_a_step_and_inside_of_one(store: WorkspaceStore) -> None:
    data, message = (X[:, :5], Y), "1 of 1 pipelines cannot be trained: n_components 6 needs more than the 5 variables"
    for steps in ([FOLDS, PCA(6), Ridge()], [FOLDS, make_pipeline(PCA(6), Ridge())]):
        with (
            pytest.warns(DataWarning, match=message),
            pytest.raises(TrainingFailedError, match=r"all 1 pipelines .* n_components=6 must be between 0 and"),
        ):
            PipelineRunner(store).run(steps, data, refit=False)


def test_a_step_that_takes_more_components_than_there_are_variables_is_trained(store: WorkspaceStore) -> None:
    found = PipelineRunner(store).run([FOLDS, KernelPCA(50), Ridge()], (X, Y), refit=False)
    assert found["pipeline_id"].n_unique() == 1


class Fussy(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Fails for another reason than its number of components."""

    def __init__(self, n_components: int = 99) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> "Fussy":
        raise ValueError("the moon is full")

    def transform(self, X: Any) -> Any:
        return X


def test_what_fails_for_another_reason_is_not_said_to_want_too_many_components(store: WorkspaceStore) -> None:
    with pytest.raises(TrainingFailedError, match="the moon is full"):  # And no warning, which would be an error.
        PipelineRunner(store).run([FOLDS, Fussy(), Ridge()], (X, Y), refit=False)


def test_pipelines_that_were_completed_before_are_not_tried_again(store: WorkspaceStore) -> None:
    runner = PipelineRunner(store)
    runner.run([FOLDS, pls(2)], (X, Y), refit=False)
    with pytest.warns(DataWarning, match="1 of 1 pipelines cannot be trained: n_components 9 needs"):
        runner.run([FOLDS, pls(2, 9)], (X, Y), refit=False, resume=True)


def test_the_bar_says_how_many_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=100))
    with progress.progress_bar(2, is_shown=True) as advance:
        advance(0)
        assert "failed" not in shown.getvalue()
        advance(1)
    assert "failed 1" in shown.getvalue()


class Odd(UserWarning):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"odd: {one} {other}")


class Herald(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Warns in each fold."""

    def __init__(self, kind: Any = RuntimeWarning, seed: int = 0) -> None:
        self.kind = kind
        self.seed = seed

    def fit(self, X: Any, y: Any) -> "Herald":
        warnings.warn(self.kind(1, 2) if self.kind is Odd else self.kind("it is late"), stacklevel=2)
        self.mean_ = np.mean(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


def test_a_warning_of_a_pipeline_once_did_not_name_it(store: WorkspaceStore) -> None:
    step = {"class": f"{__name__}.Herald", "params": {"seed": {"_or_": [1, 2, 3]}}}
    with pytest.warns(RuntimeWarning, match=r"^it is late \(in Herald\(seed=1\) and 2 more\)$") as caught:
        PipelineRunner(store).run([FOLDS, step], (X, Y), refit=False)
    assert [warning.filename for warning in caught] == [__file__], "once, and from the line that trains"
    with pytest.warns(UserWarning, match=r"^odd: 1 2 \(in Herald\(kind=<class '.*Odd'>\)\)$"):
        PipelineRunner(store).run([FOLDS, Herald(Odd)], (X, Y), refit=False)


def test_a_warning_of_scikit_learn_names_the_pipeline(store: WorkspaceStore) -> None:
    told = r"^y residual is constant at iteration 7 \(in PLSRegression\(n_components=8\)\)$"
    with pytest.warns(UserWarning, match=told):
        PipelineRunner(store).run([FOLDS, PLSRegression(8)], (X, Y), refit=False)


def test_threads_that_train_leave_alone_what_shows_the_warnings_of_all() -> None:
    found: list[Any] = []

    def train() -> None:
        before = warnings.showwarning
        with cross_validation._recorded_warnings() as recorded:
            found.append(warnings.showwarning is before)
            found.append(recorded)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [True, []]
