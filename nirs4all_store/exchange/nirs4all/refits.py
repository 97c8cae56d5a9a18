"""Finds the chain of which another one is the final model.

nirs4all fits final models in a second pipeline of the same run, which is called as the first and `_refit`, with chains
of their own. Which of them belongs to which chain of the first is told by the model and its transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...chains import as_ids
from .chain_translation import of_shared
from .rows import REFIT

Row = dict[str, Any]


def refits_of(pipelines: list[Row], chains: Mapping[str, list[Row]], artifacts: Mapping[str, Row]) -> dict[str, str]:
    """Return, for each chain that is a refit, the chain that was cross-validated; one that nobody can tell is left out.

    Parameters
    ----------
    pipelines : list of dict
        Of one run.
    chains : mapping of str to list of dict
        Those of each pipeline, oldest first.
    artifacts : mapping of str to dict
        The rows of artifacts by id.
    """
    found: dict[str, str] = {}
    first = {(row["name"], row.get("dataset_name")): row["pipeline_id"] for row in pipelines}
    refits: dict[str, list[Row]] = {}
    for row in pipelines:
        if row["name"].endswith(REFIT):
            judged = first.get((row["name"].removesuffix(REFIT), row.get("dataset_name")))
            if judged is not None:
                refits.setdefault(judged, []).extend(chains[row["pipeline_id"]])
    for pipeline_id, of_pipeline in refits.items():
        for way_of in (_way, _model):
            found |= _pairs(chains[pipeline_id], of_pipeline, found, lambda row, way=way_of: way(row, artifacts))
    return found


def _pairs(judged: list[Row], refits: list[Row], known: Mapping[str, str], way_of: Any) -> dict[str, str]:
    """Pair chains and refits that are made in the same way, in their order, where there are as many of both."""
    taken = {*known.values()}
    found: dict[str, str] = {}
    ways: dict[Any, tuple[list[str], list[str]]] = {}
    for rows, side in ((judged, 0), (refits, 1)):
        for row in rows:
            if row["chain_id"] not in (taken if side == 0 else known):
                ways.setdefault(way_of(row), ([], []))[side].append(row["chain_id"])
    for of_folds, final in ways.values():
        if len(of_folds) == len(final):
            found |= dict(zip(final, of_folds, strict=True))
    return found


def _way(row: Row, artifacts: Mapping[str, Row]) -> Any:
    """Return what tells a chain from others of its pipeline: its transformers, in order, its model and its name."""
    shared = of_shared(row)
    classes = [(artifacts.get(item) or {}).get("operator_class") for idx in sorted(shared) for item in shared[idx]]
    folds = [as_ids(entry) for entry in (row["fold_artifacts"] or {}).values()]
    own = {ids[-1] for ids in folds if ids}
    models = [step for step in row["steps"] or [] if own & {*as_ids(step.get("artifact_ids"))}]
    params = json.dumps([step.get("params") for step in models], sort_keys=True, default=str)
    return (*_model(row, artifacts), tuple(classes), params)


def _model(row: Row, artifacts: Mapping[str, Row]) -> Any:
    return row.get("model_name"), row.get("model_class")
