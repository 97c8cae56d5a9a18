"""Forks, pickles, pools, servers, and the end of the interpreter: a store works in each, and loses nothing."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from programs import Programs, ends_well, programs, says, tell
from samples import all_but_few

from nirs4all_store import StoreClosedError, WorkspaceStore
from nirs4all_store.testing.contract import X, add_chain, add_pipeline

FORK = """
import os, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
store.begin_run("before")
for i in range(2):
    child = os.fork()
    if child == 0:
        assert "before" in store.list_runs()["name"].to_list()
        store.begin_run("child")
        sys.exit(0)
    store.begin_run("parent")
    assert os.waitpid(child, 0)[1] == 0
print(sorted(store.list_runs()["name"].value_counts().rows()))
assert store.check(deep=True).is_sound
"""
FORK_INSIDE = """
import os, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
how = sys.argv[2]
with store.transaction():
    store.begin_run("in a transaction")
    child = os.fork()
    if child == 0:
        try:
            if how == "same store":
                store.begin_run("from the child")
            elif how == "new store":
                n.WorkspaceStore(sys.argv[1])
            elif how == "leave":
                sys.exit(0)
        except n.StoreClosedError as error:
            assert "forked while its parent was at work" in str(error), error
            sys.exit(0)
    else:
        assert os.waitpid(child, 0)[1] == 0
if child == 0:
    raise AssertionError("a child has committed its parent's transaction")
store.begin_run("after")
store.close()
print(sorted(n.WorkspaceStore(sys.argv[1]).list_runs()["name"].to_list()))
"""
FORK_AND_DIE = """
import os, sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
store.begin_run("parent")
if os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(9)
"""
SERVER = """
import http.server, json, socketserver, sys, threading, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1], read_only=True)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(store.list_runs(limit=None)["name"].to_list()).encode())
    def log_message(self, *_):
        pass

class Server({kind}, http.server.HTTPServer):
    daemon_threads = False

with Server(("127.0.0.1", 0), Page) as server:
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.readline()
    server.shutdown()
"""
NOTEBOOK = """
import sys, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
namespace = {"store": store}
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "go":
        break
    print(eval(line, namespace), flush=True)
"""
AT_EXIT = """
import sys, threading, time, nirs4all_store as n
store = n.WorkspaceStore(sys.argv[1])
begun = threading.Event()

def write():
    try:
        while True:
            store.begin_run("r")
            begun.set()
    except n.StoreClosedError:
        pass

def ask():
    begun.set()
    try:
        store.sql("SELECT count(*) FROM range(100000000000) a, range(1000000) b", timeout=float("inf"))
    except n.QueryError:
        pass

def sleep():
    with store.transaction():
        store.begin_run("never committed")
        begun.set()
        time.sleep(1000)

for _ in range(3):
    threading.Thread(target=globals()[sys.argv[2]], daemon=True).start()
begun.wait()
if sys.argv[2] != "sleep":
    print(store.begin_run("last"))
