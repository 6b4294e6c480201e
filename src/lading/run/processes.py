"""Names of processes that no later process has."""

from __future__ import annotations

from pathlib import Path

__all__ = ["process_name"]


def process_name(pid: str) -> str:
    """Name a process so that no later one of the same number has the name; empty if it is gone.

    Parameters
    ----------
    pid : str
        Its number, or its name.
    """
    pid = pid.partition("@")[0]
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid}@{stat.rpartition(')')[2].split()[19]}"  # starttime, field 22 of proc(5)
