"""Exports a chain as a script (`.n4a.py`) that predicts where this package is not installed."""

from __future__ import annotations

import ast
import base64
import inspect
import textwrap
from pathlib import Path
from types import ModuleType

from ..chains import DOMAIN, TrainedOn, composites, domain, inference, plan_replay, probabilities
from ..datasets import column_names, table_layout, text_lines, wavelength_grids
from ..errors import UntrustedArtifactError
from ..filesystem import with_suffix_added, write_atomic
from ..identifiers import utc_now
from .bundle_reader import Row
from .bundle_writer import packages_of
from .script_template import SCRIPT

Entries = list[tuple[str, composites.Part]]
CARRIED = (probabilities, inference, composites, domain, wavelength_grids, column_names, table_layout, text_lines)
"""The modules of which a script has the text: each needs numpy alone, and those before it."""


def write_script(chain: Row, artifacts: list[Row], contents: dict[str, bytes], output_path: Path) -> Path:
    """Write a `.n4a.py`: one Python file that predicts where this package is not installed.

    Parameters and result are those of `write_bundle`.

    Raises
    ------
    UntrustedArtifactError
        The script would unpickle objects that were imported and are not trusted.
    """
    wanted, trained_on = plan_replay(chain).chosen(), TrainedOn.of(chain)
    rows = {row["artifact_id"]: row for row in artifacts}
    untrusted = [item for item in wanted.ids if rows[item]["trust"] not in (None, True)]
    if untrusted:
        raise UntrustedArtifactError(
            f"chain {chain['chain_id']} was imported, and a script would unpickle {untrusted} unasked; "
            "call trust_chain(chain_id, True) first, if you know who made it"
        )
    domain_id = (chain["attachments"] or {}).get(DOMAIN)
    carried = [*wanted.ids, *([] if domain_id is None else [domain_id])]
    hashes = {item: row["content_hash"] for item, row in rows.items()}
    objects = {
        rows[item]["content_hash"]: (rows[item]["format"], contents[rows[item]["content_hash"]]) for item in carried
    }
    script = SCRIPT.format(
        about={
            "chain_id": chain["chain_id"],
            "model_class": chain["model_class"],
            "exported_at": utc_now().isoformat(timespec="seconds"),
        },
        packages=packages_of([rows[item] for item in wanted.ids]),
        modules="\n\n\n".join(map(_source_below_imports, CARRIED)),
        columns=trained_on.columns,
        wavelengths=trained_on.wavelengths,
        votes=trained_on.votes,
        y_range=trained_on.y_range,
        domain=None if domain_id is None else rows[domain_id]["content_hash"],
        shared=_with_hashes(wanted.shared, hashes),
        folds={fold: _with_hashes(entries, hashes) for fold, entries in wanted.folds.items()},
        objects=_objects_source(objects),
    )
    return write_atomic(with_suffix_added(output_path, ".n4a.py"), script.encode())


def _with_hashes(
    entries: list[tuple[str, composites.Part]], hashes: dict[str, str]
) -> list[tuple[str, composites.Part]]:
    """Return entries of a plan in which each object is named by its SHA-256."""
    return [(label, composites.renamed(part, hashes)) for label, part in entries]


def _source_below_imports(module: ModuleType) -> str:
    """Return the text of a module that needs numpy alone and others that go into the script before it."""
    source = inspect.getsource(module)
    last = max(node.end_lineno or 0 for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(source.splitlines()[last:]).strip()


def _objects_source(objects: dict[str, tuple[str, bytes]]) -> str:
    """Return the objects as source text: hash to format and base64, in lines that an editor can show."""
    entries = []
    for digest, (kind, content) in objects.items():
        text = base64.b64encode(content).decode()
        lines = "\n".join(f"        {line!r}" for line in textwrap.wrap(text, 100))
        entries.append(f"    {digest!r}: ({kind!r}, (\n{lines}\n    )),")
    return "\n".join(entries)
