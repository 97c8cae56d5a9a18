"""Writes fitted objects as bytes, so that equal objects have equal bytes in every process.

Ordinary pickles do not have that: they differ if an equal text is one object in memory or two, or if a dtype is numpy's
own or a loaded one. So the same training gave other bytes in a worker process, and a loaded object other bytes than
before. If the items of an array have unused bytes between their fields, the pickle had whatever was in memory there.
The picklers here write equal values that cannot change as one object, and unused bytes as zeros. joblib, pickle and
skops read the bytes as usual.

Why, and what it costs: docs/decisions/0017.
"""

from __future__ import annotations

import importlib
import io
import json
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar

import cloudpickle
import numpy as np
from joblib.numpy_pickle import NumpyPickler

from .packages import SCRIPTS

MAIN, WORKERS_MAIN = SCRIPTS
SKLEARN_VERSION = "_sklearn_version"
SCHEMA = "schema.json"
CALLS_PER_LEVEL = 4
_ATOMS = (str, bytes, int, float, complex, bool, type(None))
_PLAIN = {*_ATOMS, dict, list, tuple, set, frozenset}
_MAY_HAVE_GAPS = (np.ndarray, np.void, np.longdouble, np.clongdouble)
# An 80-bit long double uses 10 bytes of its 12 or 16.
_LONGDOUBLE_BYTES = 10 if np.finfo(np.longdouble).nmant == 63 else np.dtype(np.longdouble).itemsize


def without_gaps(value: Any) -> Any:
    """Return an array or scalar in which the unused bytes between its fields are zero.

    It is a copy if there are unused bytes, else `value` itself.
    """
    gaps = None if value.dtype.hasobject else _gaps(value.dtype)
    if gaps is None:
        return value
    copy = np.array(value, order="K", subok=True)
    copy.view(np.ndarray).ravel(order="K").view(np.uint8).reshape(-1, len(gaps))[:, gaps] = 0
    return copy if isinstance(value, np.ndarray) else copy[()]


