"""Signals cancel a command, and its clean-up is waited for."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from lading.cli.failures import Interrupted, report
from lading.cli.loop import Signals, run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_clean_up_ends(number: signal.Signals) -> None:
    steps = []

    async def main(_: Signals) -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        run(main)
    assert steps == ["cleaned up"]
    assert report(caught.value) == 128 + number
    assert signal.getsignal(number) == before


def test_a_server_that_ends_by_itself_is_not_cancelled() -> None:
    async def main(signals: Signals) -> None:
        signals.cancels = False
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)

    with pytest.raises(Interrupted, match="15"):
        run(main)


def test_a_signal_that_is_waited_for_means_nothing_else() -> None:
    async def main(signals: Signals) -> str:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        await signals.wait()
        return "went on"

    assert run(main) == "went on"


def test_what_it_returns_and_raises() -> None:
    async def fine(_: Signals) -> int:
        return 3

    async def broken(_: Signals) -> None:
        raise ValueError("no")

    assert run(fine) == 3
    with pytest.raises(ValueError, match="no"):
        run(broken)


def test_the_second_signal_says_so_and_the_third_kills(capfd: pytest.CaptureFixture[str]) -> None:
    async def main(_: Signals) -> None:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL

    with pytest.raises(Interrupted):
        run(main)
    assert "once more leaves it behind" in capfd.readouterr().err
