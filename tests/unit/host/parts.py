"""In-memory containers, starts that a test decides over, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

from lading.host.admission import Admission
from lading.host.capacity import Capacity, Reservation, Resources
from lading.host.pool import Lease, Pool, PoolOptions, Want

MIB = 1 << 20


async def turns(count: int = 20) -> None:
    """Let the loop run everything that is ready, and what follows from it."""
    for _ in range(count):
        await asyncio.sleep(0)


class Handle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    @property
    def set_timers(self) -> int:
        return sum(handle.callback is not None for _, _, handle in self._timers)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if handle.callback is not None:
                handle.callback()
        self.now = end


class Box:
    """A warm container in memory."""

    def __init__(self, name: str, reservation: Reservation) -> None:
        self.name = name
        self.reservation = reservation
        self.alive = True
        self.closed = False
        self.closing = 0
        self.errors: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name

    def on_exit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def die(self) -> None:
        self.alive = False
        for callback in self._callbacks:
            callback()

    async def close(self) -> None:
        self.closing += 1
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        self.alive = False
        self.closed = True


class Starting:
    """A start in flight, for the test to decide over."""

    def __init__(self, name: str, reservation: Reservation) -> None:
        self.name = name
        self.reservation = reservation
        self.outcome: asyncio.Future[Box] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    def succeed(self) -> Box:
        box = Box(self.name, self.reservation)
        self.outcome.set_result(box)
        return box

    def fail(self, error: Exception) -> None:
        self.outcome.set_exception(error)


class Kind:
    """Containers of one key; started at once, or when the test says so (`by_hand`)."""

    def __init__(
        self,
        key: Hashable,
        cpus: float = 1,
        memory: int = MIB,
        *,
        by_hand: bool = False,
        gpus: int = 0,
    ) -> None:
        self.key = key
        self.by_hand = by_hand
        self.boxes: list[Box] = []
        self.starting: list[Starting] = []
        self.failures: list[Exception] = []
        self.started = 0
        self.want = Want(key, Resources(cpus, memory, gpus), self._start)

    async def _start(self, reservation: Reservation) -> Box:
        assert reservation.held
        self.started += 1
        name = f"{self.key}{self.started}"
        if self.failures:
            await asyncio.sleep(0)
            raise self.failures.pop(0)
        if not self.by_hand:
            await asyncio.sleep(0)
            self.boxes.append(Box(name, reservation))
            return self.boxes[-1]
        start = Starting(name, reservation)
        self.starting.append(start)
        try:
            box = await start.outcome
        except asyncio.CancelledError:
            start.cancelled = True
            raise
        finally:
            self.starting.remove(start)
        self.boxes.append(box)
        return box


class User:
    """A request: queues for a lease in a task of its own and keeps it until told to end."""

    def __init__(self, pool: Pool, kind: Kind, timeout: float | None = None) -> None:
        self.kind = kind
        self.lease: Lease = pool.lease(kind.want, timeout=timeout)
        self._has = False
        self.cold = False
        self._done = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._use())

    async def _use(self) -> None:
        async with self.lease as lease:
            self._has = True
            self.cold = lease.cold
            self.box: Box = lease.warm
            await self._done.wait()
        self._has = False

    def has(self) -> bool:
        return self._has

    def waits(self) -> bool:
        return not self._has and not self.task.done()

    async def end(self) -> None:
        self._done.set()
        await asyncio.wait({self.task})
        await turns()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await turns()

    @property
    def error(self) -> BaseException | None:
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None


class Host:
    """A pool with its queue, ledger and clock."""

    def __init__(
        self,
        cpus: float = 4,
        memory: int = 4096 * MIB,
        *,
        limit: int = 100,
        options: PoolOptions | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.capacity = capacity or Capacity(Resources(cpus, memory), clock=self.clock.time)
        self.admission = Admission(self.capacity, limit=limit, clock=self.clock)
        self.pool = Pool(self.admission, options)
        self.users: list[User] = []

    async def user(self, kind: Kind, timeout: float | None = None) -> User:
        user = User(self.pool, kind, timeout)
        self.users.append(user)
        await turns()
        return user

    async def use_once(self, kind: Kind) -> Box:
        async with self.pool.lease(kind.want) as lease:
            box: Box = lease.warm
        await turns()
        return box


@asynccontextmanager
async def host(
    cpus: float = 4, *, limit: int = 100, capacity: Capacity | None = None, **options: float
) -> AsyncIterator[Host]:
    """Make a host; at the end, end its users, close its pool and check that nothing is left."""
    made = Host(cpus, limit=limit, options=PoolOptions(**options), capacity=capacity)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        for user in made.users:
            user.task.cancel()
        for user in made.users:
            with contextlib.suppress(BaseException):
                await user.task
        await made.pool.close()
        await turns()
        assert made.capacity.used == Resources()
        assert made.pool.snapshot().keys == {}
        assert made.pool.snapshot().leases == made.admission.waiting == 0
        assert not made.admission.anybody
        assert made.clock.set_timers == 0
