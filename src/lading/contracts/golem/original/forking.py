"""Forking a process in which gRPC may be at work.

What gRPC does by itself when its process is forked is of no use to a child that does not use it,
and harmful: it starts threads there, which take events from the parent's. It can be told not to,
but only before it is loaded; afterwards, the fork has to go past it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings

__all__ = ["fork"]

_VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"

_in_time = "grpc" not in sys.modules
if _in_time:
    os.environ.setdefault(_VARIABLE, "0")
_silent = _in_time and os.environ[_VARIABLE].lower() in ("0", "false", "no", "off")


def fork() -> int:
    """Fork this process, as :func:`os.fork` does.

    The child must leave alone whatever belongs to gRPC.

    Raises
    ------
    OSError
        The kernel refused.
    """
    raw = None if _silent else getattr(ctypes.PyDLL(None), "_Fork", None)
    if raw is not None:
        return _past_handlers(raw)
    with warnings.catch_warnings():
        # This process has threads; the child does not need what they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _past_handlers(raw: ctypes._NamedFuncPointer) -> int:
    """Fork without what libraries have registered to be done then, but with all of Python's.

    Source: fork(3) of glibc and musl, on ``_Fork``; https://docs.python.org/3/c-api/sys.html on
    what has to be called around a fork.
    """
    raw.restype = ctypes.c_int
    raw.argtypes = ()
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = raw()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError("a process can't be forked")
    return pid
