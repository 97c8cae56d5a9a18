"""What the names of a table's columns say: which are spectra, at which wavelengths, and where those of training are.

Needs numpy alone: exported scripts carry this very file and `wavelength_grids`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .wavelength_grids import places_on

Array = Any
Family = tuple[list[str], Array]
"""Names of columns that are alike but for their numbers, and the numbers if there is one in each that differs."""

# What pandas calls the first column of a CSV when it writes its index there, and when it reads that again.
PANDAS_CSV_INDEX = ("", "Unnamed: 0")
# Python would read more than these, as 2024_1.
NUMBER = re.compile(r"\s*[-+]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][-+]?[0-9]+)?\s*")
THOUSANDS = re.compile(r"\s*[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?\s*")
# As R and spreadsheets name columns of spectra: X1100, 1100.5 nm, 4000 cm-1, NIR2_1100.
NUMBERED = re.compile(r"[0-9]+(?:\.[0-9]+)?")
LEAST_NUMBERED = 10
# As the channels of a multispectral sensor are called.
CHANNEL = re.compile(r"(?P<before>(?:.*[^A-Za-z])?)(?P<letter>[A-Za-z])[ _-]?[0-9]{3,4}(?P<after>(?:[^0-9].*)?)")
LEAST_CHANNELS = 6
# What the column is called that has wavelengths, where a table has a row for each.
AXIS = re.compile(
    r"\s*(wave[ _-]?(length|number)s?|lambda|wl|wn|nm|[µu]m|cm\^?-1|raman[ _-]?shift)\s*([\[(_].*)?", re.IGNORECASE
)
MAX_NAMES_LISTED = 20


def wavelengths_of(columns: Sequence[str]) -> Array | None:
    """Return the numbers that columns are named by; None if they are not."""
    found = families(columns)
    return found[0][1] if len(found) == 1 and len(found[0][0]) == len(columns) else None


def reject_duplicate_names(names: Sequence[str], where: str) -> None:
    """Refuse a table of which two columns have one name."""
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        names = ", ".join(map(repr, twins[:MAX_NAMES_LISTED]))
        raise InvalidInputError(f"{where} has several columns with the name {names}")


def without_index(names: Sequence[str], left_out: Collection[str] = ()) -> list[str]:
    """Return the names of columns but for those to be left out, and for the index that pandas writes first."""
    return [name for i, name in enumerate(names) if name not in left_out and (i or name not in PANDAS_CSV_INDEX)]


def spectral(names: Sequence[str], where: str) -> tuple[list[str], Array | None]:
    """Return the names that are those of spectra, if any are, and their wavelengths, if they tell them.

    Raises
    ------
    InvalidInputError
        Several kinds of columns could each be spectra, or two have one name.
    """
    found = families(names)
    refuse_choice(found)
    columns, wavelengths = found[0] if found else ([], None)
    reject_duplicate_names([str(key(name)) for name in columns], where)
    return columns, wavelengths


def places_by_name(names: Sequence[str], columns: Sequence[str], where: str) -> list[int]:
    """Return where columns that have certain names stand, in the order of these; `1100.0` is `1100`.

    Raises
    ------
    InvalidInputError
        One is missing, or is there twice.
    """
    wanted = {name: key(name) for name in columns}
    keys = {*wanted.values()}
    found = [(own, place) for place, own in enumerate(map(key, names)) if own in keys]
    reject_duplicate_names([str(name) for name, _ in found], where)
    known = dict(found)
    missing = [name for name in columns if wanted[name] not in known]
    if missing:
        raise InvalidInputError(
            f"{where} lacks {len(missing)} of the {len(columns)} columns that the spectra were trained on, as "
            f"{', '.join(map(repr, missing[:3]))}; give spectra of the same instrument, or name the columns as there"
        )
    return [known[wanted[name]] for name in columns]


def places(
    names: Sequence[str], columns: Sequence[str] | None, wavelengths: Sequence[float] | None, where: str
) -> list[int] | None:
    """Return where, among a table's columns, those stand that a chain was trained on, in their order.

    Parameters
    ----------
    names : list of str
        Of the table's columns.
    columns : list of str, or None
        Their names in training, where they are known.
    wavelengths : list of float, or None
        Their wavelengths in training: data of the same wavelengths are the same, whatever their columns are called, and
        though these were rounded; see `places_on`.
    where : str
        What messages call the table.

    Returns
    -------
    list of int, or None
        None: no names are known of training, and those of the table tell no wavelengths.

    Raises
    ------
    InvalidInputError
        One is missing, is there twice, or nobody can tell.
    """
    refused = None
    if columns is not None:
        try:
            return places_by_name(names, columns, where)
        except InvalidInputError as error:
            if wavelengths is None:
                raise
            refused = error
    if wavelengths is None:
        return None
    grid = grid_of(names, where)
    if grid is None:
        if refused is not None:
            raise refused
        return None
    at, found = grid
    chosen: list[int] = at[places_on(found, np.array(wavelengths), where)].tolist()
    return chosen


def grid_of(names: Sequence[str], where: str) -> tuple[Array, Array] | None:
    """Return where, among a table's columns, its spectra stand, and at which wavelengths; None if no names tell them.

    Raises
    ------
    InvalidInputError
        Several kinds of columns could each be spectra, or a wavelength is there twice.
    """
    named, found = spectral(without_index(names), where)
    if found is None:
        return None
    reject_duplicate_names(list(map(str, found.tolist())), where)
    return np.array(places_by_name(names, named, where)), found


def without_wavelengths(names: Sequence[str]) -> list[str]:
    """Return the names of columns but for those that are named by wavelengths."""
    spectral = {name for family, wavelengths in families(names) if wavelengths is not None for name in family}
    return [name for name in names if name not in spectral]


def families(names: Sequence[str]) -> list[Family]:
    """Return the columns that are named by numbers alone, and those of each kind like `X1100` that has many."""
    _refuse_thousands(names)
    plain = [name for name in names if is_number(name)]
    alike: dict[str, list[str]] = {}
    for name in names:
        if not is_number(name) and NUMBERED.search(name):
            alike.setdefault(NUMBERED.sub("#", name), []).append(name)
    many = [(family, _differing(family)) for family in alike.values() if len(family) >= LEAST_NUMBERED]
    channels = _channels([name for family in alike.values() if len(family) < LEAST_NUMBERED for name in family])
    many += [(channels, _differing(channels))] if channels else []
    return [(plain, np.array([key(name) for name in plain])), *many] if plain else many


def _channels(names: Sequence[str]) -> list[str]:
    """Return the columns of a sensor whose channels have letters before their wavelengths: A410, B435 ... W860."""
    found = [(name, CHANNEL.fullmatch(name)) for name in names]
    alike: dict[tuple[str, str], list[str]] = {}
    for name, match in found:
        if match:
            alike.setdefault((match["before"], match["after"]), []).append(name)
    channels = max(alike.values(), key=len, default=[])
    letters = {match["letter"] for name, match in found if match and name in channels}
    return channels if len(channels) >= LEAST_CHANNELS and len(letters) > 1 else []


def _differing(family: Sequence[str]) -> Array | None:
    """Return the numbers by which names differ; None if there are several in each, or if they only count."""
    numbers = np.array([[float(number) for number in NUMBERED.findall(name)] for name in family])
    differing = [column for column in numbers.T if len(np.unique(column)) > 1]
    if len(differing) != 1:
        return None
    in_order = np.sort(differing[0])
    return None if in_order[0] in (0, 1) and np.all(np.diff(in_order) == 1) else differing[0]


def refuse_choice(families: Sequence[Family]) -> None:
    """Refuse to choose between families, unless the first are so many plain numbers that others stand beside them."""
    if len(families) < 2 or (is_number(families[0][0][0]) and len(families[0][0]) >= LEAST_NUMBERED):
        return
    choices = [
        f"{names[0]!r} to {names[-1]!r} ({len(names)})" if len(names) > 1 else f"{names[0]!r} alone"
        for names, _ in families[:MAX_NAMES_LISTED]
    ]
    raise InvalidInputError(
        f"X could be the columns {', or '.join(choices)}; leave out or rename those that are no spectra, or give X as "
        "an array"
    )


def _refuse_thousands(names: Sequence[str]) -> None:
    """Refuse `1,000` beside `990`, since it may be a thousand or one, and `1,000.5`."""
    thousands = [name for name in names if THOUSANDS.fullmatch(name)]
    others = [name for name in names if is_number(name) and name not in thousands]
    is_one = any("," in name for name in others)
    if thousands and not is_one and (others or not all(map(is_number, thousands))):
        raise InvalidInputError(
            f"columns are named {', '.join(map(repr, [*others[:1], *thousands[:2]]))}; write wavelengths without "
            "separators of thousands"
        )


def is_number(name: str) -> bool:
    """Tell whether a name is a number and nothing else."""
    return NUMBER.fullmatch(name) is not None


def key(name: str) -> Any:
    """Return what two names have in common that mean the same column."""
    return float(name.replace(",", ".")) if is_number(name) else name
