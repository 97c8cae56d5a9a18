"""How often fresh spectra are said to be unlike the calibration, and others are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chemotools.datasets import load_coffee, load_fermentation_train
from scipy.signal import savgol_filter
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, RepeatedKFold, ShuffleSplit

from nirs4all_store.chains.domain import by_chance, distances, outside_range, summary
from nirs4all_store.chains.domain_fit import FEWEST_SAMPLES, MANY, MOST_PARTS, fit_domain, parts_of, upper_limit

Draw = Callable[[int], Any]


def population(seed: int, n_features: int, rank: int = 3, noise: float = 1e-3, scatter: float = 0.05) -> Draw:
    """Return what draws spectra: bands of a few substances, scatter of light, noise."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n_features)
    where, width, height = rng.uniform(0, 1, (3, rank, 3, 1)) * [[[[1]]], [[[0.13]]], [[[0.8]]]]
    bands = np.sum((height + 0.2) * np.exp(-(((x - where) / (width + 0.02)) ** 2) / 2), axis=1)
    means = rng.uniform(0.5, 2, rank)
    deviations = means * rng.uniform(0.05, 0.3, rank)

    def draw(n: int) -> Any:
        X = 0.3 + (means + deviations * rng.normal(size=(n, rank))) @ bands
        X = X * (1 + scatter * rng.normal(size=(n, 1))) + scatter * rng.normal(size=(n, 1))
        return X + noise * rng.normal(size=X.shape)

    return draw


def in_parts(n: int) -> Any:
    return np.arange(n) % 5


def snv_derivative(X: Any) -> Any:
    X = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)
    return savgol_filter(X, 11, 2, deriv=1, axis=1)


def shares(n: int, n_features: int, repeats: int, treat: Any = np.asarray, **options: Any) -> Any:
    """Return the mean shares beyond T², beyond Q, and beyond one of them of another population, x 1000 and x 1.5."""
    found = []
    for seed in range(repeats):
        draw = population(seed, n_features, **options)
        domain = fit_domain(treat(draw(n)), in_parts(n))
        assert domain is not None
        fresh = draw(500)
        told = distances(domain, treat(fresh))
        foreign = population(seed + 10_000, n_features, **options)(500)
        scaled = [] if treat is snv_derivative else [fresh * 1000, fresh * 1.5]  # SNV takes out the scale.
        others = [distances(domain, treat(X)).outside.mean() for X in (foreign, *scaled)]
        found.append([told.outside_t2.mean(), told.outside_q.mean(), *others])
    return np.mean(found, axis=0)


@pytest.mark.parametrize(("n", "n_features"), [(40, 300), (100, 300), (320, 60)])
def test_of_fresh_spectra_about_one_in_a_hundred_is_flagged_and_of_others_nearly_all(n: int, n_features: int) -> None:
    t2, q, *others = shares(n, n_features, 12)
    assert 0.003 <= t2 <= 0.03
    assert 0.003 <= q <= 0.03
    assert min(others) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("rank_noise_scatter", [(1, 1e-3, 0.0), (3, 1e-3, 0.05), (6, 1e-4, 0.02), (3, 3e-2, 0.05)])
@pytest.mark.parametrize(
    ("treat", "n", "n_features"),
    [
        (treat, n, n_features)
        for n, n_features in ((30, 10), (30, 200), (60, 500), (100, 30), (150, 300), (300, 700), (500, 100))
        for treat in (np.asarray, snv_derivative)
        if treat is np.asarray or n_features > 10  # Ten wavelengths are too few for a derivative.
    ],
)
def test_the_shares_hold_for_many_kinds_of_populations(
    treat: Any, n: int, n_features: int, rank_noise_scatter: Any
) -> None:
    options = dict(zip(("rank", "noise", "scatter"), rank_noise_scatter, strict=True))
    t2, q, *others = shares(n, n_features, 30, treat, **options)
    most = 0.03 if n > 30 else 0.035  # The greatest of a hundred cannot be known well from thirty.
    assert 0.003 <= t2 <= most
    assert 0.003 <= q <= most
    foreign, *scaled = others
    assert foreign >= 0.99
    if scaled:
        by_1000, by_1_5 = scaled
        assert by_1000 >= 0.99
        # Who knew the population could tell 97.1 % of ten wavelengths, 99.3 % of thirty and 99.9 % of fifty from it.
        assert by_1_5 >= (0.99 if n_features > 30 else {10: 0.9, 30: 0.97}[n_features])


