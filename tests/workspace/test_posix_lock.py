"""Who says that a database is in use has asked the lock, and does not read it out of the engine's words."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from nirs4all_store import WorkspaceBusyError, WorkspaceCorruptError, WorkspaceOpenHereError, WorkspaceStore
from nirs4all_store.engine.duckdb.connection import connect
from nirs4all_store.engine.duckdb.file_database import FileDatabase
from nirs4all_store.engine.duckdb.files import copy_compacted
from nirs4all_store.engine.duckdb.posix_lock import held_alone, refuse_if_open_here
from nirs4all_store.testing.contract import add_chain, add_pipeline

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reads")
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks") / "w"
    with WorkspaceStore(folder) as store:
        for _ in range(3):
            add_chain(store, add_pipeline(store)[1])
    return folder / "store.duckdb"


def test_a_damaged_block_once_was_in_use_by_another_program(tmp_path: Path, sound: Path) -> None:
    whole, told = sound.read_bytes(), 0
    for at in range(100, len(whole), max(len(whole) // 20, 1)):
        content = bytearray(whole)
        content[at] ^= 0x10
        damaged = tmp_path / f"damaged-{at}.duckdb"
        damaged.write_bytes(content)
        try:
            FileDatabase(damaged).close()
        except WorkspaceCorruptError as error:
            told += "lock" in str(error.__cause__).lower()
        damaged.unlink()
    assert told  # Else no damage was told in such words, and nothing was tried.


def test_a_damaged_workspace_once_kept_its_opener_waiting_for_the_whole_timeout(tmp_path: Path, sound: Path) -> None:
    shutil.copytree(sound.parent, tmp_path / "w")
    content = bytearray(sound.read_bytes())
    content[-4096 * 2 :] = b"x" * 4096 * 2
    for at in (4096, 8192):
        content[at + 20] ^= 0xFF
    (tmp_path / "w" / "store.duckdb").write_bytes(content)
    with pytest.raises(WorkspaceCorruptError):  # Not WorkspaceBusyError, after half an hour.
        WorkspaceStore(tmp_path / "w", timeout=1800)


@pytest.mark.parametrize(("held", "read_only"), [("writes", False), ("writes", True), ("reads", False)])
def test_a_database_that_another_program_has_open_is_busy(
    tmp_path: Path, sound: Path, held: str, read_only: bool
) -> None:
    database = shutil.copy(sound, tmp_path)
    command = [sys.executable, "-c", HOLD, str(database), held]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(WorkspaceBusyError, match=str(other.pid)):
            FileDatabase(Path(database), read_only=read_only)
        other.communicate()
    FileDatabase(Path(database), read_only=read_only).close()


def test_a_damaged_source_is_told_from_a_target_that_cannot_be_written(tmp_path: Path, sound: Path) -> None:
    content = bytearray(sound.read_bytes())
    start = content.find(b"StandardScaler")
    assert start > 0
    content[start] ^= 0xFF
    # The target's name is a part of all that the engine says of the source.
    source = tmp_path / "copy" / "store.duckdb"
    source.parent.mkdir()
    source.write_bytes(content)
    with pytest.raises(WorkspaceCorruptError, match=r"copy.store\.duckdb cannot be opened"):
        copy_compacted(source, tmp_path / "new.duckdb")


def test_what_ctrl_c_had_cut_off_once_made_a_sound_database_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    connect(path).close()
    cut_off: dict[str, object] = {"connection": connect(path)}
    with pytest.raises(WorkspaceOpenHereError, match="open through duckdb itself"):
        connect(path)
    cut_off["itself"] = cut_off  # As the frames of an error that was raised hold one another.
    gc.disable()
    try:
        del cut_off
        connect(path).close()
    finally:
        gc.enable()


def test_what_ctrl_c_had_cut_off_once_kept_a_sound_database_from_being_read(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    connect(path).close()
    cut_off: dict[str, object] = {"connection": connect(path)}
    with pytest.raises(WorkspaceOpenHereError, match="open through duckdb itself"):
        refuse_if_open_here(path)
    cut_off["itself"] = cut_off
    gc.disable()
    try:
        del cut_off
        refuse_if_open_here(path)
    finally:
        gc.enable()


def test_reading_a_database_took_the_lock_away_from_who_had_it_open_here(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    open_here = pytest.raises(WorkspaceOpenHereError)
    with duckdb.connect(str(path)), open_here, held_alone(path):
        pass


def test_a_program_that_knows_no_lease_opened_a_database_that_was_being_read(tmp_path: Path, sound: Path) -> None:
    database = Path(shutil.copy(sound, tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database), "writes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(WorkspaceBusyError, match=str(other.pid)), held_alone(database):
            pass
        other.communicate()
