"""The ledger: what this machine lends to tasks, and who has which part of it.

Arithmetic is exact: processor shares are whole thousandths of a core inside, so ten reservations
of 0.1 fill one core and no more. A GPU is lent whole, by its id.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from lading.errors import GpuUnavailable, InputError, TooLarge
from lading.units import format_bytes, format_cores

__all__ = ["Amount", "Capacity", "Claim", "Reservation", "Resources"]

_SETTLE = 2.0
"""Seconds for which a GPU that we have just given back counts as free: what it reads as its
utilisation is an average over the last second, and that was still our own task."""


class Amount(NamedTuple):
    """Resources as the ledger counts them; may be negative as a difference."""

    millicores: int
    memory: int
    gpus: int

    def plus(self, other: Amount) -> Amount:
        """Add, part by part."""
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Amount) -> Amount:
        """Subtract, part by part."""
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def at_least_nothing(self) -> Amount:
        """Replace what is negative by 0."""
        return Amount(max(0, self[0]), max(0, self[1]), max(0, self[2]))

    def fits(self, room: Amount) -> bool:
        """Whether `room` has enough; of a part that isn't needed, no room is needed either."""
        return all(need <= 0 or need <= has for need, has in zip(self, room, strict=True))


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task needs, or a machine has.

    Parameters
    ----------
    cpus : float
        Cores, may be fractional; counted in thousandths, rounded up.
    memory : int
        Bytes.
    gpus : int
        Whole devices.

    Raises
    ------
    InputError
        One of them is negative or no number.
    """

    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0

    def __post_init__(self) -> None:
        for name in ("cpus", "memory", "gpus"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(name, f"{value!r} is no amount", fix="write 0 or more")

    @classmethod
    def of(cls, amount: Amount) -> Self:
        """Read them back from the ledger's units; what is negative there is nothing here."""
        millicores, memory, gpus = amount.at_least_nothing()
        return cls(millicores / 1000, memory, gpus)

    @property
    def amount(self) -> Amount:
        """Themselves in the ledger's units."""
        # The tiny term keeps 0.1 * 1000 = 100.00000000000001 from being rounded up to 101.
        return Amount(math.ceil(self.cpus * 1000 - 1e-6), self.memory, self.gpus)

    def __str__(self) -> str:
        parts = [_cores(self.cpus)] if self.cpus else []
        parts += [format_bytes(self.memory)] if self.memory else []
        parts += [_gpus(self.gpus)] if self.gpus else []
        return ", ".join(parts) or "nothing"


def _cores(count: float) -> str:
    return f"{format_cores(count)} core{'' if count == 1 else 's'}"


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


class Reservation:
    """A part of the machine that somebody has.

    Attributes
    ----------
    resources : Resources
        How much.
    gpus : tuple of str
        The ids of the devices that come with it.
    """

    __slots__ = ("_capacity", "_held", "gpus", "resources")

    def __init__(self, capacity: Capacity, resources: Resources, gpus: tuple[str, ...]) -> None:
        self._capacity = capacity
        self._held = True
        self.resources = resources
        self.gpus = gpus

    @property
    def held(self) -> bool:
        """Whether it still counts."""
        return self._held

    def release(self) -> None:
        """Give it back; nothing happens the second time."""
        if self._held:
            self._held = False
            self._capacity._give_back([self])  # noqa: SLF001 - two halves of one thing

    def _drop(self) -> bool:
        held, self._held = self._held, False
        return held


