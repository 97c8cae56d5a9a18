"""What a stored chain looks like: the check before it is saved, and which artifacts it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InvalidInputError, InvalidTypeError
from ..validation import checked_int, checked_text

SOURCE_MAP = "_source_map"
"""The key of `shared_artifacts` that says which artifacts of a step are for which source of spectra; it is no step."""
WAYS = "ways"
"""The key of a step that transforms X in several ways, whose results stand side by side; each way is a dict."""
OF_WAYS = ("artifacts", "models")
"""The keys of a way that name artifacts: transformers in their order, and models whose mean prediction it gives."""
APPLIES_TO = "applies_to"
"""The key of a step that transforms y, as `"y"`: its inverse is applied to what the model predicts."""
MEMBERS = "members"
"""The key of a model step whose artifact is a dict: which member is the `model`, and which transforms `y`."""
# What nirs4all calls a chain without fitted objects.
SCORE_ONLY = "score_only"


def as_ids(value: Any) -> list[str]:
    """Return the artifact ids of one entry: None, one id, or an ordered list of ids."""
    if value is None:
        return []
    if not isinstance(value, str | list | tuple):
        raise InvalidTypeError(f"{value!r:.100} is neither an artifact id nor a list of ids")
    return [value] if isinstance(value, str) else list(value)


def artifact_ids(chain: dict[str, Any]) -> list[str]:
    """Return every artifact id that a chain names, each once, in the order of first use.

    A chain that nirs4all wrote may nest them in ways that a replay refuses: they are in use all the same.
    """
    shared = chain["shared_artifacts"]
    if isinstance(shared, dict):
        shared = {key: value for key, value in shared.items() if key != SOURCE_MAP}
    steps = chain["steps"] if isinstance(chain["steps"], list) else []
    known = [step for step in steps if isinstance(step, dict)]
    own = [[step.get("artifact_id"), step.get("artifact_ids"), _of_ways(step)] for step in known]
    return list(dict.fromkeys(_texts([shared, chain["fold_artifacts"], own, chain.get("attachments")])))


def with_ids(chain: dict[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return a chain in which each artifact that it names is named by another id."""
    renamed = [_step_with_ids(step, ids) for step in chain["steps"]]
    shared = {
        key: _renamed(value, ids) if key != SOURCE_MAP else _renamed(value, _KeepUnknown(ids))
        for key, value in (chain["shared_artifacts"] or {}).items()
    }
    attached = {"attachments": _renamed(chain["attachments"], ids)} if chain.get("attachments") else {}
    return (
        chain
        | attached
        | {
            "steps": renamed,
            "shared_artifacts": shared,
            "fold_artifacts": _renamed(chain["fold_artifacts"] or {}, ids),
        }
    )


def _of_ways(step: dict[str, Any]) -> list[str]:
    """Return the artifact ids that the ways of a step name; a damaged row has none."""
    ways = step.get(WAYS)
    found = [way.get(key) for way in ways if isinstance(way, dict) for key in OF_WAYS] if isinstance(ways, list) else []
    return _texts(found)


def _check_ways(step: dict[str, Any], where: str) -> None:
    ways = step.get(WAYS)
    if ways is None:
        return
    if not isinstance(ways, list) or not ways or not all(isinstance(way, dict) for way in ways):
        raise InvalidTypeError(f"{where}['ways'] must be a list of dicts, one for each way")
    for number, way in enumerate(ways):
        for key in OF_WAYS:
            _checked_entry(way.get(key), f"{where}['ways'][{number}]['{key}']")


class _KeepUnknown(dict[str, str]):
    """nirs4all's map of sources may name what the chain does not have."""

    def __missing__(self, key: str) -> str:
        return key


