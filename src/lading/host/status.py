"""How a pool is told to keep its containers, and what can be seen of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lading.errors import InputError
from lading.host.capacity import Resources

__all__ = ["KeyStatus", "PoolOptions", "PoolStatus"]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How the pool keeps its containers.

    Parameters
    ----------
    idle_timeout : float
        Seconds after which an idle container is closed.
    concurrency : int
        Leases at a time on one container; 1 or more.
    spares : int
        Idle containers kept ready for each recently used key.
    """

    idle_timeout: float = 60.0
    concurrency: int = 1
    spares: int = 0

    def __post_init__(self) -> None:
        for name, least in (("idle_timeout", 0), ("concurrency", 1), ("spares", 0)):
            if not getattr(self, name) >= least:
                raise InputError(name, "is too small", fix=f"write {least} or more")


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """What there is of one key."""

    idle: int
    busy: int
    starting: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What there is in the pool; ``closing`` containers still take room."""

    keys: dict[Hashable, KeyStatus]
    leases: int
    closing: int
    waiting: int
    reserved: Resources
    total: Resources
