"""What a cold start costs: one, one with a spare ready, and eight at once."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.docker_api import Api, first_reply, request_bytes
from benchmarks.executor import Executor, ExecutorError
from benchmarks.figures import Figure
from benchmarks.setting import Setting

__all__ = ["cold_figures", "in_turn", "spare_figure"]

_REQUEST = request_bytes(b"hello")
_EIGHT = 8
_SHARE, _MEMORY_MIB = 0.25, 64  # of each of the eight: two cores and 512 MiB together


def cold_figures(setting: Setting, wanted: set[str]) -> Iterator[Figure]:
    """Measure one cold start, eight at once, or both."""
    flags = ("--cpu", "2", "--mem", "2048", "--queue", "100")
    with setting.executor(*flags) as executor:
        executor.forget_warm()  # another one may have been used before
        if "cold" in wanted:
            yield _cold(setting, executor)
        if "eight" in wanted:
            yield _eight(setting, executor)


def in_turn(
    rounds: int, ours: Callable[[], float], floor: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Measure both in turn, each as often first as the other; the first pair is thrown away."""
    ours()
    floor()
    got: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            got[which].append((ours, floor)[which]())
    return got


def _cold(setting: Setting, executor: Executor) -> Figure:
    task = {"id": setting.image, "resource": {"cpu": 1, "mem": 128}, "input": "hello"}

    def ours() -> float:
        answer = executor.execute(task)
        _forget(setting, executor, [answer.headers])
        return answer.seconds

    def floor() -> float:
        began = time.perf_counter()
        identity = setting.create(setting.api, cpus=1, memory_mib=128)
        try:
            first_reply(setting.api.start(identity).address, _REQUEST)
            return time.perf_counter() - began
        finally:
            setting.api.remove(identity)

    rounds = setting.rounds(20, 5)
    setting.say(f"cold: {rounds} pairs")
    mine, engines = in_turn(rounds, ours, floor)
    return _ratio("cold", mine, engines)


def _ratio(name: str, mine: list[float], engines: list[float]) -> Figure:
    value = statistics.median(mine) / statistics.median(engines)
    parts = {}
    for title, times in (("executor", mine), ("engine alone", engines)):
        parts[f"{title}, median, ms"] = statistics.median(times) * 1000
        parts[f"{title}, least, ms"] = min(times) * 1000
    return Figure(name, value, parts=parts)


def _forget(setting: Setting, executor: Executor, replies: list[dict[str, str]]) -> None:
    """Check that these were cold, and have their containers removed."""
    for headers in replies:
        if headers.get("x-lading-start", "cold") != "cold":
            raise ExecutorError("a call that should have started its container found it warm")
        if not executor.owners and (name := headers.get("x-lading-container")):
            setting.note_owner(executor, name)
    executor.forget_warm()
    for owner in executor.owners:
        while setting.api.labelled(f"lading.owner={owner}"):
            time.sleep(0.01)


def _eight(setting: Setting, executor: Executor) -> Figure:
    with contextlib.ExitStack() as stack:
        images = [stack.enter_context(_other_name(setting, number)) for number in range(_EIGHT)]
        apis = [stack.enter_context(contextlib.closing(Api(setting.engine))) for _ in images]
        crew = stack.enter_context(ThreadPoolExecutor(_EIGHT))

        def at_once(work: Callable[[int], Any]) -> tuple[float, list[Any]]:
            gate = threading.Barrier(_EIGHT + 1)

            def one(number: int) -> tuple[Any, float]:
                gate.wait()
                result = work(number)
                return result, time.perf_counter()

            running = [crew.submit(one, number) for number in range(_EIGHT)]
            gate.wait()
            began = time.perf_counter()
            done = [item.result() for item in running]
            return max(ended for _, ended in done) - began, [result for result, _ in done]

        def ours() -> float:
            seconds, replies = at_once(
                lambda number: executor.execute(_task(images[number])).headers
            )
            _forget(setting, executor, replies)
            return seconds

        def floor() -> float:
            made: list[str] = []
            try:
                return at_once(lambda number: _start(setting, apis[number], images[number], made))[
                    0
                ]
            finally:
                for identity in made:
                    setting.api.remove(identity)

        rounds = setting.rounds(9, 3)
        setting.say(f"eight: {rounds} pairs")
        return _ratio("eight", *in_turn(rounds, ours, floor))


def _task(image: str) -> dict[str, Any]:
    return {"id": image, "resource": {"cpu": _SHARE, "mem": _MEMORY_MIB}, "input": "hello"}


def _start(setting: Setting, api: Api, image: str, made: list[str]) -> None:
    identity = setting.create(api, cpus=_SHARE, memory_mib=_MEMORY_MIB, image=image)
    made.append(identity)
    first_reply(api.start(identity).address, _REQUEST)


@contextlib.contextmanager
def _other_name(setting: Setting, number: int) -> Iterator[str]:
    """The probe under one more name, so that eight tasks are eight images to the executor."""
    repo, tag = f"lading-bench/{setting.label}", f"task-{number}"
    setting.api.call("POST", f"/images/{setting.image}/tag?repo={repo}&tag={tag}")
    try:
        yield f"{repo}:{tag}"
    finally:
        setting.api.call("DELETE", f"/images/{repo}:{tag}", missing_ok=True)


def spare_figure(setting: Setting) -> Figure:
    """Measure a request that finds every other container busy, where one spare is kept."""
    if setting.against:
        return Figure("spare", None, "needs an executor started here, with --spares 1")
    task = {"id": setting.image, "resource": {"cpu": 0.5, "mem": 64}, "input": "hello"}
    busy = {**task, "input": '{"sleep_ms": 400, "say": ""}'}
    flags = ("--cpu", "2", "--mem", "2048", "--queue", "100", "--spares", "1")
    times: list[float] = []
    rounds = setting.rounds(12, 4)
    setting.say(f"spare: {rounds} rounds")
    with setting.executor(*flags) as executor, ThreadPoolExecutor(1) as crew:
        for _ in range(rounds):
            first = executor.execute(task)
            setting.note_owner(executor, first.headers["x-lading-container"])
            executor.wait_for(idle=2, starting=0)
            with contextlib.closing(executor.connect()) as connection:
                occupied = crew.submit(executor.execute, busy)
                executor.wait_for(busy=1)
                answer = executor.execute(task, connection)
            times.append(answer.seconds * 1000)
            if answer.headers["x-lading-container"] == occupied.result().headers.get(
                "x-lading-container"
            ):
                raise ExecutorError("the request did not get the spare, but the busy container")
            executor.forget_warm()
    parts = {"least, ms": min(times), "most, ms": max(times)}
    return Figure("spare", statistics.median(times), parts=parts)
