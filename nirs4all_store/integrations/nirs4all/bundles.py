"""A chain of a branch as nirs4all's bundles can say it: as a line of steps.

nirs4all's reader goes through the steps of a bundle by their numbers. All that is in a branch has one number, so that
the reader takes the transformers of the branch for models. Our own chain has a number for each step.
"""

from __future__ import annotations

from typing import Any

from ...chains import SOURCE_MAP
from .adapter import Adapter
from .documents import Row

NO_LINE = ("ways", "applies_to", "members")
"""What a step has that is more than a transformer or a model in a line."""


class AsLine:
    """A workspace as nirs4all's writer of bundles reads it, in which one chain is a line of steps.

    Parameters
    ----------
    store : Adapter
    chain : dict
        Ours, which `is_line`.
    """

    def __init__(self, store: Adapter, chain: Row) -> None:
        self._store = store
        self._chain = chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_chain(self, chain_id: str) -> Row:
        """Return the chain with its steps counted from 1."""
        chain, shared = self._chain, self._chain["shared_artifacts"]
        steps = [step | {"step_idx": step["step_idx"] + 1} for step in chain["steps"]]
        moved = {str(int(key) + 1): [ids] if isinstance(ids, str) else ids for key, ids in shared.items()}
        numbers = {"model_step_idx": chain["model_step_idx"] + 1}
        return chain | {"steps": steps, "shared_artifacts": moved} | numbers

    def get_pipeline(self, pipeline_id: str) -> None:
        """Return None: the configuration counts its steps in another way."""


def is_line(chain: Row) -> bool:
    """Tell whether one of our chains is a line of transformers and a model, each with its own objects."""
    is_more = any(step.get(name) for step in chain["steps"] for name in NO_LINE)
    has_lists = any(not isinstance(entry, str) for entry in (chain["fold_artifacts"] or {}).values())
    return not (is_more or has_lists or SOURCE_MAP in (chain["shared_artifacts"] or {}))
