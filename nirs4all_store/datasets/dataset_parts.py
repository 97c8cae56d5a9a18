"""The parts of a dataset, from arrays, frames and files: which column, row and file each comes from.

They are not yet checked against each other; `reader` does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..filesystem import checked_path, refuse_odd_given
from ..validation import did_you_mean, refuse_deep
from . import column_names, spectra_columns, table_files
from .dataset import Array
from .input_checks import ROWS_COUNT_FROM_ZERO, as_array, check_length, misses
from .references import Targets, named_targets, targets_of_file, units_of_targets
from .spectra_columns import Spectra, names_in
from .text_tables import Table

KEYS = (
    *("X", "y", "groups", "weights", "sample", "split", "test", "X_test", "y_test", "join", "unit"),
    *("wavelengths", "name"),
)
OF_SAMPLES = ("groups", "weights", "sample", "split")
"""The parts that have one value for each row of X."""
TEST_NAMES = {
    "X": "X_test",
    "y": "y_test",
    "sample": "test_sample",
    "metadata": "test_metadata",
}
WORDS = {
    **dict.fromkeys(("train", "training", "cal", "calibration"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "prediction"), "test"),
}
"""What the column `split` says, and which partition that is."""


def parts_of(given: Any, target: str | Sequence[str] | None) -> dict[str, Any]:
    """Return the parts of a dataset as arrays, and what its files and tables tell of them; see `reader.read_dataset`.

    Raises
    ------
    InvalidInputError
        It is no dataset, a file cannot be read, or a column is missing.
    """
    if table_files.is_table(given):
        given = {"X": given}
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(("X", "y", "groups"), given, strict=False))
    if isinstance(given, str | Path):
        given = {"X": given}
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"a dataset is (X, y), (X, y, groups), a dict with X and y, a table with its target's name, or the path "
            f"of a file, not {type(given).__name__}"
        )
    unknown = sorted(map(str, set(given) - set(KEYS)))
    if unknown or "X" not in given:
        near = did_you_mean(unknown[0], KEYS) if unknown else ""
        raise InvalidInputError(
            f"a dataset's dict needs X and y, and may have {', '.join(KEYS[2:])}; it has "
            f"{', '.join(map(str, given))}{near}"
        )
    parts = {name: read_array(value) if _is_array_file(value) else value for name, value in given.items()}
    if parts.get("test") is not None:
        if parts.get("X_test") is not None:
            raise InvalidInputError("both test and X_test are given; give one of them")
        parts["X_test"] = parts.pop("test")
    for name, value in parts.items():
        is_path = isinstance(value, Path) or (name in ("X", "X_test") and isinstance(value, str))
        if is_path and not table_files.is_table(value):
            table_files.read(checked_path(value, name))  # It is no table by its name, which this says.
    if isinstance(given["X"], str | Path):
        parts = {"name": _stem(given["X"]), "origin": Path(given["X"]).name} | parts
    parts = _of_tables(parts, target) if table_files.is_table(parts["X"]) else _of_arrays(parts, target)
    return _split(parts) if parts.get("split") is not None else parts


def refuse_target(target: Any) -> None:
    """Refuse the name of a column where there are no columns."""
    if target is not None:
        raise InvalidInputError(f"target={target!r} names a column of a table, and X is none; give the values as y")


def read_array(path: str | Path) -> Array:
    """Return the array of a NPY file.

    Raises
    ------
    InvalidInputError
        It cannot be read, or holds objects, which could run code.
    """
    path = checked_path(path, "the file")
    refuse_odd_given(path)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _is_array_file(value: Any) -> bool:
    return isinstance(value, str | Path) and Path(value).suffix.lower() == ".npy"


def _stem(path: str | Path) -> str:
    path, kind = Path(path), table_files.kind_of_table(path)
    return path.name[: -len(kind)] if kind in table_files.READERS else path.stem


def _is_file(value: Any) -> bool:
    return isinstance(value, str | Path) and table_files.is_table(value)


def _of_arrays(parts: dict[str, Any], target: Any) -> dict[str, Any]:
    """Return the parts of a dataset whose X is an array; the others may be files of one column."""
    for name, value in parts.items():
        refuse_deep(value, name)
    if table_files.is_table(parts.get("y")):
        targets = targets_of_file(parts, target, None, len(np.asarray(parts["X"])))
        parts |= {"y": targets.y, "target_names": targets.target_names, "units": targets.units}
    else:
        refuse_target(target)
        if parts.get("unit") is not None:
            parts["units"] = units_of_targets(parts["unit"], ["y"], {})
            parts["target_names"] = ["y"]
    for name in (*OF_SAMPLES, "y_test"):
        if _is_file(parts.get(name)):
            parts[name] = _of_one_column(parts[name], are_names=name not in ("weights", "y_test"))
    if table_files.is_table(parts.get("X_test")):
        parts["X_test"] = spectra_columns.spectra_of(table_files.table_of(parts["X_test"]).frame).X
    return parts


def _of_one_column(path: str | Path, *, are_names: bool) -> Array:
    """Return the column of a file that has but one, beside an index."""
    table = table_files.table_of(path).frame
    names = column_names.without_index(table.columns)
    if len(names) != 1:
        raise InvalidInputError(f"{path} has the columns {', '.join(names[:20])}; give a file with one of them")
    return spectra_columns.targets_of(table, names, str(path), are_names=are_names)


def _of_tables(parts: dict[str, Any], target: Any) -> dict[str, Any]:
    """Return the parts of a dataset whose X is a table, of which others may be columns."""
    where = str(parts["X"]) if isinstance(parts["X"], str | Path) else "the table"
    if parts.get("y") is not None and target is not None and not table_files.is_table(parts["y"]):
        raise InvalidInputError(f"both y and target={target!r} are given; give one of them")
    texts = [name for key in ("y", "join", *OF_SAMPLES) for name in _texts(parts.get(key))] + _texts(target)
    source = table_files.table_of(table_files.with_row_names(parts["X"]), texts)
    used = {name: _columns(source.frame, parts.get(name)) for name in OF_SAMPLES}
    targets = _targets(parts, target, source, where)
    for name, columns in used.items():
        if columns is not None:
            are_names = name != "weights"
            parts[name] = spectra_columns.targets_of(source.frame, columns, where, are_names=are_names, part=name)
        elif _is_file(parts.get(name)):
            parts[name] = _of_one_column(parts[name], are_names=name != "weights")
    known = [*targets.columns, *(column for columns in used.values() for column in columns or [])]
    known += [] if parts.get("join") is None else [parts["join"]]
    spectra = spectra_columns.without_empty(spectra_columns.spectra_of(source.frame, known), where)
    if parts.get("join") is not None and parts.get("sample") is None:
        parts["sample"] = spectra_columns.targets_of(source.frame, [parts["join"]], where, are_names=True)
        used["sample"] = [parts["join"]]
    parts["sample_column"] = used["sample"][0] if used["sample"] else None
    parts |= {"X": spectra.X, "columns": spectra.columns, "metadata": _metadata(spectra.others, known)}
    parts |= {"y": targets.y, "target_names": targets.target_names, "units": targets.units}
    if parts.get("wavelengths") is None:
        parts["wavelengths"] = spectra.wavelengths
        parts["wavelength_unit"] = spectra_columns.unit_of(spectra.columns, source.units)
    if table_files.is_table(parts.get("X_test")):
        parts |= _of_test(parts, spectra, targets, used["sample"], known)
    return parts


def _texts(value: Any) -> list[str]:
    """Return the names that something is or holds."""
    values = value if isinstance(value, list | tuple) else [value]
    return [name for name in values if isinstance(name, str)]


def _columns(table: pl.DataFrame, value: Any) -> list[str] | None:
    """Return the names of columns that something is; None if it is values, or a file that has them."""
    return None if _is_file(value) and value not in table.columns else names_in(table, value)


def _targets(parts: Mapping[str, Any], target: Any, source: Table, where: str) -> Targets:
    """Return y, from columns of the table, another table, or values."""
    y, table = parts.get("y"), source.frame
    if y is not None and table_files.is_table(y) and not (isinstance(y, str) and y in table.columns):
        return targets_of_file(parts, target, table, table.height)
    columns = named_targets(table, target) if y is None else names_in(table, y)
    if columns is None:
        return Targets(y, None, units_of_targets(parts.get("unit"), ["y"], {}), [])
    values = spectra_columns.targets_of(table, columns, where)
    return Targets(values, columns, units_of_targets(parts.get("unit"), columns, source.units), columns)


def _metadata(others: pl.DataFrame, known: Sequence[str]) -> pl.DataFrame | None:
    """Return the columns that serve for nothing; None if there are none."""
    kept = column_names.without_index(others.columns, known)
    return others.select(kept) if kept else None


def _of_test(
    parts: Mapping[str, Any], trained: Spectra, targets: Targets, sample: list[str] | None, known: Sequence[str]
) -> dict[str, Any]:
    """Return X, y and what else a table to test with has, from columns that are named as those to train on."""
    where = str(parts["X_test"]) if isinstance(parts["X_test"], str | Path) else "X_test"
    test = table_files.table_of(table_files.with_row_names(parts["X_test"]), [*known]).frame
    wavelengths = None if trained.wavelengths is None else trained.wavelengths.tolist()
    spectra = spectra_columns.columns_of(test, trained.columns, where, wavelengths)
    found: dict[str, Any] = {"X_test": spectra.X, "test_metadata": _metadata(spectra.others, known)}
    if sample is not None and sample[0] in test.columns:
        found["test_sample"] = spectra_columns.targets_of(test, sample, where, are_names=True)
    y_test = parts.get("y_test")
    if isinstance(y_test, str | Path) and _is_file(y_test) and y_test not in test.columns:
        found["y_test"] = _of_one_column(y_test, are_names=False)
        return found
    named = names_in(test, y_test)
    if named is None and y_test is not None:
        return found
    if targets.joined is not None and parts["join"] in test.columns:
        found["y_test"] = targets.joined(test, where)
    elif named is not None or (targets.columns and set(targets.columns) <= set(test.columns)):
        found["y_test"] = spectra_columns.targets_of(test, named or targets.columns, where)
    if named is None and "y_test" in found and misses(found["y_test"].ravel()).all():
        del found["y_test"]  # Who wants predictions may leave the target's column empty.
    return found


def _split(parts: dict[str, Any]) -> dict[str, Any]:
    """Part the rows by the words of `split`: those to test with, and among the others those that validate."""
    words = [str(word).strip().lower() for word in parts["split"]]
    unknown = [row for row, word in enumerate(words) if word not in WORDS]
    if unknown:
        raise InvalidInputError(
            f"split has {parts['split'][unknown[0]]!r} in row {unknown[0]} {ROWS_COUNT_FROM_ZERO}; give one of "
            f"{', '.join(WORDS)}"
        )
    partitions = np.array([WORDS[word] for word in words])
    is_test = partitions == "test"
    if is_test.any() and parts.get("X_test") is not None:
        raise InvalidInputError("split names rows to test with, and others are given, too; give one of them")
    if is_test.all():
        raise InvalidInputError("split names all rows as test; name some as train")
    X = np.asarray(parts["X"])
    check_length(partitions, "split", X, "X")
    found = dict(parts)
    for name in ("X", "y", "groups", "weights", "sample", "metadata"):
        if parts.get(name) is not None:
            values = parts[name] if isinstance(parts[name], pl.DataFrame) else as_array(parts[name])
            found[name] = values.filter(~is_test) if isinstance(values, pl.DataFrame) else values[~is_test]
            if is_test.any() and name not in ("groups", "weights"):
                key = TEST_NAMES[name]
                found[key] = values.filter(is_test) if isinstance(values, pl.DataFrame) else values[is_test]
    if is_test.any():
        found["test_rows"] = np.flatnonzero(is_test)
    found["rows"] = np.flatnonzero(~is_test)
    validates = partitions[~is_test] == "val"
    return found | {"validates": validates if validates.any() else None}
