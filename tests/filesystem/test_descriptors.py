"""Ctrl-C at each step of opening a file: no descriptor stays open that nobody has."""

import sys
from collections.abc import Callable
from io import FileIO
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from nirs4all_store.engine.duckdb.file_copies import copy_database
from nirs4all_store.engine.duckdb.files import header_of
from nirs4all_store.filesystem import content_of, fsync_folder
from nirs4all_store.workspace.file_lock import _open_or_create


def is_struck(work: Callable[[Path], Any], folder: Path, step: int) -> bool:
    """Work, and raise at one of the steps at which Python hears signals; False: there were not so many."""
    steps = count(1)

    def strike(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_return") and next(steps) == step:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        work(folder)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def descriptors() -> list[str]:
    return [path.name for path in Path("/proc/self/fd").iterdir()]


def copies(folder: Path) -> None:
    with FileIO(folder / "file") as source:
        copy_database(source, folder / "copy")


def makes_a_lock_file(folder: Path) -> None:
    (folder / "lock").unlink(missing_ok=True)
    FileIO(folder / "lock", "r+", opener=_open_or_create).close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells in /proc what is open")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # A file object that nobody has is closed with one.
@pytest.mark.parametrize(
    "work",
    [
        lambda folder: content_of(folder / "file"),
        lambda folder: header_of(folder / "file"),
        fsync_folder,
        copies,
        makes_a_lock_file,
    ],
)
def test_a_file_that_ctrl_c_met_at_its_opening_stayed_open_for_ever(
    tmp_path: Path, work: Callable[[Path], Any]
) -> None:
    (tmp_path / "file").write_bytes(b"a database")
    work(tmp_path)
    before = descriptors()
    left = []
    for step in count(1):
        if not is_struck(work, tmp_path, step):
            break
        if descriptors() != before:
            left.append(step)
            before = descriptors()
    assert step > 5
    assert left == []
