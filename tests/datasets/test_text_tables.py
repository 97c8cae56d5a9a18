"""Text files as instruments and spreadsheets write them: what stands above a table, and whether it has names."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from nirs4all_store import InvalidInputError
from nirs4all_store.datasets import table_files
from nirs4all_store.datasets.reader import read_dataset, read_spectra

RNG = np.random.default_rng(0)
X = np.round(0.5 + RNG.normal(scale=0.02, size=(12, 20)).cumsum(axis=1), 5)
Y = np.round(RNG.normal(12, 1, 12), 2)
NAMES = [str(1100 + 10 * place) for place in range(20)]
WHEAT = pl.DataFrame(X, schema=NAMES, orient="row").insert_column(0, pl.Series("protein", Y))
WHEAT = WHEAT.insert_column(0, pl.Series("sample", [f"S{row:03}" for row in range(12)]))
LINES = WHEAT.write_csv().splitlines()


def written(path: Path, lines: list[str], separator: str = ",") -> Path:
    path.write_text("".join(f"{line.replace(',', separator)}\n" for line in lines))
    return path


def check(path: Path) -> None:
    data = read_dataset(path, "protein")
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert (data.columns, data.wavelengths.tolist()) == (NAMES, [*map(float, NAMES)])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "above",
    [
        [],
        ["", "", ""],
        ["Wheat 2024 calibration set"],
        ["Instrument,NIR-01", "Scans,32", "Resolution,8 cm-1", ""],
        [f"# {key} = {value}" for key, value in zip("abcdefghijklmnopqrstuvwxyz", range(26), strict=True)],
        ["Wheat 2024" + "," * 21, "," * 21, "Scans,32" + "," * 20],
    ],
    ids=["nothing", "blank lines", "a title", "metadata", "comments", "a spreadsheet's title"],
)
def test_lines_above_a_table_once_were_its_names(tmp_path: Path, above: list[str], separator: str) -> None:
    check(written(tmp_path / "wheat.csv", [*above, *LINES], separator))


def test_a_table_of_a_country_with_decimal_commas_may_have_a_title(tmp_path: Path) -> None:
    lines = ["Blé, récolte 2024", *(line.replace(",", ";").replace(".", ",") for line in LINES)]
    (tmp_path / "wheat.csv").write_text("\n".join(lines))
    check(tmp_path / "wheat.csv")


def test_a_text_file_may_separate_columns_by_spaces(tmp_path: Path) -> None:
    check(written(tmp_path / "wheat.txt", LINES, " "))
    aligned = ["  ".join(f"{cell:>9}" for cell in line.split(",")) for line in LINES]
    check(written(tmp_path / "aligned.txt", aligned))
    np.savetxt(tmp_path / "plain.txt", X)
    np.testing.assert_array_equal(read_spectra(tmp_path / "plain.txt").X, X)


def test_a_compressed_csv_is_a_csv(tmp_path: Path) -> None:
    (tmp_path / "wheat.csv.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
    check(tmp_path / "wheat.csv.gz")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress("\n".join(LINES).encode())[:-20])
    (tmp_path / "plain.csv.gz").write_text("\n".join(LINES))
    for name in ("cut.csv.gz", "plain.csv.gz"):
        with pytest.raises(InvalidInputError, match=rf"{name} cannot be read"):
            read_dataset(tmp_path / name, "protein")


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_line_of_units_once_was_a_sample(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path / "wheat.csv", [LINES[0], ",%" + ",nm" * 20, *LINES[1:]], separator)
    check(path)
    assert table_files.read(path).units == {"protein": "%", **dict.fromkeys(NAMES, "nm")}


GROUPS = {
    "levels of pandas": [",,protein" + ",nir" * 20],
    "empty cells": ["Sample,,,Spectra" + "," * 19],
    "a group for each": ["lab,lab,lab" + ",NIR spectra" * 20],
    "two lines": ["a,a,a" + ",b" * 20, "lab,,lab" + ",nir" * 20],
    "a title, too": ["Wheat 2024", "sample,wet chemistry,wet chemistry" + ",nir" * 20],
}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("units", [[], [",%,%" + ",nm" * 20]], ids=["", "units"])
def test_a_line_of_groups_above_the_names_once_was_the_names(
    tmp_path: Path, groups: list[str], units: list[str], separator: str
) -> None:
    lines = [line.replace(",", ",1.0,", 1) for line in LINES]
    lines[0] = LINES[0].replace(",", ",moisture,", 1)
    path = written(tmp_path / "wheat.csv", [*groups, lines[0], *units, *lines[1:]], separator)
    check(path)
    assert read_spectra(path).others["sample"].to_list() == WHEAT["sample"].to_list()


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("names", [None, ["kind", "name"]])
@pytest.mark.parametrize("rows", [None, "sample", ["lot", "sample"]])
def test_what_pandas_writes_of_levels_of_names_is_read(tmp_path: Path, index: bool, names: Any, rows: Any) -> None:
    levels = [("ref", "protein"), ("where", ""), *(("nir", name) for name in NAMES)]
    columns = pd.MultiIndex.from_tuples(levels, names=names)
    frame = pd.DataFrame(np.column_stack([Y, np.ones(12), X]), columns=columns)
    if isinstance(rows, list):
        frame.index = pd.MultiIndex.from_arrays([list("abcdefghijkl"), range(12)], names=rows)
    frame.index.name = rows if isinstance(rows, str) else None
    frame.to_csv(tmp_path / "wheat.csv", index=index)
    check(tmp_path / "wheat.csv")
    others = read_spectra(tmp_path / "wheat.csv").others.columns
    assert others[-2:] == ["protein", "where"]
    if index and rows:
        assert others[:-2] == ([rows] if isinstance(rows, str) else rows)


def test_two_lines_that_could_both_name_the_columns_are_refused(tmp_path: Path) -> None:
    counted = "sample,protein," + ",".join(map(str, range(1, 21)))
    for lines in ([LINES[0], counted], [counted, LINES[0]]):
        path = written(tmp_path / "wheat.csv", [*lines, *LINES[1:]])
        with pytest.raises(InvalidInputError, match=r"two lines of .*wheat\.csv, sample, protein.* could both name"):
            read_dataset(path, "protein")
    twice = [",a" + ",b" * 10 + ",c" * 10, *(",".join(line.split(",")[1:12] + line.split(",")[2:12]) for line in LINES)]
    with pytest.raises(InvalidInputError, match=r"several columns with the name 'b', 'c'"):
        read_dataset(written(tmp_path / "twice.csv", twice), "protein")


def test_a_first_sample_below_a_line_that_lacks_names_is_no_line_of_names(tmp_path: Path) -> None:
    rising = np.sort(X)[:6, :6] + np.eye(6)[:, :1]
    for header, samples in (
        ("sample,protein" + "," * 20, [f"{line}," for line in LINES[1:]]),
        ("a,b,c,d,e,f", ["1,2,3,4,5,6", *(",".join(map(str, row)) for row in RNG.normal(size=(9, 6)))]),
        ("a,b,c,d,e,f", [",".join(map(str, row)) for row in rising]),
    ):
        assert table_files.read(written(tmp_path / "wheat.csv", [header, *samples])).frame.height == len(samples)


def test_a_first_sample_without_numbers_is_no_line_of_units(tmp_path: Path) -> None:
    path = written(tmp_path / "wheat.csv", [LINES[0], "S999" + ",NA" * 21, *LINES[1:]])
    assert read_dataset(path, "protein").rows.tolist() == [*range(1, 13)]


SHAPES: dict[str, Any] = {
    "noise": RNG.normal(size=(4, 30)),
    "spectra": X[:4],
    "counts": RNG.integers(900, 60_000, size=(4, 30)),
    "one": RNG.normal(size=(1, 30)),
    "two": RNG.normal(size=(2, 8)),
}


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "|"])
@pytest.mark.parametrize("spectra", SHAPES.values(), ids=SHAPES)
def test_the_first_spectrum_of_a_file_without_names_once_vanished(tmp_path: Path, spectra: Any, separator: str) -> None:
    np.savetxt(tmp_path / "new.txt", spectra, delimiter=separator)
    np.testing.assert_array_equal(read_spectra(tmp_path / "new.txt").X, spectra)
    data = read_dataset({"X": tmp_path / "new.txt", "y": [1.0] * len(spectra)})
    assert (data.X.shape, data.wavelengths) == (spectra.shape, None)


def test_names_of_samples_before_spectra_without_a_header(tmp_path: Path) -> None:
    spectra = read_spectra(written(tmp_path / "new.csv", LINES[1:]))
    np.testing.assert_array_equal(spectra.X, np.column_stack([Y, X]))
    assert spectra.others.to_series().to_list() == WHEAT["sample"].to_list()
    with pytest.raises(InvalidInputError, match=r"new\.csv has no line of names"):
        read_dataset(tmp_path / "new.csv", "protein")


@pytest.mark.parametrize(
    ("names", "spectra"),
    [
        (NAMES, X),
        (NAMES[::-1], X),
        (NAMES, 60_000 * X),
        (range(20), X),
        ([f"{0.9 + 0.05 * place:g}" for place in range(20)], X),
        ([f"X{name}" for name in NAMES], np.sort(X)),
        (["1100"], X[:, :1]),
    ],
    ids=["nm", "falling", "counts", "pixels", "micrometres", "texts", "one column"],
)
def test_wavelengths_are_a_line_of_names(tmp_path: Path, names: Any, spectra: Any) -> None:
    np.savetxt(tmp_path / "new.csv", spectra, delimiter=",", header=",".join(map(str, names)), comments="")
    assert read_spectra(tmp_path / "new.csv").X.shape == spectra.shape


@pytest.mark.parametrize(
    "lines",
    [
        ["0.1,0.2,0.3,0.4,0.5,0.6", "0.11,0.22,0.33,0.44,0.55,0.66", "0.1,0.2,0.3,0.4,0.5,0.7"],
        ["900,100,700,300,500,200", "0.1,0.3,0.2,0.4,0.3,0.1", "0.1,0.3,0.2,0.4,0.3,0.2"],
        [LINES[1].replace(f"{Y[0]}", "n.d."), *LINES[2:]],
    ],
    ids=["all rise", "an outlier or names in no order", "a text among numbers"],
)
def test_a_first_line_of_which_nobody_can_tell_is_refused(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(InvalidInputError, match=r"nobody can tell whether the first line of .*new\.csv, .* names"):
        read_spectra(written(tmp_path / "new.csv", lines))


def test_a_file_of_references_may_have_no_name(tmp_path: Path) -> None:
    assert table_files.read(written(tmp_path / "y.csv", ["12.1", "11.5", "13.0"])).frame.rows() == [
        (12.1,),
        (11.5,),
        (13,),
    ]
    assert table_files.read(written(tmp_path / "k.csv", ["a", "b", "a", "b"])).frame.height == 4
    assert table_files.read(written(tmp_path / "n.csv", ["kind", "a", "b", "a"])).frame["kind"].to_list() == [
        "a",
        "b",
        "a",
    ]


@pytest.mark.parametrize("cell", ["n/a", "0.25 ", "NaN", '"0.25"', "-"])
def test_cells_that_polars_reads_as_no_number_are_read_as_before(tmp_path: Path, cell: str) -> None:
    lines = [*LINES[:3], ",".join([*LINES[3].split(",")[:-1], cell]), *LINES[4:]]
    found = read_spectra(written(tmp_path / "new.csv", lines))
    expected = X.copy()
    expected[2, -1] = 0.25 if "0.25" in cell else np.nan
    np.testing.assert_array_equal(found.X, expected)


def test_a_date_with_points_beside_decimal_commas_separates_no_thousands(tmp_path: Path) -> None:
    lines = [f"{line.replace(',', ';').replace('.', ',')};05.03.2024" for line in LINES]
    check(written(tmp_path / "wheat.csv", [f"{LINES[0].replace(',', ';')};date", *lines[1:]], ","))


def test_a_text_among_measured_values_once_made_classes_of_them(tmp_path: Path) -> None:
    for text in ("n.d.", "<0.1"):
        lines = [*LINES[:4], LINES[4].replace(str(Y[3]), text), *LINES[5:]]
        with pytest.raises(InvalidInputError, match=rf"column 'protein' has '{text}' in row 3 .*, which is no number"):
            read_dataset(written(tmp_path / "wheat.csv", lines), "protein")
    grades = ["grade,1100,1102", *(f"{grade},{place}.5,0.5" for place, grade in enumerate(["1", "2", "2b", "3"]))]
    assert read_dataset(written(tmp_path / "grades.csv", grades), "grade").y.tolist() == ["1", "2", "2b", "3"]


def test_lines_may_end_as_those_of_an_old_mac(tmp_path: Path) -> None:
    (tmp_path / "wheat.csv").write_text("\r".join(LINES))
    check(tmp_path / "wheat.csv")
