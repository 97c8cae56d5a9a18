"""How the preprocessing of a model is told, so that models that differ in it alone can be told apart. No printing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..store import WorkspaceStore
from .listings import clipped, dict_of, from_json

Steps = list[tuple[str, dict[str, Any]]]
"""The name and the parameters of each step."""


def preprocessing_texts(
    store: WorkspaceStore, rows: Sequence[Mapping[str, Any]], pipelines: Mapping[str, Mapping[str, Any]]
) -> list[str | None]:
    """Return the preprocessing of models, with the parameters in which those differ that are else called the same.

    `pipelines` are the rows of `list_pipelines` by id.
    """
    counts = Counter(row["preprocessings"] for row in rows)
    # What stands alone differs from nothing.
    changed = [
        [] if counts[row["preprocessings"]] == 1 else _changed(row, pipelines.get(row["pipeline_id"], {}))
        for row in rows
    ]
    alike: dict[Any, list[Steps]] = {}
    for row, steps in zip(rows, changed, strict=True):
        alike.setdefault(row["preprocessings"], []).append(steps)
    return [
        _text(store, row, steps, [own for own in alike[row["preprocessings"]] if len(own) == len(steps)])
        for row, steps in zip(rows, changed, strict=True)
    ]


def _text(store: WorkspaceStore, row: Mapping[str, Any], steps: Steps, others: Sequence[Steps]) -> str | None:
    if all(own == steps for own in others):
        preprocessings: str | None = row["preprocessings"]
        return preprocessings
    told, parts = _given(store, row), []
    for place, (name, params) in enumerate(steps):
        keys = dict.fromkeys(key for own in others for key in own[place][1])
        values = params | (told[place][1] if len(told) == len(steps) else {})
        differing = [key for key in keys if any(own[place][1].get(key) != params.get(key) for own in others)]
        known = ", ".join(f"{key}={clipped(repr(values[key]))}" for key in differing if key in values)
        parts.append(name + f" ({known})" * bool(known))
    return " > ".join(parts)


def _given(store: WorkspaceStore, row: Mapping[str, Any]) -> Steps:
    """Return the steps with all parameters that were set, as the chain has them."""
    chain = store.get_chain(row["chain_id"]) if row["preprocessings"] and row["chain_id"] is not None else None
    steps = chain["steps"] if chain is not None and isinstance(chain["steps"], list) else []
    return _named(row, [(step.get("operator_class"), step.get("params")) for step in steps if isinstance(step, dict)])


def _changed(row: Mapping[str, Any], pipeline: Mapping[str, Any]) -> Steps:
    """Return the steps with the parameters that are not the defaults, by which two configurations are the same."""
    config = from_json(pipeline.get("expanded_config"), "expanded_config")
    found = []
    for step in config if isinstance(config, list) else []:
        told = dict_of(step.get("transformer") or step) if isinstance(step, dict) else {"class": step}
        found.append((str(told.get("class")).rpartition(".")[2], told.get("params")))
    return _named(row, found)


def _named(row: Mapping[str, Any], steps: Sequence[tuple[Any, Any]]) -> Steps:
    """Return the steps that `preprocessings` names; none where there are others."""
    names = row["preprocessings"].split(" > ") if row["preprocessings"] else []
    found = [(str(name), dict_of(params)) for name, params in steps if name in names]
    return found if [name for name, _ in found] == names else []
