"""The options that say what a dataset consists of, which `run` and `dataset attach` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .output import PATH_OPTIONS, is_stdin, parse_path, table_of_stdin

Data = Annotated[
    Path,
    typer.Argument(
        parser=parse_path, metavar="DATA", help="A file of spectra, one row for each sample; -: a CSV from stdin."
    ),
]
Target = Annotated[list[str] | None, typer.Option("--target", "-t", help="The column of y; give it again for several.")]
Unit = Annotated[list[str] | None, typer.Option(help="The unit of y; give it again for each target.")]
Groups = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Samples with the same value in it stay in one fold.")
]
Weights = Annotated[str | None, typer.Option(metavar="COLUMN", help="What each sample counts when a model is fitted.")]
Sample = Annotated[str | None, typer.Option(metavar="COLUMN", help="Names the sample of which each row is a scan.")]
Test = Annotated[Path | None, typer.Option(help="A file of spectra to test with.", **PATH_OPTIONS)]
Split = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Says what each row serves for: train or cal, val, test.")
]
References = Annotated[Path | None, typer.Option("--y", help="A file of its own with the column of y.", **PATH_OPTIONS)]
Join = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Says which rows of the file of y belong to which spectra.")
]


def given_parts(data: Path, **parts: Any) -> dict[str, Any]:
    """Return the parts of a dataset as `read_dataset` takes them; None is a part that is not given."""
    X = {"X": table_of_stdin(), "name": "stdin"} if is_stdin(data) else {"X": data}
    return X | {name: value for name, value in parts.items() if value is not None}
