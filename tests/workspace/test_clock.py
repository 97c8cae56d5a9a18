"""The clock is set while a workspace is in use: what is young is kept, and what is old goes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import nirs4all_store
from nirs4all_store import WorkspaceStore, identifiers
from nirs4all_store.artifacts import memory
from nirs4all_store.storage.repositories import artifacts
from nirs4all_store.testing.contract import add_chain, add_pipeline
from nirs4all_store.workspace import clock as clock_module
from nirs4all_store.workspace.file_lock import LOCK_FILE, QUEUE_FILE, Lease

DAY = timedelta(days=1)


class Clock:
    """The machine's clock as somebody sets it: the real one cannot be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = timedelta(0)
        for module in (identifiers, artifacts, clock_module):
            monkeypatch.setattr(module, "utc_now", self.now)

    def now(self) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None) + self.off

    @contextmanager
    def stands(self, off: timedelta) -> Iterator[None]:
        """Let it stand wrong for the length of a block."""
        self.off = off
        yield
        self.off = timedelta(0)

    def dates(self, path: Path) -> None:
        """Date a file as the system would have done now."""
        now = time.time() + self.off.total_seconds()
        os.utime(path, (now, now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("opens_again", [False, True])
def test_a_save_made_while_the_clock_stood_back_was_collected_at_once(
    tmp_path: Path, clock: Clock, opens_again: bool
) -> None:
    with WorkspaceStore(tmp_path) as store:
        with clock.stands(-3 * DAY):
            model = store.save_artifact("young", "str", "model")
            clock.dates(store.get_artifact_path(model))
        if opens_again:
            store.close()
            store = WorkspaceStore(tmp_path)
        assert store.plan_gc().is_empty()
        assert store.gc_artifacts() == 0
        assert store.load_artifact(model) == "young"
        clock.off = 2 * DAY  # It seems to be 5 days old now.
        assert store.gc_artifacts() == 0
        assert store.gc_artifacts(grace=timedelta(0)) == 1
        store.close()


def test_a_save_in_memory_was_collected_at_once_when_the_clock_was_set(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=lambda: time.time() + clock.off.total_seconds()))
    with WorkspaceStore("memory:wheat") as store:
        store.save_artifact("young", "str", "model")
        clock.off = 3 * DAY
        assert store.gc_artifacts() == 0
        with clock.stands(-3 * DAY):
            store.save_artifact("younger", "str", "model")
        assert store.gc_artifacts() == 0
        assert store.gc_artifacts(grace=timedelta(0)) == 2


@pytest.mark.in_a_folder
def test_a_save_of_bytes_that_were_there_already_was_collected_as_well(store: WorkspaceStore, clock: Clock) -> None:
    _, pipeline_id = add_pipeline(store)
    add_chain(store, pipeline_id)
    with clock.stands(-9 * DAY):
        again = [store.save_artifact(each, "str", "model") for each in ("same", "same")]
        clock.dates(store.get_artifact_path(again[0]))
    assert store.gc_artifacts() == 0
    assert store.load_artifact(again[1]) == "same"


@pytest.mark.in_a_folder
def test_a_file_whose_save_was_cut_off_while_the_clock_stood_back_was_collected_at_once(
    store: WorkspaceStore, clock: Clock
) -> None:
    with clock.stands(-3 * DAY):
        with pytest.raises(ZeroDivisionError), store.transaction():
            path = store.get_artifact_path(store.save_artifact("young", "str", "model"))
            clock.dates(path)
            raise ZeroDivisionError
        store.list_runs()
    assert store.check().is_sound
    assert store.gc_artifacts() == 0
    assert path.exists()


@pytest.mark.in_a_folder
def test_where_the_clock_was_never_set_the_grace_is_no_longer_than_it_was(store: WorkspaceStore, clock: Clock) -> None:
    clock.off = -3 * DAY
    model = store.save_artifact("old", "str", "model")
    clock.dates(store.get_artifact_path(model))
    (store.workspace_path / LOCK_FILE).unlink()
    store.close()
    clock.off = timedelta(0)  # Nothing says that the clock was set: it was three days ago.
    with WorkspaceStore(store.workspace_path) as later:
        assert later.gc_artifacts() == 1


@pytest.mark.in_a_folder
def test_a_save_made_while_the_clock_stood_in_the_future_was_never_collected(
    store: WorkspaceStore, clock: Clock
) -> None:
    with clock.stands(3650 * DAY):
        model = store.save_artifact("of the future", "str", "model")
        clock.dates(store.get_artifact_path(model))
    assert store.gc_artifacts(grace=2 * DAY) == 0
    (store.workspace_path / LOCK_FILE).unlink()
    clock.off = 3 * DAY
    assert store.gc_artifacts(grace=5 * DAY) == 0
    clock.off = 8 * DAY
    store.close()
    with WorkspaceStore(store.workspace_path) as later:
        assert later.gc_artifacts(grace=2 * DAY) == 1


@pytest.mark.in_a_folder
def test_a_file_that_was_written_a_moment_ago_tells_how_old_its_row_is(store: WorkspaceStore, clock: Clock) -> None:
    with clock.stands(-3 * DAY):
        model = store.save_artifact("young", "str", "model")
    (store.workspace_path / LOCK_FILE).unlink()
    store.close()
    with WorkspaceStore(store.workspace_path) as later:
        assert later.gc_artifacts() == 0
        assert later.load_artifact(model) == "young"


def test_a_lock_file_remembers_each_start_of_a_machine_for_a_while() -> None:
    record = {f"start {number}": float(number) for number in range(20)} | {"odd": "text"}
    now = clock_module.updated_record(json.loads(json.dumps(record)))
    assert len(now) == clock_module.MOST_STARTS
    assert {*now} > {"start 19", "start 18"}
    assert clock_module.updated_record(None).keys() == clock_module.updated_record([1]).keys() < now.keys()


def test_text_in_the_place_of_what_the_clocks_show_was_an_error() -> None:
    assert clock_module.updated_record({clock_module._start(): "text"}).keys() == {clock_module._start()}


def test_a_container_whose_clocks_are_shifted_was_taken_for_a_clock_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_module, "_start", clock_module._start.__wrapped__)
    record = None
    for namespace, ahead in (("time:[1]", 1e6), ("time:[2]", 2e6), ("time:[1]", 1e6)):
        here = {"boot": "one", "time_namespace": namespace}
        monkeypatch.setattr(clock_module, "this_process", lambda here=here: here)
        monkeypatch.setattr(clock_module, "_ahead", lambda ahead=ahead: ahead)
        record = clock_module.updated_record(record)
        assert clock_module.put_forward(record) == timedelta(0)


