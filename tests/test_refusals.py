"""The system refuses something at any step of any operation: that has a name of this package, and nothing is lost."""

import errno
import fcntl
import io
import itertools
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
from faults.operations import OPERATIONS, Operation
from programs import run
from samples import all_but_few

import nirs4all_store
from nirs4all_store import StoreError, SystemRefusedError, WorkspaceBusyError, WorkspaceStore, restore_workspace
from nirs4all_store.call_boundary import public
from nirs4all_store.engine.duckdb import file_database
from nirs4all_store.engine.duckdb.file_database import FileDatabase
from nirs4all_store.workspace.file_lock import LOCK_FILE, Lease

ERRNOS = [
    errno.EACCES,
    errno.EPERM,
    errno.ENOSPC,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.EROFS,
    errno.ENOENT,
    errno.EBUSY,
    errno.EINTR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EDQUOT,
    errno.ESTALE,
    errno.ENOTDIR,
    errno.EEXIST,
]
CALLS = [
    *(
        (os, name)
        for name in (
            "open",
            "stat",
            "lstat",
            "scandir",
            "listdir",
            "rename",
            "replace",
            "unlink",
            "remove",
            "mkdir",
            "rmdir",
            "link",
            "fsync",
            "fstat",
            "ftruncate",
            "pread",
            "pwrite",
            "chmod",
            "fchmod",
            "fchown",
            "readlink",
            "access",
            "utime",
            "getcwd",
            "statvfs",
            "walk",
        )
    ),
    (io, "open"),
    (fcntl, "flock"),
    (fcntl, "lockf"),
    (shutil, "copyfile"),
    (shutil, "disk_usage"),
]


class System:
    """Refuses the system call of a number, as far as this thread makes it."""

    def __init__(self, number: int, code: int) -> None:
        self.left = number
        self.refused = ""
        self._code = code
        self._thread = threading.get_ident()

    @property
    def made(self) -> int:
        """How many calls were made, if none was refused."""
        return -self.left

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in CALLS:
                patch.setattr(module, name, self._refusing(name, getattr(module, name)))
            yield

    def _refusing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._thread:
                self.left -= 1
                if self.left == 0:
                    self.refused = name
                    raise OSError(self._code, os.strerror(self._code), str(args[0]) if args else None)
            return call(*args, **kwargs)

        return refusing


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give what makes, once, what an operation begins with."""
    folders: dict[Any, Path] = {}

    def begin(name: str) -> Path:
        begin = OPERATIONS[name].begin
        if begin is not None and begin not in folders:
            folders[begin] = tmp_path_factory.mktemp("begun") / "w"
            begin(folders[begin])
        return folders[begin] if begin else Path()

    return begin


def attempt(operation: Operation, folder: Path, outside: Path, system: System) -> BaseException | None:
    """Do an operation while the system refuses one of its calls; return what it raised."""
    store = None if operation.opens else WorkspaceStore(folder, timeout=5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What could not be removed is a warning.
            with system.at_work():
                operation.act(store or folder, outside)
    except Exception as error:
        return error
    finally:
        if store is not None:
            store.close()
    return None


def tries(name: str, begun: Callable[[str], Path], tmp_path: Path, every: int, codes: int) -> list[str]:
    """Refuse calls of an operation; return what was raised that has no name of ours, or broke something."""
    operation, faults = OPERATIONS[name], []
    counted = System(0, 0)

    def fresh(number: int) -> Path:
        folder = tmp_path / f"w{number}"
        shutil.copytree(begun(name), folder) if operation.begin else folder.mkdir()
        return folder

    assert attempt(operation, fresh(0), tmp_path / "outside 0", counted) is None
    assert counted.made > 3
    code = itertools.cycle(ERRNOS)
    for call in range(1 + len(name) % every, counted.made + 1, every):
        for _ in range(codes):
            folder, outside = fresh(call), tmp_path / "outside"
            system = System(call, next(code))
            error = attempt(operation, folder, outside, system)
            if error is not None and not isinstance(error, StoreError):
                faults.append(f"call {call}, {system.refused}: {error!r}")
            with WorkspaceStore(folder, upgrade=True, timeout=5) as store:
                if not store.check().is_sound and name != "repair":
                    faults.append(f"call {call}, {system.refused}, after {error!r}: {store.check()}")
            shutil.rmtree(folder)
            shutil.rmtree(outside, ignore_errors=True)
    return faults


@pytest.mark.parametrize(
    "name", all_but_few(["export_chain", "gc_artifacts", "backup"], ["export_chain", "gc_artifacts"])
)
def test_what_the_system_refused_was_an_error_without_a_name(
    name: str, begun: Callable[[str], Path], tmp_path: Path
) -> None:
    assert tries(name, begun, tmp_path, 83, 1) == []


def refused(*_: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("call", ["transaction", "unit_of_work"])
def test_a_commit_that_the_system_refused_was_an_error_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with WorkspaceStore(tmp_path) as store:
        block: Any = store.transaction() if call == "transaction" else store.unit_of_work()
        with (
            monkeypatch.context() as broken,
            pytest.raises(SystemRefusedError, match="Input/output error"),
            block as uow,
        ):
            store.begin_run("r")
            broken.setattr(FileDatabase, "before_commit", refused)
            if uow is not None:
                uow.commit()
        assert store.list_runs().is_empty()
        store.begin_run("again")


def test_a_commit_that_was_kept_was_told_as_refused_by_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path) as store:
        with monkeypatch.context() as broken:
            broken.setattr(FileDatabase, "after_commit", refused)
            run_id = store.begin_run("r")
        assert store.list_runs()["run_id"].to_list() == [run_id]


def test_a_file_that_could_not_be_looked_at_for_a_moment_was_told_as_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path) as store:
        with monkeypatch.context() as broken, store.transaction():
            store.begin_run("first")
            broken.setattr(FileDatabase, "before_commit", lambda _: None)
            broken.setattr(file_database, "file_state", refused)
        store.begin_run("second")
        assert store.list_runs().height == 2


def test_a_file_that_could_not_be_looked_at_when_it_was_opened_could_never_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorkspaceStore(tmp_path).close()
    with monkeypatch.context() as broken:
        broken.setattr(file_database, "file_state", refused)
        WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path) as store:
        store.begin_run("r")


@pytest.mark.parametrize("name", [name for name in nirs4all_store.__all__ if isfunction(getattr(nirs4all_store, name))])
def test_a_public_function_had_errors_without_a_name(name: str) -> None:
    delegates_only = {"replay_chain"}  # To the store, whose methods are public calls.
    code = getattr(nirs4all_store, name).__code__
    assert (code is public(repr).__code__) == (name not in delegates_only)  # type: ignore[attr-defined]  # it is wrapped


def test_a_restore_that_the_system_refused_had_an_error_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        store.backup(tmp_path / "b")
    monkeypatch.setattr(os, "lstat", refused)
    with pytest.raises(SystemRefusedError, match="Input/output error"):
        restore_workspace(tmp_path / "b", tmp_path / "new")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_call_of_any_operation_has_an_error_without_a_name(
    name: str, begun: Callable[[str], Path], tmp_path: Path
) -> None:
    assert tries(name, begun, tmp_path, 1, 2) == []


def test_a_working_folder_that_was_removed_was_an_error_without_a_name(tmp_path: Path) -> None:
    program = """
