"""Warnings of what is probably not meant: scans without groups, markers, columns without values."""

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nirs4all_store import DataWarning
from nirs4all_store.datasets.plausibility import implausible, warn_of_known_tests
from nirs4all_store.datasets.reader import read_dataset

RNG = np.random.default_rng(0)
X = 0.6 + RNG.normal(scale=0.01, size=(30, 12)).cumsum(axis=1)
NAMES = [str(1100 + 10 * place) for place in range(12)]
BRIX = np.round(RNG.normal(12, 1, 10), 2)
SCANS = pl.DataFrame(X, schema=NAMES, orient="row").with_columns(brix=pl.Series(np.repeat(BRIX, 3)))


def told(given: Any, target: Any = "brix") -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        read_dataset(given, target)
    assert {one.category for one in found} <= {DataWarning}
    return [str(one.message) for one in found]


@pytest.mark.parametrize(
    "names",
    [
        [f"S{row // 3:02}" for row in range(30)],
        [row // 3 for row in range(30)],
        [str(row // 3) for row in range(30)],
        [f"{row // 3:04}" for row in range(30)],
        [float(row // 3) for row in range(30)],
    ],
    ids=["names", "numbers", "digits", "codes", "whole floats"],
)
def test_scans_of_one_sample_once_leaked_without_a_word(names: list[Any]) -> None:
    table = SCANS.with_columns(sample=pl.Series(names))
    (message,) = told(table)
    assert "30 rows have 10 different values in column 'sample', which is left out" in message
    assert "--groups sample" in message
    assert told({"X": table, "y": "brix", "groups": "sample"}, None) == []
    (named,) = told({"X": table, "y": "brix", "sample": "sample"}, None)
    assert "which names the samples" in named


@pytest.mark.parametrize(
    "names",
    [
        [f"S{row // 3:02}_{row % 3}" for row in range(30)],
        [f"S{row // 3:02} rep {row % 3}" for row in range(30)],
        [f"S{row // 3:02}-{'abc'[row % 3]}" for row in range(30)],
    ],
    ids=["scans", "rep", "letters"],
)
def test_names_of_scans_that_all_differ_were_advised_as_groups_which_keep_no_scans_together(names: list[str]) -> None:
    table = SCANS.with_columns(sample=pl.Series(names))
    messages = told(table), told({"X": table, "y": "brix", "sample": "sample"}, None)
    for (message,) in (*messages, told({"X": table, "y": "brix", "groups": "sample"}, None)):
        assert f"as scans of 10 samples, as {names[0]!r}" in message
        assert "the name of the sample alone" in message
    assert told({"X": table, "y": "brix", "groups": [name[:3] for name in names]}, None) == []
    assert told(table.with_columns(brix=pl.Series(["low", "high"]).sample(30, with_replacement=True, seed=0))) == []


def test_samples_that_are_called_as_their_class_are_no_scans_of_one() -> None:
    classes = ["wheat", "rye", "oat"] * 10
    names = [f"{name}_{row}" for row, name in enumerate(classes)]
    assert told(SCANS.with_columns(brix=pl.Series(classes), sample=pl.Series(names))) == []


@pytest.mark.parametrize(
    ("name", "numbers"), [("lot", [row % 5 for row in range(30)]), ("harvest", [2000 + row // 6 for row in range(30)])]
)
def test_numbers_that_repeat_and_are_names_are_told_from_measurements(name: str, numbers: list[int]) -> None:
    (message,) = told(SCANS.with_columns(pl.Series(name, numbers), brix=pl.Series(RNG.normal(size=30))))
    assert f"in column {name!r}" in message


def test_a_left_out_text_that_repeats_is_named_and_the_finest_scan_first() -> None:
    sample, variety = [f"S{row // 3:02}" for row in range(30)], ["a", "b", "c"] * 10
    (message,) = told(SCANS.with_columns(variety=pl.Series(variety), sample=pl.Series(sample), device=pl.lit("NIR-01")))
    assert "column 'sample'" in message
    assert message.endswith("; 'variety' repeats, too")


@pytest.mark.parametrize(
    "column",
    [
        [f"S{row:02}" for row in range(30)],
        [f"S_{row}" for row in range(30)],
        ["NIR-01"] * 30,
        [*range(30)],
        np.round(RNG.normal(size=30), 1),
        RNG.integers(40, 50, 30),
    ],
    ids=["unique", "numbered", "constant", "counted", "measured", "rated"],
)
def test_a_column_that_tells_of_no_scans_is_not_warned_of(column: Any) -> None:
    table = SCANS.with_columns(brix=pl.Series(RNG.normal(size=30)), other=pl.Series(column))
    assert told(table) == []


@pytest.mark.parametrize("marker", [-999, -9999, -99, 9999, 1e30])
def test_markers_among_references_once_were_values(marker: float) -> None:
    y = SCANS["brix"].to_numpy().copy()
    y[[4, 7]] = marker
    (message,) = told(SCANS.with_columns(brix=y))
    assert f"brix has {marker:g} in 2 cells, the first in row 4 (the first is 0)" in message


def test_markers_and_saturated_values_among_spectra_are_named_by_their_column() -> None:
    for value, rows in ((-999, [5]), (10, [2, 3])):
        spectra = X.copy()
        spectra[rows, 3] = value
        (message,) = told(pl.DataFrame(spectra, schema=NAMES, orient="row").with_columns(brix=SCANS["brix"]))
        assert (
            f"X has {value} in {'1 cell' if len(rows) == 1 else '2 cells'}, the first in column '1130', row" in message
        )


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=500),
        RNG.lognormal(sigma=2, size=500),
        np.arange(1000.0),
        np.array([0, 1, 2, 10, 10] * 9),
        np.array([1.0, 2.0]),
        np.ones(7),
        np.append(RNG.normal(12, 1, 50), 30),
        np.arange(-99, 300),
        np.full((3, 3), np.nan) + np.eye(3),
    ],
    ids=["noise", "skewed", "999", "codes", "two", "constant", "one outlier", "-99 among others", "nan"],
)
def test_values_that_are_not_far_outside_are_plausible(values: Any) -> None:
    assert implausible(values) == []


def test_a_column_without_values_once_left_no_row() -> None:
    table = SCANS.with_columns(pl.lit(None, dtype=float).alias("1150"), brix=pl.Series(RNG.normal(size=30)))
    (message,) = told(table)
    assert "the table has no value in any row of '1150'; left out of X" in message
    with pytest.warns(DataWarning):
        data = read_dataset(table, "brix")
    assert (data.X.shape, "1150" in data.columns, len(data.wavelengths)) == ((30, 11), False, 11)


def test_an_array_whose_y_is_a_frame_was_taken_for_spectra_with_the_names_of_no_column() -> None:
    frame = pl.DataFrame({"first": X[:, 0], "other": X[:, 1]})
    assert told({"X": X, "y": frame}, None) == []  # An IndexError, since a column of X has the values of y.
    data = read_dataset({"X": X, "y": frame})
    assert (data.columns, data.target_names) == (None, ["first", "other"])
    assert data.content_hash == read_dataset({"X": X, "y": frame.to_numpy()}).content_hash


def test_a_target_among_the_columns_of_a_file_without_names_was_read_from_the_spectra(tmp_path: Path) -> None:
    SCANS.select("brix", *NAMES).write_csv(tmp_path / "spectra.csv", include_header=False)
    np.save(tmp_path / "brix.npy", SCANS["brix"].to_numpy())
    (message,) = told({"X": tmp_path / "spectra.csv", "y": tmp_path / "brix.npy"}, None)
    assert "column 'column_0' of X has the values of y" in message
    SCANS.select(NAMES).write_csv(tmp_path / "spectra.csv", include_header=False)
    assert told({"X": tmp_path / "spectra.csv", "y": tmp_path / "brix.npy"}, None) == []


def test_metadata_that_are_no_text_once_ended_the_training_in_an_error_of_polars() -> None:
    for values in ([[1, 2]] * 30, [timedelta(1)] * 30, [b"\xff"] * 30, [{"a": 1}] * 30):
        assert told(SCANS.with_columns(pl.Series("more", values), brix=pl.Series(RNG.normal(size=30)))) == []


def known_tests(given: dict[str, Any]) -> list[str]:
    """Return what is said of spectra to test that models are trained on."""
    data = read_dataset(given)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_known_tests(data)
    return [str(one.message) for one in found]


def test_known_test_rows_once_were_missed_with_fewer_digits_and_counted_without_those_left_out() -> None:
    y, y_test, test = np.arange(25.0), np.array([np.nan, 1.0, 2.0]), X[[25, 26, 3]]
    for calibration, rows in ((X[:25].astype("f4"), test), (X[:25], test.astype("f4")), (X[:25].astype("f2"), test)):
        (message,) = known_tests({"X": calibration, "y": y, "X_test": rows, "y_test": y_test})
        assert "1 of 2 rows to test" in message
        assert "first of them in row 2" in message
    assert known_tests({"X": X[:25].astype("f4"), "y": y, "X_test": test * 1e300, "y_test": y_test}) == []
    split = {"X": X.copy(), "split": [*["test"] * 3, *["train"] * 26, "test"], "y": np.arange(30.0)}
    assert known_tests(split) == []
    split["X"][29] = X[9]
    (message,) = known_tests(split)
    assert "first of them in row 29" in message


def test_rows_without_a_value_once_were_known_tests_and_rows_with_minus_zero_were_not() -> None:
    spectra, y = X.copy(), np.arange(30.0)
    spectra[3], spectra[4, 0], spectra[5, 0] = np.nan, 0.0, np.nan
    test = spectra[[3, 4, 5]]
    test[1, 0] = -0.0
    given = {"X": spectra, "y": y, "X_test": test, "y_test": y[:3]}
    (message,) = known_tests(given)
    assert "2 of 3 rows to test" in message
    assert "first of them in row 1" in message
    assert known_tests(given | {"X_test": test[:1], "y_test": y[:1]}) == []
