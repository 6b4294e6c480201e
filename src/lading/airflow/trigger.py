"""Waits for a container in Airflow's triggerer, and tells what it prints in the task's log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from lading.airflow.orders import Ended, Handle
from lading.airflow.versions import BaseTrigger, TriggerEvent, tells_of_kills
from lading.airflow.work import follow, stop
from lading.engine.shield import to_the_end
from lading.errors import LadingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ContainerTrigger"]

_WAITING = "deferred"
"""The state of a task that is to be waited for, whatever happens to this triggerer."""


class ContainerTrigger(BaseTrigger):
    """Waits until a container has ended, and removes it then.

    A triggerer that is restarted makes it again from these, and it goes on: it begins with the
    first line of the log. Whose task is killed meanwhile ends the container.

    Parameters
    ----------
    handle : dict
        What runs, a :class:`~lading.airflow.orders.Handle` as JSON.
    task : dict
        Whose container it is, an :class:`~lading.airflow.orders.Identity`.
    """

    def __init__(self, handle: Mapping[str, Any], task: Mapping[str, Any]) -> None:
        super().__init__()
        self.handle = dict(handle)
        self.identity = dict(task)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how it is made again."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return name, {"handle": self.handle, "task": self.identity}

    async def run(self) -> AsyncIterator[Any]:
        """Wait, and tell the event for ``execute_complete``."""
        handle = Handle.from_json(self.handle)
        try:
            ended = await follow(handle, self._tell)
        except asyncio.CancelledError:
            if not tells_of_kills and await self._was_killed():
                await to_the_end(stop(handle))
            raise
        except LadingError as error:
            ended = Ended(LadingError.exit_code, why=str(error))
            with contextlib.suppress(LadingError):  # the next try ends it
                await stop(handle)
        yield TriggerEvent({"handle": self.handle, "ended": ended.as_json()})

    async def on_kill(self) -> None:
        """End the container: somebody marked its task, or cleared it (Airflow 3.3)."""
        await stop(Handle.from_json(self.handle))

    def _tell(self, line: str) -> None:
        self.log.info("%s", line)

    async def _was_killed(self) -> bool:
        """Whether nobody waits for the task any more; else this triggerer only goes away."""
        try:
            return await to_the_end(asyncio.to_thread(_state, self.identity)) != _WAITING
        except Exception:  # no database any more: it goes away
            return False


def _state(task: Mapping[str, Any]) -> str | None:
    """Ask Airflow 2 for the state of a task."""
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415

    with create_session() as session:
        found = session.query(TaskInstance.state).filter_by(
            dag_id=task["dag"],
            run_id=task["run"],
            task_id=task["task"],
            map_index=task["index"],
        )
        state: str | None = found.scalar()
        return state
