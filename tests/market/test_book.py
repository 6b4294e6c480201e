"""Appending while things go wrong: locked, full, gone; nothing is lost in silence."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.support import postgres

from lading.errors import MarketUnavailable, RecordError, RecordForged
from lading.market.appending import Book, anchors_path
from lading.market.catalogue import Listing
from lading.market.entries import Execution
from lading.market.keys import HostKey, public_keys
from lading.market.store import open_market
from lading.market.verification import verify

Maker = Callable[..., Execution]


def opened(url: str, key: HostKey, state: Path, **options: float) -> Book:
    return Book(url, key, state, **{"patience": 5.0, **options})  # type: ignore[arg-type]


@pytest.fixture
async def book(url: str, key: HostKey, state: Path) -> AsyncIterator[Book]:
    async with opened(url, key, state) as found:
        yield found


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def entries(url: str) -> list[str]:
    with open_market(url) as market:
        return [one.id for one in market.ledger.entries()]


async def test_what_is_appended_is_there_at_once(book: Book, url: str, execution: Maker) -> None:
    first = await book.append(execution(id="a"), others=0)
    both = await asyncio.gather(*(book.append(execution(id=name)) for name in "bc"))
    assert [first.seq, *(one.seq for one in both)] == [1, 2, 3]
    assert await asyncio.to_thread(entries, url) == ["a", "b", "c"]


async def test_what_ends_together_is_signed_together_as_far_as_a_header_goes(
    book: Book, execution: Maker
) -> None:
    found = await asyncio.gather(*(book.append(execution()) for _ in range(50)))
    groups = sorted({one.group[:2] for one in found if one.group is not None})
    assert groups == [(first, min(first + 7, 50)) for first in range(1, 51, 8)]
    assert max(len(one.receipt) for one in found) < 3000  # proxies allow 4096 for all headers


async def test_many_more_than_fit_into_one_are_written_all(
    book: Book, url: str, execution: Maker
) -> None:
    found = await asyncio.gather(*(book.append(execution()) for _ in range(1234)))
    assert sorted(one.seq for one in found) == list(range(1, 1235))


async def test_nobody_has_to_wait_for_an_append(
    url: str, key: HostKey, state: Path, execution: Maker
) -> None:
    async with opened(url, key, state) as book:
        book.append_later(execution(id="later"))
    assert await asyncio.to_thread(entries, url) == ["later"]


async def test_a_waiter_who_is_cancelled_loses_nothing(
    url: str, key: HostKey, state: Path, execution: Maker
) -> None:
    async with opened(url, key, state) as book:
        tasks = [asyncio.create_task(book.append(execution(id=name))) for name in "ab"]
        await asyncio.sleep(0)
        tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        assert (await tasks[1]).seq == 2
    assert await asyncio.to_thread(entries, url) == ["a", "b"]


async def test_changes_of_others_are_seen_within_a_second_or_two(book: Book, url: str) -> None:
    def publish(fee: str) -> None:
        with open_market(url) as market:
            market.catalogue.publish(Listing(image="knn:1", fee=Decimal(fee)))

    assert book.names.get("knn:1") is None
    for fee in ("0.5", "0.75"):
        await asyncio.to_thread(publish, fee)

        def seen(fee: str = fee) -> bool:
            found = book.names.get("knn:1")
            return found is not None and found.fee == Decimal(fee)

        await until(seen)


async def test_how_far_it_goes_is_noted_in_the_database_and_beside_it(
    url: str, key: HostKey, state: Path, execution: Maker
) -> None:
    async with opened(url, key, state) as book:
        last = await book.append(execution())
        await until(lambda: last.hash in anchors_path(state).read_text())

    def cut() -> None:
        with open_market(url) as market:
            with market.database.begin() as transaction:
                transaction.write("DELETE FROM lading_ledger", [()])
            assert "signed mark" in verify(market.database, public_keys(state)).problems[0]
            with market.database.begin() as transaction:
                transaction.write("DELETE FROM lading_ledger_head", [()])
            assert verify(market.database, public_keys(state)).holds

    await asyncio.to_thread(cut)
    with pytest.raises(RecordForged, match="ends at entry 0, and we wrote or saw entry 1"):
        async with opened(url, key, state):
            pass


async def test_a_ledger_cut_off_while_served_ends_the_work(
    book: Book, url: str, execution: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(book.append(execution()) for _ in range(3)))

    def cut() -> None:
        with open_market(url) as market, market.database.begin() as transaction:
            transaction.write("DELETE FROM lading_ledger WHERE seq > ?", [(1,)])

    await asyncio.to_thread(cut)
    results = await asyncio.gather(
        *(book.append(execution(id=f"x{n}")) for n in range(2)), return_exceptions=True
    )
    assert all(isinstance(one, RecordForged) for one in results)
    with pytest.raises(RecordForged):
        book.check()
    await asyncio.sleep(1.5)  # a look that finds the database well does not make up for it
    with pytest.raises(RecordForged):
        book.check()
    lost = [one.getMessage() for one in caplog.records if "NOT IN THE LEDGER" in one.getMessage()]
    assert [json.loads(text.partition(": ")[2])["id"] for text in lost] == ["x0", "x1"]


# A lock that another holds.


class Holder:
    """Another process's transaction that does not end, as far as the database sees."""

    def __init__(self, url: str) -> None:
        self._sqlite: sqlite3.Connection | None = None
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            self._sqlite = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._sqlite.execute("BEGIN IMMEDIATE")
        else:
            import psycopg  # noqa: PLC0415  # an extra

            self._postgres = psycopg.connect(url)
            self._postgres.execute("LOCK TABLE lading_ledger, lading_ledger_head")

    def release(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
        else:
            self._postgres.close()


async def test_a_locked_ledger_is_waited_for(book: Book, url: str, execution: Maker) -> None:
    await book.append(execution(), others=0)
    holder = await asyncio.to_thread(Holder, url)
    try:
        waiting = [
            asyncio.create_task(book.append(execution(), others=number)) for number in range(3)
        ]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
    finally:
        await asyncio.to_thread(holder.release)
    assert sorted([(await task).seq for task in waiting]) == [2, 3, 4]
    assert book.problem is None


@pytest.mark.timeout(60)
async def test_a_ledger_locked_for_longer_than_patience_withholds_and_recovers(
    url: str, key: HostKey, state: Path, execution: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url, key, state, patience=0.1) as book:
        holder = await asyncio.to_thread(Holder, url)
        try:
            with pytest.raises(MarketUnavailable):
                await book.append(execution(id="withheld"))
            with pytest.raises(MarketUnavailable):
                book.check()  # no work is taken
        finally:
            await asyncio.to_thread(holder.release)
        lines = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
        assert any(text.startswith("no more work is taken") for text in lines)
        (lost,) = [text for text in lines if text.startswith("NOT IN THE LEDGER")]
        facts = json.loads(lost.partition(": ")[2])
        assert (facts["id"], facts["client"], facts["fee"]) == ("withheld", "ann", "0.25")
        await until(lambda: book.problem is None)
        assert (await book.append(execution(id="after"), others=0)).seq == 1
    assert await asyncio.to_thread(entries, url) == ["after"]


# A disk that is full.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "lading-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("no tmpfs may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.timeout(60)
async def test_a_full_disk_withholds_and_recovers(
    small_disk: Path, key: HostKey, state: Path, execution: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{small_disk}/market.sqlite"
    done: list[str] = []
    async with opened(url, key, state, patience=0.1) as book:
        ballast = small_disk / "ballast"

        def fill() -> None:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))

        await asyncio.to_thread(fill)

        async def use_it_up() -> None:
            for number in range(200):
                entry = await book.append(execution(id=f"e{number}"), others=0)
                done.append(entry.id)

        with pytest.raises(MarketUnavailable, match="disk") as caught:
            await use_it_up()
        assert "make room on the disk" in str(caught.value)
        with pytest.raises(MarketUnavailable):
            book.check()
        await asyncio.to_thread(ballast.unlink)
        await until(lambda: book.problem is None)
        done.append((await book.append(execution(id="after"))).id)
    assert await asyncio.to_thread(entries, url) == done
    assert sum("NOT IN THE LEDGER" in one.getMessage() for one in caplog.records) == 1


