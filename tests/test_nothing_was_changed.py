"""What is refused has changed nothing, to the byte: no name, mode, byte or time of any file but those of the lock."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fence
import numpy as np
import pytest
from bundles import X, Y, chain_in, remade, replace_member
from legacy import make_legacy
from samples import all_but_few
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from nirs4all_store import (
    PipelineLibrary,
    PipelineRunner,
    StoreError,
    WorkspaceStore,
    inspect_workspace,
    recover_workspace,
    restore_workspace,
    upgrade_workspace,
)
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE

DATABASE, LOG = "store.duckdb", "store.duckdb.wal"
Seen = dict[str, tuple[int, int, str]]


def seen(folder: Path) -> Seen:
    """Return of each name in a folder its mode, the time of its last change and its bytes or where it leads.

    The time of a folder is left out: the files that only stand for the lock are made in it.
    """
    found, open_here = {}, {}
    for path in sorted(folder.rglob("*")):
        status, name = path.lstat(), path.relative_to(folder).as_posix()
        if path.name in (LOCK_FILE, QUEUE_FILE):
            continue
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.fspath(path.readlink())
        elif stat.S_ISREG(status.st_mode) and fence.is_open(path):
            open_here[name] = path
        elif stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (status.st_mode, 0 if path.is_dir() else status.st_mtime_ns, content)
    if open_here:  # Of what DuckDB has open here, another process reads the bytes: the lock stays.
        done = subprocess.run(["sha256sum", *open_here.values()], capture_output=True, text=True, check=True)
        for name, told in zip(open_here, done.stdout.splitlines(), strict=True):
            found[name] = (*found[name][:2], told.split()[0])
    return found


def execute(folder: Path, *statements: str, log: bool = False) -> None:
    """Work on a database with duckdb itself; with `log`, what was done stands in the log alone."""
    with duckdb.connect(str(folder / DATABASE)) as connection:
        if log:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        for statement in statements:
            connection.execute(statement)


def with_log(folder: Path) -> None:
    execute(folder, "UPDATE runs SET name = 'in the log'", log=True)
    assert (folder / LOG).stat().st_size


def with_bytes(name: str, offset: int, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        whole = bytearray((folder / name).read_bytes())
        whole[offset : offset + len(content)] = content
        (folder / name).write_bytes(whole)

    return change


def damage_log(folder: Path) -> None:
    with_log(folder)
    size = (folder / LOG).stat().st_size
    with_bytes(LOG, size // 2, b"\xff" * 40)(folder)


def linked(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).rename(folder.with_name("elsewhere"))
        (folder / name).symlink_to(folder.with_name("elsewhere"))

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


def stamped(revision: str) -> Callable[[Path], None]:
    return lambda folder: execute(folder, f"UPDATE alembic_version SET version_num = '{revision}'")


def with_more(statement: str) -> Callable[[Path], None]:
    return lambda folder: execute(folder, statement)


def older(folder: Path) -> None:
    shutil.rmtree(folder)
    make_legacy(folder, "0.7.1")


def foreign(folder: Path) -> None:
    (folder / DATABASE).unlink()
    execute(folder, "CREATE TABLE runs(name VARCHAR)", log=True)


def in_place_of(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (folder / name).write_bytes(content)

    return change


def folder_in_place_of(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


TRIGGER = "CREATE TRIGGER t AFTER INSERT ON runs FOR EACH STATEMENT UPDATE artifacts SET trust = NULL"
# What makes a sound workspace such that it is refused, and who does not refuse it.
INTO = "restore into it"
READ = {INTO, "open to read"}
OLDER = {INTO, "open to upgrade", "upgrade", "recover"}
FEW_STATES = (
    "a damaged log",
    "nothing in it",
    "a folder as log",
    "a newer revision and a log",
    "an older revision and a log",
    "linked artifacts and a log",
    "a file as artifacts, and a log",
)
STATES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a damaged header and a log": (
        both(with_log, with_bytes(DATABASE, 4096, b"\xff" * 64), with_bytes(DATABASE, 8192, b"\xff" * 64)),
        {INTO},
    ),
    "a damaged log": (damage_log, {INTO, "recover"}),
    "no database": (in_place_of(DATABASE, b"not a database, but long enough"), {INTO}),
    "nothing in it": (in_place_of(DATABASE, b""), {INTO}),
    "a folder as database": (folder_in_place_of(DATABASE), set()),
    "a folder as log": (folder_in_place_of(LOG), set()),
    "a log alone": (both(with_log, lambda folder: (folder / DATABASE).unlink()), {INTO}),
    "a newer revision and a log": (both(stamped("9999"), with_log), {INTO, "recover"}),
    "an older revision and a log": (both(older, with_log), OLDER),
    "another's tables and a log": (foreign, {INTO}),
    "a trigger in the log": (lambda folder: execute(folder, TRIGGER, log=True), READ),
    "a view and a log in an older one": (
        both(older, with_more("CREATE VIEW best AS SELECT 1 AS one"), with_log),
        {INTO},
    ),
    "a macro and a log": (both(with_more("CREATE MACRO lower(a) AS 1"), with_log), READ),
    "a linked database": (linked(DATABASE), set()),
    "a linked log": (both(with_log, linked(LOG)), set()),
    "linked artifacts and a log": (both(with_log, linked("artifacts")), set()),
    "linked templates and a log": (both(with_log, linked("library")), {INTO}),
    "a file as artifacts, and a log": (
        both(with_log, in_place_of("artifacts", b"mine")),
        {"open to read", "upgrade", "recover"},
    ),
    "a linked lock and a log": (
        both(
            with_log,
            lambda folder: (folder / LOCK_FILE).unlink(missing_ok=True),
            lambda folder: (folder / LOCK_FILE).symlink_to("elsewhere"),
        ),
        set(),
    ),
}
OPENERS: dict[str, Callable[[Path], object]] = {
    "open": lambda folder: WorkspaceStore(folder, timeout=0.2).close(),
    "open to read": lambda folder: WorkspaceStore(folder, read_only=True, timeout=0.2).close(),
    "open to upgrade": lambda folder: WorkspaceStore(folder, upgrade=True, timeout=0.2).close(),
    "upgrade": lambda folder: upgrade_workspace(folder, timeout=0.2),
    "recover": lambda folder: recover_workspace(folder, timeout=0.2),
    "restore from it": lambda folder: restore_workspace(folder, folder.with_name("new"), timeout=0.2),
    "restore into it": lambda folder: restore_workspace(folder.with_name("sound"), folder, timeout=0.2),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with some of everything, which stays as it is."""
    folder = tmp_path_factory.mktemp("sound") / "w"
    with WorkspaceStore(folder) as store:
        add_chain(store, add_pipeline(store)[1])
    PipelineLibrary(folder).save_template([], "pls")
    return folder


