"""What a builder tells while it works: its steps, and of the one that fails the last lines.

BuildKit sends traces; the classic builder and Podman a text in which each step has a line.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from lading.engine.buildkit_trace import Trace, VertexLog, read_trace
from lading.engine.docker_streams import pull_status
from lading.engine.spec import PullStatus

__all__ = ["BuildStory"]

_LAST_LINES = 20
_LONGEST_LINE = 1 << 16
"""Characters that are waited for until a line ends."""
_INTERNAL = ("[internal]", "copy /context /")
"""Steps that nobody wrote: those of a context that came as an archive."""
_BASE = re.compile(r"(?:\[internal\] load metadata|resolve image config) for (\S+)")
_STEP = re.compile(r"step \d+(?:/\d+)?\s?: ", re.IGNORECASE)
_STAGE = re.compile(r"^\[\d+/\d+\] (?=STEP )")
_OWN_WORDS = re.compile(r"\s*---> |Removing intermediate container ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENDED = re.compile(r"(?:exit code|exit status|non-zero code):? (\d+)$")
_TRACE = "moby.buildkit.trace"


class BuildStory:
    """Reads what comes, one value after the other."""

    def __init__(self) -> None:
        self._step = ""
        self._tail: deque[str] = deque(maxlen=_LAST_LINES)
        self._names: dict[str, str] = {}
        self._told: set[str] = set()
        self._tails: dict[str, deque[str]] = {}
        self._rests: dict[str, str] = {}
        self._failed: tuple[str, str] | None = None  # the vertex and its error

    def feed(self, value: dict[str, Any]) -> list[PullStatus]:
        """Take a value of the stream, and give what it tells of progress."""
        if value.get("id") == _TRACE:
            try:
                return self._trace(read_trace(str(value.get("aux") or "")))
            except ValueError:
                return []  # of a BuildKit that we don't know: the build goes on without progress
        status = pull_status(value)
        if status is None:
            return []
        if "stream" not in value:
            return [status]
        lines = _lines(status.text)
        for line in lines:
            if _STEP.match(_STAGE.sub("", line)):
                self._step = _STAGE.sub("", line)
                self._tail.clear()
            elif not _OWN_WORDS.match(line):
                self._tail.append(line)
        return [PullStatus(text=line) for line in lines]

    @property
    def bases(self) -> list[str]:
        """Images that BuildKit looked for at a registry, in the order of their names."""
        found = (_BASE.match(name) for name in self._names.values())
        return sorted({match[1] for match in found if match})

    def failure(self, words: str) -> str:
        """Say in which step it failed, why, and what that step wrote last.

        Parameters
        ----------
        words : str
            The builder's.
        """
        step, tail = self._step, self._tail
        if self._failed is not None:
            vertex, error = self._failed
            step, words = self._names.get(vertex, ""), error or words
            tail = self._tails.get(vertex, deque(maxlen=_LAST_LINES))
            tail.extend(_lines(self._rests.pop(vertex, "")))
        words = words.strip()
        if code := _ENDED.search(words):
            words = f"exit code {code[1]}"  # the rest of it only says again which step
        first = f"step {step!r} failed: {words}" if step else words
        return "\n".join((f"{first}; its last lines:", *tail)) if tail else first

    def _trace(self, trace: Trace) -> list[PullStatus]:
        told: list[PullStatus] = []
        for vertex in trace.vertexes:
            self._names[vertex.digest] = vertex.name
            # What was cancelled since another failed says so as its error.
            if vertex.error and (self._failed is None or "context canceled" in self._failed[1]):
                self._failed = (vertex.digest, vertex.error)
            known = vertex.digest in self._told
            if known or not vertex.started or vertex.name.startswith(_INTERNAL):
                continue
            self._told.add(vertex.digest)
            cached = "CACHED " if vertex.cached else ""
            told.append(PullStatus(text=f"{cached}{vertex.name}"))
        told += [
            PullStatus(self._names[part.vertex], part.id, part.current, part.total)
            for part in trace.statuses
            if part.total and not self._names.get(part.vertex, _INTERNAL[0]).startswith(_INTERNAL)
        ]
        for log in trace.logs:
            told += [PullStatus(text=line) for line in self._written(log)]
        return told

    def _written(self, log: VertexLog) -> list[str]:
        """Take what a step wrote, cut anywhere, and give the lines that are whole now."""
        text = self._rests.pop(log.vertex, "") + log.data.decode(errors="replace")
        whole, _, rest = text.rpartition("\n")
        if len(rest) > _LONGEST_LINE:
            whole, rest = text, ""
        if rest:
            self._rests[log.vertex] = rest
        lines = _lines(whole)
        self._tails.setdefault(log.vertex, deque(maxlen=_LAST_LINES)).extend(lines)
        return lines


def _lines(text: str) -> list[str]:
    """Cut a text into lines: without colours, and of a line that moved its last state."""
    found = (line.rstrip("\r").rpartition("\r")[2] for line in _COLOUR.sub("", text).split("\n"))
    return [line.rstrip() for line in found if line.strip()]
