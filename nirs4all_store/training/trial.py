"""Finds pipelines that no fold can train, since they want more components than it has samples or variables.

Only scikit-learn's classes know what they refuse, and only while they are fitted: NMF takes more components than there
are variables, PCA does not. So what looks like too many is tried, on the smallest fold, where it fails at once.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..chains import inference
from ..datasets import TrainingData
from ..errors import DataWarning
from .cross_validation import fit_steps
from .pipeline_config import PipelineSpec
from .repeats import Folds

COMPONENTS = "n_components"
"""What scikit-learn, and who follows it, calls how many dimensions X is reduced to."""


@dataclass(frozen=True)
class Refusal:
    """Why a pipeline cannot be trained.

    Attributes
    ----------
    components : int
        How many it wants.
    most : str
        What there is less of, as `16 samples of a fold`.
    problem : str
        The traceback of the trial.
    """

    components: int
    most: str
    problem: str


def refusals_of(
    pipelines: Sequence[PipelineSpec], data: TrainingData, folds: Mapping[str, Folds]
) -> dict[int, Refusal]:
    """Return which pipelines cannot be trained, by their places, and why; nothing is kept of what is tried.

    One that fails for another reason is not among them: training will tell.

    Parameters
    ----------
    pipelines : sequence of PipelineSpec
    data : TrainingData
    folds : dict of str to list
        By `PipelineSpec.folds_key`.
    """
    found = {}
    for place, pipeline in enumerate(pipelines):
        samples = pipeline.samples(data)
        rows = min((trained for trained, _ in folds[pipeline.folds_key]), key=len)
        components = _components_of(pipeline)
        variables = samples.X.shape[1]
        if components > min(len(rows), variables):
            problem = _problem_of(pipeline, samples, rows)
            most = f"{len(rows)} samples of a fold" if len(rows) <= variables else f"{variables} variables"
            if problem is not None:
                found[place] = Refusal(components, most, problem)
    return found


def warn_of_refusals(refusals: Sequence[Refusal], pipelines: int) -> None:
    """Warn once of the pipelines that cannot be trained."""
    if not refusals:
        return
    wanted = [refusal.components for refusal in refusals]
    between = f"{min(wanted)} to {max(wanted)}" if min(wanted) < max(wanted) else str(min(wanted))
    most = " or ".join(dict.fromkeys(refusal.most for refusal in refusals))
    warnings.warn(
        f"{len(refusals):,} of {pipelines:,} pipelines cannot be trained: {COMPONENTS} {between} needs more than the "
        f"{most}; they are stored as failed",
        DataWarning,
        stacklevel=4,
    )


def _components_of(pipeline: PipelineSpec) -> int:
    """Return the largest number of components that a step, or an operator inside of it, is made with; else 0."""
    operators = [part for step in pipeline.steps for part in (step.operator, *inference.parts_of(step.operator))]
    wanted = [getattr(operator, COMPONENTS, None) for operator in operators]
    return max((int(value) for value in wanted if isinstance(value, int | np.integer)), default=0)


def _problem_of(pipeline: PipelineSpec, data: TrainingData, rows: Any) -> str | None:
    """Return the traceback of a pipeline that refuses its number of components on some rows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # If it is trained, it tells them then.
            fit_steps(pipeline, data, rows)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Its code may leave the program.
        return traceback.format_exc() if COMPONENTS in str(error) else None
    return None
