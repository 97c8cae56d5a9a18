"""Writes fitted objects as bytes (joblib, pickle, cloudpickle, skops), arrays (npz), frames (Parquet), and loads them.

Except for the last three, loading runs code that the bytes name. So callers load only bytes whose SHA-256 they have
checked, and `load` takes what a user has said about the trust in an imported object. How trust works:
docs/decisions/0009.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import pickle
import platform
import sys
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import polars as pl

from ..errors import ArtifactLoadError, InvalidInputError, InvalidTypeError, UntrustedArtifactError
from .packages import SCRIPTS, is_only_here
from .safe_loading.pickle_scanner import UnlistableError, imported_globals
from .safe_loading.safe_unpickler import load_with
from .safe_loading.work_limit import TooMuchWorkError, WorkLimit

Trust = Literal[True] | list[str] | None
"""How far an object is trusted. None: this workspace saved it. Otherwise it was imported, and a user has said this:
True (load it), or the full names of the classes and functions that it may import."""


class Codec(NamedTuple):
    """One format: its file extension, and functions to write, read and inspect it.

    Attributes
    ----------
    extension : str
    dump : callable
        Returns an object as bytes.
    load : callable
        Loads bytes that are trusted.
    load_with : callable
        Loads bytes that may import only the names in a list.
    names : callable
        Returns the names that loading would import.
    """

    extension: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    load_with: Callable[[bytes, list[str]], Any]
    names: Callable[[bytes], list[str]]


def _dump(format: str, obj: Any) -> bytes:
    # Imported only here: it imports joblib and cloudpickle, which a program that only reads rows does not need.
    return bytes(getattr(importlib.import_module(".canonical", __package__), f"dump_{format}")(obj))


def _dump_parquet(obj: Any) -> bytes:
    if not isinstance(obj, pl.DataFrame):
        raise TypeError("Parquet holds a polars.DataFrame")
    stream = io.BytesIO()
    obj.write_parquet(stream)
    return stream.getvalue()


def _load_parquet(content: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(content))


def _load_joblib(content: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(content))


def _load_npz(content: bytes) -> dict[str, Any]:
    import numpy as np

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("an array in it is compressed, and few bytes could stand for very many")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _load_skops(content: bytes) -> Any:
    return _load_skops_with(content, _skops_names(content))


def _load_skops_with(content: bytes, allowed: list[str]) -> Any:
    try:
        others = [name for name in _skops_names(content) if name not in allowed]
    except UnlistableError as error:
        raise UntrustedArtifactError(f"{error}; ask who made it for one in another format") from error
    if others:
        raise UntrustedArtifactError(
            f"it is made of {', '.join(others)}, which skops does not trust by itself; "
            "trust them by name, or say trusted=True if you know who made it"
        )
    return importlib.import_module("skops.io").loads(content, trusted=allowed)


def _skops_names(content: bytes) -> list[str]:
    _check_work_of_skops(content)
    return list(importlib.import_module("skops.io").get_untrusted_types(data=content))


def _check_work_of_skops(content: bytes) -> None:
    """Raise for a file in which few bytes stand for very many objects: skops visits an object each time it is named."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read("schema.json")
    sizes: dict[Any, int] = {}

    def size(part: Any) -> int:
        name = part.get("__id__") if isinstance(part, dict) else None
        is_named = isinstance(name, int)  # A dict that is stored may have such a key of its own.
        if is_named and name in sizes:
            return sizes[name]
        if is_named:
            sizes[name] = 0  # It may hold itself.
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        total = 1 + sum(map(size, inner))
        if is_named:
            sizes[name] = total
        return total

    try:
        WorkLimit(len(text)).spend(size(json.loads(text)))
    except TooMuchWorkError as error:
        raise UnlistableError(f"it {error}") from error


