"""Calls to the requestor's application about one task; one that died is told from one that errs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from lading.contracts.golem.driver.nodes import Requestor
from lading.contracts.golem.structs import Subtask, Task, VerifyResult
from lading.errors import AppError, AppGone, LadingError
from lading.units import format_seconds

__all__ = ["Calls", "RequestorGone", "VerifyTimedOut"]

T = TypeVar("T")

_GRACE = 10.0
"""Seconds for each call of a farewell: an application that hangs must not keep us."""


class RequestorGone(Exception):
    """The requestor's application died, or does not answer any more; it can be revived.

    No :class:`~lading.errors.LadingError`: a provider's :class:`~lading.errors.AppGone` is another
    thing, and must never be taken for this one.

    Parameters
    ----------
    message : str
    logs : str
        The last lines that it printed; may be empty.
    """

    def __init__(self, message: str, logs: str = "") -> None:
        super().__init__(message)
        self.logs = logs


class VerifyTimedOut(Exception):
    """``Verify`` was not answered in time."""


class Calls:
    """What one asks of the requestor's application about one task.

    Every method raises :class:`RequestorGone` where it has died, or does not answer in time, and
    :class:`~lading.errors.AppError` where it says no.

    Parameters
    ----------
    app : Requestor
    task_id : str
        As the application knows it.
    timeout : float
        Seconds that it may take to answer.
    """

    def __init__(self, app: Requestor, task_id: str, timeout: float) -> None:
        self._app = app
        self.task_id = task_id
        self._timeout = timeout

    async def create_task(self, limit: int, params: dict[str, Any]) -> Task:
        """Begin the task."""
        return await self._ask("CreateTask", self._app.create_task(self.task_id, limit, params))

    async def has_pending_subtasks(self) -> bool:
        """Ask whether there is work to hand out."""
        call = self._app.has_pending_subtasks(self.task_id)
        return await self._ask("HasPendingSubtasks", call)

    async def next_subtask(self, subtask_id: str, node_id: str) -> Subtask | None:
        """Ask for work for a node; None is a refusal."""
        call = self._app.next_subtask(self.task_id, subtask_id, node_id)
        return await self._ask("NextSubtask", call)

    async def verify(self, subtask_id: str) -> tuple[VerifyResult, str]:
        """Ask for a verdict, and why.

        Raises
        ------
        VerifyTimedOut
            It takes too long; the application may be well otherwise.
        """
        try:
            async with asyncio.timeout(self._timeout):
                result, reason = await self._app.verify(self.task_id, subtask_id)
        except TimeoutError:
            raise VerifyTimedOut(self._late("Verify")) from None
        except AppGone as error:
            raise RequestorGone(error.message, error.logs) from error
        return result, reason or ""

    async def discard_subtasks(self, subtask_ids: list[str]) -> list[str]:
        """Have subtasks forgotten; return all that are gone with them."""
        call = self._app.discard_subtasks(self.task_id, subtask_ids)
        return await self._ask("DiscardSubtasks", call)

    async def abort_subtask(self, subtask_id: str) -> None:
        """Give a subtask up."""
        await self._ask("AbortSubtask", self._app.abort_subtask(self.task_id, subtask_id))

    async def release(self, subtask_id: str) -> str:
        """Have a subtask given up, so that its work is handed out again.

        Returns
        -------
        str
            Empty, or why the application can't be made to.
        """
        try:
            await self.abort_subtask(subtask_id)
        except AppError as error:
            reason = error.message
        else:
            return ""
        try:
            await self.discard_subtasks([subtask_id])
        except AppError:
            return reason
        return ""

    async def revive(self) -> None:
        """Start the application again.

        Raises
        ------
        LadingError
            It doesn't start.
        """
        try:
            await self._app.revive()
        except AppError as error:
            raise RequestorGone(error.message, error.logs) from error

    async def farewell(self, *, abort: bool) -> list[str]:
        """Give the task up if it is to be, and have the application end.

        Returns
        -------
        list of str
            What went wrong; that stops nobody.
        """
        problems = []
        for name, wanted in (("AbortTask", abort), ("Shutdown", True)):
            if not wanted:
                continue
            try:
                async with asyncio.timeout(_GRACE):
                    if name == "AbortTask":
                        await self._app.abort_task(self.task_id)
                    else:
                        await self._app.shutdown()
            except TimeoutError:
                problems.append(f"{name} was not answered within {format_seconds(_GRACE)}")
            except AppGone:
                pass  # as wished; and what one that has died was told is no matter
            except AppError as error:
                problems.append(error.message)
            except LadingError as error:
                problems.append(f"{name}: {error.message}")
        return problems

    def _late(self, name: str) -> str:
        return f"{name} was not answered within {format_seconds(self._timeout)}"

    async def _ask(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await call
        except TimeoutError:
            raise RequestorGone(self._late(name)) from None
        except AppGone as error:
            raise RequestorGone(error.message, error.logs) from error
