"""Who may read and write in a folder that several users work in, and what is told to whom a right is missing."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from legacy import make_legacy
from programs import Process, ends_well, run, says, tell
from samples import all_but_few, slow

from nirs4all_store import WorkspaceStore
from nirs4all_store.workspace.file_lock import QUEUE_FILE, Lease

pytestmark = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a user who may become another")

BECOME = """
import os, sys, nirs4all_store as n
def become(user, *groups):
    os.setgroups(groups); os.setgid(groups[0] if groups else user); os.setuid(user)
"""
READER = """
with n.WorkspaceStore(".", read_only=True, timeout=20) as store:
    print(store.list_runs()["name"].to_list(), flush=True)
    sys.stdin.readline()
    print(store.list_runs()["name"].to_list(), flush=True)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that others can reach, as those of pytest cannot be; it is the working directory."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.chdir(name)
        yield Path(name)


@pytest.mark.parametrize("has_waited", [False, slow(True)])
def test_a_reader_without_rights_once_never_got_in_beside_an_idle_store(folder: Path, has_waited: bool) -> None:
    with WorkspaceStore(folder) as store:
        store.begin_run("first")
        if has_waited:  # Then there is a second file, and it is another user's.
            run(BECOME + READER, folder)
        assert (folder / QUEUE_FILE).exists() is has_waited
        with Process(f"{BECOME}\nbecome(65533)\n{READER}", strict=True) as reader:
            assert says(reader) == "['first']"
            store.begin_run("second")  # The writer gets it back from a reader whose place it can see.
            tell(reader)
            assert says(reader) == "['second', 'first']"
            ends_well(reader)


def test_a_writer_waits_behind_a_reader_without_rights_that_came_before(folder: Path) -> None:
    lease = Lease(folder, shared=False, timeout=0)
    program = (
        "from pathlib import Path\nfrom nirs4all_store.workspace.file_lock import Lease\nprint('comes', flush=True)\n"
    )
    with Process(
        f"{BECOME}\nbecome(65533)\n{program}Lease(Path(), shared=True, timeout=300)\nprint('holds')"
    ) as reader:
        assert says(reader) == "comes"
        while not lease.has_waiters:
            pass
        assert not (folder / QUEUE_FILE).exists()
        lease.release()
        assert says(reader) == "holds"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs mount namespaces")
def test_a_mount_for_reading_only_once_never_got_in_beside_an_idle_store(folder: Path) -> None:
    mounted = Path(tempfile.mkdtemp())
    script = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && cd "$2" && touch x; exec "$3" -c "$4"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", folder, mounted, sys.executable, BECOME + READER]
    try:
        with WorkspaceStore(folder) as store:
            store.begin_run("first")
            done = subprocess.run(command, input="\n", capture_output=True, text=True, check=False)
    finally:
        mounted.rmdir()
    if "mount" in done.stderr.split("touch")[0]:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert "Read-only file system" in done.stderr
    assert done.stdout.splitlines() == ["['first']", "['first']"], done.stderr


GROUP = 65531


@pytest.fixture
def group_folder(folder: Path) -> Path:
    """Give the folder to a group, of which the users 65532 and 65533 are; neither's own."""
    os.chown(folder, 0, GROUP)
    folder.chmod(0o770)
    return folder


def as_user(user: int, work: str, folder: Path, umask: int = 0o022) -> str:
    """Run a program as a user of the group, with another group of its own."""
    become = f"os.setgroups([{GROUP}]); os.setgid({user}); os.setuid({user}); os.umask({umask})"
    return run(f"{BECOME}\n{become}\nimport numpy as np\nfrom pathlib import Path\n{work}", folder)


WORK = """
with n.WorkspaceStore(".") as store:
    run_id = store.begin_run("run")
    pipeline_id = store.begin_pipeline(run_id, "p")
    store.save_artifact({"of": os.getuid()}, "dict", "model", "pickle")
    print(store.list_runs().height, len(store.check(deep=True).findings))
    store.export_run(run_id, Path("exports/of") / str(os.getuid()))
    n.PipelineLibrary(".").save_template([], f"of {os.getuid()}", overwrite=True)
    wal = Path("store.duckdb.wal").stat()
    print(wal.st_gid, oct(wal.st_mode & 0o070))
    store.vacuum()
"""


