"""Images of registries whose credentials stand in the DAG, on an engine of one machine."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lading.engine.discovery import open_engine
from lading.engine.shield import to_the_end
from lading.errors import ImageNotFound
from lading.run.images import pull_if_absent
from lading.settings import EngineOptions, environment

if TYPE_CHECKING:
    from lading.engine import Engine, ImageInfo, RegistryLogin

__all__ = ["pull"]


async def pull(
    engine: Engine, options: EngineOptions, image: str, login: RegistryLogin | None
) -> ImageInfo:
    """Find an image on an engine, or pull it, with credentials of its own if there are some.

    They are in a file that nobody else can read, as long as the pull lasts.
    """
    if login is None:
        return await pull_if_absent(engine, image)
    try:
        return await engine.image(image)
    except ImageNotFound:
        pass
    folder = await asyncio.to_thread(_written, login)
    try:
        env = {**environment(), "DOCKER_CONFIG": folder, "REGISTRY_AUTH_FILE": ""}
        # Its address is given, so that nothing else of that directory is asked for.
        async with await open_engine(options, env) as other:
            return await other.pull(image)
    finally:
        await to_the_end(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def _written(login: RegistryLogin) -> str:
    """Write what ``docker login`` leaves, into a directory of its own; returns that."""
    folder = tempfile.mkdtemp(prefix="lading-login-")
    secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    content = json.dumps({"auths": {login.url: {"auth": secret}}})
    Path(folder, "config.json").write_text(content, "utf-8")
    return folder
