"""The executor as a process: killed in between, killed under load, and who may do what by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.executors import Answer, ask
from tests.support.fake_probe import NAME

from lading.market import receipts
from lading.market.catalogue import Listing
from lading.market.keys import PublicKey, public_keys
from lading.market.store import open_market
from lading.market.verification import verify

LISTING = Listing(image=NAME, name="probe", developer="dev", fee=Decimal("0.25"))


class Process:
    """The fake engine's executor, as a process that may die."""

    def __init__(self, state: Path, **options: Any) -> None:
        self._command = [
            sys.executable, "-m", "tests.support.fake_executor", str(state), json.dumps(options),
        ]  # fmt: skip

    async def __aenter__(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        host, _, port = line.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()

    async def execute(
        self, text: str = "hello", path: str = "/v1/execute", **headers: str
    ) -> Answer:
        body = {"id": NAME, "resource": {"cpu": 0.1, "mem": 32}, "input": text}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.host, self.port, "POST", path, json.dumps(body).encode(), named)

    async def get(self, path: str, **headers: str) -> Answer:
        return await ask(self.host, self.port, "GET", path, headers=headers)


async def keys_of(state: Path) -> list[PublicKey]:
    return await asyncio.to_thread(public_keys, state)


async def published(url: str) -> None:
    def write() -> None:
        with open_market(url) as market:
            market.catalogue.publish(LISTING)

    await asyncio.to_thread(write)


async def owed(url: str, state: Path) -> list[int]:
    def read() -> list[int]:
        with open_market(url) as market:
            assert verify(market.database, public_keys(state)).problems == []
            return [one.owed for one in market.ledger.entries()]

    return await asyncio.to_thread(read)


@pytest.mark.timeout(90)
async def test_killed_between_commit_and_reply_it_is_billed_and_the_reply_is_had_by_its_key(
    url: str, state: Path
) -> None:
    """It errs this way: the ledger may have an execution of which nobody saw the reply."""
    await published(url)
    async with Process(state, market=url, die="committed") as process:
        with pytest.raises((IndexError, OSError)):  # no reply at all
            await process.execute(idempotency_key="k")
        assert await process.process.wait() == -9
    assert await owed(url, state) == [250_000]
    async with Process(state, market=url) as process:
        answer = await process.execute(idempotency_key="k")
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["idempotent-replayed"] == "true"
        assert "x-lading-start" not in answer.headers
        receipt = receipts.verify(answer.headers["x-lading-receipt"], await keys_of(state))
        assert receipt.entry["seq"] == 1
    assert await owed(url, state) == [250_000]


@pytest.mark.timeout(90)
async def test_killed_between_call_and_commit_nothing_is_billed_and_nobody_got_a_reply(
    url: str, state: Path
) -> None:
    await published(url)
    async with Process(state, market=url, die="called") as process:
        with pytest.raises((IndexError, OSError)):
            await process.execute(idempotency_key="k")
        assert await process.process.wait() == -9
    assert await owed(url, state) == []
    async with Process(state, market=url) as process:
        answer = await process.execute(idempotency_key="k")
        assert (answer.status, answer.body) == (200, b"hello")
        assert "idempotent-replayed" not in answer.headers
    assert await owed(url, state) == [250_000]


@pytest.mark.timeout(90)
async def test_killed_under_load_no_reply_is_missing_in_the_ledger(url: str, state: Path) -> None:
    replies: list[str] = []
    async with Process(state, market=url) as process:

        async def ask_on() -> None:
            with contextlib.suppress(IndexError, OSError):
                while True:
                    answer = await process.execute()
                    replies.append(answer.headers["x-lading-receipt"])

        callers = [asyncio.create_task(ask_on()) for _ in range(6)]
        async with asyncio.timeout(60):
            while len(replies) < 40:
                await asyncio.sleep(0.01)
        process.process.kill()
        await asyncio.gather(*callers)

    def check() -> None:
        with open_market(url) as market:
            report = verify(market.database, public_keys(state), kept=replies)
            assert report.problems == []
            assert len(replies) <= report.entries <= len(replies) + 6

    await asyncio.to_thread(check)


@pytest.mark.timeout(90)
async def test_the_interface(tmp_path: Path, state: Path) -> None:
    url = str(tmp_path / "market.sqlite")
    tokens = tmp_path / "tokens"
    tokens.write_text("# clients\n\nann: 0123456789abcdef\nbob: fedcba9876543210\n")
    tokens.chmod(0o600)
    await published(url)
    async with Process(state, market=url, tokens=str(tokens), token="operators-own") as process:
        ann = {"Authorization": "Bearer 0123456789abcdef"}
        assert (await process.execute()).status == 401
        assert (await process.execute(Authorization="Bearer 0123456789abcdeF")).status == 401
        assert (await process.get("/v1/tasks")).status == 401
        listed = (await process.get("/v1/tasks", **ann)).json()["tasks"]
        assert [(one["id"], one["fee"]) for one in listed] == [(NAME, "0.250000")]
        answer = await process.execute(**ann)
        key = (await process.get("/v1/key")).json()  # open: receipts are verified by it
        keys = (await process.get("/v1/keys")).json()["keys"]
        assert keys == [key] == [one.jwk() for one in await keys_of(state)]
        assert "d" not in key
        receipt = receipts.verify(answer.headers["x-lading-receipt"], await keys_of(state))
        assert receipt.entry["client"] == "ann"
        original = await process.execute(path="/", Authorization="Bearer fedcba9876543210")
        assert (original.success, original.msg) == (True, "hello")
        assert original.headers["x-lading-receipt"]
        # A client has tasks executed, and steers nothing.
        for path in ("/pause", "/stop", "/update-config"):
            refused = await ask(process.host, process.port, "POST", path, headers=ann)
            assert refused.status == 403
        assert (await process.get("/metrics", **ann)).status == 403
        assert (await process.get("/metrics", Authorization="Bearer operators-own")).status == 200
        # The same key of two clients is two keys; with another input, no key at all.
        both = [
            await process.execute("x", Idempotency_Key="k", Authorization=f"Bearer {token}")
            for token in ("0123456789abcdef", "fedcba9876543210", "0123456789abcdef")
        ]
        assert [one.headers.get("idempotent-replayed") for one in both] == [None, None, "true"]
        reused = await process.execute("y", Idempotency_Key="k", **ann)
        assert (reused.status, reused.json()["title"]) == (422, "KeyReused")
        assert reused.json()["fix"]
        told = await process.execute("y", path="/", Idempotency_Key="k", **ann)
        assert (told.status, told.success) == (200, False)
        assert "came before" in told.msg
        bad = await process.execute("y", Idempotency_Key="k" * 300, **ann)
        assert (bad.status, bad.json()["field"]) == (400, "Idempotency-Key")
    sums = await asyncio.to_thread(lambda: _sums(url))
    assert sums == {"ann": Decimal("0.5"), "bob": Decimal("0.5")}


def _sums(url: str) -> dict[str, Decimal]:
    with open_market(url) as market:
        return {one.name: one.owed for one in market.ledger.sums("client")}
