"""Files of a task folder, written again: whole or not at all, and with all else kept."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from lading.errors import ConfigError

__all__ = ["check_writable", "replace_file"]

_ANYBODY = 0o222


def check_writable(path: Path) -> None:
    """See whether a file can be replaced, before much work is done for it.

    Parameters
    ----------
    path : Path
        Need not be there yet.

    Raises
    ------
    ConfigError
        It is read-only, for whoever it may be, or its directory is.
    """
    # Root may write whatever it likes; who has made a file read-only did not mean it to be.
    if path.exists() and (not path.stat().st_mode & _ANYBODY or not os.access(path, os.W_OK)):
        raise ConfigError(
            str(path), "is read-only, so it is left as it is", fix=f"chmod u+w {path}, and again"
        )
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(
            str(path), "can't be written: its folder is read-only", fix="work on a copy of it"
        )


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; blocks on the disk.

    It keeps its mode and owner. A link is followed.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    ConfigError
        It can't be written; then it is as it was.
    """
    check_writable(path)
    target = path.resolve()
    aside = None
    try:
        number, aside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
            if target.exists():
                before = target.stat()
                os.fchmod(number, before.st_mode & 0o7777)
                with contextlib.suppress(PermissionError):
                    os.fchown(number, before.st_uid, before.st_gid)
            else:
                os.fchmod(number, 0o666 & ~_umask())
        Path(aside).replace(target)
    except OSError as error:
        if aside is not None:
            Path(aside).unlink(missing_ok=True)
        raise ConfigError(str(path), f"can't be written: {error.strerror}") from None
    except BaseException:
        if aside is not None:
            Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