@lru_cache
def _gaps(dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Return a mask of the bytes of an item that are not part of its value; None if all bytes are."""
    gaps = ~_used(dtype)
    return gaps if gaps.any() else None


def _used(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    used = np.zeros(dtype.itemsize, bool)
    if dtype.fields is not None:
        for part, offset, *_ in dtype.fields.values():
            used[offset : offset + part.itemsize] |= _used(part)
    elif dtype.subdtype is not None:
        base = dtype.subdtype[0]
        used[:] = np.tile(_used(base), dtype.itemsize // max(base.itemsize, 1))
    elif dtype.type in (np.longdouble, np.clongdouble):
        numbers = used.reshape(2 if dtype.kind == "c" else 1, -1)
        if dtype.byteorder == ">":
            numbers = numbers[:, ::-1]
        numbers[:, :_LONGDOUBLE_BYTES] = True
    else:
        used[:] = True
    return used


# `pickle._Pickler` is the one written in Python. `pickle.Pickler`, in C, treats equal texts as different objects.
class _Pickler(pickle._Pickler):
    """A pickler that writes equal values that cannot change (text, bytes, dtypes) as one object."""

    # Attributes that the base class has and typeshed does not know.
    write: Callable[[bytes], object]
    memo: dict[int, tuple[int, Any]]
    memoize: Callable[[Any], None]
    proto: int

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._one_of_each: dict[Any, Any] = {}
        self._in_place_of: dict[int, tuple[Any, Any]] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        kind = type(obj)
        if kind is str or kind is bytes:
            obj = self._one_of_each.setdefault((kind, obj), obj)
        elif kind not in _PLAIN:
            obj = self._canonical(obj)
        super().save(obj)  # type: ignore[misc]  # typeshed does not know it

    def _canonical(self, obj: Any) -> Any:
        """Return the object to write for `obj`: itself, or an equal one."""
        if isinstance(obj, np.dtype):
            return self._replaced(obj, lambda dtype: self._one_of_each.setdefault(_dtype_key(dtype), dtype))
        if isinstance(obj, np.ma.MaskedArray) and obj is not np.ma.masked:
            obj.fill_value  # noqa: B018  # This makes the default fill value, as loading would.
        if type(obj) is np.memmap:
            obj = self._replaced(obj, lambda array: array.view(np.ndarray))
        if isinstance(obj, _MAY_HAVE_GAPS) and not obj.dtype.hasobject and _gaps(obj.dtype) is not None:
            return self._replaced(obj, without_gaps)
        return obj

    def _replaced(self, obj: Any, by: Callable[[Any], Any]) -> Any:
        """Return the replacement of an object; each time the same one."""
        if id(obj) not in self._in_place_of:
            self._in_place_of[id(obj)] = obj, by(obj)
        return self._in_place_of[id(obj)][1]

    def _save_array(self, obj: Any) -> None:
        """Write an array in one way, whatever its strides and the protocol."""
        self.save_reduce(*obj.__reduce__(), obj=obj)

    dispatch[np.ndarray] = _save_array

    def save_reduce(self, func: Any, args: Any, state: Any = None, *rest: Any, obj: Any = None) -> None:
        # scikit-learn appends its version to the state; a loaded object has it already, somewhere in between.
        if type(state) is dict and SKLEARN_VERSION in state:
            state = {
                **{key: value for key, value in state.items() if key != SKLEARN_VERSION},
                SKLEARN_VERSION: state[SKLEARN_VERSION],
            }
        if type(obj).__name__ == "Bunch" and type(obj).__module__.startswith("sklearn."):
            state = None  # A Bunch ignores its state when it is loaded.
        super().save_reduce(func, args, state, *rest, obj=obj)  # type: ignore[misc]  # typeshed does not know it

    def save_global(self, obj: Any, name: str | None = None) -> None:
        name = name or getattr(obj, "__qualname__", None)
        if name is None or getattr(obj, "__module__", None) != WORKERS_MAIN or _of_script(name) is not obj:
            with self._anew(name) if name is not None and name is not _name_of(obj) else nullcontext():
                super().save_global(obj, name)  # type: ignore[misc]  # typeshed does not know it
            return
        self.save(MAIN)  # In every other process, the module of the script has this name.
        self.save(name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    @contextmanager
    def _anew(self, text: str) -> Iterator[None]:
        """Write a text again although it was written before, as joblib does for names of types and functions in C."""
        before = self._one_of_each.pop((str, text), None)
        yield
        self._one_of_each.pop((str, text), None)
        if before is not None:
            self._one_of_each[str, text] = before

    def _save_set(self, obj: set[Any]) -> None:
        self.write(pickle.EMPTY_SET)
        self.memoize(obj)
        self.write(pickle.MARK)
        for item in _in_order(obj):
            self.save(item)
        self.write(pickle.ADDITEMS)

    dispatch[set] = _save_set

    def _save_frozenset(self, obj: frozenset[Any]) -> None:
        self.save_reduce(frozenset, (_in_order(obj),), obj=obj)

    dispatch[frozenset] = _save_frozenset


def _name_of(obj: Any) -> Any:
    return getattr(obj, "__qualname__", None)


def _of_script(name: str) -> Any:
    """Return the object that a script defines under a name, in a worker process of the script; None elsewhere."""
    with suppress(AttributeError):
        return attrgetter(name)(sys.modules.get(WORKERS_MAIN))
    return None


def _in_order(items: Any) -> list[Any]:
    """Return the items of a set in an order that is the same in every process, if they are simple values."""
    return sorted(items, key=lambda item: (type(item).__name__, repr(item))) if all(map(_is_atom, items)) else [*items]


def _is_atom(item: Any) -> bool:
    return type(item) in _ATOMS or (type(item) is tuple and all(map(_is_atom, item)))


def _dtype_key(dtype: np.dtype[Any]) -> Any:
    """Return a key that is equal for dtypes that are pickled in the same way."""
    return np.dtype, id(dtype) if dtype.metadata else str(dtype.__reduce__())


class _JoblibPickler(_Pickler, NumpyPickler):  # type: ignore[misc]  # joblib has no types
    """The same for joblib's format, in which the bytes of an array follow the pickle of a wrapper."""

    dispatch: ClassVar[Any] = _Pickler.dispatch

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) in (np.ndarray, np.matrix) and obj.dtype.hasobject:
            # joblib pickles arrays of objects separately, with the pickler in C. Here it is this one.
            pickle._Pickler.save(self, self._create_array_wrapper(obj))  # type: ignore[attr-defined]
            self.framer.commit_frame(force=True)
            _Pickler(self.file_handle).dump(obj)
        else:
            super().save(obj)


class _CloudPickler(_Pickler):
    """The same for cloudpickle's format, which stores the classes and functions of a script or notebook."""

    dispatch: ClassVar[Any] = _Pickler.dispatch

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._cloud = cloudpickle.Pickler(io.BytesIO(), pickle.DEFAULT_PROTOCOL)
        self.dispatch_table = self._cloud.dispatch_table

    def reducer_override(self, obj: Any) -> Any:
        """Ask cloudpickle how to write classes and functions."""
        return self._cloud.reducer_override(obj)


