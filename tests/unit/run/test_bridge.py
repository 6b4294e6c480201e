"""Blocking callers of coroutines: a result, an error, and an end to the waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from lading.run.bridge import blocking


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_result_and_an_error() -> None:
    assert blocking(lambda: double(21)) == 42

    async def breaks() -> None:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        blocking(breaks)


INSIDE = """
import asyncio, contextvars
from lading.run.bridge import blocking

colour = contextvars.ContextVar("colour", default="none")

async def seen():
    await asyncio.sleep(0)
    return colour.get()

async def main():
    colour.set("red")
    print(blocking(seen))

asyncio.run(main())
"""


def test_inside_a_running_loop() -> None:
    """In a process of its own: here, to block a loop is an error."""
    done = subprocess.run(
        [sys.executable, "-c", INSIDE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "red\n"


def test_a_signal_ends_it_after_its_clean_up() -> None:
    """What a handler raises, as those of time-outs do, cancels the coroutine."""
    cleaned: list[str] = []
    main = threading.main_thread().ident

    async def works() -> None:
        try:
            assert main is not None
            signal.pthread_kill(main, signal.SIGUSR1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(threading.current_thread().name)

    class Late(Exception):
        pass

    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGUSR1, late)
    try:
        with pytest.raises(Late):
            blocking(works)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cleaned == ["lading"]


def test_a_process_can_be_started_in_it() -> None:
    async def runs() -> int:
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    assert blocking(runs) == 0
    assert os.getpid() > 0
