"""An exported script reads of a file what `predict` reads, or refuses it in words; it never reads another thing."""

import gzip
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from nirs4all_store import InvalidInputError, PipelineRunner, WorkspaceStore
from nirs4all_store.chains import TrainedOn

NAMES = [str(1100 + 10 * place) for place in range(12)]
X = np.round(0.5 + np.random.default_rng(0).normal(scale=0.02, size=(7, 12)).cumsum(axis=1), 5)
TABLE = pl.DataFrame(X, schema=NAMES, orient="row").insert_column(0, pl.Series("id", [f"s {row}" for row in range(7)]))
LINES = TABLE.write_csv().splitlines()
Reader = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedOn, Reader, Reader]:
    """Give what a chain knows of training, how its script reads, and how that of a chain does which knows nothing."""
    folder = tmp_path_factory.mktemp("scripts")
    with WorkspaceStore(f"memory:{folder}") as store:
        readers, chains = [], []
        for data in ((TABLE.with_columns(y=pl.Series(X[:, 0]))), (X, X[:, 0])):
            target = None if isinstance(data, tuple) else "y"
            found = PipelineRunner(store, progress=False).run([KFold(2), Ridge()], data, target=target, refit=False)
            chains.append(store.get_chain(found["chain_id"][0]))
            script = store.export_chain(found["chain_id"][0], folder / f"{len(readers)}.n4a.py", "n4a.py")
            readers.append(runpy.run_path(str(script))["read_spectra"])
    assert chains[0] is not None
    return TrainedOn.of(chains[0]), readers[0], readers[1]


def commas(lines: list[str]) -> str:
    return "\n".join(line.replace(",", ";").replace(".", ",") for line in lines)


FILES: dict[str, str | bytes] = {
    "plain.csv": "\n".join(LINES),
    "windows.csv": b"\xef\xbb\xbf" + "\r\n".join(LINES).encode() + b"\r\n\r\n",
    "excel.csv": "sep=;\n" + "\n".join(LINES).replace(",", ";"),
    "decimal commas.csv": commas(LINES),
    "tabs.tsv": "\n".join(LINES).replace(",", "\t"),
    "bars.txt": "\n".join(LINES).replace(",", "|"),
    "spaces.txt": "\n".join(" " + "   ".join(line.split(",")[1:]) for line in LINES),
    "packed.csv.gz": gzip.compress("\n".join(LINES).encode()),
    "title.csv": "\n".join(["Wheat, new ones", "", "Instrument,NIR-4", *LINES]),
    "units.csv": "\n".join([LINES[0], ",nm" * 12, *LINES[1:]]),
    "groups.csv": "\n".join(["lab" + ",nir" * 12, *LINES]),
    "levels of pandas.csv": "\n".join(["" + ",nir" * 12, LINES[0].removeprefix("id"), "id" + "," * 12, *LINES[1:]]),
    "no names.csv": "\n".join(LINES[1:]),
    "numbers alone.csv": "\n".join(line.partition(",")[2] for line in LINES[1:]),
    "other order.csv": TABLE.select(pl.all().reverse()).write_csv(),
    "other names.csv": TABLE.rename({name: f"X{name}.0 nm" for name in NAMES}).write_csv(),
    "rounded.csv": TABLE.rename({name: f"{float(name) + 0.4}" for name in NAMES}).write_csv(),
    "more columns.csv": TABLE.with_columns(pl.lit(7.0).alias("1220"), note=pl.lit('a, "b"\nc')).write_csv(),
    "gaps.csv": "\n".join(
        [*LINES[:2], ",".join([*LINES[2].split(",")[:5], *["NA", "", "-"], *["0.5"] * 5]), *LINES[3:]]
    ),
    "short rows.csv": "\n".join([*LINES[:3], LINES[3].rpartition(",")[0], *LINES[4:], ","]),
}
REFUSED: dict[str, str | bytes] = {
    "a long row.csv": "\n".join([*LINES[:3], f"{LINES[3]},0.5", *LINES[4:]]),
    "unquoted commas.csv": "\n".join([LINES[0], *(line.replace("0.5", "0,5") for line in LINES[1:])]),
    "a word.csv": "\n".join([*LINES[:3], f"{LINES[3].rpartition(',')[0]},n.d.", *LINES[4:]]),
    "thousands.csv": "\n".join([LINES[0], *(f'{line.rpartition(",")[0]},"1,234.5"' for line in LINES[1:])]),
    "latin.csv": "\n".join(LINES).replace("s ", "\u00e9").encode("latin-1"),
    "all rise.csv": "\n".join(",".join(map(str, sorted(row))) for row in X.tolist()),
    "lacks one.csv": TABLE.drop("1150").write_csv(),
    "lacks one name.csv": "\n".join(line.rpartition(",")[0] for line in LINES[1:]),
    "two lines.csv": "\n".join(["id," + ",".join(map(str, range(1, 13))), *LINES]),
    "long.csv": TABLE.unpivot(index="id", variable_name="wavelength").write_csv(),
    "names alone.csv": LINES[0],
    "nothing.csv": "",
    "broken.csv.gz": gzip.compress("\n".join(LINES).encode())[:-20],
    "model.bin": "\n".join(LINES),
}


@pytest.mark.parametrize("name", FILES)
def test_a_script_once_read_headers_in_a_way_of_its_own(known: tuple[Any, Any, Any], tmp_path: Path, name: str) -> None:
    content = FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = known[0].read(tmp_path / name)
    assert len(expected.X) == 7
    for read in known[1:]:
        if read is known[1] or name not in ("other order.csv", "more columns.csv"):
            np.testing.assert_array_equal(read(str(tmp_path / name))[0], expected.X)


@pytest.mark.parametrize("name", REFUSED)
def test_a_script_refuses_what_predict_refuses(known: tuple[Any, Any, Any], tmp_path: Path, name: str) -> None:
    content = REFUSED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name != "long.csv":  # A script cannot turn it into a row for each spectrum.
        with pytest.raises(InvalidInputError):
            known[0].read(tmp_path / name)
    with pytest.raises((ValueError, EOFError), match=rf"{name}|ended before|could be") as caught:
        known[1](str(tmp_path / name))
    assert len(str(caught.value)) > 20


def test_what_a_script_reads_where_nothing_is_known_of_training(known: tuple[Any, Any, Any], tmp_path: Path) -> None:
    table = TABLE.rename({name: f"band {chr(97 + place)}" for place, name in enumerate(NAMES)})
    table = table.with_columns(plot=pl.Series([f"0{row}" for row in range(7)])).select("id", "plot", *table.columns[1:])
    table.write_csv(tmp_path / "new.csv")
    np.testing.assert_array_equal(known[2](str(tmp_path / "new.csv"))[0], X)
    table.to_pandas().drop(columns="id").to_csv(tmp_path / "new.csv")
    np.testing.assert_array_equal(known[2](str(tmp_path / "new.csv"))[0], X)
    with pytest.raises(ValueError, match="lacks 12 of the 12"):
        known[1](str(tmp_path / "new.csv"))
