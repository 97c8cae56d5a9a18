"""Lists the classes and functions that a pickle would import, without running any code of it.

The pickle is read with the standard library's unpickler that is written in Python. Each name that the pickle asks for
is noted, and a stub takes its place; the result of a call is a stub, too. A joblib file is a pickle with the bytes of
each array in between. These bytes are skipped only after exactly what joblib writes before them. If another reader
could read the file differently, the names cannot be listed and an error is raised.

Why not read opcode by opcode: docs/decisions/0009.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .safe_numpy import dtype_of, parts_of, size_of
from .work_limit import TooMuchWorkError, WorkLimit

ARRAY_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_WRAPPER_KEYS = {"subclass", "shape", "order", "dtype", "allow_mmap"}
ALIGNMENT = "numpy_array_alignment_bytes"
_MAY_BE_A_WRAPPER = ("numpy_pickle", "ArrayWrapper")


class UnlistableError(Exception):
    """The names that a pickle would import cannot be listed without running it."""


def imported_globals(content: bytes, *, is_joblib: bool) -> list[str]:
    """Return the full names of the classes and functions that a pickle would import; nothing of it is run.

    Parameters
    ----------
    content : bytes
    is_joblib : bool
        Whether `content` is a file of joblib, with the bytes of arrays in between.

    Raises
    ------
    UnlistableError
        The names cannot be listed: the bytes are compressed or damaged, or another reader, or one with other packages
        installed, could import other names.
    """
    if content[:1] != pickle.PROTO:
        raise UnlistableError("it is compressed, or no pickle of protocol 2 or newer")
    names: set[str] = set()
    try:
        _GlobalsScanner(io.BytesIO(content), WorkLimit(len(content)), names, is_joblib=is_joblib).load()
    except UnlistableError:
        raise
    except TooMuchWorkError as error:
        raise UnlistableError(f"it {error}") from error
    except (Exception, RecursionError) as error:  # For damaged bytes the unpickler may raise any error.
        raise UnlistableError(f"it is damaged, or no pickle: {type(error).__name__}: {error}"[:300]) from error
    return sorted(names)


def with_own_opcodes(kind: Any) -> Any:
    """Return an unpickler class that runs its own methods: `pickle._Unpickler` looks each opcode up in a table."""
    kind.dispatch = {code: getattr(kind, method.__name__) for code, method in kind.dispatch.items()}
    return kind


# `pickle._Unpickler` is the one written in Python. The methods of the one in C cannot be replaced.
@with_own_opcodes
class Reader(pickle._Unpickler):
    """An unpickler that knows joblib's arrays, and that allocates no more memory than the pickle has bytes.

    Parameters
    ----------
    stream : BytesIO
    work : WorkLimit
    is_joblib : bool
    """

    # Attributes that the base class has and typeshed does not know.
    proto: int
    stack: list[Any]
    metastack: list[list[Any]]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BytesIO, work: WorkLimit, *, is_joblib: bool) -> None:
        super().__init__(stream)
        self._stream = stream
        self._size = len(stream.getbuffer())
        self._work = work
        self._is_joblib = is_joblib

    def _fetched(self, value: Any) -> None:
        """Look at a value that an opcode has fetched from the memo; subclasses override this."""

    def load_get(self) -> None:  # noqa: D102  # the machine's own
        super().load_get()  # type: ignore[misc]  # typeshed does not know it
        self._fetched(self.stack[-1])

    def load_binget(self) -> None:  # noqa: D102  # the machine's own
        super().load_binget()  # type: ignore[misc]  # typeshed does not know it
        self._fetched(self.stack[-1])

    def load_long_binget(self) -> None:  # noqa: D102  # the machine's own
        super().load_long_binget()  # type: ignore[misc]  # typeshed does not know it
        self._fetched(self.stack[-1])

    def load_dup(self) -> NoReturn:  # noqa: D102  # the machine's own
        raise UnlistableError("it has an opcode that no pickler writes")

    def get_extension(self, code: int) -> NoReturn:  # noqa: D102  # the machine's own
        raise UnlistableError("it names something by a number whose meaning depends on what is installed")

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: D102  # the machine's own
        raise UnlistableError("it refers to something outside itself")

    def load_bytearray8(self) -> None:  # noqa: D102  # the machine's own
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(min(size, self._size))))

    def _array_bytes(self, state: dict[str, Any], dtype: np.dtype[Any]) -> bytes:
        """Read the bytes of the array whose wrapper of joblib has this state."""
        if state.get(ALIGNMENT) is not None:
            self._stream.read(self._stream.read(1)[0])
        size = size_of(dtype, state["shape"])
        content = self._stream.read(min(size, self._size))
        if len(content) != size:
            raise UnlistableError("an array in it is cut off")
        return content


def full_name(module: str, name: str, protocol: int) -> str:
    """Return the full name that a pickle means; before protocol 3, pickles have Python 2's names."""
    if protocol < 3:
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        else:
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


class _Stub:
    """Takes the place of an imported object or of the result of a call; what is put into it is dropped."""

    def __init__(self, name: str = "", args: Any = None) -> None:
        self.name = name
        """The full name of what was imported, or of what was called to make it."""
        self.args = args
        """The arguments of the call that made it; None if it was imported."""
        self.dtype: np.dtype[Any] | None = None
        self.is_built = False

    @property
    def is_wrapper(self) -> bool:
        return self.name == ARRAY_WRAPPER and self.args is not None

    def append(self, value: Any) -> None:
        """Take a value as a list would, and drop it."""

    add = extend = append