_PLAIN = partial(load_with, is_joblib=False), partial(imported_globals, is_joblib=False)
CODECS = {
    "joblib": Codec(
        ".joblib",
        partial(_dump, "joblib"),
        _load_joblib,
        partial(load_with, is_joblib=True),
        partial(imported_globals, is_joblib=True),
    ),
    "pickle": Codec(".pkl", partial(_dump, "pickle"), pickle.loads, *_PLAIN),
    "cloudpickle": Codec(".cloudpickle", partial(_dump, "cloudpickle"), pickle.loads, *_PLAIN),
    "skops": Codec(".skops", partial(_dump, "skops"), _load_skops, _load_skops_with, _skops_names),
    "npz": Codec(".npz", partial(_dump, "npz"), _load_npz, lambda content, _: _load_npz(content), lambda _: []),
    "parquet": Codec(".parquet", _dump_parquet, _load_parquet, lambda content, _: _load_parquet(content), lambda _: []),
}
SKOPS, NPZ, PARQUET = "skops", "npz", "parquet"


def codec(name: str) -> Codec:
    """Return the codec of a format.

    Raises
    ------
    InvalidInputError
        There is no such format.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"format must be text, not {name!r:.60}; use one of {', '.join(CODECS)}")
    if name not in CODECS:
        raise InvalidInputError(f"format {name!r} is unknown; use one of {', '.join(CODECS)}")
    return CODECS[name]


class Dumped(NamedTuple):
    """A fitted object as it is stored: its bytes, their format, and the versions that `versions_of` returns."""

    content: bytes
    format: str
    versions: dict[str, Any]


def dump(obj: Any, format: str) -> bytes:
    """Return an object as bytes.

    Parameters
    ----------
    obj : object
    format : str
        `joblib`, `pickle`, `cloudpickle`, `skops`, `npz` for a dict of arrays, or `parquet` for a `polars.DataFrame`.

    Raises
    ------
    InvalidInputError
        The format is unknown or not installed, or it cannot store this object.
    """
    try:
        return codec(format).dump(obj)
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"format {format!r} needs the package {error.name}; install nirs4all-store[{error.name}]"
        ) from error
    except InvalidInputError:
        raise
    except Exception as error:  # A serialiser, or a method of the object that it calls, may raise any error.
        advice = "leave out of it what cannot be saved, such as locks, open files and generators"
        if format != "cloudpickle" and _is_taken_by_cloudpickle(obj):
            advice = "format='cloudpickle' takes it"
        raise InvalidInputError(
            f"an object of type {type(obj).__name__} cannot be saved as {format}: {error}; {advice}"
        ) from error


def _is_taken_by_cloudpickle(obj: Any) -> bool:
    try:
        _dump("cloudpickle", obj)
    except Exception:  # As above.
        return False
    return True


def checked_trust(trusted: Any) -> Literal[True] | list[str]:
    """Return the argument `trusted` of a user in the form that is stored: True, or a list of full names.

    Parameters
    ----------
    trusted : bool or iterable of types and full names
        False becomes an empty list.

    Raises
    ------
    InvalidTypeError
        It is neither a bool nor a list of types and names.
    """
    if isinstance(trusted, bool):
        return True if trusted else []
    if isinstance(trusted, str) or not isinstance(trusted, Iterable):
        raise InvalidTypeError(f"trusted must be True, False, or a list of types, not {trusted!r:.60}")
    return sorted({_name_of(item) for item in trusted})


def _name_of(item: Any) -> str:
    if isinstance(item, str):
        return item
    if not hasattr(item, "__qualname__"):
        raise InvalidTypeError(
            f"trusted holds {item!r:.60}; give types, or their full names as inspect_bundle has them"
        )
    return f"{item.__module__}.{item.__qualname__}"


def load(content: bytes, format: str, made_with: dict[str, Any] | None, trust: Trust = None) -> Any:
    """Return the object that `dump` was given.

    Parameters
    ----------
    content : bytes
    format : str
        `joblib`, `pickle`, `cloudpickle`, `skops`, `npz` for a dict of arrays, or `parquet` for a `polars.DataFrame`.
    made_with : dict or None
        What `versions_of` returned when it was saved, for the message.
    trust : True, list of str or None
        None and True: load it whatever it imports. A list: the full names that it may import.

    Raises
    ------
    UntrustedArtifactError
        It would import more than that; nothing of it was loaded.
    ArtifactLoadError
        The bytes cannot be loaded here; the message has the versions of then and now.
    """
    if trust == [] and format not in (SKOPS, NPZ):  # skops trusts some types by itself, and arrays run nothing.
        raise UntrustedArtifactError(
            "it came from elsewhere, and loading it runs whatever code it names; if you know who made it, predict or "
            "import it with --trusted (in Python trusted=True, or trust_chain() of a stored chain)"
        )
    try:
        return (
            codec(format).load(content) if trust is None or trust is True else codec(format).load_with(content, trust)
        )
    except UntrustedArtifactError:
        raise
    except Exception as error:  # An unpickled class may raise anything.
        then = packages_in(made_with)
        here = {name: _version(name) for name in then}
        now = f", here are {here}" if then else ""
        what, advice = _reason_and_advice(error, format, then, here)
        raise ArtifactLoadError(f"{what}; it was saved with {then or 'unknown versions'}{now}: {advice}") from error


def _reason_and_advice(error: Exception, format: str, then: dict[str, Any], here: dict[str, Any]) -> tuple[str, str]:
    """Return why an object cannot be loaded, and what to do about it.

    The advice is to install a package only if the object was saved with a version of it: no other name is known to be
    that of a package.
    """
    changed = {name: version for name, version in then.items() if version and version != here[name]}
    versions = f"install the versions of then: {changed}" if changed else "it may be damaged, or its class has changed"
    package = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in sys.modules:
        if package in SCRIPTS:
            return "its class was defined in a script, which this program is not", _define(format)
        if then.get(package):
            return f"its object needs the package {package!r}, which is not installed", "install it"
        if package.startswith("_") or then:
            what = (
                f"its object needs the module {package!r}, which is not there, and is no package that one can install"
            )
            return what, versions if changed else "a module that lay beside a script must lie beside yours"
        return (
            f"its object needs the package {package!r}, which is not installed",
            "find out what it is from who saved it: a package, or a module that lay beside a script",
        )
    if isinstance(error, AttributeError) and any(script in str(error) for script in SCRIPTS):
        return "its class was defined in a script or notebook", _define(format)
    return f"its {format} bytes cannot be read back: {type(error).__name__}: {error}", versions


def _define(format: str) -> str:
    other = "" if format == "cloudpickle" else ", or save it as cloudpickle where it is defined"
    return f"define it here, too{other}"


def versions_of(obj: Any, format: str) -> dict[str, Any]:
    """Return the versions of Python, of numpy, of the format's package, and of the packages of an object's classes.

    Returns
    -------
    dict
        `python`, and `packages`: a dict of versions by name.
    """
    used = {"numpy", format, *_packages(obj, set(), 0)}
    names = sorted(used - sys.stdlib_module_names - {*SCRIPTS, NPZ, PARQUET})
    return {"python": platform.python_version(), "packages": {name: _version(name) for name in names}}


def packages_in(provenance: Any) -> dict[str, Any]:
    """Return the packages and their versions in what `versions_of` returned; empty for any other value."""
    packages = provenance.get("packages") if isinstance(provenance, dict) else None
    return packages if isinstance(packages, dict) else {}


def _packages(value: Any, seen: set[int], depth: int) -> set[str]:
    """Return the top-level packages of an object's class and its bases, and of the values of its attributes."""
    if id(value) in seen or depth > 6:
        return set()
    seen.add(id(value))
    if isinstance(value, list | tuple | set):
        children = list(value)
    elif isinstance(value, dict):
        children = list(value.values())
    else:
        children = list(getattr(value, "__dict__", {}).values()) if not isinstance(value, type) else []
    kind = value if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")) else type(value)
    kinds = kind.__mro__ if isinstance(kind, type) else (kind,)
    found = {str(getattr(each, "__module__", None) or "builtins").split(".")[0] for each in kinds}
    return found.union(*(_packages(child, seen, depth + 1) for child in children))


def _version(package: str) -> str | None:
    """Return the version of an imported package; None if it has none, or if it is not an installed package."""
    module = sys.modules.get(package)
    if module is None or is_only_here(package):
        return None
    version = getattr(module, "__version__", None)
    return version if isinstance(version, str) else _installed_version(package)


@cache
def _installed_version(package: str) -> str | None:
    """Return what pip says of a package that does not tell its version itself, as chemotools does not."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None
