"""An application of the Golem Task API that does as its parameters say.

A task's parameters:

`parts`
    Subtasks that it makes (default: as many as it may).
`image`, `tag`
    Of its providers: its own, which it can't know by itself.
`memory`
    What it asks for its providers, in MiB.
`do`
    What a provider does, by the part's number as a text, or `*` for the others. Words after one
    another: `sleep 2`, `die`, `die-once`, `hang`, `hang-once`, `outside`, `link`, `missing`,
    `empty`, `directory`, `fail`, `fail-once`, `raise`, `raise-once`, `eat` (memory), `big 16`
    (MiB of result), `interfaces`, `print words`.
`requestor`
    What the requestor does, by the call's name: `raise`, `die`, `die-once`, `sleep 2`, `hang`,
    `hang-once`, and for Verify `await-all` (data of all others), `await-forever`, `inconclusive`.
`refuse`
    How many nodes, from the first that asks, never get anything.
`blob`
    Whatever: parameters may be large. Each subtask gets it, too, with `blob_to_parts`.
`pad_output`
    MiB that the last verified subtask adds to the task's outputs.

`once` means: once for each task, or each part, however many containers that takes. A result says
its part's number, squared, and what its resources hold. The task's output is `sum` and `parts/N`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lading.contracts.golem import (
    Infrastructure,
    ProviderAppHandler,
    RequestorAppHandler,
    Subtask,
    VerifyResult,
    create_docker_cpu_task,
)
from lading.contracts.golem.directories import ProviderTaskDir, RequestorTaskDir
from lading.contracts.golem.entrypoint import main


def die() -> None:
    print("dying as told", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)  # the first process of a container may ignore it
    os._exit(3)


def first_time(marks: Path, name: str) -> bool:
    """Whether this is the first time, for all containers that share the directory."""
    try:
        os.close(os.open(marks / f".once-{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


async def common(word: str, rest: str, marks: Path, name: str) -> bool:
    """What both sides can do; whether it was that."""
    word, dash, _ = word.partition("-once")
    if dash and not first_time(marks, f"{word}-{name}"):
        return True
    if word == "sleep":
        await asyncio.sleep(float(rest))
    elif word == "spin":
        end = time.process_time() + float(rest)
        while time.process_time() < end:
            pass
    elif word == "hang":
        await asyncio.sleep(3600)
    elif word == "die":
        die()
    elif word == "raise":
        raise RuntimeError(rest or f"raised in {name}")
    elif word == "print":
        print(rest.format(n=name), flush=True)
    else:
        return False
    return True


def steps(text: str) -> list[tuple[str, str]]:
    """`sleep 2; die` as pairs."""
    parts = [step.strip().partition(" ") for step in text.split(";") if step.strip()]
    return [(word, rest) for word, _, rest in parts]


class Requestor(RequestorAppHandler):
    """Keeps its state in files, so that one that was started anew knows all."""

    def __init__(self) -> None:
        self._refused: dict[str, set[str]] = {}

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Any:
        (task_work_dir / "params.json").write_text(json.dumps(task_params))
        await self._do(task_work_dir, "CreateTask")
        count = task_params.get("parts", max_subtasks_count)
        self._save(task_work_dir, {"count": min(count, max_subtasks_count), "parts": {}})
        inputs = sorted(task_work_dir.task_inputs_dir.iterdir())
        for path in inputs:
            if path.is_file():
                (task_work_dir.subtask_inputs_dir / path.name).write_bytes(path.read_bytes())
        return create_docker_cpu_task(
            task_params["image"],
            task_params["tag"],
            Infrastructure(min_memory_mib=float(task_params.get("memory", 0))),
        )

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        await self._do(task_work_dir, "HasPendingSubtasks")
        return self._next(self._load(task_work_dir)) is not None

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        await self._do(task_work_dir, "NextSubtask")
        params = self._params(task_work_dir)
        refused = self._refused.setdefault(task_work_dir.name, set())
        if len(refused) < params.get("refuse", 0):
            refused.add(opaque_node_id)
        if opaque_node_id in refused:
            return None
        state = self._load(task_work_dir)
        number = self._next(state)
        if number is None:
            raise RuntimeError("nothing is pending")
        state["parts"][subtask_id] = {"number": number, "state": "computing"}
        self._save(task_work_dir, state)
        told = params.get("do", {})
        given = {"number": number, "do": told.get(str(number), told.get("*", ""))}
        if params.get("blob_to_parts"):
            given["blob"] = params["blob"]
        names = [path.name for path in sorted(task_work_dir.subtask_inputs_dir.iterdir())]
        return Subtask(params=given, resources=names)

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        await self._do(task_work_dir, "Verify")
        params, state = self._params(task_work_dir), self._load(task_work_dir)
        part = state["parts"][subtask_id]
        told = dict(steps(params.get("requestor", {}).get("Verify", "")))
        others = [p for name, p in state["parts"].items() if name != subtask_id]
        if "await-forever" in told:
            return VerifyResult.AWAITING_DATA, "never enough"
        if "await-all" in told:
            part["seen"] = True
            self._save(task_work_dir, state)
            seen = {p["number"] for p in others if p.get("seen")} | {part["number"]}
            if part["number"] == 0 and len(seen) < state["count"]:
                return VerifyResult.AWAITING_DATA, "the first waits for all others"
        result, words = self._judge(task_work_dir, subtask_id, part["number"])
        if "inconclusive" in told and first_time(task_work_dir, f"i-{part['number']}"):
            result, words = VerifyResult.INCONCLUSIVE, "who knows"
        part["state"] = "done" if result is VerifyResult.SUCCESS else "failed"
        self._save(task_work_dir, state)
        if result is VerifyResult.SUCCESS:
            self._take(task_work_dir, state, params)
        return result, words

    def _judge(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, number: int
    ) -> tuple[VerifyResult, str | None]:
        found = list(task_work_dir.subtask_outputs_dir(subtask_id).iterdir())
        if len(found) != 1:
            return VerifyResult.FAILURE, f"{len(found)} files"
        try:
            result = json.loads(found[0].read_text())
        except ValueError:
            return VerifyResult.FAILURE, "no result"
        if result["square"] != number * number:
            return VerifyResult.FAILURE, "a wrong square"
        out = task_work_dir.task_outputs_dir / "parts"
        out.mkdir(exist_ok=True)
        (out / str(number)).write_text(json.dumps(result, sort_keys=True))
        return VerifyResult.SUCCESS, None

    def _take(
        self, task_work_dir: RequestorTaskDir, state: dict[str, Any], params: dict[str, Any]
    ) -> None:
        done = [p["number"] for p in state["parts"].values() if p["state"] == "done"]
        if len(done) == state["count"]:
            (task_work_dir.task_outputs_dir / "sum").write_text(f"{sum(n * n for n in done)}\n")
            if pad := params.get("pad_output"):
                (task_work_dir.task_outputs_dir / "pad").write_bytes(os.urandom(pad << 20))

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        await self._do(task_work_dir, "DiscardSubtasks")
        state = self._load(task_work_dir)
        for name in subtask_ids:
            if name in state["parts"]:
                state["parts"][name]["state"] = "failed"
        self._save(task_work_dir, state)
        with (task_work_dir / "discarded").open("a") as log:
            log.writelines(f"{name}\n" for name in subtask_ids)
        return subtask_ids

    async def run_benchmark(self, work_dir: Path) -> float:
        return 11.5

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        print("abort_task", flush=True)
        await self._do(task_work_dir, "AbortTask")

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        await self._do(task_work_dir, "AbortSubtask")
        state = self._load(task_work_dir)
        state["parts"][subtask_id]["state"] = "failed"
        self._save(task_work_dir, state)

    async def _do(self, task_work_dir: RequestorTaskDir, call: str) -> None:
        for word, rest in steps(self._params(task_work_dir).get("requestor", {}).get(call, "")):
            # Beside the task's own directory: a task that is created anew gets another one.
            await common(word, rest, task_work_dir.parent, call)

    @staticmethod
    def _params(task_work_dir: RequestorTaskDir) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((task_work_dir / "params.json").read_text())
        return found

    @staticmethod
    def _next(state: dict[str, Any]) -> int | None:
        taken = {p["number"] for p in state["parts"].values() if p["state"] != "failed"}
        return next((n for n in range(state["count"]) if n not in taken), None)

    @staticmethod
    def _load(task_work_dir: RequestorTaskDir) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((task_work_dir / "state.json").read_text())
        return found

    @staticmethod
    def _save(task_work_dir: RequestorTaskDir, state: dict[str, Any]) -> None:
        aside = task_work_dir / "state.new"
        aside.write_text(json.dumps(state))
        aside.rename(task_work_dir / "state.json")


class Provider(ProviderAppHandler):
    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> str:
        number = subtask_params["number"]
        folder = task_work_dir.subtask_dir(subtask_id)
        folder.mkdir(exist_ok=True)
        inputs = {p.name: p for p in sorted(task_work_dir.subtask_inputs_dir.iterdir())}
        result = {
            "number": number,
            "square": number * number,
            "resources": {
                name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in inputs.items()
            },
            "user": os.getuid(),
        }
        if "blob" in subtask_params:
            result["blob"] = hashlib.sha256(subtask_params["blob"].encode()).hexdigest()
        file = folder / f"result-{number}.json"
        path = f"{subtask_id}/{file.name}"
        for word, rest in steps(subtask_params["do"]):
            if await common(word, rest, task_work_dir, str(number)):
                continue
            if word in ("fail", "fail-once"):
                if word == "fail" or first_time(task_work_dir, f"fail-{number}"):
                    result["square"] = -1
            elif word == "eat":
                eaten = []
                while True:
                    eaten.append(os.urandom(1 << 20) * 8)
            elif word == "big":
                result["big"] = "x" * (int(rest) << 20)
            elif word == "interfaces":
                result["interfaces"] = sorted(
                    path.name for path in Path("/sys/class/net").iterdir()
                )
            elif word == "outside":
                return "../../etc/passwd"
            elif word == "link":
                file.symlink_to("/etc/passwd")
                return path
            elif word == "missing" or (
                word == "missing-once" and first_time(task_work_dir, f"gone-{number}")
            ):
                return path
            elif word == "directory":
                return subtask_id
            elif word == "empty":
                file.touch()
                return path
            elif word == "root":
                (task_work_dir / "mine").write_text("x")
        file.write_text(json.dumps(result))
        return path

    async def run_benchmark(self, work_dir: Path) -> float:
        (work_dir / "bench").write_text("x")
        return 42.25


if __name__ == "__main__":
    from lading.contracts.golem.constants import WORK_DIR

    asyncio.run(
        main(
            Path("/", WORK_DIR),
            sys.argv[1:],
            requestor_handler=Requestor(),
            provider_handler=Provider(),
        )
    )
