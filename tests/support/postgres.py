"""A PostgreSQL of the tests' own: Debian's programs, a directory, a Unix socket, an ordinary user.

Debian's package puts them where no PATH leads. They refuse to run as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USERS = ("postgres", "nobody")  # the first comes with the package; it wants one with a name
_DIRECTORIES = "/usr/lib/postgresql"
_SPEED = "-c listen_addresses= -c fsync=off -c max_connections=50 -c shared_buffers=16MB"


def missing() -> str:
    """What is missing for a cluster; empty if nothing."""
    if _programs() is None:
        return "no PostgreSQL (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "no setpriv, to run PostgreSQL as an ordinary user"
    return ""


def _programs() -> Path | None:
    found = [path.parent for path in Path(_DIRECTORIES).glob("*/bin/initdb")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


def _user() -> int:
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return next(known[name] for name in USERS if name in known)


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    folder: Path
    programs: Path

    def url(self, name: str) -> str:
        return f"postgresql://lading@/{name}?host={self.folder}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database; yields its URL."""
        import psycopg  # noqa: PLC0415  # an extra

        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield self.url(name)
        finally:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def start(self) -> None:
        log = self.folder / "log"
        options = f"{_SPEED} -c unix_socket_directories={self.folder}"
        self._call("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._call("pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def initialize(self) -> None:
        self._call(
            "initdb", "-D", self.folder / "data", "-U", "lading", "-A", "trust", "--no-sync",
            "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def _call(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            uid = _user()
            become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
            command = [*become, *command]
        # Not a pipe: the server would keep it open.
        with (self.folder / "calls").open("ab") as output:
            done = subprocess.run(
                command, cwd=self.folder, stdout=output, stderr=output, check=False, timeout=60
            )
        if done.returncode != 0:
            text = "\n".join(
                path.read_text("utf-8", "replace")[-2000:]
                for path in (self.folder / "calls", self.folder / "log")
                if path.exists()
            )
            raise RuntimeError(f"{program} ended with {done.returncode}: {text}")


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster; stopped and removed with the block."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="lading-pg-", dir="/tmp"))  # a short path: sockets
    if os.geteuid() == 0:
        os.chown(folder, _user(), _user())
    running = Cluster(folder, programs)
    try:
        running.initialize()
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
