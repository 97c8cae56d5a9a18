"""`ExecutionTrace`: a record of a training, step by step, of which `ChainBuilder` makes chains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
