"""How often intervals cover new samples, and what they are by their definition."""

from typing import Any

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from nirs4all_store.chains.intervals import cv_plus, one_a_group


def split_conformal(residuals: Any, predictions: Any, level: float = 0.9) -> tuple[Any, Any]:
    """Return what CV+ gives of one fold, which is split conformal."""
    return cv_plus(residuals, np.zeros(len(residuals), int), predictions[None], level)


def covered(seed: int, level: float, model: Any, n: int, n_features: int) -> tuple[float, float]:
    """Return the shares of 200 new samples that CV+ and split conformal cover, trained on few samples."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=n_features) / np.sqrt(n_features)

    def draw(size: int) -> tuple[Any, Any]:
        X = rng.normal(size=(size, n_features))
        return X, X @ weights + rng.standard_t(3, size)

    (X, y), (X_new, y_new) = draw(n), draw(200)
    residuals, folds, predictions = np.empty(n), np.empty(n, int), []
    for fold, (train, held_out) in enumerate(KFold(5).split(X)):
        model.fit(X[train], y[train])
        residuals[held_out], folds[held_out] = y[held_out] - model.predict(X[held_out]), fold
        predictions.append(model.predict(X_new))
    lower, upper = cv_plus(residuals, folds, np.array(predictions), level)
    of_cv = np.mean((lower <= y_new) & (y_new <= upper))
    held_out = folds == 4
    lower, upper = split_conformal(residuals[held_out], predictions[4], level)
    return of_cv, np.mean((lower <= y_new) & (y_new <= upper))


def check_coverage(simulations: int, level: float, model: Any, n: int, n_features: int, margin: float) -> None:
    of_cv, of_split = np.mean([covered(seed, level, model, n, n_features) for seed in range(simulations)], axis=0)
    assert level - margin <= of_cv <= 0.99  # The promise is 2 * level - 1.
    assert level - margin <= of_split <= 0.99


def test_intervals_cover_what_they_promise() -> None:
    check_coverage(60, 0.9, LinearRegression(), 60, 5, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize(
    ("model", "n_features"), [(LinearRegression(), 5), (LinearRegression(), 100), (PLSRegression(3), 40)]
)
def test_intervals_cover_what_they_promise_in_500_simulations(level: float, model: Any, n_features: int) -> None:
    check_coverage(500, level, model, 60, n_features, 0.01)


def test_cv_plus_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    residuals, folds, predictions = rng.normal(size=19), np.arange(19) % 4, rng.normal(size=(4, 3))
    lower, upper = cv_plus(residuals, folds, predictions, 0.9)
    for new in range(3):
        of_each = predictions[folds, new]
        assert lower[new] == sorted(of_each - np.abs(residuals))[2 - 1]  # floor(0.1 * 20)
        assert upper[new] == sorted(of_each + np.abs(residuals))[18 - 1]  # ceil(0.9 * 20)


def test_many_new_samples_have_the_intervals_of_each_alone() -> None:
    rng = np.random.default_rng(1)
    residuals, folds, predictions = rng.normal(size=30), np.arange(30) % 3, rng.normal(size=(3, 2_500))
    together = np.array(cv_plus(residuals, folds, predictions))
    for new in (0, 999, 1_000, 2_499):
        assert np.array_equal(together[:, new], np.ravel(cv_plus(residuals, folds, predictions[:, [new]])))
    assert [side.shape for side in cv_plus(residuals, folds, np.empty((3, 0)))] == [(0,), (0,)]


def test_too_few_samples_for_a_level_give_no_bound() -> None:
    for n, is_bound in ((8, False), (9, True)):
        assert np.isfinite(cv_plus(np.ones(n), np.zeros(n, int), np.ones((1, 2)), 0.9)).all() == is_bound
        assert np.isfinite(split_conformal(np.ones(n), np.ones(2), 0.9)).all() == is_bound


def test_a_rank_that_is_whole_is_not_rounded_up() -> None:
    residuals = np.arange(1.0, 100.0)
    for level in (0.55, 0.56, 0.57, 0.58, 0.7, 0.9):
        assert split_conformal(residuals, np.zeros(1), level)[1][0] == round(100 * level)


def test_a_group_has_one_score_the_largest() -> None:
    residuals, folds = one_a_group(np.array([1, -3, 0.5, 2]), np.array([0, 0, 1, 1]), np.array(["b", "b", "a", "c"]))
    assert residuals.tolist() == [0.5, 3, 2]
    assert folds.tolist() == [1, 0, 1]


def test_a_group_in_two_folds_is_refused() -> None:
    with pytest.raises(ValueError, match="split by groups"):
        one_a_group(np.ones(3), np.array([0, 1, 1]), np.array([5, 5, 6]))


def test_scans_of_one_sample_once_counted_as_samples_and_made_intervals_too_narrow() -> None:
    rng = np.random.default_rng(2)
    by_scan, by_group = [], []
    for _ in range(2000):
        errors = np.repeat(rng.normal(size=12), 10) + 0.1 * rng.normal(size=120)
        groups, new = np.repeat(np.arange(12), 10), np.abs(rng.normal() + 0.1 * rng.normal())
        largest, _ = one_a_group(errors, np.zeros(120, int), groups)
        by_scan.append(new <= split_conformal(errors, np.zeros(1), 0.9)[1][0])
        by_group.append(new <= split_conformal(largest, np.zeros(1), 0.9)[1][0])
    assert np.mean(by_scan) < 0.87 < 0.89 < np.mean(by_group)
