"""The archive of a folder for a builder, without what ``.dockerignore`` leaves out.

Rules: https://docs.docker.com/build/concepts/context/#dockerignore-files. Patterns are those of
Go's ``filepath.Match`` with ``**`` added; the last that matches a path or a folder above it
decides, and ``!`` takes it in again.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from lading.errors import ConfigError

__all__ = ["Ignore", "archive", "trial_tag"]

IGNORE_FILE = ".dockerignore"
_NOT_IN_TAG = re.compile(r"[^a-z0-9]+")
_ALWAYS = ("Dockerfile", IGNORE_FILE)
"""Sent even if they are left out: the builder needs them."""


class Ignore:
    """Which paths of a folder are left out.

    Parameters
    ----------
    text : str
        Of a ``.dockerignore``.
    name : str
        What to call it in an error.

    Raises
    ------
    ConfigError
        A pattern can't be read; names the line.
    """

    def __init__(self, text: str, name: str = IGNORE_FILE) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for number, raw in enumerate(text.splitlines(), start=1):
            if raw.startswith("#") or not (line := raw.strip()):
                continue
            keeps = line.startswith("!")
            pattern = os.path.normpath(line.removeprefix("!").strip()).strip("/")
            if not line.removeprefix("!").strip():
                raise ConfigError(f"{name}:{number}", "'!' alone takes nothing in")
            if pattern == ".":
                continue  # the folder itself, as the builder has it
            try:
                self._rules.append((re.compile(_expression(pattern)), keeps))
            except (re.error, ValueError) as error:
                raise ConfigError(f"{name}:{number}", f"bad pattern {line!r}: {error}") from None

    @property
    def takes_in_again(self) -> bool:
        """Whether something below what is left out may be kept."""
        return any(keeps for _, keeps in self._rules)

    def leaves_out(self, path: str) -> bool:
        """Decide about a path relative to the folder, with slashes."""
        parents = path.split("/")
        candidates = ["/".join(parents[:count]) for count in range(1, len(parents) + 1)]
        left_out = False
        for pattern, keeps in self._rules:
            if left_out == keeps and any(pattern.fullmatch(item) for item in candidates):
                left_out = not keeps
        return left_out


def _expression(pattern: str) -> str:
    """Turn a pattern into a regular expression."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
                out.append("(?:.*/)?")  # any number of folders, none too
            else:
                out.append(".*")
            continue
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise ValueError("'[' without ']'")
            inside = pattern[at:end].replace("[", "\\[")
            out.append(f"[{inside}]")
            at = end + 1
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def archive(folder: Path) -> bytes:
    """Pack a folder as a tar archive for :meth:`lading.engine.Engine.build`; blocks on the disk.

    Files stand in the order of their names and belong to root. Links are packed as links and never
    followed, so nothing outside the folder gets in; sockets, pipes and devices are left out.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ConfigError
        A file can't be read, or the ``.dockerignore`` can't be used.
    """
    ignore = _ignore(folder)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in _walk(folder, "", ignore):
            try:
                _add(tar, path, entry)
            except OSError as error:
                raise ConfigError(
                    entry.path,
                    f"can't be read: {error.strerror}",
                    fix=f"make it readable, or name it in {IGNORE_FILE}",
                ) from None
    return target.getvalue()


def _ignore(folder: Path) -> Ignore:
    path = folder / IGNORE_FILE
    if path.is_symlink() or not path.is_file():
        return Ignore("")
    try:
        return Ignore(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8") from None
    except OSError as error:
        raise ConfigError(str(path), f"can't be read: {error.strerror}") from None


def _walk(folder: Path, prefix: str, ignore: Ignore) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            str(folder / prefix),
            f"can't be read: {error.strerror}",
            fix=f"make it readable, or name it in {IGNORE_FILE}",
        ) from None
    for entry in entries:
        path = f"{prefix}{entry.name}"
        left_out = path not in _ALWAYS and ignore.leaves_out(path)
        if not left_out:
            yield path, entry
        if entry.is_dir(follow_symlinks=False) and (not left_out or ignore.takes_in_again):
            yield from _walk(folder, f"{path}/", ignore)


def _add(tar: tarfile.TarFile, path: str, entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    item = tarfile.TarInfo(path)
    item.mode = stat.S_IMODE(status.st_mode)
    item.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        item.type = tarfile.DIRTYPE
        tar.addfile(item)
    elif stat.S_ISLNK(status.st_mode):
        item.type = tarfile.SYMTYPE
        item.linkname = str(Path(entry.path).readlink())
        tar.addfile(item)
    elif stat.S_ISREG(status.st_mode):
        with os.fdopen(os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            item.size = os.fstat(file.fileno()).st_size
            tar.addfile(item, file)


def trial_tag(name: str) -> str:
    """Name the image that is built from a folder for trying it out: ``lading-task/<name>:dev``."""
    stem = _NOT_IN_TAG.sub("-", name.lower()).strip("-")[:100].strip("-")
    return f"lading-task/{stem or 'task'}:dev"
