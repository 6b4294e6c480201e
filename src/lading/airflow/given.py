"""What a user gave for one run of a DAG: its ``conf``, checked key by key.

::

    {"project_form": {"kubernetes_namespace": "project-a"},
     "task_form": {"segment": {"env": [{"name": "MODEL", "value": "fast"}], "resources": {..}},
                   "report": {"TITLE": "First"}}}

Both forms of the documents are understood: fields of a task, of which ``env`` is merged by name
and the others replace those of the operator; and variables by their names.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.task import Task

__all__ = ["NAMESPACE", "Given", "others_in"]

NAMESPACE = "project-admin"
"""Of the pods, where neither a run's conf nor the operator names one."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a run's conf says for one task.

    Parameters
    ----------
    namespace : str
        Empty where it names none.
    env : mapping
        Variables by their names.
    fields : mapping
        Other fields of the task.
    """

    namespace: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, conf: Any, task_id: str) -> Given:
        """Read a run's conf.

        Raises
        ------
        InputError
            A value is not of the type that is wanted there: names the key, what is there, and what
            is wanted.
        """
        whole = _mapping(conf, "conf", "an object")
        project = _mapping(whole.get("project_form"), "conf.project_form", "an object")
        namespace = project.get("kubernetes_namespace")
        if namespace is not None and (not isinstance(namespace, str) or not namespace):
            raise _wrong("conf.project_form.kubernetes_namespace", namespace, "a text")
        forms = _mapping(whole.get("task_form"), "conf.task_form", "an object with task ids")
        where = f"conf.task_form.{task_id}"
        form = _mapping(forms.get(task_id), where, "an object with fields or variables of the task")
        env, fields = _read(form, where)
        return cls(namespace or "", env, fields)

    def applied_to(self, task: Task, where: str) -> Task:
        """Return a task with this over what the operator says.

        Raises
        ------
        InputError
            A field of the conf can't be one of a task.
        """
        from pydantic import ValidationError  # noqa: PLC0415

        from lading.contracts.processing.template import BaseEnv  # noqa: PLC0415

        env = {item.name: item for item in task.env or ()}
        env |= {name: BaseEnv(name=name, value=value) for name, value in self.env.items()}
        values = {name: getattr(task, name) for name in type(task).model_fields}
        try:
            return type(task).model_validate({**values, "env": list(env.values()), **self.fields})
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{where}.{path}",
                f"is {first['input']!r}: {first['msg']}",
                fix="write it as in a task.json",
            ) from None


def others_in(conf: Any, task_ids: Container[str]) -> list[str]:
    """Return the names in a conf's ``task_form`` that are no tasks of its DAG."""
    forms = conf.get("task_form") if isinstance(conf, Mapping) else None
    return (
        [repr(name) for name in forms if name not in task_ids] if isinstance(forms, Mapping) else []
    )


def _read(form: Mapping[str, Any], where: str) -> tuple[dict[str, str], dict[str, Any]]:
    from lading.contracts.processing.task import Task  # noqa: PLC0415

    env: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name == "env":
            env |= _listed(value, f"{where}.env")
        elif name in Task.model_fields:
            fields[name] = value
        else:
            env[name] = _text(value, f"{where}.{name}", "the value of a variable")
    return env, fields


def _listed(value: Any, where: str) -> dict[str, str]:
    wanted = 'a list of {"name": .., "value": ..}'
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, wanted)
    found = {}
    for number, item in enumerate(value):
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise _wrong(f"{where}[{number}]", item, '{"name": .., "value": ..}')
        found[item["name"]] = _text(item.get("value", ""), f"{where}[{number}].value", "a text")
    return found


def _text(value: Any, where: str, wanted: str) -> str:
    from lading.contracts.processing.reading.values import as_text  # noqa: PLC0415

    if not isinstance(value, str | int | float | bool):
        raise _wrong(where, value, f"{wanted}: a text, a number, true or false")
    return str(as_text(value))


def _mapping(value: Any, where: str, wanted: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(where, value, wanted)
    return value


def _wrong(where: str, value: Any, wanted: str) -> InputError:
    shown = repr(value)
    return InputError(
        where,
        f"is {shown[:100]}{'...' * (len(shown) > 100)} ({type(value).__name__}); "
        f"wanted is {wanted}",
        fix="trigger the DAG again with that changed",
    )