@pytest.mark.parametrize("umask", [0o022, slow(0o077)])
def test_the_second_user_of_a_groups_folder_was_kept_out_of_what_the_first_had_made(
    group_folder: Path, umask: int
) -> None:
    for number, user in enumerate((65532, 65533, 65532), start=1):
        said = as_user(user, WORK, group_folder, umask).splitlines()
        assert said == [f"{number} 0", f"{GROUP} 0o60"]
    for path in group_folder.rglob("*"):
        status = path.stat()
        assert (path.name, status.st_gid) == (path.name, GROUP)
        assert (path.name, oct(status.st_mode & 0o070)) == (path.name, "0o70" if path.is_dir() else "0o60")


@pytest.mark.parametrize(
    ("mode", "right", "name"),
    [
        (0o640, "write", "store.duckdb"),
        (0o600, "read", "store.duckdb.wal"),
        slow(0o640, "write", "store.duckdb.wal"),
        slow(0o600, "read", "store.duckdb"),
    ],
)
def test_a_missing_right_was_said_to_need_a_backup(group_folder: Path, name: str, mode: int, right: str) -> None:
    run(f"{BECOME}\nstore = n.WorkspaceStore('.')\nstore.begin_run('r')\nos._exit(0)", group_folder)  # It leaves a log.
    (group_folder / name).chmod(mode)
    work = f"""
for use in (n.WorkspaceStore, n.upgrade_workspace, n.recover_workspace):
    try:
        use(".")
    except n.ReadOnlyError as error:
        print("right to {right}" in str(error) or "cannot be read" in str(error), "{name}" in str(error), "backup" in str(error))
try:
    print(n.WorkspaceStore(".", read_only=True).list_runs().height)
except n.ReadOnlyError as error:
    print("backup" in str(error))
"""  # noqa: E501
    said = as_user(65533, work, group_folder).splitlines()
    assert said == [*["True True False"] * 3, "False" if right == "read" else "1"]


def test_an_artifact_that_may_not_be_read_was_said_to_need_a_backup(group_folder: Path) -> None:
    work = """
with n.WorkspaceStore(".") as store:
    artifact_id = store.save_artifact([1], "list", "model", "pickle")
    store.get_artifact_path(artifact_id).chmod(0o600)
    print(artifact_id)
"""
    artifact_id = as_user(65532, work, group_folder).strip()
    work = f"""
with n.WorkspaceStore(".") as store:
    try:
        store.load_artifact("{artifact_id}")
    except n.ArtifactLoadError as error:
        print("right" in str(error), "backup" in str(error))
    (finding,) = store.check(deep=True).findings
    print(finding.code, "right" in finding.message, "backup" in finding.message)
"""
    assert as_user(65533, work, group_folder).splitlines() == ["True False", "unreadable-file True False"]


def test_a_folder_of_artifacts_that_may_not_be_entered_kept_the_rows_from_being_read(group_folder: Path) -> None:
    as_user(65532, "n.WorkspaceStore('.').close()", group_folder)
    (group_folder / "artifacts").chmod(0o700)
    work = """
for read_only in (True, False):
    with n.WorkspaceStore(".", read_only=read_only) as store:
        print(store.list_runs().height)
        if not read_only:
            store.begin_run("r")
        store.check()
"""
    assert as_user(65533, work, group_folder).splitlines() == ["0", "0"]


def test_a_shard_that_may_be_read_and_not_entered_ended_the_walk_through_all(group_folder: Path) -> None:
    as_user(65532, "n.WorkspaceStore('.').save_artifact([1], 'list', 'model', 'pickle')", group_folder)
    (shard,) = (group_folder / "artifacts").iterdir()
    shard.chmod(0o740)
    work = """
with n.WorkspaceStore(".", read_only=True) as store:
    print(*(finding.code for finding in store.check().findings))
"""
    assert as_user(65533, work, group_folder).split() == ["unreadable-file"]


