"""Says a chain of nirs4all in our terms, so that its replay gives what its training stored.

nirs4all replays some of its own chains wrongly: it skips the transformers of a branch, averages the codes of classes,
applies scalers of y to X. What each of its forms means was seen in real workspaces of 0.8.1 to 1.4.10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ChainReplayError
from .feature_views import (
    ALL,
    AUGMENTATION,
    CONCATENATION,
    Views,
    branches_of,
    chosen,
    groups_of,
    merged,
    param_of,
)
from .schema import SOURCE_MAP, as_ids

Row = dict[str, Any]
Ids = list[str]

META_MODEL = "MetaModel"
DICT_ARTIFACT = "dagml_host_replay"
"""The key of a model step whose artifact is a dict, with a scikit-learn pipeline and what transforms y."""
MEMBERS = {"model": "estimator", "y": "y_transform"}
WITH_PREPROCESSING = "FoldPreprocessedModel"
"""The class of a model that has fitted what transforms X for itself; the chain names the same steps once more."""
FINAL_FOLDS = ("fold_final", "final")
Y_PROCESSING, ENCODER = "y_processing", "encoder"
SAMPLE_AUGMENTATION, SPLITTER = "sample_augmentation", "splitter"
"""What a step and an artifact say that transform y, and those that are not applied to new spectra."""


def own_chain(chain: Row, artifacts: Mapping[str, Row], below: Sequence[Row] | None = None, config: Any = None) -> Row:
    """Return a chain as `save_chain` takes it.

    Parameters
    ----------
    chain : dict
        A row of nirs4all's, its JSON decoded.
    artifacts : mapping of str to dict
        The rows of the artifacts by id.
    below : list of dict, optional
        The chains whose predictions it gets, in order, if it is a model over models; see `chains_below`.
    config : object, optional
        The expanded configuration of its pipeline, which tells the branches apart.

    Raises
    ------
    ChainReplayError
        Nobody knows what it means.
    """
    folds = {fold: as_ids(entry) for fold, entry in (chain["fold_artifacts"] or {}).items()}
    model_idx, shared = chain["model_step_idx"], of_shared(chain)
    if not folds and shared.get(model_idx):  # One model without folds, up to 1.0.
        *shared[model_idx], model = shared[model_idx]
        folds = {"fold_all": [model]}
    if below is not None:
        steps = [_models_below(chain, below, artifacts, config)]
    else:
        steps = _steps(chain, shared, artifacts, config)
    if any((artifacts.get(ids[-1]) or {}).get("operator_class") == WITH_PREPROCESSING for ids in folds.values()):
        steps = [step for step in steps if step["stateless"] or step.get("applies_to") == "y"]
    steps = [step | {"step_idx": number} for number, step in enumerate(steps)]
    source_map = {str(step["step_idx"]): step.pop("sources") for step in steps if "sources" in step}
    last: Row = next((step for step in chain["steps"] if step["step_idx"] == model_idx and _is_model(step, folds)), {})
    steps.append(
        {"step_idx": len(steps), "operator_class": chain["model_class"], "params": last.get("params") or {}}
        | {"artifact_id": None, "stateless": False}
        | ({"members": MEMBERS} if DICT_ARTIFACT in last else {})
    )
    return {
        "steps": steps,
        "model_step_idx": len(steps) - 1,
        "model_class": chain["model_class"],
        "preprocessings": chain["preprocessings"] or "",
        "fold_strategy": chain["fold_strategy"],
        "fold_artifacts": {fold: ids[0] if len(ids) == 1 else ids for fold, ids in folds.items()},
        "shared_artifacts": {
            str(step["step_idx"]): step.pop("shared") for step in steps if step.get("shared") is not None
        }
        | ({SOURCE_MAP: source_map} if source_map else {}),
        "branch_path": chain["branch_path"],
        "source_index": chain["source_index"],
        "predict_fold": next((fold for fold in FINAL_FOLDS if fold in folds), None),
    }


def of_shared(chain: Row) -> dict[int, Ids]:
    """Return the ids of what is fitted once for all folds, by the index of the step."""
    return {int(idx): as_ids(ids) for idx, ids in (chain["shared_artifacts"] or {}).items() if idx != SOURCE_MAP}


def _is_model(step: Row, folds: Mapping[str, Ids]) -> bool:
    models = {ids[-1] for ids in folds.values() if ids}
    return DICT_ARTIFACT in step or bool(models & {*_own(step)})


def _own(step: Row) -> Ids:
    return as_ids(step.get("artifact_ids")) or as_ids(step.get("artifact_id"))


def _steps(chain: Row, shared: dict[int, Ids], artifacts: Mapping[str, Row], config: Any) -> list[Row]:
    """Return the steps before the model, each with what it applies under `shared` or in its ways."""
    sources = (chain["shared_artifacts"] or {}).get(SOURCE_MAP) or {}
    found: list[Row] = []
    views: Views | None = None
    for idx in sorted({step["step_idx"] for step in chain["steps"]} | {*shared}):
        at = [step for step in chain["steps"] if step["step_idx"] == idx]
        found += [_described(step, []) for step in at if step.get("stateless") and not _own(step)]
        of_sources = sources.get(str(idx)) or {}
        if len(of_sources) > 1:
            ids = [item for source in sorted(of_sources, key=int) for item in as_ids(of_sources[source])]
            found.append(_described(at[0] if at else {}, ids) | {"sources": of_sources})
            continue
        of_y = [item for item in shared.get(idx, []) if _is_encoder(item, artifacts) or is_of_y(_step_of(item, at))]
        found += [_described(_step_of(item, at), [item]) | {"applies_to": "y"} for item in of_y]
        ids = [item for item in shared.get(idx, []) if item not in of_y and _predicts(item, at, artifacts)]
        groups = _side_by_side(chain, at, idx, ids, config)
        if groups is not None or (views is not None and not views.takes(ids) and ids):
            found += _as_step(views)
            views = None
        if groups is not None and param_of(at, AUGMENTATION) is not None:
            views = Views.augmented(groups, views)
        elif groups is not None:
            found += _as_step(Views(groups))
        elif views is not None and ids:
            views.transform(ids)
        else:
            found += [_described(_step_of(item, at), [item]) for item in ids]
    return found + _as_step(views)


def _side_by_side(chain: Row, at: list[Row], idx: int, ids: Ids, config: Any) -> list[Ids] | None:
    """Return the transformers of a step that all get the same X, in groups; None if they follow one another.

    Raises
    ------
    ChainReplayError
        They do, and nobody knows which belong to which way.
    """
    operators = param_of(at, AUGMENTATION) or param_of(at, CONCATENATION)
    if operators is not None and not ids:  # So did 1.0 with a concatenation.
        raise ChainReplayError(f"nirs4all kept no transformer of step {idx} of chain {chain['chain_id']}")
    features, _ = merged(chain)
    is_branch = operators is None and len(ids) > 1 and features is not None and len(at) > 1
    if (operators is None and not is_branch) or not ids:
        return None
    groups = branches_of(config, idx, ids) if is_branch else groups_of(operators, ids)
    if groups is None:
        raise ChainReplayError(
            f"chain {chain['chain_id']} has {len(ids)} transformers side by side in step {idx}, and nothing tells "
            "which of them belong together"
        )
    return chosen(groups, features) if is_branch else groups


def _as_step(views: Views | None) -> list[Row]:
    if views is None:
        return []
    told: Row = {"operator_class": "side by side", "params": {}, "artifact_id": None, "stateless": False}
    return [told | {"ways": views.as_ways()}]


def _step_of(artifact_id: str, at: list[Row]) -> Row:
    return next((step for step in at if artifact_id in _own(step)), at[0] if at else {})


def _described(step: Row, ids: Ids | None) -> Row:
    told = {"operator_class": step.get("operator_class"), "params": step.get("params") or {}}
    return told | {"artifact_id": None, "stateless": ids == []} | ({"shared": ids} if ids else {})


def is_of_y(step: Row) -> bool:
    """Tell whether a step of nirs4all transforms y."""
    params = step.get("params")
    return isinstance(params, dict) and Y_PROCESSING in params


def _is_encoder(artifact_id: str, artifacts: Mapping[str, Row]) -> bool:
    return (artifacts.get(artifact_id) or {}).get("artifact_type") == ENCODER


def _predicts(artifact_id: str, at: list[Row], artifacts: Mapping[str, Row]) -> bool:
    """Tell whether an object is applied to new spectra: no splitter is, and nothing that only makes more samples."""
    is_splitter = (artifacts.get(artifact_id) or {}).get("artifact_type") == SPLITTER
    return not is_splitter and param_of([_step_of(artifact_id, at)], SAMPLE_AUGMENTATION) is None


def is_over_models(chain: Row) -> bool:
    """Tell whether a chain is a model over the predictions of others."""
    try:
        return chain["model_class"] == META_MODEL or merged(chain)[1] is not None
    except ChainReplayError:  # What it merges is said when it is translated.
        return False


def chains_below(chain: Row, others: Sequence[Row], *, every_branch: bool = False) -> list[Row]:
    """Return those of some chains of the same pipeline whose predictions a model over models gets, in order.

    Of the branches it may have chosen some; its final model gets those of all (`every_branch`).
    """
    below = [one for one in others if one["model_step_idx"] < chain["model_step_idx"] and not is_over_models(one)]
    below = sorted(below, key=lambda one: int(one["model_step_idx"]))
    return below if every_branch else chosen(below, merged(chain)[1] or ALL)


def _merged_features(chain: Row, config: Any) -> list[Ids]:
    """Return the transformers of those branches whose features a model over models gets before the predictions."""
    features, _ = merged(chain)
    shared = of_shared(chain)
    if features is None or not shared:
        return []
    idx = max(shared)
    groups = branches_of(config, idx, shared[idx], without_models=True)
    if groups is None or len(shared) > 1:
        raise ChainReplayError(f"chain {chain['chain_id']} merges features of branches that nothing tells apart")
    return chosen(groups, features)


def _models_below(chain: Row, below: Sequence[Row], artifacts: Mapping[str, Row], config: Any) -> Row:
    """Return the step that gives a model over models the predictions of these, side by side."""
    if not below:
        raise ChainReplayError(f"chain {chain['chain_id']} is a model over models, and there is no chain of these")
    ways: list[Row] = [{"artifacts": group} for group in _merged_features(chain, config)]
    for one in below:
        steps = [step for step in _steps(one, of_shared(one), artifacts, config) if not step["stateless"]]
        if any("shared" not in step or "sources" in step or "applies_to" in step for step in steps):
            raise ChainReplayError(f"chain {chain['chain_id']} is over a model that is more than a line of steps")
        models = [as_ids(entry)[-1] for entry in (one["fold_artifacts"] or {}).values()]
        ways.append({"artifacts": [item for step in steps for item in step["shared"]], "models": models})
    return {"operator_class": "models below", "params": {}, "artifact_id": None, "stateless": False, "ways": ways}
