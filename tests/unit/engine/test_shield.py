from __future__ import annotations

import asyncio

import pytest

from lading.engine.shield import to_the_end


async def test_what_it_returns_and_raises() -> None:
    async def work(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    assert await to_the_end(work(3)) == 3
    with pytest.raises(ValueError, match="-1"):
        await to_the_end(work(-1))


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_again_and_again_it_comes_to_its_end(fails: bool) -> None:
    gate, done = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(True)
        if fails:
            raise ValueError

    caller = asyncio.create_task(to_the_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    assert not caller.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]