def test_a_save_without_the_right_named_a_folder_that_is_not_there(group_folder: Path) -> None:
    as_user(65532, "n.WorkspaceStore('.').close()", group_folder)
    (group_folder / "artifacts").chmod(0o750)
    work = """
with n.WorkspaceStore(".") as store:
    try:
        store.save_artifact([1], "list", "model", "pickle")
    except n.OutputPathError as error:
        print(f"the right to write in {Path('artifacts').absolute()}," in str(error))
"""
    assert as_user(65533, work, group_folder).split() == ["True"]


@pytest.mark.makes_databases
def test_what_root_had_made_kept_the_owner_of_the_folder_out(folder: Path) -> None:
    os.chown(folder, 65532, 65532)
    folder.chmod(0o700)
    with WorkspaceStore(folder) as store:
        store.save_artifact([1], "list", "model", "pickle")
        assert {path.name: path.stat().st_uid for path in folder.rglob("*") if path.stat().st_uid != 65532} == {}


CHANGES = {
    # What a user does, and what is new in the workspace then.
    "vacuum": (
        "with n.WorkspaceStore('.') as store: store.delete_run(store.list_runs()['run_id'][0]); store.vacuum()",
        ["store.duckdb"],
    ),
    "upgrade": ("n.upgrade_workspace('.')", ["store.duckdb", "store.duckdb.before-0001"]),
    "recover": (
        "n.recover_workspace('.')",
        ["store.duckdb.wal", "store.duckdb.before-recovery", "store.duckdb.before-recovery.wal"],
    ),
    "restore": (
        "n.restore_workspace('backup', '.')",
        ["store.duckdb", "before-restore", "before-restore/store.duckdb", "before-restore/artifacts"],
    ),
}


@pytest.mark.parametrize("change", all_but_few(CHANGES, ("recover", "restore")))
def test_what_was_kept_or_made_anew_once_had_the_old_files_rights(group_folder: Path, change: str) -> None:
    work, new = CHANGES[change]
    if change == "upgrade":
        make_legacy(group_folder, "0.7.1")
    else:
        as_user(
            65532,
            "store = n.WorkspaceStore('.')\nrun_id = store.begin_run('r')\n"
            "[store.begin_pipeline(run_id, 'p', expanded_config=list(range(5000))) for _ in range(100)]\n"
            "store.save_artifact([1], 'list', 'model', 'pickle')\nstore.vacuum()\nstore.backup('backup')\n"
            "store.begin_run('s')\nos._exit(0)",
            group_folder,
        )
        shutil.rmtree(group_folder / "artifacts" if change == "restore" else group_folder / "backup")
    if change == "recover":
        log = group_folder / "store.duckdb.wal"
        log.write_bytes(log.read_bytes()[:-20] + b"\0" * 20)
    for path in group_folder.rglob("*"):  # As programs made them that know nothing of groups.
        os.chown(path, 65532, 65532)
        path.chmod(0o750 if path.is_dir() else 0o640)
    as_user(65532, work, group_folder, umask=0o077)
    if change == "restore":
        new = [*new, *(path.relative_to(group_folder).as_posix() for path in group_folder.glob("artifacts/**/*"))]
        assert len(new) > 5
    for name in new:
        status = (group_folder / name).stat()
        wanted = "0o70" if (group_folder / name).is_dir() else "0o60"
        assert (name, status.st_gid, oct(status.st_mode & 0o070)) == (name, GROUP, wanted)


def test_a_log_that_a_kill_left_without_rights_once_stayed_so_after_its_owner_had_opened_it(group_folder: Path) -> None:
    as_user(
        65532,
        "store = n.WorkspaceStore('.')\nstore.save_artifact([1], 'list', 'model', 'pickle')\nos._exit(0)",
        group_folder,
    )
    (group_folder / "store.duckdb.wal").chmod(0o600)
    os.chown(group_folder / "store.duckdb.wal", 65532, 65532)
    as_user(65532, "store = n.WorkspaceStore('.')\nos._exit(0)", group_folder)
    assert (group_folder / "store.duckdb.wal").exists()
    assert as_user(65533, "print(n.WorkspaceStore('.').list_runs().height)", group_folder) == "0\n"
