"""Makes operators of their descriptions in a configuration, `{"class": ..., "params": {...}}`, and describes them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..artifacts import SCRIPTS
from ..errors import InvalidInputError
from ..validation import did_you_mean
from .near_names import advice

WITHOUT_A_NAME = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
FUNCTION, ITEMS, SLICE = "function", "items", "slice"
"""What a parameter is that is no value of JSON: imported by its name, a dict by its pairs, a slice by its bounds."""
FORMS = {"class", FUNCTION, ITEMS, SLICE}
MAX_OPAQUE_LENGTH = 200
# To import one of these lets scikit-learn give out what it calls experimental.
EXPERIMENTAL = ("sklearn.experimental.enable_halving_search_cv", "sklearn.experimental.enable_iterative_imputer")


@contextmanager
def as_error(where: str) -> Iterator[None]:
    """Turn a `SystemExit` that an operator's code raises into an error, so that it does not end the program.

    Raises
    ------
    InvalidInputError
        The block raised something that is not an `Exception`. `KeyboardInterrupt` passes unchanged.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InvalidInputError(
            f"{where}: its code raised {type(error).__name__} {error}, which would have ended the program; remove that "
            "from its module or class, or leave it out"
        ) from error


def build(described: Any, where: str) -> Any:
    """Return the operator, or the value of a parameter, that a description stands for.

    Parameters
    ----------
    described : object
        `{"class": "package.module.Name", "params": {...}}`, whose parameters may be such again, or
        `{"function": "numpy.log1p"}` for a function or type, `{"items": [[key, value], ...]}` for a dict whose keys
        are no text, `{"slice": [start, stop, step]}`; a class, which is made without parameters; anything else stands
        for itself. To import a class runs its module: a configuration from elsewhere is code.
    where : str
        How error messages name it.

    Raises
    ------
    InvalidInputError
        There is no such class, or it takes no such parameters.
    """
    if isinstance(described, Mapping) and "class" in described:
        unknown = sorted(map(str, set(described) - {"class", "params"}))
        if unknown:
            near = did_you_mean(unknown[0], ["params"])
            raise InvalidInputError(
                f"{where} has {', '.join(unknown)} beside its class{near or '; give class and params only'}"
            )
        kind = _class(described["class"], where)
        params = described.get("params") or {}
        if not isinstance(params, Mapping):
            raise InvalidInputError(f"{where}: params must be a dict of parameters, not {type(params).__name__}")
        return _made(kind, {str(name): build(value, f"{where}, {name}") for name, value in params.items()}, where)
    if isinstance(described, Mapping):
        return _value(described, where)
    if isinstance(described, list):
        return [build(value, where) for value in described]
    return _made(described, {}, where) if inspect.isclass(described) else described


def _value(described: Mapping[Any, Any], where: str) -> Any:
    """Return the value of a parameter that a dict without a class stands for."""
    if len(described) != 1 or not set(described) & FORMS:
        return {key: build(value, where) for key, value in described.items()}
    ((form, given),) = described.items()
    if form == FUNCTION:
        return _imported(given, where, "function", "numpy.log1p")
    try:
        return slice(*given) if form == SLICE else {key: build(value, where) for key, value in given}
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{where}: no {form} can be made of {given!r:.200}: {error}") from error


def _imported(name: Any, where: str, kind: str, example: str) -> Any:
    try:
        found = _resolved(str(name))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, ImportError) and not str(name).startswith(error.name or str(name)):
            raise _not_importable(name, where, error) from error
        raise InvalidInputError(f"{where}: there is no {kind} {name!s:.200}{advice(str(name))}") from error
    except Exception as error:  # A module may be anybody's.
        raise _not_importable(name, where, error) from error
    if not callable(found):
        raise InvalidInputError(f"{where}: {name} is no {kind}; give its whole name, as in {example!r}")
    return found


def _not_importable(name: Any, where: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{where}: the module of {name!s:.200} cannot be imported: {type(error).__name__}: {error}; mend it"
    )


def _resolved(name: str) -> Any:
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        if not name.startswith("sklearn."):
            raise
    for module in EXPERIMENTAL:
        importlib.import_module(module)
    return pkgutil.resolve_name(name)


def _class(name: Any, where: str) -> type:
    found = _imported(name, where, "class", "sklearn.preprocessing.StandardScaler")
    if not inspect.isclass(found) or not any(hasattr(found, method) for method in ("fit", "split", "get_params")):
        raise InvalidInputError(
            f"{where}: {name} is no class of an operator; give its whole name, as in "
            "'sklearn.preprocessing.StandardScaler'"
        )
    return found


def _made(kind: type, params: dict[str, Any], where: str) -> Any:
    try:
        made = kind(**params)
    except Exception as error:  # A class may be anybody's.
        _refuse_unknown(params, kind, where)
        raise InvalidInputError(f"{where}: {kind.__name__} cannot be made of {params}: {error}") from error
    return made


