"""Finds pipelines that no fold can train, since they want more components than it has samples, variables or classes.

Only scikit-learn's classes know what they refuse, and only while they are fitted: NMF takes more components than there
are variables, PCA does not. So what looks like too many is tried, on the smallest fold, where it fails at once.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical
from sklearn.feature_selection import SelectorMixin

from ..chains import estimator_type, inference
from ..datasets import TrainingData
from ..errors import StoreError
from .cross_validation import fit_steps, splits
from .evaluation import Array
from .fitting import Samples, fit_transformer, wavelengths_after
from .pipeline_config import PipelineSpec, Step
from .repeats import Folds

COMPONENTS = "n_components"
"""What scikit-learn, and who follows it, calls how many dimensions X is reduced to."""
NARROWING = (COMPONENTS, "k", "n_features_to_select", "max_features", "n_clusters")
"""The parameters of transformers that say how many variables, at most, they leave to the steps after them."""


@dataclass(frozen=True)
class Doubt:
    """What looks like too many components, in one step.

    Attributes
    ----------
    position : int
        Of the step.
    components : int
    most : int
        How many there are of what limits them.
    limit : str
        The same in words, as `5 variables`.
    """

    position: int
    components: int
    most: int
    limit: str


def line_of_refusals(pipelines: Sequence[PipelineSpec], data: TrainingData) -> str | None:
    """Return in one sentence how many pipelines cannot be trained, and why; None if that is not known of any.

    One that fails for another reason is not counted: training will tell.
    """
    folds: dict[str, Folds] = {}
    selected: dict[str, int] = {}
    found: list[Doubt] = []
    for pipeline in pipelines:
        if not any(_components_of(operator) for _, operator in _operators(pipeline)):
            continue
        try:
            samples = pipeline.samples(data)
            if pipeline.folds_key not in folds:
                folds[pipeline.folds_key] = splits(pipeline, samples)
        except StoreError:  # Training will tell.
            continue
        rows = min((trained for trained, _ in folds[pipeline.folds_key]), key=len)
        doubts = _doubts(pipeline, samples, rows, selected)
        refusal = _refusal_of(pipeline, samples, rows, max(doubt.position for doubt in doubts)) if doubts else ""
        if COMPONENTS in refusal:
            numbers = re.findall(r"[0-9]+", refusal)
            found.append(min(doubts, key=lambda doubt: (str(doubt.most) not in numbers, doubt.most)))
    if not found:
        return None
    wanted = sorted(doubt.components for doubt in found)
    between = f"{wanted[0]} to {wanted[-1]}" if wanted[0] < wanted[-1] else str(wanted[0])
    lacking = " or ".join(dict.fromkeys(doubt.limit for doubt in found))
    counted = f"{len(found):,} of {len(pipelines):,} pipelines"
    return f"{counted} cannot be trained: {COMPONENTS} {between} needs more than the {lacking}"


def _operators(pipeline: PipelineSpec) -> Iterator[tuple[int, Any]]:
    """Give each operator, and those inside of it, in their order and with the position of their step."""
    for position, step in enumerate(pipeline.steps):
        for operator in (step.operator, *inference.parts_of(step.operator)):
            yield position, operator


def _components_of(operator: Any, names: Sequence[str] = (COMPONENTS,)) -> int:
    """Return how many components, or what else has one of these names, an operator is made with; else 0."""
    wanted = [getattr(operator, name, None) for name in names]
    return min((int(value) for value in wanted if isinstance(value, int | np.integer) and value > 0), default=0)


def _doubts(pipeline: PipelineSpec, data: TrainingData, rows: Array, selected: dict[str, int]) -> list[Doubt]:
    """Return where there are as many components as samples, variables or classes, or more than anything else allows.

    `selected` remembers how many variables selectors leave.
    """
    found = []
    samples, variables = len(rows), data.X.shape[1]
    # From how many components on they may be refused, and what there is of which they need more.
    limits = [(samples, samples, f"{samples} samples of a fold"), (variables, variables, f"{variables} variables")]
    for position, operator in _operators(pipeline):
        components, own = _components_of(operator), []
        if isinstance(operator, CCA | PLSCanonical | PLSSVD):
            targets = 1 if data.y.ndim == 1 else data.y.shape[1]
            own = [(targets + 1, targets, f"{targets} target{'s' * (targets > 1)}")]
        elif components and estimator_type(operator) == "classifier":
            classes = len(np.unique(data.y[rows]))
            own = [(classes, classes, f"{classes} classes")]
        for least, most, limit in limits + own:
            if components >= max(least, 2):
                found.append(Doubt(position, components, most, limit))
        left = _components_of(operator, NARROWING) if hasattr(operator, "transform") else 0
        # Only the fitted selector knows, and one with an estimator may fit it very often.
        if isinstance(operator, SelectorMixin) and not left and not hasattr(operator, "estimator"):
            before = pipeline.steps[: position + 1]
            key = json.dumps([pipeline.folds_key, *(step.config for step in before)], default=str)
            if key not in selected:
                selected[key] = _variables_after(before, data, rows)
            left = selected[key]
        if left:  # All steps that follow have no more.
            limits.append((left + 1, left, f"{left} variable{'s' * (left > 1)} after {type(operator).__name__}"))
    return found


def _variables_after(steps: Sequence[Step], data: TrainingData, rows: Array) -> int:
    """Return how many variables are left after some steps are fitted on some rows; 0 if they fail."""
    X, samples, wavelengths = data.X[rows], Samples.of(data, rows), data.wavelengths
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in steps:
                if step.kind == "transformer":
                    before = X
                    operator, X = fit_transformer(step, X, samples, wavelengths)
                    wavelengths = wavelengths_after(operator, before, X, wavelengths)
    except KeyboardInterrupt:
        raise
    except BaseException:  # Training will tell.
        return 0
    return int(np.shape(X)[1])


def _refusal_of(pipeline: PipelineSpec, data: TrainingData, rows: Array, last: int) -> str:
    """Return what a pipeline says where it cannot be fitted on some rows up to its last step in doubt; else nothing."""
    steps = [step for position, step in enumerate(pipeline.steps) if position <= last or step.kind == "target"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # If it is trained, it tells them then.
            fit_steps(replace(pipeline, steps=tuple(steps)), data, rows)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Its code may leave the program.
        return str(error)
    return ""
