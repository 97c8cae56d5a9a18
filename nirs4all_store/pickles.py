"""Pickles that are not trusted: which classes and functions they would import, and loading them with no others.

Both read a pickle with the standard library's own machine, the one written in Python. To list, it is run with
nothing real in its hands: each name it asks for is written down and answered with a dummy, and where a call would
be made, the result is a dummy. joblib's files are pickles with the bytes of each array in between.
"""

from __future__ import annotations

import _compat_pickle
import inspect
import io
import math
import pickle
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any, ClassVar, NoReturn

import numpy as np

from .errors import UntrustedArtifactError

ALIGNED = 0x80
"""The flag of a dtype whose fields stand where a C compiler would put them."""
ARRAY_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_SCALARS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
            "float64", "complex64", "complex128", "str_", "bytes_", "bool_")  # fmt: skip
HARMLESS = frozenset(
    [
        ARRAY_WRAPPER,
        "builtins.bytearray", "builtins.complex", "builtins.frozenset", "builtins.object", "builtins.set",
        "builtins.slice", "collections.OrderedDict", "copyreg._reconstructor", "_codecs.encode",
        "numpy.dtype", "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        *(f"numpy.{name}" for name in _SCALARS),
    ]
)  # fmt: skip
"""What arrays and plain containers are made with; calling them makes a value and does nothing else."""


class UnlistableError(Exception):
    """What a pickle would import cannot be told without running it."""


def names_in(content: bytes) -> list[str]:
    """Return the classes and functions that a pickle, or a file of joblib's, would import; nothing is executed.

    Raises
    ------
    UnlistableError
        They cannot be told: the bytes are compressed, damaged, or of a kind that depends on what is installed.
    """
    _check_is_pickle(content)
    names: set[str] = set()
    try:
        _Listing(io.BytesIO(content), len(content), names).load()
    except UnlistableError:
        raise
    except (Exception, RecursionError) as error:  # Damaged bytes make the machine raise what they like.
        raise UnlistableError(f"it is damaged, or no pickle: {type(error).__name__}: {error}"[:300]) from error
    return sorted(names)


def load_with(content: bytes, allowed: Collection[str]) -> Any:
    """Load a pickle, or a file of joblib's, that imports nothing but what is harmless or allowed by its full name.

    Raises
    ------
    UntrustedArtifactError
        It would import something else, or that cannot be told; nothing was loaded.
    """
    try:
        others = [name for name in names_in(content) if name not in HARMLESS and name not in allowed]
    except UnlistableError as error:
        raise UntrustedArtifactError(
            f"what it would import cannot be told: {error}; only trusted=True loads it, if you know who made it"
        ) from error
    if others:
        raise UntrustedArtifactError(
            f"it would import {', '.join(others)}, which you did not name; "
            "trust them by name, or say trusted=True if you know who made it"
        )
    return _Gated(io.BytesIO(content), len(content), allowed).load()


def _check_is_pickle(content: bytes) -> None:
    if content[:1] != pickle.PROTO:
        raise UnlistableError("it is compressed, or no pickle of protocol 2 or newer")


# The name has an underscore because the module exports the one written in C, whose steps cannot be replaced.
class _Reader(pickle._Unpickler):
    """The machine, with joblib's arrays, and with an end to what it may allocate."""

    # What the machine has and typeshed does not know.
    proto: int
    stack: list[Any]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, stream: io.BytesIO, size: int) -> None:
        super().__init__(stream)
        self._stream = stream
        self._size = size

    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)

    def _full_name(self, module: str, name: str) -> str:
        if self.proto < 3:  # Names are Python 2's.
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return f"{module}.{name}"

    def get_extension(self, code: int) -> NoReturn:
        raise UnlistableError("it names something by a number whose meaning depends on what is installed")

    def persistent_load(self, pid: object) -> NoReturn:
        raise UnlistableError("it refers to something outside itself")

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(min(size, self._size))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _array_bytes(self, state: dict[str, Any], count: int) -> bytes:
        if state.get("numpy_array_alignment_bytes") is not None:
            self._stream.read(self._stream.read(1)[0])
        content = self._stream.read(min(count, self._size))
        if len(content) != count:
            raise UnlistableError("an array in it is cut off")
        return content


