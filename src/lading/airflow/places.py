"""Where the data of a DAG run are, and which DAG's they are.

The layout, ``<data>/<run_id>/<task_id>/<channel>``, does not say of which DAG they are, and run ids
are unique within a DAG only: two that are scheduled daily have runs of the same names. So whose
task comes first marks ``<data>/<run_id>`` as its DAG's, and those of others are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path
from typing import Any

from lading.errors import InputError
from lading.settings import environment

__all__ = ["MARK", "claim", "data_directory", "run_directory"]

MARK = ".lading-dag"
"""The file in the directory of a DAG run that has the id of its DAG."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_LOOKS, _PAUSE = 20, 0.1


def data_directory(task: Any) -> Path:
    """Return the directory below which an operator's data are, also of one mapped over a list.

    Raises
    ------
    InputError
        Neither the operator nor the worker's environment names one, or it is no absolute path.
    """
    own = _own(task)
    root = own or environment().get("DATADIR")
    if not root:
        raise InputError(
            "DATADIR",
            "this variable of the worker's environment is not set",
            fix="set it to a directory that all workers, and the engine's machine, have at the "
            "same path; or give the operator such a data_directory",
        )
    if not Path(root).is_absolute():
        raise InputError(
            f"data_directory of task {task.task_id}" if own else "DATADIR",
            f"{root!r} is no absolute path",
            fix="give an absolute path",
        )
    return Path(root)


def _own(task: Any) -> str | None:
    """Return what an operator says; for one that is mapped over a list, what it will say."""
    if (partial := getattr(task, "partial_kwargs", None)) is None:
        own: str | None = getattr(task, "data_directory", None)
        return own
    of_group, of_dag = (
        getattr(getattr(task, name, None), "default_args", None) for name in ("task_group", "dag")
    )
    for given in (partial, of_group, of_dag):
        if given and "data_directory" in given:
            return given["data_directory"]  # type: ignore[no-any-return]
    return None


def run_directory(task: Any, run_id: str) -> Path:
    """Return the directory of a DAG run, below that of an operator's data.

    Raises
    ------
    InputError
        There is none.
    """
    root = data_directory(task)
    if "/" in run_id or run_id in (".", ".."):
        raise InputError(
            "run_id", f"{run_id!r} is no name of a directory", fix="give runs ids without slashes"
        )
    return root / run_id


def claim(folder: Path, dag: str) -> str:
    """Mark the directory of a DAG run as its DAG's; blocks.

    Tasks of one run may do so at once, and tries again: the mark is there with its text, or not.

    Parameters
    ----------
    folder : Path
        Is made where it is not there.
    dag : str
        The id of the DAG.

    Returns
    -------
    str
        Why it can't be marked; empty if it is. Who may not write there removes nothing there.

    Raises
    ------
    InputError
        It is another DAG's. Nothing was changed then.
    """
    mark = folder / MARK
    try:
        if not (owner := _read(mark)):
            folder.mkdir(parents=True, exist_ok=True)
            _write(mark, dag)
            owner = _read(mark)
    except OSError as error:
        return f"{mark} can't be made or read ({error.strerror}): nobody sees whose {folder} is"
    if owner == dag:
        return ""
    if not owner:
        raise InputError(
            str(mark), "is empty, so it is not known whose its directory is", fix="remove it"
        )
    raise InputError(
        str(folder),
        f"has the data of DAG {owner}, which has a run of the same name as this of DAG {dag}; they "
        "would replace each other's data",
        fix="give each DAG a directory of its own: "
        f'DAG(.., default_args={{"data_directory": "{folder.parent / dag}"}}); or remove {folder} '
        f"if nobody needs the data of DAG {owner} any more",
    )


def _read(mark: Path) -> str | None:
    """Return what a mark says; None if there is none, empty if it stays without a text."""
    for _ in range(_LOOKS):
        try:
            if text := mark.read_text("utf-8").strip():
                return text
        except FileNotFoundError:
            return None
        time.sleep(_PAUSE)  # one that can't be made with its text is being written
    return ""


def _write(mark: Path, dag: str) -> None:
    """Make a mark, unless somebody was faster."""
    draft = mark.with_name(f"{MARK}.{secrets.token_hex(8)}")
    try:
        draft.write_text(f"{dag}\n", "utf-8")
        with contextlib.suppress(FileExistsError):
            try:
                os.link(draft, mark)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with mark.open("x", encoding="utf-8") as file:
                    file.write(f"{dag}\n")
    finally:
        draft.unlink(missing_ok=True)
