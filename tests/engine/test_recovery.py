"""A workspace whose log is damaged opens again with all that stands before the damage; the original is kept."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from faults.steps import rows
from legacy import contents, leave_a_log
from programs import Process, run, run_script
from samples import slow
from test_upgrade import not_writable, small_disk
from typer.testing import CliRunner

from nirs4all_store import (
    ReadOnlyError,
    RecoveryFailedError,
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceStore,
    failpoints,
    inspect_workspace,
    recover_workspace,
)
from nirs4all_store.cli import app
from nirs4all_store.engine.duckdb import files, migrator, recovery
from nirs4all_store.workspace import offline
from nirs4all_store.workspace.file_lock import Lease

TESTS = Path(__file__).parents[1]
LOG = "store.duckdb.wal"
KEPT = "store.duckdb.before-recovery"
RUNS = [f"run {number}" for number in range(12)]

# Prints how long the log is after each run that was acknowledged; the first one has a chain that replays.
WRITER = f"""
import os, sys
from pathlib import Path
from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_prediction
folder = Path(sys.argv[1])
WorkspaceStore(folder).close()
store = WorkspaceStore(folder)
for name in {RUNS}:
    run = store.begin_run(name)
    print((folder / "{LOG}").stat().st_size, flush=True)
    if name == "{RUNS[0]}":
        pipeline = store.begin_pipeline(run, "0001_pls", {{"model": "PLS"}}, [{{"n": 2}}], "wheat", "hash")
        add_prediction(store, pipeline, chain_id=add_chain(store, pipeline))
