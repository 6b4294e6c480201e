"""Room for one container that runs once: a reservation as a context manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.host.capacity import Claim, Reservation, Resources
from lading.host.waiters import Group, Waiter

if TYPE_CHECKING:
    from lading.host.admission import Admission

__all__ = ["Room", "RoomGroup"]


class RoomGroup(Group[Claim]):
    """Those who want this much room for one run."""

    def __init__(self, admission: Admission, resources: Resources) -> None:
        super().__init__(resources)
        self._admission = admission

    def offer(self, waiter: Waiter[Claim]) -> bool:
        """Claim room for it."""
        claim = self._admission.claim(self.resources)
        if claim is None:
            return False
        self._admission.grant(waiter, claim)
        return True

    def take_back(self, value: Claim) -> None:
        """Give the room back."""
        value.abandon()


class Room:
    """A reservation for one run, as a context manager; see :meth:`Admission.room`."""

    __slots__ = ("_admission", "_reservation", "_resources", "_timeout", "_waiter")

    def __init__(self, admission: Admission, resources: Resources, timeout: float | None) -> None:
        self._admission = admission
        self._resources = resources
        self._timeout = timeout
        self._waiter: Waiter[Claim] | None = None
        self._reservation: Reservation | None = None

    @property
    def waiting_for(self) -> str:
        """What it waits for, for a person; empty once it has its room."""
        waiter = self._waiter
        return self._admission.waiting_for(waiter) if waiter is not None else ""

    async def __aenter__(self) -> Reservation:
        admission = self._admission
        admission.check()
        admission.capacity.fits_ever(self._resources)
        await admission.check_gpus(self._resources)
        reservation = None
        while reservation is None:
            admission.check()
            self._waiter = admission.join(admission.room_group(self._resources), self._timeout)
            try:
                claim = await admission.wait(self._waiter)
            finally:
                self._waiter = None
            # None: the room was lost again while it was being cleared, so it queues up once more.
            reservation = await claim.settle()
        admission.rooms.count += 1
        self._reservation = reservation
        return reservation

    async def __aexit__(self, *_: object) -> None:
        if self._reservation is not None:
            self._admission.rooms.leave()
            self._reservation.release()
            self._reservation = None
