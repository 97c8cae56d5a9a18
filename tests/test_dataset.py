"""Data sets come in many forms; what does not fit together is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nirs4all_store import InvalidInputError
from nirs4all_store.dataset import read_dataset

X = np.arange(24.0).reshape(6, 4)
Y = np.arange(6.0)


def test_every_form_gives_the_same_data(tmp_path: Path) -> None:
    frame = pl.DataFrame(X, schema=["400", "402.5", "405", "407.5"], orient="row").with_columns(
        protein=Y, sample=pl.Series(list("abcdef"))
    )
    csv, parquet = tmp_path / "wheat.csv", tmp_path / "wheat.parquet"
    frame.write_csv(csv)
    frame.write_parquet(parquet)
    wavelengths = [400, 402.5, 405, 407.5]
    forms = [
        read_dataset({"X": X, "y": Y, "wavelengths": wavelengths}),
        read_dataset((frame, "protein")),
        read_dataset(frame, "protein"),
        read_dataset({"X": frame, "y": "protein"}),
        read_dataset(csv, "protein"),
        read_dataset((str(parquet), "protein")),
    ]
    for data in forms:
        np.testing.assert_array_equal(data.X, X)
        np.testing.assert_array_equal(data.y, Y)
        np.testing.assert_array_equal(data.wavelengths, wavelengths)
    assert len({data.content_hash for data in forms}) == 1
    assert forms[4].name == "wheat"


def test_a_pandas_frame_is_read_too() -> None:
    import pandas as pd

    data = read_dataset((pd.DataFrame({400: [1.0, 2.0], 410: [3.0, 4.0], "protein": [5, 6]}), "protein"))
    np.testing.assert_array_equal(data.X, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(data.wavelengths, [400, 410])


def test_columns_that_are_named_have_their_use_and_no_other() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "sample": [7, 8], "w": [1.0, 2.0], "y": ["no", "yes"]})
    data = read_dataset({"X": frame, "y": "y", "groups": "sample", "weights": "w"})
    np.testing.assert_array_equal(data.X, [[1, 3], [2, 4]])
    assert (data.groups.tolist(), data.weights.tolist(), data.y.tolist()) == ([7, 8], [1, 2], ["no", "yes"])


def test_several_targets() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "fat": [1.0, 2.0], "protein": [3.0, 4.0]})
    assert read_dataset(frame, ["fat", "protein"]).y.tolist() == [[1, 3], [2, 4]]


def test_a_csv_of_a_country_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "blé.csv").write_text("nom;protéine;400;402,5\na;11,5;0,25;1\nb;12;0,5;2\n")
    with pytest.raises(InvalidInputError, match="'nom', 'protéine'"):
        read_dataset(tmp_path / "blé.csv")
    (tmp_path / "blé.csv").write_text("nom;protéine;400;402.5\na;11,5;0,25;1\nb;12;0,5;2\n")
    data = read_dataset(tmp_path / "blé.csv", "protéine")
    assert (data.X.tolist(), data.y.tolist()) == ([[0.25, 1], [0.5, 2]], [11.5, 12])


def test_rows_with_a_missing_value_are_left_out_and_counted() -> None:
    holes = X.copy()
    holes[1, 2] = np.nan
    labels = ["a", "b", None, "a", "b", "a"]
    test = X[:3].copy()
    test[0, 0] = np.nan
    data = read_dataset(
        {"X": holes, "y": labels, "groups": [1, 2, 3, 4, 5, 6], "X_test": test, "y_test": ["a", "b", None]}
    )
    assert (data.rows.tolist(), data.excluded, data.exclusion_rate) == ([0, 3, 4, 5], 2, 1 / 3)
    assert (data.y.tolist(), data.groups.tolist(), data.y.dtype.kind) == (["a", "a", "b", "a"], [1, 4, 5, 6], "U")
    assert (data.test_rows.tolist(), data.y_test.tolist()) == ([1], ["b"])
    assert data.places(np.array([3, 5])).tolist() == [1, 3]


@pytest.mark.parametrize(
    "other", [{"X": X + 1}, {"y": Y + 1}, {"groups": [1] * 6}, {"X_test": X}, {"wavelengths": range(4)}]
)
def test_the_hash_tells_other_data_and_not_another_name(other: dict[str, Any]) -> None:
    data = {"X": X, "y": Y}
    assert read_dataset(data).content_hash == read_dataset(data | {"name": "other"}).content_hash
    assert read_dataset(data).content_hash != read_dataset(data | other).content_hash


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "not NoneType"),
        ((X,), "not tuple"),
        ({"X": X}, "needs y"),
        ({"y": Y}, "needs X and y"),
        ({"X": X, "y": Y, "Y": Y}, "it has X, y, Y"),
        ((X, Y[:5]), "y has 5 samples and X has 6"),
        ((X, Y, [1, 2]), "groups has 2 samples"),
        ((X[0], Y), r"X has shape \(4,\)"),
        ((X[:0], Y[:0]), r"X has shape \(0, 4\)"),
        (([["a", "b"]], [1]), "something else than numbers"),
        ((X, np.zeros((6, 2, 2))), "y has shape"),
        ((X, [object()] * 6), "values of type object"),
        ((X * np.nan, Y), "every one of the 6 rows"),
        ({"X": X, "y": Y, "y_test": Y}, "without X_test"),
        ({"X": X, "y": Y, "X_test": X[:, :2]}, "X_test has 2 columns and X has 4"),
        ({"X": X, "y": Y, "X_test": X, "y_test": Y[:2]}, "y_test has 2 samples"),
        ({"X": X, "y": Y, "wavelengths": [1]}, "1 wavelengths for 4 columns"),
        ("nowhere.csv", "cannot be read"),
        ("spectra.xlsx", "no table by its name"),
        ((pl.DataFrame({"a": [1], "b": [2]}), "protein"), "no column 'protein'.*'a', 'b'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_dataset(given)