def test_a_clock_that_was_moved_by_parts_of_a_second_was_taken_for_one_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = clock_module.updated_record(None)
    ahead = record[clock_module._start()]
    monkeypatch.setattr(clock_module, "_ahead", lambda: ahead - 0.5)
    assert not clock_module.was_put_back(record)
    monkeypatch.setattr(clock_module, "_ahead", lambda: ahead + 0.5)
    assert clock_module.put_forward(record) == timedelta(0)


STANDS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from nirs4all_store.workspace.file_lock import Lease
lease = Lease(Path(sys.argv[1]), shared=False, timeout=300)
print(sys.argv[3], flush=True)
lease.release()
"""


def _in_line(folder: Path) -> int:
    """Return how many stand in line, as Linux lists them."""
    inode = (folder / QUEUE_FILE).stat().st_ino if (folder / QUEUE_FILE).exists() else 0
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return len([line for line in lines if line[1] == "POSIX" and line[5].endswith(f":{inode}")])


def shifted(seconds: int) -> list[str]:
    """Return the command that runs a program in a container whose steady clocks are ahead."""
    command = ["unshare", "--time", "--monotonic", str(seconds), "--boottime", str(seconds)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("clocks of containers cannot be shifted here")
    return command


def test_a_container_whose_steady_clock_is_shifted_came_last_whenever_it_came(tmp_path: Path) -> None:
    root = str(Path(nirs4all_store.__file__).parent.parent)
    started = []
    lease = Lease(tmp_path, shared=False, timeout=0)
    with (tmp_path / "order").open("a") as order:
        for number, ahead in enumerate((3_000_000, 0, 2_000_000), start=1):
            program = [*shifted(ahead), sys.executable, "-c", STANDS, str(tmp_path), root, str(number)]
            started.append(subprocess.Popen(program, stdout=order))
            while _in_line(tmp_path) < number:
                assert started[-1].poll() is None
                time.sleep(0.01)
    lease.release()
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (tmp_path / "order").read_text().split() == ["1", "2", "3"]