def _step_with_ids(step: dict[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    found = step | {key: _renamed(step[key], ids) for key in ("artifact_id", "artifact_ids") if key in step}
    ways = [way | {key: _renamed(way[key], ids) for key in OF_WAYS if key in way} for way in step.get(WAYS) or ()]
    return found | ({WAYS: ways} if ways else {})


def without_objects(chain: dict[str, Any]) -> dict[str, Any]:
    """Return what the row of a chain has instead once its fitted objects are gone, and its scores are kept."""
    steps = [
        {name: value for name, value in step.items() if name not in ("artifact_ids", WAYS)}
        for step in checked_steps(chain["steps"])
    ]
    return {
        "steps": [step | {"artifact_id": None} for step in steps],
        "fold_artifacts": {},
        "shared_artifacts": {},
        "attachments": None,
        "predict_fold": None,
        "fold_strategy": SCORE_ONLY,
    }


def is_pruned(chain: dict[str, Any]) -> bool:
    """Tell whether a chain has lost its fitted objects on purpose; see docs/decisions/0025."""
    return chain.get("fold_strategy") == SCORE_ONLY and not artifact_ids(chain)


def _renamed(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return ids[value]
    if isinstance(value, dict):
        return {key: _renamed(item, ids) for key, item in value.items()}
    return [_renamed(item, ids) for item in value] if isinstance(value, list) else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in items for text in _texts(item)]


def checked_steps(steps: Any) -> list[dict[str, Any]]:
    """Return `steps` if each is a dict with a `step_idx` and a sound `artifact_id`."""
    if not isinstance(steps, Iterable) or isinstance(steps, str | dict):
        raise InvalidTypeError("steps must be a list of dicts, one per step")
    checked = []
    for position, step in enumerate(steps):
        where = f"steps[{position}]"
        if not isinstance(step, dict) or "step_idx" not in step:
            raise InvalidTypeError(f"{where} must be a dict with at least 'step_idx'")
        step = {**step, "step_idx": checked_int(step["step_idx"], f"{where}['step_idx']", 32)}
        for key in ("artifact_id", "artifact_ids"):
            _checked_entry(step.get(key), f"{where}['{key}']")
        if not isinstance(step.get("stateless"), bool | np.bool_ | None):
            raise InvalidTypeError(f"{where}['stateless'] is {step['stateless']!r}; give True or False")
        _check_ways(step, where)
        if step.get(APPLIES_TO) not in (None, "X", "y"):
            raise InvalidInputError(f"{where}['applies_to'] is {step[APPLIES_TO]!r}; a step applies to 'X' or 'y'")
        if not isinstance(step.get(MEMBERS), dict | None) or not {*(step.get(MEMBERS) or ())} <= {"model", "y"}:
            raise InvalidInputError(f"{where}['members'] is {step[MEMBERS]!r}; name the member for 'model' and for 'y'")
        checked.append(step)
    return checked


def checked_artifacts(value: Any, name: str) -> dict[str, Any]:
    """Return a mapping of `fold_artifacts` or `shared_artifacts` with its ids checked; None is empty.

    Raises
    ------
    InvalidTypeError
        It is no dict, or an entry is neither an id nor a list of ids.
    InvalidInputError
        A fold has no model, or two keys are the same text.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{name} must be a dict, not {type(value).__name__}")
    checked: dict[str, Any] = {}
    for key, entry in value.items():
        text = str(key)
        if text in checked:
            raise InvalidInputError(f"{name} has the key {text!r} twice, as a number and as text; keep one")
        is_source_map = name == "shared_artifacts" and text == SOURCE_MAP
        checked[text] = entry if is_source_map else _checked_entry(entry, f"{name}[{text!r}]")
    if name == "fold_artifacts":
        _check_folds(checked)
    return checked


def checked_attachments(value: Any) -> dict[str, str] | None:
    """Return `attachments` if it maps each role to one artifact id; None if there are none.

    Raises
    ------
    InvalidTypeError
        It is no dict, or a role or an id is no text.
    """
    if not isinstance(value, dict | None):
        raise InvalidTypeError(f"attachments must be a dict of role to artifact id, not {type(value).__name__}")
    checked = {
        checked_text(role, "a role in attachments"): checked_text(artifact_id, f"attachments[{role!r}]")
        for role, artifact_id in (value or {}).items()
    }
    return checked or None


def check_predict_fold(predict_fold: Any, folds: dict[str, Any]) -> None:
    """Refuse a `predict_fold` that is no key of `fold_artifacts`; None is sound: all folds predict together.

    Raises
    ------
    InvalidInputError
        There is no such key.
    """
    if predict_fold is not None and checked_text(predict_fold, "predict_fold") not in folds:
        raise InvalidInputError(
            f"predict_fold {predict_fold!r} is no key of fold_artifacts, which has {[*folds]}; name one of them, or "
            "give None for all of them together"
        )


def _checked_entry(entry: Any, where: str) -> Any:
    if not isinstance(entry, str | list | tuple | None):
        raise InvalidTypeError(f"{where} must be an artifact id or a list of them, not {type(entry).__name__}")
    for item in as_ids(entry):
        checked_text(item, where)
    return list(entry) if isinstance(entry, tuple) else entry


def _check_folds(folds: dict[str, Any]) -> None:
    for fold, entry in folds.items():
        if not as_ids(entry):
            raise InvalidInputError(
                f"fold_artifacts[{fold!r}] names no artifact: a fold needs its model; leave the fold out or name it"
            )
    lengths = {fold: len(as_ids(entry)) for fold, entry in folds.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(
            f"the folds of fold_artifacts name different numbers of artifacts, {lengths}: "
            "each needs all that was fitted on it, in the same order"
        )


def check_order(steps: list[dict[str, Any]], model_step_idx: int, shared: dict[str, Any]) -> None:
    """Refuse a chain whose replay would apply its objects in another order than its training did.

    From the first step that is fitted per fold on, what transforms X is in the fold's list, which
    is applied after everything shared: a shared artifact of a later step would come too early.
    """
    known = {str(step["step_idx"]) for step in steps}
    for key in shared:
        if key not in known and key not in (SOURCE_MAP, str(model_step_idx)):
            raise InvalidInputError(f"shared_artifacts[{key!r}] belongs to no step; steps are {sorted(known)}")
    for idx, name in _given(steps, shared):
        if idx > model_step_idx:
            raise InvalidInputError(
                f"{name} comes after the model, which is step {model_step_idx}; replay would never apply it"
            )
    before_model = [step for step in steps if step["step_idx"] < model_step_idx]
    per_fold = [step["step_idx"] for step in before_model if is_fitted_per_fold(step, shared)]
    for idx, name in _given(before_model, shared):
        if per_fold and min(per_fold) < idx < model_step_idx:
            raise InvalidInputError(
                f"{name} comes after step {min(per_fold)}, which is fitted per fold; "
                "put it into each fold's list of fold_artifacts, in its place"
            )


def _given(steps: list[dict[str, Any]], shared: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the step index and the name of each entry that gives a step its artifacts for all folds."""
    of_y = {step["step_idx"] for step in steps if step.get(APPLIES_TO) == "y"}
    found = [(int(key), f"shared_artifacts[{key!r}]") for key in shared if key != SOURCE_MAP and as_ids(shared[key])]
    found += [
        (step["step_idx"], f"the artifact_id of step {step['step_idx']}")
        for step in steps
        if step.get("artifact_id") or _of_ways(step)
    ]
    return [(idx, name) for idx, name in found if idx not in of_y]


def is_fitted_per_fold(step: dict[str, Any], shared: dict[str, Any]) -> bool:
    """Tell whether a step before the model has its objects in the folds' lists."""
    own = as_ids(step.get("artifact_id") or step.get("artifact_ids"))  # nirs4all 0.7 wrote a list.
    own += _of_ways(step)
    return not step.get("stateless") and not shared.get(str(step["step_idx"])) and not own
