"""What is in a bundle, and what loading it would run, as people read it. Nothing of it is loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import polars as pl

from ..exchange import inspect_bundle
from .details import Details
from .listings import Listing, counted, way_of

LISTED_OBJECTS = ("operator_class", "format", "size_bytes", "imports")


def show_bundle(path: Path) -> Details:
    """Return what is shown of a bundle: its chain, and what each of its objects would import.

    Raises
    ------
    BundleError
        The file is not a bundle, is damaged, or has a newer format.
    """
    found = inspect_bundle(path)
    rows = pl.DataFrame([asdict(one) for one in found.objects])
    table = rows.select(LISTED_OBJECTS).with_columns(
        imports=pl.Series([one.problem or ", ".join(one.imports or []) for one in found.objects])
    )
    way = way_of(found.chain.get("preprocessings"), found.chain["model_class"])
    answer = (
        f"bundle {found.path.name}: {way}, {counted(len(found.objects), 'object')}; "
        "to predict with it runs what they import"
    )
    values = {"path": str(found.path), "versions": found.versions, "content_hash": found.content_sha256} | found.chain
    return Details(answer, values, Listing(rows, table), None)
