"""A signal's handler raises while the engine is at work: that is what the call raises, and the store goes on."""

import contextlib
import errno
import json
import os
import select
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from polars.exceptions import PanicException
from programs import Process, Programs, ends_well, says
from samples import slow

from nirs4all_store import NotFoundError, SystemRefusedError, UnitOfWorkError, WorkspaceStore, failpoints
from nirs4all_store.call_boundary import INTERRUPTED, public
from nirs4all_store.failpoints import Failpoint

PROGRAM = """
import json, random, shutil, signal, sys, nirs4all_store as n
from pathlib import Path
from nirs4all_store.testing.contract import add_pipeline, add_prediction

class DeadlineError(Exception):
    pass

def deadline(*_):
    raise DeadlineError

folder = Path(sys.argv[1])
store = n.WorkspaceStore(folder / "w", timeout=20)
_, pipeline_id = add_pipeline(store)
with store.transaction():
    for _ in range(300):
        add_prediction(store, pipeline_id)
rng = random.Random(int(sys.argv[3]))
sys.unraisablehook = lambda _: None  # Python ignores what is raised while it frees something.

def backup():
    shutil.rmtree(folder / "b", ignore_errors=True)
    store.backup(folder / "b")

def opens():
    n.WorkspaceStore(folder / "other", timeout=20).close()

def unit():
    with store.unit_of_work() as uow:
        uow.runs.list()

slow = "SELECT sum(hash(a.range + b.range)) FROM range(100000000) a, range(1000) b"
works = {
    "sql": (lambda: store.sql(slow), 0.1), "vacuum": (store.vacuum, 0.05), "backup": (backup, 0.05),
    "open": (opens, 0.05), "query": (store.query_predictions, 0.01), "unit": (unit, 0.01),
    "check": (lambda: store.check(deep=True), 0.05),
}
ends = []
for handler in (signal.default_int_handler, deadline):
    signal.signal(signal.SIGALRM, handler)
    for name, (work, longest) in works.items():
        for _ in range(int(sys.argv[2])):
            try:
                try:
                    # Python itself drops one that strikes while it frees an object: then another one comes.
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, longest), 0.5)
                    while True:
                        work()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except BaseException as error:
                ends.append((handler.__name__, name, type(error).__name__))
                if "deadline" == handler.__name__ and type(error) is not DeadlineError:
                    import traceback; traceback.print_exc()
        assert signal.getsignal(signal.SIGALRM) is handler
        store.begin_run("goes on")
report = store.check(deep=True)
assert report.is_sound, report.findings
store.close()
print(json.dumps(ends))
"""


def strike(folder: Path, strikes: int, seed: int) -> None:
    """Run the program, and see that each call ended with what the handler raised."""
    with Process(PROGRAM, folder, strikes, seed) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    ends = [tuple(end) for end in json.loads(printed)]
    assert len(ends) == 2 * 7 * strikes
    # Polars and SQLAlchemy print there what struck in the middle of them, also where all is well.
    assert {end for end in ends if (end[0], end[2]) not in EXPECTED} == set(), errors


EXPECTED = {("default_int_handler", "KeyboardInterrupt"), ("deadline", "DeadlineError")}


