"""What happened in a training, step by step, in the shape that `ChainBuilder` reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class StepArtifacts:
    """The fitted objects that one step left behind.

    Attributes
    ----------
    artifact_ids : list of str
        Every artifact of the step.
    primary_artifact_id : str or None
        The step's only artifact, in a trace that names it here and not under `artifact_ids`.
    fold_artifact_ids : dict
        Fold to the artifact that was fitted on it, for a step that is fitted per fold.
    by_source : dict
        Source index to artifact ids, for a step that treats several sources apart.
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
        A model's has the key `"model"`.
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
    """A whole execution.

    Attributes
    ----------
    steps : list of ExecutionStep
        In the order of execution.
    model_step_index : int or None
        The `step_index` of the main model.
    preprocessing_chain : str
        A short name of what comes before the model.
    """

    steps: list[ExecutionStep] = field(default_factory=list)
    model_step_index: int | None = None
    preprocessing_chain: str = ""
