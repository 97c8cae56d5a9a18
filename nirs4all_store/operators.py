"""Operators of a pipeline and what names them in a configuration: `{"class": ..., "params": {...}}` and back."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from . import definitions
from .errors import InvalidInputError

WITHOUT_A_NAME = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
NATIVE = (str, int, float, bool, type(None))


def build(described: Any, where: str) -> Any:
    """Return the operator, or the value of a parameter, that a description stands for.

    Parameters
    ----------
    described : object
        `{"class": "package.module.Name", "params": {...}}`, whose parameters may be such again; a class, which is
        made without parameters; anything else stands for itself. To import a class runs its module: a configuration
        from elsewhere is code.
    where : str
        What a message calls it.

    Raises
    ------
    InvalidInputError
        There is no such class, or it takes no such parameters.
    """
    if isinstance(described, Mapping) and "class" in described:
        unknown = sorted(map(str, set(described) - {"class", "params"}))
        if unknown:
            raise InvalidInputError(f"{where} has {', '.join(unknown)} beside its class; give class and params only")
        kind = _class(described["class"], where)
        params = described.get("params") or {}
        if not isinstance(params, Mapping):
            raise InvalidInputError(f"{where}: params must be a dict of parameters, not {type(params).__name__}")
        return _made(kind, {str(name): build(value, f"{where}, {name}") for name, value in params.items()}, where)
    if isinstance(described, list):
        return [build(value, where) for value in described]
    return _made(described, {}, where) if inspect.isclass(described) else described


def _class(name: Any, where: str) -> type:
    module, _, attribute = str(name).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute) if module else None
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{where}: there is no class {name}: {error}; give its whole name, as in "
            "'sklearn.preprocessing.StandardScaler', and install its package"
        ) from error
    if not inspect.isclass(found) or not any(hasattr(found, method) for method in ("fit", "split", "__sklearn_tags__")):
        raise InvalidInputError(
            f"{where}: {name} is no class of an operator; give its whole name, as in "
            "'sklearn.preprocessing.StandardScaler'"
        )
    return found


def _made(kind: type, params: dict[str, Any], where: str) -> Any:
    try:
        made = kind(**params)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{where}: {kind.__name__} cannot be made of {params}: {error}") from error
    return made


def describe(value: Any) -> Any:
    """Return as JSON has it what `build` makes an operator, or a parameter's value, from.

    Parameters that have their defaults are left out. What has no such form (a function or class that was defined on
    the way, an operator that does not keep its parameters by their names) is told in words that no other has, as far as
    a hash of its pickle tells, but which do not build it.
    """
    if isinstance(value, NATIVE):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [describe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(describe, value), key=repr)
    if isinstance(value, np.ufunc):
        return f"{'numpy' if getattr(np, value.__name__, None) is value else 'ufunc'}.{value.__name__}"
    if inspect.isclass(value) or inspect.isroutine(value):
        return _name_of_code(value)
    params = params_of(value)
    if params is None:
        return _in_words(value)
    kind = type(value)
    name = _name_of_code(kind) if definitions.is_of_the_way(kind) else name_of(kind)
    return {"class": name} | ({"params": params} if params else {})


def _in_words(value: Any) -> str:
    """Return what an object says of itself; its place in memory, which another may have later, becomes a hash."""
    text, place, _ = repr(value).partition(" at 0x")
    if not place:
        return text
    kind = type(value)
    if definitions.is_of_the_way(kind) and hasattr(value, "__dict__"):
        return f"{text}> {definitions.digest_of(kind)} {describe(vars(value))}"
    return f"{text}> {definitions.pickle_digest_of(value)}"


def _name_of_code(code: Any) -> str:
    """Return the name of a function or class; where another one may have it, with a hash of what it does."""
    name = definitions.whole_name(code)
    return f"{name} {definitions.digest_of(code)}" if definitions.is_of_the_way(code) else name


def params_of(operator: Any, given: Collection[str] = ()) -> dict[str, Any] | None:
    """Return, described, the parameters that are not the defaults, and those that were given.

    None for what does not keep them by their names.
    """
    try:
        taken = inspect.signature(type(operator)).parameters.values()
        own = vars(operator)
    except (TypeError, ValueError):  # Written in C, as a slice and a random generator are.
        return None
    named = {parameter.name: parameter.default for parameter in taken if parameter.kind not in WITHOUT_A_NAME}
    kept = own.get("cvargs", {}) | own  # The first is where a repeated split has some of its own.
    if len(named) < len(taken):
        if not hasattr(operator, "get_params") or any(one.kind == inspect.Parameter.VAR_POSITIONAL for one in taken):
            return None
        kept = operator.get_params(deep=False)  # What is no parameter by name is none by default.
        named = dict.fromkeys(kept) | named
    if not named.keys() <= kept.keys():
        return None
    return {
        name: describe(kept[name])
        for name, default in named.items()
        if name in given or repr(kept[name]) != repr(default)
    }


def name_of(kind: type) -> str:
    """Return a class's name with the shortest public module that has it."""
    parts = kind.__module__.split(".")
    for length in range(1, len(parts) + 1):
        module = importlib.import_module(".".join(parts[:length]))
        if getattr(module, kind.__qualname__, None) is kind:
            return f"{module.__name__}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
