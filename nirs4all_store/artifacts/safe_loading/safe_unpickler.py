"""Loads a pickle that may import only the types that a user has named, and the few that every pickle needs.

The latter (`SAFE_GLOBALS`) are never called as they are. Arrays, dtypes and numpy's scalars are made by `safe_numpy`,
containers take only what picklers write, and a type that a pickle needs as a value cannot be called.

Why, and what is still possible for types that were named: docs/decisions/0009.
"""

from __future__ import annotations

import _codecs
import builtins
import collections
import copyreg
import importlib
import inspect
import io
from collections.abc import Callable, Collection, Iterable
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import UntrustedArtifactError
from .pickle_scanner import ARRAY_WRAPPER, Reader, UnlistableError, full_name, imported_globals, with_own_opcodes
from .safe_numpy import NDARRAY_ARGS, array_over, buffered_array, dtype_of, filled_array, parts_of, scalar_of, shown
from .work_limit import TooMuchWorkError, WorkLimit

# The functions that pickles of numpy call, by numpy's own names.
_NUMPY: dict[str, Any] = {
    f"{module}.{name}": getattr(importlib.import_module(f"numpy._core.{module}"), name)
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}
_SCALARS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "str_",
    "bytes_",
    "bool_",
)
_BUILTINS = ("bytearray", "bytes", "complex", "frozenset", "object", "set", "slice")
_KNOWN: dict[str, Any] = {
    **{f"builtins.{name}": getattr(builtins, name) for name in _BUILTINS},
    "collections.OrderedDict": collections.OrderedDict,
    "copyreg._reconstructor": copyreg._reconstructor,  # type: ignore[attr-defined]
    "_codecs.encode": _codecs.encode,
    "numpy.dtype": np.dtype,
    "numpy.ndarray": np.ndarray,
    **{f"numpy.{core}.{name}": value for core in ("core", "_core") for name, value in _NUMPY.items()},
    **{f"numpy.{name}": getattr(np, name) for name in _SCALARS},
}
SAFE_GLOBALS = frozenset({ARRAY_WRAPPER, *_KNOWN})
"""The names with which arrays and plain containers are made. Here each makes a value and does nothing else."""


def load_with(content: bytes, allowed: Collection[str], *, is_joblib: bool) -> Any:
    """Load a pickle that imports nothing but `SAFE_GLOBALS` and names that are allowed.

    Parameters
    ----------
    content : bytes
    allowed : collection of str
        Full names of classes and functions.
    is_joblib : bool
        Whether `content` is a file of joblib.

    Raises
    ------
    UntrustedArtifactError
        It would import another name, or its names cannot be listed; nothing was loaded then. Or it makes a value of a
        kind that only `trusted=True` loads.
    """
    try:
        names = imported_globals(content, is_joblib=is_joblib)
    except UnlistableError as error:
        raise UntrustedArtifactError(
            f"what it would import cannot be told: {error}; only trusted=True loads it, if you know who made it"
        ) from error
    harmless = SAFE_GLOBALS if is_joblib else _KNOWN
    others = [name for name in names if name not in harmless and name not in allowed]
    if others:
        raise UntrustedArtifactError(
            f"it would import {', '.join(others)}, which you did not name; "
            "trust them by name, or say trusted=True if you know who made it"
        )
    try:
        return _SafeUnpickler(io.BytesIO(content), WorkLimit(len(content)), allowed, is_joblib=is_joblib).load()
    except TooMuchWorkError as error:
        raise _refused(str(error)) from error


def _refused(what: str) -> UntrustedArtifactError:
    return UntrustedArtifactError(f"it {what}; only trusted=True loads that")


