"""The capabilities of the kernel, and which of them a container has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.errors import EngineError

if TYPE_CHECKING:
    from lading.engine.spec import ContainerSpec

__all__ = ["CAPABILITIES", "capabilities_of"]

_ALL = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_USUAL = """
    CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
    MKNOD AUDIT_WRITE SETFCAP
"""

CAPABILITIES = tuple(_ALL.split())
"""In the order of their numbers, see capabilities(7)."""


def capabilities_of(spec: ContainerSpec) -> frozenset[str]:
    """Return what a root process of a container may do.

    Raises
    ------
    EngineError
        The kernel has no such capability.
    """
    for name in spec.capabilities:
        if name not in CAPABILITIES:
            raise EngineError(
                f"unknown capability {name!r}", status=400, fix="write it as in capabilities(7)"
            )
    usual = () if spec.sealed else _USUAL.split()
    return frozenset((*spec.capabilities, *usual))
