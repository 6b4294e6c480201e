"""An executor on the fake engine, as a program: `fake_executor STATE_DIRECTORY`.

Prints the address that it serves on; ends with SIGTERM. For tests that send more, and stranger,
requests than a real engine would answer in a minute.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from unittest import mock

from tests.support.fake_probe import probe_image

from lading import EngineOptions, ExecutorOptions
from lading.contracts.meca import serve
from lading.testing import FakeEngine


async def main(state: Path) -> None:
    async def fake(_: EngineOptions) -> FakeEngine:
        return FakeEngine(images=[probe_image()])

    with mock.patch.object(serve, "open_engine", fake):
        await serve.serve(
            ExecutorOptions(listen="127.0.0.1:0", state=str(state), drain=1),
            announce=lambda address: print(address, flush=True),
        )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
