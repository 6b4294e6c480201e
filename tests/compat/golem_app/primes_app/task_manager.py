from pathlib import Path

import peewee
from golem_task_api.apputils.task import database


class Part(database.Part):
    first = peewee.IntegerField(null=True)
    last = peewee.IntegerField(null=True)
    attempts = peewee.IntegerField(default=0)


class TaskManager(database.DBTaskManager):
    def __init__(self, work_dir: Path) -> None:
        super().__init__(work_dir, part_model=Part)
