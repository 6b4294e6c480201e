"""Executes the commands that a page prints, as they stand there, and compares what it shows.

Every fence marked ``sh`` is executed, in the order of the page and as in one terminal: what one
exports, and where it goes, holds for the next. A comment on the line before a fence, which no
reader sees, changes that:

``<!-- background -->``
    As in a second terminal, opened here; the page goes on once ``serving on`` was printed there.
``<!-- not executed: REASON -->``
    For what can't be; the tests hold the list of all of them.

A ``text`` or ``json`` fence directly after it is what the command writes to stdout. A line of
``...`` stands for anything, and so does ``...`` within a line.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.images.golem import ensure_golem_base
from tests.support.engines import call

__all__ = ["Block", "Shell", "blocks", "reader", "shell"]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>background|not executed: [^>]*?) -->\n)?"
    r"^```(?P<language>sh|text|json)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_SECONDS = 300.0


@dataclass
class Block:
    """One fence of commands, and what the page shows of their output."""

    line: int
    code: str
    mark: str = ""
    shown: str | None = None


def blocks(page: str) -> list[Block]:
    """Read the fences of a page."""
    found: list[Block] = []
    end = -1
    for match in _FENCE.finditer(page):
        mark, body = match["mark"] or "", match["body"]
        if match["language"] == "sh":
            found.append(Block(page.count("\n", 0, match.start("body")), body, mark))
        elif end >= 0 and not page[end : match.start()].strip():
            found[-1].shown = body
        end = match.end() if match["language"] == "sh" else -1
    return found


def matches(shown: str, output: str) -> bool:
    """Whether an output holds what the page shows."""
    pattern = re.escape(shown.strip("\n") + "\n")
    pattern = re.sub(r"^\\\.\\\.\\\.\\\n", r"(?:.*\n)*?", pattern, flags=re.MULTILINE)
    pattern = pattern.replace(r"\.\.\.", ".*?")
    output = output.replace("\r\n", "\n") + "\n"
    return re.search("^" + pattern, output, re.MULTILINE) is not None


@dataclass
class Shell:
    """A reader's terminal.

    Parameters
    ----------
    start : Path
        Where it begins.
    scratch : Path
        A folder for what the shells tell each other; the reader never sees it.
    env : mapping
        Added to the environment.
    """

    start: Path
    scratch: Path
    env: Mapping[str, str]
    _others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._state = self.scratch / "shell-state"
        self._state.write_text(f"cd {self.start}\n")

    def run(self, block: Block) -> str:
        """Execute a block; returns its stdout.

        Raises
        ------
        AssertionError
            A command of it failed, or wrote something else than the page shows.
        """
        if block.mark == "background":
            self._begin(block)
            return ""
        script = (
            f". {self._state}\nset -e\n{block.code}\n"
            f'{{ export -p; printf "cd %q\\n" "$PWD"; }} >{self._state}\n'
        )
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            done = subprocess.run(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **self.env},
                timeout=_SECONDS,
                check=False,
            )
            out, err = _text(stdout), _text(stderr)
        told = f"line {block.line}: {block.code}--- stdout\n{out}\n--- stderr\n{err}"
        assert done.returncode == 0, f"exit code {done.returncode} of {told}"
        if block.shown is not None:
            assert matches(block.shown, out), f"the page shows\n{block.shown}\nof {told}"
        return out

    def _begin(self, block: Block) -> None:
        told = self.scratch / f"terminal-{len(self._others) + 2}"
        with told.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f". {self._state}\nset -e\n{block.code}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        self._others.append(process)
        deadline = time.monotonic() + 60
        while "serving on" not in (text := told.read_text("utf-8", "replace")):
            assert process.poll() is None, f"line {block.line}: {block.code} ended:\n{text}"
            assert time.monotonic() < deadline, f"line {block.line}: {block.code} hangs:\n{text}"
            time.sleep(0.05)

    def wait(self) -> list[int]:
        """Wait until what runs in the other terminals has ended; returns the exit codes."""
        return [process.wait(60) for process in self._others]

    def close(self) -> list[int]:
        """Press Ctrl-C in the other terminals, where something runs; returns the exit codes."""
        codes = []
        for process in self._others:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            try:
                codes.append(process.wait(60))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                codes.append(process.wait())
        self._others.clear()
        return codes


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")


@contextlib.contextmanager
def shell(start: Path, scratch: Path, env: Mapping[str, str]) -> Iterator[Shell]:
    """Open a terminal; what it has started ends with the block."""
    opened = Shell(start, scratch, env)
    try:
        yield opened
    finally:
        opened.close()


_PUBLIC = "python:3.11-slim"


@contextlib.contextmanager
def reader(
    host: str, folder: Path, images: Iterable[str] = (), *, golem: bool = False
) -> Iterator[dict[str, str]]:
    """The environment of somebody who reads a page: a home of their own, and one engine.

    Readers have a registry. Where there is none, as on the project's own test machines, the base
    image made from Debian packages gets the public one's name while the block runs, unless an
    image of that name is there.

    Parameters
    ----------
    host : str
        The engine.
    folder : Path
        Their home and Lading's state are made in it.
    images : iterable of str
        What the page builds, removed at the end.
    golem : bool
        Whether it builds Golem applications: then the image that is lent has their packages in it
        already, as not every build reaches a package index.
    """
    home = folder / "home"
    home.mkdir()
    env = {
        "HOME": str(home),
        "LADING_STATE": str(folder / "state"),
        "DOCKER_HOST": host,
        "NO_COLOR": "1",
        "PYTEST_DEBUG_TEMPROOT": str(folder),
    }
    found = subprocess.run(
        [str(ROOT / "scripts/base-image")],
        env={**os.environ, "DOCKER_HOST": host},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.strip()
    lent = found != _PUBLIC
    if lent:
        found = ensure_golem_base(host) if golem else found
        repository, _, tag = _PUBLIC.partition(":")
        status, why = call(host, "POST", f"/images/{found}/tag?repo={repository}&tag={tag}")
        assert status == 201, why
    try:
        yield env
    finally:
        for image in [*images, *([_PUBLIC] if lent else [])]:
            call(host, "DELETE", f"/images/{image}?force=true")
