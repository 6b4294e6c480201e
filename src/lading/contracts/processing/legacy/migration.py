"""A legacy container, looked at without running it: what it starts, and what that reads.

The image's entrypoint is followed through the scripts that it names, as far as their texts tell
(:mod:`lading.contracts.processing.legacy.scripts`). What is made of it stands in
:mod:`lading.contracts.processing.legacy.drafting`. Source: contract 2, "Legacy containers".
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
import shlex
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lading.contracts.processing import CONTAINER_FILE
from lading.contracts.processing.legacy.scripts import SHELL, Look, Need, Reading, language, look
from lading.errors import ImageFileNotFound, InputError

if TYPE_CHECKING:
    from lading.engine import Engine, ImageInfo

__all__ = ["LAYOUT", "Legacy", "Variable", "inspect"]

LAYOUT = (
    "WORKFLOW_DIR", "BATCH_NAME", "BATCHES_INPUT_DIR", "OPERATOR_IN_DIR", "OPERATOR_OUT_DIR",
    "RUN_ID", "DAG_ID", "TASK_ID",
)  # fmt: skip
"""What the legacy operator set: where things are, and which run it is."""
_FILES, _BYTES, _TRIES = 20, 1 << 20, 80
"""How far scripts are followed: files, bytes of all, and looks for one that may be there."""
_SH = "/bin/sh"
_COMMAND = "the image's command"
_RUNNERS = re.compile(
    r"(?:(?:ba|da|a|k|z)?sh|python[\d.]*|env|exec|tini|dumb-init|catatonit|gosu|su-exec|nice|time"
    r"|timeout|stdbuf|xvfb-run|conda|mamba|micromamba|poetry|uv|run|--)\Z"
)
"""Programs that run another, which is the one that matters."""
_SCRIPT = re.compile(r"\.(?:py|sh|bash)\Z")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that the program reads.

    Parameters
    ----------
    name : str
    value : str
        What it has unless somebody says otherwise; empty where that is not known.
    known : bool
        Whether setting it to `value` is the same as not setting it.
    required : bool
        Whether the program fails without it, as far as can be seen.
    type : str
        ``int``, ``float``, ``boolean``, or empty.
    places : tuple of str
        Where it is read, as ``/app/start.sh:3``.
    defaults : tuple of str
        What the places have instead, as they write it.
    """

    name: str
    value: str
    known: bool
    required: bool
    type: str
    places: tuple[str, ...]
    defaults: tuple[str, ...]


@dataclass(slots=True)
class Legacy:
    """What is known of a legacy container.

    Parameters
    ----------
    reference : str
        What people call its image.
    image : ImageInfo
    scripts : list of Look
        Those that were read, in the order in which they were found.
    unread : list of str
        What it runs that is no script, or was not found, with why.
    """

    reference: str
    image: ImageInfo
    scripts: list[Look] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def program(self) -> tuple[str, ...]:
        """What the image runs: its entrypoint and its command."""
        return (*self.image.entrypoint, *self.image.command)

    @property
    def variables(self) -> list[Variable]:
        """What its scripts read, but for what they set themselves; by name."""
        readings: dict[str, list[Reading]] = {}
        given: set[str] = set()
        for script in self.scripts:
            given |= script.sets
            for reading in script.readings:
                if reading.name not in given or reading.name in LAYOUT:
                    readings.setdefault(reading.name, []).append(reading)
        return [_merged(name, found, self.image.env) for name, found in sorted(readings.items())]


