"""Files that are no CSV with a row for each spectrum: workbooks, Arrow, long form, sensors, instruments."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nirs4all_store import DataWarning, InvalidInputError
from nirs4all_store.datasets import table_files
from nirs4all_store.datasets.reader import read_dataset, read_spectra

RNG = np.random.default_rng(0)
X = np.round(0.5 + RNG.normal(scale=0.02, size=(12, 20)).cumsum(axis=1), 5)
Y = np.round(RNG.normal(12, 1, 12), 2)
WAVELENGTHS = [1100 + 10 * place for place in range(20)]
NAMES = [*map(str, WAVELENGTHS)]
SAMPLES = [f"S{row:03}" for row in range(12)]
WHEAT = pl.DataFrame(X, schema=NAMES, orient="row").insert_column(0, pl.Series("protein", Y))
WHEAT = WHEAT.insert_column(0, pl.Series("sample", SAMPLES))


def check(given: Any) -> None:
    data = read_dataset(given, "protein")
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert data.wavelengths.tolist() == WAVELENGTHS
    assert data.content_hash == read_dataset(WHEAT, "protein").content_hash


# -- workbooks and Arrow ---------------------------------------------------------------------


def workbook(path: Path, rows: list[list[Any]], sheets: int = 1) -> Path:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("spectra")
        for row, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                sheet.write(row, column, cell)
        for _ in range(1, sheets):
            book.add_worksheet().write(0, 0, "lab")
    return path


TABLE: list[list[Any]] = [["sample", "protein", *WAVELENGTHS], *map(list, WHEAT.rows())]


@pytest.mark.parametrize(
    "above",
    [[], [["Wheat 2024"], []], [["Instrument", "NIR-01"], ["Scans", 32]]],
    ids=["nothing", "a title", "metadata"],
)
def test_a_workbook_is_read_as_a_csv_is(tmp_path: Path, above: list[list[Any]]) -> None:
    check(workbook(tmp_path / "wheat.xlsx", [*above, *TABLE]))
    units = [*above, TABLE[0], ["", "%", *["nm"] * 20], *TABLE[1:]]
    check(workbook(tmp_path / "units.xlsx", units))
    assert table_files.read(tmp_path / "units.xlsx").units["protein"] == "%"


def test_the_first_spectrum_of_a_workbook_without_names_is_there(tmp_path: Path) -> None:
    path = workbook(tmp_path / "new.xlsx", [[sample, *row] for sample, row in zip(SAMPLES, X.tolist(), strict=True)])
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.X, X)
    assert spectra.others.to_series().to_list() == SAMPLES


def test_numbers_of_a_workbook_keep_all_their_digits(tmp_path: Path) -> None:
    values = RNG.normal(size=(5, 12))
    path = workbook(tmp_path / "new.xlsx", [WAVELENGTHS[:12], *values.tolist()])
    np.testing.assert_array_equal(read_spectra(path).X, pl.read_excel(path).to_numpy())
    np.testing.assert_allclose(read_spectra(path).X, values, rtol=1e-15)
    assert read_dataset((workbook(path, [["1100", "kind"], [0.5, 0], [0.25, 1]]), "kind")).y.tolist() == [0, 1]


def test_of_several_sheets_the_first_is_read_and_the_others_are_told(tmp_path: Path) -> None:
    path = workbook(tmp_path / "wheat.xlsx", TABLE, sheets=2)
    with pytest.warns(DataWarning, match="has 2 sheets, of which the first, 'spectra', is read"):
        check(path)


@pytest.mark.parametrize("name", ["bad.xlsx", "bad.feather", "bad.parquet", "bad.arrow", "bad.ods"])
def test_a_damaged_file_is_told(tmp_path: Path, name: str) -> None:
    for content in (b"", b"no table" * 99, b"PK\3\4" + b"x" * 99, b"ARROW1" + b"x" * 99):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInputError, match=rf"{name} (cannot be read|has no rows)"):
            table_files.read(tmp_path / name)


def test_feather_and_streams_of_arrow_are_tables(tmp_path: Path) -> None:
    WHEAT.write_ipc(tmp_path / "wheat.feather")
    check(tmp_path / "wheat.feather")
    WHEAT.write_ipc_stream(tmp_path / "wheat.arrow")
    check(tmp_path / "wheat.arrow")
    WHEAT.to_pandas().to_feather(tmp_path / "wheat.ipc")
    check(tmp_path / "wheat.ipc")


# -- long form -------------------------------------------------------------------------------

LONG = WHEAT.unpivot(NAMES, index=["sample", "protein"], variable_name="wavelength", value_name="absorbance")


@pytest.mark.parametrize(
    "name", ["wavelength", "Wavelength (nm)", "wavelength_nm", "Wavenumber", "lambda", "nm", "cm-1"]
)
def test_a_row_for_each_wavelength_once_was_a_sample(tmp_path: Path, name: str) -> None:
    table = LONG.rename({"wavelength": name})
    table.write_csv(tmp_path / "long.csv")
    for given in (
        tmp_path / "long.csv",
        table,
        table.cast({name: pl.Int64}),
        table.sort("sample", maintain_order=True),
    ):
        check(given)


def test_a_column_for_each_sample_is_turned(tmp_path: Path) -> None:
    turned = pl.DataFrame({"wavelength": WAVELENGTHS, **dict(zip(SAMPLES, X, strict=True))})
    turned.write_csv(tmp_path / "turned.csv", separator=";")
    WHEAT.select("sample", "protein").reverse().write_csv(tmp_path / "lab.csv")
    for given in (turned, tmp_path / "turned.csv"):
        data = read_dataset({"X": given, "y": tmp_path / "lab.csv", "join": "sample"})
        np.testing.assert_array_equal(data.X, X)
        np.testing.assert_array_equal(data.y, Y)
        assert data.sample_names.tolist() == SAMPLES


@pytest.mark.parametrize(
    "table",
    [
        LONG[:-1],
        pl.concat([LONG, LONG[:20]]),
        LONG.drop("sample", "protein"),
        LONG.with_columns(raw=RNG.normal(size=240)),
    ],
    ids=["one is missing", "some are there twice", "no samples", "two values"],
)
def test_a_long_form_that_is_not_whole_is_refused(table: pl.DataFrame) -> None:
    with pytest.raises(InvalidInputError, match="seems to have a row for each wavelength, as 'wavelength' repeats 20"):
        read_dataset(table, "protein")


def test_a_column_called_wavelength_beside_spectra_or_with_few_values_is_a_column() -> None:
    table = pl.DataFrame({"wavelength": [1.0, 2.0, 1.0, 2.0], "peak": [1.0, 2.0, 3.0, 4.0], "p": [1, 2, 3, 4]})
    assert read_dataset(table, "p").columns == ["wavelength", "peak"]
    assert read_dataset(WHEAT.with_columns(wavelength=1), "protein").columns == NAMES


# -- sensors ---------------------------------------------------------------------------------

AS7265X = [
    *("A410", "B435", "C460", "D485", "E510", "F535", "G560", "H585", "R610", "I645", "S680", "J705", "T730", "U760"),
    *("V810", "W860", "K900", "L940"),
]


@pytest.mark.parametrize("shape", ["{}", "{}_cal", "ch_{}", "raw {}"])
@pytest.mark.parametrize("channels", [AS7265X, AS7265X[8:14], [f"{name[0]}_{name[1:]}" for name in AS7265X]], ids=len)
def test_channels_of_a_sensor_once_went_with_the_numbers_beside_them(channels: list[str], shape: str) -> None:
    names = [shape.format(name) for name in channels]
    frame = pl.DataFrame(RNG.normal(size=(4, len(names))), schema=names, orient="row")
    data = read_dataset(frame.with_columns(temperature=20.5, brix=pl.Series([1.0, 2, 3, 4]), acid=0.5), "brix")
    assert data.columns == names
    assert data.wavelengths.tolist() == [float(name[-3:]) for name in channels]


@pytest.mark.parametrize("names", [["B435", "C460", "D485"], ["X001", "Y002", "Z003", "A004", "B005"]])
def test_a_few_names_with_letters_and_numbers_are_no_sensor(names: list[str]) -> None:
    frame = pl.DataFrame(RNG.normal(size=(4, len(names))), schema=names, orient="row")
    assert read_dataset(frame.with_columns(fat=1.5, p=2), "p").columns == [*names, "fat"]


# -- instruments -----------------------------------------------------------------------------


def jcamp(path: Path, spectrum: Any, first: int = 1100) -> None:
    """Write one spectrum as JCAMP-DX."""
    pairs = [f"{first + 10 * place} {value}" for place, value in enumerate(spectrum)]
    head = {
        **{"TITLE": path.stem, "JCAMP-DX": "4.24", "DATA TYPE": "NIR SPECTRUM", "ORIGIN": "here", "OWNER": "me"},
        **{"XUNITS": "NANOMETERS", "YUNITS": "ABSORBANCE", "XFACTOR": 1, "YFACTOR": 1, "FIRSTX": first},
        **{"LASTX": first + 10 * (len(spectrum) - 1), "NPOINTS": len(spectrum), "FIRSTY": spectrum[0], "DELTAX": 10},
    }
    lines = [f"##{name}={value}" for name, value in head.items()]
    path.write_text("\n".join([*lines, "##XYDATA=(X++(Y..Y))", *pairs, "##END="]) + "\n")


@pytest.fixture
def spectra(tmp_path: Path) -> Path:
    pytest.importorskip("nirs4all_formats")
    folder = tmp_path / "scans"
    folder.mkdir()
    for sample, spectrum in zip(SAMPLES, X.tolist(), strict=True):
        jcamp(folder / f"{sample}.jdx", spectrum)
    (folder / "notes.docx").write_text("no spectrum")
    return folder


def test_a_folder_of_files_of_an_instrument_is_a_table(spectra: Path, tmp_path: Path) -> None:
    WHEAT.select(pl.col("sample").alias("file"), "protein").reverse().write_csv(tmp_path / "lab.csv")
    data = read_dataset({"X": spectra, "y": tmp_path / "lab.csv", "join": "file"}, "protein")
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert (data.wavelengths.tolist(), data.wavelength_unit, data.name) == (WAVELENGTHS, "nm", "scans")
    one = read_spectra(spectra / "S003.jdx")
    np.testing.assert_array_equal(one.X, X[3:4])
    assert one.others["file"].to_list() == ["S003"]


def test_files_of_different_wavelengths_and_damaged_ones_are_refused(spectra: Path, tmp_path: Path) -> None:
    jcamp(spectra / "T000.jdx", X[0].tolist(), first=1101)
    with pytest.raises(InvalidInputError, match="S000 has 20 from 1100 to 1290, T000 has 20 from 1101 to 1291"):
        table_files.read(spectra)
    (spectra / "S000.0").write_bytes(b"no OPUS" * 9)
    with pytest.raises(InvalidInputError, match=r"S000\.0 cannot be read"):
        table_files.read(spectra)
    with pytest.raises(InvalidInputError, match="has no files of an instrument"):
        table_files.read(tmp_path)


def test_what_reads_the_files_of_instruments_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nirs4all_formats", None)
    (tmp_path / "scan.spc").write_bytes(b"anything")
    with pytest.raises(
        InvalidInputError, match=r"which nirs4all-formats reads: pip install 'nirs4all-store\[formats\]'"
    ):
        read_spectra(tmp_path / "scan.spc")


def test_standard_input_is_a_csv() -> None:
    assert table_files.read_stream(io.BytesIO(WHEAT.write_csv().encode()), "stdin").columns == WHEAT.columns
    for content, message in ((b"", "has no rows"), (b" \n", "has no rows"), (b"1,2\n1,2,3\n", "stdin")):
        with pytest.raises(InvalidInputError, match=message):
            table_files.read_stream(io.BytesIO(content), "stdin")
