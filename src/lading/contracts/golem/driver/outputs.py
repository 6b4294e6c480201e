"""What a user gives and gets: resources into ``task_inputs``, ``task_outputs`` to a directory.

All functions block, see :mod:`lading.contracts.golem.driver.offloop`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from lading.contracts.golem.driver.below import copy_over, disk_problem, open_below
from lading.contracts.golem.driver.offloop import Stop
from lading.errors import AppError, GolemTaskFailed, InputError

__all__ = ["check_output", "check_resources", "copy_resources", "drop_staging", "move_outputs"]

_OTHER_WAYS = (errno.EXDEV, errno.EBUSY, errno.EPERM, errno.EACCES, errno.ENOENT)
"""Why a directory can't just be renamed: it goes to another file system, onto a mount point, or
into the place of a directory that we may write to but not replace."""


# Resources.


def check_resources(_: Stop, resources: Sequence[Path]) -> None:
    """Find out whether all can be copied, and none is in another one's way.

    Raises
    ------
    InputError
        Names the file.
    """
    seen: dict[str, Path] = {}
    for source, relative in _resources(resources):
        other = seen.setdefault(relative, source)
        if other is not source:
            raise InputError(
                "--resources", f"{source} and {other} would have the same name, {relative}"
            )
        if not os.access(source, os.R_OK):
            raise InputError("--resources", f"{source} can't be read: permission denied")


def copy_resources(stop: Stop, resources: Sequence[Path], target: Path) -> int:
    """Copy them to ``task_inputs``: of a directory, what is in it.

    Returns
    -------
    int
        Files that were copied.

    Raises
    ------
    InputError
        One has vanished meanwhile, or can't be read.
    CapacityError
        The disk is full.
    LadingError
        They can't be written.
    """
    count = 0
    for source, relative in _resources(resources):
        place = target / relative
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError("--resources", f"{source} can't be read: {error.strerror}") from error
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(descriptor, place, stop, sync=False)
        except InterruptedError:
            raise
        except OSError as error:
            raise disk_problem(error, f"{source} can't be copied", target) from error
        finally:
            os.close(descriptor)
        count += 1
    for directory in _directories(resources):
        (target / directory).mkdir(parents=True, exist_ok=True)
    return count


def _resources(resources: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Walk over the files: where each is, and its name in ``task_inputs``."""
    for path in resources:
        try:
            found = path.stat()
        except OSError as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else error.strerror
            raise InputError("--resources", f"{path} {reason}") from None
        if stat.S_ISDIR(found.st_mode):
            yield from _below(path, "", frozenset())
        else:
            _check_kind(path, found)
            yield path, path.name


def _below(
    directory: Path, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[Path, str]]:
    found = directory.stat()
    identity = (found.st_dev, found.st_ino)
    if identity in above:
        raise InputError("--resources", f"{directory} leads back to a directory that it is in")
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise InputError("--resources", f"{directory} can't be read: {error.strerror}") from None
    for path in entries:
        try:
            found = path.stat()
        except OSError:
            raise InputError("--resources", f"{path} is a link that leads nowhere") from None
        if stat.S_ISDIR(found.st_mode):
            yield from _below(path, f"{prefix}{path.name}/", above | {identity})
        else:
            _check_kind(path, found)
            yield path, prefix + path.name


