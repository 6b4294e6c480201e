"""What an executor bills: fees, failures, idempotency keys; on the fake engine, both databases."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_probe import NAME, probe_image

from lading import ExecutorOptions
from lading.contracts.meca.billing import Billed, Billing, open_book
from lading.contracts.meca.executor import Executor
from lading.contracts.meca.request import read_request
from lading.errors import (
    InputError,
    KeyReused,
    MarketUnavailable,
    RecordNotFound,
    ReplyForgotten,
    TaskFailed,
)
from lading.market import receipts
from lading.market.catalogue import Listing
from lading.market.entries import Entry
from lading.market.keys import PublicKey, public_keys
from lading.market.store import open_market
from lading.market.verification import verify
from lading.run.ownership import Owner
from lading.run.records import Kind, Records, records_path
from lading.testing import FakeEngine

LISTING = Listing(image=NAME, name="probe", developer="dev", fee=Decimal("0.25"))


async def keys_of(state: Path) -> list[PublicKey]:
    return await asyncio.to_thread(public_keys, state)


class Host:
    """An executor that bills, and what its ledger has."""

    def __init__(self, billing: Billing, records: Records, url: str, state: Path) -> None:
        self.billing = billing
        self._records = records
        self.url = url
        self.state = state
        self._numbers = iter(range(1000))

    async def execute(self, task_input: Any = "hello", **more: Any) -> Billed:
        if not isinstance(task_input, str):
            task_input = json.dumps(task_input)
        fields = {"id": NAME, "resource": {"cpu": 0.1, "mem": 32}, "input": task_input}
        request = read_request(json.dumps(fields | more.pop("fields", {})).encode())
        return await self.billing.execute(request, f"r{next(self._numbers)}", **more)

    async def entries(self) -> list[Entry]:
        def read() -> list[Entry]:
            with open_market(self.url) as market:
                assert verify(market.database, public_keys(self.state)).problems == []
                return list(market.ledger.entries())

        return await asyncio.to_thread(read)

    async def publish(self, listing: Listing = LISTING) -> None:
        def write() -> None:
            with open_market(self.url) as market:
                market.catalogue.publish(listing)

        await asyncio.to_thread(write)
        await self.until(lambda: self._fee(listing.image) == listing.fee)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.02)

    def _fee(self, image: str | None) -> Decimal | None:
        offers = {one["image"]: Decimal(str(one["fee"])) for one in self.billing.offers()}
        return offers.get(image)

    def calls(self) -> int:
        """How many calls tasks have got."""
        return len(self._records.list(kind=Kind.CALL))


@contextlib.asynccontextmanager
async def host_at(url: str, state: Path, **more: Any) -> AsyncIterator[Host]:
    options = ExecutorOptions(market=url, state=str(state), drain=1.0, **more)
    owner = await asyncio.to_thread(Owner.claim, state)
    records = await asyncio.to_thread(Records, records_path(state))
    try:
        async with (
            open_book(options, state) as book,
            FakeEngine(images=[probe_image()]) as engine,
            Executor(engine, options, records=records, owner=owner) as executor,
        ):
            yield Host(Billing(executor, book), records, url, state)
    finally:
        await asyncio.to_thread(records.close)
        await asyncio.to_thread(owner.release)


@pytest.fixture
async def host(url: str, state: Path) -> AsyncIterator[Host]:
    async with host_at(url, state) as found:
        yield found


async def test_an_execution_is_written_down_with_all_that_the_issue_names(host: Host) -> None:
    await host.publish()
    billed = await host.execute("hello", client="ann")
    (entry,) = await host.entries()
    assert (entry.client, entry.task, entry.developer) == ("ann", NAME, "dev")
    assert (entry.fee, entry.owed, entry.success) == (250_000, 250_000, 1)
    assert (entry.millicpus, entry.memory, entry.gpus, entry.sgx) == (100, 32 << 20, 0, 0)
    assert entry.microseconds > 0
    assert entry.image_id.startswith("sha256:")
    receipt = receipts.verify(
        billed.receipt, await keys_of(host.state), input=b"hello", output=billed.reply.body
    )
    assert receipt.hash == entry.hash


async def test_what_is_not_listed_costs_nothing_and_is_written_down(host: Host) -> None:
    assert (await host.execute()).receipt
    (entry,) = await host.entries()
    assert (entry.task, entry.client, entry.developer, entry.owed) == (NAME, "anonymous", "", 0)


async def test_a_failure_is_written_down_and_costs_nothing(host: Host) -> None:
    await host.publish()
    with pytest.raises(TaskFailed):
        await host.execute({"status": 500})
    (entry,) = await host.entries()
    assert (entry.success, entry.error, entry.fee, entry.owed) == (0, "TaskFailed", 250_000, 0)
    assert entry.output_sha256 == ""


async def test_what_was_refused_is_no_execution(host: Host) -> None:
    with pytest.raises(InputError):
        await host.execute(fields={"resource": {"cpu": -1}})
    with pytest.raises(Exception, match="no such image"):
        await host.execute(fields={"id": "nobody/has:this"})
    assert await host.entries() == []


async def test_who_leaves_in_the_middle_owes_nothing(host: Host) -> None:
    await host.publish()
    task = asyncio.create_task(host.execute({"sleep_ms": 10_000}))
    await host.until(lambda: host.calls() == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):  # nobody waits for what is written of them
        while not (entries := await host.entries()):
            await asyncio.sleep(0.02)
    (entry,) = entries
    assert (entry.error, entry.owed) == ("CancelledError", 0)


async def test_a_fee_that_changes_while_a_call_runs_is_that_of_its_beginning(host: Host) -> None:
    await host.publish()
    slow = asyncio.create_task(host.execute({"sleep_ms": 6000}))
    await host.until(lambda: host.calls() == 1)
    await host.publish(Listing(image=NAME, developer="heir", fee=Decimal("0.75")))
    await host.execute("quick")
    assert not slow.done()
    await slow
    assert [(one.owed, one.developer) for one in await host.entries()] == [
        (750_000, "heir"), (250_000, "dev"),
    ]  # fmt: skip


async def test_a_retired_task_costs_nothing(host: Host) -> None:
    await host.publish()

    def retire() -> None:
        with open_market(host.url) as market:
            market.catalogue.retire(NAME)

    await asyncio.to_thread(retire)
    await host.until(lambda: host.billing.offers() == [])
    await host.execute()
    assert [one.owed for one in await host.entries()] == [0]


async def test_only_what_is_listed_where_the_operator_wants_that(url: str, state: Path) -> None:
    async with host_at(url, state, listed_only=True) as host:
        with pytest.raises(RecordNotFound, match="is not offered here"):
            await host.execute()
        await host.publish()
        await host.execute()
        assert len(await host.entries()) == 1


# Idempotency keys.


async def test_a_key_again_gives_the_same_reply_and_is_not_executed(host: Host) -> None:
    await host.publish()
    first = await host.execute("hello", client="ann", key="k")
    again = await host.execute("hello", client="ann", key="k")
    assert again.repeated
    assert not first.repeated
    assert (again.reply.body, again.receipt) == (first.reply.body, first.receipt)
    assert [one.owed for one in await host.entries()] == [250_000]
    assert host.calls() == 1


async def test_a_key_at_the_same_time_is_executed_once(host: Host) -> None:
    await host.publish()
    some = await asyncio.gather(
        *(host.execute({"sleep_ms": 300}, client="ann", key="k") for _ in range(5))
    )
    assert len({one.receipt for one in some}) == 1
    assert [one.repeated for one in some].count(False) == 1
    assert [one.owed for one in await host.entries()] == [250_000]
    assert host.calls() == 1


async def test_a_key_on_two_hosts_at_the_same_time_is_billed_once(
    url: str, state: Path, tmp_path: Path
) -> None:
    async with host_at(url, state) as one, host_at(url, tmp_path / "other") as other:
        await one.publish()
        await other.publish()
        both = await asyncio.gather(
            *(host.execute({"sleep_ms": 300}, client="ann", key="k") for host in (one, other))
        )
        assert [len(billed.reply.body) for billed in both] == [17, 17]

        def owed() -> list[tuple[int, int]]:
            with open_market(url) as market:
                return [(entry.owed, entry.repeats) for entry in market.ledger.entries()]

        assert await asyncio.to_thread(owed) == [(250_000, 0), (0, 1)]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        {"input": "other"},
        {"id": "lading-test/other:1"},
        {"resource": {"cpu": 0.2, "mem": 32}},
        {"resource": {"cpu": 0.1, "mem": 33}},
    ],
)
async def test_a_key_with_another_request_is_refused(
    host: Host, other: dict[str, Any], at_once: bool
) -> None:
    running = asyncio.create_task(host.execute({"sleep_ms": 300}, key="k"))
    if at_once:
        await host.until(lambda: host.calls() == 1)
    else:
        await running
    with pytest.raises(KeyReused, match="'k' came before, with another") as caught:
        await host.execute({"sleep_ms": 300}, key="k", fields=other)
    assert (caught.value.http_status, caught.value.field) == (422, "Idempotency-Key")
    await running
    assert len(await host.entries()) == 1


async def test_a_key_whose_execution_failed_may_be_tried_again(host: Host) -> None:
    for _ in range(2):
        with pytest.raises(TaskFailed):
            await host.execute({"status": 500}, key="k")
    assert [one.success for one in await host.entries()] == [0, 0]


async def test_who_waits_for_a_key_that_fails_tries_itself(host: Host) -> None:
    bad = {"status": 503, "sleep_ms": 200}
    results = await asyncio.gather(
        *(host.execute(bad, key="k") for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(one, TaskFailed) for one in results)
    assert host.calls() == 3


async def test_a_reply_that_is_not_kept_any_more_is_not_executed_again(host: Host) -> None:
    await host.publish()
    await host.execute(key="k")

    def forget() -> None:
        with open_market(host.url) as market:
            market.ledger.forget_replies(before=0, most=0)

    await asyncio.to_thread(forget)
    with pytest.raises(ReplyForgotten, match="billed as entry 1") as caught:
        await host.execute(key="k")
    assert caught.value.http_status == 409
    assert len(await host.entries()) == 1


@pytest.mark.parametrize("key", ["x" * 256, "a\tb", "é"])
async def test_a_key_that_is_none_is_refused(host: Host, key: str) -> None:
    with pytest.raises(InputError, match="Idempotency-Key"):
        await host.execute(key=key)


async def test_a_restart_remembers_keys_and_replies(url: str, state: Path) -> None:
    async with host_at(url, state) as host:
        first = await host.execute({"big": 100_000}, key="k")
    async with host_at(url, state) as host:
        again = await host.execute({"big": 100_000}, key="k")
        assert again.repeated
        assert (again.reply.body, again.receipt) == (first.reply.body, first.receipt)


async def test_while_the_ledger_is_out_of_reach_nothing_is_executed(host: Host) -> None:
    book = host.billing._book
    assert book is not None
    book.problem = MarketUnavailable("the ledger is away")
    with pytest.raises(MarketUnavailable):
        await host.execute()
    assert host.calls() == 0
    await host.until(lambda: book.problem is None)  # as it is well
    await host.execute()


async def test_questions_to_an_enclave_are_no_executions(url: str, state: Path) -> None:
    async with host_at(url, state, sgx=True) as host:
        fields = {"input": "SGXRAREQUEST", "use_sgx": True}
        with contextlib.suppress(Exception):  # whether there is an enclave is not the point
            await host.execute(fields=fields)
        assert await host.entries() == []


async def test_without_a_ledger_nothing_is_written(state: Path) -> None:
    async with host_at("none", state) as host:
        billed = await host.execute(key="k")
        assert (billed.receipt, host.billing.public_keys()) == ("", [])
    assert not (state / "market.sqlite").exists()
