"""A record of a training, and `ChainBuilder`: it makes chains of one, as `WorkspaceStore.save_chain` takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError
from .feature_views import AUGMENTATION, BRANCH, CONCATENATION, FEATURES, MERGE
from .nirs4all_chains import Y_PROCESSING, own_chain

COMPOSITE = (Y_PROCESSING, AUGMENTATION, CONCATENATION)
"""The keys of a step's configuration that say more than that its objects follow one another."""


@dataclass
class StepArtifacts:
    """The artifacts of the objects that one step has fitted.

    Attributes
    ----------
    artifact_ids : list of str
        Every artifact of the step.
    primary_artifact_id : str or None
        The step's only artifact, in traces that do not list it in `artifact_ids`.
    fold_artifact_ids : dict
        From each fold to the artifact that was fitted on it, for a step that is fitted per fold.
    by_source : dict
        From each source's index to its artifact ids, for a step that is fitted per source of spectra.
    """

    artifact_ids: list[str] = field(default_factory=list)
    primary_artifact_id: str | None = None
    fold_artifact_ids: dict[Any, Any] = field(default_factory=dict)
    by_source: dict[int, list[str]] = field(default_factory=dict)


@dataclass
class ExecutionStep:
    """One step of a pipeline as it was executed.

    Attributes
    ----------
    step_index : int
    operator_class : str
    operator_config : dict
        The step's configuration; that of a model has the key `"model"`.
    execution_mode : str
        `"train"`, `"predict"` or `"skip"`.
    branch_path : list of int
        Empty outside of branches.
    artifacts : StepArtifacts
    """

    step_index: int
    operator_class: str = ""
    operator_config: dict[str, Any] = field(default_factory=dict)
    execution_mode: str = "train"
    branch_path: list[int] = field(default_factory=list)
    artifacts: StepArtifacts = field(default_factory=StepArtifacts)


@dataclass
class ExecutionTrace:
    """The record of a whole training.

    Attributes
    ----------
    steps : list of ExecutionStep
        In the order of execution.
    model_step_index : int or None
        The `step_index` of the main model.
    preprocessing_chain : str
        A short name of the steps before the model.
    """

    steps: list[ExecutionStep] = field(default_factory=list)
    model_step_index: int | None = None
    preprocessing_chain: str = ""