def _refuse_unknown(params: Mapping[str, Any], kind: type, where: str) -> None:
    """Refuse a parameter that a class does not take, and name those that it takes."""
    try:
        taken = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # Written in C.
        return
    known = [one.name for one in taken if one.kind not in WITHOUT_A_NAME]
    unknown = [name for name in params if name not in known]
    if unknown and len(known) == len(taken):
        near = did_you_mean(unknown[0], known)
        takes = f"; it takes {', '.join(known)}" if known else "; it takes none"
        raise InvalidInputError(f"{where}: {kind.__name__} has no parameter {unknown[0]!r}{near or takes}")


class Opaque(str):
    """The text that stands in a description for an object which cannot be built again from text."""

    __slots__ = ()


def describe(value: Any) -> Any:
    """Return the JSON value of which `build` makes the same operator, or value of a parameter.

    Parameters that have their defaults are left out. For what JSON cannot describe (a function or class of a script, a
    random generator, an operator that does not keep its parameters by name) there is an `Opaque` with its address in
    memory, which no other object has at the same time.
    """
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return describe(value.tolist())
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and not set(value) & FORMS:
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, Mapping):
        return {ITEMS: [[describe(key), describe(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple | range):
        return [describe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(describe, value), key=repr)
    if isinstance(value, slice):
        return {SLICE: [describe(bound) for bound in (value.start, value.stop, value.step)]}
    if isinstance(value, np.dtype):
        return _opaque(value) if value.kind == "V" else value.str  # As text, such types are only told by their size.
    if isinstance(value, np.ufunc):
        name = value.__name__
        return {FUNCTION: f"numpy.{name}"} if getattr(np, name, None) is value else _opaque(value)
    if inspect.isclass(value) or inspect.isroutine(value):
        return {FUNCTION: name_of(value)} if _has_a_name(value) else _opaque(value)
    params = params_of(value)
    if params is None:
        return _opaque(value)
    kind = type(value)
    return {"class": name_of(kind) if _has_a_name(kind) else _opaque(kind)} | ({"params": params} if params else {})


def parts_of(value: Any) -> list[Any]:
    """Return the parameters of an operator, at which `describe` would look; an empty list for anything else."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return []
    try:
        if hasattr(value, "get_params"):
            return [*value.get_params(deep=False).values()]
        own = vars(value)
        taken = {"cvargs", *inspect.signature(type(value)).parameters} if own else set()
    except Exception:  # It may be anybody's, or written in C.
        return []
    return [part for name, part in own.items() if name in taken]


def is_whole(described: Any) -> bool:
    """Tell whether a description is complete, so that another process can recognise the same operator by it."""
    if isinstance(described, Mapping):
        return all(map(is_whole, described.values()))
    return all(map(is_whole, described)) if isinstance(described, list) else not isinstance(described, Opaque)


def _opaque(value: Any) -> Opaque:
    return Opaque(f"{repr(value).partition(' at 0x')[0].removeprefix('<')[:MAX_OPAQUE_LENGTH]} at {id(value):#x}")


def _has_a_name(code: Any) -> bool:
    """Tell whether a function or class is what its module has under its name, and always will be."""
    module = getattr(code, "__module__", None) or ""
    if module in SCRIPTS or not hasattr(code, "__qualname__"):
        return False
    found: Any = sys.modules.get(module)
    for part in code.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is code


def params_of(operator: Any, given: Collection[str] = ()) -> dict[str, Any] | None:
    """Return, described, the parameters that are not the defaults, and those that were given.

    None for what does not keep them by their names, or keeps more when it is cloned, as what is frozen does.
    """
    try:
        taken = inspect.signature(type(operator)).parameters.values()
        own = vars(operator)
    except (TypeError, ValueError):  # Written in C, as a slice and a random generator are.
        return None
    named = {parameter.name: parameter.default for parameter in taken if parameter.kind not in WITHOUT_A_NAME}
    clones_itself = getattr(type(operator), "__sklearn_clone__", None) not in (None, BaseEstimator.__sklearn_clone__)
    # With all that it has, also what was set later; of cross-validators it is known what they keep beside.
    is_copied = not hasattr(operator, "get_params") and not hasattr(operator, "split")
    if clones_itself or (is_copied and not own.keys() <= named.keys()):
        return None
    kept = own.get("cvargs", {}) | own  # The first is where a repeated split has some of its own.
    if len(named) < len(taken):
        if not hasattr(operator, "get_params") or any(one.kind == inspect.Parameter.VAR_POSITIONAL for one in taken):
            return None
        try:
            kept = operator.get_params(deep=False)  # What is no parameter by name is none by default.
        except Exception:  # It keeps less than it says, and may say so as it likes.
            return None
        named = dict.fromkeys(kept) | named
    if not named.keys() <= kept.keys():
        return None
    return {
        name: describe(kept[name])
        for name, default in named.items()
        if name in given or repr(kept[name]) != repr(default)
    }


def name_of(code: Any) -> str:
    """Return a class's or function's name with the shortest public module that has it."""
    parts, name = code.__module__.split("."), code.__qualname__
    for length in range(1, len(parts) + 1):
        module = importlib.import_module(".".join(parts[:length]))
        if getattr(module, name, None) is code:
            return f"{module.__name__}.{name}"
    return f"{code.__module__}.{name}"
