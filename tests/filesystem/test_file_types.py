"""Links, pipes, sockets and devices where a workspace, an input or an output has a file or a folder."""

import hashlib
import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import fence
import polars as pl
import pytest
from programs import Process, says
from samples import slow

from nirs4all_store import (
    BundleError,
    InvalidInputError,
    NotFoundError,
    OutputPathError,
    PipelineLibrary,
    StoreError,
    WorkspaceCorruptError,
    WorkspaceStore,
    inspect_bundle,
    inspect_workspace,
    load_bundle,
    recover_workspace,
    upgrade_workspace,
)
from nirs4all_store.datasets.reader import read_dataset, read_spectra
from nirs4all_store.engine.duckdb.files import header_of
from nirs4all_store.filesystem import file_types
from nirs4all_store.testing.contract import add_chain, add_pipeline
from nirs4all_store.training.config_files import find_config, read_config
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE

OPENERS = [
    WorkspaceStore,
    lambda path: WorkspaceStore(path, read_only=True),
    upgrade_workspace,
    inspect_workspace,
    recover_workspace,
]
PLACES = [
    "store.duckdb.wal",
    "store.duckdb.wal.checkpoint",
    "store.duckdb.wal.recovery",
    "store.duckdb.tmp",
    ".store.lock",
    ".store.line",
    ".creating-store.duckdb",
    ".upgrading-store.duckdb.wal",
    ".recovering-store.duckdb",
    ".compacting-store.duckdb.wal",
    "store.duckdb.before-0001",
    "artifacts",
    "artifacts/.quarantine",
    "library",
    "library/templates",
    "exports",
]


