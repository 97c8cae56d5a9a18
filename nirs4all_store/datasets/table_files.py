"""Tables in files: which files are some, and which reader each kind has."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from ..errors import InvalidInputError
from ..filesystem import checked_path, near_files, refuse_odd_given
from .column_names import reject_duplicate_names
from .instrument_files import is_instrument_file, read_folder, read_spectra_file
from .long_form import to_wide
from .spreadsheets import read_excel
from .text_tables import Table, read_text

Reader = Callable[[bytes, str, Collection[str]], Table]


def _read_parquet(content: bytes, where: str, texts: Collection[str]) -> Table:
    return Table(pl.read_parquet(content))


def _read_arrow(content: bytes, where: str, texts: Collection[str]) -> Table:
    """Read Feather, which is Arrow's own format; what is written as a stream is read as one."""
    read = pl.read_ipc if content.startswith(b"ARROW1") else pl.read_ipc_stream
    return Table(read(content))


def _read_gzip(content: bytes, where: str, texts: Collection[str]) -> Table:
    return read_text(gzip.decompress(content), where, texts)


READERS: dict[str, Reader] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".txt": read_text,
    ".csv.gz": _read_gzip,
    ".tsv.gz": _read_gzip,
    ".txt.gz": _read_gzip,
    ".xlsx": read_excel,
    ".xls": read_excel,
    ".xlsm": read_excel,
    ".ods": read_excel,
    ".parquet": _read_parquet,
    ".feather": _read_arrow,
    ".arrow": _read_arrow,
    ".ipc": _read_arrow,
}
TABLES = tuple(READERS)
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""What the index is called where pandas writes Parquet or Feather."""
INSTRUMENT, FOLDER = "instrument", "folder"


def kind_of_table(path: str | Path) -> str | None:
    """Return how the name of a table's file ends, INSTRUMENT or FOLDER; None if it is no table by its name."""
    name = Path(path).name.lower()
    ending = max((ending for ending in READERS if name.endswith(ending)), key=len, default=None)
    if ending is None and is_instrument_file(path):
        return INSTRUMENT
    return FOLDER if ending is None and Path(path).is_dir() else ending


def is_table(value: Any) -> bool:
    """Tell whether something is a frame, or the path of a file that is one by its name."""
    return kind_of_table(value) is not None if isinstance(value, str | Path) else is_frame(value)


def is_frame(value: Any) -> bool:
    """Tell whether something is a frame of polars or pandas, a table of Arrow, or what is handed over as one."""
    return (hasattr(value, "iloc") or hasattr(value, "__arrow_c_stream__")) and hasattr(value, "columns")


def table_of(given: Any, texts: Collection[str] = ()) -> Table:
    """Return a table that is a frame or the path of a file; see `read`."""
    if isinstance(given, str | Path):
        return read(checked_path(given, "the table"), texts)
    return Table(to_wide(frame(given), "the table"))


def frame(table: Any) -> pl.DataFrame:
    """Return a table as a polars frame.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or two columns have one name.
    """
    if isinstance(table, str | Path):
        return table_of(table).frame
    if isinstance(table, pl.DataFrame):
        return table
    reject_duplicate_names([str(name) for name in getattr(table, "column_names", table.columns)], "the table")
    try:
        return pl.from_pandas(table.rename(columns=str)) if hasattr(table, "iloc") else pl.DataFrame(table)
    except Exception as error:  # What pandas and Arrow raise of a column of several types is not of one kind.
        raise InvalidInputError(f"the table has a column of several types: {error}; leave it out") from error


def with_row_names(given: Any) -> Any:
    """Return a frame of pandas with its index as columns, as pandas writes it to a file; anything else as it is.

    Only what is called something and has no numbers: these could be taken for spectra.
    """
    if not hasattr(given, "iloc") or given.columns.nlevels > 1:
        return given
    levels = {name: given.index.get_level_values(name) for name in given.index.names if name is not None}
    texts = [name for name, level in levels.items() if level.dtype.kind not in "iufb" and name not in given.columns]
    return given.reset_index(texts) if texts else given


def has_names(given: Any) -> bool:
    """Tell whether somebody named the columns of a frame, instead of pandas or polars, which count them."""
    if type(given.columns).__name__ == "RangeIndex":
        return False
    return not isinstance(given, pl.DataFrame) or given.columns != [f"column_{i}" for i in range(given.width)]


def read(path: Path, texts: Collection[str] = ()) -> Table:
    """Read a file that is a table by its name.

    Parameters
    ----------
    path : Path
    texts : collection of str
        Names of columns of a text file that stay text, such as groups.

    Raises
    ------
    InvalidInputError
        It cannot be read, is no table by its name, has no rows, or is refused by the reader of its kind.
    """
    kind = kind_of_table(path)
    if kind is None:
        advice = near_files(path) or f"; give one that ends in {', '.join(TABLES)}"
        raise InvalidInputError(f"{path} is no table by its name{advice}")
    try:
        if kind == FOLDER:
            return read_folder(path)
        refuse_odd_given(path)
        # By its path polars could take it for a pattern for several files, or for an address.
        found = READERS.get(kind, read_spectra_file)(path.read_bytes(), str(path), texts)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    if not found.frame.height:
        raise InvalidInputError(f"{path} has no rows below the names of its columns")
    index = list(filter(PANDAS_INDEX.fullmatch, found.frame.columns))
    return replace(found, frame=to_wide(found.frame.drop(index) if index else found.frame, str(path)))


def read_stream(stream: BinaryIO, where: str) -> pl.DataFrame:
    """Read a CSV from a stream.

    Raises
    ------
    InvalidInputError
        It has no rows, or cannot be read as a CSV.
    """
    content = stream.read()
    try:
        table = read_text(content, where).frame if content.strip() else pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    if not table.height:
        raise InvalidInputError(f"{where} has no rows")
    return to_wide(table, where)
