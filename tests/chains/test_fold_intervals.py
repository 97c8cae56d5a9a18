"""Intervals around the predictions of stored chains, beside their definition with scikit-learn's own folds."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from samples import slow
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, TimeSeriesSplit

from nirs4all_store import ChainReplayError, InvalidInputError, PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.chains.intervals import checked_residuals
from nirs4all_store.testing.contract import X as CONTRACT_X
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

GENERATOR = np.random.default_rng(0)
X, X_NEW = GENERATOR.normal(size=(40, 6)), GENERATOR.normal(size=(7, 6))
Y = X[:, 0] + GENERATOR.normal(size=40)
X_NEW_FRAME = pl.DataFrame(X_NEW, schema=[f"column_{place}" for place in range(6)])
STEPS = (KFold(4), Ridge())


def trained(store: WorkspaceStore, steps: Any = STEPS, y: Any = Y, **options: Any) -> str:
    dataset = {"X": X, "y": y} | {name: options.pop(name) for name in ("groups", "sample") if name in options}
    return str(PipelineRunner(store).run([*steps], dataset, **options)["chain_id"][0])


def cv_plus(
    splits: Any, level: float = 0.9, y: Any = Y, group: Any = range(40), rows: Any = range(40)
) -> tuple[Any, Any]:
    """Return the bounds of CV+ as Barber et al. (2021) define them, one score a group."""
    scores: dict[Any, tuple[float, Any]] = {}
    for train, held_out in splits:
        model = Ridge().fit(X[rows][train], y[train])
        residuals = np.abs(y[held_out] - model.predict(X[rows][held_out]))
        for name, residual in zip(np.asarray(group)[held_out], residuals, strict=True):
            if residual >= scores.get(name, (0,))[0]:
                scores[name] = residual, model.predict(X_NEW)
    n, alpha = len(scores), 1 - level
    low, high = int(np.floor(round(alpha * (n + 1), 9))), int(np.ceil(round((1 - alpha) * (n + 1), 9)))
    lower = np.sort([of_fold - residual for residual, of_fold in scores.values()], axis=0)[low - 1]
    upper = np.sort([of_fold + residual for residual, of_fold in scores.values()], axis=0)[high - 1]
    return lower, upper


def check(store: WorkspaceStore, chain: str, expected: tuple[Any, Any], level: float = 0.9) -> None:
    found = store.predict_frame(chain, X_NEW, interval=level)
    np.testing.assert_allclose(found.select("lower", "upper"), np.stack(expected, axis=1), rtol=1e-9)


@pytest.mark.parametrize("keep", ["all", slow("folds")])
def test_predictions_have_the_intervals_of_cv_plus(store: WorkspaceStore, keep: str) -> None:
    chain = trained(store, keep=keep)
    for level in (0.8, 0.9):
        check(store, chain, cv_plus(KFold(4).split(X), level), level)
    plain = store.predict_frame(chain, X_NEW, spread=True)
    found = store.predict_frame(chain, X_NEW, spread=True, interval=0.9)
    assert found.columns == ["predicted", "lower", "upper", *plain.columns[1:]]
    assert found.drop("lower", "upper").equals(plain)


def test_a_chain_without_a_final_model_has_intervals(store: WorkspaceStore) -> None:
    check(store, trained(store, refit=False), cv_plus(KFold(4).split(X)))


def split_conformal(held_out: Any, level: float = 0.9) -> tuple[Any, Any]:
    """Return the bounds of split conformal as Lei et al. (2018) define them."""
    model = Ridge().fit(X[~held_out], Y[~held_out])
    scores = np.sort(np.abs(Y[held_out] - model.predict(X[held_out])))
    width = scores[int(np.ceil(level * (len(scores) + 1))) - 1]
    return model.predict(X_NEW) - width, model.predict(X_NEW) + width


def test_one_split_into_calibration_and_validation_has_the_intervals_of_split_conformal(store: WorkspaceStore) -> None:
    _, places = next(ShuffleSplit(1, test_size=12, random_state=0).split(X))
    held_out = np.isin(np.arange(40), places)
    check(store, trained(store, [ShuffleSplit(1, test_size=12, random_state=0), Ridge()]), split_conformal(held_out))
    table = pl.DataFrame(X, schema=[str(1100 + 2 * number) for number in range(6)])
    table = table.with_columns(protein=pl.Series(Y), set=pl.Series(np.where(held_out, "val", "cal")))
    ranked = PipelineRunner(store).run([Ridge()], {"X": table, "y": "protein", "split": "set"})
    check(store, ranked["chain_id"][0], split_conformal(held_out))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_split_that_parts_a_group_is_refused(store: WorkspaceStore) -> None:
    chain = trained(store, [ShuffleSplit(1, random_state=0), Ridge()], sample=[f"w{n // 2}" for n in range(40)])
    with pytest.raises(InvalidInputError, match=r"one group are trained on and held out; .* GroupShuffleSplit"):
        store.predict_frame(chain, X_NEW, interval=0.9)


def test_of_repeats_the_first_one_counts(store: WorkspaceStore) -> None:
    splitter = RepeatedKFold(n_splits=4, n_repeats=3, random_state=0)
    check(store, trained(store, [splitter, Ridge()]), cv_plus([*splitter.split(X)][:4]))


def test_too_few_samples_for_a_level_have_no_bounds(store: WorkspaceStore) -> None:
    found = store.predict_frame(trained(store), X_NEW, interval=0.99)
    assert found["lower"].to_list() == [-np.inf] * 7
    assert found["upper"].to_list() == [np.inf] * 7


def test_a_group_is_one_score(store: WorkspaceStore) -> None:
    groups = np.array([f"field {number // 2}" for number in range(40)])
    chain = trained(store, [GroupKFold(4), Ridge()], groups=groups)
    check(store, chain, cv_plus(GroupKFold(4).split(X, groups=groups), group=groups))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scans_of_one_sample_are_one_score_and_what_has_no_name_is_its_own(store: WorkspaceStore) -> None:
    names = [f"w{number // 2}" if number < 26 else None for number in range(40)]
    group = [name or number for number, name in enumerate(names)]
    chain = trained(store, sample=names)
    check(store, chain, cv_plus(KFold(4).split(X), group=np.array(group, object)))


def test_several_targets_have_each_its_own_of_the_samples_that_have_it(store: WorkspaceStore) -> None:
    y = np.stack([Y, -3 * Y + X[:, 1]], axis=1)
    y[[3, 20, 21], 1] = np.nan
    chain = trained(store, y=y)
    found = store.predict_frame(chain, X_NEW, interval=0.9)
    assert found.columns[:6] == ["predicted_0", "predicted_1", "lower_0", "lower_1", "upper_0", "upper_1"]
    has_y = np.flatnonzero(~np.isnan(y[:, 1]))
    splits = [
        (np.flatnonzero(np.isin(has_y, train)), np.flatnonzero(np.isin(has_y, held_out)))
        for train, held_out in KFold(4).split(X)
    ]
    bounds = [cv_plus(KFold(4).split(X)), cv_plus(splits, y=y[has_y, 1], group=has_y, rows=has_y)]
    for target, expected in enumerate(bounds):
        own = found.select(f"lower_{target}", f"upper_{target}")
        np.testing.assert_allclose(own, np.stack(expected, axis=1), rtol=1e-9)


def test_a_table_calls_the_bounds_after_the_target(store: WorkspaceStore) -> None:
    names = [str(1100 + 2 * number) for number in range(6)]
    table = pl.DataFrame(X, schema=names).with_columns(protein=pl.Series(Y))
    chain = str(PipelineRunner(store).run([KFold(4), Ridge()], table, target="protein")["chain_id"][0])
    gap = np.insert(X_NEW, 2, np.nan, axis=0)
    new = pl.DataFrame(gap, schema=names).with_columns(sample=pl.Series([f"n{number}" for number in range(8)]))
    found = store.predict_table(chain, new, interval=0.9)
    assert found.frame.columns[:5] == ["sample", "protein_predicted", "protein_lower", "protein_upper", "t2"]
    bounds = found.frame.select("protein_lower", "protein_upper")
    assert bounds.row(2) == (None, None)
    lower, upper = cv_plus(KFold(4).split(X))
    np.testing.assert_allclose(bounds.drop_nulls(), np.stack([lower, upper], axis=1), rtol=1e-9)
    assert found.beliefs.columns[:2] == ["protein_lower", "protein_upper"]
    unnamed = store.predict_table(trained(store), X_NEW_FRAME, interval=0.9)
    assert unnamed.frame.columns[:3] == ["predicted", "lower", "upper"]


@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        ([KFold(4), Ridge()], {"keep": "final"}, "'fold_final' alone, .* keep='all'"),
        ([TimeSeriesSplit(4), Ridge()], {}, "hold out 8 samples never and 0 several times, as those of time series"),
        slow([ShuffleSplit(3, random_state=0), Ridge()], {}, "as those of time series and of ShuffleSplit do"),
        ([KFold(4), LogisticRegression()], {"y": np.where(Y > 0, "high", "low")}, "predicts classes"),
        slow([KFold(4), LogisticRegression()], {"y": np.where(Y > 0, 1, 0)}, "predicts classes"),
    ],
)
def test_what_has_no_intervals_is_refused(store: WorkspaceStore, steps: Any, options: Any, message: str) -> None:
    chain = trained(store, steps, **options)
    for call in (store.predict_frame, store.predict_table):
        with pytest.raises(InvalidInputError, match=message):
            call(chain, X_NEW_FRAME, interval=0.9)
    assert store.predict_frame(chain, X_NEW).height == 7


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["groups", "sample"])
def test_folds_that_part_a_group_are_refused(store: WorkspaceStore, kind: str) -> None:
    chain = trained(store, **{kind: np.array([f"field {number % 20}" for number in range(40)])})
    with pytest.raises(InvalidInputError, match=f"chain {chain} has no intervals: .* split by groups"):
        store.predict_frame(chain, X_NEW, interval=0.9)


def test_a_bundle_has_the_intervals_of_its_chain(store: WorkspaceStore, tmp_path: Path) -> None:
    names = [f"secret {number}" for number in range(40)]
    chain = trained(store, [RepeatedKFold(n_splits=4, n_repeats=2, random_state=0), Ridge()], sample=names)
    expected = store.predict_frame(chain, X_NEW, interval=0.9)
    bundle = store.export_chain(chain, tmp_path / "corn.n4a")
    assert b"secret" not in bundle.read_bytes()
    found = load_bundle(bundle, trusted=True)
    assert found.predict_frame(X_NEW, interval=0.9).equals(expected)
    assert_frame_equal(found.predict_table(X_NEW_FRAME, interval=0.9).frame, expected)
    assert pickle.loads(pickle.dumps(found)).predict_frame(X_NEW, interval=0.9).equals(expected)
    assert load_bundle(bundle, trusted=True, folds="final").predict(X_NEW).tolist() == expected["predicted"].to_list()
    with WorkspaceStore("memory:elsewhere") as other:
        imported = other.import_bundle(bundle, trusted=True)
        assert other.predict_frame(imported.chain_id, X_NEW, interval=0.9).equals(expected)
        again = other.export_chain(imported.chain_id, tmp_path / "again.n4a")
        assert not other.import_bundle(again, trusted=True).is_new
        assert load_bundle(again, trusted=True).predict_frame(X_NEW, interval=0.9).equals(expected)


@pytest.mark.parametrize(
    ("splitter", "options"), [(TimeSeriesSplit(4), {}), slow(KFold(4), {"keep": "final"}), slow(KFold(4), {"y": Y > 0})]
)
def test_a_bundle_of_a_chain_without_intervals_says_so_and_predicts(
    store: WorkspaceStore, tmp_path: Path, splitter: Any, options: Any
) -> None:
    model = LogisticRegression() if "y" in options else Ridge()
    bundle = store.export_chain(trained(store, [splitter, model], **options), tmp_path / "corn.n4a")
    found = load_bundle(bundle, trusted=True)
    assert len(found.predict(X_NEW)) == 7
    reason = "predicts classes, and" if "y" in options else "has no residuals of samples that its folds held out"
    with pytest.raises(InvalidInputError, match=reason):
        found.predict_frame(X_NEW, interval=0.9)
    with WorkspaceStore("memory:elsewhere") as other:
        imported = other.import_bundle(bundle, trusted=True).chain_id
        with pytest.raises(InvalidInputError, match=r"no stored predictions, with arrays|'fold_final' alone"):
            other.predict_frame(imported, X_NEW, interval=0.9)


def test_residuals_that_are_none_are_refused() -> None:
    sound = {"folds": np.array(["0", "1"]), "residuals_0": np.ones(3), "fold_0": np.array([0, 1, 1])}
    assert checked_residuals(sound) == sound
    odd = [
        sound | {"fold_0": np.array([0, 1, 2])},
        sound | {"residuals_0": np.ones(2)},
        sound | {"residuals_0": np.array(["a", "b", "c"])},
        sound | {"more": np.ones(3)},
        {"folds": sound["folds"]},
        [1],
    ]
    for value in odd:
        with pytest.raises(ValueError, match="not those of residuals"):
            checked_residuals(value)


def test_one_fold_of_several_whose_predictions_are_left_is_no_split(store: WorkspaceStore) -> None:
    chain = trained(store, [TimeSeriesSplit(3), Ridge()])
    for row in store.query_predictions().rows(named=True):
        if row["fold_id"] in ("1", "2"):
            store.delete_prediction(row["prediction_id"])
    with pytest.raises(InvalidInputError, match="3 folds and the stored predictions of one"):
        store.predict_frame(chain, X_NEW, interval=0.9)


def test_a_chain_that_was_pruned_is_refused(store: WorkspaceStore) -> None:
    chains = PipelineRunner(store).run([KFold(4), {"_or_": [Ridge(), Ridge(1e6)]}], (X, Y))["chain_id"].unique()
    store.prune(store.list_runs()["run_id"][0], 1)
    (pruned,) = [chain for chain in chains if not (store.get_chain(chain) or {})["fold_artifacts"]]
    with pytest.raises(ChainReplayError, match="was pruned"):
        store.predict_frame(pruned, X_NEW, interval=0.9)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [(("val", "train"), r"no models of its folds \['2'\]"), (("val",), "no stored predictions, with arrays")],
)
def test_a_fold_is_known_by_its_model_and_by_what_it_was_trained_on(
    store: WorkspaceStore, partitions: tuple[str, ...], message: str
) -> None:
    _, pipeline = add_pipeline(store)
    chain = add_chain(store, pipeline, folds=2)
    for fold, (train, held_out) in enumerate(KFold(3).split(X)):
        for partition, rows in zip(partitions, (held_out, train), strict=False):
            saved = add_prediction(store, pipeline, chain_id=chain, fold_id=str(fold), partition=partition)
            store.save_prediction_arrays(saved, Y[rows], Y[rows], sample_indices=rows)
    with pytest.raises(InvalidInputError, match=message):
        store.predict_frame(chain, CONTRACT_X, interval=0.9)


def test_a_level_that_is_no_share_is_refused(store: WorkspaceStore) -> None:
    chain = trained(store)
    for level in (0, 1, 90, -0.1, np.nan, "0.9"):
        with pytest.raises(InvalidInputError, match="interval"):
            store.predict_frame(chain, X_NEW, interval=level)  # type: ignore[arg-type]  # That is what is refused.