class Capacity:
    """The ledger itself.

    Parameters
    ----------
    total : Resources
        What there is to lend.
    gpu_devices : callable
        Returns the ids of the GPUs that may be lent now (those that nobody outside of Lading uses);
        called at every reservation with GPUs, so it must not block.
    clock : callable
        Seconds, monotonic.

    Attributes
    ----------
    on_release : callable
        Called after room has become free.
    """

    def __init__(
        self,
        total: Resources,
        gpu_devices: Callable[[], Collection[str]] = tuple,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total.amount
        self._used = Amount(0, 0, 0)
        self._gpu_devices = gpu_devices
        self._gpus_held: set[str] = set()
        self._gpus_settling: dict[str, float] = {}
        self._clock = clock
        self.on_release: Callable[[], None] = lambda: None

    @property
    def total(self) -> Resources:
        """What there is to lend."""
        return Resources.of(self._total)

    @property
    def used(self) -> Resources:
        """What is lent; after a :meth:`resize` it may be more than there is."""
        return Resources.of(self._used)

    @property
    def free(self) -> Resources:
        """What is left."""
        return Resources.of(self._total.minus(self._used))

    def fits_ever(self, resources: Resources) -> None:
        """Check that a machine that lends nothing else could give this much.

        Raises
        ------
        TooLarge
            Never; the message names what is too much, and the maximum.
        GpuUnavailable
            There are not that many GPUs.
        """
        need, total = resources.amount, self._total
        if need.millicores > total.millicores:
            asked, most = _cores(resources.cpus), _cores(total.millicores / 1000)
        elif need.memory > total.memory:
            asked, most = format_bytes(need.memory), format_bytes(total.memory)
        elif need.gpus > total.gpus:
            raise GpuUnavailable(
                f"asks for {_gpus(need.gpus)}, and this host lends {total.gpus or 'none'}",
                fix="'lading doctor' says which GPUs there are and why others are not",
            )
        else:
            return
        raise TooLarge(
            f"asks for {asked}, and the maximum on this host is {most}",
            fix="ask for less, or raise what the host lends",
        )

    def lendable_gpus(self) -> int:
        """How many GPUs are ours to lend: those lent, and those that nobody else uses."""
        return len(self._gpus_held.union(self._free_gpus()))

    def try_reserve(self, resources: Resources) -> Reservation | None:
        """Take a part, or nothing where it does not fit now."""
        need = resources.amount
        if not need.fits(self._total.minus(self._used)):
            return None
        devices: tuple[str, ...] = ()
        if need.gpus:
            devices = tuple(self._free_gpus()[: need.gpus])
            if len(devices) < need.gpus:
                return None
            self._gpus_held.update(devices)
        self._used = self._used.plus(need)
        return Reservation(self, resources, devices)

    def lacking(self, resources: Resources) -> Amount:
        """How much would have to become free for it to fit; all 0 if it fits now."""
        free = self._total.minus(self._used)
        if resources.gpus:
            free = free._replace(gpus=min(free.gpus, len(self._free_gpus())))
        need = resources.amount
        lack = need.minus(free)
        return Amount(*(max(0, gap) if part else 0 for gap, part in zip(lack, need, strict=True)))

    def exchange(self, old: Iterable[Reservation], new: Resources) -> Reservation | None:
        """Give some back and take another in one step, so that nobody takes it in between."""
        self._settle([part for part in old if part._drop()])  # noqa: SLF001
        reservation = self.try_reserve(new)
        self.on_release()
        return reservation

    def overdrawn(self) -> Amount:
        """How much more is lent than there is, after a :meth:`resize`."""
        return self._used.minus(self._total).at_least_nothing()

    def resize(self, total: Resources) -> None:
        """Change what there is; what is lent stays lent, even if it is too much now."""
        self._total = total.amount
        self.on_release()

    def _free_gpus(self) -> list[str]:
        now = self._clock()
        recent = {gpu for gpu, until in self._gpus_settling.items() if until > now}
        candidates = dict.fromkeys((*self._gpu_devices(), *sorted(recent)))
        return [gpu for gpu in candidates if gpu not in self._gpus_held]

    def _give_back(self, parts: list[Reservation]) -> None:
        self._settle(parts)
        self.on_release()

    def _settle(self, parts: list[Reservation]) -> None:
        for part in parts:
            self._used = self._used.minus(part.resources.amount)
            self._gpus_held.difference_update(part.gpus)
            self._gpus_settling.update(dict.fromkeys(part.gpus, self._clock() + _SETTLE))


class Claim:
    """Room that is certain, though some of it may still be in use by what is just being removed.

    Parameters
    ----------
    capacity : Capacity
    resources : Resources
        What it amounts to.
    hold : Reservation
        What is reserved already.
    leaving : mapping of task to reservation
        What is being removed, and the room that will be had from it. The claim owns that room:
        it can't go to anybody else when the removal ends.
    """

    __slots__ = ("_capacity", "_hold", "_leaving", "resources")

    def __init__(
        self,
        capacity: Capacity,
        resources: Resources,
        hold: Reservation,
        leaving: dict[asyncio.Task[None], Reservation] | None = None,
    ) -> None:
        self._capacity = capacity
        self._hold = hold
        self._leaving = leaving or {}
        self.resources = resources

    @property
    def settled(self) -> Reservation | None:
        """The reservation, if nothing has to be removed first."""
        return None if self._leaving else self._hold

    async def settle(self) -> Reservation | None:
        """Wait until the room is really free.

        Returns
        -------
        Reservation or None
            None where the ledger was made smaller meanwhile, or a GPU was taken by somebody else.
        """
        if not self._leaving:
            return self._hold
        try:
            await asyncio.wait(self._leaving)
        except BaseException:
            self.abandon()
            raise
        return self._capacity.exchange((self._hold, *self._leaving.values()), self.resources)

    def abandon(self) -> None:
        """Give it up: what is reserved now, what is in use when its removal ends."""
        self._hold.release()
        for task, reservation in self._leaving.items():
            if task.done():
                reservation.release()
            else:
                task.add_done_callback(lambda _, part=reservation: part.release())  # type: ignore[misc]
