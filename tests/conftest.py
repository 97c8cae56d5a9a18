import functools
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

# Before numpy is imported, here and in what tests start: as many threads of BLAS as cores, in as many processes, would
# only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fence
import pytest
import typer.testing
from programs import Programs, programs
from typer.main import get_command

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.workspace import registry

TESTS = Path(__file__).parent

fence.stand()
# Each line of a command would build all commands anew.
typer.testing._get_command = functools.cache(get_command)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Let what is named on the command line run in this process: others take seconds to start.

    All tests run in one process more than there are cores, since they wait for disks, timeouts and programs.
    """
    runs_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.collectonly
    return (os.cpu_count() or 1) + 1 if runs_all else 0


def pytest_sessionstart() -> None:
    """Hear Ctrl-C: a shell lets what it starts in the background ignore it, and so would the programs of tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection(session: pytest.Session) -> None:
    """Let each process of a whole run compile its share of the tests first: else each compiles all, at once."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    for path in sorted(TESTS.rglob("test_*.py"))[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        pytest.Module.from_parent(session, path=path).obj  # noqa: B018  # It is imported.


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at all that was imported, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the database of a new workspace."""
    path = tmp_path_factory.mktemp("new") / "store.duckdb"
    migrator.create(path)
    return path


@pytest.fixture(autouse=True)
def databases_are_copied(request: pytest.FixtureRequest, new_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a new workspace have a copy of one database: to make it takes longer than many tests do.

    Other processes make their own, and so do tests that are marked with `makes_databases`.
    """
    if request.node.get_closest_marker("makes_databases") is None:
        monkeypatch.setattr(migrator, "create", lambda path: shutil.copyfile(new_database, path))


@pytest.fixture(scope="session", autouse=True)
def rankings_are_remembered_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no command of a test, nor a program that it starts, write into the home of whoever tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """Drop the workspaces in memory that a test made: they would stay until the process ends."""
    yield
    for key in [key for key in registry._entries if isinstance(key, str)]:
        workspace = registry._entries.pop(key).workspace
        if workspace is not None:
            workspace.close(5.0)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkspaceStore]:
    """Give a store in memory, or in a folder to tests that are marked with `in_a_folder`."""
    in_a_folder = request.node.get_closest_marker("in_a_folder")
    with WorkspaceStore(tmp_path / "workspace" if in_a_folder else f"memory:{tmp_path}") as store:
        yield store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Give an old workspace."""
    from legacy import make_legacy  # With scikit-learn, which the process that only starts others need not wait for.

    make_legacy(tmp_path / "old", "0.7.1")
    return tmp_path / "old"


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Programs]:
    """Start other processes on the folder `w` of the test."""
    with programs(tmp_path / "w") as given:
        yield given
