from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.host.parts import MIB, ManualClock

from lading.errors import GpuUnavailable, InputError, TooLarge
from lading.host.capacity import Capacity, Reservation, Resources


def test_ten_tenths_of_a_core_fill_one_core() -> None:
    capacity = Capacity(Resources(cpus=1, memory=MIB))
    taken = [capacity.try_reserve(Resources(cpus=0.1)) for _ in range(10)]
    assert all(taken)
    assert capacity.free.cpus == 0
    assert capacity.try_reserve(Resources(cpus=0.001)) is None
    for reservation in taken:
        assert reservation is not None
        reservation.release()
    assert capacity.used == Resources()


def test_a_release_counts_once() -> None:
    capacity = Capacity(Resources(2, 10))
    freed: list[Resources] = []
    capacity.on_release = lambda: freed.append(capacity.free)
    reservation = capacity.try_reserve(Resources(1.5, 4))
    assert reservation is not None
    was_held = reservation.held
    assert capacity.used == Resources(1.5, 4)
    reservation.release()
    reservation.release()
    assert (was_held, reservation.held) == (True, False)
    assert capacity.free == Resources(2, 10)
    assert freed == [Resources(2, 10)]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (Resources(cpus=8), "asks for 8 cores, and the maximum on this host is 4 cores"),
        (Resources(memory=2048 * MIB), "asks for 2 GiB, and the maximum on this host is 1 GiB"),
    ],
)
def test_too_large_names_what_and_the_maximum(wanted: Resources, text: str) -> None:
    capacity = Capacity(Resources(4, 1024 * MIB))
    with pytest.raises(TooLarge, match=text):
        capacity.fits_ever(wanted)


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(GpuUnavailable, match="asks for 1 GPU, and this host lends none"):
        Capacity(Resources(4, MIB)).fits_ever(Resources(gpus=1))
    Capacity(Resources(4, MIB)).fits_ever(Resources(4, MIB))


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
def test_absurd_amounts(bad: float) -> None:
    with pytest.raises(InputError, match=r"cpus: .* is no amount"):
        Resources(cpus=bad)


def test_resources_read_like_a_sentence() -> None:
    assert str(Resources(1.5, 512 * MIB, 2)) == "1.5 cores, 512 MiB, 2 GPUs"
    assert str(Resources(1, 0, 1)) == "1 core, 1 GPU"
    assert str(Resources()) == "nothing"


def test_gpus_are_lent_whole_and_by_id() -> None:
    clock = ManualClock()
    idle = ["a", "c"]
    capacity = Capacity(Resources(4, MIB, 3), lambda: idle, clock=clock.time)
    assert capacity.try_reserve(Resources(gpus=3)) is None
    assert capacity.used == Resources()
    first = capacity.try_reserve(Resources(gpus=1))
    second = capacity.try_reserve(Resources(gpus=1))
    assert first is not None
    assert second is not None
    assert (first.gpus, second.gpus) == (("a",), ("c",))
    assert capacity.try_reserve(Resources(gpus=1)) is None
    # Given back, it counts as ours although its utilisation has not settled yet; later it must.
    idle.remove("a")
    first.release()
    assert capacity.lendable_gpus() == 2
    assert capacity.lacking(Resources(gpus=1)).gpus == 0
    clock.advance(3)
    assert capacity.lendable_gpus() == 1
    assert capacity.try_reserve(Resources(gpus=1)) is None


def test_a_smaller_total_keeps_what_is_lent() -> None:
    capacity = Capacity(Resources(4, 100))
    held = capacity.try_reserve(Resources(3, 50))
    assert held is not None
    capacity.resize(Resources(2, 100))
    assert capacity.free == Resources(0, 50)
    assert capacity.overdrawn().millicores == 1000
    assert capacity.try_reserve(Resources(memory=50)) is not None, "no core is asked for"
    assert capacity.try_reserve(Resources(cpus=0.1)) is None
    held.release()
    assert capacity.try_reserve(Resources(cpus=2)) is not None


async def test_an_exchange_lets_nobody_in_between() -> None:
    capacity = Capacity(Resources(2, 0))
    old = capacity.try_reserve(Resources(2))
    assert old is not None
    seen: list[Reservation | None] = []
    capacity.on_release = lambda: seen.append(capacity.try_reserve(Resources(1.5)))
    new = capacity.exchange([old], Resources(1))
    assert new is not None
    assert seen == [None]
    await asyncio.sleep(0)


@given(
    st.lists(
        st.tuples(st.floats(0, 4, allow_nan=False), st.integers(0, 100), st.booleans()), max_size=30
    )
)
def test_the_ledger_never_lends_more_than_there_is(steps: list[tuple[float, int, bool]]) -> None:
    capacity = Capacity(Resources(4, 100))
    held: list[Reservation] = []
    for cpus, memory, give_back in steps:
        if give_back and held:
            held.pop(0).release()
        elif (reservation := capacity.try_reserve(Resources(cpus, memory))) is not None:
            held.append(reservation)
        assert capacity.used.amount.fits(capacity.total.amount)
        assert capacity.used.memory == sum(item.resources.memory for item in held)
    for reservation in held:
        reservation.release()
    assert capacity.used == Resources()
