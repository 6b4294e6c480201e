"""An IPFS node for faults: what it has and how it misbehaves may be changed while it runs.

Only ``block/get`` of Kubo's RPC interface; for everything that works, tests use a real node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lading.content.adding import add_path
from lading.content.cid import Cid


@dataclass
class StagedNode:
    """What it has, and what was asked for.

    Parameters
    ----------
    blocks : dict of str to bytes
        CID to what is sent for it.
    hangs : set of str
        CIDs for which it answers nothing.
    gate : asyncio.Event
        All but the first block wait for it; set, unless a test clears it.
    """

    blocks: dict[str, bytes] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: Counter[str] = field(default_factory=Counter)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def api(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def add(self, path: Path) -> Cid:
        """Have what is there."""
        added: dict[str, bytes] = {}

        def keep(cid: Cid, block: bytes) -> None:
            added[str(cid)] = bytes(block)

        root = (await asyncio.to_thread(add_path, path, keep)).cid
        self.blocks |= added
        return root

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[StagedNode]:
        """Serve on a free port of the loopback interface while the block runs."""
        self.gate.set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                target = urlsplit(head.split(" ")[1])
                cid = parse_qs(target.query)["arg"][0]
                self.asked[cid] += 1
                if cid in self.hangs:
                    self.waiting.set()
                    await asyncio.Event().wait()
                if len(self.asked) > 1 and not self.gate.is_set():
                    self.waiting.set()
                    await self.gate.wait()
                await self._answer(writer, cid)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, cid: str) -> None:
        block = self.blocks.get(cid)
        status = "200 OK" if block is not None else "500 Internal Server Error"
        if block is None:
            # As Kubo answers after its own time-out, or offline.
            message = f"block was not found locally (offline): ipld: could not find {cid}"
            block = json.dumps({"Message": message, "Code": 0, "Type": "error"}).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(block)}\r\n\r\n"
        writer.write(head.encode() + block)
        await writer.drain()
