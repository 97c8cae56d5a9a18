"""Three ways lead to one upgrade; what cannot be upgraded is refused, looked into, and not touched."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from legacy import contents, leave_a_log
from programs import Process, run_script
from samples import all_but_few, slow
from typer.testing import CliRunner

from nirs4all_store import (
    WorkspaceBusyError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
    WorkspaceOpenHereError,
    WorkspaceOutdatedError,
    WorkspaceStore,
    WorkspaceTooNewError,
    inspect_workspace,
    upgrade_workspace,
)
from nirs4all_store.cli import app
from nirs4all_store.engine.duckdb import migrator

TESTS = Path(__file__).parents[1]
COMMAND, ALEMBIC = (Path(sys.executable).with_name(name) for name in ("nirs4all-store", "alembic"))


WAYS = ("python", "command", "alembic", "alembic-ini", "environment")


@pytest.mark.parametrize("ways", [WAYS[:3], slow(WAYS)], ids=["some", "all"])
def test_the_ways_to_upgrade_lead_to_the_same(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: tuple[str, ...]
) -> None:
    folders = {way: tmp_path / way for way in WAYS}
    for way in ways:
        shutil.copytree(old, folders[way])
    program = tmp_path / "program.py"
    program.write_text("import nirs4all_store, sys; nirs4all_store.WorkspaceStore(sys.argv[1], upgrade=True).close()")
    ini = run_script(COMMAND, "alembic-ini").stdout.strip()
    run: dict[str, tuple[str | Path, ...]] = {
        "python": (program, folders["python"]),
        "command": (COMMAND, "upgrade", folders["command"]),
        "alembic": (ALEMBIC, "-x", f"workspace={folders['alembic']}", "upgrade", "head"),
        "alembic-ini": (ALEMBIC, "-c", ini, "-x", f"workspace={folders['alembic-ini']}", "upgrade", "head"),
        "environment": (ALEMBIC, "upgrade", "head"),
    }
    found = []
    for way in ways:
        script, *arguments = run[way]
        with monkeypatch.context() as given:
            given.chdir(tmp_path if way == "alembic-ini" else TESTS.parent)
            if way == "environment":
                given.setenv("NIRS4ALL_WORKSPACE", str(folders[way]))
            done = run_script(Path(script), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        if way != "python":
            assert f"Upgraded to revision {migrator.HEAD}" in done.stdout
            assert str(folders[way] / "store.duckdb.before-0001") in done.stdout
        assert (folders[way] / "store.duckdb.before-0001").read_bytes() == (old / "store.duckdb").read_bytes()
        with duckdb.connect(str(folders[way] / "store.duckdb"), read_only=True) as connection:
            tables = [*migrator.KEYS, "alembic_version"]
            found.append([repr(connection.execute(f"SELECT * FROM {t} ORDER BY ALL").fetchall()) for t in tables])
    assert found == found[:1] * len(ways)


@pytest.mark.parametrize(
    "command",
    all_but_few(["downgrade base", "upgrade 0001", "upgrade head --sql", "stamp head", "check"], ["downgrade base"]),
)
def test_alembic_does_nothing_to_a_workspace_but_the_way_up(old: Path, command: str) -> None:
    before = contents(old)
    program = "import os, sys; from alembic.config import main; os.chdir(sys.argv.pop(1)); main()"
    alembic = Process(program, TESTS.parent, "-x", f"workspace={old}", *command.split())
    assert "`upgrade head` is the way up" in "".join(alembic.communicate())
    assert alembic.returncode != 0
    assert contents(old) == before


def test_alembic_current_tells_the_revision_of_a_workspace_that_carries_none(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(TESTS.parent)
    done = run_script(ALEMBIC, "-x", f"workspace={old}", "current")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0001"


def test_a_second_upgrade_does_nothing(old: Path) -> None:
    first = upgrade_workspace(old)
    after = contents(old)
    second = upgrade_workspace(old)
    assert first.copy == old / "store.duckdb.before-0001"
    assert second.copy is None
    assert second.plan.steps == []
    assert contents(old) == after


def test_a_dry_run_changes_nothing_and_tells_what_would_be_done(old: Path) -> None:
    leave_a_log(old)
    before = contents(old)
    report = upgrade_workspace(old, dry_run=True)
    assert contents(old) == before
    assert report.copy is None
    assert (report.plan.found, report.plan.target, [step for step, _ in report.plan.steps]) == (
        "0001",
        migrator.HEAD,
        [name.partition("_")[0] for name in migrator.REVISIONS[1:]],
    )
    assert report.plan.rows["runs"] == 3
    assert report.plan.size == sum((old / name).stat().st_size for name in ("store.duckdb", "store.duckdb.wal"))


def test_a_workspace_that_this_process_has_open_is_not_upgraded(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path), pytest.raises(WorkspaceBusyError, match="this process"):
        upgrade_workspace(tmp_path)


@pytest.mark.parametrize("revision", ["0001", "0002", None])
def test_a_stranger_with_a_revision_of_ours_is_no_workspace(tmp_path: Path, revision: str | None) -> None:
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("CREATE TABLE sales(a INTEGER); CREATE TABLE alembic_version(version_num VARCHAR)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    before = contents(tmp_path)
    for use in (upgrade_workspace, inspect_workspace, WorkspaceStore):
        with pytest.raises(WorkspaceCorruptError, match="lacks the seven tables"):
            use(tmp_path)
    assert contents(tmp_path) == before
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("columns", ["version_num INTEGER", "other VARCHAR"])
def test_a_table_of_revisions_of_another_shape_is_a_clear_error(old: Path, columns: str) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        connection.execute(f"CREATE TABLE alembic_version({columns}); INSERT INTO alembic_version VALUES ('7')")
    before = contents(old)
    for use in (upgrade_workspace, WorkspaceStore):
        with pytest.raises(WorkspaceCorruptError, match="revision"):
            use(old)
    assert contents(old) == before


def test_a_database_that_this_process_has_open_through_duckdb_keeps_its_lock(old: Path) -> None:
    with duckdb.connect(str(old / "store.duckdb")) as connection:
        for use in (upgrade_workspace, inspect_workspace, WorkspaceStore):
            with pytest.raises(WorkspaceOpenHereError, match="through duckdb itself"):
                use(old)
        connection.execute("INSERT INTO runs(run_id, name) VALUES ('mine', 'r')")
        _, errors = Process("import duckdb, sys; duckdb.connect(sys.argv[1])", old / "store.duckdb").communicate()
        assert "Could not set lock" in errors
    assert upgrade_workspace(old).plan.rows["runs"] == 3


def test_names_that_look_like_markup_are_printed_as_they_are(old: Path) -> None:
    (old.parent / "x[").mkdir()
    workspace = old.rename(old.parent / "x[" / "c] [red]")
    with duckdb.connect(str(workspace / "store.duckdb")) as connection:
        connection.execute('CREATE TABLE "[/x]"(a INTEGER)')
    for arguments in (["info"], ["upgrade", "--dry-run"], ["upgrade"]):
        done = CliRunner().invoke(app, [*arguments, str(workspace)])
        assert done.exit_code == 0, done.output
        assert str(workspace) in done.stdout
    assert shlex.quote(str(workspace / "store.duckdb.before-0001")) in done.stdout


def stand_at(revision: str) -> Callable[[Path], None]:
    def make(workspace: Path) -> None:
        WorkspaceStore(workspace).close()
        with duckdb.connect(str(workspace / "store.duckdb")) as connection:
            connection.execute("DELETE FROM alembic_version")
            if revision:
                connection.execute(f"INSERT INTO alembic_version VALUES ('{revision}')")

    return make


def remove_database(workspace: Path) -> None:
    workspace.mkdir()


REFUSED = {
    "newer": (stand_at("9999"), WorkspaceTooNewError, "install a newer nirs4all-store"),
    "unknown": (stand_at("abcdef"), WorkspaceCorruptError, "unknown revision 'abcdef'"),
    "of before the first": (stand_at("0000"), WorkspaceCorruptError, "unknown revision '0000'"),
    "none": (stand_at(""), WorkspaceCorruptError, "unknown revision ''"),
    "no database": (remove_database, WorkspaceNotFoundError, "there is no workspace"),
    "no folder": (lambda workspace: None, WorkspaceNotFoundError, "there is no workspace"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_upgraded_is_refused_and_not_touched(tmp_path: Path, case: str) -> None:
    make, error, message = REFUSED[case]
    make(tmp_path / "w")
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").glob("store*")}
    with pytest.raises(error, match=message):
        upgrade_workspace(tmp_path / "w")
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (tmp_path / "w").exists() == (case != "no folder")


def test_an_outdated_workspace_names_the_command_that_upgrades_it(old: Path) -> None:
    with pytest.raises(WorkspaceOutdatedError, match=rf"nirs4all-store upgrade {old}`"):
        WorkspaceStore(old)
    with pytest.raises(WorkspaceOutdatedError, match="upgrade"):
        WorkspaceStore(old, read_only=True, upgrade=True)


def test_info_tells_of_old_new_and_too_new_workspaces_alike(old: Path, tmp_path: Path) -> None:
    info = inspect_workspace(old)
    assert (info.revision, info.newest, info.rows["predictions"]) == ("0001", migrator.HEAD, 6)
    assert info.artifact_files == 5
    assert info.artifact_bytes == sum(len(content) for content in contents(old / "artifacts").values())
    upgrade_workspace(old)
    assert inspect_workspace(old).copies == [old / "store.duckdb.before-0001"]
    stand_at("9999")(tmp_path / "newer")
    assert inspect_workspace(tmp_path / "newer").revision == "9999"
    for folder, advice in (
        (old, f"revision   {migrator.HEAD}\n"),
        (tmp_path / "newer", f"this version works on {migrator.HEAD}"),
    ):
        done = run_script(COMMAND, "info", folder)
        assert done.returncode == 0, done.stderr
        assert advice in done.stdout
    assert "6 predictions" in CliRunner().invoke(app, ["info", str(old)]).stdout
