"""Puts fitted objects together as a chain says: side by side, on one source, on a scaled y, models under a model.

A *part* says what to put together, in what JSON can hold: the id of an object, or one of

- `{"side_by_side": [way, ...]}`: each way gets the same X, or its source of it, and their results stand side by side.
  A way is `{"steps": [[label, part], ...], "source": 0, "models": [part, ...]}`: its transformers, the source that it
  gets if it is not all of X, and models whose mean prediction it gives, if there are any. Without steps it is X itself.
- `{"model": part, "y": [part, ...]}`: a model that was fitted on a y which these objects had transformed, in order.
- `{"member": name, "of": part}`: a member of a dict.

Needs numpy alone: exported scripts carry this very file. Why chains say it so: docs/decisions/0031.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .inference import transform
from .probabilities import PredictionError, as_columns

Part = Any
"""See above."""


def build(part: Part, load: Callable[[str], Any]) -> Any:
    """Return the object that a part says; `load` returns that of an id."""
    if isinstance(part, str):
        return load(part)
    if "side_by_side" in part:
        return SideBySide([_Way(way, load) for way in part["side_by_side"]])
    if "member" in part:
        held = build(part["of"], load)
        if not isinstance(held, dict) or part["member"] not in held:
            raise PredictionError(f"the object is a {type(held).__name__} without a member {part['member']!r}")
        return held[part["member"]]
    model, y = build(part["model"], load), [build(own, load) for own in part["y"]]
    return OnTransformedY(model, [own for own in y if own is not None])


def ids_of(part: Part) -> list[str]:
    """Return the ids that a part names, in the order of their use."""
    if isinstance(part, str):
        return [part]
    if "side_by_side" in part:
        ways = part["side_by_side"]
        return [
            item
            for way in ways
            for own in [*(own for _, own in way["steps"]), *way.get("models", ())]
            for item in ids_of(own)
        ]
    inner = [part["of"]] if "member" in part else [part["model"], *part["y"]]
    return [item for own in inner for item in ids_of(own)]


def renamed(part: Part, ids: dict[str, str]) -> Part:
    """Return a part in which each object is named by another id."""
    if isinstance(part, str):
        return ids[part]
    if isinstance(part, dict):
        return {key: value if key in ("member", "source") else renamed(value, ids) for key, value in part.items()}
    if isinstance(part, tuple):  # The label and the part of a step.
        return part[0], renamed(part[1], ids)
    return [renamed(own, ids) for own in part]


class _Way:
    def __init__(self, way: dict[str, Any], load: Callable[[str], Any]) -> None:
        self.steps = [(label, build(part, load)) for label, part in way["steps"]]
        self.source: Any = way.get("source")
        self.models = [build(part, load) for part in way.get("models", ())]

    @property
    def width(self) -> int:
        first = self.steps[0][1] if self.steps else self.models[0] if self.models else None
        found = getattr(first, "n_features_in_", None)
        if found is None:
            raise PredictionError(f"a {type(first).__name__} does not say how many columns its source has")
        return int(found)

    def transform(self, X: Any) -> Any:
        X = transform(self.steps, X)
        if not self.models:
            return X
        return np.mean([as_columns(np.asarray(model.predict(X))) for model in self.models], axis=0)


class SideBySide:
    """Transforms X in several ways, and gives their results side by side."""

    changes_nothing = True

    def __init__(self, ways: list[_Way]) -> None:
        self._ways = ways

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the fitted objects inside, as scikit-learn's composites do."""
        found = [
            *(own for way in self._ways for _, own in way.steps),
            *(own for way in self._ways for own in way.models),
        ]
        return {str(place): own for place, own in enumerate(found)}

    def transform(self, X: Any) -> Any:
        """Return the results of all ways for X of shape (n_samples, n_features), side by side."""
        X = np.asarray(X)
        return np.hstack([way.transform(own) for way, own in zip(self._ways, self._sources(X), strict=True)])

    def _sources(self, X: Any) -> list[Any]:
        if all(way.source is None for way in self._ways):
            return [X for _ in self._ways]
        widths = {way.source: way.width for way in self._ways}
        if sum(widths.values()) != X.shape[1]:
            raise PredictionError(
                f"X has {X.shape[1]} columns, and the sources, which stand side by side in it, {[*widths.values()]}"
            )
        places = {way.source: sum(widths[other] for other in widths if other < way.source) for way in self._ways}
        return [X[:, places[way.source] : places[way.source] + widths[way.source]] for way in self._ways]


class OnTransformedY:
    """A model that was fitted on a transformed y; it predicts y as it was before."""

    changes_nothing = True

    def __init__(self, model: Any, y: list[Any]) -> None:
        self._model, self._y = model, y

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_model", "_y"):
            raise AttributeError(name)
        found = getattr(self._model, name)
        return self._before(found) if name == "classes_" else found

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the fitted objects inside, as scikit-learn's composites do."""
        return {"model": self._model} | {f"y{place}": own for place, own in enumerate(self._y)}

    def predict(self, X: Any) -> Any:
        """Return y as it was before it was transformed."""
        return self._before(self._model.predict(X))

    def _before(self, y: Any) -> Any:
        y = np.asarray(y)
        for own in reversed(self._y):
            # Encoders of labels take what has no columns, scalers what has.
            y = own.inverse_transform(y if y.dtype.kind in "iuUSO" and y.ndim == 1 else as_columns(y))
            y = np.asarray(y)
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
