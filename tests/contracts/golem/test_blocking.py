"""Blocking work of an application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from lading.contracts.golem.blocking import Executor
from lading.errors import NotAccepting


@pytest.fixture(autouse=True)
async def _executor() -> AsyncIterator[None]:
    Executor.initialize()
    yield
    await Executor.wait_for_shutdown()
    Executor.initialize()


async def test_a_function_runs_in_another_thread() -> None:
    assert await Executor.run(threading.get_ident) != threading.get_ident()
    assert await Executor.run(pow, 2, 5) == 32
    assert await Executor.run(int, "11", base=2) == 3


async def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await Executor.run(divmod, 1, 0)


async def test_running_work_is_told_to_end_and_waited_for() -> None:
    begun = threading.Event()

    def work() -> str:
        begun.set()
        while not Executor.is_shutting_down():
            pass
        return "ended"

    running = asyncio.create_task(Executor.run(work))
    await asyncio.to_thread(begun.wait)
    assert not Executor.is_shutting_down()
    Executor.request_shutdown()
    assert Executor.is_shutting_down()
    await Executor.wait_for_shutdown()
    assert await running == "ended"


async def test_no_more_is_taken_until_it_begins_anew() -> None:
    Executor.request_shutdown()
    Executor.request_shutdown()
    with pytest.raises(NotAccepting):
        await Executor.run(int)
    Executor.initialize()
    assert await Executor.run(int) == 0
    assert not Executor.is_shutting_down()


async def test_failed_work_is_waited_for_in_silence() -> None:
    def work() -> None:
        while not Executor.is_shutting_down():
            pass
        raise RuntimeError("interrupted")

    running = asyncio.create_task(Executor.run(work))
    await asyncio.sleep(0)
    await Executor.wait_for_shutdown()
    with pytest.raises(RuntimeError, match="interrupted"):
        await running
