"""Images of registries whose credentials stand in the DAG, on an engine of one machine."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lading.engine.discovery import open_engine
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
    with tempfile.TemporaryDirectory(prefix="lading-login-") as folder:
        await asyncio.to_thread(_write, Path(folder, "config.json"), login)
        env = {**environment(), "DOCKER_CONFIG": folder, "REGISTRY_AUTH_FILE": ""}
        # Its address is given, so that nothing else of that directory is asked for.
        async with await open_engine(options, env) as other:
            return await other.pull(image)


def _write(path: Path, login: RegistryLogin) -> None:
    secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    path.write_text(json.dumps({"auths": {login.url: {"auth": secret}}}), "utf-8")
