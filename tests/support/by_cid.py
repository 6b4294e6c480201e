"""What tests of tasks by their CIDs share: asking an executor, and seeing what is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from tests.support import engines
from tests.support.executors import Answer, ExecutorProcess

from lading.content.cid import Cid
from lading.contracts.meca.addresses import image_name, short_name

V1 = "/v1/execute"


def remove_images(host: str, cid: Cid) -> None:
    for name in (short_name(cid), image_name(cid)):
        engines.call(host, "DELETE", f"/images/{quote(name, safe='')}?force=1")


async def ask(executor: ExecutorProcess, task: object, text: str = "x", **fields: object) -> Answer:
    """Ask for a task as `/v1/execute` has it, with no limits but its own."""
    body = {"id": str(task), "input": text} | fields
    return await executor.ask("POST", V1, json.dumps(body).encode())


def left(executor: ExecutorProcess) -> list[Path]:
    """What lies where tasks are fetched to."""
    return sorted((executor.state / "fetched").glob("**/*"))


def images(host: str, cid: Cid) -> list[str]:
    """The names of images that this CID became."""
    status, found = engines.call(host, "GET", f"/images/{quote(image_name(cid), safe='')}/json")
    return list(found["RepoTags"]) if status == 200 else []


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


def sleepers() -> list[str]:
    """The probes that sleep in a build."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == b"/probe\0sleep\x00600\0":
                found.append(path.parent.name)
    return found
