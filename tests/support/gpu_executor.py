"""An executor on the fake engine with a GPU driver, as a program: `gpu_executor STATE_DIRECTORY`.

A process of its own, because the management library is found when it is first loaded. It lends its
GPUs only after a reconfiguration. Prints a line of JSON each: the devices of a first task, of a
second, the refusal of a third that wants three, and the statistics meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.fake_probe import NAME, probe_image

from lading import Executor, ExecutorOptions
from lading.contracts.meca.replies import failure_text
from lading.contracts.meca.request import Request, TaskLimits
from lading.errors import LadingError
from lading.run.ownership import Owner
from lading.run.records import Records, records_path
from lading.testing import FakeEngine
from lading.units import MIB


def wants(count: int, memory: int) -> Request:
    return Request(NAME, TaskLimits(0.1, memory * MIB, count), micro_vm=False, body=b"x")


async def main(state: Path) -> None:
    engine = FakeEngine(images=[probe_image()], gpu_driver=True)
    owner = Owner.claim(state)
    records = Records(records_path(state))
    options = ExecutorOptions(has_gpu=False)
    async with Executor(engine, options, records=records, owner=owner) as executor:
        await executor.pause()
        await executor.update({"cpu": 2.0, "mem": 512, "has_gpu": True})
        await executor.unpause()
        for number in (1, 2):
            reply = await executor.execute(wants(1, 32 + number), f"r{number}")
            gpus = engine.spec_of(reply.container).gpus
            print(json.dumps(gpus.devices if gpus else None))
        try:
            await executor.execute(wants(3, 64), "r3")
        except LadingError as error:
            print(json.dumps(failure_text(error)))
        print(json.dumps(await executor.stats()))
    records.close()
    owner.release()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
