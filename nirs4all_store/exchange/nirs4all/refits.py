"""Finds the chain of which another one is the final model.

nirs4all fits final models in more pipelines of the same run, which are called as the first and `_refit`, with chains of
their own. Which of them belongs to which chain of the first is told by the model and its transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...chains import as_ids, chains_below, is_over_models, of_shared
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
    first = {(row["name"], row.get("dataset_name")): row["pipeline_id"] for row in pipelines}
    refits: dict[str, list[Row]] = {}
    found: dict[str, str] = {}
    for row in pipelines:
        named = REFIT.fullmatch(row["name"])
        if named is None:
            continue
        judged = first.get((named["first"], row.get("dataset_name")))
        if named["over_models"]:
            found |= _of_stack(named["part"] or "", chains[row["pipeline_id"]], chains)
        elif judged is not None:
            refits.setdefault(judged, []).extend(chains[row["pipeline_id"]])
    for pipeline_id, of_pipeline in refits.items():
        for way_of in (_way, _model):
            found |= _pairs(chains[pipeline_id], of_pipeline, found, lambda row, way=way_of: way(row, artifacts))
    return found


def _of_stack(part: str, final: list[Row], chains: Mapping[str, list[Row]]) -> dict[str, str]:
    """Return the chain of which a final model is that is a model over models (`meta`), or one below it (`base_0`)."""
    metas = [row for rows in chains.values() for row in rows if is_over_models(row)]
    if len(metas) != 1 or len(final) != 1:
        return {}
    below = chains_below(metas[0], chains[metas[0]["pipeline_id"]])
    number = part.removeprefix("base_")
    if part == "meta":
        return {final[0]["chain_id"]: metas[0]["chain_id"]}
    is_there = number.isdecimal() and int(number) < len(below)
    return {final[0]["chain_id"]: below[int(number)]["chain_id"]} if is_there else {}


def models_below(row: Row, chains: Mapping[str, list[Row]], refits: Mapping[str, str]) -> list[Row] | None:
    """Return the chains under a model over models, in order; None for any other model.

    Where its branches were refitted one by one, each in a pipeline of its own, a final model over them does not say
    that it is one: it gets the final models of those that stand under its cross-validated chain.

    Parameters
    ----------
    row : dict
        A chain.
    chains : mapping of str to list of dict
        Those of each pipeline of its run.
    refits : mapping of str to str
        What `refits_of` returns.
    """
    own = chains[row["pipeline_id"]]
    if is_over_models(row):
        return chains_below(row, own)
    by_id = {one["chain_id"]: one for of_pipeline in chains.values() for one in of_pipeline}
    judged = by_id.get(refits.get(row["chain_id"], ""))
    if judged is None or not is_over_models(judged):
        return None
    final = {first: by_id[refit] for refit, first in refits.items()}
    below = chains_below(judged, chains[judged["pipeline_id"]])
    return [final[one["chain_id"]] for one in below if one["chain_id"] in final]


def _pairs(judged: list[Row], refits: list[Row], known: Mapping[str, str], way_of: Any) -> dict[str, str]:
    """Pair chains and refits that are made in the same way: with the only one, or in their order, one by one."""
    taken = {*known.values()}
    found: dict[str, str] = {}
    ways: dict[Any, tuple[list[str], list[str]]] = {}
    for rows, side in ((judged, 0), (refits, 1)):
        for row in rows:
            if row["chain_id"] not in (taken if side == 0 else known):
                ways.setdefault(way_of(row), ([], []))[side].append(row["chain_id"])
    for of_folds, final in ways.values():
        if len(of_folds) == 1:  # It may have been chosen, and fitted, for several reasons.
            found |= dict.fromkeys(final, of_folds[0])
        elif len(of_folds) == len(final):
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