def refuses(act: Callable[[], object], folder: Path) -> None:
    """Make sure that something is refused, and has changed nothing in a folder."""
    before = seen(folder)
    with pytest.raises(StoreError):
        act()
    assert seen(folder) == before


@pytest.mark.parametrize("state", all_but_few(STATES, FEW_STATES))
def test_what_did_not_open_once_had_its_log_folded_in(state: str, sound: Path, tmp_path: Path) -> None:
    change, takes = STATES[state]
    shutil.copytree(sound, tmp_path / "w")
    shutil.copytree(sound, tmp_path / "sound")
    change(tmp_path / "w")
    before = seen(tmp_path)
    with contextlib.suppress(StoreError):
        inspect_workspace(tmp_path / "w")
    assert seen(tmp_path) == before
    for name in OPENERS.keys() - takes:
        refuses(lambda name=name: OPENERS[name](tmp_path / "w"), tmp_path)  # type: ignore[misc]


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


CHAIN_STEPS = [{"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}]
ROW = ("wheat", "m", "Ridge", "0", "val", 0.5, None, None, "rmse", "regression", 3, 2, {}, {}, None, None, 0, 0.0)


class Open:
    """A store that is open, and what there is in it and beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = store = WorkspaceStore(folder / "w")
        self.library = PipelineLibrary(folder / "w")
        self.run_id, self.pipeline_id = add_pipeline(store)
        self.chain_id = add_chain(store, self.pipeline_id)
        self.prediction_id = add_prediction(store, self.pipeline_id, prediction_id="taken")
        self.bundle = store.export_chain(self.chain_id, folder / "sound.n4a")
        store.complete_run(self.run_id)
        self.bad = folder / "bad.n4a"
        self.bad.write_bytes(self.bundle.read_bytes()[:-100])
        remade(self.bundle, lambda members: replace_member(members, "chain.json", b"{}"))
        self.library.save_template([], "pls")
        self.library.export_template("pls", folder / "template.json")
        (folder / "no template.json").write_text("[]")
        (folder / "a file").write_text("mine")
        (folder / "full").mkdir()
        (folder / "full/mine").write_text("mine")
        store.save_artifact(np.zeros(3), "array", "model")


Act = Callable[[Open], object]


def _chain(o: Open, **more: Any) -> object:
    return o.store.save_chain(
        **{"pipeline_id": o.pipeline_id, "steps": CHAIN_STEPS, "model_step_idx": 0, "model_class": "Ridge"} | more
    )


ACTS: dict[str, Act] = {
    "begin_run with a name that is no text": lambda o: o.store.begin_run(5),
    "begin_run with a set of objects": lambda o: o.store.begin_run("r", {"a": {object()}}),
    "begin_run with a lone surrogate": lambda o: o.store.begin_run("\ud800"),
    "complete_run of an unknown one": lambda o: o.store.complete_run("unknown"),
    "fail_run of an unknown one": lambda o: o.store.fail_run("unknown", "e"),
    "resume_run of a completed one": lambda o: o.store.resume_run(o.run_id),
    "resume_run of an unknown one": lambda o: o.store.resume_run("unknown"),
    "begin_pipeline of an unknown run": lambda o: o.store.begin_pipeline("unknown", "p"),
    "begin_pipeline with an object": lambda o: o.store.begin_pipeline(o.run_id, "p", object()),
    "complete_pipeline of an unknown one": lambda o: o.store.complete_pipeline("unknown", 0.5, None, "rmse", 1),
    "complete_pipeline with a text as score": lambda o: o.store.complete_pipeline(o.pipeline_id, "x", None, "rmse", 1),
    "fail_pipeline of an unknown one": lambda o: o.store.fail_pipeline("unknown", "e"),
    "save_chain of an unknown pipeline": lambda o: _chain(o, pipeline_id="unknown"),
    "save_chain with an unknown object": lambda o: _chain(o, fold_artifacts={"0": "unknown"}),
    "save_chain with steps that are none": lambda o: _chain(o, steps=[5]),
    "replay_chain of an unknown one": lambda o: o.store.replay_chain("unknown", np.zeros((2, 2))),
    "replay_chain of text": lambda o: o.store.replay_chain(o.chain_id, [["a"]]),
    "load_chain of an unknown one": lambda o: o.store.load_chain("unknown"),
    "save_prediction of an unknown pipeline": lambda o: o.store.save_prediction("unknown", None, *ROW),
    "save_prediction of an unknown chain": lambda o: o.store.save_prediction(o.pipeline_id, "unknown", *ROW),
    "save_prediction with an id that is taken": lambda o: o.store.save_prediction(
        o.pipeline_id, None, *ROW, prediction_id="taken"
    ),
    "save_prediction with a text as score": lambda o: o.store.save_prediction(
        o.pipeline_id, None, *ROW[:5], "x", *ROW[6:]
    ),
    "save_prediction_arrays of an unknown one": lambda o: o.store.save_prediction_arrays(
        "unknown", np.zeros(3), np.zeros(3)
    ),
    "save_prediction_arrays of other lengths": lambda o: o.store.save_prediction_arrays(
        "taken", np.zeros(3), np.zeros(3), np.zeros(4)
    ),
    "save_prediction_arrays of objects": lambda o: o.store.save_prediction_arrays("taken", [object()], np.zeros(1)),
    "save_predictions of which the last is none": lambda o: o.store.save_predictions(
        o.pipeline_id,
        [
            {
                "dataset_name": "w",
                "model_name": "m",
                "model_class": "R",
                "fold_id": "0",
                "partition": "val",
                "metric": "rmse",
                "task_type": "regression",
            },
            {"prediction_id": "taken"},
        ],
    ),
    "save_artifact of what cannot be pickled": lambda o: o.store.save_artifact(Unpicklable(), "U", "model"),
    "save_artifact in an unknown format": lambda o: o.store.save_artifact(np.zeros(4), "U", "model", "unknown"),
    "load_artifact of an unknown one": lambda o: o.store.load_artifact("unknown"),
    "register_existing_artifact that leads out": lambda o: o.store.register_existing_artifact(
        "x", "../a file", "0" * 64, "U", "model", "joblib", 4
    ),
    "gc_artifacts with a negative grace": lambda o: o.store.gc_artifacts(grace=-1),
    "log_step of an unknown pipeline": lambda o: o.store.log_step("unknown", 0, "U", "fit"),
    "log_step with an object": lambda o: o.store.log_step(o.pipeline_id, 0, "U", "fit", details=object()),
    "export_chain of an unknown one": lambda o: o.store.export_chain("unknown", o.folder / "new" / "m"),
    "export_chain below a file": lambda o: o.store.export_chain(o.chain_id, o.folder / "a file" / "m"),
    "export_chain below artifacts": lambda o: o.store.export_chain(o.chain_id, o.folder / "w" / "artifacts" / "m"),
    "export_chain in an unknown format": lambda o: o.store.export_chain(o.chain_id, o.folder / "new" / "m", format="x"),
    "export_pipeline_config of an unknown one": lambda o: o.store.export_pipeline_config(
        "unknown", o.folder / "new" / "c"
    ),
    "export_run of an unknown one": lambda o: o.store.export_run("unknown", o.folder / "new" / "r"),
    "export_run onto a folder": lambda o: o.store.export_run(o.run_id, o.folder / "full"),
    "export_predictions_parquet below a file": lambda o: o.store.export_predictions_parquet(o.folder / "a file" / "p"),
    "export_predictions_parquet with an unknown filter": lambda o: o.store.export_predictions_parquet(
        o.folder / "new" / "p", colour="red"
    ),
    "import_bundle that was cut": lambda o: o.store.import_bundle(o.bad),
    "import_bundle without a chain": lambda o: o.store.import_bundle(o.folder / "remade.n4a"),
    "import_bundle of a text": lambda o: o.store.import_bundle(o.folder / "a file"),
    "import_bundle with a trust that is none": lambda o: o.store.import_bundle(o.bundle, trusted="yes"),
    "trust_chain of an unknown one": lambda o: o.store.trust_chain("unknown", True),
    "trust_chain with a trust that is none": lambda o: o.store.trust_chain(o.chain_id, "yes"),
    "sql that writes": lambda o: o.store.sql("DELETE FROM runs"),
    "sql that does more": lambda o: o.store.sql("SELECT * FROM checkpoint()"),
    "sql with a mistake": lambda o: o.store.sql("SELECT nothing FROM nowhere"),
    "sql that fails in the middle": lambda o: o.store.sql("SELECT CAST(name AS INTEGER) FROM runs"),
    "sql that takes too long": lambda o: o.store.sql(
        "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b", timeout=0.2
    ),
    "vacuum in a transaction": lambda o: _in_transaction(o, o.store.vacuum),
    "backup in a transaction": lambda o: _in_transaction(o, lambda: o.store.backup(o.folder / "new")),
    "backup to what is not empty": lambda o: o.store.backup(o.folder / "full"),
    "backup below a file": lambda o: o.store.backup(o.folder / "a file" / "b"),
    "backup below artifacts": lambda o: o.store.backup(o.folder / "w" / "artifacts" / "b"),
    "backup to a name that is misread": lambda o: o.store.backup(o.folder / "b?"),
    "restore over an open one": lambda o: restore_workspace(o.folder / "sound", o.folder / "w", timeout=0.2),
    "restore of itself": lambda o: restore_workspace(o.folder / "w", o.folder / "w", timeout=0.2),
    "restore of nothing": lambda o: restore_workspace(o.folder / "new", o.folder / "w", timeout=0.2),
    "upgrade of an open one": lambda o: upgrade_workspace(o.folder / "w", timeout=0.1),
    "recovery of an open one": lambda o: recover_workspace(o.folder / "w", timeout=0.1),
    "a transaction that is rolled back": lambda o: _rolled_back(o),
    "run of a configuration that is none": lambda o: PipelineRunner(o.store).run([{"class": "no.such.Thing"}], (X, Y)),
    "run of data that are none": lambda o: PipelineRunner(o.store).run([{"model": Ridge()}], (X, Y[:-1])),
    "run of a file that is not there": lambda o: PipelineRunner(o.store).run("new.yaml", (X, Y)),
    "save_template with a name that is taken": lambda o: o.library.save_template([], "pls"),
    "save_template of a text": lambda o: o.library.save_template("x", "new"),
    "save_template of an object": lambda o: o.library.save_template([object()], "new"),
    "import_template of what is none": lambda o: o.library.import_template(o.folder / "no template.json"),
    "import_template of nothing": lambda o: o.library.import_template(o.folder / "new.json"),
    "import_template with a name that is taken": lambda o: o.library.import_template(o.folder / "template.json"),
    "export_template below artifacts": lambda o: o.library.export_template("pls", o.folder / "w" / "artifacts" / "t"),
    "delete_template of an unknown one": lambda o: o.library.delete_template("unknown"),
    "open a name that is misread": lambda o: WorkspaceStore(o.folder / "w?"),
    "open a file": lambda o: WorkspaceStore(o.folder / "a file"),
    "open below a file": lambda o: WorkspaceStore(o.folder / "a file" / "w"),
    "read what is not there": lambda o: WorkspaceStore(o.folder / "new", read_only=True),
}

READERS_ACTS: dict[str, Callable[[WorkspaceStore], object]] = {
    "begin_run": lambda store: store.begin_run("r"),
    "save_artifact": lambda store: store.save_artifact(np.zeros(4), "array", "model"),
    "vacuum": lambda store: store.vacuum(),
    "gc_artifacts": lambda store: store.gc_artifacts(),
    "prune": lambda store: store.prune(store.list_runs()["run_id"][0], keep_best=1),
    "repair": lambda store: store.repair(dry_run=False),
}


def _in_transaction(o: Open, act: Callable[[], object]) -> None:
    with o.store.transaction():
        act()


def _rolled_back(o: Open) -> None:
    with o.store.transaction():
        o.store.begin_run("r")
        o.store.complete_run("unknown")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Iterator[Open]:
    f = tmp_path_factory.mktemp("opened")
    shutil.copytree(sound, f / "sound")
    o = Open(f)
    yield o
    o.store.close()


@pytest.mark.parametrize("name", ACTS)
def test_what_was_refused_has_changed_nothing(name: str, opened: Open) -> None:
    assert (opened.folder / "w" / LOG).stat().st_size
    refuses(lambda: ACTS[name](opened), opened.folder)


@pytest.mark.parametrize("name", READERS_ACTS)
def test_what_a_reader_was_refused_has_changed_nothing(name: str, sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "w")
    with_log(tmp_path / "w")
    with WorkspaceStore(tmp_path / "w", read_only=True) as store:
        refuses(lambda: READERS_ACTS[name](store), tmp_path)
    refuses(lambda: READERS_ACTS[name](store), tmp_path)  # It is closed.


def test_what_duckdb_has_open_here_is_left_alone(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "w")
    with duckdb.connect(str(tmp_path / "w" / DATABASE)) as connection:
        connection.execute("UPDATE runs SET name = 'in the log'")
        for name in ("open", "upgrade", "recover"):
            refuses(lambda name=name: OPENERS[name](tmp_path / "w"), tmp_path)  # type: ignore[misc]


def test_what_is_read_is_not_changed_where_it_may_not_be_written(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "w")
    execute(tmp_path / "w", TRIGGER, log=True)
    with WorkspaceStore(tmp_path / "w", read_only=True):
        refuses(lambda: WorkspaceStore(tmp_path / "w"), tmp_path)


@pytest.mark.parametrize("kind", ["model", "transformer"])
def test_an_import_that_was_refused_left_the_files_of_other_objects(tmp_path: Path, kind: str) -> None:
    with WorkspaceStore(tmp_path / "there") as store:
        bundle = store.export_chain(chain_in(store, [Ridge().fit(X, Y)], StandardScaler().fit(X)), tmp_path / "m")
    with WorkspaceStore(tmp_path / "w") as store:
        store.import_bundle(bundle)
        with store.unit_of_work() as uow:
            damage = f"UPDATE artifacts SET artifact_path = '../x' WHERE artifact_type = '{kind}'"
            uow.session.connection().exec_driver_sql(damage)
            uow.commit()
        for file in (tmp_path / "w" / "artifacts").rglob("*.joblib"):
            file.unlink()
        refuses(lambda: store.import_bundle(bundle), tmp_path)
