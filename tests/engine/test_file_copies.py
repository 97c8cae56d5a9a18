"""The old database is kept, with every log that belongs to it, and never written over."""

import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest
from legacy import contents, leave_a_log
from programs import run

from nirs4all_store import (
    StoreError,
    UpgradeFailedError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceStore,
    failpoints,
    inspect_workspace,
    upgrade_workspace,
)
from nirs4all_store.engine.duckdb import file_copies
from nirs4all_store.engine.duckdb.file_database import FileDatabase


def test_the_copy_has_the_log_too_and_both_can_be_put_back(old: Path, tmp_path: Path) -> None:
    leave_a_log(old)
    before = contents(old)
    report = upgrade_workspace(old)
    assert report.copy is not None
    assert report.copy.read_bytes() == before["store.duckdb"]
    assert (old / "store.duckdb.before-0001.wal").read_bytes() == before["store.duckdb.wal"]
    with WorkspaceStore(old) as store:
        assert store.get_run("in-the-log") is not None
    subprocess.run(report.way_back, shell=True, check=True)
    assert {name: content for name, content in contents(old).items() if "before" not in name} == before


def test_a_copy_that_is_there_is_never_written_over(old: Path) -> None:
    fresh = shutil.copytree(old, old.with_name("fresh"))
    upgrade_workspace(old)
    first = (old / "store.duckdb.before-0001").read_bytes()
    # The old database is put back and used by what wrote it; then it is upgraded again.
    shutil.copy(fresh / "store.duckdb", old / "store.duckdb")
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute("UPDATE runs SET name = 'other'")
    second = (old / "store.duckdb").read_bytes()
    report = upgrade_workspace(old)
    assert report.copy == old / "store.duckdb.before-0001-2"
    assert (old / "store.duckdb.before-0001").read_bytes() == first
    assert report.copy.read_bytes() == second
    # The same bytes are kept once.
    shutil.copy(report.copy, old / "store.duckdb")
    assert upgrade_workspace(old).copy == report.copy


def test_the_last_of_too_many_copies_was_written_over(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_copies, "MOST_COPIES", 2)
    (old / "store.duckdb.before-0001").write_bytes(b"another database")
    with pytest.raises(UpgradeFailedError, match="move some away"):
        upgrade_workspace(old)
    assert (old / "store.duckdb.before-0001").read_bytes() == b"another database"


def test_a_log_that_stood_alone_under_the_name_of_a_copy_once_was_deleted(old: Path) -> None:
    leave_a_log(old)
    first = upgrade_workspace(old)
    assert first.copy is not None
    # The way back that the report does not name: the log stays behind.
    first.copy.replace(old / "store.duckdb")
    report = upgrade_workspace(old)
    assert report.copy == old / "store.duckdb.before-0001-2"
    assert (old / "store.duckdb.before-0001.wal").exists()
    assert not (old / "store.duckdb.before-0001-2.wal").exists()


def test_a_log_whose_only_commit_a_kill_has_torn_once_blocked_upgrade_and_vacuum(old: Path, tmp_path: Path) -> None:
    leave_a_log(old)
    log = old / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:200])
    torn = contents(old)
    report = upgrade_workspace(old)
    assert report.copy is not None
    assert (old / "store.duckdb.before-0001.wal").read_bytes() == torn["store.duckdb.wal"]
    assert not log.exists()
    with WorkspaceStore(old) as store:
        assert store.list_runs().height == 2
    program = f"import nirs4all_store as n, os; n.WorkspaceStore({str(tmp_path / 'new')!r}).begin_run('r'); os._exit(0)"
    run(program)
    log = tmp_path / "new" / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:100])
    with WorkspaceStore(tmp_path / "new") as store:
        store.vacuum()
        store.begin_run("kept")
    assert not log.exists()
    with WorkspaceStore(tmp_path / "new") as store:
        assert store.list_runs()["name"].to_list() == ["kept"]


def test_a_log_that_could_not_be_folded_in_was_lost_by_compacting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.vacuum()
        store.begin_run("kept")
        with monkeypatch.context() as full, pytest.raises(StoreError, match="could not fold its log in"):
            full.setattr(FileDatabase, "_fold", lambda _: {})  # As on a full disk.
            store.vacuum()
        assert store.list_runs()["name"].to_list() == ["kept"]


def test_a_program_that_writes_and_dies_in_the_middle_once_left_what_nobody_could_open(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(point: failpoints.Failpoint) -> None:
        if point == failpoints.Failpoint.LOG_IS_FOLDED:
            leave_a_log(old)

    monkeypatch.setattr(failpoints, "on_hit", write)
    with pytest.raises(WorkspaceBusyError, match="another program has written to it"):
        upgrade_workspace(old)
    monkeypatch.undo()
    assert inspect_workspace(old).rows["runs"] == 3
    assert upgrade_workspace(old).plan.rows["runs"] == 3


def test_a_second_log_of_a_checkpoint_that_was_killed_once_was_not_copied(old: Path) -> None:
    leave_a_log(old)
    (old / "store.duckdb.wal").rename(old / "store.duckdb.wal.checkpoint")
    before = contents(old)
    assert inspect_workspace(old).log_bytes == len(before["store.duckdb.wal.checkpoint"])
    rows = inspect_workspace(old).rows["runs"]
    report = upgrade_workspace(old)
    assert (old / "store.duckdb.before-0001.wal.checkpoint").read_bytes() == before["store.duckdb.wal.checkpoint"]
    assert inspect_workspace(old).copies == [report.copy]
    assert inspect_workspace(old).rows["runs"] == rows


@pytest.mark.parametrize("dangling", [False, True])
def test_a_database_behind_a_link_once_lost_what_stood_in_its_log(old: Path, tmp_path: Path, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    (old / "store.duckdb").rename(elsewhere)
    (old / "store.duckdb").symlink_to(tmp_path / "unmounted" if dangling else elsewhere)
    for use in (upgrade_workspace, WorkspaceStore):
        with pytest.raises((WorkspaceCorruptError, WorkspaceNotFoundError), match=r"link|no workspace"):
            use(old)
    assert (old / "store.duckdb").is_symlink()


def test_the_copy_of_a_private_database_once_could_be_read_by_all(old: Path) -> None:
    leave_a_log(old)
    for name in ("store.duckdb", "store.duckdb.wal"):
        (old / name).chmod(0o600)
    upgrade_workspace(old)
    for name in ("store.duckdb", "store.duckdb.before-0001", "store.duckdb.before-0001.wal"):
        assert (old / name).stat().st_mode & 0o777 == 0o600
