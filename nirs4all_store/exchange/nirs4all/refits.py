"""Finds the chain of which another one is the final model.

nirs4all fits final models in more pipelines of the same run, which are called as the first and `_refit`, with chains of
their own. Which of them belongs to which chain of the first is told by the model and its transformers; where several
chains have the same, by the configuration, which is that of the first with one of its branches in place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...chains import as_ids, chains_below, is_over_models, of_shared
from .json_text import readable
from .rows import REFIT

Row = dict[str, Any]
SPLITTER = "_FullTrainFoldSplitter"
"""What stands in the configuration of a refit in place of its folds: all samples are in one."""


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
    first = {(row.get("name"), row.get("dataset_name")): row["pipeline_id"] for row in pipelines}
    refits: dict[str, list[Row]] = {}
    found: dict[str, str] = {}
    for row in pipelines:
        named = REFIT.fullmatch(str(row.get("name")))
        if named is None:
            continue
        judged = first.get((named["first"], row.get("dataset_name")))
        if named["over_models"]:
            found |= _of_stack(named["part"] or "", chains[row["pipeline_id"]], chains)
        elif judged is not None:
            refits.setdefault(judged, []).extend(chains[row["pipeline_id"]])
    is_same = partial(_has_config_of, {row["pipeline_id"]: readable(row.get("expanded_config")) for row in pipelines})
    for pipeline_id, of_pipeline in refits.items():
        for with_params in (True, False):
            way_of = partial(_way, artifacts=artifacts, with_params=with_params)
            found |= _pairs(chains[pipeline_id], of_pipeline, found, way_of, is_same)
    return found


def _of_stack(part: str, final: list[Row], chains: Mapping[str, list[Row]]) -> dict[str, str]:
    """Return the chain of which a final model is that is a model over models (`meta`), or one below it (`base_0`)."""
    metas = [row for rows in chains.values() for row in rows if is_over_models(row)]
    if len(metas) != 1 or len(final) != 1:
        return {}
    below = chains_below(metas[0], chains[metas[0]["pipeline_id"]], every_branch=True)
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
    below = chains_below(judged, chains[judged["pipeline_id"]], every_branch=True)
    return [final[one["chain_id"]] for one in below if one["chain_id"] in final]


def _pairs(
    judged: list[Row],
    refits: list[Row],
    known: Mapping[str, str],
    way_of: Callable[[Row], Any],
    is_same: Callable[[Row, Row], bool],
) -> dict[str, str]:
    """Pair refits with the only chain that is made in the same way: where there are several, nobody can tell."""
    ways: dict[Any, list[Row]] = {}
    for row in judged:
        ways.setdefault(way_of(row), []).append(row)
    found = {}
    for row in refits:
        same = ways.get(way_of(row), [])
        if len(same) > 1:
            same = [one for one in same if is_same(row, one)]
        if len(same) == 1 and row["chain_id"] not in known:  # It may have been chosen, and fitted, for several reasons.
            found[row["chain_id"]] = same[0]["chain_id"]
    return found


def _has_config_of(configs: Mapping[str, Any], refit: Row, judged: Row) -> bool:
    """Tell whether the configuration of a refit is that of another chain, but for how samples are split."""
    own = _in_place(configs.get(refit["pipeline_id"]), [])
    other = _in_place(configs.get(judged["pipeline_id"]), judged.get("branch_path") or [])
    return 0 < len(own) == len(other) and all(
        one == step or (isinstance(one, str) and SPLITTER in one) for one, step in zip(own, other, strict=True)
    )


def _in_place(config: Any, branch_path: list[Any]) -> list[Any]:
    """Return the steps of a configuration, each branch replaced by the steps of one of its ways, as a path says."""
    steps = config.get("steps") if isinstance(config, dict) else config
    path = iter(branch_path)
    found: list[Any] = []
    for step in steps if isinstance(steps, list) else []:
        told = step.get("branch") if isinstance(step, dict) else None
        ways = [*told.values()] if isinstance(told, dict) else told if isinstance(told, list) else []
        place = next(path, None) if ways else None
        way = ways[place] if isinstance(place, int) and place < len(ways) else step
        found += way if isinstance(way, list) else [way]
    return found


def _way(row: Row, artifacts: Mapping[str, Row], with_params: bool) -> Any:
    """Return what tells a chain from others of its pipeline: its transformers, in order, and its model."""
    shared = of_shared(row)
    classes = [(artifacts.get(item) or {}).get("operator_class") for idx in sorted(shared) for item in shared[idx]]
    folds = [as_ids(entry) for entry in (row["fold_artifacts"] or {}).values()]
    own = {ids[-1] for ids in folds if ids}
    models = [step for step in row["steps"] if own & {*as_ids(step.get("artifact_ids"))}] if with_params else []
    params = json.dumps([step.get("params") for step in models], sort_keys=True, default=str)
    return row.get("model_name"), row["model_class"], tuple(classes), params
