"""The operator: a processing-container as a task of Airflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from lading.airflow.given import Given, others_in
from lading.airflow.mapping import (
    IOMapping,
    check_channels,
    check_mappings,
    mappings_of,
    odd_fields,
)
from lading.airflow.orders import Ended, Handle, Identity, Order
from lading.airflow.places import data_directory, run_directory
from lading.airflow.versions import (
    AirflowException,
    AirflowSkipException,
    BaseOperator,
    conf,
)
from lading.engine import RegistryLogin
from lading.errors import InputError, LadingError
from lading.run.bridge import blocking

if TYPE_CHECKING:
    from lading.contracts.processing.task import Task
    from lading.contracts.processing.template import TaskTemplate

__all__ = ["ProcessingContainerOperator"]

_SKIP = 126
"""The exit code by which a container says that there is nothing for it to do."""
_BACKSTOP = timedelta(minutes=5)
"""Beyond its time: the trigger ends the container itself, unless there is no trigger any more."""
_LOGIN = ("registryUrl", "registryUsername", "registryPassword")


class ProcessingContainerOperator(BaseOperator):
    """Run a processing-container.

    Its outputs go to ``$DATADIR/<run_id>/<task_id>/<channel>``, where nothing of an earlier try is
    left; its inputs are outputs of tasks upstream. It returns its task run, as JSON. Exit code 126
    skips the task.

    Parameters
    ----------
    image : str
        The image of the processing-container.
    taskTemplate : str or TaskTemplate or dict
        The identifier of one of its templates, or a whole template.
    env : list
        Variables over those of the template, as ``{"name": .., "value": ..}``.
    command : list of str or None
        What is run in place of what the template says.
    resources : dict or None
        ``{"limits": .., "requests": ..}``, over those of the template.
    registryUrl, registryUsername, registryPassword : str or None
        Credentials for the pull of the image; all three or none.
    iochannel_maps : list of IOMapping
        Which output of another task is which input.
    startup_timeout_seconds : int
        Until the container runs: its image is pulled, and there is room for it.
    execution_timeout : timedelta
        As of every task; of one that waits in the triggerer it counts from when its container ran.
    labels : dict or None
        Of the container, or pod.
    annotations : dict or None
        Of the pod.
    engine : str
        As ``lading run --engine`` takes it: ``docker``, ``podman``, ``kubernetes``, an address.
        Empty: what ``LADING_ENGINE`` says, or the engine of the worker's machine.
    deferrable : bool or None
        Whether the task waits in the triggerer and holds no worker slot. None: as
        ``[operators] default_deferrable`` in Airflow's configuration says.
    data_directory : str or None
        An absolute path, in place of that of ``DATADIR``: where its outputs go, and where tasks
        downstream find them. DAGs that have runs of the same names need one each, as in
        ``DAG(.., default_args={"data_directory": "/data/airflow/this-dag"})``.

    Raises
    ------
    InputError
        A parameter can't be used; names it.
    """

    template_fields: Sequence[str] = (
        "image",
        "taskTemplate",
        "env",
        "command",
        "container_resources",
        "registryUrl",
        "registryUsername",
        "registryPassword",
        "labels",
        "annotations",
        "engine",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "taskTemplate": "json",
        "env": "json",
        "command": "json",
        "container_resources": "json",
    }
    ui_color = "#cfe3f3"
    runs_processing_container = True

    def __init__(
        self,
        *,
        image: str,
        taskTemplate: Any,  # noqa: N803  # the original's
        env: Sequence[Any] = (),
        command: Sequence[str] | None = None,
        resources: Mapping[str, Any] | None = None,
        registryUrl: str | None = None,  # noqa: N803
        registryUsername: str | None = None,  # noqa: N803
        registryPassword: str | None = None,  # noqa: N803
        iochannel_maps: Sequence[IOMapping] = (),
        startup_timeout_seconds: float = 3600,
        execution_timeout: timedelta | None = timedelta(minutes=90),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        engine: str = "",
        deferrable: bool | None = None,
        data_directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(execution_timeout=execution_timeout, **kwargs)
        self.image = image
        self.taskTemplate = _plain(taskTemplate)
        self.env = [_plain(item) for item in env] if isinstance(env, list | tuple) else env
        self.command = list(command) if isinstance(command, list | tuple) else command
        self.container_resources = _plain(resources)  # `resources` is a field of Airflow's own
        self.registryUrl = registryUrl
        self.registryUsername = registryUsername
        self.registryPassword = registryPassword
        self.iochannel_maps = list(iochannel_maps)
        self.startup_timeout_seconds = startup_timeout_seconds
        self.labels = labels
        self.annotations = annotations
        self.engine = engine
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        self.data_directory = data_directory
        self._handle: Handle | None = None
        self._beginning = self._killed = False
        _check(self)

    def resolve_template_files(self) -> None:
        """Check the mappings too: Airflow calls this once it has read the whole DAG."""
        super().resolve_template_files()
        check_mappings(self)

    def execute(self, context: Any) -> Any:
        """Start the container, and wait for it, here or in the triggerer.

        Raises
        ------
        AirflowSkipException
            The container ended with 126.
        AirflowException
            It failed, did not end in its time, or can't be run.
        """
        from lading.airflow.work import begin, follow  # noqa: PLC0415

        try:
            order = self._order(context)
            self._beginning = True
            handle = self._handle = blocking(lambda: begin(order))
            self._beginning = False
        except LadingError as error:
            raise AirflowException(f"task {self.task_id} could not be started: {error}") from None
        finally:
            self._beginning = False
        if self._killed:
            self._end(handle)
            raise AirflowException(f"task {self.task_id} was ended while it started")
        if self.deferrable:
            self._wait_elsewhere(handle)
        try:
            ended = blocking(lambda: follow(handle, self._tell))
        except LadingError as error:
            self._end(handle)
            raise AirflowException(str(error)) from None
        except BaseException:  # a time-out, a signal
            self._end(handle)
            raise
        return self._judged(ended, handle)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:
        """Judge what the trigger saw; see :meth:`execute`."""
        del context
        handle = Handle.from_json(event["handle"])
        return self._judged(Ended.from_json(event["ended"]), handle)

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
        """Resume after a trigger; where it failed, the container is ended first."""
        if next_method == "__fail__":
            self._end_all(context)
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """End the container, and see that nothing is left of it."""
        self._killed = True
        if self._handle is not None:
            self._end(self._handle)
        elif self._beginning:  # breaks off the waiting, which removes what was begun
            raise AirflowException(f"task {self.task_id} was ended while it started")

    def _wait_elsewhere(self, handle: Handle) -> NoReturn:
        from lading.airflow.trigger import ContainerTrigger  # noqa: PLC0415

        limit = self.execution_timeout
        self.defer(
            trigger=ContainerTrigger(handle=handle.as_json(), task=asdict(self._identity)),
            method_name="execute_complete",
            timeout=None if limit is None else limit + _BACKSTOP,
        )
        raise AssertionError  # it raises TaskDeferred

    def _judged(self, ended: Ended, handle: Handle) -> Any:
        if ended.timed_out:
            raise AirflowException(
                f"task {self.task_id} did not end within {self.execution_timeout}; its container "
                "was ended"
            )
        if ended.code == _SKIP:
            raise AirflowSkipException(f"the container of task {self.task_id} ended with 126")
        if ended.out_of_memory:
            raise AirflowException(f"out of memory: {ended.why}")
        if ended.code or ended.why:
            raise AirflowException(ended.why or f"exit code {ended.code}")
        return handle.task_run

    def _end(self, handle: Handle) -> None:
        """End what runs; where that can't be, the next try does it."""
        from lading.airflow.work import stop  # noqa: PLC0415

        try:
            blocking(lambda: stop(handle))
        except LadingError as error:
            self.log.warning("container %s could not be ended: %s", handle.container, error)

    def _end_all(self, context: Any) -> None:
        """End whatever runs of this task; where that can't be, the next try does it."""
        from lading.airflow.work import clear_all  # noqa: PLC0415

        try:
            identity = _identity(context, self)
            given = Given.of(_conf_of(context), self.task_id)
            blocking(lambda: clear_all(self.engine, given.namespace, identity))
        except LadingError as error:
            self.log.warning("its container could not be ended: %s", error)

    def _tell(self, line: str) -> None:
        self.log.info("%s", line)

    # What is run.

    def _order(self, context: Any) -> Order:
        """Say what is run: a run's conf counts, then the operator, then the template."""
        given = Given.of(_conf_of(context), self.task_id)
        identity = self._identity = _identity(context, self)
        check_mappings(self)  # a DAG that no parser has read
        folder = run_directory(self, identity.run)
        self._warn(context)
        limit = self.execution_timeout
        return Order(
            identity=identity,
            task=given.applied_to(self._task(), f"conf.task_form.{self.task_id}"),
            root=folder.parent,
            folder=folder / self.task_id,
            index="" if identity.index < 0 else str(identity.index),
            inputs={
                item.input_channel: run_directory(item.upstream_operator, identity.run)
                / item.upstream_operator.task_id
                / item.upstream_output_channel
                for item in self.iochannel_maps
            },
            input_roots={
                item.input_channel: data_directory(item.upstream_operator)
                for item in self.iochannel_maps
            },
            engine=self.engine or "",
            namespace=given.namespace,
            labels=dict(self.labels or {}),
            annotations=dict(self.annotations or {}),
            start_within=float(self.startup_timeout_seconds),
            time_limit=None if limit is None else limit.total_seconds(),
            adopt=self.deferrable,
            login=self._login(),
            check=lambda template: self._check_template(template, given.fields.get("inputs") or ()),
            tell=self._tell,
        )

    def _warn(self, context: Any) -> None:
        """Warn in the task's log of names that nobody will look for."""
        dag = self.get_dag()
        if dag is not None and (odd := others_in(_conf_of(context), dag.task_ids)):
            self.log.warning(
                "conf.task_form has %s, of which DAG %s has no task; it has: %s",
                ", ".join(odd),
                dag.dag_id,
                ", ".join(sorted(dag.task_ids)),
            )
        if unknown := odd_fields(self):
            self.log.warning(
                "taskTemplate of task %s has %s, which is no field of one", self.task_id, unknown
            )

    def _task(self) -> Task:
        from pydantic import ValidationError  # noqa: PLC0415

        from lading.contracts.processing.task import Task  # noqa: PLC0415

        try:
            return Task.model_validate(
                {
                    "name": self.task_id,
                    "image": self.image,
                    "taskTemplate": self.taskTemplate,
                    "env": list(self.env or ()),
                    "command": self.command,
                    "resources": self.container_resources,
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{where} of task {self.task_id}", f"is {first['input']!r}: {first['msg']}"
            ) from None

    def _login(self) -> RegistryLogin | None:
        values = [getattr(self, name) for name in _LOGIN]
        return RegistryLogin(*values) if all(values) else None

    def _check_template(self, template: TaskTemplate, given: Sequence[Any]) -> None:
        """Check channels against the DAG, now that the template is known.

        Parameters
        ----------
        given : sequence
            Input channels that the run's conf has volumes for.
        """
        check_channels(self, template, self.get_flat_relatives(upstream=False))
        known = {item.input_channel for item in mappings_of(self)}
        known |= {str(item.get("name")) for item in given if isinstance(item, Mapping)}
        for channel in template.inputs:
            if channel.name not in known:
                raise InputError(
                    f"iochannel_maps of task {self.task_id}",
                    f"nothing is mapped to the input channel {channel.name!r} of template "
                    f"{template.identifier}",
                    fix="add IOMapping(upstream_operator=.., upstream_output_channel=.., "
                    f"input_channel={channel.name!r}), or trigger the DAG with its data in "
                    f"conf.task_form.{self.task_id}.inputs",
                )


def _check(task: ProcessingContainerOperator) -> None:
    """Check the parameters that say something already, before Jinja and before any run."""
    where = f"of task {task.task_id}"
    for item in task.iochannel_maps:
        if not isinstance(item, IOMapping):
            raise InputError(f"iochannel_maps {where}", f"has {item!r}", fix="give IOMapping(..)")
    given = [name for name in _LOGIN if getattr(task, name)]
    if 0 < len(given) < len(_LOGIN):
        missing = [name for name in _LOGIN if name not in given]
        raise InputError(
            f"{' and '.join(given)} {where}",
            f"come without {' and '.join(missing)}",
            fix="give all three, or none",
        )
    for name, kinds, wanted in (
        ("labels", Mapping, 'a dict: {"key": "value"}'),
        ("annotations", Mapping, 'a dict: {"key": "value"}'),
        ("container_resources", Mapping, '{"limits": {..}, "requests": {..}}'),
        ("command", list, "a list of texts"),
        ("env", list, 'a list of {"name": .., "value": ..}'),
    ):
        value = getattr(task, name)
        # A text is a template that Jinja makes something of, others are outputs of tasks.
        is_known = isinstance(value, list | dict | int | float | set) or (
            isinstance(value, str) and "{{" not in value
        )
        if is_known and not isinstance(value, kinds):
            shown = name.removeprefix("container_")
            raise InputError(f"{shown} {where}", f"is {value!r}", fix=f"give {wanted}")
    if task.data_directory is not None:
        data_directory(task)
    if isinstance(task.env, list):
        for number, item in enumerate(task.env):
            if isinstance(item, dict) and not item.get("name"):
                raise InputError(
                    f"env[{number}] {where}", f"is {item!r}", fix='give {"name": .., "value": ..}'
                )


def _plain(value: Any) -> Any:
    """Write a model as the dict that it is in JSON: Jinja looks into dicts."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    return dict(value) if isinstance(value, Mapping) else value


def _conf_of(context: Any) -> Any:
    return getattr(context.get("dag_run"), "conf", None)


def _identity(context: Any, operator: Any) -> Identity:
    instance = context["ti"]
    index = getattr(instance, "map_index", None)
    return Identity(
        dag=instance.dag_id,
        run=instance.run_id,
        task=operator.task_id,
        index=-1 if index is None else index,
        attempt=instance.try_number,
        data=str(data_directory(operator)),
    )
