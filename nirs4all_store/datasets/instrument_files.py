"""Files in the formats of instruments, read by nirs4all-formats, which the extra `formats` installs.

It is under CeCILL-2.1 or AGPL-3.0-or-later, other than this package, which only calls it if it is there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..filesystem import FILE, kind_of, refuse_odd_given
from .text_tables import Table

ENDINGS = re.compile(r"\.(spc|jdx|dx|jcamp|asd|sed|sig|spa|spg|sp|nir|jws|wdf|[0-9]{1,4})$", re.IGNORECASE)
"""Those of GRAMS, JCAMP-DX, ASD, Spectral Evolution, SVC, OMNIC, PerkinElmer, Büchi, JASCO, Renishaw, and OPUS."""
SIGNALS = ("absorbance", "reflectance", "transmittance", "signal")
"""Which signal of a file is X, the first that it has."""
NAME = "file"
"""The column that has the name of each spectrum's file, without its ending."""


def is_instrument_file(path: str | Path) -> bool:
    """Tell whether a file has spectra of an instrument by its name."""
    return ENDINGS.search(Path(path).name) is not None


def read_spectra_file(content: bytes, where: str, texts: Collection[str] = ()) -> Table:
    """Read the spectra of one file: a row each, a column a wavelength, and the name of the file.

    Raises
    ------
    InvalidInputError
        nirs4all-formats is not installed, cannot read it, or finds several signals in it.
    """
    return _table([_read(where, content)], where)


def read_folder(folder: Path) -> Table:
    """Read the spectra of all files of a folder that are those of an instrument by their names.

    Raises
    ------
    InvalidInputError
        There is none, one cannot be read, or they have different wavelengths.
    """
    paths = sorted(path for path in folder.iterdir() if is_instrument_file(path) and kind_of(path) == FILE)
    if not paths:
        raise InvalidInputError(f"{folder} has no files of an instrument; give a table, or a folder with such files")
    for path in paths:
        refuse_odd_given(path)
    return _table([_read(str(path), path.read_bytes()) for path in paths], str(folder))


def _read(where: str, content: bytes) -> tuple[str, Any, Any, str, dict[str, list[Any]]]:
    """Return the name of a file, its spectra, their wavelengths and unit, and reference values."""
    try:
        import nirs4all_formats
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"{where} is a file of an instrument, which nirs4all-formats reads: pip install 'nirs4all-store[formats]'"
        ) from error
    path = Path(where)
    try:
        records = nirs4all_formats.SpectralRecordSet.from_dicts(nirs4all_formats.open_bytes(path.name, content))
        names = records.signal_names()
        signal = next((name for name in SIGNALS if name in names), names[0] if len(names) == 1 else None)
        if signal is None:
            raise ValueError(f"it has the signals {', '.join(names) or 'none'}; save the one that is X as a table")
        X, wavelengths = records.to_numpy(signal=signal)
    except Exception as error:  # What it raises of a damaged file is of no one kind.
        raise InvalidInputError(f"{where} cannot be read: {error}") from error
    units = {record.signals[signal].axis.unit for record in records if signal in record.signals}
    targets = [record.targets for record in records]
    known = (
        {name: [one.get(name) for one in targets] for one in targets for name in one} if len(X) == len(targets) else {}
    )
    return path.stem, X, wavelengths, units.pop() if len(units) == 1 else "", known


def _table(files: Iterable[tuple[str, Any, Any, str, dict[str, list[Any]]]], where: str) -> Table:
    """Return the spectra of files with the same wavelengths as one table."""
    frames, first, unit = [], None, ""
    for name, X, wavelengths, file_unit, targets in files:
        first = (name, wavelengths) if first is None else first
        if not np.array_equal(wavelengths, first[1]):
            raise InvalidInputError(
                f"{where} has spectra of different wavelengths: {first[0]} has {_range(first[1])}, {name} has "
                f"{_range(wavelengths)}; give those of each instrument in a folder of its own"
            )
        unit = file_unit
        columns = {NAME: [name] * len(X), **targets}
        spectra = pl.DataFrame(X, schema=[str(wavelength) for wavelength in wavelengths.tolist()], orient="row")
        frames.append(pl.concat([pl.DataFrame(columns), spectra], how="horizontal"))
    table = pl.concat(frames, how="diagonal_relaxed")
    return Table(table, dict.fromkeys(table.columns[1:], unit) if unit else {})


def _range(wavelengths: Any) -> str:
    return f"{len(wavelengths)} from {wavelengths[0]:g} to {wavelengths[-1]:g}"
