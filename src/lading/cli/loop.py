"""From a command to the event loop and back: a signal cancels, clean-up is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from lading.cli import printing
from lading.cli.failures import Interrupted

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Signals", "run"]

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do while a command runs.

    The first cancels the command, whose clean-up is then waited for; the second says so; the third
    kills, and what is left behind is found by the next start.

    Attributes
    ----------
    cancels : bool
        Whether the first one cancels. A command that ends by itself after a signal sets this to
        False, and only the exit code tells of it.
    """

    def __init__(self) -> None:
        self.cancels = True
        self.seen: int | None = None
        self._count = 0
        self._cancel: Callable[[], object] = lambda: None
        self._say: Callable[..., object] = lambda *_: None
        self._awaited: asyncio.Future[None] | None = None

    @contextlib.contextmanager
    def handled(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Iterator[None]:
        """Handle them while the block runs."""
        # Not loop.add_signal_handler: a server in the command may set handlers of its own and
        # put ours back afterwards.
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._say = loop.call_soon_threadsafe
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            if before[number] is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._arrived)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def wait(self) -> None:
        """Wait for one, which then means nothing else: the command goes on as if none had come."""
        loop = asyncio.get_running_loop()
        self._awaited = awaited = loop.create_future()
        try:
            await awaited
        finally:
            self._awaited = None

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        awaited = self._awaited
        if awaited is not None:
            self._awaited = None
            awaited.get_loop().call_soon_threadsafe(awaited.set_result, None)
            return
        self.seen = self.seen or number
        if not self.cancels:
            return
        self._count += 1
        if self._count == 1:
            self._cancel()
        elif self._count == 2:
            # Before it is said: who reads it may send the third in the same moment. Whichever comes
            # then kills.
            for one in _SIGNALS:
                if signal.getsignal(one) == self._arrived:
                    signal.signal(one, signal.SIG_DFL)
            # Not from here: what is being printed in this moment would have it refused.
            self._say(printing.note, "cleaning up; once more leaves it behind")


def run(
    main: Callable[[Signals], Coroutine[Any, Any, T]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a command's coroutine to its end.

    Parameters
    ----------
    main : callable
        Makes the coroutine.
    loop_factory : callable or None
        Makes the event loop, where asyncio's own won't do.

    Raises
    ------
    Interrupted
        A signal came; the clean-up is done.
    """
    signals = Signals()
    gc.freeze()
    gc.enable()  # see lading.__main__

    async def watched() -> T:
        task = asyncio.current_task()
        assert task is not None
        with signals.handled(asyncio.get_running_loop(), task):
            return await main(signals)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            value = runner.run(watched())
        except asyncio.CancelledError:
            if signals.seen is None:
                raise
            raise Interrupted(signals.seen) from None
    if signals.seen is not None:
        raise Interrupted(signals.seen)
    return value
