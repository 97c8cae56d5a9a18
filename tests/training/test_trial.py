"""What is known to fail before anything is trained, and warnings that say of which pipeline they are."""

import contextlib
import io
import threading
import warnings
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.decomposition import PCA, KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import RFE, SelectKBest, SelectPercentile, f_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from nirs4all_store import PipelineRunner, TrainingFailedError, WorkspaceStore
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training import cross_validation, fitting, pipelines_of, progress, trial
from nirs4all_store.training.trial import line_of_refusals

X = np.random.default_rng(0).normal(size=(12, 20))
Y = X[:, 0] + X[:, 1]
FOLDS = KFold(3)


def pls(*components: int) -> dict[str, Any]:
    params = {"n_components": {"_or_": [*components]}}
    return {"model": {"class": "sklearn.cross_decomposition.PLSRegression", "params": params}}


def line(config: list[Any], data: Any = (X, Y)) -> str | None:
    return line_of_refusals(pipelines_of(config), read_dataset(data))


def test_more_components_than_samples_of_a_fold_are_told_before_training(store: WorkspaceStore) -> None:
    config = [FOLDS, pls(2, 9, 3, 10)]
    told = "2 of 4 pipelines cannot be trained: n_components 9 to 10 needs more than the 8 samples of a fold"
    assert line(config) == told
    PipelineRunner(store).run(config, (X, Y), refit=False)
    assert store.list_pipelines()["status"].to_list().count("failed") == 2, "what was said is true"
    assert line([FOLDS, pls(2, 8)]) is None


def test_more_components_than_variables_are_told_also_of_a_step_and_inside_of_one() -> None:
    told = "1 of 1 pipelines cannot be trained: n_components 6 needs more than the 5 variables"
    for steps in ([FOLDS, PCA(6), Ridge()], [FOLDS, make_pipeline(PCA(6), Ridge())]):
        assert line(steps, (X[:, :5], Y)) == told


CLASSES = np.array(["a", "b", "c"])[np.arange(12) % 3]


@pytest.mark.parametrize(
    ("steps", "y", "told"),
    [
        (
            [PCA(5), pls(3, 10)],
            Y,
            "1 of 2 pipelines cannot be trained: n_components 10 needs more than the 5 variables after PCA",
        ),
        (
            [{"_or_": [PCA(5), PCA(9)]}, pls(3, 7)],
            Y,
            "3 of 4 pipelines cannot be trained: n_components 7 to 9 needs more than the 5 variables after PCA or 8 s",
        ),
        (
            [SelectKBest(f_regression, k=5), pls(10)],
            Y,
            "n_components 10 needs more than the 5 variables after SelectKBest",
        ),
        ([make_pipeline(SelectKBest(f_regression, k=1), PLSRegression(2))], Y, "the 1 variable after SelectKBest"),
        (
            [SelectKBest(f_regression, k=5), pls(9)],
            Y,
            "n_components 9 needs more than the 5 variables after SelectKBest",
        ),
        ([LinearDiscriminantAnalysis(n_components=3)], CLASSES, "n_components 3 needs more than the 3 classes"),
        ([LinearDiscriminantAnalysis(n_components=3), GaussianNB()], CLASSES, "needs more than the 3 classes"),
        (
            [SelectPercentile(f_regression, percentile=20), pls(3, 6)],
            Y,
            "needs more than the 4 variables after SelectPerc",
        ),
        ([CCA(2)], Y, "n_components 2 needs more than the 1 target"),
        ([PCA(8, svd_solver="arpack"), Ridge()], Y, "n_components 8 needs more than the 8 samples of a fold"),
    ],
)
def test_components_were_compared_with_the_variables_before_the_first_step_alone(
    steps: list[Any], y: Any, told: str, store: WorkspaceStore
) -> None:
    said = line([FOLDS, *steps], (X, y))
    assert said is not None
    assert told in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(TrainingFailedError):  # All of them.
            PipelineRunner(store).run([FOLDS, *steps], (X, y), refit=False)
    assert store.list_pipelines()["status"].to_list().count("failed") == int(said.split()[0]), "what was said is true"


@pytest.mark.parametrize(
    ("steps", "y"),
    [
        ([FeatureUnion([("one", PCA(2)), ("two", PCA(6))]), pls(8)], Y),
        ([SelectKBest(f_regression, k=5), PolynomialFeatures(), pls(8)], Y),
        ([LinearDiscriminantAnalysis(n_components=2)], CLASSES),
        ([PCA(5), LinearDiscriminantAnalysis()], CLASSES),
        ([PCA(8), pls(8)], Y),
        ([SelectPercentile(f_regression, percentile=20), pls(3)], Y),
        ([RFE(Ridge()), pls(3)], Y),
    ],
)
def test_what_can_be_trained_is_never_said_to_fail(steps: list[Any], y: Any) -> None:
    assert line([FOLDS, *steps], (X, y)) is None


def test_what_looks_harmless_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(pipeline: Any, *_: Any) -> str:
        raise AssertionError(pipeline.name)

    monkeypatch.setattr(trial, "_refusal_of", tried)
    assert line([FOLDS, SelectKBest(f_regression, k=5), PCA(5), pls(1, 2, 5)]) is None
    assert line([FOLDS, SelectKBest(f_regression, k=5), Ridge()]) is None
    assert line([FOLDS, LinearDiscriminantAnalysis(n_components=2)], (X, CLASSES)) is None
    with pytest.raises(AssertionError, match="Ridge"):
        line([FOLDS, PCA(9), Ridge()])


class Counted(Ridge):  # type: ignore[misc]
    fits: ClassVar[list[int]] = []

    def fit(self, X: Any, y: Any) -> "Counted":
        self.fits.append(len(X))
        return self


def test_a_selector_is_fitted_once_for_all_pipelines_that_begin_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    monkeypatch.setattr(trial, "fit_transformer", lambda *given: fits.append(given) or fitting.fit_transformer(*given))
    assert line([FOLDS, SelectPercentile(f_regression, percentile=20), pls(2, 3, 4)]) is None
    assert len(fits) == 1


def test_the_steps_after_the_one_in_doubt_are_not_tried() -> None:
    assert line([FOLDS, PCA(8), Counted()]) is None
    assert Counted.fits == []


def test_a_step_that_takes_more_components_than_there_are_variables_is_not_counted() -> None:
    assert line([FOLDS, KernelPCA(50), Ridge()]) is None


def test_folds_that_cannot_be_made_are_told_by_training() -> None:
    assert line([KFold(13), pls(20)]) is None


class Fussy(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Fails for another reason than its number of components."""

    def __init__(self, n_components: int = 99) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> "Fussy":
        raise ValueError("the moon is full")

    def transform(self, X: Any) -> Any:
        return X


def test_what_fails_for_another_reason_is_not_said_to_want_too_many_components() -> None:
    assert line([FOLDS, Fussy(), Ridge()]) is None


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
    with pytest.warns(UserWarning, match=r"^odd: 1 2 \(in Herald\(kind=Odd\)\)$"):
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
