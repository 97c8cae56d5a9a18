"""Finds pipelines that no fold can train, since they want more components than it has samples or variables.

Only scikit-learn's classes know what they refuse, and only while they are fitted: NMF takes more components than there
are variables, PCA does not. So what looks like too many is tried, on the smallest fold, where it fails at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..chains import inference
from ..datasets import TrainingData
from ..errors import StoreError
from .cross_validation import fit_steps, splits
from .pipeline_config import PipelineSpec
from .repeats import Folds

COMPONENTS = "n_components"
"""What scikit-learn, and who follows it, calls how many dimensions X is reduced to."""


def line_of_refusals(pipelines: Sequence[PipelineSpec], data: TrainingData) -> str | None:
    """Return in one sentence how many pipelines cannot be trained, and why; None if that is not known of any.

    One that fails for another reason is not counted: training will tell.
    """
    folds: dict[str, Folds] = {}
    wanted, most = [], []
    for pipeline in pipelines:
        components = _components_of(pipeline)
        if components <= 1:
            continue
        try:
            samples = pipeline.samples(data)
            if pipeline.folds_key not in folds:
                folds[pipeline.folds_key] = splits(pipeline, samples)
        except StoreError:  # Training will tell.
            continue
        rows = min((trained for trained, _ in folds[pipeline.folds_key]), key=len)
        variables = samples.X.shape[1]
        if components > min(len(rows), variables) and _is_refused(pipeline, samples, rows):
            wanted.append(components)
            most.append(f"{len(rows)} samples of a fold" if len(rows) <= variables else f"{variables} variables")
    if not wanted:
        return None
    between = f"{min(wanted)} to {max(wanted)}" if min(wanted) < max(wanted) else str(wanted[0])
    lacking = " or ".join(dict.fromkeys(most))
    counted = f"{len(wanted):,} of {len(pipelines):,} pipelines"
    return f"{counted} cannot be trained: {COMPONENTS} {between} needs more than the {lacking}"


def _components_of(pipeline: PipelineSpec) -> int:
    """Return the largest number of components that a step, or an operator inside of it, is made with; else 0."""
    operators = [part for step in pipeline.steps for part in (step.operator, *inference.parts_of(step.operator))]
    wanted = [getattr(operator, COMPONENTS, None) for operator in operators]
    return max((int(value) for value in wanted if isinstance(value, int | np.integer)), default=0)


def _is_refused(pipeline: PipelineSpec, data: TrainingData, rows: Any) -> bool:
    """Tell whether a pipeline refuses its number of components on some rows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # If it is trained, it tells them then.
            fit_steps(pipeline, data, rows)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Its code may leave the program.
        return COMPONENTS in str(error)
    return False
