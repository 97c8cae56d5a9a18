"""Functions and classes that were defined on the way, in a script, a notebook or a function: what tells them apart."""

from __future__ import annotations

import hashlib
import inspect
from types import CodeType
from typing import Any

import cloudpickle

from .errors import InvalidInputError

DIGITS = 12


def whole_name(code: Any) -> str:
    """Return the name of a function or class, with its module's."""
    return f"{getattr(code, '__module__', None) or 'builtins'}.{code.__qualname__}"


def is_of_the_way(code: Any) -> bool:
    """Tell whether a function or class may have another meaning tomorrow under the same name."""
    name = whole_name(code)
    return "<" in name or name.startswith("__main__.")


def digest_of(code: Any) -> str:
    """Return a hash of what a function or class of the way does, which is the same in each process.

    It counts what it names of its own module, and what it has from the function around it; modules count by their
    names. A pickle would not do: it is another one when text is kept once or twice, or a class was used before.
    """
    return hashlib.sha256(repr(_told(code, set())).encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def pickle_digest_of(value: Any) -> str:
    """Return a hash of an object's pickle.

    Raises
    ------
    InvalidInputError
        It has none.
    """
    try:
        content = cloudpickle.dumps(value)
    except Exception as error:  # Every object's own hooks raise what they like.
        raise InvalidInputError(
            f"{value!r:.100} can be told from others neither by its parameters nor by its pickle: {error}; keep its "
            "parameters under their names, as scikit-learn's operators do"
        ) from error
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _told(value: Any, seen: set[int]) -> Any:
    """Return something whose repr tells a value from others."""
    value = getattr(value, "__func__", value)  # Of what is static, or of the class.
    if inspect.ismodule(value):
        return value.__name__
    if isinstance(value, str | int | float | complex | bytes | type(None) | type(...)):
        return value
    if isinstance(value, list | tuple):
        return [_told(item, seen) for item in value]
    if isinstance(value, dict):
        return sorted((repr(_told(key, seen)), _told(item, seen)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return sorted(repr(_told(item, seen)) for item in value)
    if isinstance(value, CodeType):
        return [value.co_code, value.co_names, value.co_varnames, _told(value.co_consts, seen)]
    if isinstance(value, property):
        return [_told(part, seen) for part in (value.fget, value.fset)]
    if inspect.ismethoddescriptor(value) or inspect.isdatadescriptor(value):  # As a cached property is.
        return [_told(part, seen) for part in getattr(value, "__dict__", {}).values() if inspect.isfunction(part)]
    if not (inspect.isclass(value) or inspect.isfunction(value) or inspect.isbuiltin(value)):
        return pickle_digest_of(value)
    value = inspect.unwrap(value)
    if id(value) in seen or not is_of_the_way(value):
        return whole_name(value)
    seen.add(id(value))
    return _told_of_class(value, seen) if inspect.isclass(value) else _told_of_function(value, seen)


def _told_of_class(kind: type, seen: set[int]) -> Any:
    bases = [_told(base, seen) for base in kind.__bases__]
    # What else a class has is Python's or scikit-learn's own, and changes when it is used.
    own = {
        name: item for name, item in vars(kind).items() if hasattr(item, "__get__") or not name.startswith("_")
    }  # fmt: skip
    return [bases, _told(own, seen)]


def _told_of_function(function: Any, seen: set[int]) -> Any:
    around = inspect.getclosurevars(function).nonlocals
    known = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    defaults = [function.__defaults__, function.__kwdefaults__]
    return [_told(part, seen) for part in (function.__code__, defaults, around, known)]


def _names(code: CodeType) -> set[str]:
    """Return what a function names, and what the functions inside it name."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