def test_limits_from_calibration_residuals_flagged_fresh_spectra() -> None:
    draw = population(0, 500, rank=8, noise=0.02)
    X, fresh = draw(40), draw(500)
    domain = fit_domain(X, in_parts(40))
    assert domain is not None
    too_small = domain["limits"][0], np.sqrt(upper_limit(distances(domain, X).q))
    assert distances(domain | {"limits": np.array(too_small)}, fresh).outside_q.mean() > 0.2
    assert distances(domain, fresh).outside_q.mean() < 0.03


def test_scans_of_one_sample_do_not_vouch_for_each_other() -> None:
    draw, rng = population(1, 200, rank=6, noise=1e-4), np.random.default_rng(0)
    X = np.repeat(draw(24), 4, axis=0)
    X += 1e-4 * rng.normal(size=X.shape)
    groups = np.repeat(np.arange(24), 4)
    parts = parts_of([*GroupKFold(5).split(X, groups=groups)], len(X))
    fresh = draw(1000)
    by_sample, by_scan = (fit_domain(X, chosen) for chosen in (parts, in_parts(len(X))))
    assert by_sample is not None
    assert by_scan is not None
    assert distances(by_scan, fresh).outside_q.mean() > 0.05
    assert distances(by_sample, fresh).outside_q.mean() < 0.03


def test_t2_and_q_are_those_of_scikit_learns_pca() -> None:
    draw = population(2, 80)
    X, fresh = draw(60), draw(30)
    domain = fit_domain(X, in_parts(60))
    assert domain is not None
    pca = PCA(len(domain["loadings"]), svd_solver="full").fit(X)
    scores = pca.transform(fresh)
    told = distances(domain, fresh)
    np.testing.assert_allclose(told.t2, np.sum(scores**2 / pca.explained_variance_, axis=1), rtol=1e-3)
    np.testing.assert_allclose(told.q, np.sum((fresh - pca.inverse_transform(scores)) ** 2, axis=1), rtol=1e-3)


def test_a_large_offset_leaves_q_no_less_than_nothing_and_flags_no_spectrum() -> None:
    X = population(2, 80)(90) + 1e6
    domain = fit_domain(X[:60], in_parts(60))
    assert domain is not None
    told = distances(domain, X)
    assert told.q.min() >= 0
    assert not told.outside_q.any()
    assert told.outside_envelope[:60].tolist() == [0] * 60


def test_a_domain_is_plain_arrays_in_float32_and_the_same_each_time() -> None:
    X = population(3, 50)(60)
    one, two = (fit_domain(X, in_parts(60)) for _ in range(2))
    assert one is not None
    assert two is not None
    assert {values.dtype for values in one.values()} == {np.dtype(np.float32)}
    assert [values.tobytes() for values in one.values()] == [values.tobytes() for values in two.values()]


def test_the_envelope_counts_wavelengths_and_no_spectrum_of_the_calibration_leaves_it() -> None:
    X = population(4, 50)(60)
    domain = fit_domain(X, in_parts(60))
    assert domain is not None
    assert distances(domain, X).outside_envelope.tolist() == [0] * 60
    higher = X[:1].copy()
    higher[0, :7] = 10
    higher[0, 7] = -10
    assert distances(domain, higher).outside_envelope.tolist() == [8]


def test_what_is_not_a_number_is_outside() -> None:
    domain = fit_domain(population(5, 50)(60), in_parts(60))
    assert domain is not None
    told = distances(domain, [[np.nan] * 50, [np.inf] * 50])
    assert told.outside_t2.all()
    assert told.outside_q.all()


def test_another_number_of_columns_is_refused() -> None:
    domain = fit_domain(population(5, 50)(60), in_parts(60))
    assert domain is not None
    with pytest.raises(ValueError, match="the 50 columns"):
        distances(domain, np.ones((3, 49)))


def test_spectra_without_noise_and_with_equal_ones_are_within_their_own_limits() -> None:
    rng = np.random.default_rng(6)
    for X in (
        rng.normal(size=(60, 2)) @ rng.normal(size=(2, 40)) + 5,
        np.full((60, 40), 0.1),
        rng.normal(size=(60, 1)),
    ):
        domain = fit_domain(X[:40], in_parts(40))
        assert domain is not None
        told = distances(domain, X[40:])
        assert told.outside_q.sum() == 0
        assert told.outside_t2.sum() <= 1
        assert distances(domain, X[40:] * 1000).outside.mean() > 0.9


@pytest.mark.parametrize("scale", [1e-28, 1e-12, 1e12, 1e28])
def test_a_unit_changes_no_answer(scale: float) -> None:
    X, fresh = population(7, 30)(60), population(7, 30)(60) * 1.2
    one, two = (fit_domain(X * factor, in_parts(60)) for factor in (1, scale))
    assert one is not None
    assert two is not None
    assert np.array_equal(distances(one, fresh).outside, distances(two, fresh * scale).outside)


