"""A bill of materials of an image, by a tool that the user has: ``syft``, or ``docker sbom``."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from lading.cli import printing
from lading.engine.base import Engine
from lading.engine.spec import ImageInfo
from lading.errors import InputError
from lading.settings import environment

__all__ = ["write_bill"]

_LAST_LINES = 5


async def write_bill(engine: Engine, image: ImageInfo, tag: str, target: Path) -> str | None:
    """Write what an image holds, as SPDX in JSON; without a tool that can, say so and go on.

    Parameters
    ----------
    engine : Engine
    image : ImageInfo
    tag : str
        Its name.
    target : Path
        Written whole, or not at all.

    Returns
    -------
    str or None
        What was written; None if there is no tool, or it failed.

    Raises
    ------
    InputError
        The file can't be written.
    """
    aside = target.with_name(f"{target.name}.part")
    try:
        if shutil.which("syft", path=environment().get("PATH")):
            done = await _syft(engine, image, aside)
        elif await _docker_can(engine):
            done = await _tool(
                "docker", "sbom", "--format", "spdx-json", "--output", str(aside), tag
            )
        else:
            printing.note("no bill of materials: neither syft nor `docker sbom` is installed")
            return None
        if not done:
            return None
        await asyncio.to_thread(aside.replace, target)
    except OSError as error:
        raise InputError("--sbom", f"{target} can't be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(aside.unlink, missing_ok=True)
    printing.note(f"bill of materials: {target}")
    return str(target)


async def _syft(engine: Engine, image: ImageInfo, aside: Path) -> bool:
    """Run it on the image's archive, which every engine gives: it needs no way to the engine."""
    with tempfile.TemporaryDirectory(prefix="lading-sbom-") as folder:
        archive = Path(folder, "image.tar")
        async with engine.save(image.id) as pieces:
            with await asyncio.to_thread(archive.open, "wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
        return await _tool(
            "syft", f"docker-archive:{archive}", "--quiet", "-o", f"spdx-json={aside}"
        )


async def _docker_can(engine: Engine) -> bool:
    if (await engine.info()).kind != "docker" or not shutil.which("docker"):
        return False
    return await _tool("docker", "sbom", "version", quiet=True)


async def _tool(*words: str, quiet: bool = False) -> bool:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode and not quiet:
        last = err.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        printing.warn(f"no bill of materials: {words[0]} failed, exit code {process.returncode}")
        printing.detail("\n".join(last))
    return process.returncode == 0