def _check_kind(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InputError("--resources", f"{path} is neither a file nor a directory")


def _directories(resources: Sequence[Path]) -> Iterator[str]:
    """Walk over the directories, as an application may count on an empty one."""
    for path in resources:
        for directory, names, _ in os.walk(path, followlinks=True):
            for name in names:
                yield os.path.relpath(Path(directory, name), path)


# Results.


def check_output(_: Stop, output: Path) -> None:
    """Find out whether the results can be put there.

    Raises
    ------
    InputError
        It is no directory, isn't empty, or can't be made.
    """
    try:
        if not output.is_dir():
            if output.exists() or output.is_symlink():
                raise InputError("--output", f"{output} is no directory")
            above = next(parent for parent in output.parents if parent.exists())
            if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
                raise InputError("--output", f"{output} can't be made: {above} can't be written to")
        elif any(output.iterdir()):
            raise InputError(
                "--output", f"{output} is not empty", fix="name another directory, or empty it"
            )
        elif not os.access(output, os.W_OK | os.X_OK):
            raise InputError("--output", f"{output} can't be written to")
    except OSError as error:
        raise InputError("--output", f"{output} can't be used: {error.strerror}") from None


def move_outputs(stop: Stop, work: Path, source: Path, output: Path, task_id: str) -> list[str]:
    """Move the results to the user's directory, so that it holds them and nothing else.

    Can be done again after it was broken off at any moment.

    Parameters
    ----------
    work : Path
        The work directory that the application had.
    source : Path
        ``task_outputs`` in it.
    output : Path
        The directory; one that is there must be empty.
    task_id : str
        For the name of what is there only meanwhile.

    Returns
    -------
    list of str
        What its user should know.

    Raises
    ------
    InputError
        Something else has got into the directory meanwhile.
    GolemTaskFailed
        There are no results: ``task_outputs`` is gone.
    CapacityError
        The disk is full.
    LadingError
        It can't be written.
    """
    staging, complete = _stages(output, task_id)
    try:
        if complete.is_dir():
            _publish(complete, source, output, task_id)
            return []
        if not _is_directory(source):
            if output.is_dir():  # it was moved before we were killed
                return []
            raise GolemTaskFailed(
                f"task {task_id}: the application has removed its directory of results, {source}"
            )
        notes = _settle_links(stop, work, source)
        output.parent.mkdir(parents=True, exist_ok=True)
        if not staging.exists() and _renamed(source, output):
            return notes
        _check_empty(output, staging, task_id)
        _stage(source, staging, stop)
        staging.rename(complete)
        _sync(complete.parent)
        _publish(complete, source, output, task_id)
    except InterruptedError:
        raise
    except OSError as error:
        # Half of it is of no use, and takes up a disk that may be full.
        shutil.rmtree(staging, ignore_errors=True)
        raise disk_problem(error, "the results can't be moved to the output", output) from error
    return notes


def _stages(output: Path, task_id: str) -> tuple[Path, Path]:
    """Where results are copied to, and what that is called once all are there.

    Beside the output, which then is replaced as a whole; in it where that can't be done.
    """
    inside = output.is_mount() or not os.access(_first_there(output.parent), os.W_OK | os.X_OK)
    place = output if inside else output.parent
    staging = place / f".{output.name}.lading-{task_id}"
    return staging, staging.with_name(f"{staging.name}-complete")


def _first_there(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())


def drop_staging(_: Stop, source: Path, output: Path, task_id: str) -> bool:
    """Take back what was begun, unless it is finished; say whether it is."""
    staging, complete = _stages(output, task_id)
    if complete.is_dir() and not source.exists():
        _publish(complete, source, output, task_id)
    if not source.exists():
        return output.is_dir()
    for path in (staging, complete):
        if path.is_dir():
            shutil.rmtree(path)
    return False


def _check_empty(output: Path, staging: Path, task_id: str) -> None:
    for path in output.iterdir() if output.exists() else ():
        if path != staging:
            raise InputError(
                "--output",
                f"{output} was empty, and holds {path.name} now; the results can't be put there",
                fix=f"move it away, then resume the task {task_id}",
            )


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _renamed(source: Path, output: Path) -> bool:
    try:
        source.rename(output)  # in place of a directory that is empty, too
    except OSError as error:
        if error.errno in (*_OTHER_WAYS, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _stage(source: Path, staging: Path, stop: Stop) -> None:
    """Copy all to the other file system: what is there of an earlier try may be half."""
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    _copy_tree(source, staging, stop)


def _copy_tree(source: Path, target: Path, stop: Stop) -> None:
    for path in source.iterdir():
        place = target / path.name
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            place.symlink_to(path.readlink())
        elif stat.S_ISDIR(found.st_mode):
            place.mkdir()
            _copy_tree(path, place, stop)
            place.chmod(stat.S_IMODE(found.st_mode) | 0o700)
        elif stat.S_ISREG(found.st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                _copy_file(descriptor, place, stop, sync=True)
            finally:
                os.close(descriptor)
    _sync(target)


def _copy_file(descriptor: int, place: Path, stop: Stop, *, sync: bool) -> None:
    found = os.fstat(descriptor)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    target = os.open(place, flags, 0o600)
    try:
        copy_over(descriptor, target, stop)
        os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o777 | 0o600)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        if sync:
            os.fsync(target)
    finally:
        os.close(target)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(complete: Path, source: Path, output: Path, task_id: str) -> None:
    """Put what was copied where it belongs; the original goes."""
    if source.is_dir():
        shutil.rmtree(source)
    if complete.parent == output:
        for path in complete.iterdir():
            path.rename(output / path.name)
        complete.rmdir()
    else:
        _check_empty(output, complete, task_id)
        complete.rename(output)
    _sync(output)
    _sync(output.parent)


def _settle_links(stop: Stop, work: Path, source: Path) -> list[str]:
    """Put copies in place of links to files that will be gone; tell of what is no regular file."""
    notes: list[str] = []
    count = 0
    for directory, _, names in os.walk(source):
        links = [name for name in os.listdir(directory) if Path(directory, name).is_symlink()]  # noqa: PTH208
        for name in dict.fromkeys([*names, *links]):
            path = Path(directory, name)
            count += 1
            shown = path.relative_to(source)
            if path.is_symlink():
                text = f"the result {shown} is a symbolic link to {path.readlink()}"
                try:
                    _settle(stop, work, path)
                except AppError as error:
                    notes.append(f"{text}: {error.text}")
            elif not path.is_file():
                notes.append(f"the result {shown} is no regular file")
    if not count:
        notes.append("the application has left no results: the output directory is empty")
    return notes


def _settle(stop: Stop, work: Path, path: Path) -> None:
    what = "what it leads to"
    with open_below(work, str(path.relative_to(work)), call="Verify", what=what) as descriptor:
        copy = path.with_name(f".lading-{path.name}")
        copy.unlink(missing_ok=True)
        _copy_file(descriptor, copy, stop, sync=False)
        copy.replace(path)
