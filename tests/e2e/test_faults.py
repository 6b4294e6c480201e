"""Everything that goes wrong with strangers' tasks, caused for real: an answer that says so, and
an executor that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
from pathlib import Path

import psutil
import pytest
from tests.e2e.conftest import Start, Variant, archive, both_engines
from tests.e2e.test_executor import containers, records
from tests.support.containers import said
from tests.support.executors import Answer, ExecutorProcess

from lading.engine import Engine, State


@both_engines
async def test_never_prints_the_mark(start: Start, variant: Variant, engine: Engine) -> None:
    image = await variant("serve", "--no-mark")
    executor = await start("--start-timeout", "1.5")
    answer = await executor.execute(image)
    assert not answer.success
    assert "meca-init-done" in answer.msg
    assert await containers(engine, executor) == []


async def test_others_do_not_wait_for_one_that_never_starts(
    start: Start, variant: Variant, probe: str
) -> None:
    image = await variant("serve", "--no-mark")
    executor = await start("--start-timeout", "20")
    stuck = asyncio.create_task(executor.execute(image))
    await asyncio.sleep(0.5)
    assert (await executor.execute(probe, "other")).msg == "other"
    assert not stuck.done()
    stuck.cancel()


async def test_prints_the_mark_and_never_listens(start: Start, variant: Variant) -> None:
    image = await variant("serve", "--no-listen")
    executor = await start("--start-timeout", "4")
    answer = await executor.execute(image)
    assert not answer.success
    assert "8080" in answer.msg


async def test_mark_before_listening_and_mark_on_stderr(start: Start, variant: Variant) -> None:
    late = await variant("serve", "--mark-first", "--listen-ms", "700")
    loud = await variant("serve", "--stderr")
    executor = await start()
    assert (await executor.execute(late, "late")).msg == "late"
    assert (await executor.execute(loud, "loud")).msg == "loud"


@both_engines
async def test_exits_at_start(start: Start, variant: Variant) -> None:
    image = await variant("err", "no model in /models")
    executor = await start()
    answer = await executor.execute(image)
    assert not answer.success
    assert "no model in /models" in answer.msg
    assert "exit" in answer.msg


async def test_replies_500(start: Start, probe: str) -> None:
    executor = await start()
    answer = await executor.execute(probe, {"status": 500})
    assert (answer.status, answer.success) == (200, False)
    assert "500" in answer.msg
    assert "status 500" in answer.msg
    assert (await executor.execute(probe, "x")).headers["x-lading-start"] == "warm"


@both_engines
async def test_hangs_and_is_replaced(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--request-timeout", "1")
    answer = await executor.execute(probe, {"sleep_ms": 60_000})
    assert not answer.success
    assert "did not answer within 1" in answer.msg
    again = await executor.execute(probe, "x")
    assert again.headers["x-lading-start"] == "cold"
    assert await containers(engine, executor) == [again.headers["x-lading-container"]]


async def test_a_request_may_ask_for_less_time(start: Start, probe: str) -> None:
    executor = await start()
    answer = await executor.execute(probe, {"sleep_ms": 60_000}, timeout=0.5)
    assert "500 ms" in answer.msg


@both_engines
async def test_killed_for_memory(start: Start, probe: str) -> None:
    executor = await start()
    answer = await executor.execute(probe, {"hog": 200 << 20}, mem=64)
    assert not answer.success
    assert "out of memory" in answer.msg
    assert "limit 64 MiB" in answer.msg
    assert "peak 64 MiB" in answer.msg
    assert "128" in answer.msg  # what to try
    assert (await executor.execute(probe, "x", mem=64)).msg == "x"


@pytest.mark.parametrize("how", ["close_half", "close"])
async def test_closes_the_connection(start: Start, probe: str, how: str) -> None:
    executor = await start()
    answer = await executor.execute(probe, {how: True})
    assert not answer.success
    assert "closed the connection" in answer.msg
    assert (await executor.execute(probe, "x")).msg == "x"


async def test_exits_while_it_works(start: Start, probe: str) -> None:
    executor = await start()
    answer = await executor.execute(probe, {"exit": 3})
    assert not answer.success
    assert "3" in answer.msg
    assert "probe: exiting 3" in answer.msg
    assert "not sent again" in answer.msg
    assert answer.headers["x-lading-error"].startswith("ExitedEarly: ")
    assert (await executor.execute(probe, "x")).msg == "x"


async def test_replies_100_mb(start: Start, probe: str, tmp_path: Path) -> None:
    executor = await start("--max-output", "16")
    answer = await executor.execute(probe, {"big": 100 << 20})
    assert not answer.success
    assert "16 MiB" in answer.msg
    assert psutil.Process(executor.process.pid).memory_info().rss < 150 << 20
    assert (await executor.execute(probe, "x")).headers["x-lading-start"] == "warm"
    roomy = await start("--max-output", "128", state=tmp_path / "roomy")
    answer = await roomy.execute(probe, {"big": 100 << 20})
    assert answer.success
    assert len(answer.msg) == 100 << 20


@both_engines
async def test_removed_while_idle(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    name = (await executor.execute(probe, "x")).headers["x-lading-container"]
    await (await engine.container(name)).remove()
    answer = await executor.execute(probe, "y")
    assert (answer.success, answer.msg) == (True, "y")
    assert answer.headers["x-lading-container"] != name


async def test_removed_while_it_works(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    name = (await executor.execute(probe, "x")).headers["x-lading-container"]
    asks = {"say": "at work", "sleep_ms": 60_000}
    working = asyncio.create_task(executor.execute(probe, asks))
    container = await engine.container(name)
    await said(container, b"at work")
    await container.remove()
    answer = await working
    assert not answer.success
    assert "not sent again" in answer.msg
    assert answer.headers["x-lading-error"].startswith("ContainerLost: ")
    assert (await executor.execute(probe, "y")).msg == "y"


async def test_image_absent_or_malformed(start: Start) -> None:
    executor = await start()
    absent = await executor.execute("127.0.0.1:9/nobody/has-this:1")
    assert not absent.success
    assert "127.0.0.1:9/nobody/has-this:1" in absent.msg
    malformed = await executor.execute("UPPER/Case:::")
    assert not malformed.success
    assert "UPPER/Case:::" in malformed.msg


async def test_killed_with_requests_running(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--cpu", "2", "--mem", "2000")
    calls = [
        asyncio.create_task(executor.execute(probe, {"sleep_ms": 30_000}, cpu=0.05, mem=16 + i))
        for i in range(20)
    ]
    async with asyncio.timeout(60):
        while sum(row["kind"] == "call" for row in records(executor.state)) < 20:
            await asyncio.sleep(0.1)
    assert len(await containers(engine, executor)) == 20
    await executor.end(signal.SIGKILL)
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(await containers(engine, executor)) == 20
    again = await start(state=executor.state)
    assert await containers(engine, again) == []
    rows = records(executor.state)
    assert {row["state"] for row in rows} == {"lost"}
    assert sum(row["kind"] == "call" for row in rows) == 20


async def test_sigterm_drains(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    await executor.execute(probe, "x")
    working = await working_call(executor, probe, calls=2, sleep_ms=2000)
    ended = asyncio.create_task(executor.end(signal.SIGTERM))
    assert (await working).success
    await ended
    assert await containers(engine, executor) == []
    assert {row["state"] for row in records(executor.state)} == {"succeeded"}


async def working_call(
    executor: ExecutorProcess, probe: str, *, calls: int = 1, sleep_ms: int = 60_000
) -> asyncio.Task[Answer]:
    """Have a task work for a minute; returns once it does, and there are so many calls."""
    working = asyncio.create_task(executor.execute(probe, {"sleep_ms": sleep_ms}))
    async with asyncio.timeout(20):
        while sum(row["kind"] == "call" for row in records(executor.state)) < calls:
            await asyncio.sleep(0.02)
    return working


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_has_a_deadline(
    start: Start, probe: str, engine: Engine, number: signal.Signals
) -> None:
    executor = await start("--drain", "1")
    working = await working_call(executor, probe)
    assert await executor.end(number, timeout=20) == 128 + number
    assert (await working).msg == "mecanywhere executor not started"
    assert await containers(engine, executor) == []
    (call,) = [row for row in records(executor.state) if row["kind"] == "call"]
    assert (call["state"], call["error"]) == ("cancelled", "the executor ended")
    assert "running" not in {row["state"] for row in records(executor.state)}


async def test_a_second_ctrl_c_waits_for_nobody(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--drain", "600")
    working = await working_call(executor, probe)
    ended = asyncio.create_task(executor.end(signal.SIGINT))
    await refuses_connections(executor)
    executor.process.send_signal(signal.SIGINT)
    await ended
    assert (await working).msg == "mecanywhere executor not started"
    assert await containers(engine, executor) == []


async def refuses_connections(executor: ExecutorProcess) -> None:
    """Wait until it takes none any more: the end has begun."""
    async with asyncio.timeout(20):
        with contextlib.suppress(OSError):
            while True:
                _, writer = await asyncio.open_connection(executor.host, executor.port)
                writer.close()


async def test_two_thousand_at_once(start: Start, probe: str) -> None:
    executor = await start("--queue", "100", "--cpu", "0.2", "--concurrency", "1")
    await executor.execute(probe, "x")
    tasks = [asyncio.create_task(executor.execute(probe, {"sleep_ms": 5})) for _ in range(2000)]
    answers = await asyncio.gather(*tasks)
    assert all(answer.status == 200 for answer in answers)
    refused = [answer.msg for answer in answers if not answer.success]
    assert len(refused) + sum(answer.success for answer in answers) == 2000
    assert refused
    assert all("waiting" in message or "wait" in message for message in refused), refused[0]
    assert psutil.Process(executor.process.pid).memory_info().rss < 250 << 20
    assert (await executor.execute(probe, "after")).msg == "after"


async def test_many_callers_are_no_matter_of_the_usual_limit_of_files(start: Start) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))  # as in a login shell
    try:
        executor = await start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    soft, hard = psutil.Process(executor.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536)


async def test_callers_who_leave_free_their_place(start: Start, probe: str) -> None:
    executor = await start("--queue", "1", "--cpu", "0.1", "--concurrency", "1")
    await executor.execute(probe, "x")
    first = await working_call(executor, probe, calls=2)
    second = asyncio.create_task(executor.execute(probe, {"sleep_ms": 30_000}))
    async with asyncio.timeout(20):
        while b"lading_waiting 1.0" not in (await executor.ask("GET", "/metrics")).body:
            await asyncio.sleep(0.02)
    assert not (await executor.execute(probe, "third")).success  # the one place is taken
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    async with asyncio.timeout(20):
        while not (await executor.execute(probe, "fourth")).success:
            await asyncio.sleep(0.05)


async def test_an_image_built_again_is_a_new_task(
    start: Start, variant: Variant, engine: Engine
) -> None:
    image = await variant("serve", "--stderr")
    executor = await start()
    name = (await executor.execute(image, "x")).headers["x-lading-container"]
    await engine.build(archive("FROM lading-test/probe:1\nENV NEW=1\n"), image)
    await asyncio.sleep(1.1)
    assert (await executor.execute(image, "x")).headers["x-lading-container"] != name


async def test_bad_bodies_never_kill_a_worker(start: Start, probe: str) -> None:
    executor = await start("--max-input", "1")
    big = await executor.ask("POST", "/", b"x" * (2 << 20))
    assert big.status == 413
    assert "1 MiB" in big.msg
    body = json.dumps({"id": probe, "input": "x" * (900 << 10)}).encode()
    assert (await executor.ask("POST", "/", body)).success
    info = await executor.ask("GET", "/health")
    assert info.status == 200


@pytest.mark.parametrize(
    "head",
    [
        "GET /health HTTP/1.1\r\nX-Endless: ",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Endless: ",
    ],
)
async def test_endless_headers_are_cut_off(start: Start, head: str) -> None:
    executor = await start()
    reader, writer = await asyncio.open_connection(executor.host, executor.port)
    writer.write(head.encode())
    with contextlib.suppress(OSError):
        for _ in range(100):
            writer.write(b"a" * 100_000)
            await writer.drain()
        assert b"headers" in await reader.read()
    writer.close()
    assert psutil.Process(executor.process.pid).memory_info().rss < 150 << 20


async def test_one_connection_may_carry_many_requests(start: Start, probe: str) -> None:
    executor = await start()
    reader, writer = await asyncio.open_connection(executor.host, executor.port)
    ask = f"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: {'a' * 40_000}\r\n\r\n".encode()
    for _ in range(5):
        for part in (ask[:30_000], ask[30_000:]):
            writer.write(part)
            await writer.drain()
        assert b"200 OK" in await reader.readuntil(b'"ok"\n}')
    writer.close()


async def test_running_states_are_known(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    name = (await executor.execute(probe, "x")).headers["x-lading-container"]
    info = await (await engine.container(name)).inspect()
    assert info.state is State.RUNNING
    assert info.labels["lading.contract"] == "meca"
    assert info.labels["lading.image"] == probe