class _Deferred:
    """Takes the place of an array or dtype until its state is known, of which it is made."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self.finish = finish
        self.keys: list[int] = []


class _Memo(dict[int, Any]):
    """The memo of an unpickler; it notes under which keys a `_Deferred` is."""

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        if isinstance(value, _Deferred):
            value.keys.append(key)


@with_own_opcodes
class _SafeUnpickler(Reader):
    """An unpickler that makes objects only of safe or allowed names."""

    def __init__(self, stream: io.BytesIO, work: WorkLimit, allowed: Collection[str], *, is_joblib: bool) -> None:
        super().__init__(stream, work, is_joblib=is_joblib)
        self._allowed = allowed
        self.memo = _Memo()
        self._pending = 0

    def load(self) -> Any:
        found = super().load()
        if self._pending:
            raise _refused("has an array or a dtype without its content")
        return found

    def find_class(self, module: str, name: str) -> Any:
        found = full_name(module, name, self.proto)
        if self._is_joblib and found == ARRAY_WRAPPER:
            return _Deferred  # It takes the place of joblib's class.
        if found in _KNOWN:
            return _KNOWN[found]
        if found not in self._allowed:
            raise UntrustedArtifactError(f"it would import {found}, which you did not name; nothing of it was loaded")
        return super().find_class(module, name)

    def _fetched(self, value: Any) -> None:
        if isinstance(value, _Deferred):
            raise _refused("has an array or a dtype that refers to itself")

    # Opcodes that call something.

    def _made(self, made: Any) -> Any:
        self._pending += isinstance(made, _Deferred)
        return made

    def load_reduce(self) -> None:
        args = self.stack.pop()
        kind = self.stack[-1]
        maker = _maker(kind)
        self.stack[-1] = self._made(self._make(maker, args) if maker else kind(*args))

    def _instantiate(self, kind: Any, args: Any) -> None:
        raise _refused("makes an object as picklers before protocol 2 did")

    def load_newobj(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        if kind is _Deferred:
            self.append(self._made(_Deferred(self._wrapped_array)))
        else:
            self.append(self._made(self._new(kind, args, {})))

    def load_newobj_ex(self) -> None:
        named, args, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(self._made(self._new(kind, args, named)))

    def _new(self, kind: Any, args: Any, named: Any) -> Any:
        maker = _maker(kind)
        return self._make(maker, args) if maker else _new(kind, args, named)

    def _make(self, maker: Callable[..., Any], args: Any) -> Any:
        """Make a value of a safe name, and count what is copied and hashed."""
        for arg in args if type(args) is tuple else ():
            self._work.spend(len(arg) if isinstance(arg, _COPIED) else 0)
            if maker in (_set, _frozenset) and isinstance(arg, list | tuple):
                self._work.hash(set(), arg)
        made = _make(maker, args)
        dtype = made if isinstance(made, np.dtype) else getattr(made, "dtype", None)
        self._work.spend(parts_of(dtype) if isinstance(dtype, np.dtype) else 0)
        return made

    # The opcode that sets a state.

    def load_build(self) -> None:
        built = self.stack[-2]
        if isinstance(built, _Deferred):
            self._finish(built, self.stack.pop())
            return
        if isinstance(built, type | ModuleType | np.ndarray | np.generic | np.dtype) or inspect.isroutine(built):
            kind = built if isinstance(built, type | ModuleType) else type(built)
            raise _refused(f"changes {kind!r:.100}, which is not its own")
        if "__setstate__" in getattr(built, "__dict__", {}):
            raise _refused("gives an object another __setstate__ than its class has")
        super().load_build()  # type: ignore[misc]  # typeshed does not know it

    def _finish(self, pending: _Deferred, state: Any) -> None:
        """Put the finished value in the place of its `_Deferred`: on the stack, and in the memo for later opcodes."""
        self._work.spend(sum(len(part) for part in state if isinstance(part, _COPIED)))
        self.stack[-1] = made = self._make(pending.finish, (state,))
        self._pending -= 1
        for key in pending.keys:
            if self.memo.get(key) is pending:
                self.memo[key] = made

    def _wrapped_array(self, state: dict[str, Any]) -> Any:
        """Return the array that follows in a joblib file."""
        dtype = state["dtype"]
        if state["subclass"] is not np.ndarray:
            raise ValueError(f"an array of {state['subclass']}")
        if dtype.hasobject:
            return _SafeUnpickler(self._stream, self._work, self._allowed, is_joblib=False).load()
        content = self._array_bytes(state, dtype)
        return array_over(content, dtype, state["shape"], state["order"]).copy(state["order"])

    # Opcodes that fill a container.

    def load_setitem(self) -> None:
        self._check_filled(self.stack[-3], dict, [self.stack[-2]])
        super().load_setitem()  # type: ignore[misc]  # typeshed does not know it

    def load_setitems(self) -> None:
        self._check_filled(self.metastack[-1][-1], dict, self.stack[::2])
        super().load_setitems()  # type: ignore[misc]  # typeshed does not know it

    def load_dict(self) -> None:
        self._check_filled({}, dict, self.stack[::2])
        super().load_dict()  # type: ignore[misc]  # typeshed does not know it

    def load_append(self) -> None:
        self._check_filled(self.stack[-2], list | collections.deque, [])
        super().load_append()  # type: ignore[misc]  # typeshed does not know it

    def load_appends(self) -> None:
        self._check_filled(self.metastack[-1][-1], list | collections.deque, [])
        super().load_appends()  # type: ignore[misc]  # typeshed does not know it

    def load_additems(self) -> None:
        self._check_filled(self.metastack[-1][-1], set, self.stack)
        super().load_additems()  # type: ignore[misc]  # typeshed does not know it

    def load_frozenset(self) -> None:
        self._check_filled(set(), set, self.stack)
        super().load_frozenset()  # type: ignore[misc]  # typeshed does not know it

    def _check_filled(self, target: Any, kinds: Any, keys: Iterable[Any]) -> None:
        if not isinstance(target, kinds):
            raise _refused(f"puts something into a {type(target).__name__}")
        self._work.hash(target, keys)


def _make(maker: Callable[..., Any], args: Any) -> Any:
    try:
        return maker(*args)
    except UntrustedArtifactError:
        raise
    except Exception as error:  # numpy may raise any error for arguments that it does not write itself.
        raise _refused(f"has {error}") from error


def _maker(kind: Any) -> Callable[..., Any] | None:
    """Return the function to call in the place of a safe name; None for a name that was allowed."""
    if kind is _Deferred or any(kind is value for value in _VALUES):
        raise _refused(f"calls {kind!r}")
    return next((maker for value, maker in _MAKERS if value is kind), None)


def _new(kind: Any, args: Any, named: Any) -> Any:
    """Return an object of an allowed class, made without calling its `__init__`."""
    if not isinstance(kind, type):
        raise _refused(f"makes an object of a {type(kind).__name__}, which is no class")
    return kind.__new__(kind, *args, **named)


# The functions in the place of safe names. Each takes only the arguments that picklers write.


def _dtype(*args: Any) -> _Deferred:
    return _Deferred(lambda state: dtype_of(args, state))


def _array(*args: Any) -> _Deferred:
    if args != NDARRAY_ARGS:
        raise ValueError(f"an array of {shown(args[0])}")
    return _Deferred(filled_array)


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    if base is not object or state is not None:
        raise ValueError(f"{shown(kind)} made of {shown(base)}")
    return _new(kind, (), {})


def _encoded(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text in the encoding {shown(encoding)}")
    return text.encode("latin1")


def _bytearray(content: Any = b"", *encoding: Any) -> bytearray:
    return bytearray(_encoded(content, *encoding) if encoding else _of(bytes, content))


def _no_bytes() -> bytes:
    return b""


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(_of(float, real), _of(float, imaginary))


def _set(items: Any = ()) -> set[Any]:
    return set(items if isinstance(items, tuple) else _of(list, items))


def _frozenset(items: Any = ()) -> frozenset[Any]:
    return frozenset(_set(items))


def _slice(*limits: Any) -> slice:
    return slice(*(limit if limit is None else _of(int, limit) for limit in limits))


def _ordered_dict() -> collections.OrderedDict[Any, Any]:
    return collections.OrderedDict()


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} in the place of a {kind.__name__}")
    return value


# A list, compared by identity: what a pickle calls need not be hashable.
_MAKERS: list[tuple[Any, Callable[..., Any]]] = [
    (np.dtype, _dtype),
    (_NUMPY["multiarray._reconstruct"], _array),
    (_NUMPY["multiarray.scalar"], scalar_of),
    (_NUMPY["numeric._frombuffer"], buffered_array),
    (copyreg._reconstructor, _reconstructor),  # type: ignore[attr-defined]  # typeshed does not know it
    (_codecs.encode, _encoded),
    (collections.OrderedDict, _ordered_dict),
    (bytearray, _bytearray),
    (bytes, _no_bytes),
    (complex, _complex),
    (frozenset, _frozenset),
    (object, object),
    (set, _set),
    (slice, _slice),
]
_COPIED = (str, bytes, bytearray, list, tuple)
_VALUES = [np.ndarray, *(getattr(np, name) for name in _SCALARS)]