def _merged(name: str, readings: list[Reading], env: Mapping[str, str]) -> Variable:
    """Put all places together at which a variable is read."""
    defaults = {reading.default for reading in readings if reading.need is Need.DEFAULT}
    optional = any(reading.need is Need.OPTIONAL for reading in readings)
    types = {reading.type for reading in readings if reading.type}
    if name in env:
        value, known = env[name], True
    elif len(defaults) == 1 and not optional:
        value, known = next(iter(defaults)), True
    else:
        value, known = "", False
    return Variable(
        name=name,
        value=value,
        known=known,
        required=name not in env
        and not defaults
        and all(reading.need is Need.REQUIRED for reading in readings),
        type=types.pop() if len(types) == 1 else "",
        places=tuple(dict.fromkeys(f"{reading.path}:{reading.line}" for reading in readings)),
        defaults=tuple(dict.fromkeys(reading.default for reading in readings if reading.default)),
    )


async def inspect(
    engine: Engine, image: ImageInfo, *, reference: str, labels: Mapping[str, str]
) -> Legacy:
    """Look into a legacy container's image; nothing of it is run.

    Parameters
    ----------
    engine : Engine
    image : ImageInfo
        One that the engine has.
    reference : str
        What people call it.
    labels : mapping
        What a helper container carries, if there has to be one.

    Raises
    ------
    InputError
        It is a processing-container already, or runs nothing.
    ImageFileNotFound
        It has no shell, which the adapter needs.
    """
    legacy = Legacy(reference, image)
    reader = _Reader(engine, image.runs_as, labels)
    if not legacy.program:
        raise InputError(
            reference,
            "has neither an entrypoint nor a command, so nothing says which program it runs",
            fix="make an image of it that does: a Dockerfile of two lines, "
            f"`FROM {reference}` and `ENTRYPOINT [...]`",
        )
    if await reader.read(CONTAINER_FILE) is not None:
        raise InputError(
            reference,
            f"holds {CONTAINER_FILE}, so it is a processing-container already",
            fix=f"see what it offers: lading templates {reference}",
        )
    if await reader.read(_SH) is None:
        raise ImageFileNotFound(
            reference,
            f"holds no {_SH}, which the adapter needs",
            fix="put a static one into an image made FROM it, together with mkdir and cp "
            "(`COPY --from=busybox:musl /bin/ /bin/` brings all three), and migrate that image",
        )
    await _Walk(legacy, reader).walk()
    return legacy


