"""An ordinary user on this machine: what they run, and engines that let them in.

Tests often run as root, for whom everything is easy. What a user meets is seen as a user: in a
process with another uid, on an engine whose socket is open to them, or on one that is their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.support import engines
from tests.support.printed import ROOT

UID = 12345
SUBUID = 300_000
"""Where the users of a rootless engine's containers begin."""


@functools.cache
def interpreter() -> list[str]:
    """The beginning of a command line: a Python that may be run by everybody and has what we need.

    Empty where there is none, or no such user can be had.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    folders = [str(ROOT / "src"), str(ROOT), *(path for path in sys.path if "-packages" in path)]
    become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        start = [*become, "env", f"PYTHONPATH={':'.join(folders)}", program]
        tried = [*start, "-c", "import lading.run.handover, lading.engine.docker"]
        if subprocess.run(tried, capture_output=True, cwd="/", check=False).returncode == 0:
            return start
    return []


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A directory of theirs, which they can reach."""
    folder = Path(tempfile.mkdtemp(prefix="lading-o-", dir="/tmp"))
    try:
        os.chown(folder, UID, UID)
        folder.chmod(0o755)
        yield folder
    finally:
        # Not shutil: a test may leave a tree that is deeper than Python's recursion.
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@contextlib.asynccontextmanager
async def let_in(host: str, folder: Path) -> AsyncIterator[str]:
    """A socket that everybody may use and that leads to an engine, as for members of a group."""
    path = folder / "engine.sock"
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pumps.add(task)
        other_reader, other_writer = await asyncio.open_unix_connection(
            host.removeprefix("unix://")
        )
        try:
            await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
        finally:
            writer.close()
            other_writer.close()
            pumps.discard(task)

    server = await asyncio.start_unix_server(serve, path)
    path.chmod(0o666)
    try:
        yield f"unix://{path}"
    finally:
        server.close()
        for task in list(pumps):
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await server.wait_closed()
        path.unlink(missing_ok=True)


_START = """
set -e
mount --make-rprivate /
for name in passwd group subuid subgid; do mount --bind "$1/$name" "/etc/$name"; done
exec setpriv --reuid={uid} --regid={uid} --clear-groups env -i PATH="$PATH" HOME="$1" \
    XDG_RUNTIME_DIR="$1/run" CONTAINERS_CONF="$1/containers.conf" \
    podman --storage-driver vfs system service --time=0 "unix://$1/podman.sock"
"""


def lacks_for_rootless() -> str:
    """What is missing for :func:`rootless_podman`; empty if nothing."""
    if os.geteuid() != 0:
        return "root, to make a user"
    names = ("podman", "runc", "newuidmap", "newgidmap", "setpriv", "unshare")
    return next((name for name in names if shutil.which(name) is None), "")


@contextlib.contextmanager
def rootless_podman(folder: Path) -> Iterator[str]:
    """A Podman of theirs, known to nobody else: the machine's lists of users stay as they are."""
    for name in ("passwd", "group"):
        (folder / name).write_text(Path("/etc", name).read_text())
    with (folder / "passwd").open("a") as passwd, (folder / "group").open("a") as group:
        passwd.write(f"ordinary:x:{UID}:{UID}::{folder}:/bin/sh\n")
        group.write(f"ordinary:x:{UID}:\n")
    for name in ("subuid", "subgid"):
        (folder / name).write_text(f"ordinary:{SUBUID}:65536\n")
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (folder / "run").mkdir(mode=0o700)
    os.chown(folder / "run", UID, UID)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _START.format(uid=UID), "sh", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    host = f"unix://{folder}/podman.sock"
    try:
        # A service that is being started has nothing to wait on but its socket.
        deadline = time.monotonic() + 30
        while engines.kind(host) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"podman's service did not start: {log.read_text()}")
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(timeout=30)
        # What keeps the user's namespace, and is nobody's child.
        pause = folder / "run/libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)