def test_ctrl_c_was_an_error_of_sql_vacuum_and_backup_and_a_handlers_error_was_ctrl_c(tmp_path: Path) -> None:
    strike(tmp_path, 4, 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_handler_is_another_error_at_any_moment(tmp_path: Path, seed: int) -> None:
    strike(tmp_path, 60, seed)


def end_of(error: BaseException) -> BaseException:
    """Return what a call raises in the place of an error."""

    @public
    def call() -> None:
        raise error

    with pytest.raises(BaseException) as caught:  # which one it is, is the question
        call()
    return caught.value


def interrupted(around: type[Exception]) -> BaseException:
    try:
        raise RuntimeError(INTERRUPTED)
    except RuntimeError as error:
        made = around("of the engine's error")
        made.__cause__ = error
        return made


def test_whatever_was_made_of_ctrl_c_is_ctrl_c(store: WorkspaceStore) -> None:
    for made in (LookupError, NotFoundError, OSError):
        assert isinstance(end_of(interrupted(made)), KeyboardInterrupt)
    pressed = KeyboardInterrupt()
    assert end_of(pressed) is pressed


def test_what_is_refused_after_ctrl_c_was_met_is_refused(store: WorkspaceStore) -> None:
    try:
        raise KeyboardInterrupt from RuntimeError(INTERRUPTED)
    except KeyboardInterrupt:
        with pytest.raises(NotFoundError):
            store.complete_run("no such run")
        with pytest.raises(NotFoundError), store.unit_of_work() as uow:
            uow.runs.complete("no such run")


def test_an_error_that_holds_itself_ends(store: WorkspaceStore) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert end_of(first) is first


def test_handlers_that_are_set_during_a_call_or_a_block_stay(store: WorkspaceStore) -> None:
    def other(number: int, frame: FrameType | None) -> None:
        """Do nothing."""

    def sets(*_: Any) -> None:
        signal.signal(signal.SIGUSR1, other)

    before = signal.signal(signal.SIGUSR1, sets)
    try:
        with store.unit_of_work():
            signal.raise_signal(signal.SIGUSR1)
            assert signal.getsignal(signal.SIGUSR1) is other
        assert signal.getsignal(signal.SIGUSR1) is other
        with store.transaction():
            assert signal.signal(signal.SIGUSR1, sets).handler is other
        assert signal.getsignal(signal.SIGUSR1) is sets
    finally:
        signal.signal(signal.SIGUSR1, before)


ASKS = """
import os, signal, sys, threading, traceback, nirs4all_store as n

class DeadlineError(Exception):
    pass

def deadline(*_):
    raise DeadlineError

def press_when_it_is_asked():
    mine = threading.get_ident()
    while not any(
        frame.name == sys.argv[4]
        for thread, top in sys._current_frames().items() if thread != mine
        for frame in traceback.extract_stack(top)
    ):
        pass
    print("pressed", flush=True)
    os.kill(os.getpid(), signal.SIGINT)

store = n.WorkspaceStore(sys.argv[1], timeout=20)
with store.transaction():
    for number in range(200):
        store.begin_run(f"r{number}")
signal.signal(signal.SIGINT, {"ctrl-c": signal.default_int_handler, "deadline": deadline}[sys.argv[2]])
threading.Thread(target=press_when_it_is_asked, daemon=True).start()
try:
    store.sql(sys.argv[3], timeout=float("inf"))
except BaseException as error:
    print(type(error).__name__, flush=True)
assert store.sql("SELECT count(*) AS n FROM runs")["n"].item() == 200
store.begin_run("goes on")
assert store.check().is_sound
store.close()
"""
JOINED = "FROM runs a, runs b, runs c, runs d, runs e WHERE a.name < b.name OR c.name < d.name"


HERE, GROUPED = f"SELECT count(*) {JOINED}", f"SELECT a.name AS first, count(*) AS n {JOINED} GROUP BY first ORDER BY n"
THERE = f"SELECT list(a.name) {JOINED}"


@pytest.mark.parametrize(
    ("query", "where", "handler", "end"),
    [
        (HERE, "_answer_here", "ctrl-c", "KeyboardInterrupt"),
        (GROUPED, "_answer_here", "deadline", "DeadlineError"),
        (THERE, "_told", "ctrl-c", "KeyboardInterrupt"),
        slow(HERE, "_answer_here", "deadline", "DeadlineError"),
        slow(GROUPED, "_answer_here", "ctrl-c", "KeyboardInterrupt"),
        slow(THERE, "_told", "deadline", "DeadlineError"),
    ],
)
def test_ctrl_c_in_a_long_query_once_was_heard_only_when_its_time_was_over(
    tmp_path: Path, others: Programs, handler: str, end: str, query: str, where: str
) -> None:
    asks = others.start(ASKS, handler, query, where)
    assert says(asks) == "pressed"
    assert select.select([asks.stdout], [], [], 60)[0], "it goes on, and it would for ever"
    assert says(asks) == end
    ends_well(asks)


class EqualError(Exception):
    """It says that it equals anything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = Exception.__hash__


def test_a_cause_that_says_that_it_equals_anything_hid_ctrl_c_behind_it() -> None:
    made, cause = LookupError(), EqualError()
    made.__cause__, cause.__cause__ = cause, KeyboardInterrupt()
    assert isinstance(end_of(made), KeyboardInterrupt)


def test_ctrl_c_in_polars_was_a_panic() -> None:
    assert isinstance(end_of(PanicException("a callback raised KeyboardInterrupt")), KeyboardInterrupt)


class Struck:
    """Rows for the engine, which a signal strikes while it takes them."""

    def select(self, names: list[str]) -> "Struck":
        return self

    def __arrow_c_stream__(self, requested_schema: object = None) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, LookupError])
@pytest.mark.parametrize("is_read_before_its_end", [True, False])
def test_a_signal_while_rows_were_given_to_the_engine_was_an_error_of_the_database(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException], is_read_before_its_end: bool
) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        raise raised

    before = signal.signal(signal.SIGINT, signal.default_int_handler if raised is KeyboardInterrupt else handler)
    try:
        with monkeypatch.context() as struck:
            struck.setattr(pa, "Table", SimpleNamespace(from_arrays=lambda arrays, names: Struck()))
            with pytest.raises(raised), store.transaction():
                for name in ("first", "second"):
                    store.begin_run(name)
                if is_read_before_its_end:
                    store.list_runs()
    finally:
        signal.signal(signal.SIGINT, before)
    assert store.list_runs().is_empty()


def test_links_that_lead_back_to_themselves_were_a_runtime_error() -> None:
    made = RuntimeError("Symlink loop")
    made.__context__ = OSError(errno.ELOOP, "Too many levels of symbolic links")
    assert isinstance(end_of(made), SystemRefusedError)


def test_an_error_of_the_system_in_a_programs_own_block_was_renamed(store: WorkspaceStore) -> None:
    with pytest.raises(PermissionError) as caught, store.unit_of_work():
        raise PermissionError(errno.EACCES, "of the program")
    assert type(caught.value) is PermissionError


def test_who_worked_in_a_folder_that_was_removed_was_told_to_look_after_the_workspace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone() -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as removed:
        removed.setattr(os, "getcwd", gone)
        error = end_of(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert "the folder in which this process works was removed" in str(error)


def test_a_call_in_another_thread_listened_to_signals(store: WorkspaceStore) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(store.list_runs).result()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_another_error_that_was_made_of_ctrl_c_is_ctrl_c() -> None:
    made = LookupError()
    made.__cause__ = KeyboardInterrupt()
    assert isinstance(end_of(made), KeyboardInterrupt)


class HoldsItselfError(Exception):
    """It says that it was made of itself, as often as anybody wants to hear."""

    asked = 0

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        self.asked += 1
        assert self.asked < 1000, "it goes on, and it would for ever"
        return self


def test_an_error_that_was_made_of_itself_was_looked_through_for_ever() -> None:
    error = HoldsItselfError()
    assert end_of(error) is error


def test_what_a_handler_saved_while_a_unit_of_work_ended_went_with_it(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    with store.unit_of_work() as uow:
        session = uow._transaction.session
        close = session.close

        def handler() -> None:
            with contextlib.suppress(UnitOfWorkError):
                saved.append(store.begin_run("by the handler"))
            close()

        monkeypatch.setattr(session, "close", handler)
    assert [store.get_run(run_id) for run_id in saved] == []


@pytest.mark.parametrize("block", ["transaction", "unit of work"])
def test_what_a_handler_saved_in_the_commit_of_a_block_went_with_it(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, block: str
) -> None:
    refused: list[Failpoint] = []

    def handler(point: Failpoint) -> None:
        if point in points:
            with pytest.raises(UnitOfWorkError, match="in the middle of another call"):
                store.begin_run("by the handler")
            refused.append(point)

    points = [Failpoint.COMMIT_BEGINS, Failpoint.COMMIT_IS_DURABLE][: 2 if block == "transaction" else 1]
    with store.transaction() if block == "transaction" else store.unit_of_work() as uow:
        store.begin_run("by the caller")
        monkeypatch.setattr(failpoints, "on_hit", handler)
        if uow is not None:
            uow.commit()
            assert store.begin_run("after it")
    assert refused == points


def test_what_the_caller_was_handling_was_taken_for_what_happened_in_the_call(store: WorkspaceStore) -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(BaseException) as caught:  # which one it is, is the question
            store.complete_run("no such run")
    assert isinstance(caught.value, NotFoundError)
