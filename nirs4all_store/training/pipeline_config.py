"""Makes pipelines of a configuration: one for each combination of the alternatives in its steps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..chains import estimator_type
from ..datasets import TrainingData
from ..errors import InvalidInputError
from ..validation import did_you_mean, json_text, refuse_endless, shown
from .operators import as_error, build, describe, name_of, params_of, parts_of
from .search_space import MOST_PIPELINES, MOST_VALUES, OR, RANGE, Alternative, alternatives_of, count_text, size_of

# Characters of the configurations as they were written, in all pipelines of a run together.
MOST_TEXT = 100_000_000
LONGEST_PARAMETER = 40
KINDS = {"model": "model", "y": "target", "transformer": "transformer"}
KEYS = ("class", *KINDS, OR, RANGE)
# What scikit-learn calls estimators whose `predict` says nothing of y.
WITHOUT_Y = ("clusterer", "outlier_detector", "density_estimator")
NEEDED = {
    "model": ("fit", "predict"),
    "splitter": ("split",),
    "target": ("fit", "transform", "inverse_transform"),
    "transformer": ("fit", "transform"),
}


@dataclass(frozen=True)
class Step:
    """One step of one pipeline.

    Attributes
    ----------
    kind : str
        `transformer` (of X), `model`, `splitter` (a cross-validator) or `target` (a transformer of y).
    operator : object
        An estimator or cross-validator, not fitted.
    where : str
        How error messages name the step: `step 2 (StandardScaler)`.
    given : tuple of str
        The names of the parameters that the configuration sets.
    is_marked : bool
        Whether the configuration says of which kind it is.
    """

    kind: str
    operator: Any
    where: str
    given: tuple[str, ...]
    is_marked: bool = False

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self.operator).__name__

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters that were set or differ from the defaults, as JSON values."""
        return params_of(self.operator, self.given) or {}

    @property
    def config(self) -> Any:
        """The step as a JSON value; see `operators.describe`."""
        key = {"model": "model", "target": "y"}.get(self.kind)
        if self.kind == "transformer" and _kind(self.operator) != "transformer":
            key = "transformer"
        described = describe(self.operator)
        return {key: described} if key else described


@dataclass(frozen=True)
class PipelineSpec:
    """One pipeline: a configuration in which one value is chosen for each alternative.

    Attributes
    ----------
    steps : tuple of Step
        Transformers and models in the order in which they are applied to X.
    choices : list of dict
        The value that was chosen for each `_or_` and `_range_`, in order.
    takes_gaps : bool
        Whether its steps take the samples of the dataset whose X misses a value; see `missing_values`.
    weighted_scores : bool
        Whether the weights of samples count in its scores, too.
    """

    steps: tuple[Step, ...]
    choices: list[dict[str, Any]]
    takes_gaps: bool = False
    weighted_scores: bool = False

    @cached_property
    def config(self) -> list[Any]:
        """All its steps as JSON values."""
        return [step.config for step in self.steps]

    @property
    def models(self) -> list[Step]:
        """Its models; there is at least one."""
        return [step for step in self.steps if step.kind == "model"]

    def preprocessings(self, model: Step) -> str:
        """Return the names of the transformers before one of its models, joined by ` > `."""
        before = self.steps[: self.steps.index(model)]
        return " > ".join(step.name for step in before if step.kind == "transformer")

    @property
    def name(self) -> str:
        """A name for people: its transformers and models, with all parameters that were set."""
        before = self.steps[: self.steps.index(self.models[-1])]
        transformers = [_printed(step).removesuffix("()") for step in before if step.kind == "transformer"]
        return " > ".join([*transformers, ", ".join(map(_printed, self.models))])

    @property
    def is_classification(self) -> bool:
        """Whether its models predict classes."""
        return estimator_type(self.models[0].operator) == "classifier"

    @cached_property
    def folds_key(self) -> str:
        """A key that is equal for pipelines that are validated on the same folds."""
        splitter = next((step.config for step in self.steps if step.kind == "splitter"), None)
        return json.dumps([splitter, splitter is None and self.is_classification, self.takes_gaps])

    def samples(self, data: TrainingData) -> TrainingData:
        """Return the samples of a dataset that it is trained on."""
        return data if self.takes_gaps else data.complete

    def only(self, kind: str) -> Any:
        """Return the operator of its one step of a kind, or None."""
        return next((step.operator for step in self.steps if step.kind == kind), None)


def task_of(pipelines: Sequence[PipelineSpec]) -> str | None:
    """Return what all pipelines do with y, `regression` or `classification`; None if they differ."""
    tasks = {"classification" if pipeline.is_classification else "regression" for pipeline in pipelines}
    return tasks.pop() if len(tasks) == 1 else None


def _printed(step: Step) -> str:
    params = ", ".join(f"{name}={_short(value)}" for name, value in step.params.items())
    return f"{step.name}({params})"


def _short(value: Any) -> str:
    """Return a parameter in a name: an operator as its class, a function as its name, anything long without its end."""
    named = (value.get("class") or value.get("function")) if isinstance(value, dict) else None
    text = str(named).rpartition(".")[2] if named else repr(value)
    return text if len(text) <= LONGEST_PARAMETER else f"{text[: LONGEST_PARAMETER - 3]}..."