@with_own_opcodes
class _GlobalsScanner(Reader):
    """An unpickler that notes names, and makes and calls nothing."""

    def __init__(
        self,
        stream: io.BytesIO,
        work: WorkLimit,
        names: set[str],
        *,
        is_joblib: bool,
        outer_protocol: int | None = None,
    ) -> None:
        super().__init__(stream, work, is_joblib=is_joblib)
        self._names = names
        # For an array of objects in a joblib file: the protocol of that file.
        self._outer_protocol = outer_protocol
        # joblib's wrapper of arrays may be used only as joblib uses it. So each time it comes to the stack this counts
        # up, and down when its array was read.
        self._unused = 0
        self._fetched_dicts: set[int] = set()

    def load(self) -> Any:
        super().load()
        if self._unused:
            raise UnlistableError("it uses joblib's wrapper of arrays as joblib does not")

    def find_class(self, module: str, name: str) -> _Stub:
        found = full_name(module, name, self.proto)
        self._names.add(found)
        if self._outer_protocol is not None:  # Some versions of joblib read the names by the outer protocol.
            self._names.add(full_name(module, name, self._outer_protocol))
        if self._is_joblib and found == ARRAY_WRAPPER:
            self._unused += 1
        elif (self._is_joblib or self._outer_protocol is not None) and _may_lead_to_wrapper(found):
            raise UnlistableError(f"it imports {found}, after which joblib may read on elsewhere")
        return _Stub(found)

    def _fetched(self, value: Any) -> None:
        if self._is_joblib and isinstance(value, _Stub) and value.name == ARRAY_WRAPPER:
            self._unused += 1
        elif isinstance(value, dict):
            self._fetched_dicts.add(id(value))

    def _instantiate(self, kind: Any, args: Any) -> None:
        self.append(_made(kind, args))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        if isinstance(kind, _Stub) and kind.name == ARRAY_WRAPPER and kind.args is None and args == ():
            self.append(_Stub(ARRAY_WRAPPER, ()))  # The count stays: the class is used, and its wrapper waits.
        else:
            self.append(_made(kind, args))

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_reduce()

    def load_build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if not isinstance(built, _Stub):
            return
        if built.name == "numpy.dtype" and built.args is not None:
            built.dtype = None if built.is_built else _told_dtype(built.args, state)
            self._work.spend(parts_of(built.dtype) if built.dtype is not None else 0)
        elif self._is_joblib and built.args is None:
            raise UnlistableError(f"it changes {built.name or 'an array'}, which is not its own")
        elif self._is_joblib and built.is_wrapper:
            self._pass_over(built, state)
            self.stack[-1] = _Stub()
        built.is_built = True

    def _pass_over(self, wrapper: _Stub, state: Any) -> None:
        """Skip the bytes of the array that follows in a joblib file."""
        if wrapper.is_built or type(state) is not dict or id(state) in self._fetched_dicts or not _is_joblibs(state):
            raise UnlistableError("it has an array that joblib would not write like this")
        self._unused -= 1
        dtype = state["dtype"].dtype
        if dtype is None:
            raise UnlistableError("it has an array of an unknown kind")
        if dtype.hasobject:
            # joblib reads arrays of objects with an ordinary unpickler.
            _GlobalsScanner(self._stream, self._work, self._names, is_joblib=False, outer_protocol=self.proto).load()
        else:
            self._array_bytes(state, dtype)

    # Of dicts and sets, only text keys are needed, for the state of an array. Other keys are not hashed: to hash a
    # deeply nested tuple can end the process.

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _put(self.stack[-1], items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        _put(self.stack[-1], items)

    def load_additems(self) -> None:
        self.pop_mark()

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(_Stub())


def _made(kind: Any, args: Any) -> _Stub:
    name = kind.name if isinstance(kind, _Stub) and kind.args is None and kind.name != ARRAY_WRAPPER else ""
    return _Stub(name, args if isinstance(args, tuple) else ())


def _put(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key if type(key) is str else _Stub()] = value


def _may_lead_to_wrapper(name: str) -> bool:
    """Tell whether a name may lead to joblib's wrapper by another path, as through a special attribute."""
    return any(part in name for part in _MAY_BE_A_WRAPPER) or any(
        part.startswith("__") and part.endswith("__") for part in name.split(".")[1:]
    )


def _is_joblibs(state: dict[Any, Any]) -> bool:
    """Tell whether joblib would write its wrapper with this state."""
    kind, dtype = state.get("subclass"), state.get("dtype")
    return (
        state.keys() - {ALIGNMENT} == _WRAPPER_KEYS
        and isinstance(kind, _Stub)
        and kind.args is None
        and isinstance(dtype, _Stub)
        and type(state["shape"]) is tuple
        and type(state["order"]) is str
        and type(state["allow_mmap"]) is bool
        and (state.get(ALIGNMENT) is None or type(state[ALIGNMENT]) is int)
    )


def _told_dtype(args: Any, state: Any) -> np.dtype[Any] | None:
    """Return the dtype for these pickled arguments and this state; None if it cannot be made safely."""
    try:
        version, order, part, names, fields, *sizes = state
        if part is not None:
            part = (part[0].dtype, part[1])
        if fields is not None:
            fields = {key: (item[0].dtype, *item[1:]) for key, item in fields.items()}
        return dtype_of(args, (version, order, part, names, fields, *sizes))
    except Exception:  # The state may be any object.
        return None
