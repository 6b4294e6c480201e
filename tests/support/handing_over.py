"""A run whose files are handed over, as one process: what a user starts.

``python handing_over.py ORDER`` with a JSON object: `engine`, `image`, `labels`, `folders`, `code`
(Python that the container runs; the folders are /0, /1, ...), `user`. It tells in JSON how the
container ended and what the report says; with `remove`, it removes what is in the folders.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from lading.engine import ContainerSpec, Mount, Network
from lading.engine.discovery import open_engine
from lading.run.handover import Stamp, hand_over
from lading.settings import EngineOptions

PYTHON = os.path.realpath("/usr/bin/python3")
"""The machine's own, which containers are shown."""


async def ran(order: dict[str, Any]) -> dict[str, Any]:
    stamp = await asyncio.to_thread(Stamp.of, order["folders"])
    async with await open_engine(EngineOptions(engine=order["engine"])) as engine:
        shown = [Mount(os.path.realpath(path), path) for path in ("/usr", "/lib", "/lib64")]
        places = [
            Mount(path, f"/{number}", read_only=False)
            for number, path in enumerate(order["folders"])
        ]
        spec = ContainerSpec(
            order["image"],
            command=(PYTHON, "-I", "-S", "-c", order["code"]),
            labels=order["labels"],
            mounts=(*shown, *places),
            user=order.get("user", "0:0"),
            directory="/",
            network=Network.NONE,
        )
        container = await engine.create(spec)
        try:
            await container.start()
            code = (await container.wait()).code
            said = b"".join([chunk.data async for chunk in container.logs()])
        finally:
            await container.remove()
        report = await hand_over(engine, order["image"], stamp, labels=order["labels"])
    if order.get("remove"):
        for folder in order["folders"]:
            for path in Path(folder).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return {
        "code": code,
        "said": said.decode(errors="replace"),
        "warning": report.warning,
        **dataclasses.asdict(report),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ran(json.loads(sys.argv[1])))))
