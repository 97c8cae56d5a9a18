"""Tells with which versions of Python and packages a chain was made, and which are here."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import polars as pl

from ..artifacts import distributions_of_packages, packages_in

PYTHON = "python"


def environment_of(artifacts: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the versions with which artifacts were made, and those that are here; see `WorkspaceStore.environment`.

    Parameters
    ----------
    artifacts : iterable of dict
        Rows of `artifacts`.
    """
    then: dict[str, set[str]] = {}
    for row in artifacts:
        provenance = row["provenance"]
        python = provenance.get(PYTHON) if isinstance(provenance, dict) else None
        for name, found in {PYTHON: python, **packages_in(provenance)}.items():
            if isinstance(found, str):
                then.setdefault(name, set()).add(found)
    distributions = distributions_of_packages()
    rows = []
    for name in sorted(then, key=lambda name: (name != PYTHON, name)):
        here = platform.python_version() if name == PYTHON else _installed(distributions.get(name, []))
        rows.append((name, ", ".join(sorted(then[name])), here, then[name] == {here}))
    schema = {"package": pl.String, "then": pl.String, "now": pl.String, "is_same": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _installed(distributions: list[str]) -> str | None:
    """Return the version of what gives a package; None where nothing does."""
    return version(distributions[0]) if distributions else None
