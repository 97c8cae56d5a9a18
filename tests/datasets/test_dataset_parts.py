"""A dataset from several files and columns: references, groups, samples, test data, splits, units."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore
from nirs4all_store.datasets.reader import read_dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 10)).cumsum(axis=1)
Y = np.round(RNG.normal(12, 1, 12), 2)
NAMES = [str(1100 + 10 * place) for place in range(10)]
SAMPLES = [f"S{row:02}" for row in range(12)]
SPECTRA = pl.DataFrame(X, schema=NAMES, orient="row")
WHEAT = SPECTRA.with_columns(sample=pl.Series(SAMPLES), protein=Y, moisture=pl.Series(RNG.normal(size=12)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    WHEAT.write_csv("wheat.csv")
    SPECTRA.write_csv("Xcal.csv", separator=";")
    WHEAT.select("protein").write_csv("Ycal.csv", separator=";")
    WHEAT.select("sample", "protein", "moisture").reverse().write_csv("lab.csv")
    np.save("X.npy", X)
    np.save("y.npy", Y)
    return tmp_path


@pytest.mark.parametrize(
    "given",
    [
        {"X": "Xcal.csv", "y": "Ycal.csv"},
        ("Xcal.csv", "Ycal.csv"),
        (Path("Xcal.csv"), Path("Ycal.csv")),
        {"X": "Xcal.csv", "y": "y.npy"},
        {"X": "X.npy", "y": "Ycal.csv", "wavelengths": [*map(float, NAMES)]},
        {"X": "wheat.csv", "y": "protein"},
        {"X": "wheat.csv", "y": pl.DataFrame({"protein": Y})},
    ],
    ids=str,
)
@pytest.mark.usefixtures("here")
def test_y_in_a_file_of_its_own_once_was_refused(given: Any) -> None:
    data = read_dataset(given)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert data.content_hash == read_dataset("wheat.csv", "protein").content_hash


@pytest.mark.usefixtures("here")
def test_references_are_joined_by_a_column() -> None:
    data = read_dataset({"X": "wheat.csv", "y": "lab.csv", "join": "sample"}, "protein")
    np.testing.assert_array_equal(data.y, Y)
    assert (data.sample_names.tolist(), data.target_names) == (SAMPLES, ["protein"])
    both = read_dataset({"X": "wheat.csv", "y": "lab.csv", "join": "sample"}, ["protein", "moisture"])
    np.testing.assert_array_equal(both.y, WHEAT.select("protein", "moisture").to_numpy())
    WHEAT.select("sample", "protein")[:9].write_csv("part.csv")
    part = read_dataset({"X": "wheat.csv", "y": "part.csv", "join": "sample"})
    assert (part.rows.tolist(), part.excluded) == ([*range(9)], 3)
    test = read_dataset(
        {"X": WHEAT[:8], "y": "lab.csv", "join": "sample", "test": WHEAT[8:].drop("protein")}, "protein"
    )
    np.testing.assert_array_equal(test.y_test, Y[8:])
    assert test.test_sample_names.tolist() == SAMPLES[8:]


def test_numbers_of_samples_are_joined_however_they_are_written(tmp_path: Path) -> None:
    SPECTRA.with_columns(plot=pl.Series(range(12))).write_csv(tmp_path / "x.csv")
    pl.DataFrame({"plot": [float(n) for n in range(12)], "y": Y}).reverse().write_csv(tmp_path / "y.csv")
    np.testing.assert_array_equal(read_dataset({"X": tmp_path / "x.csv", "y": tmp_path / "y.csv", "join": "plot"}).y, Y)


@pytest.mark.parametrize(
    ("given", "target", "message"),
    [
        (
            {"X": "wheat.csv", "y": "lab.csv"},
            None,
            "lab.csv has the columns sample, protein, moisture; name those of y",
        ),
        ({"X": "wheat.csv", "y": "lab.csv"}, "protein", "sample 'S11' in row 0 .*, where X has 'S00'; join='sample'"),
        ({"X": WHEAT[:5], "y": "lab.csv"}, "protein", "lab.csv has 12 rows and X has 5; join='sample'"),
        (
            {"X": "wheat.csv", "y": "lab.csv", "join": "plot"},
            "protein",
            "no column 'plot' to join.* it has .*'moisture'",
        ),
        (
            {"X": "Xcal.csv", "y": "lab.csv", "join": "sample"},
            "protein",
            "no column 'sample' to join.* it has none but",
        ),
        ({"X": "wheat.csv", "y": "lab.csv", "join": "protein"}, "moisture", None),
        ({"X": "X.npy", "y": "lab.csv", "join": "sample"}, "protein", "X is none; give X as a table"),
        ({"X": "wheat.csv", "y": "twice.csv", "join": "sample"}, "y", "twice.csv has sample 'S01' in several rows"),
        ({"X": "wheat.csv", "y": "other.csv", "join": "sample"}, "y", "no sample of X, as 'S00', is in other.csv"),
        ({"X": "wheat.csv", "y": "Ycal.csv", "test": "a.csv", "X_test": X}, None, "both test and X_test"),
        ({"X": "wheat.csv", "y": "lab.docx"}, None, "no column 'lab.docx'"),
        ({"X": "wheat.csv", "y": Path("lab.docx")}, None, "lab.docx is no table by its name"),
        ({"X": "wheat.docx", "y": Y}, None, "wheat.docx is no table by its name"),
        ({"X": "wheat.csv", "y": "protein", "unit": ["%", "%"]}, None, "2 units are given for 1 targets"),
        ({"X": "wheat.csv", "y": "protein", "unit": {"fat": "%"}}, None, "a unit is given for 'fat'"),
        (
            {"X": "wheat.csv", "y": "protein", "weights": "sample"},
            None,
            "one number for each sample, and begin with 'S00'",
        ),
        ({"X": "wheat.csv", "y": "protein", "groups": "Xcal.csv"}, None, "Xcal.csv has the columns .*; give a file"),
    ],
)
@pytest.mark.usefixtures("here")
def test_references_of_other_samples_are_refused(given: Any, target: Any, message: str | None) -> None:
    pl.DataFrame({"sample": ["S01", "S01"], "y": [1, 2]}).write_csv("twice.csv")
    pl.DataFrame({"sample": ["T01", "T02"], "y": [1, 2]}).write_csv("other.csv")
    if message is None:
        np.testing.assert_array_equal(read_dataset(given, target).y, WHEAT["moisture"])
        return
    with pytest.raises(InvalidInputError, match=message):
        read_dataset(given, target)


@pytest.mark.usefixtures("here")
def test_what_a_dataset_tells_of_its_samples_is_kept() -> None:
    WHEAT.with_columns(lot=pl.Series(["a", "b"] * 6), w=pl.lit(2)).write_csv("more.csv")
    given = {"X": "more.csv", "y": ["protein", "moisture"], "sample": "sample", "groups": "lot", "weights": "w"}
    data = read_dataset(given | {"unit": ["%", "g"]})
    assert (data.name, data.origin, data.metadata) == ("more", "more.csv", None)
    assert (data.target_names, data.units) == (["protein", "moisture"], {"protein": "%", "moisture": "g"})
    assert (data.sample_names.tolist(), data.groups.tolist()[:2], data.weights.tolist()[:2]) == (
        SAMPLES,
        ["a", "b"],
        [2, 2],
    )
    one = read_dataset(given | {"y": "protein", "sample": None})
    assert one.metadata.columns == ["sample", "moisture"]
    assert read_dataset({"X": X, "y": Y, "unit": "%"}).units == {"y": "%"}


def test_units_and_the_unit_of_wavelengths_come_from_a_line_of_units(tmp_path: Path) -> None:
    lines = WHEAT.write_csv().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([lines[0], "nm," * 10 + ",%,g/l", *lines[1:]]))
    data = read_dataset(tmp_path / "a.csv", "protein")
    assert (data.units, data.wavelength_unit, data.y.tolist()) == ({"protein": "%"}, "nm", Y.tolist())
    named = SPECTRA.rename(lambda name: f"{name} cm-1").with_columns(y=Y)
    assert read_dataset(named, "y").wavelength_unit == "cm-1"


@pytest.mark.usefixtures("here")
def test_names_of_samples_are_in_the_hash_only_where_they_are_given() -> None:
    plain, named = (
        read_dataset("wheat.csv", "protein"),
        read_dataset({"X": "wheat.csv", "y": "protein", "sample": "sample"}),
    )
    assert plain.content_hash == "1668c76121c739000b7604e7b5f76398e21e619e3707daf4aca7788b2d0dc814", "as it always was"
    assert named.content_hash != plain.content_hash
    assert named.content_hash == read_dataset({"X": SPECTRA, "y": Y, "sample": SAMPLES}).content_hash


@pytest.mark.usefixtures("here")
def test_a_split_parts_the_rows_of_one_file() -> None:
    words = pl.Series(["Train"] * 6 + ["test"] * 4 + ["train "] * 2)
    holes = WHEAT.with_columns(split=words, protein=pl.when(pl.col("sample") == "S07").then(None).otherwise("protein"))
    holes.write_csv("split.csv")
    data = read_dataset({"X": "split.csv", "y": "protein", "split": "split", "sample": "sample"})
    assert (data.rows.tolist(), data.test_rows.tolist()) == ([0, 1, 2, 3, 4, 5, 10, 11], [6, 8, 9])
    np.testing.assert_array_equal(data.X, X[data.rows])
    np.testing.assert_array_equal(data.X_test, X[data.test_rows])
    np.testing.assert_array_equal(data.y_test, Y[data.test_rows])
    assert data.test_sample_names.tolist() == ["S06", "S08", "S09"]
    assert data.test_metadata["moisture"].cast(float).to_list() == WHEAT["moisture"].gather([6, 8, 9]).to_list()
    assert (data.validates, data.excluded) == (None, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"] * 11 + ["n"], "split has 'n' in row 11"),
        (["test"] * 12, "all rows as test"),
        (["train"] * 11, "split has 11 samples"),
    ],
)
def test_words_of_a_split_that_say_nothing_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_dataset({"X": X, "y": Y, "split": words})


def test_rows_that_validate_are_the_only_fold(store: WorkspaceStore) -> None:
    words = np.array(["cal"] * 7 + ["val"] * 3 + ["test"] * 2)
    given = {"X": X, "y": Y, "split": words}
    best = PipelineRunner(store).run([Ridge()], given).filter(fold_id="avg")
    model = Ridge().fit(X[:7], Y[:7])
    for partition, rows in (("val", slice(7, 10)), ("test", slice(10, 12))):
        expected = np.sqrt(np.mean((model.predict(X[rows]) - Y[rows]) ** 2))
        assert best.filter(partition=partition)[f"{partition}_score"][0] == pytest.approx(expected)
    with pytest.raises(InvalidInputError, match="says which samples validate, and step 1"):
        PipelineRunner(store).run([KFold(3), Ridge()], given)


@pytest.mark.parametrize("target", [("ref", "protein"), "('ref', 'protein')", [("ref", "protein")]])
def test_levels_of_names_of_pandas_name_one_target(target: Any) -> None:
    table = WHEAT.to_pandas().set_index("sample")
    levels = [("spc", int(name)) if name in NAMES else ("ref", name) for name in table.columns]
    data = read_dataset(table.set_axis(pd.MultiIndex.from_tuples(levels), axis=1), target)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    np.testing.assert_array_equal(data.wavelengths, [*map(float, NAMES)])
    both = read_dataset(
        table.set_axis(pd.MultiIndex.from_tuples(levels), axis=1), [("ref", "protein"), ("ref", "moisture")]
    )
    assert both.y.shape == (12, 2)


def test_a_split_trains_as_test_data_of_its_own_would(store: WorkspaceStore) -> None:
    words = ["train"] * 9 + ["test"] * 3
    runner = PipelineRunner(store)
    one = runner.run([KFold(3), PLSRegression(2)], {"X": WHEAT, "y": "protein", "split": words})
    two = runner.run([KFold(3), PLSRegression(2)], {"X": WHEAT[:9], "y": "protein", "test": WHEAT[9:]})
    scores = ["fold_id", "partition", "val_score", "test_score", "train_score"]
    assert_frame_equal(one.select(scores), two.select(scores))  # The last digits depend on how X lies in memory.


@pytest.mark.usefixtures("here")
def test_a_target_that_the_file_of_references_lacks_was_an_error_of_polars() -> None:
    parts = {"X": WHEAT.drop("protein", "moisture"), "y": "lab.csv", "join": "sample"}
    with pytest.raises(InvalidInputError, match=r"lab.csv has no column 'ash'; name one of .*'protein'.* --target"):
        read_dataset(parts, "ash")


def test_a_column_of_groups_that_is_not_there_was_asked_for_as_target() -> None:
    with pytest.raises(InvalidInputError, match=r"no column 'lot'; .* as groups=, in a shell with --groups"):
        read_dataset({"X": WHEAT, "y": "protein", "groups": "lot"})


def test_columns_of_test_data_were_not_found_by_their_wavelengths_as_those_to_predict_are(tmp_path: Path) -> None:
    rounded = WHEAT.rename({name: f"{int(name) + 0.4}" for name in NAMES})
    assert np.array_equal(read_dataset({"X": WHEAT, "test": rounded.reverse()}, "protein").X_test, X[::-1])
    WHEAT.rename({name: f"{int(name) + 5}" for name in NAMES}).write_csv(tmp_path / "new.csv")
    with pytest.raises(InvalidInputError, match=r"new.csv lacks 10 of the 10 wavelengths .* differ by up to 5"):
        read_dataset({"X": WHEAT, "test": tmp_path / "new.csv"}, "protein")


def test_names_of_samples_in_the_index_of_pandas_were_lost() -> None:
    table, named = WHEAT.to_pandas(), WHEAT.to_pandas().set_index("sample")
    assert read_dataset({"X": named, "test": named}, "protein").test_metadata["sample"].to_list() == SAMPLES
    assert read_dataset({"X": named, "y": "protein", "groups": "sample"}).groups.tolist() == SAMPLES
    assert read_dataset(named, "protein").content_hash == read_dataset(table, "protein").content_hash
    counted = table.set_index(pd.Index(range(100, 112), name="1000"))
    assert read_dataset(counted, "protein").columns == NAMES


def test_levels_of_names_of_pandas_named_no_groups() -> None:
    table = WHEAT.to_pandas()
    levels = [("spc", int(name)) if name in NAMES else ("ref", name) for name in table.columns]
    table = table.set_axis(pd.MultiIndex.from_tuples(levels), axis=1)
    data = read_dataset({"X": table, "y": ("ref", "protein"), "groups": ("ref", "sample")})
    assert (data.y.tolist(), data.groups.tolist()) == (Y.tolist(), SAMPLES)
