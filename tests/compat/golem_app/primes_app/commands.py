"""What the two sides do."""

import json
import zipfile
from pathlib import Path
from typing import List, Optional, Tuple, Union

from golem_task_api import dirutils, enums, envs, structs
from golem_task_api.apputils.task import SubtaskStatus
from golem_task_api.threading import Executor

from primes_app import constants, numbers
from primes_app.task_manager import Part, TaskManager


async def create_task(
    work_dir: dirutils.RequestorTaskDir, max_subtasks_count: int, params: dict
) -> structs.Task:
    first, last = int(params["first"]), int(params["last"])
    if first >= last:
        raise ValueError("there is no number from {} on below {}".format(first, last))
    with zipfile.ZipFile(str(work_dir.subtask_inputs_dir / "common.zip"), "w") as archive:
        for name in params["resources"]:
            archive.write(str(work_dir.task_inputs_dir / name), name)
    manager = TaskManager(work_dir)
    manager.create_task(max_subtasks_count)
    step = -(-(last - first) // max_subtasks_count)
    for num in range(max_subtasks_count):
        part = manager.get_part(num)
        part.first = first + num * step
        part.last = min(first + (num + 1) * step, last)
        part.save()
    with open(work_dir / "params.json", "w") as file:
        json.dump(params, file)
    return envs.create_docker_cpu_task(
        image=constants.DOCKER_IMAGE,
        tag=constants.VERSION,
        inf=structs.Infrastructure(min_memory_mib=20.0),
    )


def has_pending_subtasks(work_dir: dirutils.RequestorTaskDir) -> bool:
    return TaskManager(work_dir).get_next_computable_part_num() is not None


def next_subtask(work_dir: dirutils.RequestorTaskDir, subtask_id: str) -> structs.Subtask:
    manager = TaskManager(work_dir)
    num = manager.get_next_computable_part_num()
    if num is None:
        raise Exception("nothing is pending")
    manager.start_subtask(num, subtask_id)
    part = manager.get_part(num)
    part.attempts += 1
    part.save()
    params = _params(work_dir)
    lies = params.get("first_attempt_lies", False) and num == 0 and part.attempts == 1
    return structs.Subtask(
        params={
            "first": part.first,
            "last": part.last,
            "resources": ["common.zip"],
            "lie": lies,
        },
        resources=["common.zip"],
    )


async def compute(
    work_dir: dirutils.ProviderTaskDir, subtask_id: str, params: dict
) -> Union[str, Path]:
    directory = work_dir.subtask_dir(subtask_id)
    directory.mkdir(exist_ok=True)
    with zipfile.ZipFile(str(work_dir.subtask_inputs_dir / params["resources"][0])) as archive:
        archive.extractall(str(directory))
    found = await Executor.run(
        numbers.primes,
        params["first"],
        last=params["last"],
        excluded=_excluded(directory / "excluded.txt"),
    )
    if params["lie"]:
        found.append(4)
    name = "{}.json".format(subtask_id)
    with open(work_dir / name, "w") as file:
        json.dump(found, file)
    return name if params["first"] % 2 else Path(name)


async def verify(
    work_dir: dirutils.RequestorTaskDir, subtask_id: str
) -> Tuple[enums.VerifyResult, Optional[str]]:
    manager = TaskManager(work_dir)
    manager.update_subtask_status(subtask_id, SubtaskStatus.VERIFYING)
    part = manager.get_part(manager.get_part_num(subtask_id))
    found = _result(work_dir, subtask_id)
    excluded = _excluded(work_dir.task_inputs_dir / "excluded.txt")
    if found != await Executor.run(numbers.primes, part.first, part.last, excluded):
        manager.update_subtask_status(subtask_id, SubtaskStatus.FAILURE)
        return enums.VerifyResult.FAILURE, "those are not the primes"
    manager.update_subtask_status(subtask_id, SubtaskStatus.SUCCESS)
    _merge(work_dir, manager)
    return enums.VerifyResult.SUCCESS, None


def discard_subtasks(work_dir: dirutils.RequestorTaskDir, subtask_ids: List[str]) -> List[str]:
    manager = TaskManager(work_dir)
    for subtask_id in subtask_ids:
        manager.update_subtask_status(subtask_id, SubtaskStatus.ABORTED)
    return subtask_ids


def abort_task(work_dir: dirutils.RequestorTaskDir) -> None:
    TaskManager(work_dir).abort_task()


def abort_subtask(work_dir: dirutils.RequestorTaskDir, subtask_id: str) -> None:
    TaskManager(work_dir).update_subtask_status(subtask_id, SubtaskStatus.ABORTED)


async def benchmark() -> float:
    return 1000.0 + len(await Executor.run(numbers.primes, 0, 500, set()))


def _params(work_dir: Path) -> dict:
    with open(work_dir / "params.json") as file:
        return json.load(file)


def _excluded(path: Path) -> set:
    return {int(word) for word in path.read_text().split()}


def _result(work_dir: dirutils.RequestorTaskDir, subtask_id: str) -> List[int]:
    path = work_dir.subtask_outputs_dir(subtask_id) / "{}.json".format(subtask_id)
    return json.loads(path.read_text())


def _merge(work_dir: dirutils.RequestorTaskDir, manager: TaskManager) -> None:
    """Write the result, when the last part is there."""
    statuses = manager.get_subtasks_statuses(list(range(Part.select().count())))
    if any(status is not SubtaskStatus.SUCCESS for status, _ in statuses.values()):
        return
    found: List[int] = []
    for num in sorted(statuses):
        found += _result(work_dir, str(statuses[num][1]))
    (work_dir.task_outputs_dir / "primes.txt").write_text(
        "".join("{}\n".format(number) for number in found)
    )