os._exit(0)  # As a kill would: what was committed stands in the log.
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Give a workspace whose process was killed, and how long its log was after each run."""
    folder = tmp_path_factory.mktemp("killed") / "workspace"
    return folder, [int(line) for line in run(WRITER, folder).split()]


@pytest.fixture
def workspace(killed: tuple[Path, list[int]], tmp_path: Path) -> Path:
    return shutil.copytree(killed[0], tmp_path / "workspace")


def flipped(log: bytes, offset: int, bit: int = 2) -> bytes:
    return log[:offset] + bytes([log[offset] ^ 1 << bit]) + log[offset + 1 :]


def damage(workspace: Path, change: Callable[[bytes], bytes], name: str = LOG) -> dict[str, bytes]:
    """Change a log; return every file of the workspace."""
    log = workspace / name
    log.write_bytes(change(log.read_bytes()))
    return contents(workspace)


def is_readable(workspace: Path) -> bool:
    try:
        inspect_workspace(workspace)
    except WorkspaceCorruptError:
        return False
    return True


def names(workspace: Path) -> set[str]:
    with WorkspaceStore(workspace) as store:
        return set(store.list_runs()["name"].to_list())


def acknowledged(ends: list[int], offset: int) -> set[str]:
    """Return the runs that stand before a place of the log."""
    return {name for name, end in zip(RUNS, ends, strict=True) if end <= offset}


def check_recovered(workspace: Path, before: dict[str, bytes], expected: set[str]) -> recovery.RecoveryReport:
    """Recover a workspace and make sure that it is as it must be."""
    report = recover_workspace(workspace)
    assert report.copy == workspace / KEPT
    after = contents(workspace)
    kept = {name.replace("store.duckdb", KEPT): content for name, content in before.items() if "duckdb" in name}
    assert after == before | kept | {LOG: before[LOG][: report.used]}
    assert report.findings == []
    assert report.rows["runs"] == len(expected)
    assert recover_workspace(workspace).problem == ""
    assert names(workspace) == expected
    return report


@pytest.mark.parametrize("length", [2500, *(slow(length) for length in (1, 2, 5, 20, 300, 1000))])
def test_a_zero_filled_tail_costs_the_commits_in_it_and_nothing_else(
    workspace: Path, killed: tuple[Path, list[int]], length: int
) -> None:
    before = damage(workspace, lambda log: log[:-length] + bytes(length))
    assert not is_readable(workspace)
    size = len(before[LOG])
    expected = acknowledged(killed[1], size - length)
    report = check_recovered(workspace, before, expected)
    assert (report.size, report.used) == (size, max(end for end in killed[1] if end <= size - length))
    assert report.lost_commits == 0  # Zeros show none.


def test_what_the_rest_of_the_log_still_shows_is_told(workspace: Path, killed: tuple[Path, list[int]]) -> None:
    before = damage(workspace, lambda log: flipped(log, killed[1][3] + 100))
    report = check_recovered(workspace, before, acknowledged(killed[1], killed[1][3]))
    assert report.used == killed[1][3]
    assert report.lost_commits == len(RUNS) - 4
    assert report.commits + report.lost_commits == len(files.commit_ends(before[LOG]))


def sweep(workspace: Path, ends: list[int], offsets: list[tuple[int, int]]) -> int:
    """Flip a bit at each place; return how often the workspace did not open and was recovered."""
    original = contents(workspace)
    recovered = 0
    for offset, bit in offsets:
        damaged = damage(workspace, lambda log, o=offset, b=bit: flipped(log, o, b))  # type: ignore[misc]
        if is_readable(workspace):
            assert recover_workspace(workspace).copy is None
            assert contents(workspace) == damaged
        else:
            check_recovered(workspace, damaged, acknowledged(ends, offset))
            recovered += 1
        shutil.rmtree(workspace)
        for name, content in original.items():
            (workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (workspace / name).write_bytes(content)
    return recovered


def test_a_flipped_bit_costs_its_commit_and_what_follows(workspace: Path, killed: tuple[Path, list[int]]) -> None:
    size = killed[1][-1]
    assert sweep(workspace, killed[1], [(15, 1), (size // 2, 2), (size - 1, 0)]) > 1


@pytest.mark.slow
def test_a_bit_flipped_anywhere_costs_its_commit_and_what_follows(
    workspace: Path, killed: tuple[Path, list[int]]
) -> None:
    chosen = random.Random(8)
    offsets = [(offset, chosen.randrange(8)) for offset in [*range(60), *range(60, killed[1][-1], 101)]]
    assert sweep(workspace, killed[1], offsets) > len(offsets) // 2


@pytest.mark.parametrize("cut", [30, *(slow(length) for length in (1, 10, 200, 1000, 3000))])
def test_a_log_that_is_cut_or_followed_by_garbage_needs_no_help(
    workspace: Path, killed: tuple[Path, list[int]], cut: int
) -> None:
    garbage = random.Random(cut).randbytes(cut)
    for change in (lambda log: log[:-cut], lambda log: log + garbage, lambda log: log + bytes(cut)):
        before = damage(workspace, change)
        report = recover_workspace(workspace)
        assert (report.problem, report.copy, report.log) == ("", None, None)
        assert contents(workspace) == before
        shutil.copy(killed[0] / LOG, workspace / LOG)


def test_a_log_of_another_database_is_kept_and_none_of_it_used(workspace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(WRITER, other)
    before = damage(workspace, lambda log: (other / LOG).read_bytes())
    report = check_recovered(workspace, before, set())
    assert (report.used, report.commits) == (0, 0)
    assert report.lost_commits > len(RUNS)
    assert "does not match" in report.problem


def test_chains_saved_before_the_damage_load_and_predict(workspace: Path, killed: tuple[Path, list[int]]) -> None:
    from nirs4all_store.testing.contract import X

    whole = shutil.copytree(killed[0], workspace.with_name("whole"))
    with WorkspaceStore(whole) as store:
        chain = store.query_predictions()["chain_id"][0]
        expected = store.replay_chain(chain, X)
    before = damage(workspace, lambda log: log[:-700] + bytes(700))
    check_recovered(workspace, before, acknowledged(killed[1], len(before[LOG]) - 700))
    with WorkspaceStore(workspace) as store:
        np.testing.assert_array_equal(store.replay_chain(chain, X), expected)
        assert store.check(deep=True).is_sound


def test_the_way_back_puts_the_damaged_original_in_its_place(workspace: Path) -> None:
    before = damage(workspace, lambda log: flipped(log, len(log) // 2))
    report = recover_workspace(workspace)
    names(workspace)  # Opened for writing: the log is folded in.
    subprocess.run(report.way_back, shell=True, check=True)
    assert {name: content for name, content in contents(workspace).items() if "before" not in name} == before
    assert recover_workspace(workspace).copy == report.copy


@pytest.mark.slow
def test_a_second_damage_is_kept_under_a_name_of_its_own(workspace: Path) -> None:
    first = damage(workspace, lambda log: flipped(log, len(log) - 200))
    recover_workspace(workspace)
    second = damage(workspace, lambda log: flipped(log, len(log) - 200))
    assert recover_workspace(workspace).copy == workspace / f"{KEPT}-2"
    assert (workspace / f"{KEPT}.wal").read_bytes() == first[LOG]
    assert (workspace / f"{KEPT}-2.wal").read_bytes() == second[LOG]


def test_a_dry_run_says_the_same_and_changes_not_one_byte(workspace: Path) -> None:
    before = damage(workspace, lambda log: log[:-900] + bytes(900))
    times = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.name != ".store.lock"}
    del times[workspace / "artifacts"]
    planned = recover_workspace(workspace, dry_run=True)
    assert contents(workspace) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    done = recover_workspace(workspace)
    assert (planned.rows, planned.used, planned.log, planned.lost_commits) == (
        done.rows,
        done.used,
        done.log,
        done.lost_commits,
    )
    assert planned.copy is None
    assert done.copy is not None


def test_a_healthy_workspace_is_left_alone(workspace: Path) -> None:
    before = contents(workspace)
    report = recover_workspace(workspace)
    assert (report.problem, report.copy, report.revision, report.way_back) == ("", None, migrator.HEAD, "")
    assert report.rows["runs"] == len(RUNS)
    assert contents(workspace) == before


def test_an_old_workspace_is_recovered_and_stays_old(old: Path) -> None:
    leave_a_log(old)
    original = rows(old / "store.duckdb")
    program = (
        f"import duckdb, os; c = duckdb.connect({str(old / 'store.duckdb')!r}); "
        "c.execute('PRAGMA disable_checkpoint_on_shutdown'); "
        "c.execute(\"INSERT INTO runs(run_id, name) VALUES ('lost', 'r')\"); os._exit(0)"
    )
    run(program)
    before = damage(old, lambda log: log[:-30] + bytes(30))
    with pytest.raises(WorkspaceCorruptError, match=f"nirs4all-store recover {old}"):
        WorkspaceStore(old, upgrade=True)
    report = recover_workspace(old)
    assert (report.revision, report.findings, report.rows["runs"]) == ("0001", None, 3)
    assert (old / "store.duckdb").read_bytes() == before["store.duckdb"]
    assert rows(old / "store.duckdb") == original
    WorkspaceStore(old, upgrade=True).close()
    assert {path.name for path in inspect_workspace(old).copies} == {KEPT, "store.duckdb.before-0001"}


def test_a_damaged_database_is_beyond_help_and_the_error_names_what_was_kept(workspace: Path) -> None:
    (workspace / "store.duckdb.before-0001").write_bytes(b"an older copy")
    database = workspace / "store.duckdb"
    content = database.read_bytes()
    database.write_bytes(content[:4096] + b"\xff" * 8192 + content[3 * 4096 :])  # Both of its headers.
    before = contents(workspace)
    with pytest.raises(WorkspaceCorruptError, match=r"damaged itself, not its log.*store\.duckdb\.before-0001"):
        recover_workspace(workspace)
    (workspace / LOG).unlink()
    with pytest.raises(WorkspaceCorruptError, match=r"damaged itself, not its log"):
        recover_workspace(workspace)
    assert contents(workspace) == {name: content for name, content in before.items() if name != LOG}


def test_folders_that_are_no_workspaces_are_refused(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(WorkspaceNotFoundError, match=str(folder)):
            recover_workspace(folder)
    (workspace / "store.duckdb").unlink()
    before = contents(workspace)
    with pytest.raises(WorkspaceNotFoundError):
        recover_workspace(workspace)
    assert contents(workspace) == before
    (workspace / "store.duckdb").write_bytes(b"something else")
    with pytest.raises(WorkspaceCorruptError, match="no DuckDB database"):
        recover_workspace(workspace)


@pytest.mark.parametrize("through", ["store", "duckdb"])
def test_another_process_that_uses_it_is_named(workspace: Path, through: str) -> None:
    opened = {
        "store": "nirs4all_store.WorkspaceStore(sys.argv[1])",
        "duckdb": "duckdb.connect(sys.argv[1] + '/store.duckdb')",
    }[through]
    program = f"import duckdb, nirs4all_store, sys; o = {opened}; print('open', flush=True); sys.stdin.readline()"
    with Process(program, workspace) as other:
        other.stdout.readline()
        with pytest.raises(WorkspaceBusyError, match=str(other.pid)):
            recover_workspace(workspace, timeout=0.1)
        other.communicate("\n")


def test_a_workspace_that_this_process_has_open_is_refused(workspace: Path) -> None:
    with WorkspaceStore(workspace), pytest.raises(WorkspaceBusyError, match="close its stores first"):
        recover_workspace(workspace, timeout=0)


def test_a_read_only_folder_is_refused(workspace: Path) -> None:
    damage(workspace, lambda log: flipped(log, len(log) // 2))
    with not_writable(workspace) as folder:
        before = contents(folder)
        for dry_run in (True, False):
            with pytest.raises(ReadOnlyError, match=str(folder)):
                recover_workspace(folder, dry_run=dry_run)
        assert contents(folder) == before


def test_a_disk_that_is_full_changes_nothing(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(workspace, lambda log: flipped(log, len(log) // 2))
    with small_disk(tmp_path / "disk", "30m") as disk:
        folder = shutil.copytree(workspace, disk / "workspace")
        before = contents(folder)
        filler = disk / "filler"

        def fill_up(point: failpoints.Failpoint) -> None:
            if point == failpoints.Failpoint.RECOVERY_BEGINS:
                with filler.open("wb") as stream, pytest.raises(OSError, match="No space"):
                    while True:
                        stream.write(b"x" * 2**14)
                        stream.flush()

        monkeypatch.setattr(failpoints, "on_hit", fill_up)
        with pytest.raises(RecoveryFailedError, match="No space left on device; it is as it was"):
            recover_workspace(folder)
        monkeypatch.undo()
        assert contents(folder) == before
        filler.unlink()
        assert recover_workspace(folder).copy is not None


def test_too_little_memory_is_not_taken_for_damage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        f"import duckdb, os; c = duckdb.connect({str(workspace / 'store.duckdb')!r}); "
        "c.execute(\"SET checkpoint_threshold = '1TB'\"); "
        'c.execute("CREATE TABLE large AS SELECT repeat(md5(i::VARCHAR), 40) FROM range(20000) t(i)"); os._exit(0)'
    )
    run(program)
    before = contents(workspace)
    with monkeypatch.context() as little:
        real = recovery.FileDatabase
        little.setattr(recovery, "FileDatabase", lambda path, **options: real(path, **options, memory_limit=2**20))
        with pytest.raises(RecoveryFailedError, match="too little memory"):
            recover_workspace(workspace)
    assert contents(workspace) == before
    assert recover_workspace(workspace).rows["large"] == 20_000


@pytest.mark.parametrize(
    ("every", "point", "steps"),
    [(25, "DAMAGED_LOG_IS_KEPT", 5), slow(1, "", 60)],
)
def test_killed_at_any_step_the_workspace_is_as_it_was_or_recovered(
    workspace: Path, tmp_path: Path, every: int, point: str, steps: int
) -> None:
    damage(workspace, lambda log: log[:-700] + bytes(700))
    recover_workspace(shutil.copytree(workspace, tmp_path / "new"))
    workspace.rename(tmp_path / "damaged")
    done = run_script(TESTS / "kill_recovery.py", tmp_path, every, *filter(None, [point]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > steps


def run_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["recover", *map(str, arguments)])


def test_the_command_tells_what_was_saved_and_lost_and_how_to_go_back(workspace: Path) -> None:
    healthy = run_command(workspace)
    assert (healthy.exit_code, healthy.stderr) == (0, "")
    assert "nothing to do" in healthy.stdout
    damage(workspace, lambda log: flipped(log, len(log) - 200))
    planned = run_command(workspace, "--dry-run")
    assert planned.exit_code == 0
    assert "11 runs" in planned.stdout
    assert "Nothing was changed (dry run)." in planned.stdout
    done = run_command(workspace)
    assert done.exit_code == 0
    for told in (
        f"{len(RUNS) - 1} runs",
        "the end of 1 commits",
        str(workspace / KEPT),
        f"{KEPT}.wal",
        "rm -f",
        "0 findings",
    ):
        assert told in done.stdout
    assert names(workspace) == set(RUNS[:-1])


def test_the_command_complains_in_one_line(tmp_path: Path) -> None:
    done = run_script(Path(sys.executable).with_name("nirs4all-store"), "recover", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr


def test_a_log_whose_commits_end_otherwise_lost_them(
    workspace: Path, killed: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(workspace, lambda log: flipped(log, killed[1][3] + 100))
    monkeypatch.setattr(recovery, "commit_ends", lambda log: [])
    assert recover_workspace(workspace).rows["runs"] == 4
    assert names(workspace) == acknowledged(killed[1], killed[1][3])


def test_a_database_whose_values_are_damaged_was_called_recovered(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("the name of a run")
    run(WRITER, tmp_path)
    content = (tmp_path / "store.duckdb").read_bytes()
    assert content.count(b"the name of a run") == 1
    (tmp_path / "store.duckdb").write_bytes(content.replace(b"the name of a run", b"another name here"))
    before = damage(tmp_path, lambda log: log[:-30] + bytes(30))
    with pytest.raises(WorkspaceCorruptError, match="damaged itself, not its log"):
        recover_workspace(tmp_path)
    assert contents(tmp_path) == before


def test_another_process_was_faster_and_a_recovery_was_told_as_failed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_faster(*_: object, **__: object) -> None:
        raise WorkspaceBusyError("another process was faster")

    damage(workspace, lambda log: flipped(log, len(log) // 2))
    monkeypatch.setattr(offline, "open_workspace", is_faster)
    report = recover_workspace(workspace)
    assert report.copy is not None
    assert report.findings is None


def test_a_workspace_was_recovered_whose_lease_another_has(workspace: Path) -> None:
    before = damage(workspace, lambda log: flipped(log, len(log) // 2))
    lease = Lease(workspace, shared=False, timeout=0)
    try:
        with pytest.raises(WorkspaceBusyError):
            recover_workspace(workspace, timeout=0)
    finally:
        lease.release()
    assert contents(workspace).items() >= before.items()