# A database that is gone.


@pytest.fixture
def own_cluster() -> Iterator[postgres.Cluster]:
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.cluster() as running:
        yield running


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_a_database_that_goes_away_withholds_and_recovers(
    own_cluster: postgres.Cluster, key: HostKey, state: Path, execution: Maker
) -> None:
    url = own_cluster.url("postgres")
    async with opened(url, key, state, patience=0.5) as book:
        await book.append(execution(id="before"))
        await asyncio.to_thread(own_cluster.stop)
        with pytest.raises(MarketUnavailable):
            await book.append(execution(id="lost"))
        with pytest.raises(MarketUnavailable):
            book.check()
        await asyncio.to_thread(own_cluster.start)
        await until(lambda: book.problem is None, 20)
        await book.append(execution(id="after"))
    assert await asyncio.to_thread(entries, url) == ["before", "after"]


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_a_database_that_is_started_anew_is_waited_for(
    own_cluster: postgres.Cluster, key: HostKey, state: Path, execution: Maker
) -> None:
    url = own_cluster.url("postgres")
    async with opened(url, key, state, patience=30) as book:
        await book.append(execution(id="before"))
        await asyncio.to_thread(own_cluster.stop)
        waiting = asyncio.create_task(book.append(execution(id="patient")))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_cluster.start)
        assert (await waiting).seq == 2
    assert await asyncio.to_thread(entries, url) == ["before", "patient"]


async def test_what_is_no_market_is_said_so(tmp_path: Path, key: HostKey, state: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database\n" * 100)
    with pytest.raises(RecordError, match="no SQLite file"):
        async with opened(str(text), key, state):
            pass
    with pytest.raises(MarketUnavailable):
        async with opened(str(tmp_path), key, state):
            pass
    with pytest.raises(MarketUnavailable, match="postgresql://ann@localhost:1/x"):
        async with opened("postgresql://ann:secret@localhost:1/x", key, state):
            pass


async def test_a_market_of_a_newer_lading_is_left_alone(
    url: str, key: HostKey, state: Path
) -> None:
    def upgrade() -> None:
        with open_market(url) as market, market.database.begin() as transaction:
            transaction.write("UPDATE lading_market SET value = ? WHERE name = 'version'", [(2,)])

    await asyncio.to_thread(upgrade)
    with pytest.raises(RecordError, match="is of version 2, this Lading knows 1"):
        async with opened(url, key, state):
            pass


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "market.sqlite"
    with open_market(str(path)) as market:
        market.catalogue.publish(Listing(image="a:1"))
        modes = {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
        assert modes == {0o600}
