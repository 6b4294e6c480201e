"""Bodies on their way in: bounded together, and held by nobody who sends none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lading import Executor, ExecutorOptions
from lading.contracts.meca import calls
from lading.contracts.meca.billing import Billing
from lading.contracts.meca.calls import Bodies, ExecuteCall
from lading.units import MIB

SCOPE = {"type": "http", "headers": [(b"content-length", b"%d" % MIB)]}


class Caller:
    """Sends some pieces of a body, and then nothing more."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.stuck = asyncio.Event()
        self.status = 0
        self.reply: Any = None

    async def receive(self) -> dict[str, Any]:
        if not self._pieces:
            self.stuck.set()
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        if body := message.get("body"):
            self.reply = json.loads(body)


@pytest.fixture
def call() -> ExecuteCall:
    """The honest route of an executor that takes 1 MiB at the most, of all requests 2 MiB."""
    executor = cast("Executor", SimpleNamespace(options=ExecutorOptions(max_input=1)))
    return ExecuteCall(executor, Billing(executor, None), Bodies(limit=2 * MIB), honest=True)


@contextlib.asynccontextmanager
async def stuck(call: ExecuteCall, *callers: Caller) -> AsyncIterator[None]:
    """Have them call, and wait until none of them sends more."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(call(SCOPE, caller.receive, caller.send))  # type: ignore[arg-type]
            for caller in callers
        ]
        for caller in callers:
            await caller.stuck.wait()
        yield
        for task in tasks:
            task.cancel()


async def ask(call: ExecuteCall, caller: Caller) -> None:
    await call(SCOPE, caller.receive, caller.send)  # type: ignore[arg-type]


async def test_what_is_announced_and_not_sent_takes_no_room(
    call: ExecuteCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stuck(call, *(Caller() for _ in range(20))):
        monkeypatch.setattr(calls, "_STALLED", 0.01)
        caller = Caller(b"x")
        await ask(call, caller)
        assert caller.reply["title"] == "InputError"


async def test_what_was_sent_is_bounded_together(
    call: ExecuteCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_DISCARD_FOR", 0.01)
    async with stuck(call, Caller(b"x" * MIB), Caller(b"x" * MIB)):
        caller = Caller(b"x")
        await ask(call, caller)
        assert (caller.status, caller.reply["title"]) == (503, "QueueFull")


async def test_a_body_of_which_nothing_more_comes_is_given_up(
    call: ExecuteCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_STALLED", 0.01)
    for _ in range(3):
        caller = Caller(b"x" * MIB)
        await ask(call, caller)
        assert caller.status == 400
        assert "stopped after 1048576 bytes" in caller.reply["detail"]