@pytest.fixture(autouse=True)
def nobody_waits_for_ever() -> Iterator[None]:
    """Turn what hangs, as it does before a named pipe, into a failure."""

    def hangs(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("this waits for ever")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_link(path: Path, outside: Path) -> None:
    outside.mkdir()
    (outside / "work").write_text("years of work")
    path.symlink_to(outside)


def make_link_to_a_file(path: Path, outside: Path) -> None:
    outside.write_text("years of work")
    path.symlink_to(outside)


def make_dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def make_pipe(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path, _outside: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # Names of sockets are short.
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)
    os.chdir(before)


Make = Callable[[Path, Path], None]
CASES: list[tuple[Make, str]] = [
    *((make_link, place) for place in PLACES),
    *((make_pipe, place) for place in PLACES[3:]),
    (make_link_to_a_file, "store.duckdb.wal"),
    (make_dangling_link, "store.duckdb.wal"),
    (make_dangling_link, "artifacts"),
    (make_pipe, "store.duckdb.wal"),
    (make_socket, "store.duckdb.wal"),
    (make_socket, "artifacts"),
    (make_socket, ".store.lock"),
    (make_dangling_link, ".store.line"),
    (make_dangling_link, ".creating-store.duckdb"),
]


FEW_FILES = [
    make_link_to_a_file,
    make_pipe,
    *(slow(make) for make in (make_dangling_link, make_socket)),
]


def seen(folder: Path) -> dict[str, Any]:
    """Return what is in a folder, without following or opening anything but files."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = path.relative_to(folder).as_posix()
        is_read = stat.S_ISREG(mode) and not fence.is_open(path)
        if path.name not in (LOCK_FILE, QUEUE_FILE) or not stat.S_ISREG(mode):
            found[name] = (mode, path.read_bytes() if is_read else None)
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with a chain and a template, which stays as it is."""
    folder = tmp_path_factory.mktemp("sound") / "w"
    with WorkspaceStore(folder) as store:
        add_chain(store, add_pipeline(store)[1])
    PipelineLibrary(folder).save_template([], "pls")
    return folder


@pytest.fixture
def workspace(sound: Path, tmp_path: Path) -> Path:
    """Give a copy of it that nobody has open."""
    return shutil.copytree(sound, tmp_path / "w")


@pytest.fixture(scope="module")
def opened(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceStore]:
    """Give a store for what is refused."""
    with WorkspaceStore(shutil.copytree(sound, tmp_path_factory.mktemp("opened") / "w")) as store:
        yield store


def put(make: Make, path: Path, outside: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make(path, outside)


@pytest.mark.parametrize(("make", "place"), CASES)
def test_a_link_or_pipe_in_a_workspace_was_followed_or_hung(
    workspace: Path, tmp_path: Path, make: Make, place: str
) -> None:
    put(make, workspace / place, tmp_path / "outside")
    before = seen(tmp_path)
    for use in OPENERS:
        with pytest.raises(WorkspaceCorruptError, match=f"{place} is a"):
            use(workspace)
    assert seen(tmp_path) == before


def test_a_folder_in_the_place_of_a_log_is_named(workspace: Path) -> None:
    (workspace / "store.duckdb.wal").mkdir()
    with pytest.raises(WorkspaceCorruptError, match="wal is a folder"):
        WorkspaceStore(workspace)


@pytest.mark.parametrize("make", [make_link_to_a_file, make_pipe, make_socket])
def test_what_took_the_place_of_a_file_after_a_look_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    look = file_types.refuse_odd

    def look_too_early(*paths: file_types.AnyPath, **more: Any) -> None:
        look(*paths, **more)
        monkeypatch.undo()
        put(make, tmp_path / "file", tmp_path / "outside")

    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(file_types, "refuse_odd", look_too_early)
    with pytest.raises(WorkspaceCorruptError, match="file is a"):
        os.close(file_types.open_without_following(tmp_path / "file", os.O_RDONLY))


def test_a_pipe_in_the_place_of_a_database_kept_waiting_who_looked_at_it(tmp_path: Path) -> None:
    make_pipe(tmp_path / "store.duckdb", tmp_path)
    assert header_of(tmp_path / "store.duckdb") == hashlib.sha256().hexdigest()


def test_a_workspace_that_is_reached_through_a_link_is_fine(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(workspace)
    with WorkspaceStore(tmp_path / "link") as store:
        store.save_artifact([1], "list", "model", "pickle")
        store.export_run(store.list_runs()["run_id"][0], tmp_path / "link" / "exports" / "run")
        assert store.check(deep=True).is_sound
    assert PipelineLibrary(tmp_path / "link").load_template("pls") == []


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (make_link, "artifacts"),
        (make_link, "library"),
        (make_link, "exports"),
        (make_pipe, "artifacts"),
        (make_pipe, "library/templates"),
        *(
            slow(make, place)
            for make, place in (
                (make_link, "library/templates"),
                (make_link, "artifacts/.quarantine"),
                (make_pipe, "library"),
                (make_pipe, "exports"),
                (make_pipe, "artifacts/.quarantine"),
            )
        ),
    ],
)
def test_a_folder_that_became_a_link_under_an_open_store_was_emptied(
    workspace: Path, tmp_path: Path, make: Make, place: str
) -> None:
    with WorkspaceStore(workspace) as store:
        (run_id,) = store.list_runs()["run_id"]
        put(make, workspace / place, tmp_path / "outside")
        old = 1_000_000_000
        for path in (tmp_path / "outside").glob("*"):
            os.utime(path, (old, old))
        before = seen(tmp_path / "outside")
        (finding,) = [found for found in store.check(deep=True).findings if place.endswith(found.subject)]
        assert finding.code == ("link" if make is make_link else "no-file")
        library = PipelineLibrary(workspace)
        calls: dict[str, list[Callable[[], object]]] = {
            "artifacts": [
                lambda: store.gc_artifacts(grace=timedelta(0)),
                lambda: store.plan_gc(grace=timedelta(0)),
                lambda: store.save_artifact([2], "list", "model", "pickle"),
                lambda: store.register_existing_artifact("a", "work", "0" * 64, "S", "t", "joblib", None),
                lambda: store.load_artifact(store.sql("FROM artifacts")["artifact_id"][0]),
                lambda: store.export_chain(store.sql("FROM chains")["chain_id"][0], tmp_path / "m.n4a"),
            ],
            "artifacts/.quarantine": [],
            "library": [
                lambda: library.save_template([], "other"),
                lambda: library.load_template("pls"),
                library.list_templates,
                lambda: library.delete_template("work"),
            ],
            "exports": [
                lambda: store.export_run(run_id, workspace / "exports" / "run"),
                lambda: store.export_run(run_id, workspace / "exports" / "deep" / "run"),
            ],
        }
        for call in calls[place.removesuffix("/templates")]:
            with pytest.raises(WorkspaceCorruptError, match=f"{place} is a"):
                call()
        store.repair(dry_run=False)
        with pytest.raises(WorkspaceCorruptError, match=f"{place} is a"):  # It is opened anew.
            store.backup(tmp_path / "backup")
        assert seen(tmp_path / "outside") == before


def test_a_second_store_was_opened_where_the_artifacts_had_become_a_link(workspace: Path, tmp_path: Path) -> None:
    with WorkspaceStore(workspace):
        put(make_link, workspace / "artifacts", tmp_path / "outside")
        with pytest.raises(WorkspaceCorruptError, match="artifacts is a link"):
            WorkspaceStore(workspace)


@pytest.mark.parametrize("make", [make_link_to_a_file, make_dangling_link, make_pipe])
def test_the_first_write_overwrote_what_a_link_in_the_place_of_the_log_led_to(
    workspace: Path, tmp_path: Path, make: Make
) -> None:
    with WorkspaceStore(workspace) as store:
        run_id = store.begin_run("before")  # The log is there now, and so it is in a folder that is used.
        put(make, workspace / "store.duckdb.wal", tmp_path / "outside")
        before = seen(tmp_path)
        with pytest.raises(WorkspaceCorruptError, match=r"store\.duckdb\.wal is a"):
            store.begin_run("after")
        assert seen(tmp_path) == before
        (workspace / "store.duckdb.wal").unlink()
        assert store.get_run(run_id) is not None


def test_a_log_that_became_a_link_in_the_middle_of_a_transaction_is_not_written_to(
    workspace: Path, tmp_path: Path
) -> None:
    with WorkspaceStore(workspace) as store:
        with pytest.raises(WorkspaceCorruptError, match=r"store\.duckdb\.wal is a"), store.transaction():
            store.begin_run("lost")
            make_link_to_a_file(workspace / "store.duckdb.wal", tmp_path / "outside")
        assert (tmp_path / "outside").read_text() == "years of work"
        (workspace / "store.duckdb.wal").unlink()
        assert store.list_runs().height == 1
        store.begin_run("kept")


@pytest.mark.parametrize("make", FEW_FILES)
def test_an_artifact_or_a_template_that_is_no_file_hung_or_was_replaced(
    workspace: Path, tmp_path: Path, make: Make
) -> None:
    library = PipelineLibrary(workspace)
    library.save_template([], "other")
    with WorkspaceStore(workspace) as store:
        artifact_id = store.save_artifact([1], "list", "model", "pickle")
        path = store.get_artifact_path(artifact_id)
        for place, name in ((path, "artifact"), (workspace / "library" / "templates" / "pls.json", "template")):
            put(make, place, tmp_path / name)
        before = seen(tmp_path)
        uses: list[Callable[[], object]] = [
            lambda: store.load_artifact(artifact_id),
            lambda: store.get_artifact_path(artifact_id),
            lambda: store.save_artifact([1], "list", "model", "pickle"),
            lambda: library.load_template("pls"),
            lambda: library.save_template([], "pls"),
            lambda: library.save_template([], "pls", overwrite=True),
            lambda: library.delete_template("pls"),
            lambda: library.get_template_metadata("pls"),
        ]
        for use in uses:
            with pytest.raises(WorkspaceCorruptError, match="is a"):
                use()
        with pytest.warns(UserWarning, match=r"pls\.json is a"):
            assert [template["name"] for template in library.list_templates()] == ["other"]
        with pytest.raises(NotFoundError, match="no template"):
            library.load_template("another")
        codes = {finding.subject: finding.code for finding in store.check(deep=True).findings}
        is_link = make in (make_link_to_a_file, make_dangling_link)
        assert codes["library/templates/pls.json"] == ("link" if is_link else "no-file")
        assert codes[f"artifacts {artifact_id}"] == "bad-path"
        store.gc_artifacts()
        store.repair(dry_run=False, deep=True)
        assert seen(tmp_path / "w" / "library") == {
            name.removeprefix("w/library/"): found for name, found in before.items() if name.startswith("w/library/")
        }
        assert (tmp_path / "artifact").read_text() == "years of work" if make is make_link_to_a_file else True


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.npy", "x.json", "x.yaml", "x.n4a"])
@pytest.mark.parametrize("by", ["pipe", "link", "socket", "device"])
def test_an_input_that_is_no_file_hung(tmp_path: Path, opened: WorkspaceStore, name: str, by: str) -> None:
    path = tmp_path / name
    if by == "pipe":
        os.mkfifo(path)
    elif by == "socket":
        make_socket(path, tmp_path)
    else:
        path.symlink_to("/dev/zero" if by == "device" else tmp_path / "pipe")
        os.mkfifo(tmp_path / "pipe")
    library = PipelineLibrary(opened.workspace_path)
    uses: dict[str, list[Callable[[], object]]] = {
        ".csv": [lambda: read_dataset(path, "y"), lambda: read_spectra(path)],
        ".tsv": [lambda: read_dataset(str(path), "y")],
        ".parquet": [lambda: read_dataset(path, "y"), lambda: read_spectra(path)],
        ".npy": [lambda: read_spectra(path)],
        ".json": [
            lambda: read_config(path),
            lambda: library.import_template(path),
            lambda: find_config(str(path), library.load_template),
        ],
        ".yaml": [lambda: read_config(str(path))],
        ".n4a": [
            lambda: opened.import_bundle(path),
            lambda: load_bundle(path),
            lambda: inspect_bundle(path),
        ],
    }
    for use in uses[path.suffix]:
        with pytest.raises((InvalidInputError, BundleError, NotFoundError), match=r"is a|no file"):
            use()


def test_an_input_that_is_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    pl.DataFrame({"1000": [1.0, 2.0], "1100": [3.0, 4.0]}).write_csv(tmp_path / "file")
    (tmp_path / "x.csv").symlink_to(tmp_path / "file")
    assert read_spectra(tmp_path / "x.csv").X.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_standard_input_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in.csv").symlink_to("/dev/stdin")  # Of this program it is a pipe, into which nobody writes.
    program = """
import sys
from pathlib import Path
from nirs4all_store.datasets.reader import read_spectra
try:
    read_spectra(Path(sys.argv[1]))
except ValueError as error:
    print("is a named pipe" in str(error), flush=True)
"""
    with Process(program, tmp_path / "in.csv") as process:
        assert says(process) == "True"


@pytest.mark.parametrize("make", FEW_FILES)
def test_an_export_replaced_what_is_no_file(workspace: Path, tmp_path: Path, make: Make) -> None:
    with WorkspaceStore(workspace) as store:
        run_id, chain_id = store.list_runs()["run_id"][0], store.sql("FROM chains")["chain_id"][0]
        pipeline_id = store.list_pipelines()["pipeline_id"][0]
        path = tmp_path / "out"
        names = {".n4a": "n4a", ".n4a.py": "n4a.py", ".json": "", ".yaml": "", ".parquet": ""}
        for suffix in names:
            put(make, path.with_name(f"out{suffix}"), tmp_path / f"outside{suffix}")
        before = seen(tmp_path)
        exports: list[Callable[[], object]] = [
            lambda: store.export_chain(chain_id, tmp_path / "out.n4a"),
            lambda: store.export_chain(chain_id, tmp_path / "out.n4a.py", format="n4a.py"),
            lambda: store.export_pipeline_config(pipeline_id, tmp_path / "out.json"),
            lambda: store.export_run(run_id, tmp_path / "out.yaml"),
            lambda: store.export_predictions_parquet(tmp_path / "out.parquet"),
            lambda: PipelineLibrary(workspace).export_template("pls", tmp_path / "out.json"),
        ]
        for export in exports:
            with pytest.raises(OutputPathError, match="neither followed nor replaced"):
                export()
        if make is make_pipe:
            with pytest.raises(StoreError, match="not empty"):
                store.backup(tmp_path / "out.n4a")
        assert seen(tmp_path) == before
