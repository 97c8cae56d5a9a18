"""A transaction is of the thread and the task that opened it, whatever else has a copy of its context."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from nirs4all_store import UnitOfWorkError, WorkspaceBusyError, WorkspaceStore


def names(store: WorkspaceStore) -> list[str]:
    return sorted(store.list_runs(limit=None)["name"])


def undone(store: WorkspaceStore, inside: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Do something in a task, inside a block that is undone."""

    async def main() -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.begin_run("of the block")
            await inside()
            raise ZeroDivisionError

    asyncio.run(main())


async def saves(store: WorkspaceStore, told: list[object], name: str = "of the task") -> None:
    try:
        told.append(store.begin_run(name))
    except UnitOfWorkError as error:
        told.append(error)


def test_a_call_of_a_task_that_was_started_inside_a_block_was_undone_with_it(store: WorkspaceStore) -> None:
    told: list[object] = []
    undone(store, lambda: asyncio.create_task(saves(store, told)))  # type: ignore[arg-type]  # a task is awaited, too
    (error,) = told
    assert isinstance(error, UnitOfWorkError)
    assert "another task of this thread" in str(error)
    assert names(store) == []


def test_a_group_of_tasks_and_those_that_they_start_join_no_block_of_their_parents(store: WorkspaceStore) -> None:
    told: list[object] = []

    async def child() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(saves(store, told))

    async def group() -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(child())
            both.create_task(saves(store, told))

    undone(store, group)
    assert len(told) == 2
    assert all(isinstance(error, UnitOfWorkError) for error in told)


def test_a_callback_of_the_loop_joins_no_block_in_which_it_was_asked_for(store: WorkspaceStore) -> None:
    told: list[object] = []

    async def later() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def call() -> None:
            try:
                store.begin_run("of the callback")
            except UnitOfWorkError as error:
                told.append(error)
            finally:
                over.set()

        loop.call_soon(call)
        await over.wait()

    undone(store, later)
    assert len(told) == 1
    assert names(store) == []


def test_a_loop_that_runs_inside_a_block_joins_it_as_little(store: WorkspaceStore) -> None:
    told: list[object] = []
    with store.transaction():
        store.begin_run("of the block")
        asyncio.run(saves(store, told))
        assert [type(error) for error in told] == [UnitOfWorkError]
    assert names(store) == ["of the block"]


def test_a_task_that_goes_on_after_the_block_in_which_it_was_started_saves_for_itself(store: WorkspaceStore) -> None:
    async def main() -> None:
        may_go_on, told = asyncio.Event(), list[object]()

        async def goes_on() -> None:
            assert store.list_runs().is_empty()  # What is not committed is the block's alone.
            assert not store.is_in_transaction
            await may_go_on.wait()
            await saves(store, told)

        with pytest.raises(ZeroDivisionError), store.transaction():
            store.begin_run("of the block")
            task = asyncio.create_task(goes_on())
            await asyncio.sleep(0)
            assert store.is_in_transaction
            raise ZeroDivisionError
        may_go_on.set()
        await task
        assert isinstance(told[0], str)

    asyncio.run(main())
    assert names(store) == ["of the task"]


@pytest.mark.parametrize("is_of_the_loop", [False, True])
def test_a_thread_with_a_copy_of_the_context_waits_for_its_turn(store: WorkspaceStore, is_of_the_loop: bool) -> None:
    with WorkspaceStore(store.workspace_path, timeout=0.05) as hurried:

        def save() -> None:
            with pytest.raises(WorkspaceBusyError):
                hurried.begin_run("of the thread")

        async def inside() -> None:
            if is_of_the_loop:
                await asyncio.to_thread(save)
            else:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(contextvars.copy_context().run, save).result()

        undone(store, inside)
    assert names(store) == []


def test_a_thread_that_was_given_the_number_of_another_one_joined_its_block(store: WorkspaceStore) -> None:
    uow, contexts, joined = store.unit_of_work(), list[contextvars.Context](), list[bool]()

    def begin() -> None:
        uow.__enter__()
        contexts.append(contextvars.copy_context())

    def look() -> None:
        joined.append(contexts[0].run(lambda: store.is_in_transaction))

    numbers = []
    for work in (begin, *[look] * 200):  # The system gives numbers anew, one of the next threads gets it.
        thread = threading.Thread(target=work)
        thread.start()
        numbers.append(thread.ident)
        thread.join()
        if numbers[1:] and numbers[0] == numbers[-1]:
            break
    uow.__exit__(None, None, None)
    assert not any(joined)
    if numbers[0] != numbers[-1]:
        pytest.skip("the system gave the number to none of 200 threads")


def test_a_block_of_a_generator_is_of_the_task_that_runs_it(store: WorkspaceStore) -> None:
    @contextmanager
    def block() -> Iterator[None]:
        with store.transaction():
            yield

    def steps() -> Iterator[str]:
        with store.transaction():
            yield store.begin_run("one")
            yield store.begin_run("two")

    async def main() -> None:
        with block():
            store.begin_run("inside")
            assert store.is_in_transaction
        assert len([*steps()]) == 2

    asyncio.run(main())
    contextvars.copy_context().run(lambda: [*steps()])
    assert names(store) == ["inside", "one", "one", "two", "two"]


def test_a_copy_of_a_context_that_is_run_by_the_same_task_joins_its_block(store: WorkspaceStore) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        contextvars.copy_context().run(store.begin_run, "of the block")
        raise ZeroDivisionError
    assert names(store) == []


def test_a_callback_of_a_loop_that_runs_inside_a_block_joined_it(store: WorkspaceStore) -> None:
    told: list[object] = []

    async def later() -> None:
        over = asyncio.Event()

        def call() -> None:
            try:
                told.append(store.begin_run("of the callback"))
            except UnitOfWorkError as error:
                told.append(error)
            over.set()

        asyncio.get_running_loop().call_soon(call)
        await over.wait()

    with store.transaction():
        store.begin_run("of the block")
        asyncio.run(later())
    assert [type(error) for error in told] == [UnitOfWorkError]
