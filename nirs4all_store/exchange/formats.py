"""The formats in which a chain is exported, one entry each in `FORMATS`.

The writers are imported when they are called: the command line reads the names, and must not wait for scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .bundle_reader import Row


@dataclass(frozen=True)
class ExportedChain:
    """A chain, and all that an export may need of it.

    Attributes
    ----------
    chain : dict
    artifacts : list of dict
        Their rows.
    contents : dict
        Their bytes by content hash, verified.
    results : dict
        The row of its `pipeline`, and its `predictions`.
    residuals : callable
        Returns those of the samples that its folds held out, or raises `StoreError` where there are none.
    """

    chain: Row
    artifacts: list[Row]
    contents: dict[str, bytes]
    results: Row
    residuals: Callable[[], Row]


def _bundle(given: ExportedChain, path: Path) -> Path:
    from .bundle_writer import with_residuals, write_bundle

    chain, artifacts, contents = with_residuals(given.chain, given.artifacts, given.contents, given.residuals)
    return write_bundle(chain, artifacts, contents, given.results, path)


def _script(given: ExportedChain, path: Path) -> Path:
    from .script_writer import write_script

    return write_script(given.chain, given.artifacts, given.contents, path)


FORMATS: dict[str, Callable[[ExportedChain, Path], Path]] = {"n4a": _bundle, "n4a.py": _script}
"""Writers by format. The format is the ending of the file, too; a writer returns the path of the file."""
