"""Many threads on one store, and on two stores of one folder, see only what is true."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sqlalchemy import text

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import X, add_chain, add_pipeline, add_prediction

THREADS = 16


def at_once(work: Callable[[int], None]) -> None:
    """Run `work(0)` to `work(15)` in threads that start together; the first error is raised."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for result in [pool.submit(begin, number) for number in range(THREADS)]:
            result.result()


def test_sixteen_threads_on_two_stores_of_one_folder_read_and_write(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as first, WorkspaceStore(tmp_path) as second:
        _, pipeline_id = add_pipeline(first)
        chain_id = add_chain(first, pipeline_id)
        expected = first.replay_chain(chain_id, X)

        def work(number: int) -> None:
            store = (first, second)[number % 2]
            for i in range(3):
                y = np.full(50, number * 100.0 + i)
                prediction_id = add_prediction(store, pipeline_id, model_name=f"t{number}", val_score=float(number))
                store.save_prediction_arrays(prediction_id, y, y)
                found = (second, first)[number % 2].get_prediction(prediction_id, load_arrays=True)
                assert found is not None
                np.testing.assert_array_equal(found["y_true"], y)
                np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)
                store.save_artifact({"shared": i}, "dict", "other", "pickle")
                assert store.top_predictions(1)["val_score"].item() <= number

        at_once(work)
        frame = second.query_predictions()
        assert frame.group_by("model_name").len()["len"].to_list() == [3] * THREADS
        with first.unit_of_work() as uow:
            counts = uow.session.execute(
                text("SELECT ref_count FROM artifacts WHERE operator_class = 'dict'")
            ).scalars()
            assert counts.all() == [THREADS] * 3


def test_transactions_of_threads_do_not_mix(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:

        def work(number: int) -> None:
            try:
                with store.transaction():
                    ids = [store.begin_run(f"{number}") for _ in range(5)]
                    assert store.list_runs(limit=None)["run_id"].is_in(ids).sum() == 5
                    if number % 2:
                        raise LookupError
            except LookupError:
                assert not store.list_runs(limit=None)["run_id"].is_in(ids).any()

        at_once(work)
        kept = store.list_runs(limit=None)["name"].to_list()
        assert sorted(kept) == sorted(str(number) for number in range(0, THREADS, 2) for _ in range(5))


def test_a_transaction_is_not_seen_by_another_thread_before_its_commit(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store, ThreadPoolExecutor(1) as other:
        with store.transaction():
            run_id = store.begin_run("r")
            assert other.submit(store.get_run, run_id).result() is None
        assert other.submit(store.get_run, run_id).result() is not None


def test_compacting_and_copying_wait_for_the_others_and_they_for_it(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "workspace") as store:
        _, pipeline_id = add_pipeline(store)

        def work(number: int) -> None:
            if number == 0:
                store.vacuum()
            elif number == 1:
                store.backup(tmp_path / "copy")
            elif number == 2:
                store.gc_artifacts()
            else:
                for _ in range(5):
                    add_prediction(store, pipeline_id)
                    store.query_predictions()

        at_once(work)
        assert store.query_predictions().height == 5 * (THREADS - 3)
    with WorkspaceStore(tmp_path / "copy") as copy:
        assert copy.get_pipeline(pipeline_id) is not None


def test_the_second_of_two_writing_threads_once_waited_for_the_first_to_pause(tmp_path: Path) -> None:
    order: list[str] = []

    def write(store: WorkspaceStore, name: str) -> None:
        with store.transaction():
            order.append(name)

    with WorkspaceStore(tmp_path) as store, ThreadPoolExecutor(2) as pool:
        waiters = store._workspace._state._waiters  # type: ignore[attr-defined]  # a Condition does not tell
        with store.transaction():
            waiting = []
            for number, name in enumerate(("second", "third"), start=1):
                waiting.append(pool.submit(write, store, name))
                while len(waiters) < number and not waiting[-1].done():
                    pass
        write(store, "first again")
        for one in waiting:
            one.result()
    assert order == ["second", "third", "first again"]
