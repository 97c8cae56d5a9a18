"""Data sets come in many forms; what does not fit together is refused."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nirs4all_store import InvalidInputError
from nirs4all_store.datasets.reader import read_dataset, read_spectra

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


def test_long_doubles_once_could_be_trained_on_and_not_stored() -> None:
    X = np.arange(12.0).reshape(6, 2)
    long, short = read_dataset((X.astype(np.longdouble), X[:, 0].astype(np.longdouble))), read_dataset((X, X[:, 0]))
    assert (long.X.dtype, long.y.dtype) == (np.float64, np.float64)
    assert long.content_hash == short.content_hash


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
    assert (data.rows.tolist(), data.excluded, data.excluded_test) == ([0, 1, 3, 4, 5], 1, 1)
    data = data.complete
    assert data.excluded_test == 2
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
        ((X, [object()] * 6), r"y has <object .* in row 0 \(the first is 0\); give numbers or text"),
        ((X, [[1, 2], [3]] * 3), r"y has \[1, 2\] in row 0"),
        ((X, Y.astype(complex)), "values of type complex128"),
        ((X, [1, None, "a", 2, 3, 4]), "y has a text in row 2 and a number in row 0"),
        ((X, np.array(["a", np.nan, "b", 1, 2, 3], dtype=object)), "y has a text in row 0 and a number in row 3"),
        ((X, [1, None, 2, np.inf, 3, 4]), "y has an infinite value in row 3"),
        ((X, Y, ["a", "b", None, "a", "a", "b"]), "groups has no value in row 2"),
        ((X, Y, ("a", "b", np.nan, "a", "a", "b")), "groups has no value in row 2"),
        ((X, Y, np.where(Y > 3, np.nan, Y)), "groups has no value in row 4"),
        ((X, Y, [1, 2, "a", 3, 4, 5]), "groups has a text in row 2"),
        ({"X": X, "y": list("abcdef"), "X_test": X, "y_test": ["a", 1] * 3}, "y_test has a text in row 0"),
        ((X.astype(complex), Y), "complex128 is not real numbers"),
        ((X.astype("datetime64[s]"), Y), "is not real numbers"),
        ((np.where(X > 9, np.inf, X), Y), "infinite value in row 2"),
        ((X, np.where(Y > 4, np.inf, Y)), "y has an infinite value in row 5"),
        ({"X": X, "y": Y, "weights": [1, 1, 1, 1, 1, np.nan]}, "weights has nan in row 5"),
        ({"X": X, "y": Y, "weights": np.ones((6, 2))}, "weights must be"),
        ({"X": X, "y": Y, "wavelengths": list("abcd")}, "wavelengths must be numbers"),
        ({"X": X, "y": Y, "X_test": X, "y_test": Y * np.nan}, "every one of the 6 rows to test"),
        ({"X": X, "y": Y, "X_test": X, "y_test": np.ones((6, 2))}, "give the same kind"),
        ({"X": X, "y": Y, "X_test": X, "y_test": list("abcdef")}, "give the same kind"),
        ((pl.DataFrame({"a": [1], "b": [2]}), ["b", "b"]), "several columns with the name 'b'"),
        ((pl.DataFrame({"a": ["x"], "b": [2]}), "b"), "no column of .* has numbers"),
        ((X, Y * np.nan), "every one of the 6 rows"),
        ({"X": X, "y": Y, "y_test": Y}, "without X_test"),
        ({"X": X, "y": Y, "X_test": X[:, :2]}, "X_test has 2 columns and X has 4"),
        ({"X": X, "y": Y, "X_test": X, "y_test": Y[:2]}, "y_test has 2 samples"),
        ({"X": X, "y": Y, "wavelengths": [1]}, "1 wavelengths for 4 columns"),
        ("nowhere.csv", "cannot be read"),
        ("spectra.docx", "no table by its name"),
        ((pl.DataFrame({"a": [1], "b": [2]}), "protein"), "no column 'protein'.*'a', 'b'"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_dataset(given)


@pytest.mark.parametrize("given", [(X, Y), {"X": X}, read_dataset((X, Y))])
def test_a_target_that_names_no_column_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="target='p' names a column of a table, and X is none"):
        read_dataset(given, "p")


def test_two_targets_where_one_is_meant_are_refused() -> None:
    frame = pl.DataFrame({"1100": [1.0], "p": [2.0], "fat": [3.0]})
    with pytest.raises(InvalidInputError, match="both y and target='fat' are given"):
        read_dataset({"X": frame, "y": "p"}, "fat")


@pytest.mark.parametrize("labels", [["a", np.nan, "b"], ("a", None, "b"), [["a"], [np.nan], ["b"]]])
def test_a_missing_label_in_a_list_is_no_class(labels: Any) -> None:
    data = read_dataset((X[:3], labels))
    assert (data.y.tolist(), data.y.dtype.kind, data.rows.tolist()) == (["a", "b"], "U", [0, 2])


def test_a_list_is_the_array_that_it_looks_like() -> None:
    for values in ([1, 2, 3, 4, 5, 6], [1.5] * 6, [True, False] * 3, [[1, 2.5]] * 6, [np.float32(0.1)] * 6):
        array = np.array(values)
        data = read_dataset((X, values))
        assert (data.y.tolist(), data.y.dtype) == (array.tolist(), array.dtype)
        assert data.content_hash == read_dataset((X, array)).content_hash


def test_a_sample_without_a_group_may_be_left_out() -> None:
    data = read_dataset((X, np.where(Y == 1, np.nan, Y), [1, None, 2, 2, 1, 1]))
    assert data.groups.tolist() == [1, 2, 2, 1, 1]


def test_a_group_that_is_missing_in_a_table_is_named_by_its_row() -> None:
    frame = pl.DataFrame({"1100": [1.0, 2.0], "p": [3.0, 4.0], "lot": ["a", None]})
    with pytest.raises(InvalidInputError, match="groups has no value in row 1"):
        read_dataset({"X": frame, "y": "p", "groups": "lot"})


def test_a_table_to_test_with_brings_its_targets(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [5.0, 6.0], "fat": [1.0, 2.0], "p": [3.0, 4.0]})
    frame.write_csv(tmp_path / "test.csv")
    for test in (frame, frame.to_pandas(), tmp_path / "test.csv"):
        one = read_dataset({"X": frame.drop("fat"), "y": "p", "X_test": test})
        assert (one.X_test.tolist(), one.y_test.tolist()) == ([[1, 5], [2, 6]], [3, 4])
        two = read_dataset({"X": frame, "X_test": test}, ["fat", "p"])
        assert (two.X_test.tolist(), two.y_test.tolist()) == ([[1, 5], [2, 6]], [[1, 3], [2, 4]])
    without = read_dataset({"X": frame, "y": "p", "X_test": frame.with_columns(p=None)})
    assert (without.y_test, len(without.X_test)) == (None, 2)
    assert read_dataset({"X": frame, "y": [7, 8], "X_test": frame}).y_test is None
    assert read_dataset({"X": frame, "y": ["fat", "p"], "X_test": frame.drop("p")}).y_test is None


def test_a_text_among_the_spectra_is_named_and_not_left_out_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "wheat.csv"
    path.write_text("p,1100,1102,1104\n1,0.1,0.2,0.3\n2,n/a,0.5,0.6\n3,0.7,0.8, 0.9\n")
    data = read_dataset(path, "p").complete
    assert (data.X.tolist(), data.excluded) == ([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]], 1)
    path.write_text("p,1100,1102\n1,0.1,0.2\n2,broken,0.5\n")
    with pytest.raises(InvalidInputError, match="column '1100' has 'broken' in row 1 "):
        read_dataset(path, "p")


def test_a_decimal_comma_is_known_where_the_first_row_has_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p;1100;1102\n1;2;3\n2;1,5;4\n")
    assert read_dataset(tmp_path / "a.csv", "p").X.tolist() == [[2, 3], [1.5, 4]]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "a.csv").write_text("p,1100,1100\n1,2,3\n")
    for twins in (tmp_path / "a.csv", pd.DataFrame([[1.0, 2.0, 3.0]], columns=["p", 1100, 1100])):
        with pytest.raises(InvalidInputError, match="several columns with the name '1100'"):
            read_dataset(twins, "p")


def test_a_csv_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p,1100,1102\n")
    with pytest.raises(InvalidInputError, match="has no rows"):
        read_dataset(tmp_path / "a.csv", "p")


@pytest.mark.parametrize("shape", ["X{}", "{} nm", "wl_{}.5"])
def test_other_measurements_beside_spectra_that_are_named_by_text_are_left_out(shape: str) -> None:
    names = [shape.format(wavelength) for wavelength in range(1100, 1120, 2)]
    others = ["", "fat", "ash", *names, "rep1", "rep2", "protein"]
    data = read_dataset(pl.DataFrame([[*map(float, range(len(others)))]], schema=others, orient="row"), "protein")
    assert (data.X.tolist(), data.columns) == ([[*range(3, 13)]], names)
    assert (data.wavelengths - data.wavelengths[0]).tolist() == [*range(0, 20, 2)]


@pytest.mark.parametrize("name", ["batch{}", "peak{}", "2024-01-{}"])
def test_some_columns_with_a_number_in_their_names_are_no_spectra(name: str) -> None:
    names = [*(name.format(n) for n in (1, 2, 3)), "fat", "p"]
    data = read_dataset(pl.DataFrame([[1.0, 2.0, 3.0, 4.0, 5.0]], schema=names, orient="row"), "p")
    assert (data.columns, data.wavelengths) == (names[:4], None)


NAMED_A = [f"A{wavelength}" for wavelength in range(1100, 1112)]
NAMED_B = [f"B{wavelength}" for wavelength in range(1100, 1112)]


@pytest.mark.parametrize(
    ("names", "choices"),
    [
        ([*NAMED_A, "2021"], r"'2021' alone, or 'A1100' to 'A1111' \(12\)"),
        (["900", *NAMED_A, "910"], r"'900' to '910' \(2\), or 'A1100' to 'A1111' \(12\)"),
        ([*NAMED_A, *NAMED_B], r"'A1100' to 'A1111' \(12\), or 'B1100' to 'B1111' \(12\)"),
    ],
)
def test_columns_of_several_kinds_are_not_chosen_from_in_silence(names: list[str], choices: str) -> None:
    frame = pl.DataFrame([[*map(float, range(len(names) + 1))]], schema=[*names, "p"], orient="row")
    with pytest.raises(InvalidInputError, match=f"X could be the columns {choices}; leave out or rename"):
        read_dataset(frame, "p")
    assert read_dataset(frame.select(*NAMED_A, "p"), "p").columns == NAMED_A


def test_many_columns_that_are_named_by_numbers_alone_are_the_spectra() -> None:
    plain = [f"{wavelength}.5" for wavelength in range(1100, 1110)]
    frame = pl.DataFrame([[*map(float, range(23))]], schema=[*NAMED_A, *plain, "p"], orient="row")
    assert read_dataset(frame, "p").columns == plain


def test_one_wavelength_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"1100": [1.0], "1100.0": [2.0], "p": [3.0]})
    with pytest.raises(InvalidInputError, match=r"several columns with the name '1100\.0'"):
        read_dataset(frame, "p")
    frame.write_csv(tmp_path / "new.csv")
    with pytest.raises(InvalidInputError, match=r"new\.csv has several columns with the name '1100\.0'"):
        read_spectra(tmp_path / "new.csv", ["1100"])
    assert read_spectra(tmp_path / "new.csv", ["p"]).X.tolist() == [[3]]


def test_a_target_that_is_missing_is_no_class_and_makes_no_text_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('kind,1100,1102\nA,1,2\n,3,4\nB,5,6\n"",7,8\n')
    data = read_dataset(path, "kind")
    assert (data.y.tolist(), data.excluded) == (["A", "B"], 2)
    path.write_text("p;1100;1102\n1,5;n/a;3,5\nNA;3,5;4,5\n2,5;1;2\n")
    data = read_dataset(path, "p").complete
    assert (data.y.tolist(), data.X.tolist(), data.excluded) == ([2.5], [[1, 2]], 2)
    read = read_dataset(pl.DataFrame({"1100": [1.0, 2.0], "p": ["1.5", "n/a"]}), "p")
    assert read.y.tolist() == [1.5]


def test_a_class_may_have_a_name_that_stands_for_a_missing_number(tmp_path: Path) -> None:
    path, names = tmp_path / "a.csv", ["+", "-", "NA", "null", "N/A"]
    frame = pl.DataFrame({"1100": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "kind": [*names, None]})
    frame.write_csv(path)
    for table in (path, frame, frame.to_pandas()):
        data = read_dataset(table, "kind")
        assert (data.y.tolist(), data.excluded) == (names, 1)


@pytest.mark.parametrize(("target", "spectra"), [('"1,234"', "0.5"), ("1", '"1,234"'), ("1", '"1,234,567.5"')])
def test_separators_of_thousands_are_no_decimal_commas(tmp_path: Path, target: str, spectra: str) -> None:
    import pandas as pd

    path = tmp_path / "a.csv"
    for name in ("1100", "peak"):
        path.write_text(f"note,p,{name}\na,999,999\n1,{target},{spectra}\n")
        for table in (path, pd.read_csv(path)):
            with pytest.raises(
                InvalidInputError, match=r"has '1,234.*' in row 1 .*; write numbers with a decimal point"
            ):
                read_dataset(table, "p")
    path.write_text(f"1100\n{spectra}\n")
    for columns in (["1100"], None) if "," in spectra else ():
        with pytest.raises(InvalidInputError, match=r"has '1,234.*' in row 0 "):
            read_spectra(path, columns)


def test_a_comma_in_a_column_that_is_not_looked_at_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('1100,lot\n1,"1,5"\n')
    assert read_spectra(tmp_path / "a.csv", ["1100"]).X.tolist() == [[1]]


def test_labels_that_would_be_one_number_stay_two_texts(tmp_path: Path) -> None:
    labels, ids = ["01", "1", "2", "1,0"], ["9007199254740992", "9007199254740993", "1", "1"]
    frame = pl.DataFrame({"1100": [1.0, 2.0, 3.0, 4.0], "kind": labels, "lot": ids})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "b.csv", separator=";")
    for table in (frame, tmp_path / "a.csv", tmp_path / "b.csv"):
        for y, groups in (("kind", "lot"), ("lot", "kind")):
            data = read_dataset({"X": table, "y": y, "groups": groups})
            assert (data.y.tolist(), data.groups.tolist()) == (frame[y].to_list(), frame[groups].to_list())


def test_numbers_of_different_lengths_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p,1100\n12.50,1\n12.5,2\n.5,3\n0.5,4\n12,5\n12.0,6\n")
    assert read_dataset(tmp_path / "a.csv", "p").y.tolist() == [12.5, 12.5, 0.5, 0.5, 12, 12]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_csv_in_another_encoding_is_to_be_saved_as_utf_8(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "blé.csv").write_text("protéine,1100\n1,2\n", encoding=encoding)
    with pytest.raises(InvalidInputError, match=r"blé\.csv is not UTF-8; save it as UTF-8"):
        read_dataset(tmp_path / "blé.csv", "protéine")


def test_a_row_that_is_too_long_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('note,p,1100\n"two\nlines",1,2\n"a, b",1,2\na, b,1,2\n')
    with pytest.raises(InvalidInputError, match="has 4 fields in line 5 and 3 columns in its header"):
        read_dataset(tmp_path / "a.csv", "p")


def test_a_value_that_is_not_finite_is_named_by_its_column_and_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("p,1100,1102\n1,2,3\n4,5,-inf\n")
    with pytest.raises(InvalidInputError, match="column '1102' has an infinite value in row 1 "):
        read_dataset(path, "p")
    with pytest.raises(InvalidInputError, match="column '1102' has an infinite value in row 1 "):
        read_spectra(path, ["1100", "1102"])
    with pytest.raises(InvalidInputError, match="column 'p' has an infinite value in row 0 "):
        read_dataset(pl.DataFrame({"p": [np.inf], "1100": [1.0]}), "p")


def test_a_header_with_decimal_commas_and_a_note_with_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("p;1100,5;1102,5\n1,5;2;3,5\n")
    data = read_dataset(path, "p")
    assert (data.X.tolist(), data.y.tolist(), data.wavelengths.tolist()) == ([[2, 3.5]], [1.5], [1100.5, 1102.5])
    path.write_text('p;note;1100\n1.5;"a 1,2 mix";2.5\n')
    data = read_dataset(path, "p")
    assert (data.X.tolist(), data.y.tolist()) == ([[2.5]], [1.5])


def test_the_index_of_a_frame_of_pandas_is_no_spectrum(tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"a": [1.0, 2.0], "p": [3.0, 4.0]}, index=[7, 9])
    table.to_parquet(tmp_path / "a.parquet")
    assert read_dataset(tmp_path / "a.parquet", "p").columns == ["a"]
    table.to_csv(tmp_path / "a.csv")
    for written in (tmp_path / "a.csv", pd.read_csv(tmp_path / "a.csv")):
        assert read_dataset(written, "p").columns == ["a"]
    for columns in (["a", "p"], None):
        assert read_spectra(tmp_path / "a.csv", columns).X.tolist() == [[1, 3], [2, 4]]
    with pytest.raises(InvalidInputError, match="several types"):
        read_dataset(table.assign(mixed=[1, "a"]), "p")


def test_a_chain_that_was_trained_on_a_column_without_a_name_still_gets_it(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(",a\n1,2\n")
    assert read_spectra(tmp_path / "new.csv", ["", "a"]).X.tolist() == [[1, 2]]


def test_new_spectra_have_the_columns_that_were_chosen_in_training(tmp_path: Path) -> None:
    frame = pl.DataFrame({"peak1": [1.0], "peak2": [2.0], "ratio": [3.0], "note": ["n"], "p": [4.0]})
    data = read_dataset(frame, "p")
    frame.write_csv(tmp_path / "new.csv")
    X = read_spectra(tmp_path / "new.csv", data.columns).X
    np.testing.assert_array_equal(X, data.X)


def test_columns_that_are_only_counted_are_no_wavelengths() -> None:
    names = [f"x{n}" for n in range(12)]
    frame = pl.DataFrame([[*map(float, range(14))]], schema=[*names, "fat", "y"], orient="row")
    data = read_dataset(frame, "y")
    assert (data.columns, data.wavelengths) == (names, None)


def test_text_labels_of_groups_have_one_hash_in_every_process() -> None:
    one = read_dataset({"X": X, "y": Y, "groups": np.array(["a", "a", "b", "b", "c", "c"], dtype=object)})
    other = read_dataset({"X": X, "y": Y, "groups": np.array([chr(97 + n // 2) for n in range(6)], dtype=object)})
    assert one.groups.dtype.kind == "U"
    assert one.content_hash == other.content_hash


def test_masked_values_are_missing() -> None:
    data = read_dataset((np.ma.masked_greater(X, 20), np.ma.masked_less(Y, 1))).complete
    assert (data.rows.tolist(), data.excluded) == ([1, 2, 3, 4], 2)


def test_a_missing_value_of_pandas_own_kind_is_missing() -> None:
    import pandas as pd

    table = pd.DataFrame({"1100": [1.0, 2.0, 3.0], "kind": pd.array(["a", pd.NA, "b"], dtype="string")})
    assert read_dataset(table, "kind").y.tolist() == ["a", "b"]
    assert read_dataset((X[:3], np.array(["a", pd.NA, "b"], dtype=object))).y.tolist() == ["a", "b"]


def test_a_frame_of_spectra_goes_with_values_of_the_target() -> None:
    import pandas as pd

    frame = pl.DataFrame(X, schema=["1100", "1102", "1104", "1106"], orient="row")
    for table in (frame, frame.to_pandas()):
        for y in (Y, Y.tolist(), pd.Series(Y)):
            for given in ((table, y), {"X": table, "y": y}):
                data = read_dataset(given)
                assert (data.X.tolist(), data.y.tolist()) == (X.tolist(), Y.tolist())
    both = frame.with_columns(p=Y)
    data = read_dataset({"X": both, "y": "p", "X_test": both.select(reversed(both.columns)), "y_test": "p"})
    np.testing.assert_array_equal(data.X_test, data.X)
    np.testing.assert_array_equal(data.y_test, data.y)


def test_spectra_are_found_by_their_names_in_any_order(tmp_path: Path) -> None:
    frame = pl.DataFrame(X, schema=["1100", "1102", "1104", "1106"], orient="row").with_columns(p=Y)
    frame.select(reversed(frame.columns)).write_csv(tmp_path / "new.csv")
    found = read_spectra(tmp_path / "new.csv", ["1100", "1102.0", "1104", "1106"])
    np.testing.assert_array_equal(found.X, X)
    np.testing.assert_array_equal(found.wavelengths, [1100, 1102, 1104, 1106])
    assert found.others.columns == ["p"]
    with pytest.raises(InvalidInputError, match=r"lacks 2 of the 3 columns .* as '1400', '1402'"):
        read_spectra(tmp_path / "new.csv", ["1100", "1400", "1402"])


def test_a_table_to_test_with_once_was_refused_for_a_target_that_it_has_in_part() -> None:
    table = pl.DataFrame({"1100": [1.0, 2.0], "1102": [3.0, 4.0], "y": [1.0, 2.0], "z": [3.0, 4.0]})
    found = read_dataset({"X": table, "y": ["y", "z"], "X_test": table.drop("z")})
    assert found.y_test is None
    texts = table.with_columns(y=pl.Series(["a", "b"]))
    with pytest.raises(InvalidInputError, match="leave its column out of X_test"):
        read_dataset({"X": table, "y": "y", "X_test": texts})


def test_numbers_of_other_scripts_and_decimals_once_were_raw_errors() -> None:
    table = pl.DataFrame({"1100": [1.0, 2.0], "1102": [3.0, 4.0], "y": ["٣", "a"]})
    assert read_dataset(table, "y").y.tolist() == ["٣", "a"]
    decimals = table.with_columns(y=pl.Series([Decimal("1.5"), Decimal("2.5")]))
    assert read_dataset(decimals, "y").y.tolist() == [1.5, 2.5]


def test_separators_at_the_ends_of_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1100;1102;y\n1;2;3;\n4;5;6;\n")
    with pytest.raises(InvalidInputError, match="remove the ';' at the end of the line"):
        read_dataset(tmp_path / "t.csv", "y")


@pytest.mark.parametrize("header", ["{} cm-1", "NIR2_{}", "X{}"])
def test_spectra_whose_headers_have_two_numbers_once_left_other_measurements_in(header: str) -> None:
    spectra = np.random.default_rng(0).normal(size=(5, 12))
    frame = pl.DataFrame({"protein": range(5), "moisture": range(5)}).with_columns(
        pl.Series(header.format(4000 + 100 * i), spectra[:, i]) for i in range(12)
    )
    data = read_dataset(frame, "protein")
    np.testing.assert_array_equal(data.X, spectra)
    np.testing.assert_array_equal(data.wavelengths, range(4000, 5200, 100))


def test_spectra_in_no_order_once_went_with_whatever_stood_beside_them() -> None:
    numbers = [1100, 1300, 1200, *range(1400, 2200, 100)]
    frame = pl.DataFrame({f"{number} nm": [1.0, 2.0] for number in numbers}).with_columns(protein=1, moisture=2.5)
    data = read_dataset(frame, "protein")
    assert (data.X.shape, data.wavelengths.tolist()) == ((2, 11), numbers)


@pytest.mark.parametrize("shape", ["EX{0}_EM{1}", "ch{0}_{1}", "{0}-{1} nm"])
def test_columns_whose_names_have_several_numbers_are_spectra_without_wavelengths(shape: str) -> None:
    names = [shape.format(240 + 10 * (i // 4), 300 + i) for i in range(12)]
    frame = pl.DataFrame([[*map(float, range(14))]], schema=[*names, "moisture", "p"], orient="row")
    data = read_dataset(frame, "p")
    assert (data.columns, data.wavelengths) == (names, None)


@pytest.mark.parametrize(
    "names", [[".90", ".95", "1.00", "1.05"], ["1100.", "1100.5", "1101.", "1101.5"], [",9", "1", "1,1"]]
)
def test_numbers_without_digits_before_or_after_the_point_are_numbers(names: list[str]) -> None:
    data = read_dataset((pl.DataFrame({name: [1.0, 2.0] for name in names}), [1, 2]))
    assert data.wavelengths.tolist() == [float(name.replace(",", ".")) for name in names]


def test_a_sample_number_once_was_a_wavelength() -> None:
    frame = pl.DataFrame({"2024_1": [1.0, 2.0], "1100": [3.0, 4.0], "1101": [5.0, 6.0], "protein": [1, 2]})
    assert read_dataset(frame, "protein").columns == ["1100", "1101"]


@pytest.mark.parametrize("names", [["980", "990", "1,000"], ["980.5", "1,000.5"], ["1,000.5", "1,001.5"]])
def test_separators_of_thousands_in_a_header_are_refused(names: list[str]) -> None:
    frame = pl.DataFrame({name: [1.0, 2.0] for name in names})
    with pytest.raises(InvalidInputError, match=r"'1,000.*write wavelengths without separators of thousands"):
        read_dataset((frame, [1, 2]))


@pytest.mark.parametrize(("line", "mark"), [("sep=,", ","), ("sep=|", "|"), ('"sep=;"', ";"), ("SEP=\t", "\t")])
def test_a_line_for_spreadsheets_says_what_separates(tmp_path: Path, line: str, mark: str) -> None:
    path = tmp_path / "wheat.csv"
    path.write_text(f"{line}\r\na{mark}1100{mark}1101\r\nx{mark}1{mark}2\r\n")
    assert read_spectra(path).X.tolist() == [[1, 2]]


def test_empty_lines_at_the_end_of_a_csv_once_were_samples(tmp_path: Path) -> None:
    path = tmp_path / "wheat.csv"
    path.write_text("1100;1101;protein\n1;2;3\n\n4;5;6\n;;\n\n")
    data = read_dataset(path, "protein")
    assert (data.rows.tolist(), data.excluded) == ([0, 2], 1)
    assert read_spectra(path).X.shape == (3, 2)


def test_weights_of_rows_that_are_left_out_once_were_asked_for() -> None:
    data = read_dataset({"X": X, "y": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0], "weights": [1, 1, np.nan, 1, 1, 1]})
    assert data.weights.tolist() == [1] * 5
    with pytest.raises(InvalidInputError, match="weights has -1 in row 4"):
        read_dataset({"X": X, "y": Y, "weights": [1, 1, 1, 1, -1, 1]})


def test_a_target_that_is_no_number_in_one_of_several_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wheat.csv"
    path.write_text("1100,1101,protein,fat\n1,2,3,4\n3,4,<0.5,5\n5,6,#N/A,6\n")
    with pytest.raises(InvalidInputError, match=r"column 'protein' has '<0.5' in row 1 .*, which is no number"):
        read_dataset(path, ["protein", "fat"])


def test_rows_and_names_of_columns_once_had_no_part_in_the_hash() -> None:
    with_gap = np.insert(X, 3, np.nan, axis=0), np.insert(Y, 3, 0)
    frames = [pl.DataFrame(X, schema=[f"{letter}{i}x" for i in range(4)], orient="row") for letter in "ab"]
    given: list[Any] = [(X, Y), with_gap, (np.vstack([X, X[:1]]), [*Y, np.nan]), *((frame, Y) for frame in frames)]
    assert len({read_dataset(one).content_hash for one in given}) == 5


@pytest.mark.parametrize("separator", [",", ";"])
def test_ids_with_a_leading_zero_once_lost_it(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "new.csv"
    codes = pl.DataFrame({"id": ["0007", "0008"], "lot": ["1.1", "1.10"], "barcode": ["10000000000001234567"] * 2})
    codes.with_columns(pl.Series("1100", ["1", "2"])).write_csv(path, separator=separator)
    assert read_spectra(path).others.equals(codes)
    codes.with_columns(peak=pl.Series(["1", "2"])).drop("lot").write_csv(path, separator=separator)
    assert read_spectra(path).columns == ["peak"]


@pytest.mark.parametrize("labels", [["01", "02", "NA"], ["10000000000001234567", "10000000000001234568", "-"]])
def test_class_codes_once_were_numbers_unless_two_became_one(tmp_path: Path, labels: list[str]) -> None:
    frame = pl.DataFrame({"1100": [1.0, 2.0, 3.0], "kind": labels})
    frame.write_csv(tmp_path / "a.csv")
    for table in (frame, tmp_path / "a.csv"):
        data = read_dataset(table, "kind")
        assert (data.y.tolist(), data.excluded) == (labels[:2], 1)


def test_groups_that_look_like_numbers_once_became_one(tmp_path: Path) -> None:
    path, plots = tmp_path / "a.csv", ["1.1", "1.10", " 1.1", "1,2"]
    frame = pl.DataFrame({"1100": [1.0, 2.0, 3.0, 4.0], "p": [1.0, 2.0, 3.0, 4.0], "plot": plots})
    for separator in (",", ";"):
        frame.write_csv(path, separator=separator)
        for table in (frame, path):
            data = read_dataset({"X": table, "y": "p", "groups": "plot"})
            assert data.groups.tolist() == ["1.1", "1.10", "1.1", "1,2"]
    frame.with_columns(plot=pl.Series(["1.1", "n/a", "1.10", "1.10"])).write_csv(path)
    with pytest.raises(InvalidInputError, match="groups has no value in row 1"):
        read_dataset({"X": path, "y": "p", "groups": "plot"})
    assert read_dataset({"X": frame.with_columns(plot=4), "y": "p", "groups": "plot"}).groups.tolist() == [4] * 4


def test_texts_beside_numbers_in_a_frame_are_no_spectra_and_a_frame_of_texts_is_like_a_csv() -> None:
    frame = pl.DataFrame({"lot": ["1", "2"], "peak": [1.0, 2.0], "p": [3.0, 4.0]})
    assert read_dataset(frame, "p").columns == ["peak"]
    assert read_dataset(frame.cast(pl.String), "p").columns == ["lot", "peak"]


def test_points_that_separate_thousands_once_were_decimal_ones_beside_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for line in ("1.007;1", "1;1.007"):
        path.write_text(f"p;1100\n990,5;990,5\n{line}\n")
        with pytest.raises(InvalidInputError, match=r"has '990,5' in row 0 .*; write numbers with a decimal point and"):
            read_dataset(path, "p")
    path.write_text("note;1100\n990,5;990,5\n1.007;-\n")
    assert read_spectra(path).others["note"].to_list() == ["990,5", "1.007"]
    path.write_text("lot;1100\n990,5;990,5\n-;1\n")
    assert read_spectra(path).others["lot"].to_list() == ["990.5", "-"]


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_file_of_spectra_could_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[Touches(tmp_path / "touched")]], dtype=object))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_spectra(tmp_path / "x.npy")
    assert not (tmp_path / "touched").exists()


def test_lists_in_lists_were_an_array_before_they_were_counted() -> None:
    with pytest.raises(InvalidInputError, match="X is lists in lists"):
        read_dataset(([[[[1.0]]]], [1.0]))
