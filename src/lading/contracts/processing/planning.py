"""What is decided about a run before anything is made: channels, resources, container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lading.contracts.processing.access import is_root
from lading.contracts.processing.channels import (
    Channel,
    channels_of,
    channels_on_cluster,
    mounts,
)
from lading.contracts.processing.scaling import Needs, Requirement, needs
from lading.engine import ContainerSpec, Gpu, Limits, Network
from lading.errors import NotSupported
from lading.run.records import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lading.contracts.processing.task import TaskInstance
    from lading.contracts.processing.template import ScaleRule
    from lading.contracts.processing.volumes import VolumeChannel
    from lading.engine import Engine, EngineInfo, ImageInfo, Placement

__all__ = ["Circumstances", "Plan", "plan"]

_PIDS = 4096
"""Processes: enough for any task, too few for a fork bomb."""
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What a root process needs to work with files of others, as those in its channels are; all else
that engines give is dropped."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a task is run, beyond what it says itself.

    Parameters
    ----------
    network : bool
        Whether it has the engine's usual network; without it, it reaches nothing.
    capabilities : bool
        Whether it keeps all of the engine's usual capabilities.
    runtime : str or None
        OCI runtime by the name that the engine has it under.
    timeout : float or None
        Seconds that it may run; None: as long as it takes.
    grace : float
        Seconds between SIGTERM and SIGKILL when it has to end.
    node_paths : bool
        On a cluster: whether a ``host_path`` is a directory of the node that it runs on, as the
        original has it, and not one of this machine.
    """

    network: bool = True
    capabilities: bool = False
    runtime: str | None = None
    timeout: float | None = None
    grace: float = 10.0
    node_paths: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A task instance, decided in everything.

    Parameters
    ----------
    instance : TaskInstance
    image : ImageInfo
        One that the engine has.
    channels : tuple of Channel
        Directories of this machine, inputs first.
    needs : Needs
        Scale rules applied.
    spec : ContainerSpec
        Without names, labels of ours, and mounts.
    run_id : str
    fingerprint : str
        For :mod:`lading.contracts.processing.chains.resume`; may be empty.
    rootless : bool
        Whether users of its container are others on the host.
    volumes : tuple of VolumeChannel
        Channels whose files can't be seen from here, inputs first.
    cluster : bool
        Whether it runs on one.
    """

    instance: TaskInstance
    image: ImageInfo
    channels: tuple[Channel, ...]
    needs: Needs
    spec: ContainerSpec
    circumstances: Circumstances
    run_id: str = field(default_factory=new_id)
    fingerprint: str = ""
    rootless: bool = False
    volumes: tuple[VolumeChannel, ...] = ()
    cluster: bool = False

    @property
    def digest(self) -> str:
        """What identifies the image: its digest at a registry, or its id where it has none."""
        return self.image.digests[0] if self.image.digests else self.image.id

    def container_spec(
        self, labels: Mapping[str, str], *, name: str | None = None
    ) -> ContainerSpec:
        """Decide what is left open: labels, of which these count, and what appears where."""
        return replace(
            self.spec,
            name=name,
            labels={**self.spec.labels, **labels},
            mounts=mounts(self.channels),
            volumes=tuple(channel.as_volume() for channel in self.volumes),
        )


async def plan(
    engine: Engine,
    instance: TaskInstance,
    image: ImageInfo,
    circumstances: Circumstances,
    *,
    labels: Mapping[str, str] = {},
    on_wait: Callable[[str], None] | None = None,
) -> Plan:
    """Decide everything about a run, and check what can be checked; nothing is made yet.

    Parameters
    ----------
    engine : Engine
    instance : TaskInstance
    image : ImageInfo
    circumstances : Circumstances
    labels : mapping
        What a container carries that has to look into a volume for a scale rule.
    on_wait : callable or None
        Told what such a container waits for.

    Raises
    ------
    InputError
        A channel, a field of the config or an amount of resources can't be used; names it.
    NotSupported, GpuUnavailable
        The engine or the host can't give what it asks for.
    EngineError
        A volume can't be looked into.
    """
    info = await engine.info()
    cluster = info.cluster
    _check_engine(info, circumstances)
    channels: tuple[Channel, ...]
    volumes: tuple[VolumeChannel, ...] = ()
    placement: Placement | None = None
    if cluster:
        from lading.contracts.processing.placement import placement_of  # noqa: PLC0415

        channels, volumes = await asyncio.to_thread(
            channels_on_cluster, instance, node_paths=circumstances.node_paths
        )
        placement = placement_of(instance.config)
    else:
        channels = await asyncio.to_thread(channels_of, instance)
    needed = await asyncio.to_thread(
        needs,
        instance.resources,
        _ruled(instance, channels),
        measured=await _measured(
            engine, instance, volumes, placement=placement, labels=labels, on_wait=on_wait
        ),
        cluster=cluster,
    )
    gpus: tuple[str, ...] = ()
    if needed.gpus and not cluster:
        from lading.host.gpus import lend  # noqa: PLC0415  # few tasks want one

        gpus = await lend(needed.gpus, info)
    spec = _spec(instance, image, circumstances, needed, gpus)
    if placement is not None:
        asking = replace(placement, limits=needed.more_limits, requests=needed.more_requests)
        spec = replace(spec, placement=asking)
    return Plan(
        instance,
        image,
        channels,
        needed,
        spec,
        circumstances,
        rootless=info.rootless,
        volumes=volumes,
        cluster=cluster,
    )


def _ruled(
    instance: TaskInstance, channels: tuple[Channel, ...]
) -> list[tuple[Channel, ScaleRule]]:
    inputs = {channel.name: channel for channel in channels if not channel.is_output}
    return [
        (inputs[item.name], item.scale_rule)
        for item in instance.inputs
        if item.scale_rule is not None and item.name in inputs
    ]


async def _measured(
    engine: Engine,
    instance: TaskInstance,
    volumes: tuple[VolumeChannel, ...],
    *,
    placement: Placement | None,
    labels: Mapping[str, str],
    on_wait: Callable[[str], None] | None,
) -> list[Requirement]:
    """Look into the volumes whose channels have scale rules."""
    inputs = {volume.name: volume for volume in volumes if not volume.is_output}
    found = []
    for item in instance.inputs:
        if item.scale_rule is not None and item.name in inputs:
            from lading.contracts.processing.listing import measured_there  # noqa: PLC0415

            assert placement is not None
            found.append(
                await measured_there(
                    engine,
                    inputs[item.name],
                    item.scale_rule,
                    placement=placement,
                    labels=labels,
                    on_wait=on_wait,
                )
            )
    return found


def _spec(
    instance: TaskInstance,
    image: ImageInfo,
    circumstances: Circumstances,
    needed: Needs,
    gpus: tuple[str, ...],
) -> ContainerSpec:
    config = instance.config
    return ContainerSpec(
        image=image.runs_as,
        command=tuple(instance.command) if instance.command is not None else None,
        env={item.name: item.value for item in instance.env},
        labels=dict(config.labels or {}) if config is not None else {},
        gpus=Gpu(gpus) if gpus else None,
        limits=Limits(needed.cpus, needed.memory, _PIDS),
        requests=Limits(needed.cpu_request, needed.memory_request),
        network=Network.DEFAULT if circumstances.network else Network.NONE,
        runtime=circumstances.runtime,
        sealed=not circumstances.capabilities,
        # Some engines would hand them to whatever user the image names, where others don't.
        capabilities=_CAPABILITIES
        if is_root(image.user) and not circumstances.capabilities
        else (),
    )


def _check_engine(info: EngineInfo, circumstances: Circumstances) -> None:
    wanted = circumstances.runtime
    if wanted and wanted not in info.runtimes and not info.cluster:
        known = ", ".join(info.runtimes) or "none"
        raise NotSupported(
            f"the container engine has no OCI runtime {wanted!r} (it has: {known})",
            fix=f"register {wanted!r} with the engine, or leave --runtime out",
        )
