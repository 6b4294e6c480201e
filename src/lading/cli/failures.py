"""What went wrong, as a few lines on stderr and an exit code: the one place that decides both."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import typer

from lading.cli import printing
from lading.errors import InputError, LadingError, OutputDiffers, RunError, TaskFailed
from lading.settings import environment

__all__ = ["Interrupted", "first", "guarded", "report"]

_SOFTWARE = 70
_CLOSED_PIPE = 141  # 128 + SIGPIPE, as the shell has it
_INTERRUPTED = 130
_SHOWN_BYTES = 2000


class Interrupted(Exception):  # what happened, and nobody's error
    """A signal ended the command, after its clean-up.

    Parameters
    ----------
    signal : int
        Its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"ended by signal {signal}")
        self.exit_code = 128 + signal


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that whatever it raises becomes a message and an exit code."""

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if environment().get("LADING_DEBUG"):
                raise
            raise typer.Exit(report(error)) from None

    return call


def report(error: BaseException) -> int:
    """Tell what went wrong, and return the exit code for it."""
    if isinstance(error, BaseExceptionGroup):
        return report(first(error))
    if isinstance(error, Interrupted):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, printing.OutputClosed):
        return _CLOSED_PIPE
    if isinstance(error, LadingError):
        _tell(error)
        return error.exit_code
    printing.error(f"unexpected {type(error).__name__}: {error}")
    printing.fix("this is a bug in Lading: report it with what LADING_DEBUG=1 shows")
    return _SOFTWARE


def _tell(error: LadingError) -> None:
    printing.error(error.message)
    if isinstance(error, TaskFailed):
        shown = error.body[:_SHOWN_BYTES].decode("utf-8", "replace")
        left = len(error.body) - _SHOWN_BYTES
        printing.detail(shown + (f"\n... and {left} bytes more" if left > 0 else ""))
    if isinstance(error, OutputDiffers) and error.diff:
        printing.detail(error.diff)
    if isinstance(error, RunError) and error.logs:
        printing.detail(error.logs, "last lines of its log")
    if error.fix:
        printing.fix(error.fix)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Choose what to tell of several errors: ours before surprises, input before the rest."""

    def rank(error: BaseException) -> int:
        if isinstance(error, InputError):
            return 0
        return 1 if isinstance(error, LadingError) else 2

    return min(_leaves(group), key=rank)
