"""What the container runs: `requestor PORT`, `provider PORT`, and `--log-level LEVEL`."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import List, Optional, Tuple

import golem_task_api as api
from golem_task_api import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
    constants as api_constants,
    enums,
    structs,
)
from golem_task_api.apputils.start_logging import DEFAULT_EXTERNAL_LOGGERS, from_arg
from golem_task_api.dirutils import ProviderTaskDir, RequestorTaskDir

from primes_app import commands

logger = logging.getLogger(__name__)


class RequestorHandler(RequestorAppHandler):
    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict
    ) -> structs.Task:
        return await commands.create_task(task_work_dir, max_subtasks_count, task_params)

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Optional[structs.Subtask]:
        return commands.next_subtask(task_work_dir, subtask_id)

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> Tuple[enums.VerifyResult, Optional[str]]:
        return await commands.verify(task_work_dir, subtask_id)

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: List[str]
    ) -> List[str]:
        return commands.discard_subtasks(task_work_dir, subtask_ids)

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        return commands.has_pending_subtasks(task_work_dir)

    async def run_benchmark(self, work_dir: Path) -> float:
        return await commands.benchmark()

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        commands.abort_task(task_work_dir)

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        commands.abort_subtask(task_work_dir, subtask_id)


class ProviderHandler(ProviderAppHandler):
    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict
    ) -> Path:
        return await commands.compute(task_work_dir, subtask_id, subtask_params)

    async def run_benchmark(self, work_dir: Path) -> float:
        return await commands.benchmark()


class LifecycleHandler(AppLifecycleHandler):
    async def on_after_startup(self) -> None:
        logger.info("serves")

    async def on_after_shutdown(self) -> None:
        logger.info("has ended")


def _log_level(argv: List[str]) -> Optional[str]:
    if "--log-level" not in argv:
        return None
    at = argv.index("--log-level")
    level = argv[at + 1]
    del argv[at : at + 2]
    return level


async def main(argv: List[str]) -> None:
    from_arg(_log_level(argv), external_loggers=DEFAULT_EXTERNAL_LOGGERS + ["PIL"])
    # There were several ways to say it, in applications of different ages.
    way = api.main if argv[0] == "requestor" else api.entrypoint
    await way(
        work_dir=Path("/{}".format(api_constants.WORK_DIR)),
        argv=argv,
        requestor_handler=RequestorHandler(),
        requestor_lifecycle_handler=LifecycleHandler(),
        provider_handler=ProviderHandler(),
        provider_lifecycle_handler=LifecycleHandler(),
    )


if __name__ == "__main__":
    loop = asyncio.get_event_loop()
    loop.run_until_complete(main(sys.argv[1:]))
