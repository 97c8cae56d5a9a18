"""Fitted objects to bytes and back: joblib, pickle, cloudpickle and skops.

Except for skops, loading runs code that the bytes name. Callers load only bytes whose SHA-256 they
have checked, and that this workspace wrote itself or the user declared trusted.
"""

from __future__ import annotations

import importlib
import io
import pickle
import platform
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import ArtifactLoadError, InvalidInputError, InvalidTypeError


class Codec(NamedTuple):
    """How one format writes and reads."""

    extension: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def _dump_joblib(obj: Any) -> bytes:
    import joblib

    stream = io.BytesIO()
    # Uncompressed: zlib saves 4 % on PLS models and takes 16 times as long to write.
    joblib.dump(obj, stream)
    return stream.getvalue()


def _load_joblib(content: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(content))


def _dump_cloudpickle(obj: Any) -> bytes:
    return bytes(importlib.import_module("cloudpickle").dumps(obj))


def _dump_skops(obj: Any) -> bytes:
    return bytes(importlib.import_module("skops.io").dumps(obj))


def _load_skops(content: bytes) -> Any:
    skops = importlib.import_module("skops.io")
    return skops.loads(content, trusted=skops.get_untrusted_types(data=content))


CODECS = {
    "joblib": Codec(".joblib", _dump_joblib, _load_joblib),
    "pickle": Codec(".pkl", pickle.dumps, pickle.loads),
    "cloudpickle": Codec(".cloudpickle", _dump_cloudpickle, pickle.loads),
    "skops": Codec(".skops", _dump_skops, _load_skops),
}


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


def dump(obj: Any, format: str) -> bytes:
    """Return `obj` as bytes.

    Raises
    ------
    InvalidInputError
        The format is unknown or not installed, or cannot hold this object.
    """
    try:
        return codec(format).dump(obj)
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"format {format!r} needs the package {error.name}; install nirs4all-store[{error.name}]"
        ) from error
    except InvalidInputError:
        raise
    except Exception as error:  # Every serialiser and every object's own hooks raise what they like.
        raise InvalidInputError(
            f"an object of type {type(obj).__name__} cannot be saved as {format}: {error}; "
            "format='cloudpickle' takes lambdas and classes of a notebook"
        ) from error


def load(content: bytes, format: str, made_with: dict[str, Any] | None) -> Any:
    """Return the object that `dump` was given.

    Parameters
    ----------
    content : bytes
    format : str
    made_with : dict or None
        What `versions_of` said when it was saved, for the message.

    Raises
    ------
    ArtifactLoadError
        The bytes cannot be read back here; the message has the versions then and now.
    """
    try:
        return codec(format).load(content)
    except Exception as error:  # An unpickled class may raise anything.
        package = (getattr(error, "name", None) or "").split(".")[0]
        if isinstance(error, ModuleNotFoundError) and package not in sys.modules:
            raise ArtifactLoadError(
                f"its object needs the package {package!r}, which is not installed; install it and try again"
            ) from error
        then = (made_with or {}).get("packages", {})
        now = {name: _version(name) for name in then}
        raise ArtifactLoadError(
            f"its {format} bytes cannot be read back: {type(error).__name__}: {error}; "
            f"it was saved with {then or 'unknown versions'}, here are {now}: install the versions of then"
        ) from error


def versions_of(obj: Any, format: str) -> dict[str, Any]:
    """Return the versions of Python, of the packages that an object's classes come from, and of the format's own."""
    used = {"numpy", format, *_packages(obj, set(), 0)}
    names = sorted(used - sys.stdlib_module_names - {"__main__"})
    return {"python": platform.python_version(), "packages": {name: _version(name) for name in names}}


def _packages(value: Any, seen: set[int], depth: int) -> set[str]:
    """Return the top-level packages of an object's class and of what its attributes hold."""
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
    found = {str(getattr(kind, "__module__", None) or "builtins").split(".")[0]}
    return found.union(*(_packages(child, seen, depth + 1) for child in children))


def _version(package: str) -> str | None:
    """Return the version of an imported package, or None where it does not say."""
    return getattr(sys.modules.get(package), "__version__", None)
