"""`lading` as people and programs use it: a process, on one engine, with records of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import engines, spaces
from tests.support.printed import ROOT

Done = subprocess.CompletedProcess[bytes]


@dataclass(frozen=True)
class Cli:
    """`lading` on one engine, with records of its own."""

    engine: str
    state: Path
    folder: Path | None = None
    """Where it is started."""
    more: Mapping[str, str] = field(default_factory=dict)
    """More variables of its environment."""
    program: tuple[str, ...] = (sys.executable,)
    """The beginning of its command line: a Python, maybe as somebody else."""

    @property
    def env(self) -> dict[str, str]:
        own = {"LADING_STATE": str(self.state), "LADING_ENGINE": self.engine}
        return {**os.environ, **own, **self.more}

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        return [*self.program, "-m", "lading", *arguments]

    def __call__(self, *arguments: str | bytes, stdin: bytes = b"") -> Done:
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            timeout=90,
            check=False,
            env=self.env,
            cwd=self.folder,
        )

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs meanwhile; its pipes are binary."""
        with subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def left(self) -> set[str]:
        """Ids of the containers and networks whose owner keeps its lock in our directory."""
        if self.engine.startswith("kubernetes"):
            return spaces.owned(self.state)
        _, containers = engines.call(self.engine, "GET", "/containers/json?all=1")
        _, networks = engines.call(self.engine, "GET", "/networks")
        return {
            str(item["Id"])
            for item in [*containers, *networks]
            if (item.get("Labels") or {}).get("lading.lock", "").startswith(str(self.state))
        }

    def recorded(self, *arguments: str) -> Any:
        """What `ps --all` says of our runs: others' tests may use the same engine meanwhile."""
        ours = {None, *self.left()}
        return [r for r in self.json("ps", "-a", *arguments) if r["container_id"] in ours]

    def running(self) -> Any:
        """What `ps` says of the one container of ours."""
        (container,) = self.left()
        (run,) = [item for item in self.json("ps") if item["container_id"] == container]
        return run


def documented(command: str, of: str = "") -> set[str]:
    """Name the fields in the tables of a command in the reference, maybe of some kind of run."""
    page = (ROOT / "docs/reference/json.md").read_text("utf-8")
    heading = f"`lading {command}`" + (f" of {of}" if of else "")
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def lines_until(stream: Any, word: bytes) -> list[bytes]:
    """Read lines up to the one with this word: an event, and no time that passes."""
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"{word!r} never came: {lines!r}")


def failed(done: Done, code: int, *says: str) -> None:
    """Assert that a command failed in good order: it says what, and nothing on stdout."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert "error: " in text
    assert "Traceback" not in text
    for words in says:
        assert words in text
