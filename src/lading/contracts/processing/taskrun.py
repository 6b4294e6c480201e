"""``task_run-<id>.pkl``: what one command writes of a started task, and others read back.

A pickle is code: who loads one runs whatever it names. So ours holds nothing but a dictionary of
texts, numbers and lists, and is read by an unpickler that knows nothing else: a file that names a
class or a function, in whatever way, is refused before any of it is loaded.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from lading.contracts.processing.task import BaseConfig, TaskRun
from lading.errors import FileInvalid, FileMissing, InputError

__all__ = ["as_plain", "read_task_run", "write_task_run"]

_PROTOCOL = 4
_LARGEST = 64 << 20
_PLAIN = frozenset(
    ("PROTO", "FRAME", "MARK", "STOP", "MEMOIZE", "BINGET", "LONG_BINGET",
     "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
     "SHORT_BINUNICODE", "BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST",
     "APPEND", "APPENDS")
)  # fmt: skip
"""All that a pickle of plain data is made of."""
_CODE = frozenset(
    ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1",
     "EXT2", "EXT4", "PERSID", "BINPERSID")
)  # fmt: skip
"""What names or calls something."""
_OURS = "lading"


def write_task_run(task_run: TaskRun, path: Path | None = None) -> Path:
    """Write a task run, whole or not at all; a password for a registry is left out.

    Parameters
    ----------
    path : Path or None
        None: ``task_run-<id>.pkl`` in the current directory.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    InputError
        It can't be written there.
    """
    path = Path(f"task_run-{task_run.id}.pkl") if path is None else Path(path)
    values = task_run.model_dump(
        mode="json", exclude={"config": {"registryPassword"}}, fallback=as_plain
    )
    if type(task_run.config) is BaseConfig:
        values["config"]["type"] = "none"  # without one it would be read as a cluster's
    values[_OURS] = {"run": task_run._run, "state": task_run._state}  # noqa: SLF001
    content = pickle.dumps(values, protocol=_PROTOCOL)
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".task_run-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).chmod(0o666 & ~_umask())
            Path(aside).rename(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(str(path), f"can't be written: {error.strerror}") from None
    return path


def read_task_run(path: Path | str) -> TaskRun:
    """Read a task run.

    Raises
    ------
    FileMissing
        There is no such file.
    FileInvalid
        It is no task run, or would run code if it was loaded.
    """
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise FileMissing(source, [f"{source}: there is no such file"]) from None
    except OSError as error:
        raise FileInvalid(source, [f"{source}: can't be read: {error.strerror}"]) from None
    _check(content, source)
    try:
        values = _Plain(io.BytesIO(content)).load()
        ours = values.pop(_OURS, None) or {}
        task_run = TaskRun.model_validate(values)
        task_run._run, task_run._state = str(ours["run"]), str(ours["state"])  # noqa: SLF001
    except Exception as error:  # a broken pickle raises whatever it likes
        raise _no_task_run(source, f"{type(error).__name__}: {error}") from None
    return task_run


class _Plain(pickle.Unpickler):
    """Knows no names: the second lock, behind the check of every instruction."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"names {module}.{name}")

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise pickle.UnpicklingError(f"refers to {pid!r}")


def _check(content: bytes, source: str) -> None:
    """Look at every instruction before any is carried out."""
    if len(content) > _LARGEST:
        raise _no_task_run(source, "it is too large")
    text: list[str] = []
    other = ""
    try:
        for instruction, value, _ in pickletools.genops(content):
            name = instruction.name
            if isinstance(value, str):
                text = [*text[-1:], value]
            if name in _CODE:
                named = ".".join(str(value).split()) if name in ("GLOBAL", "INST") else None
                raise _holds_code(source, named or (".".join(text) if text else name))
            if name not in _PLAIN:
                other = other or name
    except (FileInvalid, RecursionError):
        raise
    except Exception as error:  # genops raises what it likes
        raise _no_task_run(source, str(error)) from None
    if other:
        raise _no_task_run(source, f"it has the instruction {other}")


def _holds_code(source: str, named: str) -> FileInvalid:
    return FileInvalid(
        source,
        [f"{source}: is refused: it names {named[:200]}, and who loads it runs what it names"],
        fix="a file of the original task_api is one of these: run the task again with this one",
    )


def _no_task_run(source: str, why: str) -> FileInvalid:
    return FileInvalid(
        source,
        [f"{source}: is no task run: {why[:500]}"],
        fix="give the task_run-<id>.pkl that `run` wrote",
    )


def as_plain(value: Any) -> Any:
    """Write what a cluster's client made, as the objects in a config may be."""
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if callable(to_dict) else str(value)


def _umask() -> int:
    """Read the umask without changing it for the other threads."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077