import os, sys, nirs4all_store as n
os.mkdir(sys.argv[1] + "/gone"); os.chdir(sys.argv[1] + "/gone"); os.rmdir(sys.argv[1] + "/gone")
for call in (n.WorkspaceStore, n.inspect_workspace, n.upgrade_workspace, n.load_bundle, n.PipelineLibrary):
    try:
        call("w").list_templates() if call is n.PipelineLibrary else call("w")
    except n.StoreError as error:
        print(type(error).__name__)
with n.WorkspaceStore(sys.argv[1] + "/w") as store:
    store.begin_run("by an absolute path")
"""
    assert "SystemRefusedError" in run(program, tmp_path)


def test_too_many_open_files_were_an_error_without_a_name(tmp_path: Path) -> None:
    program = """
import os, resource, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1] + "/w")
artifact = store.save_artifact([1.5], "list", "model")
least = max(map(int, os.listdir("/proc/self/fd")))
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (least, before[1]))
for call in (lambda: store.load_artifact(artifact), lambda: store.save_artifact([2.5], "list", "model"),
             lambda: n.WorkspaceStore(sys.argv[1] + "/other"), lambda: store.gc_artifacts(),
             lambda: store.backup(sys.argv[1] + "/b"), store.check, store.vacuum):
    try:
        call()
    except n.StoreError as error:
        print(type(error).__name__, end=" ")
resource.setrlimit(resource.RLIMIT_NOFILE, before)
assert store.load_artifact(artifact) == [1.5]
store.begin_run("goes on")
"""
    assert len(run(program, tmp_path).split()) >= 4


@pytest.mark.parametrize("shared", [False, True])
def test_who_had_too_many_files_open_was_told_to_ask_for_the_right(tmp_path: Path, shared: bool) -> None:
    program = f"""
import os, resource, sys
from pathlib import Path
from nirs4all_store.workspace.file_lock import Lease
folder = Path(sys.argv[1])
Lease(folder, shared=False, timeout=0).release()
least = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (least, least))
try:
    Lease(folder, shared={shared}, timeout=0)
except OSError as error:
    print(type(error).__name__, error.errno)
"""
    assert run(program, tmp_path).split() == ["OSError", str(errno.EMFILE)]


ODD = [
    b"\xff\xfe\x00",
    b"[1, 2]",
    b'"text"',
    b"{}",
    b'{"pid": [1]}',
    b'{"pid": 1, "since": 5}',
    b"[" * 4000,
    b"9" * 4096,
    b'{"pid": 1, "since": "2026-01-01T00:00:00+00:00"}',
    b'{"pid": 1, "since": "2026-01-01", "host": 1, "command": {}}',
    b'{"clocks": [1], "pid": null}',
    b'{"clocks": {"a": "b", "c": NaN}, "since": "9999-12-31"}',
    b"x" * 2**20,
]


@pytest.mark.parametrize("content", ODD)
def test_odd_content_of_the_lock_file_was_an_error_without_a_name(tmp_path: Path, content: bytes) -> None:
    lease = Lease(tmp_path, shared=False, timeout=0)
    (tmp_path / LOCK_FILE).write_bytes(content)
    with pytest.raises(WorkspaceBusyError, match="is in use by"):
        Lease(tmp_path, shared=False, timeout=0)
    lease.release()
    (tmp_path / LOCK_FILE).write_bytes(content)
    with WorkspaceStore(tmp_path) as store:
        assert store.gc_artifacts() == 0


def test_what_the_system_says_stays_known(tmp_path: Path) -> None:
    @public
    def call() -> None:
        raise OSError(errno.EMFILE, "Too many open files", "some file")

    with pytest.raises(SystemRefusedError, match="too many files open") as caught:
        call()
    assert (caught.value.errno, caught.value.filename) == (errno.EMFILE, "some file")
