"""A task manager on SQLite: the file ``task.db`` in the task's directory.

Applications add fields of their own to a part::

    class Part(database.Part):
        frame = peewee.IntegerField(null=True)

    class Frames(database.DBTaskManager):
        def __init__(self, work_dir: Path) -> None:
            super().__init__(work_dir, part_model=Part)

Source: http://docs.peewee-orm.com/ (models, and what subclasses of them inherit).
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, TypeVar

import peewee

from lading.contracts.golem.subtasks.connections import (
    TaskDatabase,
    close_all,
    current,
    open_database,
)
from lading.contracts.golem.subtasks.manager import TaskManager
from lading.contracts.golem.subtasks.status import SubtaskStatus

__all__ = ["DBTaskManager", "EnumField", "Part", "Subtask", "close_all"]

M = TypeVar("M", bound=peewee.Model)
_FILE = "task.db"
_ROWS = 500
"""Rows that one statement inserts; SQLite takes 999 values."""
_RUNNING = (SubtaskStatus.COMPUTING, SubtaskStatus.VERIFYING)
_FREE_AGAIN = (SubtaskStatus.FAILURE, SubtaskStatus.ABORTED)


class EnumField(peewee.CharField):
    """A field that holds the values of an enumeration's members.

    Parameters
    ----------
    enum_type : type of enum.Enum
    """

    def __init__(self, enum_type: type[enum.Enum], *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.enum_type = enum_type

    def db_value(self, value: Any) -> Any:
        """Write a member, or the value of one.

        Raises
        ------
        ValueError
            There is no such member.
        """
        return self.enum_type(value).value

    def python_value(self, value: Any) -> Any:
        """Read a member."""
        return self.enum_type(value)


class Subtask(peewee.Model):
    """One time that a part was handed out; `part` is which, `status` where it is."""

    id = peewee.CharField(primary_key=True)
    part = peewee.DeferredForeignKey("Part", null=True, backref="subtasks")
    status = EnumField(SubtaskStatus, default=SubtaskStatus.default, null=True, index=True)

    class Meta:
        """Where it is kept."""

        database = current
        table_name = "subtask"


class Part(peewee.Model):
    """One part of a task; `num` counts from 0, `subtask` is the last that it was handed out as."""

    num = peewee.IntegerField(primary_key=True)
    subtask = peewee.ForeignKeyField(Subtask, null=True, backref="parts")

    class Meta:
        """Where it is kept."""

        database = current
        table_name = "part"


class DBTaskManager(TaskManager):
    """The parts of one task, kept in the file ``task.db``.

    It may be made as often as one likes, for several tasks at the same time, and used from any
    thread. What a method has written is still there when the process is killed.

    Parameters
    ----------
    work_dir : Path
        The task's directory.
    part_model : type
        :class:`Part`, or a subclass of it with more fields.
    subtask_model : type
        :class:`Subtask`, or a subclass of it.
    """

    def __init__(
        self,
        work_dir: Path,
        part_model: type[Part] = Part,
        subtask_model: type[Subtask] = Subtask,
    ) -> None:
        self._database = open_database(Path(work_dir) / _FILE)
        self._part, self._subtask = _bound(self._database, part_model, subtask_model)

    def create_task(self, part_count: int) -> None:
        """Begin with this many parts, all waiting.

        Raises
        ------
        peewee.IntegrityError
            The task has been created before.
        """
        with self._database.writing():
            for first in range(0, part_count, _ROWS):
                last = min(first + _ROWS, part_count)
                self._part.insert_many([{"num": num} for num in range(first, last)]).execute()

    def abort_task(self) -> None:
        """Abort every subtask that is computed or verified."""
        subtask = self._subtask
        with self._database.writing():
            subtask.update(status=SubtaskStatus.ABORTED).where(
                subtask.status.in_(_RUNNING)
            ).execute()

    def get_part(self, part_num: int) -> Any:
        """Look up a part; None if there is no such number.

        Its fields may be changed and its ``save()`` be called.
        """
        return self._part.get_or_none(self._part.num == part_num)

    def get_part_num(self, subtask_id: str) -> int | None:
        """Which part a subtask computes; None if there is no such subtask."""
        found = self.get_subtask(subtask_id)
        return None if found is None else found.part_id

    def get_subtask(self, subtask_id: str) -> Any:
        """Look up a subtask; None if there is none."""
        return self._subtask.get_or_none(self._subtask.id == subtask_id)

    def start_subtask(self, part_num: int, subtask_id: str) -> None:
        """Hand a part out: it is computed by this subtask from now on.

        Raises
        ------
        RuntimeError
            There is no such part, or it can't be handed out as another subtask has it.
        peewee.IntegrityError
            There is a subtask of that id.
        """
        with self._database.writing():
            part = self.get_part(part_num)
            if part is None:
                raise RuntimeError(f"part {part_num}: there is none; create_task makes them")
            last = part.subtask
            if last is not None and not last.status.is_computable():
                raise RuntimeError(
                    f"part {part_num}: subtask {last.id} has it and is "
                    f"{last.status.value}; get_next_computable_part_num() names one that is free"
                )
            self._subtask.create(id=subtask_id, part=part_num, status=SubtaskStatus.COMPUTING)
            self._part.update(subtask=subtask_id).where(self._part.num == part_num).execute()

    def update_subtask_status(self, subtask_id: str, status: SubtaskStatus) -> None:
        """Write down where a subtask is now; nothing happens if there is none."""
        subtask = self._subtask
        with self._database.writing():
            subtask.update(status=status).where(subtask.id == subtask_id).execute()

    def get_subtasks_statuses(
        self, part_nums: list[int]
    ) -> dict[int, tuple[SubtaskStatus, str | None]]:
        """Where parts are, and by which subtask; numbers that don't exist are left out."""
        part, subtask = self._part, self._subtask
        found: dict[int, tuple[SubtaskStatus, str | None]] = {}
        numbers = sorted(set(part_nums))
        for first in range(0, len(numbers), _ROWS):
            query = (
                part.select(part.num, subtask.id, subtask.status)
                .join(subtask, peewee.JOIN.LEFT_OUTER, on=(part.subtask == subtask.id))
                .where(part.num.in_(numbers[first : first + _ROWS]))
                .order_by(part.num)
                .tuples()
            )
            found.update((num, (SubtaskStatus(status), id_)) for num, id_, status in query)
        return found

    def get_next_computable_part_num(self) -> int | None:
        """Find the lowest number of a part that can be handed out; None if there is none now."""
        part, subtask = self._part, self._subtask
        # Two questions, as an index answers each: a task may have many thousands of parts.
        waiting = part.select(peewee.fn.MIN(part.num)).where(part.subtask.is_null())
        free_again = (
            part.select(peewee.fn.MIN(part.num))
            .join(subtask, on=(part.subtask == subtask.id))
            .where(subtask.status.in_(_FREE_AGAIN))
        )
        found = [num for query in (waiting, free_again) if (num := query.scalar()) is not None]
        return min(found, default=None)

    def close(self) -> None:
        """Close the file until the next call; needed only where open files are counted."""
        self._database.rest()


def _bound(
    database: TaskDatabase, part_model: type[Part], subtask_model: type[Subtask]
) -> tuple[Any, Any]:
    """Make the models of one task, and its tables.

    Subclasses of the application's own: what is read by them knows its database, so that saving a
    part of one task never writes to another's.
    """
    with database.turn:
        key = (part_model, subtask_model)
        if key not in database.bound:
            subtask: Any = _subclass(subtask_model, database)
            part: Any = _subclass(part_model, database)
            part._meta.add_field(  # noqa: SLF001
                "subtask", peewee.ForeignKeyField(subtask, null=True, backref="parts")
            )
            subtask._meta.add_field(  # noqa: SLF001
                "part", peewee.ForeignKeyField(part, null=True, backref="subtasks")
            )
            database.create_tables([subtask, part], safe=True)
            database.bound[key] = (part, subtask)
        return database.bound[key]


def _subclass(model: type[M], database: TaskDatabase) -> type[M]:
    known: Any = model
    meta = type("Meta", (), {"database": database, "table_name": known._meta.table_name})  # noqa: SLF001
    names = {"__module__": model.__module__, "__doc__": model.__doc__, "Meta": meta}
    made: type[M] = type(known)(model.__name__, (model,), names)
    return made
