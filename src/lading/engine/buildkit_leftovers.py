"""What BuildKit keeps of a build context that came as an archive: twice as much, for nothing.

The archive and the files out of it become records of its cache, under an address that no second
build has. Docker removes such records when its cache is full, since 23.0; before, never, so that a
folder of 2 GB takes 4 GB of the disk each time it is built. What steps made of it stays: it is
found by its content.

Seen in Docker 20.10; where records are called otherwise, none is found and none is removed.
"""

from __future__ import annotations

import json
from typing import Any

from lading.engine.docker_api import Api
from lading.engine.docker_errors import Call
from lading.engine.docker_wire import query
from lading.errors import EngineError

__all__ = ["WORTH_REMOVING", "remove_context"]

WORTH_REMOVING = 64 << 20
"""Bytes of a context from which on it is looked for: listing the cache takes a second."""

_ARCHIVE = "http url http://build-context-"
_FILES = "fileop target"
_ROUNDED = 1 << 16
"""Bytes that an archive may take more on the disk."""


async def remove_context(api: Api, sent: int) -> None:
    """Remove the records of one context, unless a build uses them; it may fail without harm.

    Parameters
    ----------
    api : Api
    sent : int
        Bytes of its archive.
    """
    try:
        # `type` is for 1.42 and newer, which else would measure every container, too.
        call = Call("looking at the builder's cache")
        reply = await api.call("GET", f"/system/df{query(type='build-cache')}", call)
        for record in records_of(reply.json().get("BuildCache") or [], sent):
            fields = query(all=1, filters=json.dumps({"id": {record: True}}))
            await api.call("POST", f"/build/prune{fields}", Call("cleaning the builder's cache"))
    except EngineError:
        return


def records_of(cache: list[dict[str, Any]], sent: int) -> list[str]:
    """Find the records of the context of that size which came last."""
    free = sorted(
        (item for item in cache if not item.get("InUse")), key=lambda item: str(item["CreatedAt"])
    )
    archives = [
        item
        for item in free
        if str(item.get("Description")).startswith(_ARCHIVE)
        and 0 <= int(item.get("Size") or 0) - sent <= _ROUNDED
    ]
    if not archives:
        return []
    archive = archives[-1]
    files = [
        item
        for item in free
        if item.get("Description") == _FILES
        and not (item.get("Parent") or item.get("Parents"))
        and not item.get("Shared")
        and str(item["CreatedAt"]) > str(archive["CreatedAt"])
        and int(item.get("Size") or 0) <= sent
    ]
    # What comes first after the archive was made of it: every step waits for it.
    return [str(item["ID"]) for item in (archive, *files[:1])]
