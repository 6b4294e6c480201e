"""Files that go between a requestor and its nodes: resources there, results back.

What is copied is a copy: a hard link would let a stranger's container write to what another one
reads. All functions block, see :mod:`lading.contracts.golem.driver.offloop`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from lading.contracts.golem.constants import SUBTASK_INPUTS_DIR, SUBTASK_OUTPUTS_DIR
from lading.contracts.golem.driver.below import (
    Way,
    digest,
    disk_problem,
    open_below,
    parts_of,
    refuse,
    remove,
    write_copy,
)
from lading.contracts.golem.driver.offloop import Stop
from lading.contracts.golem.driver.records import Candidate

__all__ = ["Provided", "clear_subtask", "place_candidate", "provide", "take_result"]

# Resources: from the requestor's subtask_inputs to a node's.

Mark = tuple[int, ...]


class Provided:
    """What a node's ``subtask_inputs`` holds, and of which files it is a copy.

    A copy is kept as long as neither it nor its original was touched: whoever writes to a file
    changes the time of its last change of status, which only the kernel can set.
    """

    def __init__(self) -> None:
        self.copies: dict[str, tuple[Mark, Mark]] = {}


def _mark(found: os.stat_result) -> Mark:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def provide(
    stop: Stop,
    work: Path,
    *,
    task_id: str,
    names: Collection[str],
    node: Path,
    provided: Provided,
) -> int:
    """Make a node's ``subtask_inputs`` hold these resources, and nothing else.

    Parameters
    ----------
    work : Path
        The requestor's work directory.
    task_id : str
        As the application knows it.
    names : collection of str
        What ``NextSubtask`` said.
    node : Path
        The node's directory.
    provided : Provided
        What it got last time; changed.

    Returns
    -------
    int
        Bytes that were copied.

    Raises
    ------
    AppError
        A resource is missing, is no regular file, or lies elsewhere; it is named.
    CapacityError
        The disk is full.
    LadingError
        The directory can't be written.
    """
    wanted = {name: _resource(name) for name in dict.fromkeys(names)}
    try:
        with Way(node) as way:
            way.make(SUBTASK_INPUTS_DIR)
            _sweep(way.here, "", {"/".join(parts) for parts in wanted.values()}, provided)
            copied = 0
            for name, parts in wanted.items():
                place = f"{task_id}/{SUBTASK_INPUTS_DIR}/{name}"
                what = f"the resource {name!r}"
                with open_below(work, place, call="NextSubtask", what=what) as source:
                    way.back(1)
                    copied += _bring(way, parts, source, provided, stop)
            return copied
    except InterruptedError:
        raise
    except OSError as error:
        raise disk_problem(error, "resources can't be copied to a node", node) from error


def _resource(name: str) -> list[str]:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or not parts_of(name) or "\0" in name:
        text = f"the resource {name!r} is not the name of a file in {SUBTASK_INPUTS_DIR}"
        raise refuse("NextSubtask", "PERMISSION_DENIED", text)
    return parts_of(name)


def _bring(way: Way, parts: list[str], source: int, provided: Provided, stop: Stop) -> int:
    for name in parts[:-1]:
        way.make(name)
    key, original = "/".join(parts), os.fstat(source)
    known = provided.copies.pop(key, None)
    if known is not None and known[0] == _mark(original):
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(parts[-1], dir_fd=way.here, follow_symlinks=False)
            if known[1] == _mark(found):
                provided.copies[key] = known
                return 0
    write_copy(way.here, parts[-1], source, stop)
    copy = os.stat(parts[-1], dir_fd=way.here, follow_symlinks=False)
    if _mark(os.fstat(source)) == _mark(original):  # nobody wrote to it meanwhile
        provided.copies[key] = (_mark(original), _mark(copy))
    return copy.st_size


def _sweep(here: int, below: str, wanted: Collection[str], provided: Provided) -> None:
    """Remove all files but those that are wanted."""
    listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    try:
        for name in os.listdir(listing):  # noqa: PTH208  # Path knows no descriptors
            path = below + name
            within = any(item.startswith(path + "/") for item in wanted)
            found = os.stat(name, dir_fd=listing, follow_symlinks=False)
            if within and stat.S_ISDIR(found.st_mode):
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(name, flags, dir_fd=listing)
                try:
                    _sweep(inner, path + "/", wanted, provided)
                finally:
                    os.close(inner)
            elif path not in wanted or not stat.S_ISREG(found.st_mode):
                provided.copies.pop(path, None)
                remove(listing, name)
    finally:
        os.close(listing)


# Results: from a node's directory to the requestor's subtask_outputs.


def take_result(
    stop: Stop, *, node: Path, path: Path, number: int, home: Path, place: str, waits: bool
) -> tuple[Candidate, str]:
    """Check the path that ``Compute`` returned, and copy the file.

    An empty file is a result: an application may have nothing to say about a piece of work, and
    only its ``Verify`` can know that this is wrong.

    Parameters
    ----------
    node : Path
        The node's directory.
    path : Path
        What the application said.
    number : int
        Of the node.
    home : Path
        Of the task.
    place : str
        Directory below it for the copy, made if it is missing; the name stays.
    waits : bool
        Whether it waits there to be compared with others.

    Returns
    -------
    (Candidate, str)
        What was copied, and its SHA-256 where it waits; it is empty otherwise.

    Raises
    ------
    AppError
        The path is absolute, leads out of the directory, or names no regular file.
    CapacityError
        The disk is full.
    LadingError
        The copy can't be written.
    """
    relative = path.relative_to(node) if path.is_relative_to(node) else path
    what = f"the result {str(relative)!r}"
    if relative.is_absolute():
        text = f"{what} is not relative to the work directory, which is not allowed"
        raise refuse("Compute", "PERMISSION_DENIED", text)
    with open_below(node, str(relative), call="Compute", what=what) as source:
        name = relative.name
        if name == "..":  # through a link to a file, it would be: no name for a copy
            raise refuse("Compute", "PERMISSION_DENIED", f"{what} is no name of a file")
        try:
            with Way(home) as way:
                for part in parts_of(place):
                    way.make(part)
                write_copy(way.here, name, source, stop)
            size = os.fstat(source).st_size
            if not waits:
                return Candidate(name, size, (number,)), ""
            return Candidate(name, size, (number,), f"{place}/{name}"), digest(source, stop)
        except InterruptedError:
            raise
        except OSError as error:
            raise disk_problem(error, f"{what} can't be copied", home) from error


def place_candidate(
    stop: Stop, home: Path, *, task_id: str, subtask_id: str, candidate: Candidate
) -> None:
    """Copy a replica's result to ``subtask_outputs``, in place of what was there.

    Raises
    ------
    CapacityError, LadingError
        It can't be.
    """
    try:
        source = os.open(home / candidate.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with Way(home) as way:
                for part in ("work", task_id, SUBTASK_OUTPUTS_DIR):
                    way.make(part)
                remove(way.here, subtask_id)
                way.make(subtask_id)
                write_copy(way.here, candidate.name, source, stop)
        finally:
            os.close(source)
    except InterruptedError:
        raise
    except OSError as error:
        raise disk_problem(error, "a result can't be copied", home) from error


def clear_subtask(stop: Stop, directory: Path, subtask_id: str) -> None:
    """Remove what a subtask left in a directory of ours, as far as that can be done."""
    with contextlib.suppress(OSError), Way(directory) as way:
        if not stop.is_set():
            remove(way.here, subtask_id)