def dump_pickle(obj: Any) -> bytes:
    """Return an object as bytes for `pickle.loads`."""
    return _dumped(_Pickler, obj)


def dump_joblib(obj: Any) -> bytes:
    """Return an object as bytes for `joblib.load`, uncompressed: zlib saves 4 % of a PLS model in 16 times the time."""
    return _dumped(_JoblibPickler, obj)


def dump_cloudpickle(obj: Any) -> bytes:
    """Return an object as bytes for `pickle.loads`, with the classes and functions of a script inside.

    To load them, cloudpickle must be installed.
    """
    with _script_by_value():
        return _dumped(_CloudPickler, obj)


def _dumped(kind: Any, obj: Any) -> bytes:
    stream = io.BytesIO()
    try:
        kind(stream).dump(obj)
    except RecursionError:
        stream = io.BytesIO()
        with _deeper():
            kind(stream).dump(obj)
    return stream.getvalue()


# The settings below are those of all threads. Reentrant: a method of an object may dump another object.
_one_at_a_time = threading.RLock()


@contextmanager
def _deeper() -> Iterator[None]:
    """Allow four times as many nested calls: the pickler in Python makes more of them for each level than that in C."""
    with _one_at_a_time:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(CALLS_PER_LEVEL * before)
        try:
            yield
        finally:
            sys.setrecursionlimit(before)


@contextmanager
def _script_by_value() -> Iterator[None]:
    """Make cloudpickle store a script's definitions in worker processes, too, where its module has another name."""
    script = sys.modules.get(WORKERS_MAIN)
    # In the first process, this name may be a second one of the script's module.
    if script is None or script.__name__ != WORKERS_MAIN:
        yield
        return
    with _one_at_a_time:
        if WORKERS_MAIN in cloudpickle.list_registry_pickle_by_value():
            yield
            return
        cloudpickle.register_pickle_by_value(script)
        try:
            yield
        finally:
            cloudpickle.unregister_pickle_by_value(script)


def dump_npz(arrays: Any) -> bytes:
    """Return a dict of arrays as bytes for `numpy.load(..., allow_pickle=False)`: a ZIP file without times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:  # A ZipInfo that is made of a name has a fixed time.
        for name, values in arrays.items():
            member = io.BytesIO()
            np.save(member, without_gaps(np.ascontiguousarray(values)), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return stream.getvalue()


def dump_skops(obj: Any) -> bytes:
    """Return an object as bytes for `skops.io.loads`: a ZIP file without times and without addresses in memory."""
    with zipfile.ZipFile(io.BytesIO(importlib.import_module("skops.io").dumps(obj))) as written:
        schema = json.loads(written.read(SCHEMA))
        names = _Names(written.namelist())
        numbered = names.numbered(schema)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:  # A ZipInfo that is made of a name has a fixed time.
            for old, new in names.files.items():
                content = written.read(old)
                archive.writestr(zipfile.ZipInfo(new), _npy_without_gaps(content) if new.endswith(".npy") else content)
            archive.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(numbered, indent=2))
    return stream.getvalue()


class _Names:
    """Numbers the ids and files that skops names by addresses in memory or at random, in the order of its schema."""

    def __init__(self, members: list[str]) -> None:
        self._members = set(members)
        self._numbers: dict[Any, int] = {}
        self.files: dict[str, str] = {}

    def numbered(self, node: Any) -> Any:
        """Return a part of the schema with numbers as names."""
        if isinstance(node, list):
            return [self.numbered(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.get("__loader__") == "SetNode" and isinstance(node.get("content"), list):
            node["content"].sort(key=_without_id)
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__" and isinstance(value, int):  # A stored dict may have such a key of its own.
                # Equal texts and numbers may be one object or two. So they get one number by their value.
                which = (node["content"],) if node.get("__loader__") == "JsonNode" else value
                found[key] = self._numbers.setdefault(which, len(self._numbers) + 1)
            elif key == "file" and isinstance(value, str) and value in self._members:
                ending = value[value.rindex(".") :]
                found[key] = self.files.setdefault(value, f"{len(self.files) + 1}{ending}")
            else:
                found[key] = self.numbered(value)
        return found


def _without_id(node: Any) -> str:
    return json.dumps({key: value for key, value in node.items() if key != "__id__"})


def _npy_without_gaps(content: bytes) -> bytes:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if _gaps(array.dtype) is None:
        return content
    stream = io.BytesIO()
    np.save(stream, without_gaps(array), allow_pickle=False)
    return stream.getvalue()
