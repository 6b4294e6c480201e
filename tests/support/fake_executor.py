"""An executor on the fake engine, as a program: `fake_executor STATE_DIRECTORY [OPTIONS]`.

Prints the address that it serves on; ends with SIGTERM. For tests that send more, and stranger,
requests than a real engine would answer in a minute. OPTIONS is JSON: knobs of the executor, and
`die`: the moment at which it is to be killed, as by `kill -9`: `called`, when a task has answered
and nothing is in the ledger; `committed`, when it is, and no reply was sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.fake_probe import probe_image

from lading import EngineOptions, ExecutorOptions
from lading.contracts.meca import serve
from lading.market.appending import Book
from lading.market.entries import Entry, Execution
from lading.testing import FakeEngine


def die_when(moment: str) -> None:
    """Have the process killed at a moment that nobody could hit from outside."""
    append = Book.append

    async def dying(book: Book, execution: Execution, *, others: int = 1) -> Entry:
        if moment == "committed":
            await append(book, execution, others=others)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    mock.patch.object(Book, "append", dying).start()


async def main(state: Path, options: dict[str, Any]) -> None:
    if moment := options.pop("die", None):
        die_when(moment)

    async def fake(_: EngineOptions) -> FakeEngine:
        return FakeEngine(images=[probe_image()])

    with mock.patch.object(serve, "open_engine", fake):
        await serve.serve(
            ExecutorOptions(listen="127.0.0.1:0", state=str(state), drain=1, **options),
            announce=lambda address: print(address, flush=True),
        )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads((*sys.argv, "{}")[2])))