"""


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Programs]:
    """Start other processes on the folder of the test."""
    with programs(tmp_path / "workspace") as given:
        yield given


def test_a_forked_child_opens_the_store_anew_and_both_keep_what_they_save(others: Programs) -> None:
    assert ends_well(others.start(FORK)) == "[('before', 1), ('child', 2), ('parent', 2)]\n"


@pytest.mark.parametrize("how", all_but_few(["same store", "new store", "leave"], ["same store", "new store"]))
def test_a_child_that_is_forked_inside_a_transaction_cannot_harm_it(others: Programs, how: str) -> None:
    assert ends_well(others.start(FORK_INSIDE, how)) == "['after', 'in a transaction']\n"


def test_a_child_does_not_keep_the_lease_of_its_dead_parent(tmp_path: Path, others: Programs) -> None:
    parent = others.start(FORK_AND_DIE)
    child = int(says(parent))
    try:
        parent.wait()
        with WorkspaceStore(tmp_path / "workspace", timeout=0) as store:
            assert store.list_runs()["name"].to_list() == ["parent"]
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_store_travels_by_pickle_and_opens_when_it_is_used(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        run_id = store.begin_run("r")
        there = pickle.loads(pickle.dumps(store))
        assert there.workspace_path == tmp_path
        assert there.get_run(run_id) is not None
    assert there.get_run(run_id) is not None
    there.close()
    for closed in (store, there):
        with pytest.raises(StoreClosedError):
            pickle.dumps(closed)
        with pytest.raises(StoreClosedError):
            closed.list_runs()


def test_a_reading_store_reads_only_wherever_it_travels(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    with WorkspaceStore(tmp_path, read_only=True) as store, pickle.loads(pickle.dumps(store)) as there:
        for reader in (store, there):
            with pytest.raises(PermissionError):
                reader.begin_run("r")


def _save(store: WorkspaceStore, chain_id: str, number: int) -> tuple[int, str, float]:
    y = store.replay_chain(chain_id, X)
    run_id = store.begin_run(f"worker {number}")
    return os.getpid(), run_id, float(y.sum())


def _check_pool(store: WorkspaceStore, chain_id: str, results: list[tuple[int, str, float]]) -> None:
    expected = float(store.replay_chain(chain_id, X).sum())
    assert os.getpid() not in {pid for pid, _, _ in results}
    np.testing.assert_allclose([total for _, _, total in results], expected)
    assert all(store.get_run(run_id) is not None for _, run_id, _ in results)
    assert store.check(deep=True).is_sound


@pytest.mark.parametrize("method", all_but_few(["spawn", "forkserver", "fork"], ["fork"]))
def test_multiprocessing_shares_a_store(tmp_path: Path, method: str) -> None:
    with WorkspaceStore(tmp_path) as store:
        chain_id = add_chain(store, add_pipeline(store)[1])
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.starmap(_save, [(store, chain_id, number) for number in range(6)])
        _check_pool(store, chain_id, results)


@pytest.mark.slow
def test_joblib_shares_a_store(tmp_path: Path) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with WorkspaceStore(tmp_path) as store:
        chain_id = add_chain(store, add_pipeline(store)[1])
        try:
            results = Parallel(n_jobs=2)(delayed(_save)(store, chain_id, number) for number in range(6))
        finally:
            get_reusable_executor().shutdown()
        _check_pool(store, chain_id, results)


@pytest.mark.parametrize(
    "kind", all_but_few(["socketserver.ForkingMixIn", "socketserver.ThreadingMixIn"], ["socketserver.ThreadingMixIn"])
)
def test_a_web_page_reads_while_a_training_writes(tmp_path: Path, others: Programs, kind: str) -> None:
    import json
    import urllib.request

    with WorkspaceStore(tmp_path / "workspace") as store:
        server = others.start(SERVER.replace("{kind}", kind))
        page = f"http://127.0.0.1:{says(server)}"
        ended = threading.Event()
        written: list[str] = []

        def train() -> None:
            while not ended.is_set():
                written.append(store.begin_run("r") and str(len(written)))

        training = threading.Thread(target=train)
        training.start()
        seen = [0]
        try:
            while len(seen) < 5:
                before = len(written)
                names = json.load(urllib.request.urlopen(page))
                assert len(names) >= before
                assert len(names) >= seen[-1]
                seen.append(len(names))
        finally:
            ended.set()
            training.join()
        assert len(json.load(urllib.request.urlopen(page))) == len(written)
        tell(server)
        ends_well(server)


def test_a_notebook_beside_a_training_sees_what_was_saved(tmp_path: Path, others: Programs) -> None:
    notebook = others.start(NOTEBOOK)
    assert says(notebook) == "ready"
    with WorkspaceStore(tmp_path / "workspace") as store:
        for count in range(1, 4):
            store.begin_run("r")
            assert notebook.stdin is not None
            notebook.stdin.write("store.list_runs().height\n")
            notebook.stdin.flush()
            assert says(notebook) == str(count)
    tell(notebook)
    ends_well(notebook)


@pytest.mark.parametrize("work", ["write", "ask", "sleep"])
def test_at_the_end_of_the_interpreter_daemon_threads_lose_nothing_and_abort_nothing(
    tmp_path: Path, others: Programs, work: str
) -> None:
    printed = ends_well(others.start(AT_EXIT, work))
    with WorkspaceStore(tmp_path / "workspace") as store:
        names = store.list_runs(limit=None)["name"]
        assert (names == "last").sum() == (work != "sleep")
        assert not names.is_in(["never committed"]).any()
        assert printed.strip() == "" or store.get_run(printed.strip()) is not None