def test_what_cannot_be_judged_has_no_domain() -> None:
    X = population(8, 30)(60)
    with_gap = X.copy()
    with_gap[3, 4] = np.nan
    few = FEWEST_SAMPLES - 1
    assert fit_domain(with_gap, in_parts(60)) is None
    assert fit_domain(X * 1e40, in_parts(60)) is None
    assert fit_domain(X.astype(str), in_parts(60)) is None
    assert fit_domain(X[..., None], in_parts(60)) is None
    assert fit_domain(X[:few], in_parts(few)) is None
    assert fit_domain(X, np.full(60, -1)) is None
    assert fit_domain(X, np.zeros(60, int)) is None


def test_sparse_and_whole_numbers_are_numbers() -> None:
    X = np.random.default_rng(9).integers(0, 3, (60, 8))
    dense, sparse = fit_domain(X, in_parts(60)), fit_domain(csr_array(X), in_parts(60))
    assert dense is not None
    assert sparse is not None
    assert np.array_equal(distances(dense, X).q, distances(sparse, csr_array(X)).q)


def test_parts_are_few_and_those_of_the_folds() -> None:
    X = np.zeros((23, 1))
    folds = [*KFold(3, shuffle=True, random_state=0).split(X)]
    parts = parts_of(folds, 23)
    assert all(set(parts[held_out]) == {number} for number, (_, held_out) in enumerate(folds))
    assert np.array_equal(parts_of([*LeaveOneOut().split(X)], 23), np.arange(23) % MOST_PARTS)
    repeated = [*RepeatedKFold(n_splits=3, n_repeats=2, random_state=0).split(X)]
    assert np.array_equal(parts_of(repeated, 23), parts_of(repeated[:3], 23))
    _, held_out = next(ShuffleSplit(1, random_state=0).split(X))
    assert np.array_equal(np.flatnonzero(parts_of([(None, held_out)], 23) == 0), np.sort(held_out))


@pytest.mark.parametrize("n", [20, 60, 150, MANY])
@pytest.mark.parametrize("degrees", [1, 3, 10])
def test_the_limit_of_sums_of_squares_is_at_99_percent(n: int, degrees: int) -> None:
    rng = np.random.default_rng(10)
    limits = [upper_limit(rng.chisquare(degrees, n)) for _ in range(400)]
    fresh = np.sort(rng.chisquare(degrees, 100_000))
    beyond = 1 - np.searchsorted(fresh, limits) / len(fresh)
    assert 0.005 < np.mean(beyond) < 0.03


def test_the_limit_of_many_values_needs_no_assumption() -> None:
    rng = np.random.default_rng(11)
    for draw in (rng.uniform, lambda size: rng.lognormal(0, 2, size)):
        beyond = [np.mean(draw(size=20_000) > upper_limit(draw(size=MANY))) for _ in range(100)]
        assert 0.007 < np.mean(beyond) < 0.013


def test_the_count_by_chance_is_that_of_two_limits() -> None:
    assert (by_chance(50), by_chance(1000), by_chance(10)) == (1, 20, 0)


def test_one_spectrum_is_told_beside_a_chance_that_is_small() -> None:
    told = "1 of 1 spectra is unlike the calibration; by chance alone hardly one would be"
    assert summary(np.array([True])) == told
    assert summary(np.array([False])) is None


def test_a_prediction_that_is_no_number_is_in_no_range() -> None:
    y = np.array([[1.0, 5.0], [np.nan, 5.0], [0.0, 5.0], [1.0, 7.0]])
    assert outside_range(y, [[0.5, 2], [4, 6]]).tolist() == [False, True, True, True]


def test_fresh_real_spectra_are_seldom_flagged_and_foreign_ones_always() -> None:
    coffee, other = load_coffee()[0].to_numpy(), load_fermentation_train()[0].to_numpy()
    grid = np.linspace(0, 1, coffee.shape[1])
    other = np.stack([np.interp(grid, np.linspace(0, 1, len(spectrum)), spectrum) for spectrum in other])
    found = []
    for train, fresh in ShuffleSplit(15, test_size=15, random_state=0).split(coffee):
        domain = fit_domain(coffee[train], in_parts(len(train)))
        assert domain is not None
        told = distances(domain, coffee[fresh])
        assert distances(domain, other).outside.all()
        assert distances(domain, coffee[fresh] * 1.5).outside.mean() > 0.9
        assert distances(domain, coffee[fresh] * 1000).outside.all()
        found.append([told.outside_t2.mean(), told.outside_q.mean()])
    t2, q = np.mean(found, axis=0)
    assert t2 <= 0.05
    assert q <= 0.05