def pipelines_of(config: Any) -> list[PipelineSpec]:
    """Return the pipelines that a configuration makes, the last alternative changing fastest.

    Parameters
    ----------
    config : list, or dict with the key `pipeline`
        Its steps. A step is an operator with scikit-learn's methods, or `{"class": ..., "params": {...}}`, which
        describes one. `{"model": step}` marks a model, of which there may be several; a regressor or classifier is one
        without the mark, unless it selects columns (`RFE`) and a model comes after it. `{"transformer": step}` marks a
        transformer that can also predict, and `{"y": step}`, at most once, a transformer of y. A cross-validator may
        stand anywhere, once. In the place of a step or of a value, `{"_or_": [...]}` means each item of the list
        (None: no step; a list: several steps), and `{"_range_": [first, last, step]}` each number from the first to
        the last.

    Raises
    ------
    InvalidInputError
        The configuration is wrong; the message names the step.
    """
    if isinstance(config, Mapping) and "pipeline" in config:
        config = config["pipeline"]
    if not isinstance(config, list | tuple) or not config:
        key = next(iter(config), None) if isinstance(config, Mapping) else None
        near = did_you_mean(key, ["pipeline"]) if isinstance(key, str) else ""
        raise InvalidInputError(f"a configuration is a list of steps, not {shown(config)}{near}")
    with as_error("the configuration"):
        try:
            size = size_of(list(config), {})
        except RecursionError as error:
            raise InvalidInputError("this configuration is nested too deeply, or has itself inside") from error
        if size.alternatives > MOST_PIPELINES:
            raise InvalidInputError(
                f"this configuration makes {count_text(size.alternatives)} pipelines, more than {MOST_PIPELINES:,}"
            )
        for number, item in enumerate(config, 1):
            refuse_endless(item, f"step {number}", parts_of)
        if size.values > MOST_VALUES:
            raise InvalidInputError(
                f"this configuration makes {size.alternatives:,} pipelines with {count_text(size.values)} values "
                f"together, more than {MOST_VALUES:,}; give less choices, or shorter lists"
            )
        alternatives = [list(alternatives_of(item, f"step {number}")) for number, item in enumerate(config, 1)]
        return [_pipeline(chosen) for chosen in itertools.product(*alternatives)]


def template_of(config: Any, pipelines: int) -> list[Any] | None:
    """Return a configuration as it was written, with its alternatives, in JSON values.

    Parameters
    ----------
    config : list, or dict with the key `pipeline`
        Of which `pipelines_of` has made pipelines.
    pipelines : int
        How many of them keep it.

    Returns
    -------
    list or None
        Its steps; operators are described. None: it is too long to be kept once for each pipeline.
    """
    steps = config["pipeline"] if isinstance(config, Mapping) else config
    with as_error("the configuration"):
        written = [_written(step) for step in steps]
    try:
        text = json_text(written, "the configuration") or ""
    except InvalidInputError:
        return None
    return written if len(text) * pipelines <= MOST_TEXT else None


def _written(part: Any) -> Any:
    """Return a part of a configuration as it was written; `describe` would take its forms for a user's own dict."""
    if isinstance(part, Mapping) and all(isinstance(key, str) for key in part):
        return {key: _written(value) for key, value in part.items()}
    return [_written(item) for item in part] if isinstance(part, list) else describe(part)


def _pipeline(chosen: Sequence[Alternative]) -> PipelineSpec:
    steps: list[Step] = []
    for number, (item, _) in enumerate(chosen, 1):
        several = item if isinstance(item, list) else [item]
        steps += [_step(one, f"step {number}") for one in several if not _is_none(one)]
    last = max((place for place, step in enumerate(steps) if step.kind == "model"), default=0)
    steps = [replace(step, kind="transformer") if _selects(step) else step for step in steps[:last]] + steps[last:]
    for kind in ("splitter", "target"):
        found = [step.where for step in steps if step.kind == kind]
        if len(found) > 1:
            raise InvalidInputError(f"{' and '.join(found)} are both a {kind}; a pipeline has one")
    models = [step for step in steps if step.kind == "model"]
    if not models:
        raise InvalidInputError("the pipeline has no model; add {'model': ...} to its steps")
    useless = [step.where for step in steps[steps.index(models[-1]) :] if step.kind == "transformer"]
    if useless:
        raise InvalidInputError(f"{' and '.join(useless)} comes after the last model and does nothing; put it before")
    if len({estimator_type(step.operator) == "classifier" for step in models}) > 1:
        raise InvalidInputError("the pipeline has models of numbers and of classes; give each a pipeline of its own")
    target = next((step for step in steps if step.kind == "target"), None)
    if target and estimator_type(models[0].operator) == "classifier":
        raise InvalidInputError(f"{target.where}: y is transformed for models of numbers; classes stay as they are")
    if target and getattr(target.operator, "func", None) and not getattr(target.operator, "inverse_func", None):
        raise InvalidInputError(f"{target.where} has a func and no inverse_func, which predictions need; give both")
    return PipelineSpec(tuple(steps), [choice for _, choices in chosen for choice in choices])


