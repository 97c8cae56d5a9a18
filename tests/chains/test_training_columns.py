"""A frame's columns are found by the names or wavelengths of training: in replay, estimators, bundles and scripts."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from programs import run_script
from samples import slow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from nirs4all_store import ChainInputError, InvalidInputError, PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.chains.training_columns import TrainedOn
from nirs4all_store.testing.contract import add_pipeline

X = np.random.default_rng(0).normal(size=(20, 12)).cumsum(axis=1)
Y = X[:, 3] - X[:, 7]
WAVELENGTHS = [1100 + 2.5 * number for number in range(12)]
NUMBERS = [f"{wavelength:g}" for wavelength in WAVELENGTHS]
PLAIN = [f"band {letter}" for letter in "abcdefghijkl"]
CONFIG = [KFold(3), StandardScaler(), {"model": Ridge()}]


def table(names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(X, schema=names)


def trained(store: WorkspaceStore, data: Any) -> tuple[str, Any]:
    """Return a chain, and what it predicts of X as it was in training."""
    chain_id = PipelineRunner(store).run(CONFIG, data)["chain_id"][0]
    return chain_id, store.replay_chain(chain_id, X)


@pytest.fixture
def named(store: WorkspaceStore) -> tuple[str, Any]:
    return trained(store, (table(NUMBERS), Y))


def predictors(store: WorkspaceStore, chain_id: str, folder: Path) -> list[Any]:
    bundle = load_bundle(store.export_chain(chain_id, folder / "model.n4a"), trusted=True)
    return [lambda given: store.replay_chain(chain_id, given), store.load_chain(chain_id).predict, bundle.predict]


def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with its columns in another order, and others among them."""
    order = np.random.default_rng(1).permutation(frame.width)
    mixed = frame.select([frame.columns[place] for place in order])
    return mixed.insert_column(3, pl.Series("sample", [f"s{n}" for n in range(20)])).with_columns(protein=pl.lit(1.5))


def to_levels(frame: pl.DataFrame) -> Any:
    """Return a frame of pandas with two levels of names."""
    table = frame.to_pandas()
    return table.set_axis(pd.MultiIndex.from_tuples([("nir", name) for name in table.columns]), axis=1)


FRAMES = {
    "polars": lambda frame: frame,
    "pandas": pl.DataFrame.to_pandas,
    "two levels": to_levels,
    "arrow": pl.DataFrame.to_arrow,
    "a batch of arrow": lambda frame: frame.to_arrow().to_batches()[0],
    "a relation of DuckDB": lambda frame: duckdb.from_arrow(frame.to_arrow()),
}


FEW = (("{:g}", "polars"), ("{:g}", "a relation of DuckDB"), ("X{:g}", "pandas"), ("{:.4f} nm", "two levels"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind) if (name, kind) in FEW else slow(name, kind)
        for name in ("{:g}", "X{:g}", "{:.4f} nm")
        for kind in FRAMES
    ],
)
def test_columns_in_another_order_once_gave_other_predictions_without_a_word(
    store: WorkspaceStore, named: tuple[str, Any], tmp_path: Path, name: str, kind: str
) -> None:
    chain_id, expected = named
    frame = FRAMES[kind](shuffled(table([*map(name.format, WAVELENGTHS)])))
    for predict in predictors(store, chain_id, tmp_path):
        np.testing.assert_allclose(predict(frame), expected, rtol=1e-12)


