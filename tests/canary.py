"""An audit hook that sings when something is run, reached or written that must not be.

What Python code does is seen; what the engine does in C is not: for that, look at the files.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401
import skops.io  # noqa: F401

import nirs4all_store

# Here: what modules run while they are imported is not to be heard.
for module in pkgutil.walk_packages(nirs4all_store.__path__, "nirs4all_store."):
    importlib.import_module(module.name)

RUNS = (
    "subprocess.",
    "socket.",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.system",
    "os.fork",
    "os.startfile",
    "ctypes.",
    "urllib.",
    "http.",
    "webbrowser.",
    "pty.",
    "cpython.run_",
    "code.__new__",
)
WRITES = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.utime",
    "shutil.copyfile",
    "shutil.move",
    "shutil.rmtree",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CODE = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), "<frozen")


# The one process that is started: it answers a query on a copy, and may put what it has no memory for into a folder.
ANSWERING = ["-P", "-m", "nirs4all_store.engine.duckdb.sql_worker"]
SPILLING = str(Path(tempfile.gettempdir()).resolve() / "nirs4all_store-")


class Sang(BaseException):
    """Something happened that must not; no `except Exception` holds it."""


class Canary:
    """What is allowed at the moment in this thread, and what was heard."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.folders: list[str] = []
        self.may_unpickle: Collection[str] = ()
        self.heard: list[str] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.thread != threading.get_ident() or not self.is_bad(event, args):
            return
        self.heard.append(f"{event} {args!r:.300}")
        raise Sang(self.heard[-1])

    def is_bad(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "exec":
            return not args[0].co_filename.startswith(CODE)
        if event == "subprocess.Popen":
            return list(args[1][1:]) != ANSWERING
        if event == "pickle.find_class":
            return ".".join(args) not in self.may_unpickle
        if event in WRITES:
            paths = args[:2] if event in ("os.rename", "os.link", "shutil.move") else args[:1]
            is_read = event == "open" and not args[2] & WRITING
            return not is_read and not all(self.is_inside(_whole(path, args)) for path in paths)
        return event.startswith(RUNS)

    def is_inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return True  # Opened by name before.
        found = os.path.realpath(os.fsdecode(path))
        return (
            found == os.devnull
            or found.startswith(SPILLING)
            or any(found == folder or found.startswith(folder + os.sep) for folder in self.folders)
        )


def _whole(path: Any, args: tuple[Any, ...]) -> Any:
    """Return a path that is relative to an open folder, the last argument then, as one that is not."""
    folder = args[1] if len(args) == 2 else -1
    if not isinstance(folder, int) or folder < 0:
        return path
    return Path(f"/proc/self/fd/{folder}").readlink() / path


CANARY = Canary()
sys.addaudithook(CANARY.hook)


@contextlib.contextmanager
def listening(*folders: Path, may_unpickle: Collection[str] = ()) -> Iterator[None]:
    """Fail when anything is run or reached, or written outside these folders, or imported by a pickle unless named."""
    CANARY.folders = [os.path.realpath(folder) for folder in folders]
    CANARY.may_unpickle, CANARY.heard = may_unpickle, []
    CANARY.thread = threading.get_ident()
    try:
        yield
    finally:
        CANARY.thread = None
    assert CANARY.heard == []
