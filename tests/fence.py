"""An audit hook for the whole suite: no Python code touches a database, or its log, that DuckDB has open here.

DuckDB's lock on the file goes as soon as any descriptor of it is closed in this process.
"""

import os
import sys
from pathlib import Path
from typing import Any

from nirs4all_store.engine.duckdb.files import LOG_ENDINGS

TOUCHING = {"open", "os.truncate", "shutil.copyfile"}
NAMES = tuple(f"store.duckdb{ending}" for ending in ("", *LOG_ENDINGS))


class Touched(BaseException):
    """Something opened or copied an open database; no `except Exception` holds it."""


def fence(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in TOUCHING:
        return
    for path in arguments[:2]:
        if isinstance(path, str | os.PathLike) and os.path.basename(path) in NAMES and is_open(path):  # noqa: PTH119
            raise Touched(f"{event} of {path}, which DuckDB has open in this process")


def is_open(path: str | os.PathLike[str]) -> bool:
    try:
        file = os.stat(path)  # noqa: PTH116  # as fast as can be
    except OSError:
        return False
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            if os.path.samestat(os.stat(f"/proc/self/fd/{name}"), file):  # noqa: PTH116
                return True
        except OSError:  # The one that lists them.
            continue
    return False


def stand() -> None:
    """Let it stand for the rest of the process; where Linux does not tell what is open, there is none."""
    if Path("/proc/self/fd").exists():
        sys.addaudithook(fence)