def test_names_that_are_no_wavelengths_are_found_too(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id, expected = trained(store, (table(PLAIN), Y))
    for predict in predictors(store, chain_id, tmp_path):
        np.testing.assert_allclose(predict(shuffled(table(PLAIN))), expected, rtol=1e-12)
        with pytest.raises(ChainInputError, match=r"the frame lacks 2 of the 12 columns .* 'band b', 'band k'"):
            predict(table(PLAIN).drop("band b", "band k"))


def test_the_wavelengths_of_arrays_find_the_columns_of_a_frame(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id, expected = trained(store, {"X": X, "y": Y, "wavelengths": np.array(WAVELENGTHS)})
    for predict in predictors(store, chain_id, tmp_path):
        np.testing.assert_allclose(predict(shuffled(table(NUMBERS))), expected, rtol=1e-12)
        np.testing.assert_allclose(predict(table(PLAIN)), expected, rtol=1e-12)
        with pytest.raises(ChainInputError, match="has 11 columns of numbers, and the chain was trained on 12"):
            predict(table(PLAIN).drop("band a"))


@pytest.mark.parametrize(
    "frame",
    [
        slow(table(NUMBERS).drop(NUMBERS[4])),
        table(NUMBERS).to_pandas().drop(columns=NUMBERS[4]),
        slow(table([f"X{name}" for name in NUMBERS]).drop(f"X{NUMBERS[4]}")),
        table([f"2{name[1:]}" for name in NUMBERS]),
    ],
    ids=["polars", "pandas", "other names", "another instrument"],
)
def test_a_frame_that_lacks_a_column_once_was_read_by_places(
    store: WorkspaceStore, named: tuple[str, Any], tmp_path: Path, frame: Any
) -> None:
    for predict in predictors(store, named[0], tmp_path):
        with pytest.raises(ChainInputError, match=r"the frame lacks (1|12) of the 12 wavelengths .* 11(00|10)"):
            predict(frame)


def test_arrays_and_frames_that_nobody_named_go_by_their_places(
    store: WorkspaceStore, named: tuple[str, Any], tmp_path: Path
) -> None:
    chain_id, expected = named
    for predict in predictors(store, chain_id, tmp_path):
        for given in (X, X.tolist(), pd.DataFrame(X), pl.DataFrame(X)):
            np.testing.assert_allclose(predict(given), expected, rtol=1e-12)


def test_a_chain_that_knows_no_columns_leaves_a_frame_to_its_objects(store: WorkspaceStore) -> None:
    frame = table(PLAIN).to_pandas()
    model_id = store.save_artifact(Ridge().fit(frame, Y), "Ridge", "model", "joblib")
    step = {"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}
    _, pipeline_id = add_pipeline(store)
    chain_id = store.save_chain(pipeline_id, [step], 0, "Ridge", "", "per_fold", {"0": [model_id]}, {})
    np.testing.assert_array_equal(store.replay_chain(chain_id, frame), Ridge().fit(frame, Y).predict(frame))
    with pytest.raises(ChainInputError, match="feature names"):
        store.replay_chain(chain_id, frame[frame.columns[::-1]])


def test_probabilities_and_scores_take_frames_too(store: WorkspaceStore) -> None:
    labels = np.where(np.median(Y) < Y, "high", "low")
    config = [KFold(3), {"model": LogisticRegression(max_iter=500)}]
    estimator = store.load_chain(PipelineRunner(store).run(config, (table(NUMBERS), labels))["chain_id"][0])
    frame = shuffled(table(NUMBERS))
    np.testing.assert_allclose(estimator.predict_proba(frame), estimator.predict_proba(X), rtol=1e-12)
    assert estimator.score(frame, labels) == estimator.score(X, labels)


class Tilt(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: Any, y: Any = None, wavelengths: Any = None) -> "Tilt":
        return self

    def transform(self, X: Any, wavelengths: Any = None) -> Any:
        return X * (np.asarray(wavelengths) / 1000)


def test_wavelengths_come_with_the_columns_of_a_frame(store: WorkspaceStore) -> None:
    chain_id = PipelineRunner(store).run([KFold(3), Tilt(), Ridge()], (table(NUMBERS), Y))["chain_id"][0]
    expected = store.replay_chain(chain_id, X, np.array(WAVELENGTHS))
    for wavelengths in (None, WAVELENGTHS):
        np.testing.assert_allclose(store.replay_chain(chain_id, shuffled(table(NUMBERS)), wavelengths), expected)
    with pytest.raises(ChainInputError, match="other wavelengths are given than those of training"):
        store.replay_chain(chain_id, shuffled(table(NUMBERS)), [*reversed(WAVELENGTHS)])


# -- the script ------------------------------------------------------------------------------


def test_a_script_finds_the_columns_of_a_file_by_their_names(
    store: WorkspaceStore, named: tuple[str, Any], tmp_path: Path
) -> None:
    chain_id, expected = named
    script = store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py")
    file = tmp_path / "X.csv"
    shuffled(table(NUMBERS)).with_columns(note=pl.lit('a, "b"')).write_csv(file)
    np.testing.assert_allclose(np.array(run_script(script, file).stdout.split(), float), expected, rtol=1e-9)
    table([f"X{name}" for name in NUMBERS]).select(pl.all().reverse()).write_csv(file, separator=";")
    np.testing.assert_allclose(np.array(run_script(script, file).stdout.split(), float), expected[::-1], rtol=1e-9)
    table(NUMBERS).write_csv(file)  # A line of numbers that rise, and known to be those of training.
    np.testing.assert_allclose(np.array(run_script(script, file).stdout.split(), float), expected, rtol=1e-9)
    np.savetxt(file, X, delimiter=",")
    np.testing.assert_allclose(np.array(run_script(script, file).stdout.split(), float), expected, rtol=1e-9)


def test_a_script_refuses_a_file_that_lacks_columns(
    store: WorkspaceStore, named: tuple[str, Any], tmp_path: Path
) -> None:
    script = store.export_chain(named[0], tmp_path / "model.n4a.py", format="n4a.py")
    file = tmp_path / "X.csv"
    shuffled(table(NUMBERS)).drop(NUMBERS[4]).write_csv(file)
    done = run_script(script, file)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot predict: {file} lacks 1 of the 12 wavelengths" in done.stderr
    assert "the first 1110;" in done.stderr


def test_a_script_of_wavelengths_gives_them_to_the_operators(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = PipelineRunner(store).run(CONFIG, {"X": X, "y": Y, "wavelengths": np.array(WAVELENGTHS)})["chain_id"][0]
    script = store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py")
    assert f"WAVELENGTHS = {WAVELENGTHS!r}" in script.read_text()


@pytest.mark.parametrize(
    "params", [None, [1], "x", {"columns": "ab"}, {"columns": [1, 2]}, {"wavelengths": {"a": 1}}], ids=str
)
def test_a_chain_whose_row_has_something_else_than_columns_ended_in_a_raw_error(params: Any) -> None:
    steps = [{"step_idx": 0, "params": params}]
    found = TrainedOn.of({"steps": steps, "model_step_idx": 0})
    assert (found.columns, found.wavelengths) == (None, None)


def test_lists_in_lists_were_predicted_before_they_were_counted() -> None:
    with pytest.raises(InvalidInputError, match="X is lists in lists"):
        TrainedOn().arrays([[[[1.0]]]], None)


# -- other wavelengths -----------------------------------------------------------------------

GRID = 908.1 + 6.194354 * np.arange(12)


@pytest.fixture
def on_grid(store: WorkspaceStore) -> tuple[str, Any]:
    return trained(store, (table([f"{wavelength:.5f}" for wavelength in GRID]), Y))


@pytest.mark.parametrize("decimals", [4, slow(2), slow(1), 0])
def test_a_header_that_was_rounded_once_was_refused_as_another_instruments(
    store: WorkspaceStore, on_grid: tuple[str, Any], tmp_path: Path, decimals: int
) -> None:
    chain_id, expected = on_grid
    rounded = table([f"{wavelength:.{decimals}f}" for wavelength in GRID])
    for predict in predictors(store, chain_id, tmp_path):
        np.testing.assert_allclose(predict(shuffled(rounded)), expected, rtol=1e-12)
    script = store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py")
    rounded.write_csv(tmp_path / "X.csv")
    printed = run_script(script, tmp_path / "X.csv").stdout
    np.testing.assert_allclose(np.array(printed.split(), float), expected, rtol=1e-9)


def test_another_grid_is_refused_with_by_how_much_it_differs(store: WorkspaceStore, on_grid: tuple[str, Any]) -> None:
    for shift in (1.5, -1.5):
        frame = table([f"{wavelength + shift:.5f}" for wavelength in GRID])
        with pytest.raises(ChainInputError, match=r"lacks 12 .* differ by up to 1\.5, where the step is 6\.19.*ment$"):
            store.replay_chain(on_grid[0], frame)
    wider = np.arange(900, 990, 3.0)
    frame = pl.DataFrame(np.ones((1, len(wider))), schema=[f"{wavelength:g}" for wavelength in wider])
    with pytest.raises(
        ChainInputError, match=r"differ by up to 1\.\d+, where the step is 3: .* or predict with resample"
    ):
        store.replay_chain(on_grid[0], frame)


def test_selected_wavelengths_are_not_the_same_because_the_next_are_far(store: WorkspaceStore) -> None:
    data = {"X": X[:, :3], "y": Y, "wavelengths": np.array([1100.0, 1500.0, 2200.0])}
    chain_id = PipelineRunner(store).run(CONFIG, data)["chain_id"][0]
    expected = store.replay_chain(chain_id, X[:, :3])
    rounded = store.replay_chain(chain_id, X[:, :3], [1100.4, 1499.8, 2200.3])
    np.testing.assert_allclose(rounded, expected, rtol=1e-12)
    with pytest.raises(ChainInputError, match=r"lacks 1 of the 3 wavelengths .* the first 1500; .* differ by up to 5,"):
        store.replay_chain(chain_id, X[:, :3], [1100.0, 1505.0, 2200.0])


def test_spectra_of_another_instrument_are_interpolated_if_that_is_asked_for(
    store: WorkspaceStore, on_grid: tuple[str, Any], tmp_path: Path
) -> None:
    chain_id, _ = on_grid
    wider = np.arange(900, 990, 3.0)
    measured = np.random.default_rng(3).normal(size=(5, len(wider))).cumsum(axis=1)
    expected = store.replay_chain(chain_id, np.array([np.interp(GRID.round(5), wider, row) for row in measured]))
    frame = pl.DataFrame(measured, schema=[f"X{wavelength:g}" for wavelength in wider]).select(pl.all().reverse())
    bundle = load_bundle(store.export_chain(chain_id, tmp_path / "model.n4a"), trusted=True)
    for predict in (bundle.predict, store.load_chain(chain_id).predict):
        np.testing.assert_allclose(predict(frame.to_pandas(), resample=True)[::-1], expected, rtol=1e-12)
    np.testing.assert_allclose(store.replay_chain(chain_id, measured, wider, resample=True), expected, rtol=1e-12)
    script = store.export_chain(chain_id, tmp_path / "model.n4a.py", format="n4a.py")
    frame.write_csv(tmp_path / "X.csv")
    printed = run_script(script, tmp_path / "X.csv", "--resample").stdout
    np.testing.assert_allclose(np.array(printed.split(), float)[::-1], expected, rtol=1e-9)
    with pytest.raises(ChainInputError, match=r"from 912 to 987, and the chain was trained on 908\.1 to 976"):
        store.replay_chain(chain_id, frame.drop("X900", "X903", "X906", "X909"), resample=True)
    with pytest.raises(ChainInputError, match="resample needs the wavelengths of X"):
        store.replay_chain(chain_id, X, resample=True)


def test_what_knows_no_wavelengths_is_not_resampled_without_a_word(store: WorkspaceStore) -> None:
    chain_id, _ = trained(store, (table(PLAIN), Y))
    with pytest.raises(ChainInputError, match="resample needs the wavelengths of training"):
        store.replay_chain(chain_id, table(PLAIN), resample=True)


def test_the_list_of_names_was_made_anew_for_each_column(monkeypatch: pytest.MonkeyPatch) -> None:
    made, own = [], pl.DataFrame.columns
    names = [f"{1000 + place}" for place in range(200)]
    frame = pl.DataFrame(np.ones((2, 200)), schema=names)
    counted = property(lambda self: made.append(1) or own.fget(self), own.fset)
    monkeypatch.setattr(pl.DataFrame, "columns", counted)
    TrainedOn(columns=names).find(frame, "the table")
    assert len(made) < 20
