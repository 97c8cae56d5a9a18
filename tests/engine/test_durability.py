"""A power cut leaves a file whole under its name: its bytes come before the name, and the name before what follows."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from legacy import leave_a_log

from nirs4all_store import WorkspaceStore, recover_workspace, restore_workspace, upgrade_workspace
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.filesystem.atomic_files import make_folder, write_atomic, write_exclusive

LOG = "store.duckdb.wal"


class Disk:
    """A disk that tells which bytes and names a power cut would take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *also: tuple[Any, str]) -> None:
        self.durable: set[int] = set()
        self.cuttable: dict[int, str] = {}
        self.problems: list[str] = []
        for owner, name in ((os, "fsync"), (os, "truncate"), (Path, "replace"), (Path, "mkdir"), *also):
            monkeypatch.setattr(owner, name, self._then(getattr(self, f"_{name}"), getattr(owner, name)))

    def _then(self, note: Callable[..., None], real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **more: Any) -> Any:
            note(*given)
            return real(*given, **more)

        return noted

    def _fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.durable.add(status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            self.cuttable.pop(status.st_ino, None)

    def _truncate(self, path: Path, _size: int) -> None:
        self.durable.discard(path.stat().st_ino)

    def _link(self, source: Path, target: Path) -> None:
        self._replace(source, target)

    def _replace(self, source: Path, target: Path) -> None:
        if source.is_file() and source.stat().st_ino not in self.durable:
            self.problems.append(f"{target.name} has its name before its bytes")
        if target.name in ("store.duckdb", LOG):
            self.problems += self.cuttable.values()  # It must find there what came before.
        self.cuttable[target.parent.stat().st_ino] = f"the name of {target.name} is not there after a power cut"

    def _mkdir(self, path: Path, *_: Any) -> None:
        if not {path.name[0], path.parent.name[0]} & {"."}:  # What is unfinished may go.
            self.cuttable[path.parent.stat().st_ino] = f"the folder {path.name} is not there after a power cut"

    @property
    def cut(self) -> list[str]:
        """What a power cut would take now, or would have taken before."""
        return [*self.problems, *self.cuttable.values()]


@pytest.fixture
def w(tmp_path: Path) -> Path:
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("kept")
        store.save_artifact([1], "list", "model", "pickle")
        store.backup(tmp_path / "backup")
    return tmp_path / "w"


def damage_the_log(folder: Path) -> None:
    leave_a_log(folder)
    log = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(log[:-30] + bytes(30))


def test_a_power_cut_took_a_file_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    write_atomic(tmp_path / "file", b"x")
    assert disk.cut == []


def test_a_power_cut_took_a_file_under_a_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, (os, "link"))
    assert write_exclusive(tmp_path / "file", b"x")
    assert disk.cut == []


def test_a_power_cut_took_a_folder_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    make_folder(tmp_path / "a" / "b")
    assert disk.cut == []


@pytest.mark.makes_databases
def test_a_power_cut_took_a_new_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    migrator.create(tmp_path / "store.duckdb")
    assert list(disk.cuttable.values()) == []


def test_a_power_cut_took_an_upgrade_or_what_it_kept(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_a_log(old)
    disk = Disk(monkeypatch)
    upgrade_workspace(old)
    assert disk.cut == []


def test_a_power_cut_took_a_recovery_or_what_it_kept(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_the_log(old)
    disk = Disk(monkeypatch)
    assert recover_workspace(old).copy
    assert disk.cut == []


def test_a_power_cut_took_a_compacted_database(w: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore(w) as store:
        with store.transaction():
            runs = [store.begin_run("r" * 10_000) for _ in range(40)]
        for run_id in runs:
            store.delete_run(run_id)
        disk = Disk(monkeypatch)
        before, after = store.vacuum()
        assert after < before
        assert disk.cut == []


def test_a_power_cut_took_a_backup(w: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkspaceStore(w) as store:
        disk = Disk(monkeypatch)
        folder = store.backup(w.with_name("new"))
        assert disk.cut == []
        assert (folder / "store.duckdb").stat().st_ino in disk.durable


def test_a_power_cut_took_the_artifacts_of_a_backup_or_of_what_a_restore_kept(
    w: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with WorkspaceStore(w) as store:
        backup = store.backup(w.with_name("another backup"))
    kept = restore_workspace(backup, w).kept
    assert kept is not None
    copied = [backup / "artifacts", *(backup / "artifacts").rglob("*")]
    # Its files are the ones that were saved: they have another name.
    linked = [kept / "artifacts", *(path for path in (kept / "artifacts").rglob("*") if path.is_dir())]
    assert [path for path in (*copied, *linked) if path.stat().st_ino not in disk.durable] == []


def test_a_power_cut_took_what_a_restore_kept(w: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    restore_workspace(w.with_name("backup"), w)
    assert disk.cut == []
