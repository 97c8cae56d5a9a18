"""Reference values that stand in a file of their own, in the order of the spectra or joined to them by a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..errors import InvalidInputError
from ..validation import did_you_mean
from . import column_names, spectra_columns, table_files
from .cells import numbers_or_texts
from .column_names import MAX_NAMES_LISTED
from .dataset import Array
from .input_checks import ROWS_COUNT_FROM_ZERO
from .text_tables import Table


class Targets(NamedTuple):
    """y, and what is known of it.

    Attributes
    ----------
    y : array_like, or None
    target_names : list of str, or None
    units : dict of str to str, or None
        By the target's name.
    columns : list of str
        The columns of the table of X that y was taken from.
    joined : callable, or None
        Gives y of another table, where references are joined by a column.
    """

    y: Any
    target_names: list[str] | None
    units: dict[str, str] | None
    columns: list[str]
    joined: Callable[[pl.DataFrame, str], Array] | None = None


def named_targets(table: pl.DataFrame, target: Any) -> list[str]:
    """Return the names of the target's columns; `("ref", "protein")` is one column where pandas has levels of names."""
    if isinstance(target, str | int):  # pandas has numbers as names.
        return [str(target)]
    levels = str(tuple(map(str, target))) if isinstance(target, tuple) else None
    return [levels] if levels in table.columns else [str(one) for one in target or []]


def units_of_targets(unit: Any, targets: Sequence[str], known: Mapping[str, str]) -> dict[str, str] | None:
    """Return the unit of each target: as given, else as a line of the file says.

    Parameters
    ----------
    unit : str, list of str or dict of str to str, or None
        That of the only target, those of all in their order, or by the targets' names.
    targets : list of str
    known : dict of str to str
        What the file says of its columns.

    Raises
    ------
    InvalidInputError
        There are more or fewer units than targets, or one is that of no target.
    """
    units = {name: known[name] for name in targets if name in known}
    if isinstance(unit, Mapping):
        given = {str(name): str(one) for name, one in unit.items()}
    else:
        values = [unit] if isinstance(unit, str) else list(unit or [])
        if values and len(values) != len(targets):
            raise InvalidInputError(
                f"{len(values)} units are given for {len(targets)} targets; give one for each, in the same order"
            )
        given = dict(zip(targets, map(str, values), strict=False))
    if others := sorted(set(given) - set(targets)):
        raise InvalidInputError(f"a unit is given for {others[0]!r}, and the targets are {', '.join(targets)}")
    return units | given or None


def targets_of_file(parts: Mapping[str, Any], target: Any, table: pl.DataFrame | None, rows: int) -> Targets:
    """Return y from a table of its own, one row for each of X, or joined by the column that `join` names.

    Raises
    ------
    InvalidInputError
        The column of y is not known, the rows are not those of X, or two rows of references are of one sample.
    """
    where = str(parts["y"]) if isinstance(parts["y"], str | Path) else "y"
    join = parts.get("join")
    source = table_files.table_of(parts["y"], [join] if isinstance(join, str) else [])
    names = _target_columns(source, target, [] if table is None else table.columns, parts, where)
    is_named = table_files.has_names(source.frame)
    units = units_of_targets(parts.get("unit"), names, source.units)
    if join is None:
        _refuse_other_order(source.frame, table, rows, names, where)
        y = spectra_columns.targets_of(source.frame, names, where)
        return Targets(y, names if is_named else None, units, [])
    if table is None:
        raise InvalidInputError(f"join={join!r} names a column of both tables, and X is none; give X as a table")

    def joined(spectra: pl.DataFrame, name: str) -> Array:
        return spectra_columns.targets_of(_joined(spectra, source.frame, join, name, where), names, where)

    return Targets(joined(table, "X"), names, units, [], joined)


def _target_columns(
    source: Table, target: Any, others: Sequence[str], parts: Mapping[str, Any], where: str
) -> list[str]:
    """Return which columns of a table are y: those that are named, else the only one that the spectra do not have."""
    if target is not None:
        return named_targets(source.frame, target)
    names = column_names.without_index(source.frame.columns, [str(parts.get("join"))])
    if table_files.has_names(source.frame):
        names = [name for name in names if name not in others] or names
    if len(names) > 1 and not isinstance(parts["y"], str | Path):
        return names  # Of a frame with nothing else.
    if len(names) != 1:
        raise InvalidInputError(
            f"{where} has the columns {', '.join(source.frame.columns[:20])}; name those of y as target=, in a shell "
            "with --target"
        )
    return names


def _keys(table: pl.DataFrame, join: str, where: str) -> list[Any]:
    """Return by what rows are joined: numbers where a column has them, so that 7 is 7.0; else texts."""
    if join not in table.columns:
        names = ", ".join(map(repr, column_names.without_wavelengths(table.columns)[:MAX_NAMES_LISTED]))
        near = did_you_mean(str(join), table.columns)
        raise InvalidInputError(
            f"{where} has no column {join!r} to join the references by{near + ' Name' if near else '; name'} one "
            f"that both have as join=, in a shell with --join: it has {names or 'none but spectra'}"
        )
    return numbers_or_texts(table[join]).to_list()


def _joined(spectra: pl.DataFrame, references: pl.DataFrame, join: str, name: str, where: str) -> pl.DataFrame:
    """Return the row of references of each row of spectra; without one, its values are missing."""
    keys, known = _keys(spectra, join, name), _keys(references, join, where)
    twice = [key for key, count in Counter(known).items() if count > 1 and key is not None]
    if twice:
        raise InvalidInputError(
            f"{where} has {join} {twice[0]!r} in several rows; give one row of references for each, as their mean"
        )
    places = {key: place for place, key in enumerate(known) if key is not None}
    found = [places.get(key) for key in keys]
    if all(place is None for place in found):
        raise InvalidInputError(
            f"no {join} of {name}, as {keys[0]!r}, is in {where}, which has {known[0]!r}; write them alike"
        )
    return references.select(pl.all().gather(pl.Series(found, dtype=pl.UInt32)))


def _refuse_other_order(
    references: pl.DataFrame, table: pl.DataFrame | None, rows: int, targets: Sequence[str], where: str
) -> None:
    """Refuse references that a column of both tables says to be of other samples than the spectra beside them."""
    shared = [] if table is None else [name for name in references.columns if name in table.columns]
    for name in shared:
        if table is None or name in targets or not table_files.has_names(table):
            continue
        pairs = [_keys(references, name, where), _keys(table, name, "X")]
        if references.height == rows and pairs[0] != pairs[1]:
            row = int(np.argmax([one != other for one, other in zip(*pairs, strict=True)]))
            raise InvalidInputError(
                f"{where} has {name} {pairs[0][row]!r} in row {row} {ROWS_COUNT_FROM_ZERO}, where X has "
                f"{pairs[1][row]!r}; join={name!r}, in a shell --join {name}, finds the references of each"
            )
        if references.height != rows:
            raise InvalidInputError(
                f"{where} has {references.height} rows and X has {rows}; join={name!r}, in a shell --join {name}, "
                "finds the references of each"
            )