class _Reader:
    """Reads files out of an image, and counts."""

    def __init__(self, engine: Engine, image: str, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._image = image
        self._labels = labels
        self.tries = 0

    async def read(self, path: str) -> bytes | None:
        """Read a file; None if there is none."""
        self.tries += 1
        try:
            return await self._engine.read_file(self._image, path, labels=self._labels)
        except ImageFileNotFound:
            return None

    async def first(self, paths: Iterable[str]) -> tuple[str, bytes] | None:
        """Read the first of several that is there."""
        for path in paths:
            if self.tries >= _TRIES:
                return None
            if (content := await self.read(path)) is not None:
                return path, content
        return None


@dataclass(frozen=True, slots=True)
class _Wish:
    """A script that somebody names: where it may be, and whether it matters if it is not there."""

    name: str
    candidates: tuple[str, ...]
    told: bool


class _Walk:
    """The way from the entrypoint through the scripts."""

    def __init__(self, legacy: Legacy, reader: _Reader) -> None:
        self._legacy = legacy
        self._reader = reader
        self._directory = legacy.image.directory or "/"
        self._folders = [self._directory]
        self._libraries = [
            item for item in legacy.image.env.get("PYTHONPATH", "").split(":") if item
        ]
        self._waiting: deque[_Wish] = deque()
        self._modules: deque[_Wish] = deque()
        self._seen: set[str] = set()
        self._bytes = 0

    async def walk(self) -> None:
        """Follow paths first, modules when there is no path left: most of those are libraries."""
        self._waiting += self._of_command(self._legacy.program)
        while wish := self._next():
            if len(self._legacy.scripts) >= _FILES or self._reader.tries >= _TRIES:
                self._legacy.unread.append("more scripts than are followed: read the others")
                return
            await self._fetch(wish)

    def _next(self) -> _Wish | None:
        if self._waiting:
            return self._waiting.popleft()
        return self._modules.popleft() if self._modules else None

    async def _fetch(self, wish: _Wish) -> None:
        if any(path in self._seen for path in wish.candidates[:1]):
            return
        found = await self._reader.first(path for path in wish.candidates if self._is_new(path))
        if found is None:
            if wish.told:
                self._legacy.unread.append(f"{wish.name}: not found in the image")
            return
        path, content = found
        kind = language(path, content)
        if not kind:
            self._legacy.unread.append(f"{path}: neither a shell's script nor Python")
        elif self._bytes + len(content) > _BYTES:
            self._legacy.unread.append(f"{path}: too large to be read")
        else:
            self._bytes += len(content)
            text = content.decode("utf-8", "replace")
            self._take(await asyncio.to_thread(look, path, text, kind))

    def _is_new(self, path: str) -> bool:
        new = path not in self._seen
        self._seen.add(path)
        return new

    def _take(self, script: Look) -> None:
        self._legacy.scripts.append(script)
        here = posixpath.dirname(script.path) if script.path.startswith("/") else self._directory
        self._folders += [folder for folder in script.folders if folder not in self._folders]
        for path in dict.fromkeys(script.paths):
            if "://" not in path:
                self._waiting.append(_Wish(path, self._places(path, here), told=False))
        self._modules += self._of_modules(script.modules, here)

    def _places(self, path: str, here: str) -> tuple[str, ...]:
        """Say where a script may be that is named in one that lies in `here`."""
        folders = [here, *self._folders]
        places = [] if "$" in path else [posixpath.join(folder, path) for folder in folders]
        if "$" in path or path.startswith("/"):
            # As "$HERE/sub/x.py" is written; without what precedes it, it begins with a slash.
            tail = path.rpartition("}")[2] if "}" in path else path.partition("/")[2]
            places += [posixpath.join(folder, tail.lstrip("/")) for folder in folders]
        return tuple(dict.fromkeys(posixpath.normpath(place) for place in places))

    def _of_command(self, words: tuple[str, ...]) -> Iterator[_Wish]:
        """Find what a command runs: the program, a shell's text, a module, and scripts it names."""
        found = False
        for position, word in enumerate(words):
            before = words[position - 1] if position else ""
            if re.fullmatch(r"-\w*c", before):
                self._take(look(_COMMAND, word, SHELL))
                with contextlib.suppress(ValueError):  # a quotation without an end
                    for wish in self._of_command(tuple(shlex.split(word))):
                        yield replace(wish, told=False)
                found = True
            elif before == "-m":
                yield from self._of_modules([f"{word}.__main__", word], self._directory)
                found = True
            elif word.startswith("-") or re.match(r"[A-Za-z_]\w*=", word):
                continue
            elif _SCRIPT.search(word) or (not found and not _is_runner(word)):
                found = True
                yield _Wish(word, self._programs(word), told=True)

    def _programs(self, word: str) -> tuple[str, ...]:
        if "/" in word or _SCRIPT.search(word):
            return (posixpath.normpath(posixpath.join(self._directory, word)),)
        path = self._legacy.image.env.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        return tuple(posixpath.join(folder, word) for folder in path.split(":") if folder)

    def _of_modules(self, modules: list[str], here: str) -> Iterator[_Wish]:
        for module in dict.fromkeys(modules):
            name = module.lstrip(".")
            if not name or (name == module and name.split(".")[0] in sys.stdlib_module_names):
                continue
            folders = list(dict.fromkeys([here, self._directory, *self._libraries]))
            if name != module:
                folders = [posixpath.join(here, "../" * (len(module) - len(name) - 1))]
            part = name.replace(".", "/")
            yield _Wish(
                module,
                tuple(
                    posixpath.normpath(posixpath.join(folder, f"{part}{end}"))
                    for folder in folders
                    for end in (".py", "/__init__.py")
                ),
                told=False,
            )


def _is_runner(word: str) -> bool:
    return bool(_RUNNERS.match(posixpath.basename(word)))