class ChainBuilder:
    """Makes chains of a record of a training. Traces of nirs4all have the same attributes, and work, too.

    Parameters
    ----------
    trace : ExecutionTrace or an object with its attributes
    artifact_registry : object, optional
        Not used; it is there for callers that were written for nirs4all.

    Examples
    --------
    >>> for chain in ChainBuilder(trace).build_all():  # doctest: +SKIP
    ...     store.save_chain(pipeline_id=pipeline_id, **chain)
    """

    def __init__(self, trace: Any, artifact_registry: Any = None) -> None:
        self._trace = trace
        self._steps = [
            step
            for step in trace.steps
            if getattr(step.execution_mode, "value", step.execution_mode) != "skip"  # nirs4all's is an Enum.
        ]
        says_model = any("model" in (step.operator_config or {}) for step in self._steps)
        self._models = [step for step in self._steps if self._is_model(step, says_model)]

    def build(self) -> dict[str, Any]:
        """Return the keyword arguments of `save_chain` for the trace's main model, else for its last one.

        Raises
        ------
        InvalidInputError
            The trace has no such model, or its artifacts do not make a chain.
        """
        index = self._trace.model_step_index
        wanted = [model for model in self._models if index is None or model.step_index == index]
        if not wanted:
            raise InvalidInputError(
                f"the trace has no model step{'' if index is None else f' {index}'}; give trace.model_step_index the "
                "index of a step that was not skipped, or the model's operator_config the key 'model'"
            )
        return self._chain(wanted[-1])

    def build_all(self) -> list[dict[str, Any]]:
        """Return the keyword arguments of `save_chain`, once per model step; errors as for `build`."""
        if not self._models:
            return [self.build()]
        return [self._chain(model) for model in self._models]

    def _is_model(self, step: Any, says_model: bool) -> bool:
        """Tell models from transformers; in a trace of nirs4all only models have artifacts per fold."""
        if step.step_index == self._trace.model_step_index or "model" in (step.operator_config or {}):
            return True
        return not says_model and self._trace.model_step_index is None and bool(step.artifacts.fold_artifact_ids)

    def _chain(self, model: Any) -> dict[str, Any]:
        before = [
            step
            for step in self._steps
            if step not in self._models
            and step.step_index < model.step_index
            and (_is_on_way(step, model) or self._is_merged(step, model))
        ]
        self._check_index_of_its_own(model)
        if any(set(step.operator_config or {}) & {*COMPOSITE, MERGE} for step in before):
            return self._composite(model, before)
        fitted = [step for step in before if _ids(step)]
        first_per_fold = next((i for i, step in enumerate(fitted) if step.artifacts.fold_artifact_ids), len(fitted))
        folds = _folds(model)
        for step in fitted[first_per_fold:]:
            self._check_same_folds(step, folds)
        lists = {fold: [*_of_fold(fitted[first_per_fold:], fold), *ids] for fold, ids in folds.items()}
        return {
            "steps": [_described(step, step in fitted[first_per_fold:]) for step in before] + [_described(model, True)],
            "model_step_idx": model.step_index,
            "model_class": model.operator_class,
            "preprocessings": self._trace.preprocessing_chain or "",
            "fold_strategy": "per_fold" if model.artifacts.fold_artifact_ids else "shared",
            "fold_artifacts": {fold: ids[0] if len(ids) == 1 else ids for fold, ids in lists.items()},
            "shared_artifacts": _shared(fitted[:first_per_fold]),
            "branch_path": list(model.branch_path) if model.branch_path else None,
            "source_index": None,
        }

    def _is_merged(self, step: Any, model: Any) -> bool:
        """Tell whether a step of a branch is before a merge: the model gets the features of all branches."""
        merges = [one.step_index for one in self._steps if (one.operator_config or {}).get(MERGE) == FEATURES]
        return any(step.step_index < index <= model.step_index for index in merges)

    def _composite(self, model: Any, before: list[Any]) -> dict[str, Any]:
        """Return a chain that scales y, or whose X goes several ways: as nirs4all tells it, and then as we do."""
        if per_fold := [step.operator_class for step in before if step.artifacts.fold_artifact_ids]:
            raise InvalidInputError(
                f"{per_fold[0]} is fitted per fold, in a chain with scaled targets or ways side by side; fit it once"
            )
        told = {
            "chain_id": "of this trace",
            "steps": [_told(step) for step in (*before, model)],
            "model_step_idx": model.step_index,
            "model_class": model.operator_class,
            "preprocessings": self._trace.preprocessing_chain,
            "fold_strategy": "per_fold" if model.artifacts.fold_artifact_ids else "shared",
            "fold_artifacts": _folds(model),
            "shared_artifacts": _shared([step for step in before if _ids(step)]),
            "branch_path": list(model.branch_path) if model.branch_path else None,
            "source_index": None,
        }
        return own_chain(told, {}, None, _branches(before))

    def _check_index_of_its_own(self, model: Any) -> None:
        others = [step for step in self._steps if step not in self._models and step.step_index == model.step_index]
        for step in others:
            if _ids(step) and _is_on_way(step, model):
                raise InvalidInputError(
                    f"step {step.step_index} ({step.operator_class}) has the index of its model, "
                    f"{model.operator_class}; give the model one of its own, after everything that transforms X"
                )

    @staticmethod
    def _check_same_folds(step: Any, folds: dict[str, list[str]]) -> None:
        own = {_fold_name(fold) for fold in step.artifacts.fold_artifact_ids}
        if own and own != set(folds):
            raise InvalidInputError(
                f"step {step.step_index} ({step.operator_class}) was fitted on folds {sorted(own)}, "
                f"its model on {sorted(folds)}; fit both on the same folds"
            )


def _told(step: Any) -> dict[str, Any]:
    described = _described(step, True)
    return {name: value for name, value in described.items() if name != "artifact_id"} | {"artifact_ids": _ids(step)}