class _Dummy:
    """Stands for anything; takes what is put into it, and keeps nothing but what it was made with."""

    def __init__(self, name: str = "", args: Any = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def append(self, value: Any) -> None:
        """Take a value, as a list would."""

    add = extend = append

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Listing(_Reader):
    """Writes names down, and makes and calls nothing."""

    def __init__(self, stream: io.BytesIO, size: int, names: set[str]) -> None:
        super().__init__(stream, size)
        self._names = names

    dispatch: ClassVar[Any] = dict(_Reader.dispatch)

    def find_class(self, module: str, name: str) -> _Dummy:
        found = self._full_name(module, name)
        self._names.add(found)
        return _Dummy(found)

    def _instantiate(self, kind: Any, args: Any) -> None:
        self.append(_made(kind, args))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_reduce

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_reduce()

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, _Dummy):
            made.state = state
            if made.name == ARRAY_WRAPPER:
                self._skip_array(state)

    dispatch[pickle.BUILD[0]] = load_build

    def _skip_array(self, state: dict[str, Any]) -> None:
        size = _item_size(state["dtype"])
        if size is None:
            _Listing(self._stream, self._size, self._names).load()
        else:
            self._array_bytes(state, math.prod(state["shape"]) * size)


def _item_size(kind: _Dummy) -> int | None:
    """Return how many bytes an array has for each item of a dtype; None for objects, which are a pickle."""
    if kind.name != "numpy.dtype" or not isinstance(kind.args[0], str):
        raise UnlistableError("it has an array of an unknown kind")
    dtype = np.dtype(kind.args[0])
    if dtype.kind == "O":
        return None
    if dtype.kind not in "SUV":
        return dtype.itemsize
    _, _, part, _, fields, size, *_ = kind.state  # What numpy's own dtypes put there.
    if part is not None or not isinstance(size, int):
        raise UnlistableError("it has an array of arrays")
    for field, *_ in (fields or {}).values():
        if _item_size(field) is None:
            raise UnlistableError("it has an array of records with objects")
    return size


def _made(kind: Any, args: Any) -> _Dummy:
    return _Dummy(getattr(kind, "name", ""), args if isinstance(args, tuple) else ())


class _Gated(_Reader):
    """Makes real objects, of what is harmless or allowed."""

    def __init__(self, stream: io.BytesIO, size: int, allowed: Collection[str]) -> None:
        super().__init__(stream, size)
        self._allowed = allowed

    dispatch: ClassVar[Any] = dict(_Reader.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        found = self._full_name(module, name)
        if found == ARRAY_WRAPPER:
            return _Array
        if found not in HARMLESS and found not in self._allowed:
            raise UntrustedArtifactError(f"it would import {found}, which you did not name; nothing of it was loaded")
        return super().find_class(module, name)

    def load_build(self) -> None:
        built = self.stack[-2]
        if isinstance(built, type | ModuleType) or inspect.isroutine(built):
            raise UntrustedArtifactError(f"it changes {built!r}, which is not its own; only trusted=True loads that")
        if isinstance(built, np.dtype):
            self._replace(built, _dtype(built, self.stack.pop()))
            return
        _Reader.dispatch[pickle.BUILD[0]](self)
        if type(self.stack[-1]) is _Array:
            self.stack[-1] = self._array(vars(self.stack[-1]))

    dispatch[pickle.BUILD[0]] = load_build

    def _replace(self, old: Any, new: Any) -> None:
        """Let what is on the stack, and what later opcodes ask for again, be another object."""
        self.stack[-1] = new
        self.memo.update((key, new) for key, value in self.memo.items() if value is old)

    def _array(self, state: dict[str, Any]) -> Any:
        dtype, shape = state["dtype"], state["shape"]
        if state["subclass"] is not np.ndarray:
            raise UntrustedArtifactError(f"it has an array of {state['subclass']}; only trusted=True loads that")
        if dtype.hasobject:
            array = _Gated(self._stream, self._size, self._allowed).load()
        else:
            array = np.frombuffer(self._array_bytes(state, math.prod(shape) * dtype.itemsize), dtype).copy()
        return array.reshape(shape[::-1]).T if state["order"] == "F" else array.reshape(shape)


def _dtype(made: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """Return the dtype that a state stands for, made anew by numpy's own rules.

    `dtype.__setstate__` believes what it is told: with some states the process dies at the next use of the dtype.
    """
    _, order, part, names, fields, size, _, flags, *more = state
    if part is not None:
        raise UntrustedArtifactError("it has a dtype of arrays; only trusted=True loads that")
    if names:
        told = [fields[name] for name in names]
        return np.dtype({"names": list(names), "formats": [kind for kind, *_ in told],
                         "offsets": [offset for _, offset, *_ in told], "itemsize": size},
                        align=bool(flags & ALIGNED))  # fmt: skip
    if made.kind in "mM" and more:
        unit, number, *_ = more[0][1]
        unit = unit.decode() if isinstance(unit, bytes) else unit
        made = np.dtype(f"{made.kind}8" if unit == "generic" else f"{made.kind}8[{int(number)}{unit}]")
    return made.newbyteorder(order)


class _Array:
    """What joblib puts in the place of an array whose bytes follow."""