def _selects(step: Step) -> bool:
    """Tell whether a step that can predict is not marked as a model, and there to select columns, as RFE."""
    return step.kind == "model" and not step.is_marked and hasattr(step.operator, "get_support")


def _is_none(item: Any) -> bool:
    """Tell whether something is no step, as `{"y": None}` is where y may be transformed or not."""
    if isinstance(item, Mapping):
        return [*item] in (["y"], ["transformer"]) and all(value is None for value in item.values())
    return item is None


def _step(item: Any, where: str) -> Step:
    key = next((key for key in KINDS if isinstance(item, Mapping) and key in item), None)
    if key and len(item) > 1:
        raise InvalidInputError(f"{where} has {sorted(map(str, item))} in one place; give each a step of its own")
    if isinstance(item, str):
        raise InvalidInputError(f"{where} is the text {item!r:.200}; a class is written {{'class': 'package.Name'}}")
    if key is None and isinstance(item, Mapping) and "class" not in item:
        _refuse_key(item, where)
    described = item[key] if key else item
    with as_error(where):
        operator = build(described, where)
    where = f"{where} ({type(operator).__name__})"
    kind = None if isinstance(operator, type) else KINDS[key] if key else _kind(operator)
    missing = [method for method in NEEDED[kind or "transformer"] if not _has(operator, method)]
    if kind is None or missing:
        raise InvalidInputError(
            f"{where} is no {kind or 'step'}: {shown(operator)} has no {' and no '.join(missing) or 'use'}; give an "
            "operator, or {'class': 'package.Name', 'params': {...}}"
        )
    said = estimator_type(getattr(operator, "regressor", None) or operator)
    if kind == "model" and said in WITHOUT_Y:
        raise InvalidInputError(
            f"{where} is a {said.replace('_', ' ')}, whose predictions are not those of y; give a regressor or a "
            "classifier as the model"
        )
    given = tuple(described.get("params") or ()) if isinstance(described, Mapping) else ()
    _check_params(operator, where, is_built=isinstance(described, Mapping))
    return Step(kind, operator, where, given, is_marked=key is not None)


def _refuse_key(item: Mapping[Any, Any], where: str) -> None:
    """Refuse a dict that is no step for a key that is none of a step's, as `modle`."""
    key = next((key for key in item if isinstance(key, str)), None)
    if key is not None:
        advice = did_you_mean(key, KEYS) or f"; a step is written with one of {', '.join(KEYS)}"
        raise InvalidInputError(f"{where} has the key {key!r:.200}, which no step has{advice}")


def _has(operator: Any, method: str) -> bool:
    # Some know only once they are fitted that they predict, as a stack whose last model is the default one.
    will_predict = method == "predict" and _kind(operator) == "model"
    return hasattr(operator, method) or (will_predict and hasattr(type(operator), method))


def _kind(operator: Any) -> str | None:
    if hasattr(operator, "split") and hasattr(operator, "get_n_splits"):
        return "splitter"
    if hasattr(operator, "fit") and estimator_type(operator) in ("regressor", "classifier"):
        return "model"
    return "transformer" if hasattr(operator, "transform") else None


def _check_params(operator: Any, where: str, *, is_built: bool) -> None:
    """Let scikit-learn's own operators, and those inside, refuse their parameters now instead of when they are fitted.

    JSON has no tuples: of what was built from it, a list that is refused is tried as one.
    """
    params = _own_params(operator)
    for name, value in params.items():
        if isinstance(value, Mapping) and (OR in value or RANGE in value):
            raise InvalidInputError(
                f"{where}, {name}: an operator that is made already has one value of each parameter; write it as "
                f"{{'class': {name_of(type(operator))!r}, 'params': {{{name!r}: {value}}}}}"
            )
    # A search sets the parameters of what it has inside before that is fitted.
    inside = () if "param_grid" in params or "param_distributions" in params else _operators_in([*params.values()])
    for part in inside:
        _check_params(part, f"{where}, {type(part).__name__}", is_built=is_built)
    lists = [name for name, value in params.items() if is_built and isinstance(value, list)]
    while hasattr(operator, "_parameter_constraints"):
        try:
            operator._validate_params()
        except ValueError as error:
            refused = next((name for name in lists if f"'{name}'" in str(error)), None)
            if refused is None:
                raise InvalidInputError(f"{where}: {error}") from error
            lists.remove(refused)
            operator.set_params(**{refused: tuple(getattr(operator, refused))})
        else:
            return


def _own_params(operator: Any) -> dict[str, Any]:
    """Return the parameters of an operator; of one that tells none, nothing."""
    try:
        params: dict[str, Any] = operator.get_params(deep=False) if hasattr(operator, "get_params") else vars(operator)
    except Exception:  # It may be anybody's.
        return {}
    return params


def _operators_in(values: Sequence[Any]) -> Iterator[Any]:
    """Give the operators among values, and in lists of them: the steps of a pipeline are pairs of name and operator."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _operators_in(value)
        elif hasattr(value, "_parameter_constraints") and not isinstance(value, type):
            yield value