def _branches(before: list[Any]) -> list[Any]:
    """Return a configuration that says which transformers are in which branch, as `branches_of` reads it."""
    steps: dict[int, dict[int, list[str]]] = {}
    for step in before:
        if step.branch_path:
            steps.setdefault(step.step_index, {}).setdefault(step.branch_path[0], []).extend(_ids(step))
    last = max(steps, default=0)
    return [{BRANCH: [ids for _, ids in sorted(steps.get(idx, {}).items())]} for idx in range(1, last + 1)]


def _is_on_way(step: Any, model: Any) -> bool:
    path, models_path = list(step.branch_path or []), list(model.branch_path or [])
    return path == models_path[: len(path)]


def _ids(step: Any) -> list[str]:
    """Return all artifacts of a step: a trace may name them in any of four ways."""
    artifacts = step.artifacts
    primary = [item for item in [artifacts.primary_artifact_id] if item]
    of_sources = [item for entry in (artifacts.by_source or {}).values() for item in _as_list(entry)]
    of_folds = [item for entry in artifacts.fold_artifact_ids.values() for item in _as_list(entry)]
    return list(artifacts.artifact_ids) or primary or of_sources or of_folds


def _as_list(entry: Any) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry)


def _fold_name(fold: Any) -> str:
    """Return a fold as nirs4all writes it: 0 is `fold_0`."""
    text = str(fold)
    return text if text.startswith("fold_") else f"fold_{text}"


def _folds(model: Any) -> dict[str, list[str]]:
    """Return the artifacts of a model by fold; one model for all data is the only fold, `fold_all`."""
    given = model.artifacts.fold_artifact_ids
    by_fold = {_fold_name(fold): _as_list(entry) for fold, entry in given.items()}
    empty = [fold for fold, ids in by_fold.items() if not ids]
    if empty:
        raise InvalidInputError(
            f"the model of step {model.step_index} ({model.operator_class}) has no artifact for {empty}; "
            "leave the fold out, or name its model"
        )
    if len(by_fold) < len(given):
        raise InvalidInputError(
            f"the model of step {model.step_index} ({model.operator_class}) has one fold under two names: "
            f"{list(given)}; keep one"
        )
    if by_fold:
        return by_fold
    only = model.artifacts.primary_artifact_id or (model.artifacts.artifact_ids or [None])[0]
    if only is None:
        raise InvalidInputError(
            f"the model of step {model.step_index} ({model.operator_class}) has no artifact; save the fitted model and "
            "name it in the step's artifacts"
        )
    return {"fold_all": [only]}


def _of_fold(steps: list[Any], fold: str) -> list[str]:
    """Return what transforms X in one fold, in order: a step's own for that fold, else what it has for all."""
    found: list[str] = []
    for step in steps:
        own = {_fold_name(key): entry for key, entry in step.artifacts.fold_artifact_ids.items()}
        found += _as_list(own[fold]) if own else _ids(step)
    return found


def _described(step: Any, in_folds: bool) -> dict[str, Any]:
    ids = [] if in_folds else _ids(step)
    return {
        "step_idx": step.step_index,
        "operator_class": step.operator_class,
        "params": step.operator_config or {},
        "artifact_id": ids[0] if len(ids) == 1 else None,
        "stateless": not _ids(step),
    }


def _shared(steps: list[Any]) -> dict[str, Any]:
    """Return step index to artifacts; several steps may share an index, and a step have several sources."""
    ids: dict[str, list[str]] = {}
    sources: dict[str, dict[str, list[str]]] = {}
    for step in steps:
        key = str(step.step_index)
        ids.setdefault(key, []).extend(_ids(step))
        if len(step.artifacts.by_source or {}) > 1:
            sources[key] = {str(source): list(entry) for source, entry in step.artifacts.by_source.items()}
    shared: dict[str, Any] = {key: entry[0] if len(entry) == 1 else entry for key, entry in ids.items()}
    return shared | ({"_source_map": sources} if sources else {})
